"""LLFlow's training stages: the likelihood of the reference, and the error of the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lowlight import equalise, estimator
from lowlight.methods import Array
from lowlight.methods.llflow import Config
from lowlight.methods.llflow.network import Network, colour_map
from lowlight.nn.flow import Map, bits_per_position, find_non_finite, log_prob
from lowlight.nn.gained import gained, log_error
from lowlight.training import stage
from lowlight.training.data import Batch, Mixture, Picture
from lowlight.training.lightness import learn_lightness
from lowlight.training.released import Released, epoch_batch, released_pairs
from lowlight.training.stage import Moment, Optimizer, Player, Schedule

DIRECTION_PHOTOS = 4
DIRECTION_SIDE = 128
"""Of the windows that a direction is measured on, pixels."""
DIRECTION_LENGTH = 0.3
"""Root mean square of a direction. Trained weights answer evenly to shifts of up to a tenth, and wildly from a fifth."""


class Flow(stage.Stage):
    """Pairs of dark and light photos: the light one shall be likely, given the dark one."""

    class Settings(stage.Settings):
        nll: float = Field(1.0, ge=0)
        """Weight of the negative log-likelihood, in bits per pixel position."""
        l1: float = Field(0.0, ge=0)
        """Weight of the absolute error of the picture that the flow gives from its mean, run backwards."""
        gained: float = Field(0.0, ge=0)
        """Weight of the same after the one gain that gives the picture its reference's mean."""
        psnr: float = Field(0.0, ge=0)
        """Weight of the logarithm of its mean squared error after that gain."""
        picture_from: float = Field(0.0, ge=0, le=1)
        """Share of the steps after which these three weights count."""
        reference_share: float = Field(0.2, ge=0, le=1)
        """Share of the steps in which the prior's mean is the reference's colour map, not the encoder's."""
        noise_levels: float | None = Field(None, gt=0)
        """Uniform noise as wide as a step of so many levels is added to the reference; none as released."""
        skip_first: bool = False
        """Make no update in the first step, as the release."""
        released_batches: bool = False
        """As the release: each pair once an epoch, in drawn order, and what does not fill a batch is left out; as it
        is or mirrored left to right. Otherwise any pair at any step, flipped and turned."""
        optimizer: Optimizer = Optimizer(kind="adam", rate=5e-4)
        schedule: Released | Schedule = Schedule()

    settings: Settings

    def __init__(self, config: Config, settings: Settings, data: Mixture, device: torch.device) -> None:
        self.pairs = released_pairs(data) if settings.released_batches else list(data.exposures())
        self.settings = settings
        self.noise_levels = settings.noise_levels
        self.network = Network(config).to(device)
        self.networks: dict[str, nn.Module] = {"network": self.network}
        self.estimator = learn_lightness(data)
        self.seed = torch.initial_seed()
        darks = [dark for dark, _ in self.pairs]
        self.darks = darks[:: math.ceil(len(darks) / DIRECTION_PHOTOS)] if darks else []

    def players(self) -> dict[str, Player]:
        parameters = list(self.network.parameters())
        return {"network": Player(parameters, self.settings.optimizer, self.settings.schedule)}

    def batch(self, data: Mixture, moment: Moment, device: torch.device) -> Batch:
        if not self.settings.released_batches:
            return super().batch(data, moment, device)
        count = moment.count
        given = epoch_batch(self.pairs, count, moment.step, self.seed)
        return data.batch(moment.rng, count, moment.crop, device, given=given, turns=False)

    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        if moment.step == 0 and self.settings.skip_first:
            return
        yield "network", self._terms(batch, moment)

    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        return networks["network"]

    def arrays(self) -> dict[str, Array]:
        return self.estimator

    def inherit(self, arrays: Mapping[str, Array]) -> None:
        """Automatic lightness is kept where the data tell none."""
        self.estimator = self.estimator or estimator.pick(arrays)

    def measured(self, networks: Mapping[str, nn.Module]) -> dict[str, Array]:
        network = self.enhancer_network(networks)
        assert isinstance(network, Network)  # noqa: S101
        return {"direction": lighter_direction(network, self.darks)} if self.darks else {}

    def _terms(self, batch: Batch, moment: Moment) -> dict[str, Tensor]:
        chosen = self.settings
        tables = torch.from_numpy(np.stack([equalise.tables(each) for each in batch.dark_counts]))
        flow, colours = self.network.encode(batch.dark, tables.to(batch.dark.device))
        terms: dict[str, Tensor] = {}
        if chosen.nll:
            terms |= self._likelihood(flow, colours, batch, moment)
        weights = {"l1": chosen.l1, "gained": chosen.gained, "psnr": chosen.psnr}
        if any(weights.values()) and moment.step >= chosen.picture_from * moment.total:
            picture = flow.inverse(self.network.mean(colours))[0]
            finite = torch.where(torch.isfinite(picture), picture, batch.light)
            errors: dict[str, Callable[[], Tensor]] = {
                "l1": lambda: absolute_error(picture, batch.light),
                "gained": lambda: absolute_error(gained(finite, batch.light), batch.light),
                "psnr": lambda: log_error(gained(finite, batch.light), batch.light).mean(),
            }
            terms |= {name: weight * errors[name]() for name, weight in weights.items() if weight}
        return terms

    def _likelihood(self, flow: Map, colours: Tensor, batch: Batch, moment: Moment) -> dict[str, Tensor]:
        light, generator = batch.light, moment.generator
        draw = torch.rand((), generator=generator, device=light.device)
        # Not a branch: where the reference's map is taken the colour head's gradient is zero, not absent, and
        # its momentum moves it on.
        colours = torch.where(draw > self.settings.reference_share, colours, colour_map(light))
        x = light
        if self.settings.noise_levels is not None:
            noise = torch.rand(light.shape, generator=generator, device=light.device) - 0.5
            x = light + noise / self.settings.noise_levels
        z, log_det = flow.forward(x)
        bits = bits_per_position(log_prob(z, self.network.mean(colours), log_det), x).mean()
        name = "nll" if bool(torch.isfinite(bits)) else f"nll ({find_non_finite(flow, x)})"
        return {name: self.settings.nll * bits}


