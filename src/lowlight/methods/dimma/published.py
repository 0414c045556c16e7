"""The authors' checkpoints: how their tensors are called here."""

from __future__ import annotations

_ATTENTION = "backbone.mid_block.attentions.0."
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def rename(key: str) -> str:
    """The name here of a tensor ``backbone.*`` of a checkpoint; only the attention is called differently.

    Shapes are the same. Names of today's diffusers come back as they are.
    """
    layer, dot, part = key.removeprefix(_ATTENTION).partition(".")
    if not key.startswith(_ATTENTION) or layer not in _RENAMED:
        return key
    return f"{_ATTENTION}{_RENAMED[layer]}{dot}{part}"
