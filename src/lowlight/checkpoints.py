"""PyTorch checkpoints, read as data: no class is imported, nothing in the file is called, torch is not needed.

A checkpoint is a pickle, which is a program for a small stack machine, beside raw storages: in a zip archive
(``torch.save`` of today, Lightning's ``.ckpt``), or one after the other (before 1.6). The machine here knows
the operations that PyTorch writes and the few names in this module's tables. A name is looked up in those
tables and nowhere else; every other one is refused. Storages become NumPy views into the file's bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickletools
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowlight.errors import WeightsError, reason, shown
from lowlight.weights import Tensors, describe_foreign

MAX_BYTES = 2**32
"""Of a file, and of all its tensors together; published checkpoints hold at most 600 MB."""
MAX_PICKLE = 2**26
MAX_OPERATIONS = 200_000
"""Of a pickle: about 35 a tensor."""
MAX_ENTRIES = 100_000
"""Of a zip archive: one a tensor."""
MAX_SETTINGS = 10_000
MAX_DEPTH = 32
MAGIC = 0x1950A86A20F9469CFC6C
"""What a checkpoint from before 1.6 begins with, pickled."""

_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl")
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": _BFLOAT16,
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "b1",
}
_SETTINGS = frozenset(
    {
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.nodes.AnyNode",
        "omegaconf.nodes.BooleanNode",
        "omegaconf.nodes.FloatNode",
        "omegaconf.nodes.IntegerNode",
        "omegaconf.nodes.StringNode",
    }
)
"""Classes whose objects become a ``_Record`` of their attributes."""
_TYPES = frozenset(
    {"typing.Any", *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "long", "str"))}
)
"""Types that settings name."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds."""

    tensors: Tensors
    """By name, less a ``module.`` in front of all; read-only, as stored, but for bfloat16 as float32."""
    settings: dict[str, Any]
    """Hyper-parameters as plain dicts, lists, texts and numbers; empty where there are none."""
    hashes: dict[str, str]
    """SHA-256 of each file, by its name."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint's tensors and settings.

    Takes files of ``torch.save`` (a state dict, also under the key ``state_dict``) and of Lightning, or a
    folder with the parts of one, such files and ``.npy`` arrays, which become tensors by their stems. Raises
    WeightsError, in one line that names the file, for all else.
    """
    if path.is_dir():
        return _read_folder(path)
    data = _read(path)
    try:
        tensors, settings = _read_zip(data) if data[:2] == b"PK" else _read_stream(data)
    except WeightsError as error:
        raise WeightsError(f"{shown(path)}: {error}") from None
    except (ValueError, TypeError, LookupError, OverflowError):  # numbers and kinds that no checkpoint has
        raise WeightsError(f"{shown(path)}: {_damaged('its pickle makes no sense')}") from None
    return Checkpoint(tensors, settings, {path.name: hashlib.sha256(data).hexdigest()})


def _read_folder(folder: Path) -> Checkpoint:
    """The authors' dimmers come so: ``mdn.pt`` with ``mean.npy`` and ``std.npy``; others in two checkpoints."""
    files = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        expected = f"{', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}"
        raise WeightsError(f"{shown(folder)}: expected a {expected} file in the folder, found none")
    whole = Checkpoint({}, {}, {})
    held: dict[str, str] = {}

    def take(file: Path, tensors: Tensors, hashes: dict[str, str]) -> None:
        for name, tensor in tensors.items():
            if name in whole.tensors:
                raise WeightsError(
                    f"{shown(file)}: {held[name]} has a tensor of this name already: {_word(name)}; "
                    "expected the files of one checkpoint alone in the folder"
                )
            whole.tensors[name] = tensor
            held[name] = file.name
        whole.hashes.update(hashes)

    for file in files:
        part = read_checkpoint(file)
        take(file, part.tensors, part.hashes)
        whole.settings.update(part.settings)
    for file in sorted(folder.glob("*.npy")):
        data = _read(file)
        try:
            array = _read_npy(data)
        except WeightsError as error:
            raise WeightsError(f"{shown(file)}: {error}") from None
        take(file, {file.stem: array}, {file.name: hashlib.sha256(data).hexdigest()})
    return whole


