"""``lowlight methods``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowlight.cli._tables import print_table

if TYPE_CHECKING:
    from lowlight.methods import Method


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this method, with its controls.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of a table.")] = False,
) -> None:
    """List the methods and what can be turned in each."""
    from lowlight import methods as registry

    names = registry.names()
    if name is not None and name not in names:
        raise typer.BadParameter(
            f"no method is called {name!r}; there are: {', '.join(names)}", param_hint="NAME"
        )
    found = [registry.find(each) for each in ([name] if name else names)]
    if as_json:
        described = [
            {"name": method.name, "title": method.title, "controls": _controls(method)} for method in found
        ]
        print(json.dumps(described[0] if name else described, indent=2))
    elif name is None:
        rows = [(method.name, method.title, ", ".join(method.Controls.model_fields)) for method in found]
        print_table(("method", "title", "controls"), rows)
    else:
        print(f"{found[0].name}: {found[0].title}")
        print_table(
            ("control", "range", "default", "help"),
            [[str(value) for value in control.values()] for control in _controls(found[0])],
        )


def _controls(method: type[Method]) -> list[dict[str, Any]]:
    from lowlight.methods import describe_range

    return [
        {
            "name": name,
            "range": describe_range(method, name),
            "default": field.default,
            "help": field.description or "",
        }
        for name, field in method.Controls.model_fields.items()
    ]
