"""The authors' checkpoints: how their tensors are called here, and what their shapes tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from lowlight import methods
from lowlight.errors import WeightsError
from lowlight.methods import Imported
from lowlight.methods.enlightengan import Config

COUNTER = re.compile(r"bn\d+_[12]\.num_batches_tracked")
"""What torch of today counts beside a norm's statistics, and nothing reads."""
_LAYER = re.compile(r"(conv|bn)(\d+)_([12])\.(.+)")
_HERE = re.compile(r"(downs|ups)\.(\d+)\.(convs|norms)\.([01])\.(.+)")


def rename(key: str, levels: int) -> str:
    """The name here of a published tensor; a name that is not published comes back as it is.

    levels: sizes of the network. Blocks are counted from 1: those on the way down, then those on the way up.
    """
    if found := _LAYER.fullmatch(key):
        kind, block, half, part = found.groups()
        way, place = ("downs", int(block) - 1) if int(block) <= levels else ("ups", int(block) - levels - 1)
        return f"{way}.{place}.{'convs' if kind == 'conv' else 'norms'}.{int(half) - 1}.{part}"
    if found := re.fullmatch(r"deconv(\d+)\.(weight|bias)", key):
        return f"lifts.{int(found[1]) - levels}.{found[2]}"
    if found := re.fullmatch(rf"conv{2 * levels}\.(weight|bias)", key):
        return f"last.{found[1]}"
    return key


def unname(name: str, levels: int) -> str:
    """The published name of a tensor here: ``rename`` backwards."""
    if found := _HERE.fullmatch(name):
        way, place, kind, half, part = found.groups()
        block = int(place) + 1 + (levels if way == "ups" else 0)
        return f"{'conv' if kind == 'convs' else 'bn'}{block}_{int(half) + 1}.{part}"
    if found := re.fullmatch(r"lifts\.(\d+)\.(.+)", name):
        return f"deconv{int(found[1]) + levels}.{found[2]}"
    if found := re.fullmatch(r"last\.(.+)", name):
        return f"conv{2 * levels}.{found[1]}"
    return name


def matches(names: Collection[str]) -> bool:
    """Whether tensors of these names are a generator of EnlightenGAN."""
    return "conv1_1.weight" in names and any(re.fullmatch(r"deconv\d+\.weight", name) for name in names)


def read(
    tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], sets: Mapping[str, str]
) -> Imported:
    """The network of a published file, its sizes from its tensors' shapes. See ``methods.Imported``.

    How maps are enlarged is not in a file: corners aligned, as when the published weights were trained, unless
    ``sets`` has ``align_corners``.
    """
    config = methods.read_sets(derive_config(tensors), sets, ["align_corners"])
    assert isinstance(config, Config)  # noqa: S101
    kept = {
        rename(key, config.levels): tensor for key, tensor in tensors.items() if not COUNTER.fullmatch(key)
    }
    notes = ["without --lightness the result is as light as the network makes it"]
    if "align_corners" not in sets:
        notes.append(
            "align_corners: true, as in the torch (0.3) of the published weights; files of a training with later "
            "ones want --set align_corners=false"
        )
    return Imported(
        config,
        kept,
        licence="BSD-2-Clause, Copyright (c) 2019 Yifan Jiang and Zhangyang Wang, as the authors' code; "
        "the training photos have terms of their own, which the release does not state",
        sources=[
            "EnlightenGAN: Jiang et al., TIP 30, 2340-2349 (2021), arXiv 1906.06972; github VITA-Group/EnlightenGAN",
            "trained by its authors on 914 dark and 1016 bright photos of several public sets, without pairs",
        ],
        notes=notes,
        published_name=lambda name: unname(name, config.levels),
    )


def derive_config(tensors: Mapping[str, NDArray[Any]]) -> Config:
    """Every size from shapes, whether they fit or not. Raises WeightsError for a tensor that is missing for that."""
    first = tensors.get("conv1_1.weight")
    if first is None or first.ndim != 4:
        raise WeightsError("tensor 'conv1_1.weight' is missing or no convolution: not a whole generator")
    blocks = max(int(found[2]) for key in tensors if (found := _LAYER.fullmatch(key)))
    return Config.model_construct(
        width=first.shape[0],
        levels=(blocks + 1) // 2,
        attention=first.shape[1] == 4,
        align_corners=True,
    )
