"""Modulated deformable convolution (Zhu, Hu, Lin, Dai, 2019): each tap looks where it is told, and weighs what it sees.

By gathers, in float32 and a tap at a time: the engines have it in common, and no map of all taps is held.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE = 3
"""Of the kernel, in taps."""
TAPS = SIDE**2
FARTHEST = 1e6
"""Pixels; further offsets lead outside any photo as well."""


def deform_conv(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x: (batch, inputs, h, w) to (batch, outputs, h, w), in float32 or wider.

    offset: (batch, 18 groups, h, w), pixels, of each group of channels and tap (row by row) down and right.
    mask: (batch, 9 groups, h, w), what each tap is multiplied by. weight: (outputs, inputs, 3, 3). Outside x is zero.
    """
    batch, inputs, height, width = x.shape
    groups = mask.shape[1] // TAPS
    maps, places = batch * groups, height * width
    with torch.autocast(x.device.type, enabled=False):
        # A row a place, maps one after the other: what is gathered lies side by side.
        rows = x.to(weight.dtype).reshape(maps, inputs // groups, places).transpose(1, 2).flatten(0, 1)
        index, share = _corners(
            offset.to(weight.dtype).reshape(maps, TAPS, 2, height, width),
            mask.to(weight.dtype).reshape(maps, TAPS, 1, height, width),
        )
        total = bias[:, None]
        for tap, kernel in enumerate(weight.flatten(2).unbind(2)):
            seen = rows.index_select(0, index[:, tap].flatten()).reshape(maps, 4, places, -1)
            seen = (seen * share[:, tap, :, :, None]).sum(dim=1)
            total = total + kernel @ seen.transpose(1, 2).reshape(batch, inputs, places)
        result: Tensor = total.reshape(batch, -1, height, width)
        return result


def _corners(offset: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The four places around each tap's point, as rows of all maps, and their shares: (maps, 9, 4, places).

    offset: (maps, 9, 2, h, w); mask: (maps, 9, 1, h, w).
    """
    maps, (height, width) = offset.shape[0], offset.shape[3:]

    def count(number: int) -> Tensor:
        return torch.arange(number, dtype=torch.int32, device=offset.device)

    taps, numbers = count(TAPS), count(maps)[:, None, None, None, None]
    down = (taps // SIDE - 1)[:, None, None] + count(height)[:, None]
    right = (taps % SIDE - 1)[:, None, None] + count(width)
    # (maps, 9, 2, h, w): of the row above and the one below, of the column before and the one after.
    row, share_of_row = _neighbours(offset[:, :, :1], down[:, None], height)
    column, share_of_column = _neighbours(offset[:, :, 1:], right[:, None], width)
    above = (height * numbers + row) * width
    index = above[:, :, :, None] + column[:, :, None]
    share = (share_of_row * mask)[:, :, :, None] * share_of_column[:, :, None]
    return index.flatten(2, 3).flatten(3), share.flatten(2, 3).flatten(3)


def _neighbours(offset: Tensor, place: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The whole numbers around place + offset, (maps, 9, 2, h, w), and the share of each, of those below count.

    Shares come from the offset alone: a sum with a place thousands of pixels away would round it.
    """
    whole = offset.floor()
    after = offset - whole
    first = place + whole.clamp(-FARTHEST, FARTHEST).int()
    both = torch.cat([first, first + 1], dim=2)
    inside = (both >= 0) & (both < count)
    return torch.where(inside, both, 0), torch.where(inside, torch.cat([1 - after, after], dim=2), 0.0)


class DeformConv(nn.Module):
    """A convolution whose offsets and masks a convolution of ``guide`` tells; at first it looks where others do."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        """groups: of the inputs' channels; each has offsets of its own."""
        super().__init__()
        start = nn.Conv2d(inputs, outputs, SIDE, padding=1)
        self.groups = groups
        self.weight = start.weight
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.conv_offset = nn.Conv2d(inputs, 3 * groups * TAPS, SIDE, padding=1)
        nn.init.zeros_(self.conv_offset.weight)
        assert self.conv_offset.bias is not None  # noqa: S101
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x, guide: (batch, inputs, h, w) to (batch, outputs, h, w)."""
        told = self.conv_offset(guide).to(self.weight.dtype)
        offset, mask = told.tensor_split([2 * self.groups * TAPS], dim=1)
        return deform_conv(x, offset, mask.sigmoid(), self.weight, self.bias)