def _read(path: Path) -> bytes:
    """A file's bytes, read once: what was checked is what is used."""
    if not path.is_file():
        found = "a folder, pipe or device" if path.exists() else "no such file"
        raise WeightsError(f"{shown(path)}: expected a checkpoint, found {found}")
    try:
        with path.open("rb") as file:
            start = file.read(1024)
            if not start.startswith((b"PK", b"\x80", b"\x93NUMPY")):
                raise WeightsError(
                    f"{shown(path)}: expected a PyTorch checkpoint (.pt, .pth, .ckpt, .pkl), found {_describe(start)}"
                )
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise WeightsError(f"{shown(path)}: {size} bytes; a checkpoint has at most {MAX_BYTES}")
            file.seek(0)
            return file.read(size)
    except OSError as error:
        raise WeightsError(f"{shown(path)}: cannot be read: {reason(error)}") from None


def _describe(start: bytes) -> str:
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if start[:2] == b"\x1f\x8b":
        return "a gzip archive; unpack it first"
    if start[8:9] == b"{" or start[:1] == b"\x08":
        return "a .safetensors or .onnx file; lowlight's own need no import"
    return describe_foreign(start)


# What the machine makes


@dataclass(frozen=True)
class _Name:
    """A name that the pickle asks for, of one of the tables: never the thing itself."""

    name: str


@dataclass(eq=False)
class _Record:
    """An object of a settings class: its attributes."""

    name: str
    state: Any = None


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    start: int
    count: int
    """Elements, from ``start`` on."""


@dataclass(eq=False)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_Resolve = Callable[[_Tensor], NDArray[Any]]


# The two ways of storing


def _read_zip(data: bytes) -> tuple[Tensors, dict[str, Any]]:
    """``ROOT/data.pkl`` and ``ROOT/data/KEY``, stored as they are."""
    entries = _entries(data)
    roots = {name.partition("/")[0] for name in entries}
    root = roots.pop() if len(roots) == 1 else ""
    if f"{root}/constants.pkl" in entries or any(name.startswith(f"{root}/code/") for name in entries):
        raise WeightsError(
            "a TorchScript program; expected a checkpoint of tensors: take the state dict that it was made from"
        )
    if f"{root}/data.pkl" not in entries:
        raise WeightsError(
            "a zip archive, but no PyTorch checkpoint (it has no data.pkl); if it holds one, unpack it first"
        )
    order = bytes(_entry(data, entries, f"{root}/byteorder")) if f"{root}/byteorder" in entries else b"little"
    if order not in (b"little", b"big"):
        raise _damaged("its byte order is neither little nor big")
    machine = _Machine(io.BytesIO(_entry(data, entries, f"{root}/data.pkl", MAX_PICKLE)))
    value = machine.run()
    found: dict[str, memoryview] = {}

    def locate(storage: _Storage, size: int) -> memoryview:
        if storage.key not in found:  # many tensors may share a storage, and its checksum costs time
            found[storage.key] = _entry(data, entries, f"{root}/data/{storage.key}")
        return found[storage.key]

    return _find_state(value, _resolver(locate, ">" if order == b"big" else "<"))


def _entries(data: bytes) -> dict[str, zipfile.ZipInfo]:
    if data.count(b"PK\x01\x02") > MAX_ENTRIES:
        raise WeightsError(f"more than {MAX_ENTRIES} entries in a zip archive; a checkpoint has one a tensor")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error):
        raise _damaged("its zip archive has no readable table") from None
    entries = {info.filename: info for info in found}
    if len(entries) < len(found):
        twice, _ = Counter(info.filename for info in found).most_common(1)[0]
        raise WeightsError(f"the entry {_word(twice)} of its zip archive stands twice")
    return entries


def _entry(
    data: bytes, entries: Mapping[str, zipfile.ZipInfo], name: str, most: int = MAX_BYTES
) -> memoryview:
    """The bytes of an entry. PyTorch compresses none, so nothing here can grow."""
    info = entries.get(name)
    if info is None:
        raise _damaged(f"the entry {_word(name)} is missing")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
        raise WeightsError(f"the entry {_word(name)} is compressed or encrypted, which PyTorch never does")
    head = info.header_offset
    lengths = data[head + 26 : head + 30] if head >= 0 else b""
    start = head + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    if data[head : head + 4] != b"PK\x03\x04" or start + info.file_size > len(data):
        raise _damaged(f"the entry {_word(name)} lies outside the file")
    if info.file_size > most:
        raise WeightsError(f"the entry {_word(name)} has {info.file_size} bytes; expected at most {most}")
    found = memoryview(data)[start : start + info.file_size]
    if zlib.crc32(found) != info.CRC:
        raise _damaged(f"the checksum of {_word(name)} is wrong")
    return found


