"""``lowlight enhance``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lowlight import places
from lowlight.cli._options import Device, Engine, Precision, parse_named
from lowlight.cli._photos import Batch, Inputs, Run, check_streams, results_option, with_batch
from lowlight.errors import EngineError, UseError, WeightsError
from lowlight.machine import cores
from lowlight.plan import OWN, make_plan

_COMMON = {"lightness": "auto or 0 to 1", "strength": "0 to 1"}
"""Ranges of the controls that every method has, so that a wrong value is refused without loading a method."""


@with_batch
def enhance(
    inputs: Inputs,
    output: Annotated[str | None, results_option(OWN)] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The weights; `lowlight models` lists them.")
    ] = places.DEFAULT,
    lightness: Annotated[
        str | None,
        typer.Option(metavar="auto|0..1", help="Mean of the result's values. Default: auto, from the photo."),
    ] = None,
    strength: Annotated[
        str | None,
        typer.Option(metavar="0..1", help="Share of the result in the picture; 0: the input. Default: 1."),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Another control of the method; `lowlight methods` lists them."
        ),
    ] = None,
    spread: Annotated[
        bool,
        typer.Option(
            "--spread",
            help="Write how far the samples lie apart, as photo.enhanced.spread.png beside each result.",
        ),
    ] = False,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = "auto",
    engine: Annotated[
        Engine, typer.Option(help="What runs the network; auto: onnx, and torch for .safetensors.")
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(help="bf16: engines torch and openvino; faster on some CPUs, slower on others."),
    ] = "float32",
    fast: Annotated[bool, typer.Option("--fast", help="The model's 8-bit twin: faster, nearly the same.")] = (
        False
    ),
    *,
    batch: Batch,
) -> None:
    """Make dark photos light: files, folders, globs, or - for standard input.

    Photos whose result is there already, made from the same photo by the same weights and controls, are
    skipped. Exit status: 0 all done, 1 some failed, 2 wrong use, 130 or 143 interrupted.
    """
    values = _parse_controls(lightness, strength, control or [])

    plan = make_plan(inputs, output, wanted=batch.format, spread=spread)
    to_stdout = check_streams(plan, batch.json_lines)

    try:
        # Before NumPy and the network are loaded: that takes longer than saying that a name is wrong.
        network = places.find(places.fast(model) if fast else model)
        if control:
            _check_controls(network, values)
        if not plan.jobs:
            Run(plan, batch.json_lines, to_stdout).end()

        from lowlight.enhancer import load

        at_once = min(batch.jobs or cores(), max(1, len(plan.jobs)))
        threads = max(1, cores() // at_once)
        enhancer = load(
            network,
            engine=engine,
            device=device,
            threads=threads,
            precision=precision,
            alone=len(plan.jobs) == 1,
        )
    except (WeightsError, EngineError) as error:
        raise UseError(str(error)) from error
    if batch.jobs is None and enhancer.engine.device != "cpu":
        at_once = 1
    controls = enhancer.controls(**values)
    enhancer.check_controls(controls)
    if spread:
        enhancer.check_spread(controls)
    settings = batch.settings(controls, at_once, exact=controls.strength == 0)
    Run(plan, batch.json_lines, to_stdout).do(enhancer, settings)


def _parse_controls(lightness: str | None, strength: str | None, control: list[str]) -> dict[str, Any]:
    """Names and values as written; those of every method are checked, the others need the method's module."""
    values: dict[str, Any] = {}
    for name, given in (("lightness", lightness), ("strength", strength)):
        if given is not None:
            if not _fits(name, given):
                raise typer.BadParameter(f"{given!r}: expected {_COMMON[name]}", param_hint=f"--{name}")
            values[name] = given
    for name, value in parse_named(control, "--control").items():
        if name in values:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--control")
        if name in _COMMON and not _fits(name, value):
            raise typer.BadParameter(f"{name} = {value!r}: expected {_COMMON[name]}", param_hint="--control")
        values[name] = value
    return values


def _fits(name: str, value: str) -> bool:
    """Whether a control that every method has takes this value."""
    if (name, value) == ("lightness", "auto"):
        return True
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False


def _check_controls(model: Path, values: dict[str, Any]) -> None:
    from lowlight import methods, weights

    methods.parse_controls(methods.find(weights.open_weights(model).header.method), values)
