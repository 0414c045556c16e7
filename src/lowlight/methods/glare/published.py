"""The authors' checkpoints: how their tensors are called here, and what their shapes tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lowlight import methods
from lowlight.errors import WeightsError
from lowlight.methods import Imported
from lowlight.methods.glare import CODEBOOK, PUBLISHED, CodebookConfig, Config
from lowlight.nn import flow_names

UNUSED = re.compile(r"(flowUpsamplerNet\.f|deformable_decoder\.(?:conv_out|scale|bias|enc))\..+")
"""Tensors that every checkpoint has and the release never reads."""
ENCODING = re.compile(r"(encoder|quant_conv)\..+")
"""What gives the codes of a good photo; the flow's training needs it, and no photo that is enhanced."""
LOSSES = re.compile(r"(conv_semantic|vgg_feat_extractor|loss|discriminator)\..+")
"""What else the codebook was learned with."""

LICENCE = "Apache-2.0, as the authors' code; not stated for the weights, nor the terms of the training photos"
SOURCES = (
    "GLARE: Zhou, Dong, Liu, Liu, Min, Zhai, Chen, ECCV 2024 (arXiv 2407.12431); github LowLevelAI/GLARE",
    "trained by its authors on LOL or LOL-v2-real; its codebook possibly on reference pictures of their tests",
)

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
    if (step := flow_names.rename(key, config.plain_steps + config.steps, squeezes=0)) is not None:
        return step
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
    if (step := flow_names.unname(name, config.plain_steps + config.steps, squeezes=0)) is not None:
        return step
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


_CODEBOOK_PARTS = (
    ("encoder.", "encoder."),
    ("quant_conv.", "before."),
    ("quantize.embedding.weight", "codebook.codes"),
    ("post_quant_conv.", "after."),
    ("decoder.", "decoder."),
)


