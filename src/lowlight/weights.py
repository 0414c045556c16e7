"""Weights files: find, check, describe. One file holds a network and, in its header, all about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lowlight.methods import Array


class Header(BaseModel):
    """What a weights file says of itself: JSON under the metadata key ``lowlight``, in both file kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    name: str
    """What users call the model: ``dimma``."""
    method: str
    """The registered method that runs it."""
    config: dict[str, Any]
    """The method's ``Config``."""
    precision: Literal["float32", "float16", "int8"] = "float32"
    licence: str
    data: list[str] = Field(default_factory=list)
    """What it was trained on, with terms, one sentence each."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """The training recipe, whole, with seed, commit, hours and machine under ``run``."""
    scores: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    arrays: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Small float32 arrays that observing needs: ``{"shape": [...], "base64": "..."}``; see ``Weights.arrays``."""


@dataclass(frozen=True)
class Weights:
    """An opened and checked weights file."""

    header: Header
    path: Path
    kind: Literal["onnx", "safetensors"]
    sha256: str
    arrays: dict[str, Array]
