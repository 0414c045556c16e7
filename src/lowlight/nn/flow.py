"""Conditional normalizing flows: a layer is given its condition and becomes an invertible map.

A map knows both directions with their log-determinants. ``forward`` goes from a picture to its latent, as
training and likelihoods do; ``inverse`` from a latent to a picture. Maps and their log-determinants are
computed in float32 or wider, also under autocast, which only the condition networks' convolutions follow.

Layers after Glow (Kingma, Dhariwal, 2018), SRFlow (Lugmayr et al., 2020) and LLFlow (Wang et al., 2022).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 1e-4
"""Added to every scale, which lies in (SMALLEST, 1 + SMALLEST)."""


class Map(Protocol):
    """An invertible map of (batch, channels, height, width) tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z and log |det dz/dx|, (batch,)."""
        ...

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """x and log |det dx/dz|, (batch,)."""
        ...

    def by_place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z and log |det dz/dx| as a sum over x's pixels: (batch, height, width) of x.

        What a layer adds at a position is spread evenly over the pixels that the position covers.
        """
        ...


# Maps


@dataclass(frozen=True)
class Affine:
    """z = (x + shift) * scale, element by element; shift and scale have the shape of x."""

    shift: Tensor
    scale: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x + self.shift) * self.scale, self._log_det()

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z / self.scale - self.shift, -self._log_det()

    def by_place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x + self.shift) * self.scale, self.scale.log().sum(dim=1)

    def _log_det(self) -> Tensor:
        return self.scale.log().flatten(1).sum(dim=1)


