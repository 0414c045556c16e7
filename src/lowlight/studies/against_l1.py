"""A noisy and a slightly lighter picture of one L1: only a likelihood tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lowlight import places, studies
from lowlight.photo import to_float
from lowlight.studies._shared import Pairs, cases_of, met, noise, read_scenes, sheet


class AgainstL1:
    """Both pictures of each photo, and which of them is the more likely one."""

    title: ClassVar[str] = "Likelihood against L1: noisy or slightly lighter"
    source: ClassVar[str] = "LLFlow (arXiv 2109.05923), figure 1, of one photo"
    published: ClassVar[studies.Table | None] = studies.Table(
        ("picture", "L1 of 255", "log-likelihood"),
        (("reference", 0.0, 5.35), ("slightly lighter", 5.43, 5.37), ("noisy", 5.43, 1.02)),
    )

    class Settings(Pairs):
        model: str = places.DENSITY
        """Name or tensors of a method that is a density."""
        l1: float = Field(5.43, gt=0)
        """Of both pictures to the reference, of 255."""
        seed: int = Field(0, ge=0)
        """Of the noise."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Log-likelihood: bits per position, more is more likely. The picture: the first photo's three."""
        from lowlight.likelihoods import Judge

        judge = Judge.load(settings.model)
        rng = np.random.default_rng(settings.seed)
        titles = ("reference", "slightly lighter", "noisy")
        found: list[list[float]] = []
        shown: NDArray[np.uint8] | None = None
        for scene in read_scenes(settings):
            say(scene.name)
            given = judge.given(scene.low)
            levels = 255.0 * to_float(scene.reference)
            pictures = [
                (each / 255).astype(np.float32)
                for each in (levels, levels + settings.l1, levels + noise(rng, levels.shape, settings.l1))
            ]
            found.append([-given.bits_per_position(each) for each in pictures])
            if shown is None:
                shown = sheet(pictures, titles=titles)
        values = np.array(found)
        rows = [
            (title, 0.0 if index == 0 else settings.l1, float(values[:, index].mean()))
            for index, title in enumerate(titles)
        ]
        told = int(np.sum(values[:, 1] > values[:, 2]))
        note = f"The lighter picture is more likely than the noisy one on {told} of {len(found)} photos."
        notes = (*met(settings.model, cases_of(settings)), note)
        assert shown is not None  # noqa: S101
        table = studies.Table(("picture", "L1 of 255", "log-likelihood"), rows)
        return studies.Findings(table, notes, {"against-l1": shown}, {"pairs": len(found)})
