"""Grey and luma as the field's scripts compute them: one number a pixel, each with its own weights and rounding.

All take (..., 3) RGB. Where 8-bit samples and floats are both taken, 8-bit samples give rounded 8-bit greys, and
floats of any scale give floats of that scale, not rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8] | NDArray[np.floating[Any]]

_Weights = tuple[float, float, float]

_OPENCV: _Weights = (0.299, 0.587, 0.114)
_OPENCV_8: _Weights = (9798, 19235, 3735)
"""The same in units of 2^-15, as OpenCV 4 and 5 round them for 8-bit samples."""
_LIVE: _Weights = (0.298936, 0.587043, 0.114021)
"""MATLAB's ``rgb2gray``, the first row of the inverse of NTSC's YIQ matrix, to six digits."""
_STUDIO = (65.481, 128.553, 24.966)


def grey_opencv(picture: NDArray[Any]) -> Grey:
    """OpenCV's ``RGB2GRAY``: 0.299 R + 0.587 G + 0.114 B; (..., 3) to (...)."""
    return _opencv(picture, swapped=False)


def grey_swapped(picture: NDArray[Any]) -> Grey:
    """OpenCV's ``BGR2GRAY`` given RGB, a slip of several releases: 0.114 R + 0.587 G + 0.299 B."""
    return _opencv(picture, swapped=True)


def grey_live(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """MATLAB's ``rgb2gray`` of 8-bit samples, rounded half up, as the NIQE release sees a picture."""
    return np.floor(weighted(samples, _LIVE) + 0.5).astype(np.uint8)


def luma_studio(samples: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Y of ITU-R BT.601 in studio range, 16 to 235, of 8-bit samples, not rounded to whole numbers.

    In BasicSR's steps, whose float32 shows in the ninth digit of its scores.
    """
    luma = (weighted(samples / np.float32(255), _STUDIO) + 16) / 255
    return luma.astype(np.float32) * np.float32(255)


def weighted(picture: NDArray[Any], weights: _Weights) -> NDArray[np.float64]:
    """Weighted sum of the three channels in float64: (..., 3) to (...)."""
    total = picture[..., 0] * np.float64(weights[0])
    total += picture[..., 1] * np.float64(weights[1])
    total += picture[..., 2] * np.float64(weights[2])
    return np.asarray(total)


def _opencv(picture: NDArray[Any], *, swapped: bool) -> Grey:
    if swapped:
        picture = picture[..., ::-1]
    if picture.dtype != np.uint8:
        return weighted(picture, _OPENCV).astype(picture.dtype)
    r, g, b = (picture[..., channel] * np.uint32(weight) for channel, weight in enumerate(_OPENCV_8))
    return ((r + g + b + 2**14) >> 15).astype(np.uint8)
