"""A flow's inverse as plain convolutions: what enhancing and exporting need, and nothing of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowlight.nn.flow import SMALLEST, ConditionNet, Flow, Level, Step, inverse_of


class InverseFlow(nn.Module):
    """``Flow``'s inverse without log-determinant. Matrices are inverted once, in float64; norms and scales are
    multiplied into the convolutions."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_InverseLevel(level) for level in flow.levels)

    def forward(self, conditions: Sequence[Tensor], z: Tensor) -> Tensor:
        """conditions: one a level, as for ``Flow``; z: latents, (batch, samples, channels, height, width).

        Gives a picture of each, (batch, samples, 3, ...). What depends on the condition alone is computed once.
        """
        for level, condition in zip(reversed(self.levels), reversed(conditions), strict=True):
            z = level(condition, z)
        return z


class _InverseLevel(nn.Module):
    def __init__(self, level: Level) -> None:
        super().__init__()
        self.factor = level.squeeze.factor
        folded = [net.early() for net in level.nets()]
        self.early = None
        if folded:
            weights, biases = zip(*folded, strict=True)
            self.early = _conv(torch.cat(weights), torch.cat(biases))
        self.widths = [len(bias) for _, bias in folded]
        self.steps: Sequence[_InverseStep] = nn.ModuleList(  # type: ignore[assignment]
            _InverseStep(step) for step in reversed(level.steps)
        )

    def forward(self, condition: Tensor, z: Tensor) -> Tensor:
        pieces: list[Tensor] = []
        if self.early is not None:
            pieces = list(torch.split(self.early(condition), self.widths, dim=1))
        for step in self.steps:
            taken = [pieces.pop() for _ in range(step.nets)][::-1]
            z = step(z, *taken)
        return z if self.factor == 1 else _each(lambda x: F.pixel_shuffle(x, self.factor), z)


class _InverseStep(nn.Module):
    def __init__(self, step: Step) -> None:
        super().__init__()
        self.nets = len(list(step.nets()))
        if step.injection is not None and step.coupling is not None:
            self.injection = _Net(step.injection.net)
            self.coupling = _Net(step.coupling.net)
            self.own = step.coupling.net.own
        weight, logs, bias = (
            each.detach().double() for each in (step.mix.weight, step.norm.logs, step.norm.bias)
        )
        unmixed = (inverse_of(weight) * (-logs).exp()[:, None])[:, :, None, None]
        self.unmix = _conv(unmixed.to(step.mix.weight.dtype), -bias.to(step.mix.weight.dtype))

    def forward(self, z: Tensor, *early: Tensor) -> Tensor:
        if early:
            kept, changed = z.tensor_split([self.own], dim=2)
            shift, scale = self.coupling(early[1], kept)
            z = torch.cat([kept, changed / scale - shift], dim=2)
            shift, scale = self.injection(early[0])
            z = z / scale - shift
        with torch.autocast(z.device.type, enabled=False):
            return _each(self.unmix, z)


class _Net(nn.Module):
    """``ConditionNet`` after its first convolution of the condition."""

    def __init__(self, net: ConditionNet) -> None:
        super().__init__()
        self.own = None if not net.own else _conv(net.folded_first()[0][:, : net.own])
        self.second = _conv(*net.folded_second())
        self.last = _conv(*net.late())

    def forward(self, early: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """early: (batch, hidden, ...); own: (batch, samples, ...). Without own, one sample stands for all."""
        h = early[:, None]
        if self.own is not None and own is not None:
            h = h + _each(self.own, own)
        h = _each(lambda x: self.last(F.relu(self.second(F.relu(x)))), h)
        shift, logit = h.to(torch.promote_types(h.dtype, torch.float32)).chunk(2, dim=2)
        return shift, torch.sigmoid(logit + 2) + SMALLEST


def _each(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A layer on each sample of (batch, samples, channels, height, width)."""
    y = layer(x.flatten(0, 1))
    return y.reshape(*x.shape[:2], *y.shape[1:])


def _conv(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    outputs, inputs, size, _ = weight.shape
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias is not None, dtype=weight.dtype)
    conv.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv
