"""EnlightenGAN (2021): a U-Net guided by how dark each pixel is, learned from photos that are no pairs.

Source: arXiv 1906.06972, with the authors' release where the paper is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lowlight import methods
from lowlight.methods import Array, Frame, Observation, Samples
from lowlight.photo import to_float

WIDEST = 2200
"""Columns; the release reduces photos of more to half their size."""


class Config(methods.Config):
    """Sizes of the network. The defaults are the published one's, but for ``align_corners``."""

    width: int = Field(32, ge=1)
    """Channels at full size; each smaller size has twice as many."""
    levels: int = Field(5, ge=2)
    """Sizes that it works at, each half of the one before."""
    attention: bool = True
    """It is shown how dark each pixel is, and darkness weighs what it adds."""
    align_corners: bool = False
    """How maps are enlarged: their corners on those of the larger ones, as in the torch that the published weights
    were trained with, or their pixels' areas alike, which looks the same wherever it is in a photo."""


class Controls(methods.PublishedControls):
    """EnlightenGAN's controls."""

    residual: float = Field(
        1.0,
        ge=0,
        le=2,
        description="what the network adds is multiplied by this; more is lighter, 0: the input",
    )
    darken: float = Field(
        1.0,
        ge=0.25,
        le=4,
        description="what the photo is divided by before the network sees it; 2 to 4 in training, in half the photos",
    )


_Config: TypeAlias = Config
_Controls: TypeAlias = Controls


class EnlightenGAN:
    """EnlightenGAN's surface: what it observes and how it cuts."""

    name: ClassVar[str] = "enlightengan"
    title: ClassVar[str] = "EnlightenGAN: attention-guided U-Net, learned without pairs (2021)"
    Controls: ClassVar[type[methods.Controls]] = Controls
    Config: ClassVar[type[methods.Config]] = Config
    border = 0
    lightens: ClassVar[str] = "residual"

    def __init__(self, config: _Config, arrays: Mapping[str, Array]) -> None:
        """arrays: none are needed."""
        self.config = config
        self.multiple = 2 ** (config.levels - 1)
        self.halo: int | None = receptive_field(config.levels)
        # Measured for the published size: 900 bytes in ONNX Runtime, 1300 to 1600 in torch.
        self.tile_bytes = 48 * config.width + 64

    @staticmethod
    def tiny_config() -> _Config:
        """A network for tests."""
        return Config(width=2, levels=3, align_corners=True)

    def observe(self, samples: Samples, controls: methods.Controls) -> Observation:
        """The controls; where corners are aligned, also where a tile lies in the photo."""
        assert isinstance(controls, _Controls)  # noqa: S101
        values: dict[str, object] = {"residual": controls.residual, "darken": controls.darken}
        if self.config.align_corners:
            values["origin"] = (0, 0)
            values["extent"] = [-(-side // self.multiple) * self.multiple for side in samples.shape[:2]]
        return {name: np.array(value, np.float32) for name, value in values.items()}

    def released_frame(self, height: int, width: int, _controls: methods.Controls) -> Frame:
        """What the release mirrors outwards to multiples of 16."""
        rows, columns = (-side % self.multiple for side in (height, width))
        return Frame((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), mode="reflect")

    @staticmethod
    def released_reduced(samples: Samples) -> Array | None:
        """The means of 2x2 pixels of a photo wider than WIDEST, an odd last row and column left out; else None."""
        height, width = (side // 2 for side in samples.shape[:2])
        if samples.shape[1] <= WIDEST or height == 0:
            return None
        pixels = to_float(samples[: 2 * height, : 2 * width])
        reduced: Array = pixels.reshape(height, 2, width, 2, 3).mean(axis=(1, 3), dtype=np.float32)
        return reduced

    def released_enlarged(self, result: Array, height: int, width: int) -> Array:
        """A result of a reduced photo at twice its size; the row and column that are missing then are repeated."""
        for axis in (0, 1):
            result = _doubled(result, axis, aligned=self.config.align_corners)
        missing = [(0, side - have) for side, have in zip((height, width), result.shape, strict=False)]
        return np.pad(result, (*missing, (0, 0)), mode="edge")


def _doubled(values: Array, axis: int, *, aligned: bool) -> Array:
    """Twice as long along the axis, interpolated. aligned: the first and last stay first and last."""
    count = values.shape[axis]
    places: NDArray[np.float64] = (
        np.linspace(0, count - 1, 2 * count)
        if aligned
        else np.clip(np.arange(2 * count) / 2 - 0.25, 0, count - 1)
    )
    first = np.minimum(places.astype(np.intp), max(count - 2, 0))
    shape = [-1 if each == axis else 1 for each in range(values.ndim)]
    share = (places - first).astype(np.float32).reshape(shape)
    before = values.take(first, axis)
    doubled: Array = before + share * (values.take(np.minimum(first + 1, count - 1), axis) - before)
    return doubled


def receptive_field(levels: int) -> int:
    """Pixels that the network looks to each side of a core whose edges are multiples of the smallest size's pixels.

    Followed backwards from the first pixel of the core: three convolutions a size, a neighbour of a smaller size
    for each pixel; two convolutions at the smallest, then squares of four pixels, and two convolutions a size.
    """
    first = 0
    for _ in range(levels - 1):
        first = (first - 3 - 1) // 2
    first -= 2
    for _ in range(levels - 1):
        first = 2 * first - 2
    return -first
