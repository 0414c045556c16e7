from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowlight import statistics
from lowlight.methods import Array
from lowlight.training import stage
from lowlight.training.data import Batch, Mixture
from lowlight.training.stage import Moment, Optimizer, Player, Schedule
from lowlight_toy import Config
from lowlight_toy.network import Network


class Versus(stage.Stage):
    """An enhancer against a critic with dropout; noise from the loop's generator."""

    class Settings(stage.Settings):
        noise: float = 0.01
        optimizer: Optimizer = Optimizer(rate=1e-2)
        schedule: Schedule = Schedule(warmup=3)
        poison: tuple[int, ...] = ()
        """Steps whose reconstruction loss is NaN."""

    def __init__(self, config: Config, settings: Settings, data: Mixture, device: torch.device) -> None:
        self.settings = settings
        self.lights = [float(statistics.histogram_means(each.counts).mean()) for each in data.pictures()]
        critic = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.SiLU(), nn.Dropout(0.5), nn.Conv2d(4, 1, 1)
        )
        self.networks = {"enhancer": Network(config).to(device), "critic": critic.to(device)}

    def players(self) -> dict[str, Player]:
        return {
            name: Player(list(network.parameters()), self.settings.optimizer, self.settings.schedule)
            for name, network in self.networks.items()
        }

    def losses(self, batch: Batch, moment: Moment) -> Iterator[tuple[str, dict[str, Tensor]]]:
        noise = torch.randn(batch.dark.shape, generator=moment.generator, device=moment.generator.device)
        seen = {
            name: torch.tensor(
                [statistics.histogram_means(each).mean() for each in counts], dtype=torch.float32
            )
            for name, counts in (("source", batch.dark_counts), ("lightness", batch.light_counts))
        }
        seen = {name: values.to(batch.dark.device) for name, values in seen.items()}
        fake = self.networks["enhancer"](batch.dark + self.settings.noise * noise, **seen)
        reconstruction = F.l1_loss(fake.float(), batch.light)
        if moment.step in self.settings.poison:
            reconstruction = reconstruction * torch.nan
        critic = self.networks["critic"]
        yield "enhancer", {"reconstruction": reconstruction, "fooled": -1e-2 * critic(fake).mean()}
        yield (
            "critic",
            {
                "fake": F.relu(1 + critic(fake.detach())).mean(),
                "real": F.relu(1 - critic(batch.light)).mean(),
            },
        )

    def enhancer_network(self, networks: Mapping[str, nn.Module]) -> nn.Module:
        return networks["enhancer"]

    def arrays(self) -> dict[str, Array]:
        return {"guess": np.array(np.mean(self.lights), np.float32)}


stages: dict[str, type[stage.Stage]] = {"versus": Versus}
