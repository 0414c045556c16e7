"""Weights files: find, check, describe. One file holds a network and, in its header, all about it.

Two kinds, told apart by their content: ``.onnx`` holds a graph to run, ``.safetensors`` tensors to train
on. Both carry the header under the metadata key ``lowlight`` and the file's seal under ``lowlight.sha256``:
the SHA-256 of the whole file with the seal's own 64 digits set to zero. A file is data: nothing in it is
ever executed, and it can name no other file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lowlight import methods
from lowlight.errors import UseError, WeightsError, shown
from lowlight.files import write_file
from lowlight.methods import Array
from lowlight.places import cache_folder as cache_folder
from lowlight.places import candidates
from lowlight.places import find as find

Kind = Literal["onnx", "safetensors"]
Tensors: TypeAlias = dict[str, NDArray[Any]]
_Model = TypeVar("_Model", bound=BaseModel)

MAX_BYTES = 2**31
"""The most that a protobuf file can hold, and more than any network here."""
HEADER_KEY = "lowlight"
SEAL_KEY = "lowlight.sha256"
CHECKPOINT_KEY = "lowlight.checkpoint"
"""Of what a training goes on from, in a file that is no weights file."""
_BLANK_SEAL = "0" * 64

_DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
"""Numbers that a safetensors file may hold here, with their NumPy names."""


class Header(BaseModel):
    """What a weights file says of itself: JSON under the metadata key ``lowlight``, in both file kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    name: str
    """What users call the model: ``dimma``."""
    method: str
    """The registered method that runs it."""
    part: str = ""
    """What of the method the file holds: one of its ``parts``; empty: its network, which enhances photos."""
    config: dict[str, Any]
    """The method's ``Config``, or that of its part."""
    precision: Literal["float32", "float16", "int8"] = "float32"
    licence: str
    data: list[str] = Field(default_factory=list)
    """What it was trained on, with terms, one sentence each."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """The training recipe, whole, with seed, commit, hours and machine under ``run``."""
    scores: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    seen: dict[str, str] = Field(default_factory=dict)
    """Marks (``evaluation.guards``) of the photos ``trained`` on and of those that the best checkpoint was
    ``chosen`` by; none in imported and older files."""
    noise_levels: float | None = None
    """Of a density of photos: training added uniform noise as wide as a step of so many levels to the references,
    so that its bits per dimension mean something. None: it did not, or the method is no density."""
    arrays: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Small float32 arrays that observing needs: ``{"shape": [...], "base64": "..."}``; see ``Weights.arrays``."""

    @model_validator(mode="before")
    @classmethod
    def _older_than_noise_levels(cls, values: Any) -> Any:
        """Files from before that key have it in their recipe alone."""
        if isinstance(values, dict) and "noise_levels" not in values:
            recipe = values.get("recipe")
            settings = recipe.get("settings") if isinstance(recipe, dict) else None
            told = settings.get("noise_levels") if isinstance(settings, dict) else None
            return {**values, "noise_levels": told}
        return values


