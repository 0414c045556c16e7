"""Training on ordinary photos that a camera's dimmer makes dark."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from lowlight import statistics
from lowlight.methods.dimma import Config
from lowlight.methods.dimma.dimmer import Dimmer, Seeded, load_dimmer
from lowlight.methods.dimma.noise import iso_noise
from lowlight.methods.dimma.retinex import merge
from lowlight.methods.dimma.training.paired import Fault, Losses, Paired
from lowlight.training import stage
from lowlight.training.data import Batch, Mixture, Pair, Picture, Pixels
from lowlight.training.stage import Moment

SAMPLE = 1 << 13
"""Pixels of a photo that are dimmed beside the crop: its whole histogram is known from them, closely enough."""

DimmedFault = Literal[Fault, "noisy_target", "wrap"]


class Noise(stage.Settings):
    """Camera noise on the light photo, before it is dimmed; drawn evenly from the ranges."""

    share: float = Field(0.5, ge=0, le=1)
    """Of the photos that get it."""
    shift: tuple[float, float] = (0.01, 0.05)
    """Of the hue, in turns at intensity 1."""
    intensity: tuple[float, float] = (0.1, 0.5)


class Dimmed(Paired):
    """A photo paired with itself (a source of kind ``photos``) gets a dark twin by the dimmer, another one every
    time; real pairs stay what they are."""

    class Settings(Paired.Settings):
        dimmer: str
        """Name or file of the dimmer."""
        factor: tuple[float, float] = (0.3, 2.0)
        """Range of the light that is left, in that of the dimmer's pairs."""
        temperature: float = Field(1.0, ge=0, le=2)
        """Of the dimmer's noise."""
        noise: Noise = Noise()
        faults: tuple[DimmedFault, ...] = ()  # type: ignore[assignment]
        """Of the release, to repeat: those of ``paired``; ``noisy_target`` asks for the light photo with its
        ``noise``; ``wrap`` lets values above 255 begin again at 0."""

    settings: Settings
    descriptor_draws: ClassVar[int] = 512

    @classmethod
    def tiny_settings(cls) -> Settings:
        """Without LPIPS; a dimmer must lie where the tests run."""
        return cls.Settings(losses=Losses(lpips=0, structure=0.1), dimmer="dimmer.safetensors")

    def __init__(self, config: Config, settings: Settings, data: Mixture, device: torch.device) -> None:
        self.settings = settings  # drawing photos needs both, and the network's constructor draws some
        self.dimmer = load_dimmer(settings.dimmer)
        super().__init__(config, settings, data, device)

    def batch(self, data: Mixture, moment: Moment, device: torch.device) -> Batch:
        drawer = _Dimming(data, self.dimmer, self.settings, moment.crop)
        return Mixture([(drawer, 1.0)], data.jitter).batch(moment.rng, moment.count, moment.crop, device)


class _Dimming:
    """Draws from a mixture, and dims what is paired with itself: a window, and a sample for the histograms."""

    def __init__(self, data: Mixture, dimmer: Dimmer, settings: Dimmed.Settings, crop: int) -> None:
        self.data = data
        self.dimmer = dimmer
        self.settings = settings
        self.crop = crop

    def draw(self, rng: np.random.Generator) -> Pair:
        dark, light = self.data.draw(rng)
        if dark is not light:
            return dark, light
        whole = light.pixels.flatten(0, 1)
        height, width = light.pixels.shape[:2]
        top, left = (int(rng.integers(side - self.crop + 1)) for side in (height, width))
        window = light.pixels[top : top + self.crop, left : left + self.crop].flatten(0, 1)
        sample = whole[torch.from_numpy(rng.integers(len(whole), size=SAMPLE)).to(whole.device)]
        # One column: camera noise depends on the deviation over the picture, and the sample shares it.
        clean: Pixels = torch.cat([window, sample])[:, None].cpu().numpy()
        lit = self._noisy(clean, rng)
        return (
            self._picture(f"{light.name} (dimmed)", self._dim(lit, rng)),
            self._picture(light.name, lit if "noisy_target" in self.settings.faults else clean),
        )

    def pictures(self) -> list[Picture]:
        return list(self.data.pictures())

    def exposures(self) -> list[Pair]:
        return list(self.data.exposures())

    def _picture(self, name: str, column: Pixels) -> Picture:
        window = torch.from_numpy(column[: self.crop**2].reshape(self.crop, self.crop, 3))
        return Picture(name, window, statistics.histograms(column[self.crop**2 :]))

    def _noisy(self, light: Pixels, rng: np.random.Generator) -> Pixels:
        noise = self.settings.noise
        if rng.random() >= noise.share:
            return light
        return iso_noise(light, rng.uniform(*noise.shift), rng.uniform(*noise.intensity), rng)

    def _dim(self, light: Pixels, rng: np.random.Generator) -> Pixels:
        illumination, reflectance = self.dimmer.dim_pixels(
            light[:, 0] / np.float64(255),
            Seeded(int(rng.integers(2**63))),
            factor=rng.uniform(*self.settings.factor),
            temperature=self.settings.temperature,
        )
        values = self.dimmer.whole(255 * merge(reflectance, illumination))
        values = values % 256 if "wrap" in self.settings.faults else np.minimum(values, 255)
        return values.astype(np.uint8)[:, None]
