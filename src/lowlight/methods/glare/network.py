"""GLARE's network: conditional encoder, latent flow, codebook, and two decoders of which one feeds the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lowlight.nn.autoencoder import LATENT, Decoder, Encoder
from lowlight.nn.deform import DeformConv
from lowlight.nn.flow import Flow
from lowlight.nn.inverse_flow import InverseFlow
from lowlight.nn.noise import noise_at
from lowlight.nn.quantize import Codebook

if TYPE_CHECKING:
    from lowlight.methods.glare import CodebookConfig, Config

DARKEST = 0.001
"""Added to the dark photo, so that its logarithm is finite."""
FLATTEST = 1e-6
"""Means closer to zero are taken as this far from it where they are divided by."""
FIRST_MEAN = 0.4
"""Of what is warped, at first: the release's is near zero, and divided by, so that errors grow a hundred times."""
FIRST_SHARES = (-0.6, -1.0)
"""Logits of the dark photo's share at first, at full size and below."""


class Codec(nn.Module):
    """Pictures to codes and back: what the codebook is learned with."""

    def __init__(self, config: CodebookConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.before = nn.Conv2d(LATENT, LATENT, 1)
        self.codebook = Codebook(config.codes, LATENT)
        self.after = nn.Conv2d(LATENT, LATENT, 1)
        self.decoder = Decoder(config)

    def latent(self, picture: Tensor) -> Tensor:
        """(batch, 3, height, width) in [0, 1] to (batch, 3, h, w), before it is quantised; float32 or wider."""
        latent: Tensor = self.before(self.encoder(picture)[0])
        return latent.to(torch.promote_types(latent.dtype, torch.float32))

    def decode(self, codes: Tensor) -> Tensor:
        """(batch, 3, h, w) to a picture, which is not clipped."""
        picture: Tensor = self.decoder(self.after(codes))
        return picture

    def forward(self, picture: Tensor) -> Tensor:
        """What the codes of a picture give."""
        return self.decode(self.codebook(self.latent(picture)))


class ConditionEncoder(nn.Module):
    """What is known of the photo as it is to be: the flow's condition, the prior's mean, and features."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.condition = nn.Conv2d(LATENT, config.condition, 3, padding=1)
        self.mean = nn.Conv2d(LATENT, LATENT, 3, padding=1)

    def forward(self, dark: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """dark: (batch, 3, height, width) in [0, 1]. Condition and mean at the latent's size; features from full size."""
        code, features = self.encoder((dark + DARKEST).clamp(min=DARKEST).log())
        mean = self.mean(code)
        return (
            self.condition(code).sigmoid(),
            mean.to(torch.promote_types(mean.dtype, torch.float32)),
            features,
        )


class Mix(nn.Module):
    """Adaptive mix-up: a share of the dark photo's features in the decoder's map."""

    def __init__(self, first: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.full((1,), first))

    def forward(self, x: Tensor, feature: Tensor, fidelity: Tensor) -> Tensor:
        """x, feature: (batch, channels, h, w); fidelity: (batch,), the learned share is multiplied by."""
        share = (fidelity * self.logit.sigmoid()).clamp(0, 1)[:, None, None, None]
        return x + share * (feature - x)


class Warp(nn.Module):
    """Adds what a deformable convolution takes from the codes' features, made as large as the map on average."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.dcn = DeformConv(channels, channels, groups)
        nn.init.constant_(self.dcn.bias, FIRST_MEAN)
        self.over_batch = False
        """Take the means over the batch, as the release's training does: a picture then depends on its company."""

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x, code: (batch, channels, h, w)."""
        warped = self.dcn(code, self.offset(torch.cat([code, x], dim=1)))
        x = x.to(warped.dtype)
        axes = (0, 1, 2, 3) if self.over_batch else (1, 2, 3)
        above, below = (each.mean(dim=axes, keepdim=True) for each in (x, warped))
        away = torch.where(below < 0, -FLATTEST, FLATTEST)
        added: Tensor = x + warped * (above / torch.where(below.abs() < FLATTEST, away, below))
        return added


class MixingDecoder(nn.Module):
    """A decoder of the latent into whose levels features of the dark photo and of the codes are mixed."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.decoder = Decoder(config)
        channels = config.widths()[:-1]
        last = len(FIRST_SHARES) - 1
        self.mixes = nn.ModuleList(Mix(FIRST_SHARES[min(level, last)]) for level in range(len(channels)))
        self.warps = nn.ModuleList(Warp(each, config.deform_groups) for each in channels)

    def forward(self, z: Tensor, features: list[Tensor], codes: list[Tensor], fidelity: Tensor) -> Tensor:
        """features, codes: of the levels but the smallest, from full size."""

        def adjust(level: int, x: Tensor) -> Tensor:
            mixed = self.mixes[level](x, features[level], fidelity)
            warped: Tensor = self.warps[level](mixed, codes[level])
            return warped

        picture: Tensor = self.decoder(z, adjust)
        return picture


class Decoding(nn.Module):
    """From the flow's latent to a picture, by way of the codes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.codebook = Codebook(config.codes, LATENT)
        self.after = nn.Conv2d(LATENT, LATENT, 1)
        self.decoder = Decoder(config)
        self.mixing = MixingDecoder(config) if config.mixing else None

    def forward(self, z: Tensor, features: list[Tensor], fidelity: Tensor) -> Tensor:
        """z: (batch, 3, h, w); features: of the dark photo, from full size; fidelity: (batch,)."""
        codes = self.after(self.codebook(z))
        if self.mixing is None:
            alone: Tensor = self.decoder(codes)
            return alone
        picture: Tensor = self.mixing(z, features, self.decoder.features(codes), fidelity)
        return picture

    def each(self, z: Tensor, features: list[Tensor], fidelity: Tensor) -> Tensor:
        """Of (batch, samples, 3, h, w) the pictures, (batch, 3 * samples, height, width)."""
        batch, samples = z.shape[:2]

        def repeated(x: Tensor) -> Tensor:
            return x[:, None].expand(-1, samples, *x.shape[1:]).flatten(0, 1)

        pictures = self(z.flatten(0, 1), [repeated(each) for each in features], repeated(fidelity))
        return pictures.unflatten(0, (batch, samples)).flatten(1, 2)  # type: ignore[no-any-return]


class Network(nn.Module):
    """``forward(dark, **observation)``: (batch, 3, height, width) in [0, 1] to the enhanced picture.

    Sides are multiples of 2^(levels - 1); the result is not clipped.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConditionEncoder(config)
        self.flow = Flow(
            LATENT, config.condition, config.hidden, config.plain_steps, config.steps, config.flows, factor=1
        )
        self.decoding = Decoding(config)

    def forward(self, dark: Tensor, fidelity: Tensor, **latent: Tensor) -> Tensor:
        """fidelity: (batch,); latent: see ``draw_latents``. Gives (batch, 3 * samples, height, width)."""
        with torch.autocast(
            dark.device.type, enabled=False
        ):  # what chooses codes: another code is no small error
            condition, mean, features = self.encoder(dark)
            flow = self.flow([condition] * self.config.flows)
            latents = draw_latents(mean, **latent)
            z = torch.stack([flow.inverse(each)[0] for each in latents.unbind(1)], dim=1)
        return self.decoding.each(z, features, fidelity)

    def look_up(self, dark: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """What the second decoder draws from: the latent, features of the dark photo and of the codes, from full size.

        dark: (batch, 3, height, width) in [0, 1].
        """
        with torch.autocast(dark.device.type, enabled=False):  # as in ``forward``
            condition, mean, features = self.encoder(dark)
            z = self.flow([condition] * self.config.flows).inverse(mean)[0]
            codes = self.decoding.after(self.decoding.codebook(z))
        return z, features, self.decoding.decoder.features(codes)

    def folded(self) -> Enhancing:
        """The same ``forward`` with all that only training needs multiplied in; shares the other layers."""
        return Enhancing(self)


class Enhancing(nn.Module):
    """``Network`` for enhancing alone: the flow's inverse as plain convolutions."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.config = network.config
        self.encoder = network.encoder
        self.inverse = InverseFlow(network.flow)
        self.decoding = network.decoding

    def forward(self, dark: Tensor, fidelity: Tensor, **latent: Tensor) -> Tensor:
        """See ``Network.forward``."""
        with torch.autocast(dark.device.type, enabled=False):  # as there
            condition, mean, features = self.encoder(dark)
            z = self.inverse([condition] * self.config.flows, draw_latents(mean, **latent))
        return self.decoding.each(z, features, fidelity)


class CodesAlone(nn.Module):
    """Results without the second decoder: of the flow's latent, or of the encoder's mean as if it were that."""

    def __init__(self, network: Network, *, flow: bool) -> None:
        super().__init__()
        self.network = network
        self.flow = flow

    def forward(self, dark: Tensor, fidelity: Tensor, **latent: Tensor) -> Tensor:
        """See ``Network.forward``; no control has a say."""
        network = self.network
        condition, z, _ = network.encoder(dark)
        if self.flow:
            z = network.flow([condition] * network.config.flows).inverse(z)[0]
        decoding = network.decoding
        picture: Tensor = decoding.decoder(decoding.after(decoding.codebook(z)))
        return picture


def draw_latents(mean: Tensor, temperature: Tensor, seed: Tensor, sample: Tensor) -> Tensor:
    """What the flow's inverse starts from: (batch, samples, channels, h, w).

    mean: the prior's, (batch, channels, h, w). temperature: (batch,), the deviation of the noise around it.
    seed: (batch, 2), sample: (batch, samples): what the noise is drawn by.
    """
    samples = sample.shape[1]
    key = torch.cat([seed[:, None].expand(-1, samples, -1), sample[:, :, None]], dim=2).long().flatten(0, 1)
    noise = noise_at(torch.zeros_like(key[:, :2]), key, *mean.shape[1:])
    noise = noise.reshape(mean.shape[0], samples, *mean.shape[1:])
    return mean[:, None] + temperature[:, None, None, None, None] * noise
