"""A photo through a method: look once, tile, run, join, reach the lightness asked for, blend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowlight.engines import Device, Engine, EngineName
from lowlight.methods import Controls, Method
from lowlight.photo import Photo


@dataclass(frozen=True)
class Report:
    """What was done to one photo."""

    controls: dict[str, Any]
    """The controls as used; ``lightness`` is a number here, also when it was asked as ``auto``."""
    lightness_before: float
    lightness_after: float
    tiles: int
    seconds: float
    notes: tuple[str, ...] = ()


class Enhancer:
    """A method with weights on a device; call it many times, from several threads.

    Made by ``lowlight.load``; the training loop makes one around the network that it trains.
    """

    method: Method
    engine: Engine
    fingerprint: str
    """Hash of weights and precision: what a result must carry to count as made by this enhancer."""

    def __init__(self, method: Method, engine: Engine, *, fingerprint: str = "", memory: int | None = None) -> None:
        raise NotImplementedError

    def controls(self, **values: Any) -> Controls:
        """Checked controls; raises ControlError with name, value and range."""
        raise NotImplementedError

    def enhance_photo(
        self, photo: Photo, controls: Controls | None = None, *, memory: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> tuple[Photo, Report]:
        """Enhance a photo in tiles that fit the memory (bytes; default: half of what is free)."""
        raise NotImplementedError

    def __call__(self, picture: Any, **controls: Any) -> Any:
        """Enhance a path, PIL image, array (uint8, uint16, float in [0, 1]) or bytes; gives the same kind back.

        A path gives a path: the result is written beside the input as ``name.enhanced.suffix``.
        """
        raise NotImplementedError


def load(
    model: str | Path = "dimma", *, engine: EngineName = "onnx", device: Device = "auto",
    threads: int | None = None, fast: bool = False, precision: str = "float32",
) -> Enhancer:
    """An enhancer for a shipped model's name or a weights file."""
    raise NotImplementedError


def enhance(picture: Any, *, model: str | Path = "dimma", **controls: Any) -> Any:
    """``load(model)(picture, **controls)`` with the enhancer kept for the next call."""
    raise NotImplementedError
