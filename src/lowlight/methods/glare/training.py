"""GLARE's training, in three stages: a codebook of normal light, the flow that finds codes, the decoder that mixes.

The first stage is not in the release; its losses and their weights are the paper's as others quote them, the rest is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lowlight import weights
from lowlight.errors import RecipeError
from lowlight.evaluation import metrics
from lowlight.methods.glare import CODEBOOK, CodebookConfig, Config
from lowlight.methods.glare.critic import DEPTH, Critic
from lowlight.methods.glare.network import Codec, Network, Warp
from lowlight.nn import features
from lowlight.nn.autoencoder import LATENT, without_effect
from lowlight.nn.flow import bits_per_position, find_non_finite, log_prob
from lowlight.nn.quantize import Codebook
from lowlight.nn.structure import WINDOW, similarity
from lowlight.training import stage
from lowlight.training.data import Batch, Mixture, Pair, Pixels
from lowlight.training.released import Released, epoch_batch, released_pairs
from lowlight.training.stage import Moment, Optimizer, Player, Schedule

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of MS-SSIM, from full size."""
SMALLEST = 2 ** (len(SCALE_WEIGHTS) - 1)
"""Side of the smallest picture that has all scales."""
PERCEPTUAL = ("relu1_2", "relu2_2", "relu3_3")
"""Of VGG-16."""
SEMANTIC = ("relu3_4", 256)
"""Of VGG-19, at a quarter of the size, and its channels."""
NEVER = 1 << 40
"""Steps."""
SHORT_SIDE = 400
RESIZED = (320, 400)
"""Least and largest short side that the release resizes photos of ``SHORT_SIDE`` to."""


# Losses


def similarity_of_scales(a: Tensor, b: Tensor) -> Tensor:
    """The release's MS-SSIM of (batch, 3, height, width) pictures in [0, 1], sides at least 16: one number.

    As published the similarity at the smallest scale counts four times over, and the contrast there never.
    """
    found: list[tuple[Tensor, Tensor]] = []
    for scale in range(len(SCALE_WEIGHTS)):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        alike, contrast = similarity(a, b, min(WINDOW, *a.shape[2:]))
        found.append(((alike.mean() + 1) / 2, (contrast.mean() + 1) / 2))
    last = found[-1][0] ** SCALE_WEIGHTS[-1]
    parts = [contrast**weight * last for (_, contrast), weight in zip(found, SCALE_WEIGHTS, strict=True)]
    return torch.stack(parts[:-1]).prod()


class PictureSettings(stage.Settings):
    """Weights of a picture's errors, of the first stage and the third."""

    l1: float = Field(1.0, ge=0)
    """Weight of the absolute error."""
    perceptual: float = Field(0.01, ge=0)
    """Weight of the squared error of three of VGG-16's layers, which see the picture as it is; 0: no weights of VGG-16
    are needed."""
    ssim: float = Field(0.2, ge=0)
    """Weight of what the release's MS-SSIM lacks to 1."""
    vgg16_file: Path | None = None
    """File of VGG-16's weights; default: torchvision's is searched for in the caches, and then downloaded."""

    def check_crop(self, crop: int) -> None:
        """Raise RecipeError for crops that have not all scales."""
        if self.ssim and crop < SMALLEST:
            raise RecipeError(
                f"batches: settings.ssim expects crops of at least {SMALLEST} pixels, got {crop}"
            )


class Perceptual:
    """The errors of a clipped picture that two stages have in common."""

    def __init__(self, chosen: PictureSettings, device: torch.device) -> None:
        self.chosen = chosen
        self.vgg: nn.Module | None = None
        if chosen.perceptual:
            self.vgg = load_vgg(16, chosen.vgg16_file, PERCEPTUAL, device, centred=False)

    def terms(self, picture: Tensor, light: Tensor) -> dict[str, Tensor]:
        """Both (batch, 3, height, width) in [0, 1]."""
        found: dict[str, Tensor] = {}
        if self.vgg is not None:
            pairs = zip(self.vgg(picture), self.vgg(light), strict=True)
            errors = torch.stack([F.mse_loss(a, b) for a, b in pairs])
            found["perceptual"] = self.chosen.perceptual * errors.mean()
        if self.chosen.ssim:
            found["ssim"] = self.chosen.ssim * (1 - similarity_of_scales(picture, light))
        return found