def _read_stream(data: bytes) -> tuple[Tensors, dict[str, Any]]:
    """Magic number, version, system, object and storage keys, each a pickle, and then the storages."""
    stream = io.BytesIO(data[:MAX_PICKLE])
    if _Machine(stream).run() != MAGIC:
        raise WeightsError("a pickle, but no PyTorch checkpoint; expected what torch.save writes")
    version, system = _Machine(stream).run(), _Machine(stream).run()
    if version != 1001 or not isinstance(system, dict):
        raise _damaged("its version is unknown")
    order = ">" if system.get("little_endian") is False else "<"
    machine = _Machine(stream)
    value, keys = machine.run(), _Machine(stream).run()
    if not isinstance(keys, list) or len(set(map(_text, keys))) < len(keys):
        raise _damaged("its list of storages is none")
    at: dict[str, tuple[int, int]] = {}
    position = stream.tell()
    for key in keys:
        if key not in machine.sizes:
            raise _damaged(f"no tensor has the storage {_word(key)}")
        count = int.from_bytes(
            data[position : position + 8], "little" if order == "<" else "big", signed=True
        )
        end = position + 8 + count * machine.sizes[key]
        if count < 0 or end > len(data):
            raise _damaged(f"the storage {_word(key)} is larger than what is left of the file")
        at[key] = (position + 8, end)
        position = end

    def locate(storage: _Storage, size: int) -> memoryview:
        if storage.key not in at:
            raise _damaged(f"the storage {_word(storage.key)} is missing")
        begin, end = at[storage.key]
        return memoryview(data)[begin:end][storage.start * size :]

    return _find_state(value, _resolver(locate, order))


def _resolver(locate: Callable[[_Storage, int], memoryview], order: str) -> _Resolve:
    """What makes an array of a tensor, inside the bounds of its storage."""
    total = 0

    def resolve(tensor: _Tensor) -> NDArray[Any]:
        nonlocal total
        storage, shape, strides = tensor.storage, tensor.shape, tensor.strides
        dtype = np.dtype(order + ("u2" if storage.dtype == _BFLOAT16 else storage.dtype))
        raw = locate(storage, dtype.itemsize)
        if len(raw) < storage.count * dtype.itemsize:
            raise _damaged(f"the storage {_word(storage.key)} holds fewer bytes than it says")
        count = 1
        for side in shape:
            count *= side
        last = tensor.offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
        if count and (count > storage.count or last >= storage.count):
            raise _damaged(f"a tensor of shape {shape} reaches outside its storage {_word(storage.key)}")
        total += count * dtype.itemsize
        if total > MAX_BYTES:
            raise WeightsError(f"tensors of more than {MAX_BYTES} bytes together")
        if not count:
            return np.zeros(shape, np.float32 if storage.dtype == _BFLOAT16 else dtype.newbyteorder("="))
        flat = np.frombuffer(raw, dtype, storage.count)[tensor.offset :]
        array = np.lib.stride_tricks.as_strided(
            flat, shape, [step * dtype.itemsize for step in strides], writeable=False
        )
        if storage.dtype == _BFLOAT16:  # the upper half of a float32
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array if dtype.isnative else array.astype(dtype.newbyteorder("="))

    return resolve


_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<>|][fiub]\d)', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)


def _read_npy(data: bytes) -> NDArray[Any]:
    """An array of a .npy file, as NumPy writes plain numbers."""
    head = _NPY.match(data)
    if head is None or head.end() != 10 + int.from_bytes(head[1], "little"):
        raise WeightsError("expected numbers in NumPy's format, found none; get it again")
    shape = [int(side) for side in head[3].split(b",") if side.strip()]
    try:
        return np.frombuffer(data, np.dtype(head[2].decode()), offset=head.end()).reshape(shape)
    except (ValueError, TypeError):
        raise _damaged("its array has another size than it says") from None


# The machine


def _damaged(what: str) -> WeightsError:
    return WeightsError(f"the checkpoint is damaged or cut short ({what}); get it again")


def _refused(name: str) -> WeightsError:
    return WeightsError(
        f"refused: it asks for {_word(name)}, and a checkpoint is read as tensors, plain containers and settings "
        f"only; nothing was run; get the file from its authors, or a state dict of tensors alone"
    )


def _word(name: object) -> str:
    """A name out of the file, for a message."""
    text = shown(name if isinstance(name, str) else type(name).__name__)
    return repr(text if len(text) <= 100 else f"{text[:100]}...")


