"""Training on pairs: from nothing, or to fine-tune weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from lowlight import estimator, statistics, weights
from lowlight.engines.torch import load_network
from lowlight.errors import UseError
from lowlight.methods import Array
from lowlight.methods.dimma import Config, Dimma, descriptor
from lowlight.methods.dimma.network import Network
from lowlight.nn import perceptual
from lowlight.nn.bands import coarse
from lowlight.nn.gained import gained, log_error
from lowlight.nn.structure import ssim, structure
from lowlight.training import stage
from lowlight.training.data import Batch, Mixture
from lowlight.training.lightness import learn_lightness
from lowlight.training.stage import Moment, Optimizer, Player, Schedule

Fault = Literal["crop_observation", "whole_steps", "trained_lpips"]


class Losses(stage.Settings):
    """Weight of each loss term; a term of weight 0 is not computed. The release: 1 ``mse``, 0.1 ``lpips``."""

    mse: float = Field(1.0, ge=0)
    l1: float = Field(0.0, ge=0)
    gained: float = Field(0.0, ge=0)
    """L1 after the one gain that gives the prediction its reference's mean, as every result gets it."""
    psnr: float = Field(0.0, ge=0)
    """Logarithm of each photo's mean squared error after the same gain: -PSNR in units of 4.34 dB."""
    ssim: float = Field(0.0, ge=0)
    """1 - SSIM."""
    lpips: float = Field(0.1, ge=0)
    """LPIPS with the VGG trunk, which must be had (see ``lpips_trunk``)."""
    structure: float = Field(0.0, ge=0)
    """1 - SSIM over three scales, and L1 of gradients: what to use where LPIPS cannot be had."""
    detail: float = Field(0.0, ge=0)
    """``psnr``, and ten times ``ssim``, of the prediction's detail with its reference's colours: it teaches detail,
    and leaves colours alone."""
    colour: float = Field(0.0, ge=0)
    """Squared error to the colours of the weights ``colour_of``: it keeps them while ``detail`` is learned."""


