"""The same network trained by its likelihood, by L1 through its inverse, and its encoder alone by L1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lowlight import studies
from lowlight.studies._shared import Compared, compare, train


class Objectives:
    """Three trainings by one recipe of the stage ``flow``; a run that was interrupted goes on."""

    title: ClassVar[str] = "Likelihood against L1, and the encoder alone"
    source: ClassVar[str] = "LLFlow (arXiv 2109.05923), table 5, with the lightness of the reference"
    published: ClassVar[studies.Table | None] = studies.Table(
        ("training", "PSNR", "SSIM", "LPIPS"),
        (
            ("encoder alone, L1", 21.90, 0.8587, 0.1672),
            ("whole network, L1", 22.68, 0.8391, 0.2038),
            ("whole network, likelihood", 25.19, 0.9252, 0.1131),
        ),
    )

    class Settings(Compared):
        start_steps: int = Field(1000, ge=1)
        """Steps by likelihood before those by L1, which from scratch do not converge."""
        l1_rate: float = Field(5e-5, gt=0)
        """Of the whole network's training by L1, as the release remarks."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """A row a training, with the scores of the weights that validation chose."""
        start = folder / "start"
        train(settings, [f"steps={settings.start_steps}"], start, say)
        # Without steps the flow only cuts squares apart: the picture is the encoder's colour map.
        alone = ("config.levels=1", "config.steps=0", "config.plain_steps=0", "config.stacked=[]")
        by_l1 = (f"start.network={start / 'last.safetensors'}", f"settings.optimizer.rate={settings.l1_rate}")
        trainings: dict[str, tuple[str, Sequence[str]]] = {
            "encoder alone, L1": ("encoder", ["stage=pixels", *alone]),
            "whole network, L1": ("l1", ["stage=pixels", *by_l1]),
            "whole network, likelihood": ("likelihood", []),
        }
        return compare(settings, "training", trainings, folder, say)
