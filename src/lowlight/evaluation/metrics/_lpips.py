"""LPIPS (Zhang et al. 2018): how different two pictures look to a trained network. Needs torch and its weights."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lowlight.errors import WeightsError
from lowlight.evaluation.metrics._surface import Metric, Missing, at_least
from lowlight.nn.lpips_files import NETS, Name, find_linear, find_trunk
from lowlight.places import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

    from lowlight.nn.perceptual import Perceptual


def lpips(result: NDArray[np.uint8], reference: NDArray[np.uint8], net: Name) -> float:
    """Of 8-bit RGB (height, width, 3), at full size. Nothing is fetched: raises Missing, or Undefined.

    Floats are not taken, so that their range cannot be mistaken.
    """
    at_least(NETS[net].smallest, f"LPIPS ({net})", result)
    network = _network(net, cache_folder())
    import torch

    def batch(samples: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.array(np.moveaxis(samples, -1, 0)[None], order="C")) / 255

    with torch.inference_mode():
        return float(network(batch(result), batch(reference)))


@lru_cache
def _network(net: Name, cache: Path) -> Perceptual:
    """The network, or Missing: torch takes seconds to import, so all else that it needs is looked for first."""
    if find_spec("torch") is None:
        raise Missing(f"LPIPS ({net}) needs torch: install lowlight[train]")
    try:
        trunk, linear = find_trunk(cache=cache, net=net, fetch=False), find_linear(net)

        from lowlight.nn.perceptual import from_files

        return from_files(trunk, linear, net)
    except WeightsError as error:
        raise Missing(f"LPIPS ({net}): {error}") from error


def _metric(net: Name, title: str) -> Metric:
    return Metric(
        f"lpips_{net}",
        f"8-bit RGB, LPIPS 0.1 with {title}; 0 is equal",
        "lower",
        "reference",
        lambda result, reference: lpips(result.samples, reference.samples, net),
    )


METRICS = (_metric("alex", "AlexNet (most papers)"), _metric("vgg", "VGG-16 (Dimma's loss)"))