def load_vgg(
    depth: features.Depth, file: Path | None, layers: Sequence[str], device: torch.device, *, centred: bool
) -> nn.Module:
    """VGG with torchvision's weights; see ``features.find_file``."""
    found = features.find_file("imagenet", file, cache=weights.cache_folder(), depth=depth)
    return features.load(found, depth=depth, seen_as="imagenet", layers=layers, centred=centred).to(device)


# The first stage


class Usage(nn.Module):
    """``idle``: steps since each code was last used, at first ``NEVER``."""

    idle: Tensor

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.register_buffer("idle", torch.full((codes,), NEVER))

    @torch.no_grad()
    def count(self, indices: Tensor) -> None:
        """After a step in which these codes were used."""
        self.idle += 1
        self.idle[indices.flatten()] = 0


def quantised(book: Codebook, z: Tensor, commitment: float) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest codes of z, (batch, channels, h, w), whose gradient is z's; the codebook's loss; the indices."""
    indices = book.nearest(z)
    codes = book.look_up(indices)
    loss = commitment * F.mse_loss(z, codes.detach()) + F.mse_loss(codes, z.detach())
    return z + (codes - z).detach(), loss, indices


class LearnCodebook(stage.Stage):
    """Good photos shall be told by codes, and drawn again from them. Of pairs the light photo is taken."""

    part = CODEBOOK

    class Settings(PictureSettings):
        codebook: float = Field(1.0, ge=0)
        """Weight of the codebook's own loss."""
        commitment: float = Field(0.25, ge=0)
        """In that loss, the weight of the latent's way to its codes; the codes' way to the latent has 1."""
        semantic: float = Field(0.1, ge=0)
        """Weight of the squared error of a layer of VGG-19 that is told from the codes; 0: no weights of VGG-19 are needed."""
        vgg19_file: Path | None = None
        """File of VGG-19's weights; default: torchvision's is searched for in the caches, and then downloaded."""
        adversarial: float = Field(0.0005, ge=0)
        """Weight of what the critic says."""
        adversarial_from: float = Field(0.1, ge=0, le=1)
        """Share of the steps after which there is a critic."""
        critic_width: int = Field(64, ge=1)
        """Channels of the critic at full size."""
        codes_from: float = Field(0.02, ge=0, le=1)
        """Share of the steps after which there are codes; until then the decoder draws from the latent itself."""
        colours: float = Field(0.0, ge=0)
        """Until then, weight of the latent's absolute error as the colours of its squares, so that it has three dimensions."""
        renew_after: int | None = Field(1000, ge=1)
        """Steps after which a code that was not used becomes one of the latents at hand, as all do when there first are
        codes; null: never, and codes begin near zero, as published."""
        optimizer: Optimizer = Optimizer(kind="adam", rate=1e-4, betas=(0.5, 0.9))
        """Of both players."""
        schedule: Schedule = Schedule(shape="constant")

    settings: Settings

    @classmethod
    def tiny_settings(cls) -> Settings:
        """Without VGG, which needs its weights."""
        return cls.Settings(
            perceptual=0,
            semantic=0,
            adversarial=0.1,
            adversarial_from=0,
            critic_width=4,
            codes_from=0,
            renew_after=2,
        )

    def __init__(
        self, config: CodebookConfig, settings: Settings, data: Mixture, device: torch.device
    ) -> None:
        self.settings = settings
        self.codec = Codec(config).to(device)
        self.usage = Usage(config.codes).to(device)
        self.networks: dict[str, nn.Module] = {CODEBOOK: self.codec, "usage": self.usage}
        self.multiple = 2 ** (len(config.multipliers) - 1)
        if settings.adversarial:
            self.networks["critic"] = Critic(settings.critic_width).to(device)
            self.multiple = max(self.multiple, 2**DEPTH)
        self.perceptual = Perceptual(settings, device)
        self.vgg: nn.Module | None = None
        if settings.semantic:
            layer, channels = SEMANTIC
            self.vgg = load_vgg(19, settings.vgg19_file, [layer], device, centred=True)
            self.networks["semantic"] = nn.Conv2d(LATENT, channels, 1).to(device)

    def players(self) -> dict[str, Player]:
        chosen = self.settings
        found = {}
        for player, names in (("codec", (CODEBOOK, "semantic")), ("critic", ("critic",))):
            parameters = [
                each for name in names if name in self.networks for each in self.networks[name].parameters()
            ]
            if parameters:
                found[player] = Player(parameters, chosen.optimizer, chosen.schedule)
        return found

    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        chosen, light = self.settings, batch.light
        judged = bool(chosen.adversarial) and moment.step >= chosen.adversarial_from * moment.total
        codes = self.codec.latent(light)
        terms: dict[str, Tensor] = {}
        if moment.step >= chosen.codes_from * moment.total:
            self.renew(codes.detach(), moment)
            codes, loss, indices = quantised(self.codec.codebook, codes, chosen.commitment)
            self.usage.count(indices)
            terms["codebook"] = chosen.codebook * loss
        elif chosen.colours:
            squares = F.avg_pool2d(light, light.shape[2] // codes.shape[2])
            terms["colours"] = chosen.colours * F.l1_loss(codes, squares)
        picture = self.codec.decode(codes)
        if chosen.l1:
            terms["l1"] = chosen.l1 * F.l1_loss(picture, light)
        terms |= self.perceptual.terms(picture.clamp(0, 1), light)
        if self.vgg is not None:
            told = F.relu(self.networks["semantic"](codes))
            terms["semantic"] = chosen.semantic * F.mse_loss(told, self.vgg(light)[0])
        if judged:
            terms["adversarial"] = -chosen.adversarial * self.networks["critic"](picture).mean()
        yield "codec", terms
        if judged:
            critic = self.networks["critic"]
            real, fake = critic(light), critic(picture.detach())
            yield "critic", {"critic": F.relu(1 - real).mean() + F.relu(1 + fake).mean()}

    @torch.no_grad()
    def renew(self, z: Tensor, moment: Moment) -> None:
        """Codes that are idle for too long become latents of this batch, (batch, channels, h, w)."""
        if self.settings.renew_after is None:
            return
        places = (self.usage.idle >= self.settings.renew_after).nonzero().flatten()
        if not len(places):
            return
        latents = z.permute(0, 2, 3, 1).flatten(0, 2)
        drawn = torch.randint(len(latents), places.shape, generator=moment.generator, device=z.device)
        self.codec.codebook.codes[places] = latents[drawn].to(self.codec.codebook.codes.dtype)
        self.usage.idle[places] = 0

    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        return networks[CODEBOOK]

    def check_crop(self, crop: int) -> None:
        if crop % self.multiple:
            raise RecipeError(f"batches: expected crops of a multiple of {self.multiple} pixels, got {crop}")
        self.settings.check_crop(crop)

    def indifferent(self) -> list[nn.Parameter]:
        critic = self.networks.get("critic")
        # As long as all scores are within the hinge.
        last = list(critic.last.parameters())[-1:] if isinstance(critic, Critic) else []
        return without_effect(self.codec) + last

    def judge(
        self, networks: Mapping[str, nn.Module], pairs: Sequence[tuple[Pixels, Pixels]]
    ) -> tuple[dict[str, float], float]:
        """Of the light photos drawn again: PSNR, SSIM; share of the codes that they use, and their perplexity."""
        codec = self.enhancer_network(networks)
        assert isinstance(codec, Codec)  # noqa: S101
        counts = torch.zeros(len(codec.codebook.codes), dtype=torch.float64)
        found = []
        for _, light in pairs:
            wanted, made, indices = self._draw_again(codec, light)
            counts += torch.bincount(indices.flatten().cpu(), minlength=len(counts))
            found.append((metrics.psnr(made, wanted), metrics.ssim(made, wanted)))
        psnr, ssim = (float(each) for each in np.mean(found, axis=0))
        shares = counts[counts > 0] / counts.sum()
        measures = {
            "psnr": psnr,
            "ssim": ssim,
            "used": float((counts > 0).double().mean()),
            "perplexity": math.exp(float(-(shares * shares.log()).sum())),
        }
        return measures, psnr

    def sample(self, networks: Mapping[str, nn.Module], pair: tuple[Pixels, Pixels]) -> list[Pixels]:
        """The light photo, and what its codes draw."""
        codec = self.enhancer_network(networks)
        assert isinstance(codec, Codec)  # noqa: S101
        wanted, made, _ = self._draw_again(codec, pair[1])
        return [wanted, made]

    def _draw_again(self, codec: Codec, light: Pixels) -> tuple[Pixels, Pixels, Tensor]:
        """A photo, cut to whole codes; the same drawn from its codes; these."""
        rows, columns = (side - side % self.multiple for side in light.shape[:2])
        wanted = light[:rows, :columns]
        device = codec.codebook.codes.device
        with torch.no_grad():
            indices = codec.codebook.nearest(
                codec.latent(torch.from_numpy(wanted).to(device).permute(2, 0, 1)[None] / 255)
            )
            picture = codec.decode(codec.codebook.look_up(indices))[0]
        made = (255 * picture.clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
        return wanted, made, indices


# The second stage


def resized_batch(pairs: Sequence[Pair], moment: Moment, device: torch.device) -> Batch:
    """Crops of pairs as the release cuts them for the flow: resized by one scale a pair, then mirrored or not.

    Cubic interpolation, the dark photo in whole levels, the light one as it comes. Raises RecipeError for a pair that
    is too small.
    """
    rng, crop = moment.rng, moment.crop
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for pair in pairs:
        scale = int(rng.integers(RESIZED[0], RESIZED[1] + 1)) / SHORT_SIDE
        size = [round(scale * side) for side in pair[0].pixels.shape[:2]]
        if min(size) < crop:
            raise RecipeError(
                f"batches: a crop of {crop} pixels does not fit into {pair[0].name} at {size[1]}x{size[0]}"
            )
        top, left = (int(rng.integers(side - crop + 1)) for side in size)
        mirrored = rng.random() < 0.5
        for side, picture in zip(sides, pair, strict=True):
            levels = picture.pixels.to(device).permute(2, 0, 1)[None].float()
            resized = F.interpolate(levels, size, mode="bicubic", align_corners=False)[0]
            window = resized[:, top : top + crop, left : left + crop]
            side.append(window.flip(2) if mirrored else window)
    dark, light = (torch.stack(side) for side in sides)
    counts = [np.stack([picture.counts for picture in side]) for side in zip(*pairs, strict=True)]
    names = [f"{below.name} -> {above.name}" for below, above in pairs]
    return Batch(dark.round().clamp(0, 255) / 255, light / 255, counts[0], counts[1], names)


def check_sizes(config: CodebookConfig, told: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise RecipeError where a file's network has other sizes than the recipe's, which shapes do not always show."""
    ours = config.model_dump(mode="json")
    for key in keys:
        if told.get(key) != ours[key]:
            raise RecipeError(f"{key} is {told.get(key)!r} there and {ours[key]!r} in the recipe's config")


class LearnFlow(stage.Stage):
    """The latent of the light photo shall be likely, given the dark one. Goes on from weights of the first stage."""

    needed = frozenset({CODEBOOK})
    tiny_sizes: ClassVar[Mapping[str, Any]] = {"mixing": False}

    class Settings(stage.Settings):
        reference_share: float = Field(0.2, ge=0, le=1)
        """Share of the steps in which the prior's mean is the reference's latent, not the encoder's."""
        released_batches: bool = False
        """As the release: each pair once an epoch, in drawn order, resized by 0.8 to 1, mirrored at most; otherwise
        any pair at any step, as large as it is, flipped and turned."""
        optimizer: Optimizer = Optimizer(kind="adam", rate=5e-4, weight_decay=1e-5)
        """Its weight decay is for the encoder alone."""
        schedule: Released | Schedule = Schedule()

    settings: Settings

    def __init__(self, config: Config, settings: Settings, data: Mixture, device: torch.device) -> None:
        if config.mixing:
            raise RecipeError("config.mixing: expected false, as the second decoder comes after the flow")
        self.settings = settings
        self.config = config
        self.network = Network(config).to(device)
        self.codec = Codec(config).to(device)
        for frozen in (self.codec, self.network.decoding):
            frozen.requires_grad_(False)
        self.networks: dict[str, nn.Module] = {"network": self.network, CODEBOOK: self.codec}
        self.pairs = released_pairs(data) if settings.released_batches else []
        self.seed = torch.initial_seed()

    def adopt(
        self, name: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Mapping[str, Tensor]:
        kind = CodebookConfig if name == CODEBOOK else Config
        if name == CODEBOOK and "before.weight" not in tensors:
            raise RecipeError("expected what stage codebook learns, found other weights")
        check_sizes(self.config, config, list(kind.model_fields))
        return tensors

    def begin(self) -> None:
        """The network decodes as the codebook was learned to be decoded."""
        known = self.codec.state_dict()
        decoding = self.network.decoding
        decoding.load_state_dict({name: known[name] for name in decoding.state_dict()})

    def players(self) -> dict[str, Player]:
        encoder, flow = (list(each.parameters()) for each in (self.network.encoder, self.network.flow))
        chosen = self.settings
        return {"network": Player(flow + encoder, chosen.optimizer, chosen.schedule, decayed=encoder)}

    def batch(self, data: Mixture, moment: Moment, device: torch.device) -> Batch:
        if not self.settings.released_batches:
            return super().batch(data, moment, device)
        given = epoch_batch(self.pairs, moment.count, moment.step, self.seed)
        return resized_batch(given, moment, device)

    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        with torch.no_grad(), torch.autocast(batch.light.device.type, enabled=False):
            latent = self.codec.latent(batch.light)  # a target without the noise of rounding
        condition, mean, _ = self.network.encoder(batch.dark)
        flow = self.network.flow([condition] * self.network.config.flows)
        z, log_det = flow.forward(latent)
        if moment.rng.random() < self.settings.reference_share:
            mean = latent
        bits = bits_per_position(log_prob(z, mean, log_det), latent).mean()
        name = "nll" if bool(torch.isfinite(bits)) else f"nll ({find_non_finite(flow, latent)})"
        yield "network", {name: bits}

    def indifferent(self) -> list[nn.Parameter]:
        return without_effect(self.network.encoder)

    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        return networks["network"]


# The third stage


class LearnMixing(stage.Stage):
    """The second decoder shall draw the light photo; all else stays. Goes on from weights of the second stage."""

    needed = frozenset({"network"})

    class Settings(PictureSettings):
        released_batches: bool = False
        """As the release: each pair once an epoch, in drawn order, mirrored at most, and the two means whose ratio
        scales what is warped taken over the batch; otherwise any pair at any step, flipped and turned."""
        optimizer: Optimizer = Optimizer(kind="adam", rate=5e-5)
        schedule: Released | Schedule = Schedule()

    settings: Settings

    @classmethod
    def tiny_settings(cls) -> Settings:
        """Without VGG, which needs its weights."""
        return cls.Settings(perceptual=0)

    def __init__(self, config: Config, settings: Settings, data: Mixture, device: torch.device) -> None:
        if not config.mixing:
            raise RecipeError("config.mixing: expected true, as the second decoder is what this stage trains")
        self.settings = settings
        self.config = config
        self.network = Network(config).to(device).requires_grad_(False)
        assert self.network.decoding.mixing is not None  # noqa: S101
        self.mixing = self.network.decoding.mixing.requires_grad_(True)
        for warp in self.mixing.warps:
            assert isinstance(warp, Warp)  # noqa: S101
            warp.over_batch = settings.released_batches
        self.networks: dict[str, nn.Module] = {"network": self.network}
        self.perceptual = Perceptual(settings, device)
        self.pairs = released_pairs(data) if settings.released_batches else []
        self.seed = torch.initial_seed()

    def adopt(
        self, name: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
    ) -> Mapping[str, Tensor]:
        """A network without second decoder gets one that has learned nothing."""
        if "encoder.mean.weight" not in tensors:
            raise RecipeError("expected what stage flow or mixing learns, found other weights")
        check_sizes(self.config, config, [key for key in Config.model_fields if key != "mixing"])
        own = {f"decoding.mixing.{key}": each for key, each in self.mixing.state_dict().items()}
        return tensors if config.get("mixing") else {**tensors, **own}

    def check_crop(self, crop: int) -> None:
        self.settings.check_crop(crop)

    def players(self) -> dict[str, Player]:
        parameters, chosen = list(self.mixing.parameters()), self.settings
        return {"network": Player(parameters, chosen.optimizer, chosen.schedule)}

    def batch(self, data: Mixture, moment: Moment, device: torch.device) -> Batch:
        if not self.settings.released_batches:
            return super().batch(data, moment, device)
        given = epoch_batch(self.pairs, moment.count, moment.step, self.seed)
        return data.batch(moment.rng, moment.count, moment.crop, device, given=given, turns=False)

    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        with torch.no_grad():
            z, features, codes = self.network.look_up(batch.dark)
        fidelity = torch.ones(len(z), dtype=z.dtype, device=z.device)
        picture = self.mixing(z, features, codes, fidelity).clamp(0, 1)
        terms = {"l1": self.settings.l1 * F.l1_loss(picture, batch.light)} if self.settings.l1 else {}
        yield "network", terms | self.perceptual.terms(picture, batch.light)

    def indifferent(self) -> list[nn.Parameter]:
        return without_effect(self.mixing)

    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        return networks["network"]


stages: dict[str, type[stage.Stage]] = {
    "codebook": LearnCodebook,
    "flow": LearnFlow,
    "mixing": LearnMixing,
}
