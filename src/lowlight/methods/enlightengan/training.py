"""EnlightenGAN's training: a generator against two critics, on dark and bright photos that are no pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lowlight import weights
from lowlight.errors import RecipeError
from lowlight.methods.enlightengan import Config
from lowlight.methods.enlightengan.critic import Critic
from lowlight.methods.enlightengan.network import Network
from lowlight.nn import features
from lowlight.nn.structure import SMALLEST, colour_distance, unevenness, unlikeness
from lowlight.training import stage
from lowlight.training.data import Batch, Mixture, Pair, Picture, UnpairedDrawer
from lowlight.training.stage import Moment, Optimizer, Player, Rates, Schedule

# The photos of a step


@dataclass(frozen=True)
class Crops(Batch):
    """``dark`` and ``light`` show different things."""

    darkened: Tensor
    """What the generator gets: (count, 3, crop, crop) in [0, 1], some of ``dark`` made darker."""


@dataclass(frozen=True)
class Draws:
    """What is random in one dark and one light crop."""

    dark_corner: tuple[int, int]
    """Top and left of the window."""
    dark_mirrored: bool
    light_corner: tuple[int, int]
    light_mirrored: bool
    both_mirrored: bool
    both_upside_down: bool
    darkened: int | None
    """Hundredths that the dark crop is divided by, if at all."""


def draw(rng: np.random.Generator, pair: Pair, crop: int, darkened: float) -> Draws:
    """Draws for a crop of each photo, in the release's order. darkened: share of the dark crops made darker."""

    def window(picture: Picture) -> tuple[tuple[int, int], bool]:
        height, width = picture.pixels.shape[:2]
        corner = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
        return corner, bool(rng.random() < 0.5)

    (dark, dark_mirrored), (light, light_mirrored) = window(pair[0]), window(pair[1])
    coins = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    hundredths = int(rng.integers(200, 401)) if rng.random() < darkened else None
    return Draws(dark, dark_mirrored, light, light_mirrored, *coins, hundredths)


def cut(pair: Pair, drawn: Draws, crop: int) -> tuple[Tensor, Tensor]:
    """Crops (crop, crop, 3) uint8 of the dark and the light photo."""
    corners = (drawn.dark_corner, drawn.dark_mirrored), (drawn.light_corner, drawn.light_mirrored)
    found = []
    for picture, ((top, left), mirrored) in zip(pair, corners, strict=True):
        window = picture.pixels[top : top + crop, left : left + crop]
        axes = [0] * drawn.both_upside_down + [1] * (mirrored != drawn.both_mirrored)
        found.append(window.flip(axes) if axes else window)
    return found[0], found[1]


def epoch_batch(
    darks: Sequence[Picture], lights: Sequence[Picture], count: int, step: int, seed: int
) -> list[Pair]:
    """The photos of a step where each of the longer list comes once an epoch, with the same partner each time.

    The last batch of an epoch holds what is left. Nothing must be kept for a run that goes on.
    """
    longer = max(len(darks), len(lights))
    epoch, place = divmod(step, math.ceil(longer / count))
    order = np.random.default_rng([seed, epoch]).permutation(longer)[place * count : (place + 1) * count]
    return [(darks[index % len(darks)], lights[index % len(lights)]) for index in order]


# Losses


def from_target(scores: Tensor, target: float) -> Tensor:
    """Mean squared distance of a critic's scores from a target, over batch and map."""
    return (scores - target).square().mean()


def relative(better: Tensor, worse: Tensor) -> Tensor:
    """Relativistic average least squares, halved: each score 1 above the others' mean, those 0."""
    return (from_target(better - worse.mean(), 1) + from_target(worse - better.mean(), 0)) / 2


def relative_of_generator(real: Tensor, fake: Tensor) -> Tensor:
    """The same with exchanged targets, as the generator wants them."""
    return (from_target(real - fake.mean(), 0) + from_target(fake - real.mean(), 1)) / 2


def plain(real: Tensor, fake: Tensor) -> Tensor:
    """Least squares, halved."""
    return (from_target(real, 1) + from_target(fake, 0)) / 2


class Features(stage.Settings):
    """What the result must have in common with the dark photo, as it was before it was made darker."""

    kind: Literal["vgg", "structure"] = "vgg"
    """``vgg``: features of VGG-16, whose weights must be had; ``structure``: correlation in small windows, which needs
    none."""
    weight: float = Field(1.0, ge=0)
    colour: float = Field(0.0, ge=0)
    """``structure``: times the weight, how much the colours of small squares count, which correlation does not see."""
    input: features.Input = "caffe"
    """``vgg``: which weights, and so what they see: ``caffe``, as released, or ``imagenet``, torchvision's."""
    layer: str = Field("relu5_1", pattern=r"relu([12]_[12]|[345]_[123])")
    """``vgg``: whose activations are compared."""
    standardised: bool = True
    """``vgg``: each channel at zero mean and unit variance."""
    subtract_mean: bool = False
    """``vgg`` with ``caffe``: take the training's mean colour off first, as those weights expect, but not the release."""
    pool_4: bool = False
    """``vgg``: pool after the fourth block too, as those weights expect, but not the release."""


