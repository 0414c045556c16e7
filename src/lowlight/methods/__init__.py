"""The surface that every method shows, and the registry that finds methods by name.

A method is one folder. This module and everything above it (photos, tiles, engines, weights, training
loop, command line) know the surface, never a method's name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from lowlight.errors import ControlError, WeightsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# In quotes: a wrong name must not wait for NumPy.
Array: TypeAlias = "NDArray[np.float32]"
Samples: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]"
"""Pixels in a photo's own depth: (height, width, 3), sRGB-encoded; float32 means [0, 1]."""
Observation: TypeAlias = "dict[str, Array]"
"""Named float32 arrays seen once on the whole photo; the network gets each with a batch axis in front."""


def _no_truth(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a truth value is no number")
    return value


Share = Annotated[float, Field(ge=0.0, le=1.0), BeforeValidator(_no_truth)]
Lightness = Literal["auto"] | Share


class Controls(BaseModel):
    """What a user may turn. A method adds its own by inheriting; a name means the same in every method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lightness: Lightness = Field(
        "auto",
        description="mean of the result's values, 0 to 1; auto: guessed from the dark photo, or as the network makes it",
    )
    strength: Share = Field(1.0, description="share of the result in the picture; 0: the input")


class PublishedControls(Controls):
    """For methods whose published weights can be imported."""

    published: bool = Field(
        False, description="imported weights run exactly as released: no gain makes the lightness exact"
    )


class SampledControls(PublishedControls):
    """For methods whose result is drawn from a latent."""

    temperature: float = Field(
        0.0, ge=0, le=1, description="deviation of the latent around its mean; 0: the one most likely result"
    )
    samples: int = Field(
        1, ge=1, le=64, description="results to draw and average, where the temperature is not 0"
    )
    seed: int = Field(0, ge=0, le=999_999, description="what is random is drawn by")

    def drawn(self) -> Observation:
        """What the network is told: ``temperature`` (), ``seed`` (2,) and ``sample`` (n,), which of them it draws."""
        import numpy as np  # not above: a command's mistake is told without it

        values = {
            "temperature": self.temperature,
            "seed": divmod(self.seed, 1000),  # a seed goes to the network in two words
            "sample": range(self.samples if self.temperature else 1),
        }
        return {name: np.array(value, np.float32) for name, value in values.items()}


class Config(BaseModel):
    """Sizes of a network, as they stand in the header of its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Frame:
    """How a method's release looks at a photo: enlarged outwards, its result in 8 bits."""

    rows: tuple[int, int]
    """Above and below."""
    columns: tuple[int, int]
    """Before and after."""
    mode: Literal["symmetric", "reflect"] = "symmetric"
    """What is outside, as ``numpy.pad`` has it."""
    truncated: bool = True
    """The result is cut to whole levels, or rounded."""

    @classmethod
    def to_multiples_of_16(cls, height: int, width: int) -> Frame:
        """Sides that are multiples of 16, by at least one pixel and at most 16 each, the smaller half above and before."""
        rows, columns = (16 - side % 16 for side in (height, width))
        return cls((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))


@dataclass(frozen=True)
class Imported:
    """What a method's room ``published`` makes of the authors' checkpoint; `lowlight import` writes it down.

    The room holds two functions. ``matches(names)`` tells, from the names of its tensors alone, whether a
    checkpoint is of this method (``names``: a collection of str). ``read(tensors, settings, sets)`` gives an
    ``Imported``, or raises WeightsError, whose text the file's name is put before:

    tensors: by the file's own names, less a ``module.`` in front of all of them; NumPy arrays, possibly
        read-only views, floats as stored (bfloat16 as float32).
    settings: what the file tells beside them, as plain dicts, lists, texts and numbers; often empty.
    sets: what the user tells by ``--set key=value``, as text; ``read_sets`` checks it.
    """

    config: Config
    tensors: Mapping[str, NDArray[Any]]
    """By the names of ``Network(config).state_dict()``, which they must fit one to one: what a file holds
    besides is left out by ``read`` by name, and never all that is unknown. Floats are stored as float32."""
    licence: str
    """Of the weights, in one sentence; "not stated" where the authors do not say."""
    sources: Sequence[str] = ()
    """Paper, code and training data with their terms, one sentence each."""
    notes: Sequence[str] = ()
    """What a user should know: what was left out, what a run costs, what the file did not tell."""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    """Small arrays that observing needs; see ``Method.__init__``."""
    part: str = ""
    """What of the method this is, where it is not its network: see ``configs``; tensors and arrays are then
    the part's."""
    published_name: Callable[[str], str] = str
    """What the file calls a tensor of ``Network(config)``: so a refusal names what its owner can look up."""


class Method(Protocol):
    """A method with one network's configuration. NumPy only: torch lives in the folder's other rooms.

    ``METHOD.network`` (lazy, torch) holds ``Network(config)`` with
    ``forward(dark, **observation) -> enhanced``: pictures are (batch, 3, height, width), RGB,
    sRGB-encoded, [0, 1], both sides multiples of ``multiple``; observed arrays carry a batch axis.
    A network with ``folded()`` gives by it a module of the same ``forward`` that users run and export writes:
    what only training needs is multiplied into its weights.

    With ``released_frame(height, width, controls)`` a method tells the ``Frame`` that its release puts around a photo
    before it looks at it; control ``published`` does that too.
    With ``released_reduced(samples)`` it gives the smaller photo, float32 in [0, 1], that its release makes of a large
    one before that, or None; ``released_enlarged(result, height, width)`` then makes the result the photo's size.

    A method that does not condition on lightness may show two things more. With ``lightens`` it names a control,
    a number with bounds that is also observed by that name, and with which the mean of the result rises: where a
    lightness is asked for, the control is searched on a reduced copy of the photo, unless its value is given.
    With ``choose_lightness(samples)`` it tells the lightness that ``auto`` stands for, which a gain alone reaches,
    or None where that is what the network gives, as it always is with ``published`` and where the control is given.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Controls: ClassVar[type[Controls]]
    Config: ClassVar[type[Config]]

    halo: int | None
    """Pixels of context that make a tile exact; None: no halo is exact."""
    multiple: int
    """Sides of a tile are multiples of this."""
    border: int
    """Pixels, a multiple of ``multiple``, by which the photo is mirrored outwards, so that its edges are not
    those of the network."""
    tile_bytes: int
    """Memory that an engine takes for one pixel of a tile."""

    def __init__(self, config: Any, arrays: Mapping[str, Array]) -> None:
        """``arrays``: small arrays of the header that observing needs (an estimator, say)."""

    def observe(self, samples: Samples, controls: Any) -> Observation:
        """Look once at the whole photo.

        A method that conditions on lightness gives it as ``"lightness"``: the value asked for, or for
        ``auto`` its own prediction. Three names are changed: ``"origin"`` (2,) becomes the row and column of a
        tile's first pixel; ``"extent"`` (2,) the height and width of the whole in multiples, where a copy of the
        photo is run; of ``"sample"`` (n,) the network gets some at a time and gives their pictures
        one after the other, (batch, 3 * samples, height, width), and the mean of the n results is kept.
        ``sample_bytes`` is then what each further sample takes for one pixel of a tile.
        """
        ...


_METHODS = {
    "dimma": "lowlight.methods.dimma:Dimma",
    "llflow": "lowlight.methods.llflow:LLFlow",
    "enlightengan": "lowlight.methods.enlightengan:EnlightenGAN",
    "glare": "lowlight.methods.glare:GLARE",
}


@lru_cache
def _plugins(_path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """What is found on that search path, by name; a look reads a file of every package that is installed."""
    return {point.name: point for point in entry_points(group="lowlight.methods")}


def names() -> list[str]:
    """Names of all methods: those of the package and those of plug-ins, in that order."""
    return [*_METHODS, *sorted(_plugins(tuple(sys.path)))]


def find(name: str) -> type[Method]:
    """The method of that name. A plug-in package names its class under ``lowlight.methods``."""
    if name in _METHODS:
        module, attribute = _METHODS[name].split(":")
        found: type[Method] = getattr(import_module(module), attribute)
        return found
    if point := _plugins(tuple(sys.path)).get(name):
        plugin: type[Method] = point.load()
        return plugin
    raise WeightsError(f"no method is called {name!r}; there are: {', '.join(names())}")


def configs(name: str) -> dict[str, type[Config]]:
    """The ``Config`` of what a weights file of the method may hold: its network (an empty name) and its parts.

    A part (Dimma's dimmer) has weights files but enhances no photos. A method that has any names their
    configs in the class attribute ``parts``.
    """
    found = find(name)
    parts: Mapping[str, type[Config]] = getattr(found, "parts", {})
    network: type[Config] = found.Config
    return {"": network, **parts}


def create(name: str, config: Mapping[str, Any], arrays: Mapping[str, Array]) -> Method:
    """A method as a weights file's header describes it."""
    found = find(name)
    return found(found.Config.model_validate(config), arrays)


def room(name: str, part: Literal["network", "training", "published"]) -> Any:
    """One of the torch rooms of a method's folder, imported when asked for."""
    return import_module(f"{find(name).__module__}.{part}")


def read_sets(config: Config, sets: Mapping[str, str], allowed: Sequence[str]) -> Config:
    """A config with what the user told by ``--set``; raises WeightsError naming key, value and what is allowed.

    config: need not be checked (``model_construct``), as more may be told. allowed: the keys of the config that a published file does not tell.
    """
    if unknown := sorted(sets.keys() - set(allowed)):
        raise WeightsError(f"--set {unknown[0]}: no such key; there are: {', '.join(allowed) or 'none'}")
    try:
        return type(config).model_validate({**config.model_dump(), **sets})
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # what does not fit together
            raise WeightsError(
                f"{first['ctx']['error']}; --set tells: {', '.join(allowed) or 'nothing'}"
            ) from None
        key = str(first["loc"][0])
        if key not in sets:
            raise WeightsError(f"its {key}, {str(first['input'])[:60]}: {first['msg']}") from None
        raise WeightsError(f"--set {key}={str(first['input'])[:60]}: {first['msg']}") from None


def parse_controls(method: type[Method] | Method, values: Mapping[str, object]) -> Controls:
    """Check values against a method's controls; an error names the control, the value and its range."""
    return check_controls(method.Controls, values, method.name)


_Checked = TypeVar("_Checked", bound=BaseModel)


def check_controls(controls: type[_Checked], values: Mapping[str, object], name: str) -> _Checked:
    """Check values against a model of controls. name: of what they belong to, for errors."""
    try:
        return controls.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        control = str(first["loc"][0])
        if control not in controls.model_fields:
            raise ControlError(
                f"{name} has no control {control!r}; it has: {', '.join(controls.model_fields)}"
            ) from None
        raise ControlError(
            f"control {control} = {values[control]!r}: expected {_range(controls, control)}"
        ) from None


def describe_range(method: type[Method] | Method, control: str) -> str:
    """The values that a control takes, in words: ``auto or 0 to 1``."""
    return _range(method.Controls, control)


def _range(controls: type[BaseModel], control: str) -> str:
    schema = controls.model_json_schema()["properties"][control]
    parts = []
    for option in schema.get("anyOf", [schema]):
        if "const" in option or "enum" in option:
            parts.append(" or ".join(str(v) for v in option.get("enum", [option.get("const")])))
        elif option.get("type") in ("number", "integer"):
            low, high = option.get("minimum"), option.get("maximum")
            whole = "a whole number" if option["type"] == "integer" else "a number"
            if low is not None and high is not None:
                parts.append(f"{low:g} to {high:g}")
            elif low is not None:
                parts.append(f"{whole} of at least {low:g}")
            else:
                parts.append(whole)
        elif option.get("type") == "boolean":
            parts.append("true or false")
        else:
            parts.append(str(option.get("type", "a value")))
    return " or ".join(parts)
