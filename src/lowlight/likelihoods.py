"""How likely a normally lit photo is, given the dark one: by methods that are densities, with torch.

A method is one when its network has ``density(dark, **observation)``, which gives a ``Density``. Both photos
are seen in one piece, mirrored on to the sides that the network takes; the mirrored pixels count too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from lowlight import methods, places, tiles, weights
from lowlight.enhancer import free_memory, from_array
from lowlight.errors import EngineError, PhotoError, UseError, WeightsError
from lowlight.methods import Array, Method, Samples
from lowlight.photo import Photo, read_photo, to_float

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor

    from lowlight.engines.torch import load_network
except ModuleNotFoundError:
    raise EngineError(
        "likelihoods need torch, which is not installed: pip install 'lowlight[train]'"
    ) from None

if TYPE_CHECKING:
    from torch import nn

DRAWS = 4
"""Of the noise that bits per dimension are averaged over: on whole photos they differ by a thousandth; and of
pictures that tell which bits are expected."""
WINDOW = 9
"""Side of the squares that colours are averaged over, pixels: what is left is no noise."""
MapKind = Literal["surprise", "colours", "slopes"]
"""Maps, (height, width), of where a picture is not believable.

surprise: bits a position that a pixel costs beyond what it costs in pictures that the density draws itself. Above
zero is too unlikely, as noise is; below is too likely, as what is smeared.
colours: levels of 255 by which the colour around a pixel, lightness apart, is off that of the likeliest picture.
slopes: how steeply the published NLL changes with a pixel, the 2-norm over the channels.
"""
RANGES: Mapping[MapKind, tuple[float, float] | None] = {
    "surprise": (-8.0, 8.0),
    "colours": (0.0, 48.0),
    "slopes": None,
}
"""What is painted alike on all photos, from end to end; None: painted by rank."""
RED, BLUE, PURPLE = (178, 24, 43), (33, 102, 172), (84, 39, 136)
GRADIENT_BYTES = 2
"""Memory of a gradient, in those that enhancing takes."""


class Density(Protocol):
    """Of (batch, 3, height, width) pictures, given dark ones."""

    def log_likelihood(self, picture: Tensor) -> Tensor:
        """The natural one as a sum over pixels: (batch, height, width)."""
        ...

    def draw(self, generator: torch.Generator) -> Tensor:
        """A picture as likely as the density has it, not clipped."""
        ...

    def likeliest(self) -> Tensor:
        """The picture at the middle of the latent, not clipped."""
        ...


@dataclass(frozen=True)
class Likelihood:
    """How likely one candidate is; less is more likely. Figures of one dark photo and one model compare."""

    bits_per_position: float
    """The published NLL: no noise, the prior's mean from the dark photo. A relative score of this model."""
    bits_per_dimension: float | None
    """Of the photo in 8 bits, averaged over draws of noise; comparable across models. None for a model that
    was trained without noise."""
    maps: Mapping[MapKind, Array] = field(default_factory=dict)
    """Those that were asked for."""


