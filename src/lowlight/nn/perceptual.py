"""LPIPS (Zhang et al. 2018), version 0.1: how different two pictures look, frozen, in float32."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lowlight.errors import WeightsError
from lowlight.nn.lpips_files import NETS, Name, find_linear, find_trunk

EPSILON = 1e-10


class Perceptual(nn.Module):
    """``forward(a, b)``: (batch, 3, height, width) pictures in [0, 1] to (batch,) distances.

    ``state``: tensors by the names of LPIPS (``net.slice1.0.weight``, ``lins.0.model.1.weight``), of
    torchvision (``features.0.weight``) or of this module. Nothing of it is trained.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, state: Mapping[str, Tensor], net: Name = "vgg") -> None:
        super().__init__()
        self.compared = NETS[net].compared
        layers: list[nn.Module] = []
        width, widths = 3, []
        for convolution in NETS[net].layers:
            if convolution is None:
                layers.append(nn.MaxPool2d(NETS[net].pooling, 2))
                continue
            channels, kernel, stride, padding = convolution
            layers += [nn.Conv2d(width, channels, kernel, stride, padding), nn.ReLU()]
            width = channels
            if len(layers) - 1 in self.compared:
                widths.append(width)
        self.features = nn.Sequential(*layers)
        self.linear = nn.ParameterList(torch.empty(1, each, 1, 1) for each in widths)
        self.register_buffer(
            "shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False
        )
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)
        _load(self, state)
        self.requires_grad_(False)

    def layers(self, a: Tensor, b: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """(5, batch): what each compared layer adds to the distance.

        dropout: draws, from this generator, half of the features to leave out, as LPIPS' own training does.
        """
        with torch.autocast(a.device.type, enabled=False):
            terms = []
            for x, y, weight in zip(self._features(a), self._features(b), self.linear, strict=True):
                square = (x - y) ** 2
                if dropout is not None:
                    square = square * (2 * torch.empty_like(square).bernoulli_(0.5, generator=dropout))
                terms.append((square * weight).sum(dim=1).mean(dim=(1, 2)))
            return torch.stack(terms)

    def forward(self, a: Tensor, b: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        return self.layers(a, b, dropout).sum(dim=0)

    def _features(self, picture: Tensor) -> Iterator[Tensor]:
        """The compared activations, of unit length at each pixel."""
        x = (2 * picture.float() - 1 - self.shift) / self.scale
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.compared:
                # vector_norm: the gradient of a square root at 0 would be NaN where no feature is active
                yield x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + EPSILON)


def _load(module: Perceptual, state: Mapping[str, Tensor]) -> None:
    """Fill all tensors from differently named ones; raises WeightsError for a missing or wrong one."""
    expected = module.state_dict()
    given: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if match := re.fullmatch(r"(?:net\.slice\d\.|features\.)(\d+\.(?:weight|bias))", key):
            given[f"features.{match[1]}"] = tensor
        elif match := re.fullmatch(r"(?:lins\.|lin|linear\.)(\d)(?:\.model\.1\.weight)?", key):
            given[f"linear.{match[1]}"] = tensor
    for key, tensor in expected.items():
        if key not in given:
            raise WeightsError(f"perceptual weights: expected a tensor {key}, found none")
        if given[key].shape != tensor.shape:
            raise WeightsError(
                f"perceptual weights: {key}: expected shape {tuple(tensor.shape)}, got {tuple(given[key].shape)}"
            )
        if not given[key].isfinite().all():
            raise WeightsError(f"perceptual weights: {key} holds values that are not finite")
    module.load_state_dict({key: given[key].float() for key in expected})


def load(trunk: Path | None = None, *, cache: Path, net: Name = "vgg") -> Perceptual:
    """The published LPIPS; arguments as in ``find_trunk``, which fetches what is missing."""
    return from_files(find_trunk(trunk, cache=cache, net=net), find_linear(net), net)


def from_files(trunk: Path, linear: Path, net: Name) -> Perceptual:
    """LPIPS of files that were found. Raises WeightsError for what they lack."""
    return Perceptual({**read_tensors(trunk), **read_tensors(linear)}, net)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; nothing of it is executed. Raises WeightsError for whatever is none."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged pickle can raise anything; torch's own message advises to switch safety off
        raise WeightsError(f"{path}: expected a file of tensors; fetch it again") from None
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise WeightsError(f"{path}: expected a file of tensors, by name")
    return state