class Released(Rates):
    """The release's schedule: the full rate, then less by the same amount after each epoch."""

    epochs: int = Field(ge=1)
    """Of the whole run, equally long. Published: 200."""
    falling: int = Field(100, ge=0)
    """At the end; the first of them still has the full rate."""

    def factor(self, step: int, total: int) -> float:
        """See ``Rates.factor``."""
        left = self.epochs - step * self.epochs // total
        return min(1.0, left / self.falling) if self.falling else 1.0


class Unpaired(stage.Stage):
    """Dark photos shall look like light ones, whole (global critic) and in patches (local critic)."""

    class Settings(stage.Settings):
        adversarial: float = Field(1.0, ge=0)
        """Weight of what the critics say."""
        features: Features = Features()
        smooth: float = Field(0.0, ge=0)
        """Ours: weight of how unevenly a dark crop is lightened where it has no edges."""
        lightness: float = Field(0.0, ge=0)
        """Ours: weight of the mean squared difference of each result's mean from that of the step's light crops."""
        vgg_file: Path | None = None
        """File of VGG-16's weights; default: searched for in the caches, and torchvision's then downloaded."""
        patches: int = Field(6, ge=0)
        """Patches a step, at places that are the same for the whole batch; 0: no local critic, nor features of patches."""
        patch: int = Field(32, ge=1)
        """Their side, pixels."""
        critic_width: int = Field(64, ge=1)
        """Channels of the critics' first layers."""
        global_layers: int = Field(5, ge=1)
        """Of the global critic, those that halve the size."""
        local_layers: int = Field(4, ge=1)
        darkened: float = Field(0.5, ge=0, le=1)
        """Share of the dark crops that are made 2 to 4 times as dark for the generator."""
        halved: float = Field(0.0, ge=0, le=1)
        """Ours: share of the steps whose crops are windows of twice their side, reduced to it."""
        released_batches: bool = False
        """As the release: each photo of the larger folder once an epoch, always with the same one of the other;
        otherwise any dark photo with any light one."""
        optimizer: Optimizer = Optimizer(kind="adam", rate=1e-4, betas=(0.5, 0.999))
        """Of each player."""
        schedule: Released | Schedule = Schedule(shape="constant")

    settings: Settings

    @classmethod
    def tiny_settings(cls) -> Settings:
        """Without VGG, which needs its weights."""
        return cls.Settings(
            features=Features(kind="structure"),
            patches=2,
            patch=16,
            critic_width=2,
            global_layers=2,
            local_layers=1,
        )

    def __init__(self, config: Config, settings: Settings, data: Mixture, device: torch.device) -> None:
        self.settings = settings
        self.folders: UnpairedDrawer | None = None
        if settings.released_batches:
            (first, *others) = data.sources
            if others or not isinstance(first, UnpairedDrawer):
                raise RecipeError("settings.released_batches: expected one source, of kind unpaired")
            self.folders = first
        chosen = settings.features
        if not settings.adversarial and not chosen.weight:
            raise RecipeError("settings: adversarial and features.weight are 0, so nothing is learned")
        if chosen.kind == "structure" and settings.patches and settings.patch < SMALLEST:
            raise RecipeError(
                f"settings.patch: features of kind structure expect at least {SMALLEST}, got {settings.patch}"
            )
        self.generator = Network(config).to(device)
        self.networks: dict[str, nn.Module] = {
            "generator": self.generator,
            "global": Critic(settings.global_layers, settings.critic_width).to(device),
        }
        if settings.patches:
            self.networks["local"] = Critic(settings.local_layers, settings.critic_width).to(device)
        self.vgg: nn.Module | None = None
        if chosen.kind == "vgg" and chosen.weight:
            file = features.find_file(chosen.input, settings.vgg_file, cache=weights.cache_folder())
            self.vgg = features.load(
                file,
                seen_as=chosen.input,
                layers=[chosen.layer],
                centred=chosen.subtract_mean or chosen.input == "imagenet",
                pool_4=chosen.pool_4,
            ).to(device)
        self.seed = torch.initial_seed()

    def players(self) -> dict[str, Player]:
        return {
            name: Player(list(network.parameters()), self.settings.optimizer, self.settings.schedule)
            for name, network in self.networks.items()
        }

    def batch(self, data: Mixture, moment: Moment, device: torch.device) -> Crops:
        """Windows of both photos, each its own, in [0, 1]; photos of pairs are taken as if they were none."""
        rng, crop = moment.rng, moment.crop
        if self.folders is not None:
            pairs = epoch_batch(self.folders.darks, self.folders.lights, moment.count, moment.step, self.seed)
        else:
            pairs = [data.draw(rng, apart=True) for _ in range(moment.count)]
        halved = bool(self.settings.halved) and rng.random() < self.settings.halved
        side = 2 * crop if halved else crop
        for picture in (each for pair in pairs for each in pair if min(each.pixels.shape[:2]) < side):
            height, width = picture.pixels.shape[:2]
            raise RecipeError(
                f"settings.halved: twice the crop, {side} pixels, does not fit into {picture.name} ({width}x{height})"
            )
        drawn = [draw(rng, pair, side, self.settings.darkened) for pair in pairs]
        return make_crops(pairs, drawn, side, device, halved=halved)

    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The order of the release: the generator is stepped first, the critics on what it made before that."""
        assert isinstance(batch, Crops)  # noqa: S101
        chosen = self.settings
        dark, real = 2 * batch.dark - 1, 2 * batch.light - 1
        fake, _ = self.generator.generate(2 * batch.darkened - 1)
        terms: dict[str, Tensor] = {}
        places = self.places(moment, fake.shape[2])
        fakes, reals, darks = (patches(each, places, chosen.patch) for each in (fake, real, dark))
        if chosen.adversarial:
            said = relative_of_generator(self.scores("global", real), self.scores("global", fake))
            terms["global"] = chosen.adversarial * said
            if fakes is not None:
                terms["local"] = chosen.adversarial * from_target(self.scores("local", fakes), 1)
        if chosen.features.weight:
            terms["features"] = chosen.features.weight * self.distance(fake, dark)
            if fakes is not None and darks is not None:
                terms["patch_features"] = chosen.features.weight * self.distance(fakes, darks)
        if chosen.smooth:
            terms["smooth"] = chosen.smooth * unevenness((fake + 1) / 2, batch.dark)
        if chosen.lightness:
            away = (fake + 1).float().mean(dim=(1, 2, 3)) / 2 - batch.light.mean()
            terms["lightness"] = chosen.lightness * away.square().mean()
        yield "generator", terms
        fake = fake.detach()
        yield "global", {"critic": relative(self.scores("global", real), self.scores("global", fake))}
        if fakes is not None and reals is not None:
            fakes = fakes.detach()
            yield "local", {"critic": plain(self.scores("local", reals), self.scores("local", fakes))}

    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        return networks["generator"]

    def check_crop(self, crop: int) -> None:
        patch = self.settings.patch
        if self.settings.patches and crop <= patch:
            raise RecipeError(
                f"batches: expected crops of at least {patch + 1} pixels for patches of {patch}, got {crop}"
            )

    def indifferent(self) -> list[nn.Parameter]:
        """A constant added to all scores of the global critic, as only their differences count."""
        return list(self.networks["global"].parameters())[-1:]

    def scores(self, critic: str, pictures: Tensor) -> Tensor:
        """A critic's scores, of no less precision than float32."""
        found: Tensor = self.networks[critic](pictures)
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def places(self, moment: Moment, side: int) -> list[tuple[int, int]]:
        """Top and left of the patches in crops of that side. As released the last possible place is never drawn."""
        last = side - self.settings.patch
        drawn = (
            (int(moment.rng.integers(last)), int(moment.rng.integers(last)))
            for _ in range(self.settings.patches)
        )
        return [(top, left) for left, top in drawn]

    def distance(self, fake: Tensor, dark: Tensor) -> Tensor:
        """How far a result's features are from the dark photo's; pictures in [-1, 1]."""
        chosen = self.settings.features
        pictures = (fake + 1) / 2, (dark + 1) / 2
        if self.vgg is None:
            found = unlikeness(*pictures).mean()
            return found + chosen.colour * colour_distance(*pictures) if chosen.colour else found
        a, b = (self.vgg(each)[0] for each in pictures)
        if chosen.standardised:
            a, b = features.standardised(a), features.standardised(b)
        return F.mse_loss(a, b)


