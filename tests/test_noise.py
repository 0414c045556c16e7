"""Noise by place: normal, and the same at a place whatever it is computed with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lowlight.nn.noise import PRIME, noise_at


def noise(row: int, column: int, rows: int, columns: int, *key: int, channels: int = 12) -> Tensor:
    words = torch.tensor([key or (0, 0)])
    return noise_at(torch.tensor([[row, column]]), words, channels, rows, columns)[0]


def test_a_part_is_cut_from_the_whole() -> None:
    whole = noise(0, 0, 30, 40)
    assert torch.equal(noise(7, 13, 11, 5), whole[:, 7:18, 13:18])
    assert torch.equal(noise(0, 0, 30, 40, channels=5), whole[:5])


def test_it_is_normal_and_without_correlation() -> None:
    values = noise(0, 0, 64, 64, 3, 4, channels=48).double()
    count = values.numel()
    assert abs(float(values.mean())) < 4 / count**0.5
    assert abs(float(values.square().mean()) - 1) < 4 * (2 / count) ** 0.5
    assert abs(float(values.pow(4).mean()) - 3) < 4 * (96 / count) ** 0.5
    for shift, axis in ((1, 0), (1, 1), (1, 2), (8, 1), (7, 2), (24, 0)):
        assert abs(float((values * values.roll(shift, axis)).mean())) < 4 / count**0.5
    assert len(np.unique(values[:, 0, 0])) == 48


@pytest.mark.parametrize("key", [(1, 0), (0, 1), (PRIME - 1, 5)])
def test_every_key_gives_other_noise(key: tuple[int, int]) -> None:
    first, second = noise(0, 0, 64, 64).double(), noise(0, 0, 64, 64, *key).double()
    assert abs(float((first * second).mean())) < 4 / first.numel() ** 0.5


def test_it_fits_in_32_bits() -> None:
    """Some engines count in 32 bits."""
    wide = noise_at(torch.tensor([[5000, 9]]), torch.tensor([[PRIME - 1, 999]]), 192, 4, 4)
    narrow = noise_at(
        torch.tensor([[5000, 9]], dtype=torch.int32),
        torch.tensor([[PRIME - 1, 999]], dtype=torch.int32),
        192,
        4,
        4,
    )
    assert torch.equal(wide, narrow)
    assert wide.isfinite().all()
