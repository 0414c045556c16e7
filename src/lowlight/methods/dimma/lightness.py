"""The lightness that a reference of a dark photo likely has, guessed from the dark photo alone.

Kernel ridge regression on a photo's histograms: small enough for a weights file's header, and fitted in a
second on the training pairs. What it cannot know (the exposure that a photographer chose) stays an error of
about 0.08 on LOL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lowlight import statistics
from lowlight.methods import Array

Counts = NDArray[np.float64]
"""Histograms of a photo: (3, 256)."""

ARRAYS = frozenset({"center", "scale", "support", "weight", "offset", "gamma"})
"""Of an estimator."""
DEFAULT_LIGHTNESS = 0.455
"""Mean lightness of the references of LOL's training part."""
RIDGES = (0.1, 0.3, 1.0, 3.0)
WIDTHS = (0.03, 0.1, 0.3, 1.0)
FOLDS = 8
BINS = (0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181)
"""First values of the logarithmic bins."""
RUN = 8


def features(counts: Counts) -> Array:
    """(n,) numbers: square roots of a histogram over logarithmic bins, and two colour ratios."""
    values = counts.sum(axis=0)
    shares = np.add.reduceat(values, BINS) / values.sum()
    means = statistics.histogram_means(counts)
    ratios = np.log(means[[0, 2]] + 0.5 / 255) - np.log(means[1] + 0.5 / 255)
    return np.concatenate([np.sqrt(shares), ratios]).astype(np.float32)


def predict(estimator: Mapping[str, Array], known: Array) -> float:
    """The mean that a reference likely has, in [0, 1].

    estimator: ``center``, ``scale`` (f,) standardise the features, ``support`` (n, f) are the training
    photos' standardised ones, ``weight`` (n,), ``offset`` and ``gamma`` () turn likeness into lightness.
    """
    distance = ((estimator["support"] - (known - estimator["center"]) / estimator["scale"]) ** 2).sum(axis=1)
    likeness = np.exp(-estimator["gamma"] * distance)
    return float(np.clip(likeness @ estimator["weight"] + estimator["offset"], 0.0, 1.0))


def fit(darks: Sequence[Counts], lightness: Sequence[float]) -> tuple[dict[str, Array], float]:
    """The estimator's arrays, and its cross-validated mean absolute error.

    darks: histograms of dark photos; lightness: their references' means. Photos of one scene stand together
    in data sets, so folds are made of runs of neighbours.
    """
    known = np.stack([features(counts) for counts in darks]).astype(np.float64)
    wanted = np.asarray(lightness, np.float64)
    center, scale = known.mean(axis=0), known.std(axis=0) + 1e-6
    known = (known - center) / scale
    fold = np.arange(len(wanted)) // RUN % FOLDS
    best = (np.inf, 0.0, 0.0)
    for ridge in RIDGES:
        for width in WIDTHS:
            gamma = width / known.shape[1]
            guess = np.full_like(wanted, wanted.mean())
            for held in range(FOLDS):
                rest = fold != held
                if rest.all() or not rest.any():
                    continue
                weight, offset = _solve(known[rest], wanted[rest], ridge, gamma)
                guess[~rest] = _kernel(known[~rest], known[rest], gamma) @ weight + offset
            best = min(best, (float(np.abs(guess - wanted).mean()), ridge, gamma))
    error, ridge, gamma = best
    weight, offset = _solve(known, wanted, ridge, gamma)
    arrays = {
        "center": center,
        "scale": scale,
        "support": known,
        "weight": weight,
        "offset": np.array(offset),
        "gamma": np.array(gamma),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}, error


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
    known: NDArray[np.float64], wanted: NDArray[np.float64], ridge: float, gamma: float
) -> tuple[NDArray[np.float64], float]:
    offset = float(wanted.mean())
    kernel = _kernel(known, known, gamma) + ridge * np.eye(len(known))
    return np.asarray(np.linalg.solve(kernel, wanted - offset), np.float64), offset
