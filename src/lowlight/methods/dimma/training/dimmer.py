"""Training of a dimmer on a camera's pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowlight import statistics
from lowlight.errors import RecipeError
from lowlight.methods import Array
from lowlight.methods.dimma.calibration import calibrate, measure_noise
from lowlight.methods.dimma.dimmer import COLOURS, PART, DimmerConfig
from lowlight.methods.dimma.retinex import EPSILON, Form
from lowlight.training import stage
from lowlight.training.data import Batch, Mixture, PairDrawer, Pixels
from lowlight.training.stage import Moment, Optimizer, Player, Schedule

LEAST_SIGMA = 1e-4
"""Floor of the mixture's deviations: colours of 8-bit darkness are few, and a density on a point has no bound."""

Fault = Literal["zero_edges"]


class DimmerStage(stage.Stage):
    """Learns how a camera makes dark photos, from real pairs alone: jitter and made darkness are left out."""

    part: ClassVar[str] = PART

    class Settings(stage.Settings):
        optimizer: Optimizer = Optimizer(kind="adam", rate=1e-3)
        schedule: Schedule = Schedule(shape="constant")
        faults: tuple[Fault, ...] = ()
        """Of the release, to repeat: ``zero_edges`` smooths the statistics with zeros beyond their ends, so that
        the darkest and the lightest level lose a part of their light."""

    def __init__(self, config: DimmerConfig, settings: Settings, data: Mixture, device: torch.device) -> None:
        pairs = list(data.exposures())
        if not pairs:
            raise RecipeError("data.sources: a dimmer is learned from real pairs, and there are none")
        self.config = config
        self.settings = settings
        self.pairs = Mixture([(PairDrawer(pairs), 1.0)])
        photos = [(dark.pixels.cpu().numpy(), light.pixels.cpu().numpy()) for dark, light in pairs]
        mean, std = calibrate(
            photos,
            form=config.form,
            edges="released" if "zero_edges" in settings.faults else "mended",
        )
        self.statistics = {"mean": mean.astype("float32"), "std": std.astype("float32")}
        if config.noise == "measured":
            self.statistics["noise"] = measure_noise(photos).astype("float32")
        self.networks: dict[str, nn.Module] = {PART: DimmerNetwork(config).to(device)}

    def players(self) -> dict[str, Player]:
        parameters = list(self.networks[PART].parameters())
        return {PART: Player(parameters, self.settings.optimizer, self.settings.schedule)}

    def batch(self, data: Mixture, moment: Moment, device: torch.device) -> Batch:
        return self.pairs.batch(moment.rng, moment.count, moment.crop, device)

    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        with torch.autocast(batch.dark.device.type, enabled=False):
            inputs, wanted = pair_inputs(batch.dark, batch.light, self.config.form)
            loss = self.networks[PART](inputs, wanted).mean()
        yield PART, {"likelihood" if self.config.kind == "mixture" else "mse": loss}

    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        return networks[PART]

    def arrays(self) -> dict[str, Array]:
        return self.statistics

    def judge(
        self, networks: Mapping[str, nn.Module], pairs: Sequence[tuple[Pixels, Pixels]]
    ) -> tuple[dict[str, float], float]:
        """The mean loss over all pixels of the pairs; less is better, so the score is its negative."""
        device = next(networks[PART].parameters()).device
        total, count = 0.0, 0
        with torch.inference_mode():
            for pair in pairs:
                for strips in zip(*map(statistics.strips, pair), strict=True):
                    dark, light = (
                        torch.from_numpy(each).to(device).permute(2, 0, 1)[None] / 255 for each in strips
                    )
                    loss = networks[PART](*pair_inputs(dark, light, self.config.form))
                    total += float(loss.double().sum())
                    count += loss.numel()
        return {"loss": total / count}, -total / count