@dataclass(frozen=True)
class Weights:
    """An opened and checked weights file."""

    header: Header
    path: Path
    kind: Kind
    sha256: str
    """Of the whole file, as ``sha256sum`` gives it."""
    arrays: dict[str, Array]

    def read(self) -> bytes:
        """The file's bytes; raises WeightsError when they are no longer those that were opened."""
        data = _read(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise WeightsError(f"{self.path}: the file changed since it was opened; open it again")
        return data


def available() -> list[Weights]:
    """All weights that a name can reach. A broken file is left out with a warning in the log."""
    opened = []
    for path in candidates().values():
        try:
            opened.append(open_weights(path))
        except WeightsError as error:
            logging.getLogger(__name__).warning("%s", error)
    return opened


# Opening


def open_weights(name_or_path: str | Path, *, method: str | None = None, part: str | None = None) -> Weights:
    """Find, read and check a weights file.

    Everything but the tensors' values is checked here (see ``load_tensors`` for those): kind, seal, header,
    the method's configuration, references to other files. ``method``, ``part``: the only ones that are
    acceptable; see ``Header``. Raises WeightsError, in one line that names the file.
    """
    path = find(name_or_path)
    data = _read(path)
    kind = _kind(data, path)
    metadata = _onnx_metadata(data, path) if kind == "onnx" else _safetensors_table(data, path)[0]
    if CHECKPOINT_KEY in metadata:
        raise WeightsError(
            f"{path}: a checkpoint that a training goes on from; take best or last.safetensors beside it"
        )
    if HEADER_KEY not in metadata:
        raise WeightsError(
            f"{path}: a {kind} file without lowlight's header; make one with `lowlight import` or by training"
        )
    sha256 = _check_seal(data, metadata.get(SEAL_KEY, ""), path)
    header = _parse_header(metadata[HEADER_KEY], path)
    if method is not None and header.method != method:
        raise WeightsError(f"{path}: expected weights of method {method}, found weights of {header.method}")
    if part is not None and header.part != part:
        raise WeightsError(f"{path}: expected {_holds(part)}, found {_holds(header.part)}")
    try:
        arrays = decode_arrays(header.arrays)
    except ValueError as error:
        raise WeightsError(f"{path}: header: {error}") from None
    return Weights(header, path, kind, sha256, arrays)


def open_trainable(name_or_path: str | Path, *, method: str) -> Weights:
    """``open_weights`` of a network that can go on learning. Raises UseError for a graph, which cannot."""
    weights = open_weights(name_or_path, method=method, part="")
    if weights.kind != "safetensors":
        raise UseError(f"{shown(weights.path)}: a graph runs but cannot be trained on; expected .safetensors")
    return weights


def _holds(part: str) -> str:
    return f"a {part}" if part else "a network that enhances photos"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # The kind is known from the start; a huge file of another kind is not read to its end.
            start = file.read(1024)
            _kind(start, path)
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise WeightsError(f"{path}: {size} bytes; weights have at most {MAX_BYTES}")
            file.seek(0)
            return file.read(size)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from None


def _kind(start: bytes, path: Path) -> Kind:
    """What a file is by its first bytes; whatever is no weights file of ours is refused by name."""
    # First: the length of a table may begin as a pickle does.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000:
        return "safetensors"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        found = (
            "a PyTorch checkpoint or other archive; published checkpoints are imported by `lowlight import`"
        )
    elif start[:1] == b"\x08":  # the protobuf tag of an ONNX model's first field, its version
        return "onnx"
    else:
        found = describe_foreign(start)
    raise WeightsError(f"{path}: expected .onnx or .safetensors weights, found {found}")


def describe_foreign(start: bytes) -> str:
    """What a file that holds no network is, by its first bytes, and how to get the network."""
    text = start.lstrip()[:64].lower()
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of the file; get the file itself with `git lfs pull`"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page; download the file itself"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in start):
        return "text"
    return "unknown or damaged data"


def _check_seal(data: bytes, seal: str, path: Path) -> str:
    """Check the seal; gives the SHA-256 of the whole file."""
    at = data.find(seal.encode()) if re.fullmatch(r"[0-9a-f]{64}", seal) else -1
    if at < 0:
        raise WeightsError(f"{path}: the file has no seal (metadata {SEAL_KEY}); get it again")
    end = at + len(seal)
    whole = hashlib.sha256(memoryview(data)[:at])
    blank = whole.copy()  # an ONNX file has its seal near the end, so both hashes cost one pass
    whole.update(memoryview(data)[at:])
    blank.update(_BLANK_SEAL.encode())
    blank.update(memoryview(data)[end:])
    if blank.hexdigest() != seal:
        raise WeightsError(f"{path}: the file is damaged or was changed (its hash is wrong); get it again")
    return whole.hexdigest()


def _parse_header(text: str, path: Path) -> Header:
    header = _validate(Header, _json_object(text, f"{path}: header"), f"{path}: header")
    if header.method not in methods.names():
        raise WeightsError(
            f"{path}: made for method {header.method!r}, which is not installed; "
            f"there are: {', '.join(methods.names())}"
        )
    if header.part not in (parts := methods.configs(header.method)):
        known = ", ".join(filter(None, parts)) or "none"
        raise WeightsError(f"{path}: header: {header.method} has no part {header.part!r}; there are: {known}")
    _validate(parts[header.part], header.config, f"{path}: header: config of {header.method}")
    return header


