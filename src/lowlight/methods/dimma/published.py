"""The authors' checkpoints: how their tensors are called here, and what shapes and settings tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lowlight import methods
from lowlight.errors import WeightsError
from lowlight.methods import Imported
from lowlight.methods.dimma import Config
from lowlight.methods.dimma.dimmer import PART, Dimmer, DimmerConfig, config_of

_ATTENTION = "backbone.mid_block.attentions.0."
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
PERCEPTUAL = re.compile(
    r"ssim_loss\.(scaling_layer\.(shift|scale)|net\.slice[1-5]\.\d+\.(weight|bias)|lin(s\.)?[0-4]\.model\.1\.weight)"
)
"""The perceptual loss that Lightning saved beside the network."""
PAPER = "Dimma: arXiv 2310.09633, Entropy 26(9), 726 (2024); code: github WojciechKoz/Dimma"
ATTENTION_HEAD = 64
"""Channels of an attention head in all published configs."""
HEADS = ("sig_dim", "dim", "HE", "normal", "retinex")

NOTES = (
    "without --lightness the mean of results is 0.455, that of LOL's references; in the authors' tests it is given",
    "--control published=true: as released",
    "sees the whole photo at once: the published size takes 2 GiB and 18 s of one CPU core for 600x400 pixels",
)


def rename(key: str) -> str:
    """The name here of a tensor ``backbone.*`` of a checkpoint; only the attention is called differently.

    Shapes are the same. Names of today's diffusers come back as they are.
    """
    layer, dot, part = key.removeprefix(_ATTENTION).partition(".")
    if not key.startswith(_ATTENTION) or layer not in _RENAMED:
        return key
    return f"{_ATTENTION}{_RENAMED[layer]}{dot}{part}"


def unname(name: str) -> str:
    """The older files' name of a tensor here: ``rename`` backwards."""
    part = name.removeprefix(_ATTENTION)
    for old, today in _RENAMED.items():
        if name.startswith(_ATTENTION) and part.startswith(f"{today}."):
            return f"{_ATTENTION}{old}{part.removeprefix(today)}"
    return name


def matches(names: Collection[str]) -> bool:
    """Whether tensors of these names are a checkpoint of Dimma's network, or one of its dimmers."""
    return "backbone.conv_in.weight" in names or _is_dimmer(names)


def read(
    tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], sets: Mapping[str, str]
) -> Imported:
    """A network, its widths and blocks from shapes, its head and attention from the settings; or a dimmer."""
    if _is_dimmer(tensors):
        return _read_dimmer(tensors, sets)
    config = methods.read_sets(
        derive_config(tensors, settings), sets, ["head", "norm_groups", "attention_head"]
    )
    own = [key for key in tensors if not PERCEPTUAL.fullmatch(key)]
    kept = {rename(key): tensors[key] for key in own}
    if len(kept) < len(own):
        raise WeightsError("its attention is there under older and today's names; expected one of them")
    notes = list(NOTES)
    notes += [
        f"the file does not tell {key}: {getattr(config, key)} was taken; --set {key}=VALUE changes it"
        for key, told in (("head", "head"), ("attention_head", "attention_head_dim"))
        if told not in _model(settings) and key not in sets
    ]
    if len(own) < len(tensors):
        notes.append(f"left out: {len(tensors) - len(own)} tensors of the training's loss (ssim_loss)")
    trained = f"config {settings['name']}" if isinstance(settings.get("name"), str) else "config not told"
    return Imported(
        config,
        kept,
        licence="not stated for the weights; the authors' code is MIT, Copyright (c) 2023 WojciechKoz",
        sources=[PAPER, f"trained by its authors ({trained}); the photos have terms of their own"],
        notes=notes,
        published_name=str if own == list(kept) else unname,
    )


def derive_config(tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Config:
    """Widths and blocks from shapes, head and attention from settings, or the release's where they tell nothing.

    Whether they fit is not checked: the user may tell more. Raises WeightsError for a tensor that is missing for
    that, and for settings of another kind of network.
    """
    widths: list[int] = []
    blocks = 0
    while (key := f"backbone.down_blocks.{len(widths)}.resnets.0.conv1.weight") in tensors:
        widths.append(tensors[key].shape[0])
    while f"backbone.down_blocks.0.resnets.{blocks}.conv1.weight" in tensors:
        blocks += 1
    last = "backbone.conv_out.weight"
    if len(widths) < 2 or last not in tensors:
        missing = last if len(widths) >= 2 else f"backbone.down_blocks.{len(widths)}.resnets.0.conv1.weight"
        raise WeightsError(f"tensor {missing!r} is missing: not a whole checkpoint of Dimma")
    model = _model(settings)
    head = model.get("head", "retinex" if tensors[last].shape[0] == 4 else "sig_dim")
    attention = model.get("attention_head_dim", ATTENTION_HEAD)
    if head not in HEADS:
        raise WeightsError(f"its settings have head {head!r}; expected {', '.join(HEADS)}")
    if type(attention) is not int or attention < 1:
        raise WeightsError(f"its settings have attention_head_dim {attention!r}; expected a whole number")
    return Config.model_construct(
        body="published", widths=tuple(widths), blocks=(blocks,), head=head, attention_head=attention
    )


def _model(settings: Mapping[str, Any]) -> dict[str, Any]:
    found = settings.get("model")
    return found if isinstance(found, dict) else {}


def _is_dimmer(names: Collection[str]) -> bool:
    return "backbone.0.weight" in names and ("red_mu.weight" in names or "backbone.6.weight" in names)


def _read_dimmer(tensors: Mapping[str, NDArray[Any]], sets: Mapping[str, str]) -> Imported:
    """``mdn.pt``, ``mean.npy`` and ``std.npy``: statistics of the first channel's illumination, as released."""
    if missing := {"mean", "std"} - tensors.keys():
        raise WeightsError(
            f"a dimmer without {min(missing)}.npy; expected its folder, with mdn.pt, mean.npy and std.npy"
        )
    layers = {key: tensor for key, tensor in tensors.items() if key not in ("mean", "std")}
    config = methods.read_sets(config_of(layers, "first"), sets, ["form"])
    assert isinstance(config, DimmerConfig)  # noqa: S101
    dimmer = Dimmer(config, layers, tensors["mean"], tensors["std"], where=Path(PART))
    return Imported(
        config,
        dimmer.tensors,
        licence="MIT, Copyright (c) 2023 WojciechKoz",
        sources=[PAPER, "a dimmer of its authors, made from pairs of LOL or FS-Dark"],
        notes=[
            "illumination of the first channel, as released: pixels without red become black"
            if config.form == "first"
            else "illumination is the largest of the channels, so pixels without red keep their light"
        ],
        arrays=dimmer.arrays,
        part=PART,
    )