def rename_in_codebook(key: str, *, back: bool = False) -> str:
    """The name in ``Codec`` of a tensor of vqgan.pkl, or back; another name comes back as it is."""
    for published, here in _CODEBOOK_PARTS:
        old, new = (here, published) if back else (published, here)
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


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
    the second stage has no second decoder; with the codebook's it is a network without mixing. The codebook's file
    alone is the part that the flow's training goes on from.
    """
    if not any(key.startswith(("RRDB.", "flowUpsamplerNet.", "deformable_decoder.")) for key in tensors):
        return read_codebook(tensors, sets)
    for key, file in (("RRDB.color_conv.weight", "net_G.pth"), ("quantize.embedding.weight", "vqgan.pkl")):
        if key not in tensors:
            raise WeightsError(
                f"tensor {key!r} of {file} is missing: expected a folder with net_G.pth and vqgan.pkl"
            )
    config = methods.read_sets(derive_config(tensors), sets, ["groups"])
    assert isinstance(config, Config)  # noqa: S101
    left = _left_out(tensors, UNUSED, ENCODING, LOSSES)
    named = {
        (name := rename(key, config)): flow_names.flat(name, tensor)
        for key, tensor in tensors.items()
        if key not in left
    }
    return Imported(
        config,
        named,
        licence=LICENCE,
        sources=SOURCES,
        notes=[
            *_notes(left, config, sets),
            "sees the whole photo at once: see its page for memory and time",
        ],
        published_name=lambda name: unname(name, config),
    )


def read_codebook(tensors: Mapping[str, NDArray[Any]], sets: Mapping[str, str]) -> Imported:
    """The part that vqgan.pkl holds; see ``read``."""
    sizes = _Shapes(tensors)
    found = CodebookConfig.model_construct(
        **sizes.of_encoder("encoder."), codes=sizes.shape("quantize.embedding.weight")[0]
    )
    config = methods.read_sets(found, sets, ["groups"])
    assert isinstance(config, CodebookConfig)  # noqa: S101
    left = _left_out(tensors, LOSSES)
    return Imported(
        config,
        {rename_in_codebook(key): tensor for key, tensor in tensors.items() if key not in left},
        licence=LICENCE,
        sources=SOURCES,
        notes=[
            *_notes(left, config, sets),
            "a codebook alone, for training to go on from: it enhances no photo; with net_G.pth in one folder it does",
        ],
        part=CODEBOOK,
        published_name=lambda name: rename_in_codebook(name, back=True),
    )


def _left_out(tensors: Collection[str], *kinds: re.Pattern[str]) -> dict[str, str]:
    """Tensors that are of one of these kinds, each with what it belongs to."""
    return {key: found[1] for kind in kinds for key in tensors if (found := kind.fullmatch(key))}


def _notes(left: Mapping[str, str], config: CodebookConfig, sets: Mapping[str, str]) -> list[str]:
    found = [
        "its codebook has possibly seen the reference pictures of LOL's and LOL-v2-real's tests: scores on them flatter"
    ]
    if "groups" not in sets:
        found.insert(0, f"norms in {config.groups} groups: the files do not tell; --set groups=N")
    if left:
        found.insert(0, f"left out: {len(left)} tensors ({', '.join(sorted(set(left.values())))})")
    return found


@dataclass(frozen=True)
class _Shapes:
    """What shapes tell. Raises WeightsError for a tensor that is missing for that."""

    tensors: Mapping[str, NDArray[Any]]

    def shape(self, key: str) -> tuple[int, ...]:
        """Of a tensor."""
        if key not in self.tensors:
            raise WeightsError(f"tensor {key!r} is missing: not a whole GLARE checkpoint")
        return self.tensors[key].shape

    def numbers(self, pattern: str) -> list[int]:
        """The different numbers at a place of names."""
        return sorted({int(found[1]) for key in self.tensors if (found := re.match(pattern, key))})

    def of_encoder(self, beginning: str) -> dict[str, Any]:
        """Sizes of the encoder whose tensors' names begin so."""
        channels = self.shape(f"{beginning}conv_in.weight")[0]
        start = re.escape(beginning)
        levels = self.numbers(rf"{start}down\.(\d+)\.")
        widths = [self.shape(f"{beginning}down.{level}.block.0.conv2.weight")[0] for level in levels]
        return {
            "channels": channels,
            "multipliers": tuple(width // channels for width in widths),
            "groups": PUBLISHED.groups,
            "blocks": len(self.numbers(rf"{start}down\.0\.block\.(\d+)\.")),
            "attention": tuple(self.numbers(rf"{start}down\.(\d+)\.attn\.")),
        }


def derive_config(tensors: Mapping[str, NDArray[Any]]) -> Config:
    """Every size from shapes, whether they fit or not. Raises WeightsError for a tensor that is missing for that."""

    sizes = _Shapes(tensors)
    encoder = sizes.of_encoder("RRDB.encoder.")
    layers = sizes.numbers(r"flowUpsamplerNet\.layers\.(\d+)\.")
    conditioned = set(sizes.numbers(r"flowUpsamplerNet\.layers\.(\d+)\.affine\."))
    if not conditioned:
        raise WeightsError("no conditioned flow steps: not a whole GLARE checkpoint")
    plain = min(conditioned)
    flows = max(1, sum(layer not in conditioned and layer + 1 in conditioned for layer in layers))
    hidden, condition = sizes.shape(f"flowUpsamplerNet.layers.{plain}.affine.fFeatures.0.weight")[:2]
    mixing = any(key.startswith("deformable_decoder.") for key in tensors)
    return Config.model_construct(
        **encoder,
        codes=sizes.shape("quantize.embedding.weight")[0],
        flows=flows,
        plain_steps=plain,
        steps=len(conditioned) // flows,
        hidden=hidden,
        condition=condition,
        deform_groups=sizes.shape("deformable_decoder.warp.0.dcn.conv_offset.bias")[0] // 27
        if mixing
        else PUBLISHED.deform_groups,
        mixing=mixing,
    )
