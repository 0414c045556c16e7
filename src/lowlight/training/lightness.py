"""What automatic lightness learns from training photos."""

from __future__ import annotations

from lowlight import statistics
from lowlight.estimator import THUMBNAIL, features, fit
from lowlight.methods import Array
from lowlight.training.data import Mixture

FEWEST_EXPOSURES = 50
"""Below this many pairs automatic lightness is not learned."""


def learn_lightness(data: Mixture) -> dict[str, Array]:
    """An estimator (``lowlight.estimator``), fitted to the photos whose exposure somebody chose; of too few none."""
    pairs = list(data.exposures())
    if len(pairs) < FEWEST_EXPOSURES:
        return {}
    means = [float(statistics.histogram_means(light.counts).mean()) for _, light in pairs]
    thumbnails = (statistics.thumbnail(dark.pixels.cpu().numpy(), THUMBNAIL) for dark, _ in pairs)
    darks = [features(dark.counts, grid) for (dark, _), grid in zip(pairs, thumbnails, strict=True)]
    return fit(darks, means)