def _validate(model: type[_Model], values: Mapping[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise WeightsError(
                f"{where}: unknown key {key!r}; known keys: {', '.join(model.model_fields)}"
            ) from None
        if first["type"] == "value_error" and not key:
            raise WeightsError(f"{where}: {first['ctx']['error']}") from None
        given = "" if first["type"] == "missing" else f" (given: {str(first['input'])[:60]!r})"
        raise WeightsError(f"{where}: {key}: {first['msg']}{given}") from None


def _json_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Strict JSON: one object, no name twice, no NaN."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise WeightsError(f"{where}: the name {twice!r} stands twice")
        return result

    def constant(name: str) -> Any:
        raise WeightsError(f"{where}: {name} is no JSON number")

    try:
        found = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError):
        raise WeightsError(f"{where}: expected JSON, found {text[:40]!r}") from None
    if not isinstance(found, dict):
        raise WeightsError(f"{where}: expected a JSON object, found {text[:40]!r}")
    return found


# Arrays of the header


def encode_arrays(arrays: Mapping[str, Array]) -> dict[str, dict[str, Any]]:
    """Small arrays as they stand in a header: little-endian float32, base64."""
    return {
        name: {
            "shape": list(array.shape),
            "base64": base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode(),
        }
        for name, array in arrays.items()
    }


def decode_arrays(encoded: Mapping[str, Mapping[str, Any]]) -> dict[str, Array]:
    """Inverse of ``encode_arrays``. Raises ValueError naming the array that is malformed or not finite."""
    arrays = {}
    for name, entry in encoded.items():
        try:
            if set(entry) != {"shape", "base64"}:
                raise ValueError("keys")
            flat = np.frombuffer(base64.b64decode(entry["base64"], validate=True), "<f4")
            array = flat.reshape([_size(side) for side in entry["shape"]]).astype(np.float32)
        except (ValueError, TypeError, binascii.Error):
            raise ValueError(
                f"array {name!r}: expected shape and base64 of that many float32 values"
            ) from None
        if not np.isfinite(array).all():
            raise ValueError(f"array {name!r} holds NaN or infinity")
        arrays[name] = array
    return arrays


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("sizes are whole numbers")
    return value


# Tensors


def load_tensors(weights: Weights) -> Tensors:
    """All tensors of a safetensors file; float16 is given back as float32. Refuses NaN and infinity."""
    if weights.kind != "safetensors":
        raise WeightsError(
            f"{weights.path}: an ONNX graph runs but cannot be trained on; expected .safetensors"
        )
    data = weights.read()
    _, table = _safetensors_table(data, weights.path)
    tensors: Tensors = {}
    for name, (dtype, shape, begin, end) in table.items():
        tensor = np.frombuffer(data[begin:end], _DTYPES[dtype]).reshape(shape)
        if tensor.dtype.kind == "f":
            if not np.isfinite(tensor).all():
                raise WeightsError(
                    f"{weights.path}: tensor {name!r} holds NaN or infinity; the training failed"
                )
            tensor = tensor.astype(np.float32)
        tensors[name] = tensor
    return tensors


def check_tensors(
    tensors: Mapping[str, NDArray[Any]],
    expected: Mapping[str, NDArray[Any]],
    path: Path,
    named: Callable[[str], str] = str,
) -> None:
    """Refuse, by name, tensors that are missing, too many, or of another shape or dtype than expected.

    named: what the file calls a tensor.
    """
    if missing := sorted(expected.keys() - tensors.keys()):
        raise WeightsError(
            f"{path}: {_some([named(name) for name in missing])} missing; the network of its header expects {len(expected)}"
        )
    if extra := sorted(tensors.keys() - expected.keys()):
        raise WeightsError(
            f"{path}: {_some([named(name) for name in extra])} unknown to the network of its header"
        )
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape:
            raise WeightsError(
                f"{path}: tensor {named(name)!r} has shape {tensor.shape}; the network expects {wanted.shape}"
            )
        if tensor.dtype != wanted.dtype:
            raise WeightsError(
                f"{path}: tensor {named(name)!r} is {tensor.dtype}; the network expects {wanted.dtype}"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"tensor{'s' * (len(names) > 1)} {', '.join(map(repr, names[:3]))}{more}"


def save_safetensors(path: Path, header: Header, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write tensors with their header; the same content gives the same bytes.

    Floats are written as float32, or as float16 when the header's precision says so.
    """
    floats = np.dtype("<f2") if header.precision == "float16" else np.dtype("<f4")
    codes = {np.dtype(numpy_name): code for code, numpy_name in _DTYPES.items()}
    table: dict[str, Any] = {}
    parts: list[bytes] = []
    offset = 0
    little = {
        name: np.asarray(tensor, floats if tensor.dtype.kind == "f" else None, order="C")
        for name, tensor in tensors.items()
    }
    # Large elements first, so that every tensor is aligned.
    for name, tensor in sorted(little.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        if tensor.dtype not in codes:
            raise WeightsError(
                f"{path}: tensor {name!r} is {tensor.dtype}; allowed: {', '.join(map(str, codes))}"
            )
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise WeightsError(f"{path}: tensor {name!r} holds NaN or infinity; it is not written")
        span = [offset, offset + tensor.nbytes]
        table[name] = {"dtype": codes[tensor.dtype], "shape": list(tensor.shape), "data_offsets": span}
        parts.append(tensor.tobytes())
        offset += tensor.nbytes
    payload = b"".join(parts)

    def build(seal: str) -> bytes:
        metadata = {SEAL_KEY: seal, HEADER_KEY: header.model_dump_json()}
        head = json.dumps({"__metadata__": metadata, **table}, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        return len(head).to_bytes(8, "little") + head + payload

    write_file(path, sealed(build))


def _safetensors_table(
    data: bytes, path: Path
) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...], int, int]]]:
    """Metadata, and each tensor's dtype, shape, first and last byte (the format's own rules, enforced)."""
    start = 8 + int.from_bytes(data[:8], "little")
    if start > len(data):
        raise WeightsError(f"{path}: the file is cut short; get it again")
    entries = _json_object(data[8:start], f"{path}: table of tensors")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise WeightsError(f"{path}: its metadata is not a table of texts")
    table: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for name, entry in entries.items():
        try:
            if set(entry) != {"dtype", "shape", "data_offsets"}:
                raise ValueError("keys")
            dtype, shape = entry["dtype"], tuple(_size(side) for side in entry["shape"])
            begin, end = (start + _size(offset) for offset in entry["data_offsets"])
        except (ValueError, TypeError):
            raise WeightsError(f"{path}: tensor {name!r}: its entry in the table is malformed") from None
        if dtype not in _DTYPES:
            raise WeightsError(f"{path}: tensor {name!r} has dtype {dtype!r}; allowed: {', '.join(_DTYPES)}")
        count = 1
        for side in shape:
            count *= side
        if end - begin != count * np.dtype(_DTYPES[dtype]).itemsize:
            raise WeightsError(f"{path}: tensor {name!r}: its shape {shape} does not fit its bytes")
        table[name] = (dtype, shape, begin, end)
    position = start
    for name, (_, _, begin, end) in sorted(table.items(), key=lambda item: item[1][2:]):
        if begin != position:
            raise WeightsError(f"{path}: tensor {name!r}: its bytes leave a hole or overlap another's")
        position = end
    if position != len(data):
        raise WeightsError(
            f"{path}: expected {position} bytes, found {len(data)}; the file is cut short or padded"
        )
    return metadata, table


# ONNX, read as protobuf: the runtime is never shown a file that was not checked

_GRAPH_FIELDS = {
    # message: {field: message inside}, only the ways that lead to tensors, nodes and metadata
    "model": {7: "graph", 8: "opset", 14: "metadata", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DOMAINS = ("", "ai.onnx", "com.microsoft")


def _onnx_metadata(data: bytes, path: Path) -> dict[str, str]:
    """The metadata of an ONNX model, which is refused if any part of it would reach outside the file."""
    metadata: dict[str, str] = {}

    def text(value: memoryview | int) -> str:
        return bytes(value).decode() if isinstance(value, memoryview) else ""

    def walk(message: str, body: memoryview, depth: int) -> None:
        if depth > 32:
            raise ValueError("nested too deeply")
        inside = _GRAPH_FIELDS.get(message, {})
        fields = []
        for field, value in _protobuf(body):
            if field in inside and isinstance(value, memoryview):
                walk(inside[field], value, depth + 1)
            elif message in ("metadata", "opset", "tensor", "node"):
                fields.append((field, value))
        if message == "metadata":
            entry = dict(fields)
            name = text(entry.get(1, 0))
            if name in metadata:
                raise WeightsError(f"{path}: the metadata {name!r} stands twice")
            metadata[name] = text(entry.get(2, 0))
        elif message == "tensor" and any(f == 13 or (f == 14 and v != 0) for f, v in fields):
            # TensorProto: 13 external_data, 14 data_location
            raise WeightsError(f"{path}: refers to tensors in another file, which weights must not")
        elif message == "opset" or message == "node":
            # OperatorSetIdProto: 1 domain; NodeProto: 4 op_type, 7 domain
            domain = next((text(v) for f, v in fields if f == (1 if message == "opset" else 7)), "")
            operator = next((text(v) for f, v in fields if f == 4), "") if message == "node" else ""
            if domain not in _DOMAINS or operator == "EPContext":  # EPContext names a file of machine code
                raise WeightsError(
                    f"{path}: needs foreign operators ({domain or operator}); expected plain ONNX"
                )

    try:
        walk("model", memoryview(data), 0)
    except (ValueError, IndexError):
        raise WeightsError(f"{path}: no ONNX model, or it is damaged or cut short; get it again") from None
    return metadata


def _protobuf(body: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Fields of a protobuf message: number and value. Raises ValueError or IndexError when malformed."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("number too long")

    while at < len(body):
        tag = varint()
        wire = tag & 7
        if wire == 0:
            yield tag >> 3, varint()
            continue
        if wire not in (1, 2, 5):
            raise ValueError("unknown wire type")
        size = {1: 8, 5: 4}.get(wire) or varint()
        if size > len(body) - at:
            raise ValueError("cut short")
        yield tag >> 3, body[at : at + size]
        at += size


# Writing


def sealed(build: Callable[[str], bytes]) -> bytes:
    """A file's bytes with its seal in place; ``build`` makes them for a given seal of 64 digits."""
    return build(hashlib.sha256(build(_BLANK_SEAL)).hexdigest())
