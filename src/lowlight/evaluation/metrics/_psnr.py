"""Peak signal-to-noise ratio: 10 log10(peak^2 / mean squared error) over all pixels and channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowlight.evaluation.grey import luma_studio
from lowlight.evaluation.metrics import _strips
from lowlight.evaluation.metrics._surface import Metric, Picture, same_size

CIDNET = 1e-8
"""What CIDNet's script adds to the mean squared error."""
RELEASE_EQUAL = 100.0
"""What GLARE's and Retinexformer's scripts give for equal pictures, in dB."""


def psnr(result: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Of 8-bit RGB (height, width, 3), in float64, in dB; inf for equal pictures. Raises UseError."""
    same_size(result, reference)
    return decibel(255, _strips.mean(_square, result, reference))


def decibel(peak: float, error: float) -> float:
    """The ratio in dB; inf without an error, -inf without a peak."""
    if error == 0:
        return math.inf
    return 10 * math.log10(peak**2 / error) if peak else -math.inf


def _square(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    square = x.astype(np.float64)
    square -= y
    square *= square
    return square.reshape(len(x), -1)


def _clipped_square(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    return _square(np.clip(x, 0, 1), np.clip(y, 0, 1))


def _luma_square(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    return _square(luma_studio(x), luma_studio(y))


def _psnr_float(result: Picture, reference: Picture) -> float:
    found = decibel(1, _strips.mean(_clipped_square, result.raw, reference.raw))
    return RELEASE_EQUAL if found == math.inf else found


def _psnr_cidnet(result: Picture, reference: Picture) -> float:
    return decibel(255, _strips.mean(_square, result.samples, reference.samples) + CIDNET)


def _psnr_cidnet_float(result: Picture, reference: Picture) -> float:
    return decibel(255, 255**2 * _strips.mean(_clipped_square, result.raw, reference.raw) + CIDNET)


class DimmaPool:
    """torchmetrics 0.10.3 without ``data_range``: squared errors pooled, peak from the references seen so far."""

    def __init__(self) -> None:
        self._errors: list[float] = []
        self._count = 0
        self._low = self._high = 0.0

    def add(self, result: Picture, other: Picture) -> None:
        self._errors.append(_strips.mean(_clipped_square, result.raw, other.raw) * result.raw.size)
        self._count += result.raw.size
        self._low = min(self._low, float(other.raw.min()))
        self._high = max(self._high, float(other.raw.max()))

    def value(self) -> float:
        return decibel(self._high - self._low, math.fsum(self._errors) / self._count)


def _psnr_dimma(result: Picture, reference: Picture) -> float:
    pool = DimmaPool()
    pool.add(result, reference)
    return pool.value()


METRICS = (
    Metric(
        "psnr",
        "8-bit RGB, peak 255, float64 (scikit-image, BasicSR, LLFlow); dB, equal pictures inf",
        "higher",
        "reference",
        lambda result, reference: psnr(result.samples, reference.samples),
    ),
    Metric(
        "psnr_y",
        "studio-range luma of 8-bit RGB, not rounded, peak 255 (BasicSR `test_y_channel`); dB, equal pictures inf",
        "higher",
        "reference",
        lambda result, reference: decibel(255, _strips.mean(_luma_square, result.samples, reference.samples)),
    ),
    Metric(
        "psnr_float",
        "floats, clipped and not rounded, peak 1 (GLARE, Retinexformer); dB, equal pictures 100",
        "higher",
        "reference",
        _psnr_float,
    ),
    Metric(
        "psnr_cidnet",
        "8-bit RGB, 1e-8 added to the mean square (CIDNet); dB, equal pictures 128.13",
        "higher",
        "reference",
        _psnr_cidnet,
    ),
    Metric(
        "psnr_cidnet_float",
        "floats, clipped and not rounded, 1e-8 added to the mean square (CIDNet's script after its gain); dB",
        "higher",
        "reference",
        _psnr_cidnet_float,
    ),
    Metric(
        "psnr_dimma_val",
        "clipped floats, peak from the references' span, errors pooled over a set (torchmetrics 0.10.3 without "
        "`data_range`, Dimma's validation); dB, comparable with nothing else",
        "higher",
        "reference",
        _psnr_dimma,
        pool=DimmaPool,
    ),
)
