"""Normal noise by place: the same number at the same place, whatever tile it is computed in, on every engine."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PRIME = 46337
"""The largest whose squares fit in 32 bits, as some engines count, and for which cubing loses nothing."""


def noise_at(origin: Tensor, key: Tensor, channels: int, rows: int, columns: int) -> Tensor:
    """(batch, channels, rows, columns) numbers of unit variance, from place and key alone.

    origin: (batch, 2) integers, row and column of the first number. key: (batch, words) integers in
    [0, PRIME), such as a seed. A Feistel network of two words whose rounds cube, as in MiMC (Albrecht et al.,
    2016), mixes key, row, column and channel; Box and Muller's formula makes the two words a normal number.
    """
    device = origin.device
    row = (origin[:, 0, None] + torch.arange(rows, device=device))[:, None, :, None]
    column = (origin[:, 1, None] + torch.arange(columns, device=device))[:, None, None, :]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    a = b = torch.zeros_like(origin[:, :1, None, None])
    # Large arrays last: only the channel's rounds work on all numbers.
    words = [*key[:, :, None, None, None].unbind(1), row, column, channel, channel]
    for index, word in enumerate(words):
        mixed = (b + word + 7919 * (index + 1)) % PRIME
        a, b = b, (a + mixed * mixed % PRIME * mixed) % PRIME
    # OpenVINO computes remainders in float32: other numbers there, but no logarithm of what is above one.
    first, second = ((word.clamp(0, PRIME - 1).float() + 0.5) / PRIME for word in (a, b))
    return torch.sqrt(-2 * torch.log(first)) * torch.cos(2 * math.pi * second)
