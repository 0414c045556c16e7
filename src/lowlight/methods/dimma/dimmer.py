"""Dark twins of photos, as one camera takes them in the dark.

A dimmer knows a camera by two things: how much light is left at each level of illumination, and how the
colours of a dark pixel are spread, given the light one. It works on each pixel alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lowlight import methods, statistics
from lowlight.errors import WeightsError
from lowlight.methods import Array, Samples
from lowlight.methods.dimma.calibration import BINS
from lowlight.methods.dimma.retinex import Form, Values, bins, split
from lowlight.weights import (
    Header,
    check_tensors,
    encode_arrays,
    load_tensors,
    open_weights,
    save_safetensors,
)

PART = "dimmer"
"""In the header of a dimmer's file."""
COLOURS = ("red", "green", "blue")
NOISE = 0.05
"""Noise ``released``: share of the deviation of illumination that a photo gets; the rest is of scenes."""
PULL = 1.2
"""Above this factor the light photo's colours are mixed in: what stays bright keeps its colours."""
_BLOCK = 1 << 14


class DimmerConfig(methods.Config):
    """What a dimmer is."""

    kind: Literal["mixture", "deterministic"] = "mixture"
    """``mixture`` draws colours from a mixture of normal distributions; ``deterministic`` is the rival of the
    paper's Table 3: one colour for each pixel."""
    hidden: int = Field(32, ge=1)
    """Width of the three hidden layers."""
    components: int = Field(4, ge=1)
    """``mixture``: normal distributions a colour."""
    form: Form = "maximum"
    """Of the illumination: ``first`` (red alone: pixels without red become black) for the authors' dimmers."""
    noise: Literal["measured", "released"] = "measured"
    """``measured``: a twin is what is expected of each pixel, with noise that has, at each brightness, the
    covariance of red, green and blue in flat parts of the pairs' dark photos (``calibration.measure_noise``).
    ``released``, as in the paper and the authors' dimmers: illumination gets a twentieth of the deviation of
    ``std``, colours are drawn from the mixture, and values are cut, not rounded."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors, by the authors' names; all are 1x1 convolutions."""
        layers = {"backbone.0": (self.hidden, 5)}
        layers |= dict.fromkeys(("backbone.2", "backbone.4"), (self.hidden, self.hidden))
        if self.kind == "deterministic":
            layers["backbone.6"] = (len(COLOURS), self.hidden)
        else:
            heads = [f"{colour}_{head}" for colour in COLOURS for head in ("mu", "sigma.0", "pi.0")]
            layers |= dict.fromkeys(heads, (self.components, self.hidden))
        found: dict[str, tuple[int, ...]] = {}
        for name, (outputs, inputs) in layers.items():
            found |= {f"{name}.weight": (outputs, inputs, 1, 1), f"{name}.bias": (outputs,)}
        return found


class Dimming(BaseModel):
    """What a user may turn when a photo is dimmed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factor: float = Field(
        1.0, ge=0.3, le=2.0, description="light that is left, in that of the pairs the dimmer was made from"
    )
    temperature: float = Field(
        1.0, ge=0.0, le=2.0, description="variance of the noise, in that of the camera; 0: none"
    )
    seed: int = Field(0, ge=0, description="of the noise: the same photo and seed give the same twin")


class Draws(Protocol):
    """Where a dimmer's noise comes from, pixel by pixel."""

    def take(self, count: int) -> tuple[Array, Array, Array]:
        """For the next pixels: normal (count,), uniform on [0, 1) (3, count), normal (3, count)."""
        ...


class Seeded:
    """Draws of a seed. Each of the seven has a generator of its own, so no cut of a photo changes them."""

    def __init__(self, *seed: int) -> None:
        self.rngs = [np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(7)]

    def take(self, count: int) -> tuple[Array, Array, Array]:
        """See ``Draws``."""
        return (
            self.rngs[0].standard_normal(count, np.float32),
            np.stack([rng.random(count, np.float32) for rng in self.rngs[1:4]]),
            np.stack([rng.standard_normal(count, np.float32) for rng in self.rngs[4:]]),
        )


class Dimmer:
    """Makes dark twins of photos. NumPy only; any number of threads may share one."""

    def __init__(
        self,
        config: DimmerConfig,
        tensors: Mapping[str, NDArray[Any]],
        mean: NDArray[np.floating],
        std: NDArray[np.floating],
        noise: NDArray[np.floating] | None = None,
        *,
        fingerprint: str = "",
        where: Path = Path("dimmer"),
    ) -> None:
        """tensors: by the names and shapes of ``config.shapes()``. mean, std: illumination statistics (256,),
        see ``calibration.calibrate``; kept in float32, as a file holds them. noise: (6, 256), see
        ``calibration.measure_noise``; where ``config.noise`` is ``measured``. fingerprint: hash of the file.

        Raises WeightsError, which begins with ``where``, for tensors and statistics that do not fit.
        """
        expected = {name: np.empty(shape, np.float32) for name, shape in config.shapes().items()}
        self.tensors = {
            name: np.asarray(tensor, np.float32 if tensor.dtype.kind == "f" else None)
            for name, tensor in tensors.items()
        }
        check_tensors(self.tensors, expected, where)
        self.config = config
        self.arrays = {"mean": np.asarray(mean, np.float32), "std": np.asarray(std, np.float32)}
        for name, array in self.arrays.items():
            if array.shape != (BINS,) or not np.isfinite(array).all() or array.min() < 0:
                raise WeightsError(f"{where}: {name}: expected {BINS} numbers of at least 0 (a bin each)")
        if config.noise == "measured":
            if noise is None:
                raise WeightsError(f"{where}: its header lacks the array 'noise'")
            if noise.shape != (6, BINS) or not np.isfinite(noise).all():
                raise WeightsError(f"{where}: noise: expected 6 times {BINS} finite numbers")
            self.arrays["noise"] = np.asarray(noise, np.float32)
        self.fingerprint = fingerprint

    @classmethod
    def from_arrays(
        cls,
        tensors: Mapping[str, NDArray[Any]],
        mean: NDArray[np.floating],
        std: NDArray[np.floating],
        *,
        form: Form = "maximum",
    ) -> Dimmer:
        """A dimmer of tensors under the authors' names, with their noise, its sizes read from the shapes.

        form: ``first`` for the authors' own. Raises WeightsError for tensors that are no dimmer's.
        """
        return cls(config_of(tensors, form), tensors, mean, std)

    @property
    def block_bytes(self) -> int:
        """Memory that dimming takes beside the photo and its twin."""
        return _BLOCK * 4 * (4 * self.config.hidden + 9 * 4 * self.config.components + 32)

    # On pixels: planes of features first, so that all arithmetic runs along them

    def mixture(self, inputs: Array) -> tuple[Array, Array, Array]:
        """Means, deviations and weights, each (3, components, n), of the dark pixel's reflectance.

        inputs: (5, n) float32: the light pixel's reflectance and illumination, the dark one's illumination.
        """
        heads = self._layer(self._hidden(inputs), *self._heads)
        means, deviations, weights = heads.reshape(3, len(COLOURS), self.config.components, -1)
        means += inputs[:3, None]
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        # softplus; logaddexp takes five times as long
        deviations = np.maximum(deviations, 0) + np.log1p(np.exp(-np.abs(deviations)))
        return means, deviations, weights / weights.sum(axis=1, keepdims=True)

    def expected(self, inputs: Array) -> Array:
        """The dark pixel's expected reflectance (3, n); inputs: see ``mixture``."""
        if self.config.kind == "deterministic":
            return self._layer(self._hidden(inputs), *self._heads) + inputs[:3]
        means, _, weights = self.mixture(inputs)
        colours: Array = (weights * means).sum(axis=1)
        return colours

    def _hidden(self, inputs: Array) -> Array:
        hidden = inputs
        for layer in (0, 2, 4):
            hidden = self._layer(hidden, *self._packed(f"backbone.{layer}"))
            np.maximum(hidden, 0, out=hidden)
        return hidden

    @cached_property
    def _heads(self) -> tuple[Array, Array]:
        if self.config.kind == "deterministic":
            return self._packed("backbone.6")
        return self._packed(*(f"{colour}_{head}" for head in ("mu", "sigma.0", "pi.0") for colour in COLOURS))

    def _packed(self, *names: str) -> tuple[Array, Array]:
        """Weights and biases of layers as one."""
        weights, biases = (
            np.concatenate([self.tensors[f"{name}.{part}"] for name in names]) for part in ("weight", "bias")
        )
        return weights[:, :, 0, 0], biases[:, None]

    @staticmethod
    def _layer(inputs: Array, weight: Array, bias: Array) -> Array:
        result: Array = weight @ inputs
        result += bias
        return result

    def dim_pixels(
        self, light: Values, draws: Draws, *, factor: float = 1.0, temperature: float = 1.0
    ) -> tuple[Values, Values]:
        """Illumination (n,) and reflectance (n, 3) of dark twins of pixels; ``retinex.merge`` joins them.

        light: (n, 3) in [0, 1]. factor: of the light that is left. temperature: of the noise (1: the
        camera's): variances are multiplied by it, and the weights of the mixture's components taken to the
        power of 1 / temperature; at 0 all is what is likeliest, or with measured noise what is expected.
        """
        grain, uniform, normal = draws.take(len(light))
        reflectance, illumination = split(light, self.config.form)
        level = bins(illumination)
        left = factor * self.arrays["mean"][level].astype(np.float64)
        measured = self.config.noise == "measured"
        if not measured:
            left += NOISE * np.sqrt(temperature) * grain * self.arrays["std"][level].astype(np.float64)
        dimmed = np.clip(np.clip(left, 0, 1) * illumination, 0, 1)
        inputs = np.stack([*reflectance.T, illumination, dimmed]).astype(np.float32)
        if measured or self.config.kind == "deterministic":
            colours = self.expected(inputs)
        else:
            colours, _ = sample(*tempered(*self.mixture(inputs), temperature), uniform, normal)
        colours = np.maximum(colours + max(factor - PULL, 0.0) * reflectance.T, 0)
        colours = colours / (colours.sum(axis=0) + 1e-8)
        if not measured:
            return dimmed, colours.T
        dark = 3 * dimmed * colours + np.sqrt(temperature) * self._grain(bins(dimmed), normal)
        dark = np.clip(dark, 0, 1)
        total = dark.sum(axis=0)
        return total / 3, (dark / np.maximum(total, 1e-8)).T

    def _grain(self, level: NDArray[np.intp], normal: Array) -> Array:
        """Measured noise (3, n) of pixels in these bins, out of independent normal numbers (3, n)."""
        one, two, three, four, five, six = self.arrays["noise"][:, level]
        red, green, blue = normal
        return np.stack([one * red, two * red + three * green, four * red + five * green + six * blue])

    # On photos

    def whole(self, levels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Values in whole steps of an integer depth."""
        rule = np.floor if self.config.noise == "released" else np.rint
        whole: NDArray[np.floating] = rule(levels)
        return whole

    def dim(
        self,
        samples: Samples,
        *,
        factor: float = 1.0,
        temperature: float = 1.0,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> Samples:
        """The dark twin of a photo (height, width, 3), in the photo's own depth.

        factor: 0.3 to 2, light that is left, in that of the pairs the dimmer was made from. temperature: 0 to
        2, variance of the noise, in that of the camera. seed: of the noise, with the photo itself. progress:
        called with the share done. Raises ControlError for values out of range.
        """
        given = {"factor": factor, "temperature": temperature, "seed": seed}
        controls = methods.check_controls(Dimming, given, "a dimmer")
        # Two photos of one seed must not share their noise.
        draws = Seeded(controls.seed, zlib.crc32(np.ascontiguousarray(samples).data))
        scale = statistics.full_scale(samples)
        light, dark = samples.reshape(-1, 3), np.empty((samples.size // 3, 3), samples.dtype)
        for start in range(0, len(light), _BLOCK):
            part = slice(start, start + _BLOCK)
            illumination, reflectance = self.dim_pixels(
                light[part] / np.float64(scale),
                draws,
                factor=controls.factor,
                temperature=controls.temperature,
            )
            values = np.minimum(3 * illumination[:, None] * reflectance, 1) * scale
            dark[part] = values if samples.dtype.kind == "f" else self.whole(values)
            if progress is not None:
                progress(min(start + _BLOCK, len(light)) / len(light))
        return dark.reshape(samples.shape)


def tempered(
    means: Array, deviations: Array, weights: Array, temperature: float
) -> tuple[Array, Array, Array]:
    """Mixtures (3, components, n) at another temperature; at 0 the likeliest component's mean."""
    if temperature == 1:
        return means, deviations, weights
    relative = weights / weights.max(axis=1, keepdims=True)
    weights = (
        (relative == 1).astype(np.float32) if temperature == 0 else relative ** np.float32(1 / temperature)
    )
    return means, deviations * np.float32(np.sqrt(temperature)), weights / weights.sum(axis=1, keepdims=True)


def sample(
    means: Array, deviations: Array, weights: Array, uniform: Array, normal: Array
) -> tuple[Array, NDArray[np.intp]]:
    """Draws (3, n) of mixtures (3, components, n), and the components that they come from."""
    below = np.cumsum(weights[:, :-1], axis=1) <= uniform[:, None]
    component = below.sum(axis=1)
    mean, deviation = (
        np.take_along_axis(each, component[:, None], axis=1)[:, 0] for each in (means, deviations)
    )
    return mean + deviation * normal, component


def config_of(tensors: Mapping[str, NDArray[Any]], form: Form = "maximum") -> DimmerConfig:
    """Kind and sizes from the tensors' names and shapes. Raises WeightsError for tensors of something else."""
    try:
        hidden = int(tensors["backbone.0.weight"].shape[0])
        if "backbone.6.weight" in tensors:
            return DimmerConfig(kind="deterministic", hidden=hidden, form=form, noise="released")
        components = int(tensors["red_mu.weight"].shape[0])
    except (KeyError, IndexError):
        raise WeightsError("no dimmer: expected tensors backbone.0.weight and red_mu.weight") from None
    return DimmerConfig(hidden=hidden, components=components, form=form, noise="released")


# Files


def header(dimmer: Dimmer, *, name: str, licence: str, **about: Any) -> Header:
    """The header of a dimmer's file; about: other fields of ``weights.Header``."""
    return Header(
        name=name,
        method="dimma",
        part=PART,
        config=dimmer.config.model_dump(mode="json"),
        licence=licence,
        arrays=encode_arrays(dimmer.arrays),
        **about,
    )


def save_dimmer(path: Path, dimmer: Dimmer, *, name: str, licence: str, **about: Any) -> None:
    """Write a dimmer as a weights file; about: ``data``, ``notes``, ``recipe`` and ``scores`` of its header."""
    save_safetensors(path, header(dimmer, name=name, licence=licence, **about), dimmer.tensors)


def load_dimmer(name_or_path: str | Path) -> Dimmer:
    """The dimmer of a weights file. Raises WeightsError for what is none, in one line that names the file."""
    opened = open_weights(name_or_path, method="dimma", part=PART)
    if missing := {"mean", "std"} - opened.arrays.keys():
        raise WeightsError(f"{opened.path}: its header lacks the array {min(missing)!r}")
    config = DimmerConfig.model_validate(opened.header.config)
    return Dimmer(config, load_tensors(opened), **opened.arrays, fingerprint=opened.sha256, where=opened.path)