@dataclass(frozen=True)
class Chain:
    """Maps one after the other."""

    maps: Sequence[Map]
    names: Sequence[str]

    def named(self) -> Iterator[tuple[str, Map]]:
        return zip(self.names, self.maps, strict=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = _zeros(x)
        for each in self.maps:
            x, log_det = each.forward(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = _zeros(z)
        for each in reversed(self.maps):
            z, log_det = each.inverse(z)
            total = total + log_det
        return z, total

    def by_place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros_like(x[:, 0])
        for each in self.maps:
            x, log_det = each.by_place(x)
            total = total + spread(log_det, total)
        return x, total


@dataclass(frozen=True)
class _Squeezed:
    factor: int

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x, self.factor), _zeros(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(z, self.factor), _zeros(z)

    def by_place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward(x)[0], torch.zeros_like(x[:, 0])


@dataclass(frozen=True)
class _Normalised:
    layer: ActNorm

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.layer.start(x)
        bias, logs = self._columns()
        return (x + bias) * logs.exp(), self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        bias, logs = self._columns()
        return z * (-logs).exp() - bias, -self._log_det(z)

    def by_place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward(x)[0], self.layer.logs.sum().expand(x[:, 0].shape)

    def _columns(self) -> tuple[Tensor, Tensor]:
        return self.layer.bias[:, None, None], self.layer.logs[:, None, None]

    def _log_det(self, x: Tensor) -> Tensor:
        return (self.layer.logs.sum() * _positions(x)).expand(x.shape[0])


@dataclass(frozen=True)
class _Mixed:
    weight: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return mix(x, self.weight), self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return mix(z, inverse_of(self.weight)), -self._log_det(z)

    def by_place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return mix(x, self.weight), torch.linalg.slogdet(self.weight)[1].expand(x[:, 0].shape)

    def _log_det(self, x: Tensor) -> Tensor:
        log_det: Tensor = torch.linalg.slogdet(self.weight)[1] * _positions(x)
        return log_det.expand(x.shape[0])


@dataclass(frozen=True)
class _Coupled:
    layer: Coupling
    condition: Tensor
    early: Tensor | None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = x.tensor_split([self.layer.net.own], dim=1)
        changed, log_det = self._affine(kept).forward(changed)
        return torch.cat([kept, changed], dim=1), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = z.tensor_split([self.layer.net.own], dim=1)
        changed, log_det = self._affine(kept).inverse(changed)
        return torch.cat([kept, changed], dim=1), log_det

    def by_place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, changed = x.tensor_split([self.layer.net.own], dim=1)
        changed, log_det = self._affine(kept).by_place(changed)
        return torch.cat([kept, changed], dim=1), log_det

    def _affine(self, kept: Tensor) -> Affine:
        return Affine(*self.layer.net(self.condition, kept, early=self.early))


def mix(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply the channels of every pixel with a square matrix; float32 also under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        # A matrix product: convolutions may be rounded to TF32 on a GPU.
        mixed: Tensor = F.linear(x.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
        return mixed


def inverse_of(weight: Tensor) -> Tensor:
    """The inverse of a square matrix, taken in float64."""
    inverted: Tensor = torch.linalg.inv(weight.double()).to(weight.dtype)
    return inverted


def spread(sums: Tensor, pixels: Tensor) -> Tensor:
    """Each number evenly over the pixels of its square: (batch, rows, columns) to the size of ``pixels``."""
    factor = pixels.shape[1] // sums.shape[1]
    return sums.repeat_interleave(factor, 1).repeat_interleave(factor, 2) / factor**2


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)


def _positions(x: Tensor) -> int:
    return x.shape[2] * x.shape[3]


def find_non_finite(flow: Map, x: Tensor) -> str:
    """Where on the way of x forward a value first is not finite, in words: ``level 2, step 3, coupling``."""

    def walk(each: Map, x: Tensor, place: list[str]) -> tuple[Tensor, str]:
        if isinstance(each, Chain):
            for name, part in each.named():
                x, found = walk(part, x, [*place, name])
                if found:
                    return x, found
            return x, ""
        z, log_det = each.forward(x)
        return z, "" if bool(z.isfinite().all() and log_det.isfinite().all()) else ", ".join(place)

    with torch.no_grad():
        if not bool(x.isfinite().all()):
            return "input"
        return walk(flow, x, [])[1] or "prior"


# Layers


class Squeeze(nn.Module):
    """Squares of factor x factor pixels become channels: channel c * factor^2 + dy * factor + dx."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, _condition: Tensor | None = None) -> Map:
        return _Squeezed(self.factor)


class ActNorm(nn.Module):
    """z = (x + bias) * exp(logs), a channel each.

    In training the first batch sets both so that z has zero mean and unit variance, unless a bias is
    different from zero already: then the layer was started before.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.logs = nn.Parameter(torch.zeros(channels))
        self._started = False

    def forward(self, _condition: Tensor | None = None) -> Map:
        return _Normalised(self)

    def must_start(self) -> bool:
        """Whether this is the first batch of a training from the beginning."""
        if self.training and not self._started:
            self._started = bool(self.bias.detach().any())
        return self.training and not self._started

    def start(self, x: Tensor) -> None:
        """Set bias and logs by a batch, (batch, channels, height, width), if they have to be."""
        if self.must_start():
            with torch.no_grad():
                variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
                self.bias.copy_(-mean)
                self.logs.copy_(-torch.log(variance.sqrt() + 1e-6))
            self._started = True


class Mix(nn.Module):
    """An invertible 1x1 convolution: a plain square matrix at every pixel, orthogonal at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])

    def forward(self, _condition: Tensor | None = None) -> Map:
        return _Mixed(self.weight)


class ConditionNet(nn.Module):
    """Shift and scale of an affine map, from a condition and, in couplings, the channels that stay.

    3x3 convolution, norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution times exp(3 logs). The norms and
    that last factor are multiplied into the convolutions' weights. Odd output channels give the scale,
    sigmoid(h + 2) + 1e-4, even ones the shift.
    """

    def __init__(self, own: int, condition: int, hidden: int, channels: int) -> None:
        """own: channels that stay (0: none); channels: of shift and of scale."""
        super().__init__()
        self.own = own
        self.first = nn.Parameter(0.05 * torch.randn(hidden, own + condition, 3, 3))
        self.first_norm = ActNorm(hidden)
        self.second = nn.Parameter(0.05 * torch.randn(hidden, hidden, 1, 1))
        self.second_norm = ActNorm(hidden)
        self.last = nn.Parameter(torch.zeros(2 * channels, hidden, 3, 3))
        self.last_bias = nn.Parameter(torch.zeros(2 * channels))
        self.logs = nn.Parameter(torch.zeros(2 * channels))

    def early(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the first convolution where it sees the condition."""
        weight, bias = self.folded_first()
        return weight[:, self.own :], bias

    def forward(
        self, condition: Tensor, own: Tensor | None = None, *, early: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Shift and scale, float32 or wider. early: what ``early`` gives of the condition, if it is known."""
        if self.first_norm.must_start():
            self._start(condition, own)
            early = None
        if early is None:
            early = F.conv2d(condition, *self.early(), padding=1)
        h = early
        if own is not None:
            h = h + F.conv2d(own, self.folded_first()[0][:, : self.own], padding=1)
        h = F.conv2d(F.relu(h), *self.folded_second())
        h = F.conv2d(F.relu(h), *self.late(), padding=1)
        shift, logit = h.to(torch.promote_types(h.dtype, torch.float32)).chunk(2, dim=1)
        return shift, torch.sigmoid(logit + 2) + SMALLEST

    def folded_first(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the first convolution with its norm; channels that stay come first."""
        return _fold(self.first, self.first_norm)

    def folded_second(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the second convolution with its norm."""
        return _fold(self.second, self.second_norm)

    def late(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the last convolution, shifts before scales."""
        factor = (3 * self.logs).exp()
        weight, bias = self.last * factor[:, None, None, None], self.last_bias * factor
        return _evens_first(weight), _evens_first(bias)

    @torch.no_grad()
    def _start(self, condition: Tensor, own: Tensor | None) -> None:
        x = condition if own is None else torch.cat([own, condition], dim=1)
        h = F.conv2d(x, self.first, padding=1)
        self.first_norm.start(h.float())
        h = F.relu(F.conv2d(x, *self.folded_first(), padding=1))
        self.second_norm.start(F.conv2d(h, self.second).float())


def _fold(weight: Tensor, norm: ActNorm) -> tuple[Tensor, Tensor]:
    """A convolution without bias and the norm after it, as one convolution."""
    scale = norm.logs.exp()
    return weight * scale[:, None, None, None], norm.bias * scale


def _evens_first(x: Tensor) -> Tensor:
    return torch.unflatten(x, 0, (-1, 2)).transpose(0, 1).flatten(0, 1)


class Injection(nn.Module):
    """An affine map of all channels, from the condition alone."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.net = ConditionNet(0, condition, hidden, channels)

    def forward(self, condition: Tensor, *, early: Tensor | None = None) -> Map:
        """condition: (batch, condition channels, height, width), the size of what is mapped."""
        return Affine(*self.net(condition, early=early))


class Coupling(nn.Module):
    """An affine map of the second half of the channels, from the condition and the first half, which stays.

    Of an odd number the first half is the smaller one.
    """

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.net = ConditionNet(channels // 2, condition, hidden, channels - channels // 2)

    def forward(self, condition: Tensor, *, early: Tensor | None = None) -> Map:
        """condition: as for ``Injection``."""
        return _Coupled(self, condition, early)


class Step(nn.Module):
    """A step of the flow: ActNorm, mix and, where it is conditioned, injection and coupling."""

    def __init__(self, channels: int, condition: int | None, hidden: int) -> None:
        """condition: channels of the condition; None: the step has none."""
        super().__init__()
        self.norm = ActNorm(channels)
        self.mix = Mix(channels)
        self.injection = None if condition is None else Injection(channels, condition, hidden)
        self.coupling = None if condition is None else Coupling(channels, condition, hidden)

    def nets(self) -> Iterator[ConditionNet]:
        """The networks that see the condition."""
        if self.injection is not None and self.coupling is not None:
            yield self.injection.net
            yield self.coupling.net

    def forward(self, condition: Tensor, *, early: Sequence[Tensor] = ()) -> Map:
        maps: list[Map] = [self.norm(), self.mix()]
        if self.injection is not None and self.coupling is not None:
            first, second = early or (None, None)
            maps += [self.injection(condition, early=first), self.coupling(condition, early=second)]
        return Chain(maps, ["norm", "mix", "injection", "coupling"][: len(maps)])


class Level(nn.Module):
    """A squeeze, then steps: first those without condition, then the conditioned ones."""

    def __init__(
        self, channels: int, condition: int, hidden: int, plain: int, steps: int, factor: int = 2
    ) -> None:
        """channels: of the input; the level works on factor^2 times as many."""
        super().__init__()
        self.squeeze = Squeeze(factor)
        self.steps: Sequence[Step] = nn.ModuleList(  # type: ignore[assignment]
            Step(factor**2 * channels, None if index < plain else condition, hidden)
            for index in range(plain + steps)
        )

    def nets(self) -> list[ConditionNet]:
        """The networks that see the condition, in order."""
        return [net for step in self.steps for net in step.nets()]

    def forward(self, condition: Tensor) -> Map:
        """condition: at the size after the squeeze."""
        pieces: Iterator[Tensor] = iter(())
        if folded := [net.early() for net in self.nets()]:
            # What all networks see of the condition first, in one wide convolution.
            weights, biases = zip(*folded, strict=True)
            early = F.conv2d(condition, torch.cat(weights), torch.cat(biases), padding=1)
            pieces = iter(torch.split(early, [len(bias) for bias in biases], dim=1))
        maps = [step(condition, early=[next(pieces) for _ in step.nets()]) for step in self.steps]
        return Chain(
            [self.squeeze(), *maps], ["squeeze", *(f"step {index + 1}" for index in range(len(maps)))]
        )


class Flow(nn.Module):
    """Levels that reduce the size: a picture to a latent of as many numbers, at 1 / factor^levels of its size."""

    def __init__(
        self, channels: int, condition: int, hidden: int, plain: int, steps: int, levels: int, factor: int = 2
    ) -> None:
        """factor: 1 leaves the size as it is."""
        super().__init__()
        self.levels: Sequence[Level] = nn.ModuleList(  # type: ignore[assignment]
            Level(channels * factor ** (2 * index), condition, hidden, plain, steps, factor)
            for index in range(levels)
        )

    def forward(self, conditions: Sequence[Tensor]) -> Map:
        """conditions: one a level, at the sizes after their squeezes."""
        maps = [level(u) for level, u in zip(self.levels, conditions, strict=True)]
        return Chain(maps, [f"level {index + 1}" for index in range(len(maps))])


# Prior


def log_prob(z: Tensor, mean: Tensor, log_det: Tensor) -> Tensor:
    """Natural log-likelihood (batch,) of what became z, under a Gaussian of that mean and unit variance."""
    return log_det - 0.5 * ((z - mean).square() + math.log(2 * math.pi)).flatten(1).sum(dim=1)


def bits_per_position(log_likelihood: Tensor, x: Tensor) -> Tensor:
    """The published NLL: bits for each position of x, (batch, 3, height, width); three dimensions each."""
    return -log_likelihood / (math.log(2) * x.shape[2] * x.shape[3])


def log_prob_by_place(flow: Map, x: Tensor, mean: Tensor) -> Tensor:
    """Natural log-likelihood of x under a flow to that Gaussian, as a sum over its pixels: (batch, height, width)."""
    z, log_det = flow.by_place(x)
    return log_det + spread(-0.5 * ((z - mean).square() + math.log(2 * math.pi)).sum(dim=1), log_det)
