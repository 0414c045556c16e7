"""Values that users write, in files or as ``key=value``, held against a pydantic model; errors name the key."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ValidationError

from lowlight.errors import RecipeError


def override(values: dict[str, Any], change: str) -> None:
    """Make one change of the form ``key=value`` in nested values.

    Keys are dotted (``data.sources.0.weight``), the value is YAML. Raises RecipeError.
    """
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise RecipeError(f"{change!r}: expected KEY=VALUE")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"{change!r}: the value is no YAML") from None
    place: Any = values
    *parents, last = key.split(".")
    for parent in parents:
        if isinstance(place, list):
            place = place[_index(place, parent, change)]
        elif isinstance(place, dict):
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
    if isinstance(place, list):
        place[_index(place, last, change)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise RecipeError(f"{change!r}: {'.'.join(parents)} is a single value and has no {last!r}")


def _index(place: list[Any], key: str, change: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise RecipeError(f"{change!r}: expected a number from 0 to {len(place) - 1} for {key!r}")
    return int(key)


_Model = typing.TypeVar("_Model", bound=BaseModel)


def validate(model: type[_Model], values: Mapping[str, Any], where: str, prefix: str = "") -> _Model:
    """Checked values; a RecipeError names where they stand, key, value, and what is allowed.

    prefix: key of the values where they are part of something larger.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first, *others = error.errors()
        if first["type"] == "missing":  # an unknown key beside it may be the same, misspelt
            beside = (each for each in others if each["loc"][:-1] == first["loc"][:-1])
            first = next((each for each in beside if each["type"] == "extra_forbidden"), first)
        place = [str(part) for part in first["loc"]]
        key = ".".join(part for part in [prefix, *_written(values, first["loc"])] if part)
        if first["type"] == "extra_forbidden":
            known = ", ".join(_known(model, place[:-1]))
            raise RecipeError(f"{where}: unknown key {key}; known here: {known}") from None
        if first["type"] == "missing":
            raise RecipeError(f"{where}: {key} is missing") from None
        if first["type"] == "value_error" and not place:
            raise RecipeError(f"{where}: {first['ctx']['error']}") from None
        message = first["msg"][0].lower() + first["msg"][1:]
        if first["type"] in ("list_type", "tuple_type"):
            message = f"expected a list, as {_as_list(model, place[0], key, first['input'])}"
        elif first["type"] == "path_type":
            message = "expected a path"
        raise RecipeError(f"{where}: {key} = {str(first['input'])[:80]!r}: {message}") from None


def _as_list(model: type[BaseModel], first: str, key: str, value: Any) -> str:
    """How a list is written: of the value given, or of the default's first entry where that is a list itself."""
    field = model.model_fields.get(first)
    default = None if field is None else field.default
    if isinstance(default, tuple) and default and isinstance(default[0], tuple):
        return f"{first}=[[{', '.join(map(str, default[0]))}]]"
    return f"{key}=[{value}]"


def _written(values: Any, place: tuple[int | str, ...]) -> list[str]:
    """A place as the user wrote it: pydantic adds the tags of unions, which are no keys."""
    kept = []
    for index, part in enumerate(place):
        inside = (
            part in values if isinstance(values, dict) else isinstance(values, list) and part != str(part)
        )
        if inside:
            values = values[part]
        if inside or (index == len(place) - 1 and "[" not in str(part)):
            kept.append(str(part))
    return kept


def _known(annotation: Any, place: list[str]) -> list[str]:
    """Keys of the model at a place that pydantic names in an error; a union's member goes by its tag."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _known(arguments[0], place)
    if origin in (typing.Union, types.UnionType):
        models = [each for each in arguments if isinstance(each, type) and issubclass(each, BaseModel)]
        tagged = [each for each in models if "kind" in each.model_fields and len(models) > 1]
        for each in tagged:
            if place and each.model_fields["kind"].default == place[0]:
                return _known(each, place[1:])
        return _known(models[0], place) if models else []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not place:
            return list(annotation.model_fields)
        field = annotation.model_fields.get(place[0])
        return [] if field is None else _known(field.annotation, place[1:])
    if origin in (list, tuple, dict) and place:
        return _known(arguments[-1] if origin is dict else arguments[0], place[1:])
    return []
