"""The authors' checkpoints: how their tensors are called here, and what their shapes tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from lowlight import methods
from lowlight.errors import WeightsError
from lowlight.methods import Imported
from lowlight.methods.llflow import Config
from lowlight.nn import flow_names

UNUSED = re.compile(
    r"RRDB\.(downconv3|HRconv|conv_last|awb_para)\.(weight|bias)|flowUpsamplerNet\.f\.0\.(weight|bias)"
)
"""Tensors that every checkpoint has and the release never reads."""

_ENCODER = {
    "conv_first": "first",
    "conv_second": "second",
    "trunk_conv": "trunk",
    "downconv1": "downs.0",
    "downconv2": "downs.1",
    "fine_tune_color_map.0": "colours",
}
LEVELS = 3
PLAIN_STEPS = 2


def rename(key: str, steps: int) -> str:
    """The name here of a published tensor; a name that is not published comes back as it is.

    steps: conditioned steps of a level.
    """
    if found := re.fullmatch(r"RRDB\.RRDB_trunk\.(\d+)\.RDB([123])\.conv([1-5])\.(weight|bias)", key):
        block, dense, conv, part = found.groups()
        return f"encoder.blocks.{block}.blocks.{int(dense) - 1}.convs.{int(conv) - 1}.{part}"
    if (found := re.fullmatch(r"RRDB\.(.+)\.(weight|bias)", key)) and found[1] in _ENCODER:
        return f"encoder.{_ENCODER[found[1]]}.{found[2]}"
    return flow_names.rename(key, PLAIN_STEPS + steps, squeezes=1) or key


def unname(name: str, steps: int) -> str:
    """The published name of a tensor here, as ``rename`` backwards; what has none comes back as it is."""
    if found := re.fullmatch(r"encoder\.blocks\.(\d+)\.blocks\.(\d)\.convs\.(\d)\.(weight|bias)", name):
        block, dense, conv, part = found.groups()
        return f"RRDB.RRDB_trunk.{block}.RDB{int(dense) + 1}.conv{int(conv) + 1}.{part}"
    parts = {here: published for published, here in _ENCODER.items()}
    if (found := re.fullmatch(r"encoder\.(.+)\.(weight|bias)", name)) and found[1] in parts:
        return f"RRDB.{parts[found[1]]}.{found[2]}"
    return flow_names.unname(name, PLAIN_STEPS + steps, squeezes=1) or name


def matches(names: Collection[str]) -> bool:
    """Whether tensors of these names are an LLFlow checkpoint."""
    return "RRDB.conv_first.weight" in names and any(name.startswith("flowUpsamplerNet.") for name in names)


def read(
    tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], sets: Mapping[str, str]
) -> Imported:
    """The network of a published file, with every size from its tensors' shapes. See ``methods.Imported``.

    Which blocks are stacked into the conditions is not in a file: 1, 3, 5, ... unless ``sets`` has ``stacked``.
    """
    config = methods.read_sets(derive_config(tensors), sets, ["stacked"])
    assert isinstance(config, Config)  # noqa: S101
    told = derive_config(tensors).stacked
    if len(config.stacked) != len(told):
        raise WeightsError(
            f"--set stacked={sets['stacked']}: the file's conditions hold {len(told)} blocks, "
            f"not {len(config.stacked)}"
        )
    named = {
        (name := rename(key, config.steps)): flow_names.flat(name, tensor)
        for key, tensor in tensors.items()
        if not UNUSED.fullmatch(key)
    }
    return Imported(
        config,
        named,
        licence="CC BY-NC-SA 4.0, academic research use only, as the authors' code: no commercial use",
        sources=[
            "LLFlow: Wang, Wan, Yang, Li, Chau, Kot, AAAI 2022 (arXiv 2109.05923); github wyf0912/LLFlow",
            "trained by its authors on LOL or LOL-v2; published for research",
        ],
        notes=[
            f"blocks {', '.join(map(str, config.stacked))} are stacked into the conditions: the file does not tell"
        ],
        published_name=lambda name: unname(name, config.steps),
    )


def derive_config(tensors: Mapping[str, NDArray[Any]]) -> Config:
    """Every size from shapes, whether they fit or not. Raises WeightsError for a tensor that is missing for that."""

    def shape(key: str) -> tuple[int, ...]:
        if key not in tensors:
            raise WeightsError(f"tensor {key!r} is missing: not a whole LLFlow checkpoint")
        return tensors[key].shape

    width = shape("RRDB.conv_first.weight")[0]
    growth = shape("RRDB.RRDB_trunk.0.RDB1.conv1.weight")[0]
    blocks = {key.split(".")[2] for key in tensors if key.startswith("RRDB.RRDB_trunk.")}
    conditioned = sorted(
        int(found[1])
        for key in tensors
        if (found := re.fullmatch(r"flowUpsamplerNet\.layers\.(\d+)\.affine\.fFeatures\.0\.weight", key))
    )
    if not conditioned:
        raise WeightsError("no conditioned flow steps: not a whole LLFlow checkpoint")
    hidden, condition = shape(f"flowUpsamplerNet.layers.{conditioned[0]}.affine.fFeatures.0.weight")[:2]
    return Config.model_construct(
        channels=width,
        blocks=len(blocks),
        growth=growth,
        stacked=tuple(range(1, 2 * (condition // width - 1), 2)),
        steps=max(1, len(conditioned) // LEVELS),
        plain_steps=PLAIN_STEPS,
        hidden=hidden,
        levels=LEVELS,
    )
