"""``lowlight dim``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowlight import places
from lowlight.cli._photos import Batch, Inputs, Run, check_streams, results_option, with_batch
from lowlight.errors import UseError, WeightsError
from lowlight.machine import cores
from lowlight.plan import make_plan

if TYPE_CHECKING:
    from lowlight.enhancer import Report
    from lowlight.methods.dimma.dimmer import Dimmer, Dimming
    from lowlight.photo import Photo

OWN = ".dimmed"


@with_batch
def dim(
    inputs: Inputs,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="The dimmer: a camera, learned from pairs by recipes/dimma-dimmer.yaml, or imported.",
        ),
    ] = places.CAMERA,
    output: Annotated[str | None, results_option(OWN)] = None,
    factor: Annotated[
        float,
        typer.Option(
            min=0.3, max=2.0, help="Light that is left, in that of the pairs the dimmer was made from."
        ),
    ] = 1.0,
    temperature: Annotated[
        float,
        typer.Option(min=0.0, max=2.0, help="Variance of the noise, in that of the camera; 0: no noise."),
    ] = 1.0,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the noise; the same photo and seed, the same twin.")
    ] = 0,
    *,
    batch: Batch,
) -> None:
    """Make dark twins of photos, as a camera would have taken them in the dark.

    The one that ships knows the camera of the data set LOL; your own is learned from a few pairs. Photos whose
    twin is there already are skipped. Exit status: 0 all done, 1 some failed, 2 wrong use, 130 or 143 interrupted.
    """
    plan = make_plan(inputs, output, wanted=batch.format, own=OWN)
    to_stdout = check_streams(plan, batch.json_lines)
    try:
        camera = _find(model)
        if not plan.jobs:
            Run(plan, batch.json_lines, to_stdout).end()

        from lowlight.methods.dimma.dimmer import Dimming, load_dimmer

        dimmer = load_dimmer(camera)
    except WeightsError as error:
        raise UseError(str(error)) from error
    controls = Dimming(factor=factor, temperature=temperature, seed=seed)
    settings = batch.settings(controls, min(batch.jobs or cores(), len(plan.jobs)))
    Run(plan, batch.json_lines, to_stdout).do(_Camera(dimmer), settings)


def _find(model: str) -> Path:
    """The dimmer's file. Raises WeightsError naming the dimmers that exist, not the other weights."""
    there = os.path.exists(model)  # noqa: PTH110 - false, and no error, for what can be no name
    if there or Path(model).suffix or model in places.candidates():
        return places.find(model)
    from lowlight.methods.dimma.dimmer import PART
    from lowlight.weights import available

    known = ", ".join(weights.path.stem for weights in available() if weights.header.part == PART)
    raise WeightsError(f"no dimmer is called {model!r}; dimmers by name: {known or 'none'}")


class _Camera:
    """A dimmer in the place of an ``Enhancer``."""

    def __init__(self, dimmer: Dimmer) -> None:
        self.dimmer = dimmer
        self.fingerprint = dimmer.fingerprint

    def memory_for(self, height: int, width: int, itemsize: int, controls: Dimming) -> int:
        """Bytes that a photo and its twin take."""
        return 2 * 3 * height * width * itemsize + self.dimmer.block_bytes

    def enhance_photo(
        self,
        photo: Photo,
        controls: Dimming,
        *,
        memory: int,
        progress: Callable[[float], None],
        spread: bool,
    ) -> tuple[Photo, Report]:
        """The dark twin, and what was done."""
        from lowlight import statistics
        from lowlight.enhancer import Report

        started = time.perf_counter()
        samples = self.dimmer.dim(photo.samples, **controls.model_dump(), progress=progress)
        if photo.grey:
            samples[:] = samples[..., 1:2]
        before, after = statistics.mean(photo.samples), statistics.mean(samples)
        report = Report(controls.model_dump(), before, after, 1, time.perf_counter() - started)
        return replace(photo, samples=samples), report