class DimmerNetwork(nn.Module):
    """A dimmer's network under the authors' names, for training: ``forward`` gives its loss.

    ``methods.dimma.dimmer.Dimmer`` uses what is trained here.
    """

    def __init__(self, config: DimmerConfig) -> None:
        super().__init__()
        self.config = config
        widths = [5, config.hidden, config.hidden, config.hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 1), nn.ReLU()]
        if config.kind == "deterministic":
            layers.append(nn.Conv2d(config.hidden, len(COLOURS), 1))
        else:
            for colour in COLOURS:
                self.add_module(f"{colour}_mu", nn.Conv2d(config.hidden, config.components, 1))
                for head in ("sigma", "pi"):
                    layer = nn.Sequential(nn.Conv2d(config.hidden, config.components, 1))
                    self.add_module(f"{colour}_{head}", layer)
        self.backbone = nn.Sequential(*layers)

    def forward(self, inputs: Tensor, wanted: Tensor) -> Tensor:
        """Loss of each pixel (batch, height, width): negative logarithm of the density of the dark reflectance,
        summed over colours, less the constant of the normal distribution; of the deterministic rival, the mean
        squared error.

        inputs (batch, 5, height, width), wanted (batch, 3, height, width): see ``pair_inputs``.
        """
        # Planes of all pixels: as 1x1 convolutions the same takes nearly twice as long.
        planes, colours = inputs.movedim(1, 0).flatten(1), wanted.movedim(1, 0).flatten(1)
        hidden = planes
        for layer in self.hidden:
            hidden = _apply(hidden, layer).relu()
        outputs = _apply(hidden, *self.heads)
        if self.config.kind == "deterministic":
            loss = ((outputs + planes[:3] - colours) ** 2).mean(dim=0)
        else:
            heads = outputs.view(3, len(COLOURS), self.config.components, -1)
            means, deviations, weights = heads.unbind()
            sigma = F.softplus(deviations).clamp(min=LEAST_SIGMA)
            z = ((colours - planes[:3])[:, None] - means) / sigma
            density = (F.log_softmax(weights, dim=1) - z**2 / 2 - sigma.log()).logsumexp(dim=1)
            loss = -density.sum(dim=0)
        return loss.view(inputs.shape[0], *inputs.shape[2:])

    @property
    def hidden(self) -> list[nn.Conv2d]:
        """The layers before the heads."""
        return [self.get_submodule(f"backbone.{index}") for index in (0, 2, 4)]  # type: ignore[misc]

    @property
    def heads(self) -> list[nn.Conv2d]:
        """The last layers: means of all colours, their deviations, their weights."""
        if self.config.kind == "deterministic":
            return [self.get_submodule("backbone.6")]  # type: ignore[list-item]
        names = (f"{colour}_{head}" for head in ("mu", "sigma.0", "pi.0") for colour in COLOURS)
        return [self.get_submodule(name) for name in names]  # type: ignore[misc]


def _apply(planes: Tensor, *layers: nn.Conv2d) -> Tensor:
    """Layers of 1x1, side by side, on (features, pixels)."""
    weight = torch.cat([layer.weight for layer in layers])[:, :, 0, 0]
    bias = torch.cat([layer.bias for layer in layers if layer.bias is not None])
    return torch.addmm(bias[:, None], weight, planes)


def pair_inputs(dark: Tensor, light: Tensor, form: Form = "maximum") -> tuple[Tensor, Tensor]:
    """What a dimmer's network gets of a pair, and what it shall give.

    dark, light: (batch, 3, height, width) in [0, 1]. Gives the light photo's reflectance and illumination with
    the dark one's illumination (batch, 5, height, width), and the dark reflectance (batch, 3, height, width).
    """
    (below, of_dark), (above, of_light) = (_split(each, form) for each in (dark, light))
    return torch.cat([above, of_light, of_dark], dim=1), below


def _split(picture: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """``retinex.split`` of values to 255, as the release trains: its small term hardly moves dark colours."""
    values = picture.double() * 255
    reflectance = values / (values.sum(dim=1, keepdim=True) + EPSILON)
    illuminations = values / (3 * reflectance + EPSILON)
    illumination = illuminations.amax(dim=1, keepdim=True) if form == "maximum" else illuminations[:, :1]
    return reflectance.float(), (illumination / 255).float()
