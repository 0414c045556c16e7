"""GLARE (2024): codes of normal light, found by a flow in their latent, and decoded with the dark photo's own detail.

Source: arXiv 2407.12431, with the authors' release where the paper is silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from lowlight import methods
from lowlight.errors import ControlError
from lowlight.methods import Array, Frame, Observation, Samples

Count = Annotated[int, Field(ge=1)]
CODEBOOK = "codebook"
"""The part that is learned first: pictures to codes and back."""


class CodebookConfig(methods.Config):
    """Sizes of what the codebook is learned with. The defaults take a tenth of what the published ones do."""

    channels: Count = 40
    """Of encoders and decoders at full size. Published: 128."""
    multipliers: tuple[Count, ...] = Field((1, 2, 4), min_length=2)
    """Of the channels, one a level; each level halves the sides."""
    blocks: Count = 2
    """Residual blocks of an encoder's level; a decoder's has one more."""
    groups: Count = 8
    """Of the norms; of the channels of every level, whose number it divides. Published: 32."""
    attention: tuple[int, ...] = ()
    """Levels, from 0, with attention after each block; at the smallest size there always is one. Published: 2."""
    codes: Count = 2048
    """In the codebook. Published: 8192."""

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        for width in self.widths():
            if width % self.groups:
                raise ValueError(f"groups: {self.groups} does not divide the {width} channels of a level")
        levels = len(self.multipliers)
        if any(not 0 <= level < levels for level in self.attention):
            raise ValueError(f"attention: expected levels from 0 to {levels - 1}, got {list(self.attention)}")
        return self

    def widths(self) -> list[int]:
        """Channels of each level, from full size."""
        return [self.channels * each for each in self.multipliers]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors, by name. Needs torch."""
        import torch

        from lowlight.methods.glare.network import Codec

        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in Codec(self).state_dict().items()}


class Config(CodebookConfig):
    """Sizes of the network. The defaults take a tenth of what the published one's do, which ``PUBLISHED`` has."""

    flows: Count = 2
    """Parts of the flow, each of plain and conditioned steps."""
    plain_steps: int = Field(2, ge=0)
    """Steps without condition, first in each part."""
    steps: int = Field(8, ge=0)
    """Conditioned steps of each part. Published: 12."""
    hidden: Count = 32
    """Channels inside a step's networks. Published: 64."""
    condition: Count = 64
    """Channels of the flow's condition."""
    deform_groups: Count = 4
    """Of the channels, each with offsets of its own."""
    mixing: bool = True
    """The second decoder is there; without it the codes alone make the picture, as after the flow's training."""

    @model_validator(mode="after")
    def _offsets_fit(self) -> Self:
        for width in self.widths()[:-1]:
            if self.mixing and width % self.deform_groups:
                raise ValueError(
                    f"deform_groups: {self.deform_groups} does not divide the {width} channels of a level"
                )
        return self


PUBLISHED = Config(channels=128, groups=32, attention=(2,), codes=8192, steps=12, hidden=64)


class Controls(methods.SampledControls):
    """GLARE's controls."""

    fidelity: float = Field(
        1.0,
        ge=0,
        le=4,
        description="the learned share of the dark photo's own features is multiplied by this; 0: the codes decide",
    )
    script: Literal["pairs", "unpaired"] = Field(
        "pairs", description="which of the release's scripts published=true reproduces"
    )


_Config: TypeAlias = Config
_Controls: TypeAlias = Controls


class GLARE:
    """GLARE's surface: what it observes and how it cuts."""

    name: ClassVar[str] = "glare"
    title: ClassVar[str] = "GLARE: codes of normal light by a latent flow (2024)"
    Controls: ClassVar[type[methods.Controls]] = Controls
    Config: ClassVar[type[methods.Config]] = Config
    parts: ClassVar[Mapping[str, type[methods.Config]]] = {CODEBOOK: CodebookConfig}
    border = 0
    halo: int | None = None

    def __init__(self, config: _Config, arrays: Mapping[str, Array]) -> None:
        """arrays: none are needed."""
        self.config = config
        self.multiple = 2 ** (len(config.multipliers) - 1)
        # Measured: 5000 bytes with 32 channels and 11100 with 128 in torch; 4200 with 32 in ONNX Runtime.
        self.tile_bytes = 64 * config.channels + 750 * config.deform_groups

    @staticmethod
    def tiny_config() -> _Config:
        """A network for tests."""
        return Config(
            channels=4,
            multipliers=(1, 1, 1, 2),
            blocks=1,
            groups=1,
            attention=(),
            codes=6,
            flows=1,
            plain_steps=1,
            steps=1,
            hidden=4,
            condition=4,
            deform_groups=1,
        )

    def observe(self, samples: Samples, controls: methods.Controls) -> Observation:
        """The controls: all that depends on the whole photo the network sees itself, in one piece."""
        assert isinstance(controls, _Controls)  # noqa: S101
        if not self.config.mixing and controls.fidelity != 1:
            raise ControlError(
                f"control fidelity = {controls.fidelity:g}: these weights have no second decoder to mix in; leave it out"
            )
        return {"fidelity": np.array(controls.fidelity, np.float32), **controls.drawn()}

    @staticmethod
    def released_frame(height: int, width: int, controls: methods.Controls) -> Frame:
        """What the release's script mirrors outwards: 20 pixels below and before, or to multiples of 16, always some."""
        assert isinstance(controls, _Controls)  # noqa: S101
        if controls.script == "pairs":
            return Frame((0, 20), (20, 0), mode="reflect", truncated=False)
        return Frame.to_multiples_of_16(height, width)