class _Machine:
    """Runs one pickle on a stack of plain values. Memory is bounded by the operations, and none of them calls out.

    What makes no sense is a ValueError, TypeError or LookupError.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0
        self.sizes: dict[str, int] = {}
        """Bytes of an element, by storage key."""

    def run(self) -> Any:
        """The value that the pickle makes."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(self._stream)):
            if count > MAX_OPERATIONS:
                raise WeightsError(f"its pickle has more than {MAX_OPERATIONS} operations")
            if operation.name == "STOP":
                return self._stack.pop()
            self._do(operation.name, argument)
        raise ValueError("no end")

    def _do(self, operation: str, argument: Any) -> None:
        stack = self._stack
        match operation:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case (
                "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4" | "FLOAT" | "BINFLOAT"
                | "STRING" | "BINSTRING" | "SHORT_BINSTRING"
                | "UNICODE" | "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8"
                | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8"
            ):  # fmt: skip
                stack.append(argument)
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(set())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(operation[-1])
                if len(stack) < count:
                    raise IndexError
                stack[-count:] = [tuple(stack[-count:])]
            case "MARK":
                self._marks.append(stack)
                self._stack = []
            case "LIST":
                self._joined(lambda items: items)
            case "TUPLE":
                self._joined(tuple)
            case "DICT":
                self._joined(lambda items: _fill({}, zip(items[::2], items[1::2], strict=True)))
            case "FROZENSET":
                self._joined(lambda items: set(map(_key, items)))
            case "APPEND":
                item = stack.pop()
                _of(list, stack[-1]).append(item)
            case "APPENDS":
                items = self._unmark()
                _of(list, self._stack[-1]).extend(items)
            case "SETITEM":
                item, key = stack.pop(), stack.pop()
                _fill(stack[-1], [(key, item)])
            case "SETITEMS":
                items = self._unmark()
                _fill(self._stack[-1], zip(items[::2], items[1::2], strict=True))
            case "ADDITEMS":
                items = self._unmark()
                _of(set, self._stack[-1]).update(map(_key, items))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                stack.append(_allowed(module, name))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_allowed(_of(str, module), _of(str, name)))
            case "NEWOBJ":
                arguments, cls = stack.pop(), _of(_Name, stack.pop())
                if cls.name not in _SETTINGS or arguments != ():
                    raise _refused(f"a new {cls.name}")
                stack.append(_Record(cls.name))
            case "REDUCE":
                arguments, function = _of(tuple, stack.pop()), _of(_Name, stack.pop())
                if function.name not in _MAKERS:
                    raise _refused(f"a call of {function.name}")
                # What copies is counted, for a list can be named in two bytes as often as one likes.
                self._copied += sum(len(each) for each in arguments if type(each) in (list, str, bytes))
                if self._copied > MAX_OPERATIONS:
                    raise WeightsError(f"its pickle copies more than {MAX_OPERATIONS} values")
                stack.append(_MAKERS[function.name](*arguments))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], _Record):
                    stack[-1].state = state
                elif not isinstance(stack[-1], dict):  # an ordered dict's own attributes say nothing here
                    raise TypeError
            case "BINPERSID":
                stack.append(self._storage(*_of(tuple, stack.pop())))
            case "INST":
                raise _refused(argument.replace(" ", "."))
            case _:
                raise _refused(f"the pickle operation {operation}")

    def _unmark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _joined(self, join: Callable[[list[Any]], Any]) -> None:
        items = self._unmark()
        self._stack.append(join(items))

    def _storage(
        self, kind: object, cls: Any, key: Any, place: object, count: Any, view: Any = None
    ) -> _Storage:
        if kind != "storage":
            raise _refused(f"a stored {kind if isinstance(kind, str) else type(kind).__name__}")
        dtype = _STORAGES.get(_of(_Name, cls).name)
        if dtype is None:
            raise _refused(cls.name)
        size = 2 if dtype == _BFLOAT16 else np.dtype(dtype).itemsize
        if self.sizes.setdefault(_text(key), size) != size:
            raise TypeError
        start = 0
        if view is not None:
            _, start, count = view
        return _Storage(key, dtype, _count(start), _count(count))


def _allowed(module: str, name: str) -> _Name:
    """The name as the tables have it; older names of modules are today's."""
    module = {"__builtin__": "builtins", "numpy._core.multiarray": "numpy.core.multiarray"}.get(
        module, module
    )
    full = f"{module}.{name}"
    if full in _MAKERS or full in _STORAGES or full in _SETTINGS or full in _TYPES:
        return _Name(full)
    raise _refused(full)


def _of(kind: Any, value: Any) -> Any:
    """The value, if it is exactly of that kind."""
    if type(value) is not kind:
        raise TypeError
    return value


def _text(value: Any) -> str:
    return str(_of(str, value))


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise TypeError
    return value


