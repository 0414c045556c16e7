"""EnlightenGAN's discriminators: what training needs beside the generator."""

from __future__ import annotations

from torch import Tensor, nn

from lowlight.methods.enlightengan.network import SLOPE, convolution


class Critic(nn.Module):
    """``forward(picture)``: (batch, 3, height, width) in [-1, 1] to a map of raw scores, (batch, 1, h, w).

    Convolutions of 4x4 with two pixels of zeros around, without norm; names of tensors are the published ones.
    """

    def __init__(self, layers: int, width: int) -> None:
        """layers: those that halve the size. width: channels of the first, doubled by each up to eight times."""
        super().__init__()
        widths = [width * 2 ** min(layer, 3) for layer in range(layers + 1)]
        made: list[nn.Module] = []
        for layer, (inputs, outputs) in enumerate(zip([3, *widths], [*widths, 1], strict=True)):
            if made:
                made.append(nn.LeakyReLU(SLOPE))
            made.append(convolution(inputs, outputs, 4, 2 if layer < layers else 1, 2))
        self.model = nn.Sequential(*made)

    def forward(self, picture: Tensor) -> Tensor:
        scores: Tensor = self.model(picture)
        return scores
