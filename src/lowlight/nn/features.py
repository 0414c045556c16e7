"""Features of VGG (Simonyan, Zisserman 2014), frozen: what two pictures have in common beside their light."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowlight.errors import WeightsError
from lowlight.nn.lpips_files import check_hash, find_trunk, torch_cache
from lowlight.nn.perceptual import read_tensors

Input = Literal["caffe", "imagenet"]
"""What the weights want to see: ``caffe`` blue, green, red from 0 to 255; ``imagenet`` red, green, blue from 0 to 1, less
their means and divided by their deviations."""
Depth = Literal[16, 19]
BLOCKS: dict[Depth, tuple[tuple[int, ...], ...]] = {
    16: ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
"""Channels of the convolutions; pooling between the blocks."""
CAFFE_FILE = "vgg16.weight"
CAFFE_MEAN = (103.939, 116.779, 123.680)
"""Blue, green, red."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and deviations: red, green, blue."""
EPSILON = 1e-5


class VGG(nn.Module):
    """``forward(picture)``: (batch, 3, height, width) in [0, 1], RGB, to the activations of some layers.

    ``state``: tensors by the names ``conv1_1.weight`` or torchvision's ``features.0.weight``. Nothing of it is trained.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        state: Mapping[str, Tensor],
        *,
        depth: Depth = 16,
        seen_as: Input,
        layers: Sequence[str] = ("relu5_1",),
        centred: bool = True,
        pool_4: bool = True,
    ) -> None:
        """depth: layers with weights. layers: ``relu`` with block and convolution, counted from 1, in order.
        centred: means, and deviations where there are any, are taken off as in the weights' training, which losses
        do not always do. pool_4: pool after the fourth block too, as there.

        Raises WeightsError for a tensor that is missing or has another shape.
        """
        super().__init__()
        self.flipped = seen_as == "caffe"
        mean, deviation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if centred:
            mean, deviation = (CAFFE_MEAN, deviation) if seen_as == "caffe" else IMAGENET
        white = 255.0 if seen_as == "caffe" else 1.0
        self.register_buffer("shift", torch.tensor(mean).view(1, 3, 1, 1) / white)
        self.register_buffer("scale", white / torch.tensor(deviation).view(1, 3, 1, 1))
        self.pool_4 = pool_4
        self.layers = tuple(layers)
        self.convs = nn.ModuleDict()
        index, channels = 0, 3
        for block, widths in enumerate(BLOCKS[depth], start=1):
            for number, width in enumerate(widths, start=1):
                name = f"{block}_{number}"
                conv = nn.Conv2d(channels, width, 3, padding=1)
                for part, tensor in conv.state_dict().items():
                    tensor.copy_(_found(state, f"conv{name}.{part}", f"features.{index}.{part}", tensor))
                self.convs[name] = conv
                channels, index = width, index + 2
                if self.layers[-1] == f"relu{name}":
                    self.requires_grad_(False)
                    return
            index += 1  # pooling
        raise ValueError(f"layers: got {self.layers[-1]!r}")

    def forward(self, picture: Tensor) -> list[Tensor]:
        found = []
        with torch.autocast(picture.device.type, enabled=False):
            x = picture.to(self.shift.dtype)
            x = ((x.flip(1) if self.flipped else x) - self.shift) * self.scale
            for name, conv in self.convs.items():
                block, number = name.split("_")
                if number == "1" and block != "1" and (block != "5" or self.pool_4):
                    x = F.max_pool2d(x, 2)
                x = F.relu(conv(x))
                if f"relu{name}" in self.layers:
                    found.append(x)
        return found


def _found(state: Mapping[str, Tensor], name: str, other: str, like: Tensor) -> Tensor:
    tensor = state.get(name, state.get(other))
    if tensor is None:
        raise WeightsError(f"features: expected a tensor {name} or {other}, found none")
    if tensor.shape != like.shape:
        raise WeightsError(f"features: {name}: expected shape {tuple(like.shape)}, got {tuple(tensor.shape)}")
    if not tensor.isfinite().all():
        raise WeightsError(f"features: {name} holds values that are not finite")
    return tensor


def find_file(seen_as: Input, file: Path | None = None, *, cache: Path, depth: Depth = 16) -> Path:
    """The file of the weights: ``file``, or from ``cache`` or torch's cache; torchvision's is also fetched.

    Raises WeightsError with name, size, hash and every folder tried when it cannot be had.
    """
    if seen_as == "imagenet":
        return find_trunk(file, cache=cache, net="vgg" if depth == 16 else "vgg19")
    told = f"{CAFFE_FILE} (58.9 MB, tensors conv1_1.weight to conv5_3.bias; no SHA-256 of it is published)"
    if file is not None:
        if not file.is_file():
            raise WeightsError(f"{file}: no such file; expected {told}")
        check_hash(file)
        return file
    folders = [cache, torch_cache()]
    for folder in folders:
        if (folder / CAFFE_FILE).is_file():
            return folder / CAFFE_FILE
    raise WeightsError(
        f"{told} is in none of: {', '.join(map(str, folders))}; put it into one of these folders or name it in the "
        f"recipe, or choose the weights of torchvision or another loss"
    )


def load(
    file: Path,
    *,
    depth: Depth = 16,
    seen_as: Input,
    layers: Sequence[str],
    centred: bool = True,
    pool_4: bool = True,
) -> VGG:
    """The network of a file; see ``VGG``. Nothing of the file is executed. Raises WeightsError naming it."""
    try:
        return VGG(
            read_tensors(file), depth=depth, seen_as=seen_as, layers=layers, centred=centred, pool_4=pool_4
        )
    except WeightsError as error:
        if re.match("features:", str(error)):
            raise WeightsError(f"{file}: {error}") from None
        raise


def standardised(x: Tensor) -> Tensor:
    """Each channel of each picture with zero mean and unit variance: instance norm, of (batch, channel, height, width)."""
    return F.instance_norm(x, eps=EPSILON)