def make_crops(
    pairs: Sequence[Pair], drawn: Sequence[Draws], crop: int, device: torch.device, *, halved: bool = False
) -> Crops:
    """A batch of dark and light photos with what was drawn for each. halved: reduced to half the side."""
    cuts = [cut(pair, each, crop) for pair, each in zip(pairs, drawn, strict=True)]
    dark, light = (
        torch.stack(list(side)).to(device).permute(0, 3, 1, 2) / 255 for side in zip(*cuts, strict=True)
    )
    if halved:
        dark, light = F.avg_pool2d(dark, 2), F.avg_pool2d(light, 2)
    times = [1.0 if each.darkened is None else each.darkened / 100 for each in drawn]
    divisors = torch.tensor(times, dtype=torch.float32, device=device)[:, None, None, None]
    return Crops(
        dark,
        light,
        np.stack([below.counts for below, _ in pairs]),
        np.stack([above.counts for _, above in pairs]),
        [f"{below.name}, {above.name}" for below, above in pairs],
        dark / divisors,
    )


def patches(pictures: Tensor, places: Sequence[tuple[int, int]], side: int) -> Tensor | None:
    """Patches of a batch at places (top, left), one place after the other: (places * batch, 3, side, side)."""
    if not places:
        return None
    return torch.cat([pictures[:, :, top : top + side, left : left + side] for top, left in places])


stages: dict[str, type[stage.Stage]] = {"unpaired": Unpaired}