class Paired(stage.Stage):
    """Pairs of dark and light photos; the network is told the light one's mean.

    Both bodies of the network train here. The observation is that of the whole photos, as users get it, also
    for crops.
    """

    class Settings(stage.Settings):
        losses: Losses = Losses()
        lpips_trunk: Path | None = None
        """File of the VGG trunk; default: searched for in the caches, then downloaded."""
        optimizer: Optimizer = Optimizer(kind="adam", rate=1e-5, betas=(0.9, 0.99))
        schedule: Schedule = Schedule()
        colour_of: Path | None = None
        """Weights of the method whose colours the loss ``colour`` keeps."""
        faults: tuple[Fault, ...] = ()
        """Of the release, to repeat: ``crop_observation`` equalises and measures the crop instead of the photo,
        ``whole_steps`` truncates the difference in lightness to steps of 0.001 (``published`` body),
        ``trained_lpips`` trains the five weight vectors of LPIPS, under dropout, with the network."""

    settings: Settings
    descriptor_draws: ClassVar[int] = 4096
    """Photos that the range of descriptors is taken from."""

    @classmethod
    def tiny_settings(cls) -> Settings:
        """Without LPIPS, which needs its trunk."""
        return cls.Settings(losses=Losses(lpips=0, structure=0.1))

    def __init__(self, config: Config, settings: Settings, data: Mixture, device: torch.device) -> None:
        self.config = config
        self.settings = settings
        learned = learn_lightness(data)
        self.knows_lightness = bool(learned)
        self.learned = dict(learned or estimator.constant(estimator.DEFAULT_LIGHTNESS))
        self.range = self._descriptor_range(data) if config.body == "tiled" else {}
        self.learned |= self.range
        self.method = Dimma(config, self.learned)
        self.networks: dict[str, nn.Module] = {"network": Network(config).to(device)}
        self.perceptual: perceptual.Perceptual | None = None
        if settings.losses.lpips:
            cache = weights.cache_folder()
            self.perceptual = perceptual.load(settings.lpips_trunk, cache=cache).to(device)
            if "trained_lpips" in settings.faults:
                self.networks["lpips"] = self.perceptual.linear.requires_grad_()
        self.colours: nn.Module | None = None
        if settings.losses.colour:
            if settings.colour_of is None:
                raise UseError("losses.colour: expected the weights whose colours are kept, in colour_of")
            kept = weights.open_weights(settings.colour_of, method="dimma", part="")
            self.colours = load_network(kept).to(device).requires_grad_(requires_grad=False)

    def players(self) -> dict[str, Player]:
        parameters = [each for network in self.networks.values() for each in network.parameters()]
        return {"network": Player(parameters, self.settings.optimizer, self.settings.schedule)}

    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        self._widen()
        observation = self.observe(batch)
        predicted = self.networks["network"](batch.dark, **observation).float()
        terms = self._terms(predicted, batch.light, moment)
        if self.colours is not None:
            with torch.no_grad():
                kept = coarse(self.colours(batch.dark, **observation).float())
            terms["colour"] = self.settings.losses.colour * F.mse_loss(coarse(predicted), kept)
        yield "network", terms

    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        return networks["network"]

    def arrays(self) -> dict[str, Array]:
        return self.learned

    def inherit(self, arrays: Mapping[str, Array]) -> None:
        """All that is inherited is kept until the first step, but for automatic lightness where the data tell it.

        So weights that are validated before it score what they scored. From it on the range of descriptors
        holds both.
        """
        if not self.knows_lightness:
            self.learned |= estimator.pick(arrays)
        self.learned |= {name: arrays[name] for name in self.range if name in arrays}
        self.method = Dimma(self.config, self.learned)

    def _widen(self) -> None:
        for name, wider in (("descriptor_low", np.minimum), ("descriptor_high", np.maximum)):
            if name in self.range:
                self.learned[name] = wider(self.learned[name], self.range[name])
        self.method = Dimma(self.config, self.learned)

    def _descriptor_range(self, data: Mixture) -> dict[str, Array]:
        """The smallest and largest value of each number of the descriptor, over photos as training draws them."""
        rng, device = np.random.default_rng(0), torch.device("cpu")
        moments = (Moment(0, 1, 1, 16, rng, torch.Generator()) for _ in range(self.descriptor_draws // 16))
        batches = (self.batch(data, moment, device) for moment in moments)
        seen = np.stack([descriptor(counts) for batch in batches for counts in batch.dark_counts])
        return {"descriptor_low": seen.min(axis=0), "descriptor_high": seen.max(axis=0)}

    def observe(self, batch: Batch) -> dict[str, Tensor]:
        """The batch's observation, on the device of its pictures."""
        dark, light = batch.dark_counts, batch.light_counts
        if "crop_observation" in self.settings.faults:
            dark, light = _count(batch.dark), _count(batch.light)
        observations = [
            self.method.observe_counts(
                below,
                float(statistics.histogram_means(below).mean()),
                float(statistics.histogram_means(above).mean()),
            )
            for below, above in zip(dark, light, strict=True)
        ]
        if "whole_steps" in self.settings.faults:
            for observation in observations:
                observation["published"] = np.ones((), np.float32)
        return {
            name: torch.from_numpy(np.stack([each[name] for each in observations])).to(batch.dark.device)
            for name in observations[0]
        }

    def _terms(self, predicted: Tensor, light: Tensor, moment: Moment) -> dict[str, Tensor]:
        """Each chosen term, weighted: a mean over the batch."""

        def lpips() -> Tensor:
            assert self.perceptual is not None  # noqa: S101
            dropout = moment.generator if "trained_lpips" in self.settings.faults else None
            distance: Tensor = self.perceptual(predicted, light, dropout).mean()
            return distance

        def detail() -> Tensor:
            mixed = predicted - coarse(predicted) + coarse(light)
            return log_error(mixed, light).mean() + 10 * (1 - ssim(mixed, light).mean())

        terms: dict[str, Callable[[], Tensor]] = {
            "mse": lambda: F.mse_loss(predicted, light),
            "l1": lambda: F.l1_loss(predicted, light),
            "gained": lambda: F.l1_loss(gained(predicted, light), light),
            "psnr": lambda: log_error(gained(predicted, light), light).mean(),
            "ssim": lambda: 1 - ssim(predicted, light).mean(),
            "lpips": lpips,
            "structure": lambda: structure(predicted, light).mean(),
            "detail": detail,
        }
        chosen = ((name, getattr(self.settings.losses, name)) for name in terms)
        return {name: weight * terms[name]() for name, weight in chosen if weight}


def _count(pictures: Tensor) -> NDArray[np.float64]:
    """(batch, 3, 256) histograms of the crops themselves."""
    samples = pictures.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return np.stack([statistics.histograms(each) for each in samples])
