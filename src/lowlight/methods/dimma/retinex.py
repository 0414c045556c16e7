"""The retinex split and what the published network observes on a whole photo."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lowlight import equalise, statistics
from lowlight.methods import Observation, Samples

EPSILON = 1e-6
Form = Literal["maximum", "first"]
Values = NDArray[np.float64]


def split(picture: ArrayLike, form: Form = "maximum") -> tuple[Values, Values]:
    """Reflectance (..., 3), which sums to 1, and illumination (...), a third of the sum, both float64.

    picture: (..., 3), in [0, 1] or 0 to 255; the illumination has its scale. Black gives zeros.
    form: ``maximum`` over the channels' illuminations, or the ``first`` channel's, which is 0 for every
    pixel without red (a fault of the release, which its own dimmers rely on).
    """
    values = np.asarray(picture, np.float64)
    reflectance: Values = values / (values.sum(axis=-1, keepdims=True) + EPSILON)
    illuminations = values / (3 * reflectance + EPSILON)
    return reflectance, illuminations.max(axis=-1) if form == "maximum" else illuminations[..., 0]


def merge(reflectance: Values, illumination: Values) -> Values:
    """The picture of a split: its inverse, to about 1e-6 of the scale."""
    return 3 * illumination[..., None] * reflectance


def bins(illumination: Values, white: float = 1.0) -> NDArray[np.intp]:
    """Bin 0 to 255 of the illumination statistics, ``floor(255 L / white)``; exact in float64 only.

    The small terms of the split put many greys one bin below their value.
    """
    return np.floor(illumination * (255 / white)).astype(np.intp)


def mean_lightness(samples: Samples, form: Form = "maximum") -> float:
    """Mean illumination of a (height, width, 3) photo of any depth, in [0, 1]: the mean of its values to 1e-6."""
    scale = np.float64(statistics.full_scale(samples))
    total = 0.0
    for strip in statistics.strips(samples):
        total += float(split(strip / scale, form)[1].sum())
    mean: float = total / (samples.shape[0] * samples.shape[1])
    return mean


def observe_published(
    counts: Values, source: float, lightness: float, *, published: bool = False
) -> Observation:
    """What the published network takes beside a photo known by its (3, 256) histograms and its mean.

    source: see ``mean_lightness``; lightness: the mean wanted in the result, in [0, 1]. published: condition
    on whole steps of 0.001 of the difference, truncated towards zero, as the release does, instead of on the
    exact difference.
    """
    return {
        "tables": equalise.tables(counts),
        "source_lightness": np.array(source, np.float32),
        "lightness": np.array(lightness, np.float32),
        "published": np.array(published, np.float32),
    }
