"""The colour map as the prior's mean: none, and how often the reference's own in training."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from lowlight import studies
from lowlight.studies._shared import Compared, compare


class Prior:
    """Three trainings by one recipe of the stage ``flow``; a run that was interrupted goes on."""

    title: ClassVar[str] = "The colour map as the prior's mean"
    source: ClassVar[str] = "LLFlow (arXiv 2109.05923), table 6, with the lightness of the reference"
    published: ClassVar[studies.Table | None] = studies.Table(
        ("prior", "PSNR", "SSIM", "LPIPS"),
        (
            ("no colour map", 24.46, 0.9235, 0.1146),
            ("reference's map in 0.5 of the steps", 24.85, 0.9232, 0.1192),
            ("reference's map in 0.2 of the steps", 25.19, 0.9252, 0.1131),
        ),
    )
    Settings = Compared

    def run(self, settings: Compared, folder: Path, say: studies.Say) -> studies.Findings:
        """A row a training, with the scores of the weights that validation chose."""
        trainings = {"no colour map": ("none", ["config.colour_prior=false"])}
        for share in (0.5, 0.2):
            changes = [f"settings.reference_share={share}"]
            trainings[f"reference's map in {share} of the steps"] = f"share{share}", changes
        return compare(settings, "prior", trainings, folder, say)
