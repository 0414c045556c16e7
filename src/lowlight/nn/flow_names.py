"""What the releases of LLFlow and GLARE, whose flows are one code, call the tensors of ``nn.flow``'s steps."""

from __future__ import annotations

import re
from typing import Any

from numpy.typing import NDArray

_NET = {
    "0.weight": "first",
    "0.actnorm.bias": "first_norm.bias",
    "0.actnorm.logs": "first_norm.logs",
    "2.weight": "second",
    "2.actnorm.bias": "second_norm.bias",
    "2.actnorm.logs": "second_norm.logs",
    "4.weight": "last",
    "4.bias": "last_bias",
    "4.logs": "logs",
}
_HERE = {
    "actnorm.bias": "norm.bias",
    "actnorm.logs": "norm.logs",
    "invconv.weight": "mix.weight",
    **{f"affine.fFeatures.{key}": f"injection.net.{name}" for key, name in _NET.items()},
    **{f"affine.fAffine.{key}": f"coupling.net.{name}" for key, name in _NET.items()},
}
_PUBLISHED = {here: published for published, here in _HERE.items()}


def rename(key: str, steps: int, squeezes: int) -> str | None:
    """The name here of a published flow tensor; None for a key that is none.

    The release numbers its layers through all levels. steps: of a level; squeezes: 1 where each level begins with
    a layer that has no tensors, else 0.
    """
    found = re.fullmatch(r"flowUpsamplerNet\.layers\.(\d+)\.(.+)", key)
    if found is None or found[2] not in _HERE:
        return None
    level, step = divmod(int(found[1]), squeezes + steps)
    return f"flow.levels.{level}.steps.{step - squeezes}.{_HERE[found[2]]}"


def unname(name: str, steps: int, squeezes: int) -> str | None:
    """The published name of a flow tensor here, as ``rename`` backwards; None for a name that is none."""
    found = re.fullmatch(r"flow\.levels\.(\d+)\.steps\.(\d+)\.(.+)", name)
    if found is None or found[3] not in _PUBLISHED:
        return None
    layer = int(found[1]) * (squeezes + steps) + squeezes + int(found[2])
    return f"flowUpsamplerNet.layers.{layer}.{_PUBLISHED[found[3]]}"


def flat(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """A tensor in its shape here: published norms have their channels between axes of length one."""
    return tensor.reshape(-1) if name.startswith("flow.") and name.endswith(("norm.bias", "logs")) else tensor
