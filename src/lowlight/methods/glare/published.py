"""The authors' checkpoints: how their tensors are called here, and what their shapes tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from lowlight import methods
from lowlight.errors import WeightsError
from lowlight.methods import Imported
from lowlight.methods.glare import PUBLISHED, Config

UNUSED = re.compile(r"(flowUpsamplerNet\.f|deformable_decoder\.(?:conv_out|scale|bias|enc))\..+")
"""Tensors that every checkpoint has and the release never reads."""
TRAINING = re.compile(r"(encoder|quant_conv|conv_semantic|vgg_feat_extractor|loss|discriminator)\..+")
"""What made the codebook and enhances no photo."""

_NET = {
    "0.weight": "first",
    "0.actnorm.bias": "first_norm.bias",
    "0.actnorm.logs": "first_norm.logs",
    "2.weight": "second",
    "2.actnorm.bias": "second_norm.bias",
    "2.actnorm.logs": "second_norm.logs",
    "4.weight": "last",
    "4.bias": "last_bias",
    "4.logs": "logs",
}
_STEP = {
    "actnorm.bias": "norm.bias",
    "actnorm.logs": "norm.logs",
    "invconv.weight": "mix.weight",
    **{f"affine.fFeatures.{key}": f"injection.net.{name}" for key, name in _NET.items()},
    **{f"affine.fAffine.{key}": f"coupling.net.{name}" for key, name in _NET.items()},
}
_STEP_HERE = {here: published for published, here in _STEP.items()}
_PARTS = (
    ("RRDB.encoder.", "encoder.encoder."),
    ("RRDB.cond_conv.0.", "encoder.condition."),
    ("RRDB.color_conv.", "encoder.mean."),
    ("decoder.", "decoding.decoder."),
    ("quantize.embedding.weight", "decoding.codebook.codes"),
    ("post_quant_conv.", "decoding.after."),
    ("deformable_decoder.residual_conv.", "decoding.mixing.decoder.conv_out."),
    ("deformable_decoder.", "decoding.mixing.decoder."),
)
"""Beginnings of names, the special ones first."""


def rename(key: str, config: Config) -> str:
    """The name here of a published tensor; a name that is not published comes back as it is."""
    if (found := re.fullmatch(r"flowUpsamplerNet\.layers\.(\d+)\.(.+)", key)) and found[2] in _STEP:
        part, step = divmod(int(found[1]), config.plain_steps + config.steps)
        return f"flow.levels.{part}.steps.{step}.{_STEP[found[2]]}"
    if found := re.fullmatch(r"deformable_decoder\.(mix|warp)\.(\d+)\.(.+)", key):
        level = _other_end(int(found[2]), config)
        if found[1] == "warp":
            return f"decoding.mixing.warps.{level}.{found[3]}"
        return f"decoding.mixing.mixes.{level}.logit" if found[3] == "w" else key
    for published, here in _PARTS:
        if key.startswith(published):
            return here + key.removeprefix(published)
    return key


def unname(name: str, config: Config) -> str:
    """The published name of a tensor here, as ``rename`` backwards; what has none comes back as it is."""
    found = re.fullmatch(r"flow\.levels\.(\d+)\.steps\.(\d+)\.(.+)", name)
    if found and found[3] in _STEP_HERE:
        layer = int(found[1]) * (config.plain_steps + config.steps) + int(found[2])
        return f"flowUpsamplerNet.layers.{layer}.{_STEP_HERE[found[3]]}"
    if found := re.fullmatch(r"decoding\.mixing\.(mixes|warps)\.(\d+)\.(.+)", name):
        index = _other_end(int(found[2]), config)
        return f"deformable_decoder.{'mix' if found[1] == 'mixes' else 'warp'}.{index}." + (
            "w" if found[3] == "logit" else found[3]
        )
    for published, here in _PARTS:
        if name.startswith(here):
            return published + name.removeprefix(here)
    return name


def _other_end(level: int, config: Config) -> int:
    """The release counts mixing from the coarsest level, we count from full size."""
    return len(config.multipliers) - 2 - level


def matches(names: Collection[str]) -> bool:
    """Whether tensors of these names are GLARE's networks, or one of the files that they come in."""
    return "RRDB.color_conv.weight" in names or {
        "quantize.embedding.weight",
        "post_quant_conv.weight",
    } <= set(names)