class Given:
    """A dark photo, seen once: how likely are others, given it?"""

    def __init__(self, density: Density, shape: tuple[int, ...], multiple: int) -> None:
        """shape: (height, width, 3) of the dark photo."""
        self.density = density
        self._shape = shape
        self._multiple = multiple
        self._expected: dict[tuple[int, int], Array] = {}

    def bits_per_position(self, picture: Array) -> float:
        """See ``Likelihood``. picture: (height, width, 3), float32, usually in [0, 1]."""
        with torch.no_grad():
            return self._bits(self._tensor(picture)).mean().item()

    def bits(self, picture: Array) -> Array:
        """(height, width): whose mean, the mirrored pixels included, is ``bits_per_position``. picture: as there.

        A layer's log-determinant at a position, and the prior's at one of the latent, are spread evenly over the
        pixels that the position covers: 2x2 at the finest, 2^levels at the coarsest.
        """
        with torch.no_grad():
            return self._cropped(self._bits(self._tensor(picture)))

    def expected(self, draws: int = DRAWS, seed: int = 0) -> Array:
        """The median over ``draws`` pictures of the density's own, clipped as photos are, of their ``bits``.

        (height, width); computed once. Not the mean: a flow that is run backwards from noise may blow up at a
        place, beyond what is finite, and what is clipped there would tell nothing.
        """
        if (draws, seed) not in self._expected:
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                pictures = (self.density.draw(generator).nan_to_num().clamp(0, 1) for _ in range(draws))
                found = [self._cropped(self._bits(picture)) for picture in pictures]
            self._expected[draws, seed] = np.median(found, axis=0)
        return self._expected[draws, seed]

    def map(self, kind: MapKind, picture: Array, draws: int = DRAWS, seed: int = 0) -> Array:
        """See ``MapKind``. picture: as for ``bits_per_position``; draws, seed: see ``expected``."""
        if kind == "surprise":
            return self.bits(picture) - self.expected(draws, seed)
        return self._colours(picture) if kind == "colours" else self._slopes(picture)

    def bits_per_dimension(self, levels: NDArray[Any], draws: int = DRAWS, seed: int = 0) -> float:
        """See ``Likelihood``. levels: (height, width, 3), whole numbers, those of 8 bits are 0 to 255.

        Each level is the middle of a cell of width 1/256 that noise fills: -log2 p(x) + 8 of a number.
        """
        if (levels != np.rint(levels)).any():
            raise PhotoError("levels: expected whole numbers, 0 to 255, got others")
        rng = np.random.default_rng(seed)
        found = [
            self.bits_per_position(((levels + rng.random(levels.shape, np.float32)) / 256).astype(np.float32))
            for _ in range(draws)
        ]
        return float(np.mean(found)) / 3 + 8

    def gradient(self, picture: Array) -> Array:
        """Of the published NLL with respect to the picture: (height, width, 3)."""
        x = self._tensor(picture).requires_grad_()
        (gradient,) = torch.autograd.grad(self._bits(x).mean(), x)
        height, width = self._shape[:2]
        return np.asarray(gradient[0].permute(1, 2, 0).numpy()[:height, :width])

    def _slopes(self, picture: Array) -> Array:
        return np.asarray(np.sqrt(np.square(self.gradient(picture)).sum(axis=2)))

    def _colours(self, picture: Array) -> Array:
        off = self._tensor(picture) - self._likeliest
        off = off - off.mean(dim=1, keepdim=True)
        around = F.avg_pool2d(off, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
        return self._cropped(255 * around.norm(dim=1)[0])

    @cached_property
    def _likeliest(self) -> Tensor:
        with torch.no_grad():
            return self.density.likeliest().clamp(0, 1)

    def _tensor(self, picture: Array) -> Tensor:
        if picture.dtype.kind != "f":
            raise PhotoError(f"picture: expected floats, usually in [0, 1], got {picture.dtype}")
        if picture.shape != self._shape:
            raise PhotoError(
                f"{picture.shape[1]}x{picture.shape[0]} pixels, and the dark photo has "
                f"{self._shape[1]}x{self._shape[0]}: expected one size"
            )
        return _tensor(picture, self._multiple)

    def _bits(self, x: Tensor) -> Tensor:
        return self.density.log_likelihood(x)[0] / -math.log(2)

    def _cropped(self, places: Tensor) -> Array:
        height, width = self._shape[:2]
        return places[:height, :width].numpy()


class Judge:
    """A model that tells how likely photos are."""

    def __init__(
        self, method: Method, network: nn.Module, *, dequantised: bool, memory: int | None = None
    ) -> None:
        """dequantised: trained with noise on the reference. memory: bytes; default: half of what is free."""
        _check_density(method.name, network)
        self.method = method
        self.network = network.eval().requires_grad_(False)
        self.dequantised = dequantised
        self.memory = memory

    @classmethod
    def load(cls, model: str | Path = places.DENSITY, memory: int | None = None) -> Judge:
        """By a model's name or a .safetensors file. Raises WeightsError, and UseError for a method without."""
        if model == places.DENSITY not in places.candidates() and not Path(model).exists():
            raise WeightsError(
                f"no weights with a likelihood are called {model!r}: train recipes/llflow.yaml or import the "
                "authors' by `lowlight import`, see docs/llflow.md, and name them by --model"
            )
        opened = weights.open_weights(model, part="")
        header = opened.header
        _check_density(header.method, methods.room(header.method, "network").Network)
        if opened.kind != "safetensors":
            raise WeightsError(f"{opened.path}: a graph gives no likelihoods; expected .safetensors")
        method = methods.create(header.method, header.config, opened.arrays)
        dequantised = header.noise_levels is not None
        return cls(method, load_network(opened), dequantised=dequantised, memory=memory)

    def given(self, low: Samples, *, slopes: bool = False) -> Given:
        """Look at a dark photo, (height, width, 3). Raises EngineError when it is too large for the memory.

        slopes: they will be asked for, and take more memory.
        """
        height, width = low.shape[:2]
        multiple = self.method.multiple
        pixels = tiles.padded(height, multiple) * tiles.padded(width, multiple)
        needed = pixels * self.method.tile_bytes * (GRADIENT_BYTES if slopes else 1)
        allowed = self.memory or free_memory() // 2
        if needed > allowed:
            share = math.sqrt(allowed / needed)
            raise EngineError(
                f"{width}x{height} pixels need about {math.ceil(needed / 1e6)} MB in one piece, and "
                f"{allowed // 1_000_000} MB are allowed: reduce both photos alike, to about "
                f"{int(width * share)}x{int(height * share)}"
            )
        observation = self.method.observe(low, self.method.Controls())
        seen = {name: torch.from_numpy(array.copy())[None] for name, array in observation.items()}
        with torch.no_grad():
            found = self.network.density(_tensor(to_float(low), multiple), **seen)  # type: ignore[operator]
        return Given(found, low.shape, multiple)

    def likelihood(
        self,
        given: Given,
        candidate: Samples,
        *,
        draws: int = DRAWS,
        seed: int = 0,
        maps: Collection[MapKind] = (),
    ) -> Likelihood:
        """Both numbers and what maps are asked for, of a candidate in any depth."""
        picture = to_float(candidate)
        levels = np.rint(picture * np.float32(255))
        return Likelihood(
            given.bits_per_position(picture),
            given.bits_per_dimension(levels, draws, seed) if self.dequantised else None,
            {kind: given.map(kind, picture, draws, seed) for kind in maps},
        )


def likelihood(
    low: Any,
    *candidates: Any,
    model: str | Path = places.DENSITY,
    draws: int = DRAWS,
    seed: int = 0,
    maps: Collection[MapKind] = (),
    memory: int | None = None,
) -> list[Likelihood]:
    """How likely each candidate is as the normally lit version of a dark photo.

    low, candidates: paths, bytes of files, PIL images, arrays (uint8, uint16, float in [0, 1]) or ``Photo``s of
    one size. draws, seed: of the noise for bits per dimension, and of the pictures that tell what to expect.
    maps: see ``MapKind``; ``paint`` makes pictures of them. memory: bytes; default: half of what is free.
    """
    if unknown := set(maps) - set(get_args(MapKind)):
        raise UseError(f"maps: expected some of {', '.join(get_args(MapKind))}, got {', '.join(unknown)}")
    judge = Judge.load(model, memory)
    given = judge.given(_photo(low).samples, slopes="slopes" in maps)
    return [
        judge.likelihood(given, _photo(each).samples, draws=draws, seed=seed, maps=maps)
        for each in candidates
    ]


def paint(kind: MapKind, values: Array) -> NDArray[np.uint8]:
    """A map, (height, width), as a picture, (height, width, 3). Ends of scales: see ``RANGES``.

    surprise: white as expected, red too unlikely, blue too likely. colours: white right, purple off. slopes: grey,
    as published: each value is the share of pixels that are no steeper, so it shows where, never how much.
    """
    limits = RANGES[kind]
    if limits is None:
        ranks = np.searchsorted(np.sort(values, axis=None), values, side="right")
        return np.rint(255 * ranks / values.size).astype(np.uint8)[..., None].repeat(3, axis=2)
    share = (values / limits[1]).clip(-1, 1)[..., None]
    above, below = (
        np.array(each, np.float32) for each in ((RED, BLUE) if kind == "surprise" else (PURPLE,) * 2)
    )
    full = np.where(share > 0, above, below)
    colours: NDArray[np.uint8] = np.rint(255 + (full - 255) * np.abs(share)).astype(np.uint8)
    return colours


def _check_density(method: str, network: object) -> None:
    """network: the module or its class."""
    if not hasattr(network, "density"):
        raise UseError(f"method {method} gives no likelihoods: its network is no density of photos")


def _photo(picture: Any) -> Photo:
    if isinstance(picture, Photo):
        return picture
    if isinstance(picture, str | os.PathLike):
        return read_photo(Path(picture))
    if isinstance(picture, bytes):
        return read_photo(picture)
    if isinstance(picture, np.ndarray):
        return from_array(picture)
    if hasattr(picture, "convert") and not picture.mode.startswith(("I", "F")):
        return from_array(np.asarray(picture.convert("RGB")))
    raise PhotoError(
        f"expected a path, bytes, an 8-bit PIL image or a NumPy array, got {type(picture).__name__}"
    )


def _tensor(picture: Array, multiple: int) -> Tensor:
    """(1, 3, height, width), mirrored at the bottom and on the right."""
    whole = tiles.mirror(picture, (0, 0), (0, 0), multiple)
    return torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1))[None])
