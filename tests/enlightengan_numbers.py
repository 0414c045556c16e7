"""Numbers of EnlightenGAN's published code, and the networks that gave them, for the tests."""

from __future__ import annotations

import json
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import fill
from lowlight.methods.enlightengan.network import Network
from lowlight.methods.enlightengan.published import read

FIXTURES = Path(__file__).parent / "fixtures" / "enlightengan"


def numbers(name: str) -> dict[str, NDArray[Any]]:
    """All arrays of one of the fixture's files."""
    return dict(np.load(FIXTURES / f"{name}.npz"))


def listed(part: str = "generator") -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published network."""
    rows = json.loads((FIXTURES / f"weights_{part}.json").read_text())
    return {key.removeprefix("module."): tuple(shape) for key, shape, *_ in rows}


def tensors(part: str) -> dict[str, Tensor]:
    """Its tensors, by published names."""
    made = fill.checkpoint(FIXTURES / f"weights_{part}.json")
    return {key.removeprefix("module."): torch.from_numpy(array) for key, array in made.items()}


def published(*, aligned: bool = True, part: str = "generator") -> Network:
    """The generator of a made-up published checkpoint, imported as users would."""
    state = {name: tensor.numpy() for name, tensor in tensors(part).items()}
    imported = read(state, {}, {} if aligned else {"align_corners": "false"})
    network = Network(imported.config)  # type: ignore[arg-type]
    network.load_state_dict({name: torch.from_numpy(array) for name, array in imported.tensors.items()})
    return network.eval()


def picture(*names: str, height: int = 64, width: int = 48, low: float = 0.0, high: float = 0.5) -> Tensor:
    """Made-up pictures, (batch, 3, height, width) in [-1, 1]."""
    made = [fill.photo(f"egan/{name}", height, width, low, high) * 2 - 1 for name in names]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()


class _Storage:
    def __init__(self, key: str, count: int) -> None:
        self.key, self.count = key, count


class _Rebuilt:
    def __init__(self, storage: _Storage, shape: tuple[int, ...]) -> None:
        self.storage, self.shape = storage, shape

    def __reduce__(self) -> Any:
        strides = tuple(int(np.prod(self.shape[axis + 1 :])) for axis in range(len(self.shape)))
        return torch._utils._rebuild_tensor, (self.storage, 0, self.shape, strides)


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing: object) -> Any:
        if not isinstance(thing, _Storage):
            return None
        return ("storage", torch.FloatStorage, thing.key, "cpu", thing.count, None)


def write_stream(path: Path, state: dict[str, NDArray[np.float32]]) -> None:
    """A checkpoint as torch 0.3 wrote it: one stream, tensors rebuilt by what is called otherwise today."""
    values = OrderedDict(
        (name, _Rebuilt(_Storage(str(index), array.size), array.shape))
        for index, (name, array) in enumerate(state.items())
    )
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    keys = sorted(str(index) for index in range(len(state)))
    arrays = list(state.values())
    with path.open("wb") as file:
        for plain in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(plain, file, 2)
        _Pickler(file, 2).dump(values)
        pickle.dump(keys, file, 2)
        for key in keys:
            file.write(struct.pack("<q", arrays[int(key)].size) + arrays[int(key)].tobytes())
