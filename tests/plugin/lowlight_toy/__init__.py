"""A method as a plug-in package brings it: two convolutions that see the dark photo at the lightness wanted."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from lowlight import methods, statistics
from lowlight.methods import Array, Observation, Samples


class Config(methods.Config):
    width: int = 4


class Toy:
    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    Controls: ClassVar[type[methods.Controls]] = methods.Controls
    Config: ClassVar[type[methods.Config]] = Config
    halo: int | None = 2
    multiple: int = 1
    border: int = 0
    tile_bytes: int = 100

    def __init__(self, config: Config, arrays: Mapping[str, Array]) -> None:
        self.guess = arrays["guess"]

    def observe(self, samples: Samples, controls: methods.Controls) -> Observation:
        lightness = self.guess if controls.lightness == "auto" else controls.lightness
        return {
            "lightness": np.array(lightness, np.float32),
            "source": np.array(statistics.mean(samples), np.float32),
        }
