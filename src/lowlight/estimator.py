"""The lightness that a reference of a dark photo likely has, guessed from the dark photo alone.

Kernel ridge regression on a photo's histograms and thumbnail: small enough for a weights file's header, and fitted in a
second on the training pairs. What it cannot know (the exposure that a photographer chose) stays an error of
about 0.07 on LOL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lowlight import statistics
from lowlight.errors import WeightsError
from lowlight.methods import Array, Samples

Counts = NDArray[np.float64]
"""Histograms of a photo: (3, 256)."""

ARRAYS = frozenset({"center", "scale", "support", "weight", "offset", "gamma"})
"""Of an estimator: ``center``, ``scale`` (f,) standardise the features, ``support`` (n, f) are the training photos'
standardised ones, ``weight`` (n,), ``offset`` and ``gamma`` () turn likeness into lightness."""
DEFAULT_LIGHTNESS = 0.455
"""Mean lightness of the references of LOL's training part."""
RIDGE = 0.3
WIDTH = 0.8
"""``gamma`` times the number of features."""
FAR = 0.14
"""Error of a training photo from which on it counts less than half. What is asked is the likely exposure, not the
middle between two that somebody may have chosen: PSNR, and an eye, tell one wrong by 0.2 hardly from one wrong by 0.3."""
ROUNDS = 12
SCALES = 4
THUMBNAIL = 50
"""Shorter side of the reduced photo that features are taken from."""
BINS = (0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181)
"""First values of the logarithmic bins."""
FEATURES = len(BINS) + 2 + 2 * SCALES + 4


def features(counts: Counts, grid: NDArray[np.float64]) -> Array:
    """(FEATURES,) numbers: what tells how light somebody would have taken this scene, at any resolution.

    From the histograms: square roots of their shares in logarithmic bins, two colour ratios. From the photo
    reduced to ``grid`` (see ``statistics.thumbnail``; THUMBNAIL): changes to the right and down at four
    scales, mean and spread of saturation, how much lighter the upper half and the middle are.
    """
    values = counts.sum(axis=0)
    shares = np.add.reduceat(values, BINS) / values.sum()
    means = statistics.histogram_means(counts)
    ratios = np.log(means[[0, 2]] + 0.5 / 255) - np.log(means[1] + 0.5 / 255)
    grey = grid.mean(axis=2)
    mean = grey.mean() + 0.5 / 255
    changes = [_change(each, axis) / mean for each in _halvings(grey) for axis in (1, 0)]
    most, least = grid.max(axis=2), grid.min(axis=2)
    saturation = (most - least) / (most + 1 / 255)
    rows, columns = grey.shape
    upper = grey[: max(1, rows // 2)].mean()
    middle = grey[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4].mean()
    places = np.log(np.array([upper, middle]) + 0.5 / 255) - np.log(mean)
    return np.concatenate(
        [
            np.sqrt(shares),
            ratios,
            np.log(np.array(changes) + 1e-3),
            [saturation.mean(), saturation.std()],
            places,
        ]
    ).astype(np.float32)


def _halvings(grey: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """A picture at four scales, each half the one before."""
    for _ in range(SCALES):
        yield grey
        rows, columns = (max(1, side // 2) for side in grey.shape)
        if min(grey.shape) > 1:
            grey = grey[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3))


def _change(grey: NDArray[np.float64], axis: int) -> float:
    """Mean absolute difference of neighbours."""
    return float(np.abs(np.diff(grey, axis=axis)).mean()) if grey.shape[axis] > 1 else 0.0


def pick(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The estimator among the arrays of a weights file's header; empty where there is none.

    Raises WeightsError where it lacks some, or was made for other features.
    """
    found = {name: arrays[name] for name in ARRAYS if name in arrays}
    if found and (missing := ARRAYS - found.keys()):
        raise WeightsError(f"the estimator of lightness lacks {', '.join(sorted(missing))}")
    if found and (size := found["center"].size) not in (1, FEATURES):
        raise WeightsError(
            f"the estimator of lightness looks at {size} numbers of a photo; expected {FEATURES}: "
            "train or export these weights with this version"
        )
    return found


def guess(estimator: Mapping[str, Array], samples: Samples, counts: Counts) -> float:
    """``predict`` of a photo, (height, width, 3) at any depth, with its histograms."""
    return predict(estimator, features(counts, statistics.thumbnail(samples, THUMBNAIL)))


def predict(estimator: Mapping[str, Array], known: Array) -> float:
    """The mean that a reference likely has, in [0, 1]. estimator: see ARRAYS; known: the photo's features."""
    distance = ((estimator["support"] - (known - estimator["center"]) / estimator["scale"]) ** 2).sum(axis=1)
    likeness = np.exp(-estimator["gamma"] * distance)
    return float(np.clip(likeness @ estimator["weight"] + estimator["offset"], 0.0, 1.0))


def fit(darks: Sequence[Array], lightness: Sequence[float]) -> dict[str, Array]:
    """The estimator's arrays.

    darks: features of dark photos; lightness: their references' means. ``RIDGE``, ``WIDTH`` and ``FAR`` are those
    that were best on photos of scenes and cameras that training did not see; cross-validation within the training
    photos tells values apart by less than its own error.
    """
    known = np.stack(darks).astype(np.float64)
    wanted = np.asarray(lightness, np.float64)
    center, scale = known.mean(axis=0), known.std(axis=0) + 1e-6
    known = (known - center) / scale
    gamma = WIDTH / known.shape[1]
    weight, offset = _solve(known, wanted, gamma)
    arrays = {
        "center": center,
        "scale": scale,
        "support": known,
        "weight": weight,
        "offset": np.array(offset),
        "gamma": np.array(gamma),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def constant(value: float) -> dict[str, Array]:
    """An estimator that always gives ``value``."""
    arrays = {
        "center": [0.0],
        "scale": [1.0],
        "support": [[0.0]],
        "weight": [0.0],
        "offset": value,
        "gamma": 0.0,
    }
    return {name: np.array(each, np.float32) for name, each in arrays.items()}


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    distance = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    likeness: NDArray[np.float64] = np.exp(-gamma * distance)
    return likeness


def _solve(
    known: NDArray[np.float64], wanted: NDArray[np.float64], gamma: float
) -> tuple[NDArray[np.float64], float]:
    """Weights of the training photos and the offset: Cauchy's loss, by least squares weighted again and again."""
    kernel = _kernel(known, known, gamma)
    trust, offset = np.ones_like(wanted), float(wanted.mean())
    for _ in range(ROUNDS):
        weight = np.linalg.solve(kernel + RIDGE * np.diag(1 / trust), wanted - offset)
        reached = kernel @ weight
        trust = 1 / (1 + ((wanted - offset - reached) / FAR) ** 2)
        trust /= trust.mean()
        offset = float(np.average(wanted - reached, weights=trust))
    return np.asarray(weight, np.float64), offset
