"""Published checkpoints become weights files: read as data, recognised by names, checked against the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowlight import methods
from lowlight.checkpoints import Checkpoint, read_checkpoint
from lowlight.errors import WeightsError, shown
from lowlight.methods import Imported
from lowlight.weights import (
    Header,
    Tensors,
    Weights,
    check_tensors,
    encode_arrays,
    load_tensors,
    open_weights,
    save_safetensors,
)


def import_checkpoint(
    source: Path, out: Path, *, method: str | None = None, sets: Mapping[str, str] | None = None
) -> Weights:
    """Write the weights file of a published checkpoint, and load it as a proof.

    source: a file, or a folder with the parts of a checkpoint; see ``checkpoints.read_checkpoint``. method: the
    only one that is acceptable; default: recognised. sets: what the file does not tell, by key of the
    config. Needs torch, for the network that the tensors must fit. Raises WeightsError, in one line.
    """
    checkpoint = read_checkpoint(source)
    name = recognise(checkpoint.tensors, source, method)
    try:
        imported: Imported = methods.room(name, "published").read(
            checkpoint.tensors, checkpoint.settings, sets or {}
        )
    except WeightsError as error:
        raise WeightsError(f"{shown(source)}: {error}") from None
    expected = _expected(name, imported)
    tensors = {key: _stored(tensor) for key, tensor in imported.tensors.items()}
    check_tensors(tensors, expected, source, imported.published_name)
    for key, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise WeightsError(
                f"{shown(source)}: tensor {imported.published_name(key)!r} holds NaN or infinity; "
                "get the file again"
            )
    header = Header(
        name=out.stem,
        method=name,
        part=imported.part,
        config=imported.config.model_dump(mode="json"),
        licence=imported.licence,
        data=list(imported.sources),
        notes=list(imported.notes),
        recipe=_origin(checkpoint, sets or {}),
        arrays=encode_arrays(imported.arrays),
    )
    save_safetensors(out, header, tensors)
    return prove(out)


def recognise(names: Collection[str], source: Path, method: str | None = None) -> str:
    """The method that knows tensors of these names. method: the only one that is asked."""
    candidates = methods.names() if method is None else [method]
    found = [
        each for each in candidates if _published(each) and methods.room(each, "published").matches(names)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(f"{shown(source)}: a checkpoint of {' or '.join(found)}; name one by --method")
    some = ", ".join(repr(shown(name)[:80]) for name in sorted(names)[:3])
    known = ", ".join(each for each in candidates if _published(each)) or "none"
    raise WeightsError(
        f"{shown(source)}: expected a published checkpoint of {known}; found {len(names)} tensors ({some}, ...)"
    )


def prove(path: Path) -> Weights:
    """Open a weights file and load all that it holds, as use will."""
    weights = open_weights(path)
    if weights.header.part:
        config = methods.configs(weights.header.method)[weights.header.part].model_validate(
            weights.header.config
        )
        check_tensors(load_tensors(weights), _shaped(config), path)
    else:
        from lowlight.engines.torch import load_network

        methods.create(weights.header.method, weights.header.config, weights.arrays)
        load_network(weights)
    return weights


def _published(method: str) -> bool:
    """Whether the method has a room for published checkpoints."""
    try:
        methods.room(method, "published")
    except ModuleNotFoundError as error:
        if error.name == f"{methods.find(method).__module__}.published":
            return False
        raise
    return True


def _expected(method: str, imported: Imported) -> Tensors:
    if imported.part:
        return _shaped(imported.config)
    from lowlight.engines.torch import expected_tensors

    return expected_tensors(method, imported.config)


def _shaped(config: Any) -> Tensors:
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in config.shapes().items()}


def _stored(tensor: NDArray[Any]) -> NDArray[Any]:
    """Floats as float32; what is too large for it becomes infinite, and is refused."""
    with np.errstate(over="ignore"):
        return tensor.astype(np.float32) if tensor.dtype.kind == "f" else tensor


def _origin(checkpoint: Checkpoint, sets: Mapping[str, str]) -> dict[str, Any]:
    return {"imported": {"sha256": dict(checkpoint.hashes), **({"set": dict(sets)} if sets else {})}}
