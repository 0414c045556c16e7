"""Dimma's training stages: a camera's dimmer, the network on photos that it dims, the network on pairs."""

from lowlight.methods.dimma.training.dimmed import Dimmed as Dimmed
from lowlight.methods.dimma.training.dimmer import DimmerStage as DimmerStage
from lowlight.methods.dimma.training.paired import Losses as Losses
from lowlight.methods.dimma.training.paired import Paired as Paired
from lowlight.training.stage import Stage

stages: dict[str, type[Stage]] = {"dimmer": DimmerStage, "dimmed": Dimmed, "paired": Paired}
