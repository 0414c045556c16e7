"""LPIPS (Zhang et al. 2018): how different two pictures look to a trained network. Needs torch and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lowlight.engines import Device
from lowlight.errors import WeightsError
from lowlight.evaluation.metrics._surface import Metric, Missing, Samples, at_least
from lowlight.nn.lpips_files import NETS, Name, find_linear, find_trunk
from lowlight.places import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

    from lowlight.nn.perceptual import Perceptual


AT_ONCE = {"cpu": 1, "cuda": 64}
"""Pairs in one forward, by device: on a CPU more of them take the same time and more memory."""


def lpips(pairs: Sequence[tuple[Samples, Samples]], net: Name, device: Device = "cpu") -> list[float]:
    """Of (result, reference) in 8-bit RGB (height, width, 3), all of one size, in float32; nothing is resized.

    device: ``auto`` takes a GPU where there is one; what torch does not know is the CPU. Floats are not taken, so
    that their range cannot be mistaken. Nothing is fetched: raises Missing, or Undefined for small pictures.
    """
    at_least(NETS[net].smallest, f"LPIPS ({net})", pairs[0][0])
    place = _place(device)
    network = _network(net, cache_folder(), place)
    import torch

    def batch(samples: Sequence[Samples]) -> Tensor:
        return torch.from_numpy(np.moveaxis(np.stack(samples), -1, 1).copy()).to(place) / 255

    values: list[float] = []
    # TF32, torch's default for convolutions on a GPU, would change the fourth digit.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for start in range(0, len(pairs), AT_ONCE[place]):
            results, references = zip(*pairs[start : start + AT_ONCE[place]], strict=True)
            values += network(batch(results), batch(references)).tolist()
    return values


def _place(device: Device) -> Literal["cpu", "cuda"]:
    """Raises Missing without torch, or without the GPU that was asked for."""
    if find_spec("torch") is None:
        raise Missing("LPIPS needs torch: install lowlight[train]")
    if device not in ("auto", "cuda"):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise Missing("LPIPS: device cuda is not available to torch; there is: cpu")
    return "cpu"


@lru_cache
def _network(net: Name, cache: Path, place: str) -> Perceptual:
    """The network on its device, or Missing; what it needs is looked for before anything is computed."""
    trunk = _trunk(net, cache)
    try:
        linear = find_linear(net)

        from lowlight.nn.perceptual import from_files

        return from_files(trunk, linear, net).to(place)
    except WeightsError as error:
        raise Missing(f"LPIPS ({net}): {error}") from error


def _trunk(net: Name, cache: Path) -> Path:
    try:
        return find_trunk(cache=cache, net=net, fetch=False)
    except WeightsError as error:
        raise Missing(f"LPIPS ({net}): {error}") from error


def _metric(net: Name, title: str) -> Metric:
    return Metric(
        f"lpips_{net}",
        f"8-bit RGB, LPIPS 0.1 with {title}; 0 is equal",
        "lower",
        "reference",
        lambda result, reference: lpips([(result.samples, reference.samples)], net)[0],
        batch=lambda pairs, device: lpips(pairs, net, device),
        weights=lambda: _trunk(net, cache_folder()),
    )


METRICS = (_metric("alex", "AlexNet (most papers)"), _metric("vgg", "VGG-16 (Dimma's loss)"))
