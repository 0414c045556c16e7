"""GLARE's results after each of its stages, and over the share of the dark photo's own features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from lowlight import studies
from lowlight.errors import UseError
from lowlight.studies._shared import Pairs, cases_of, measure, met, sheet


class Stages:
    """Codes of the encoder's mean, codes of the flow's latent, and the second decoder at some ``fidelity``."""

    title: ClassVar[str] = "Results after each stage"
    source: ClassVar[str] = "GLARE (arXiv 2407.12431), its comparison of results stage by stage, in pictures"
    published: ClassVar[studies.Table | None] = None

    class Settings(Pairs):
        model: str
        """Weights file of GLARE, as ``lowlight train`` or ``lowlight import`` writes it."""
        fidelity: tuple[float, ...] = Field((0.0, 0.5, 1.0, 2.0), min_length=1)
        """Of the second decoder's rows."""
        metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_alex")
        """As ``lowlight evaluate`` names them."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Means over photos, raw and with the gain to the reference's mean. Picture: the first photo's results."""
        from lowlight import methods, photo
        from lowlight.engines.torch import TorchEngine, load_network
        from lowlight.enhancer import Enhancer
        from lowlight.evaluation import scoring
        from lowlight.methods.glare.network import CodesAlone, Network
        from lowlight.weights import open_weights

        weights = open_weights(settings.model, part="")
        if weights.header.method != "glare" or weights.path.suffix != ".safetensors":
            raise UseError(f"{settings.model}: expected a .safetensors file of method glare")
        network = load_network(weights).eval()
        assert isinstance(network, Network)  # noqa: S101
        method = methods.create("glare", weights.header.config, weights.arrays)

        def user(module: Any, **controls: Any) -> scoring.Network:
            return scoring.Network(Enhancer(method, TorchEngine(module)), controls)

        rows: dict[str, scoring.Network] = {
            "codes of the encoder's mean": user(CodesAlone(network, flow=False)),
            "codes after the flow": user(CodesAlone(network, flow=True)),
        }
        if network.config.mixing:
            for share in settings.fidelity:
                rows[f"second decoder, fidelity {share:g}"] = user(network.folded(), fidelity=share)
        cases = cases_of(settings)
        columns: Mapping[str, tuple[str, ...]] = {"raw": settings.metrics, "gtmean_glare": settings.metrics}
        notes: list[str] = []
        found = {}
        for title, each in rows.items():
            say(title)
            found[title] = measure(each, cases, columns, notes)
        names = tuple(next(iter(found.values())))
        table = studies.Table(
            ("result", *names),
            [
                (title, *(float(np.mean(values[name])) if values[name] else None for name in names))
                for title, values in found.items()
            ],
        )
        missing = any(cell is None for row in table.rows for cell in row)
        first = cases[0]
        assert first.low is not None  # noqa: S101
        assert first.reference is not None  # noqa: S101
        dark = photo.read_photo(first.low)
        results = [
            each.enhancer.enhance_photo(dark, each.enhancer.controls(**each.controls))[0]
            for each in rows.values()
        ]
        shown = [each.samples for each in (dark, *results, photo.read_photo(first.reference))]
        titles = ["dark photo", *(title.replace("second decoder, ", "") for title in rows), "reference"]
        return studies.Findings(
            table,
            [*met(settings.model, cases), *dict.fromkeys(notes)],
            {"stages": sheet(shown, titles=titles)},
            {"pairs": len(cases)},
            incomplete=missing and "metrics" in settings.model_fields_set,
        )
