"""What a likelihood says of references made darker, lighter or noisy by the same L1."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lowlight import places, studies
from lowlight.photo import to_float
from lowlight.studies._shared import Pairs, cases_of, met, noise, read_scenes


class Degradations:
    """References, and three changes of them that L1 cannot tell apart."""

    title: ClassVar[str] = "Likelihood of references made darker, lighter or noisy"
    source: ClassVar[str] = "LLFlow (arXiv 2109.05923), table 4"
    published: ClassVar[studies.Table | None] = studies.Table(
        ("picture", "bits per position", "L1 of 255"),
        (
            ("reference", -6.09, 0.0),
            ("darker", -5.95, 20.0),
            ("lighter", -6.15, 20.0),
            ("noisy", 4.84, 20.0),
        ),
    )

    class Settings(Pairs):
        model: str = places.DENSITY
        """Name or tensors of a method that is a density."""
        size: float = Field(20.0, gt=0)
        """Mean absolute change, of 255."""
        draws: int = Field(4, ge=1)
        """Of noise, which bits per dimension are averaged over."""
        seed: int = Field(0, ge=0)
        """Of the noise."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Means over the photos; changed pictures are not clamped."""
        from lowlight.likelihoods import Judge

        judge = Judge.load(settings.model)
        rng = np.random.default_rng(settings.seed)
        bits: dict[str, list[float]] = {}
        dimensions: dict[str, list[float]] = {}
        for scene in read_scenes(settings):
            say(scene.name)
            given = judge.given(scene.low)
            for title, picture in degraded(255.0 * to_float(scene.reference), settings.size, rng).items():
                bits.setdefault(title, []).append(given.bits_per_position((picture / 255).astype(np.float32)))
                if judge.dequantised:
                    found = given.bits_per_dimension(np.rint(picture), settings.draws, settings.seed)
                    dimensions.setdefault(title, []).append(found)
        true = np.array(bits["reference"])
        rows = [
            (
                title,
                float(np.mean(found)),
                float(np.mean(dimensions[title])) if judge.dequantised else None,
                0.0 if title == "reference" else settings.size,
                int(np.sum(np.array(found) > true)),
            )
            for title, found in bits.items()
        ]
        columns = (
            "picture",
            "bits per position",
            "bits per dimension",
            "L1 of 255",
            "less likely than reference",
        )
        notes = (
            *met(settings.model, cases_of(settings)),
            f"Means over {len(true)} photos; less is more likely. The prior's mean is the encoder's colour map.",
            "Noise: Gaussian, its mean made exactly 0 and its mean absolute value exact; the paper does not name its own.",
            "Pictures made lighter, darker or noisy are not clipped or rounded: no 8-bit file holds them.",
            "Bits per dimension: levels rounded, with noise of one level; only for models trained with noise.",
        )
        return studies.Findings(studies.Table(columns, rows), notes, photos={"pairs": len(true)})


def degraded(
    levels: NDArray[np.floating], size: float, rng: np.random.Generator
) -> dict[str, NDArray[np.floating]]:
    """A picture of 0 to 255 and its changes of one mean absolute difference, not clamped."""
    return {
        "reference": levels,
        "darker": levels - size,
        "lighter": levels + size,
        "noisy": levels + noise(rng, levels.shape, size),
    }