class Pixels(Flow):
    """The picture shall be right: gradients go through the inverse. Starts from weights of ``flow``."""

    class Settings(Flow.Settings):
        nll: float = Field(0.0, ge=0)
        l1: float = Field(1.0, ge=0)
        optimizer: Optimizer = Optimizer(kind="adam", rate=5e-5)


def absolute_error(picture: Tensor, light: Tensor) -> Tensor:
    """Mean absolute error of the clipped picture; what is not finite counts as right."""
    finite = torch.isfinite(picture)
    clipped = torch.where(finite, picture, light).clamp(0, 1)
    return ((clipped - light).abs() * finite).mean()


def lighter_direction(network: Network, darks: Sequence[Picture]) -> Array:
    """What ``brightness`` is multiplied by for each channel of the latent, so that the result gets lighter: (channels,).

    The gradient of the result's mean with respect to one shift of the whole latent, at the prior's mean, averaged
    over the middles of dark photos. It is nearly the same for all photos; a shift of all channels alike, as in
    the paper, is nearly orthogonal to it where gradients went through the inverse in training.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    total = torch.zeros(3 * 4**network.config.levels, device=device)
    for dark in darks:
        multiple = 2**network.config.levels
        rows, columns = (min(side, DIRECTION_SIDE) // multiple * multiple for side in dark.pixels.shape[:2])
        top, left = (dark.pixels.shape[0] - rows) // 2, (dark.pixels.shape[1] - columns) // 2
        window = dark.pixels[top : top + rows, left : left + columns].to(device).permute(2, 0, 1)[None] / 255
        shift = torch.zeros_like(total, requires_grad=True)
        with torch.no_grad():
            flow, colours = network.encode(
                window, torch.from_numpy(equalise.tables(dark.counts))[None].to(device)
            )
        picture = flow.inverse(network.mean(colours) + shift[:, None, None])[0]
        total += torch.autograd.grad(picture.mean(), shift)[0]
    network.train(training)
    length = total.square().mean().sqrt().clamp(min=1e-12)
    direction: Array = (total * (DIRECTION_LENGTH / length)).cpu().numpy()
    return direction


stages: dict[str, type[stage.Stage]] = {"flow": Flow, "pixels": Pixels}