def _key(value: Any) -> Any:
    """A key of a table: a scalar, whose hash costs nothing."""
    if value is not None and type(value) not in (str, int, float, bool, bytes):
        raise TypeError
    return value


def _fill(table: Any, pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = _of(dict, table)
    for key, value in pairs:
        if _key(key) in found:
            raise WeightsError(f"the name {_word(str(key))} stands twice")
        found[key] = value
    return found


# What may be called: each makes plain values of plain values


def _make_dict(pairs: Any = ()) -> dict[Any, Any]:
    """An ordered dict or a counter of its content."""
    return pairs if type(pairs) is dict else _fill({}, ((key, value) for key, value in pairs))


def _make_default_dict(factory: object = None) -> dict[Any, Any]:
    return {}


def _make_set(items: Any = ()) -> set[Any]:
    return set(map(_key, _of(list, items)))


def _make_bytes(text: Any, encoding: Any) -> bytes:
    """How bytes are written where a pickle knows texts only."""
    if encoding not in ("latin1", "latin-1"):
        raise TypeError
    return _text(text).encode("latin1")


def _make_dtype(code: Any, align: object = False, copy: object = True) -> _Record:
    if code not in _NUMBERS:
        raise _refused(f"a NumPy number of type {code if isinstance(code, str) else type(code).__name__}")
    return _Record(code)


def _make_number(dtype: Any, data: Any) -> Any:
    """A NumPy scalar, as Python's number."""
    record = _of(_Record, dtype)
    if record.name not in _NUMBERS:
        raise TypeError
    order = "<" if record.state is None else record.state[1]
    return np.frombuffer(_of(bytes, data), np.dtype(record.name).newbyteorder(order)).reshape(()).item()


def _make_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    learns: object = None,
    hooks: object = None,
    bits: Any = None,
) -> _Tensor:
    """bits: negated or conjugated when read, which no stored weight is."""
    if bits or len(shape) != len(strides) or len(shape) > MAX_DEPTH:
        raise TypeError
    sides, steps = (tuple(map(_count, _of(tuple, each))) for each in (shape, strides))
    return _Tensor(_of(_Storage, storage), _count(offset), sides, steps)


def _make_parameter(tensor: Any, learns: object, hooks: object) -> _Tensor:
    found: _Tensor = _of(_Tensor, tensor)
    return found


_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
_MAKERS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _make_bytes,
    "builtins.set": _make_set,
    "collections.Counter": _make_dict,
    "collections.OrderedDict": _make_dict,
    "collections.defaultdict": _make_default_dict,
    "numpy.core.multiarray.scalar": _make_number,
    "numpy.dtype": _make_dtype,
    "torch._utils._rebuild_parameter": _make_parameter,
    "torch._utils._rebuild_tensor": _make_tensor,
    "torch._utils._rebuild_tensor_v2": _make_tensor,
}


# What was read


def _find_state(value: Any, resolve: _Resolve) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and settings of what a pickle made."""
    if type(value) is not dict:
        raise WeightsError(
            "expected a state dict (tensors by name), found something else; get the weights file"
        )
    nested = value.get("state_dict")
    state = nested if type(nested) is dict else value
    strangers = [_word(key) for key, each in state.items() if not isinstance(each, _Tensor)]
    if len(strangers) == len(state):
        found = ", ".join(strangers[:8]) or "nothing"
        raise WeightsError(f"expected a state dict (tensors by name), found {found}; get the weights file")
    if strangers:
        raise WeightsError(f"{strangers[0]} in its state dict is no tensor; expected tensors alone")
    if any(type(key) is not str for key in state):
        raise _damaged("a tensor's name is no text")
    prefix = "module." if all(key.startswith("module.") for key in state) else ""
    tensors = {key.removeprefix(prefix): resolve(tensor) for key, tensor in state.items()}
    settings = _Settings().plain(value.get("hyper_parameters"))
    return tensors, settings if type(settings) is dict else {}


class _Settings:
    """Turns what settings classes held into plain values; their number and depth are bounded."""

    def __init__(self) -> None:
        self._left = MAX_SETTINGS

    def plain(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise WeightsError("its settings are too many or nested too deeply; expected those of a training")
        if isinstance(value, _Record):
            attributes = value.state if type(value.state) is dict else {}
            return self.plain(attributes.get("_content", attributes.get("_val")), depth + 1)
        if type(value) is dict:
            return {str(key)[:200]: self.plain(each, depth + 1) for key, each in value.items()}
        if type(value) in (list, tuple):
            return [self.plain(each, depth + 1) for each in value]
        return value if type(value) in (str, int, float, bool) else None