def read(
    tensors: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], sets: Mapping[str, str]
) -> Imported:
    """The network of the two published files together, every size from shapes. See ``methods.Imported``.

    Into how many groups norms divide their channels is not in a file: 32 unless ``sets`` has ``groups``. A file of
    the second stage has no second decoder; with the codebook's it is a network without mixing.
    """
    for key, file in (("RRDB.color_conv.weight", "net_G.pth"), ("quantize.embedding.weight", "vqgan.pkl")):
        if key not in tensors:
            raise WeightsError(
                f"tensor {key!r} of {file} is missing: expected a folder with net_G.pth and vqgan.pkl"
            )
    config = methods.read_sets(derive_config(tensors), sets, ["groups"])
    assert isinstance(config, Config)  # noqa: S101
    left = {key: found[1] for key in tensors if (found := UNUSED.fullmatch(key) or TRAINING.fullmatch(key))}
    named = {rename(key, config): tensor for key, tensor in tensors.items() if key not in left}
    flat = {
        # Published norms have their channels between axes of length one.
        key: tensor.reshape(-1) if key.startswith("flow.") and key.endswith(("norm.bias", "logs")) else tensor
        for key, tensor in named.items()
    }
    return Imported(
        config,
        flat,
        licence="Apache-2.0, as the authors' code; not stated for the weights, nor the terms of the training photos",
        sources=[
            "GLARE: Zhou, Dong, Liu, Liu, Min, Zhai, Chen, ECCV 2024 (arXiv 2407.12431); github LowLevelAI/GLARE",
            "trained by its authors on LOL or LOL-v2-real; its codebook possibly on reference pictures of their tests",
        ],
        notes=[
            f"left out: {len(left)} tensors ({', '.join(sorted(set(left.values())))})",
            *(
                []
                if "groups" in sets
                else [f"norms in {config.groups} groups: the files do not tell; --set groups=N"]
            ),
            "its codebook has possibly seen the reference pictures of LOL's and LOL-v2-real's tests: scores on them flatter",
            "sees the whole photo at once: see its page for memory and time",
        ],
        published_name=lambda name: unname(name, config),
    )


def derive_config(tensors: Mapping[str, NDArray[Any]]) -> Config:
    """Every size from shapes, whether they fit or not. Raises WeightsError for a tensor that is missing for that."""

    def shape(key: str) -> tuple[int, ...]:
        if key not in tensors:
            raise WeightsError(f"tensor {key!r} is missing: not a whole GLARE checkpoint")
        return tensors[key].shape

    def numbers(pattern: str) -> list[int]:
        return sorted({int(found[1]) for key in tensors if (found := re.match(pattern, key))})

    channels = shape("RRDB.encoder.conv_in.weight")[0]
    levels = numbers(r"RRDB\.encoder\.down\.(\d+)\.")
    widths = [shape(f"RRDB.encoder.down.{level}.block.0.conv2.weight")[0] for level in levels]
    layers = numbers(r"flowUpsamplerNet\.layers\.(\d+)\.")
    conditioned = set(numbers(r"flowUpsamplerNet\.layers\.(\d+)\.affine\."))
    if not conditioned:
        raise WeightsError("no conditioned flow steps: not a whole GLARE checkpoint")
    plain = min(conditioned)
    flows = max(1, sum(layer not in conditioned and layer + 1 in conditioned for layer in layers))
    hidden, condition = shape(f"flowUpsamplerNet.layers.{plain}.affine.fFeatures.0.weight")[:2]
    mixing = any(key.startswith("deformable_decoder.") for key in tensors)
    return Config.model_construct(
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        groups=PUBLISHED.groups,
        blocks=len(numbers(r"RRDB\.encoder\.down\.0\.block\.(\d+)\.")),
        attention=tuple(numbers(r"RRDB\.encoder\.down\.(\d+)\.attn\.")),
        codes=shape("quantize.embedding.weight")[0],
        flows=flows,
        plain_steps=plain,
        steps=len(conditioned) // flows,
        hidden=hidden,
        condition=condition,
        deform_groups=shape("deformable_decoder.warp.0.dcn.conv_offset.bias")[0] // 27
        if mixing
        else PUBLISHED.deform_groups,
        mixing=mixing,
    )
