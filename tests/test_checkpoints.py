"""PyTorch checkpoints are read as data: bit for bit, or refused in one line, and nothing in them runs."""

from __future__ import annotations

import collections
import copyreg
import importlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fill
from lowlight import checkpoints
from lowlight.checkpoints import read_checkpoint
from lowlight.errors import WeightsError

LIGHTNING = Path(__file__).parent / "fixtures" / "dimma" / "lightning_part.ckpt"


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    assert "weights_only" not in text
    assert len(text) < 600
    return text


def save(value: Any, path: Path, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def zipped(pickled: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> bytes:
    """A checkpoint of today's form around a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, content in {
            **{f"data/{key}": raw for key, raw in (storages or {}).items()},
            **more,
        }.items():
            archive.writestr(f"a/{name}", content)
    return stream.getvalue()


def legacy(
    pickled: bytes, keys: bytes = b"\x80\x02].", system: bytes = b"\x80\x02}.", storages: bytes = b""
) -> bytes:
    """A checkpoint of the form before 1.6 around a pickle."""
    return b"".join(
        [pickle.dumps(checkpoints.MAGIC, 2), pickle.dumps(1001, 2), system, pickled, keys, storages]
    )


FORMS = {"zip": zipped, "legacy": legacy}


# What is read


def state() -> dict[str, Any]:
    """Tensors of every kind that a state dict may hold."""
    torch.manual_seed(0)
    base = torch.randn(6, 8)
    found: dict[str, Any] = collections.OrderedDict(
        plain=torch.randn(3, 4, 5),
        transposed=base.t(),
        part=base[1:4, 2:7:2],
        base=base,
        parameter=torch.nn.Parameter(torch.randn(4)),
        scalar=torch.tensor(0.5),
        empty=torch.zeros(0, 3),
        count=torch.tensor(7),
        truth=torch.tensor([True, False, True]),
    )
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        found[str(dtype)] = torch.randn(5, 2).to(dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        found[str(dtype)] = torch.arange(-3, 4).to(dtype)
    return found


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("today", [True, False])
def test_tensors_come_back_bit_for_bit(today: bool, protocol: int, tmp_path: Path) -> None:
    expected = state()
    options = {"_use_new_zipfile_serialization": today, "pickle_protocol": protocol}
    found = read_checkpoint(save(expected, tmp_path / "a.pth", **options)).tensors
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        wanted = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        assert found[name].dtype == wanted.numpy().dtype, name
        assert found[name].shape == wanted.numpy().shape, name
        assert found[name].tobytes() == wanted.numpy().tobytes(), name


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_view_of_a_storage_is_that_view(data: st.DataObject, tmp_path: Path) -> None:
    sides = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    whole = torch.arange(float(np.prod(sides))).reshape(sides)
    view = whole.permute(data.draw(st.permutations(range(len(sides)))))
    for axis in range(view.ndim):
        start = data.draw(st.integers(0, view.shape[axis]))
        part = slice(start, None, data.draw(st.integers(1, 3)))
        view = view[tuple(part if each == axis else slice(None) for each in range(view.ndim))]
    today = data.draw(st.booleans())
    path = save({"whole": whole, "view": view}, tmp_path / "a.pth", _use_new_zipfile_serialization=today)
    found = read_checkpoint(path).tensors["view"]
    assert np.array_equal(found, view.numpy())
    assert found.shape == tuple(view.shape)


def test_the_authors_lightning_file_is_read_without_torch_and_without_its_classes() -> None:
    program = (
        "import sys; from pathlib import Path; from lowlight.checkpoints import read_checkpoint\n"
        f"found = read_checkpoint(Path({str(LIGHTNING)!r}))\n"
        "print(len(found.tensors), found.settings['name'], found.settings['model']['channels'],"
        " found.settings['dataset']['transform']['dim_factor'], found.settings['optimizer']['betas'])\n"
        "print([m for m in ('torch', 'omegaconf', 'typing_extensions.Any', 'lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "32 mdn-mixhq-3shot [32, 32, 32, 32] [0.3, 2.0] [0.9, 0.99]",
        "[]",
    ]


def test_the_authors_lightning_file_has_its_tensors() -> None:
    found = read_checkpoint(LIGHTNING)
    checked = 0
    for name, tensor in found.tensors.items():
        if name.startswith("backbone."):
            assert np.array_equal(tensor, fill.tensor(name, list(tensor.shape), 0.1, 0.0)), name
        elif ".lin" in name:
            rule = name.replace(".lins.", ".lin")
            assert np.array_equal(tensor, fill.tensor(rule, list(tensor.shape), 0.05, 0.1)), name
        else:
            continue
        checked += 1
    assert checked >= 20
    assert [len(digest) for digest in found.hashes.values()] == [64]


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_nested_state_dict_and_the_prefix_of_data_parallel(
    nested: bool, prefix: str, tmp_path: Path
) -> None:
    tensors = {f"{prefix}{name}": torch.ones(2) for name in ("a", "module.b")}
    value = {"epoch": 3, "state_dict": tensors} if nested else tensors
    assert list(read_checkpoint(save(value, tmp_path / "a.pt")).tensors) == ["a", "module.b"]
    half = {"module.a": torch.ones(2), "b": torch.ones(2)}
    assert list(read_checkpoint(save(half, tmp_path / "half.pt")).tensors) == ["module.a", "b"]


def test_harmless_numbers_of_numpy_under_both_names(tmp_path: Path) -> None:
    values = {
        "psnr": np.float64(23.5),
        "epoch": np.int64(-7),
        "half": np.float16(0.5),
        "best": np.bool_(True),
    }
    value = {"state_dict": {"a": torch.ones(1)}, "hyper_parameters": values}
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    today, older = b"numpy._core.multiarray", b"numpy.core.multiarray"
    assert today in stream.getvalue()
    for name, data in (("today", stream.getvalue()), ("older", stream.getvalue().replace(today, older))):
        path = tmp_path / f"{name}.pth"
        path.write_bytes(data)
        assert read_checkpoint(path).settings == {"psnr": 23.5, "epoch": -7, "half": 0.5, "best": True}


def test_settings_are_plain_values(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "name": "x",
        "model": {"channels": [1, 2], "head": None, "rate": 1e-5, "flag": True},
        "betas": (0.9, 0.99),
        "counter": collections.Counter("aab"),
        "kinds": {1, 2},
        "order": collections.OrderedDict(a=1),
        "later": collections.defaultdict(list, a=2),
    }
    path = save({"state_dict": {"a": torch.ones(1)}, "hyper_parameters": given}, tmp_path / "a.ckpt")
    assert read_checkpoint(path).settings == {
        "name": "x",
        "model": {"channels": [1, 2], "head": None, "rate": 1e-5, "flag": True},
        "betas": [0.9, 0.99],
        "counter": {"a": 2, "b": 1},
        "kinds": None,
        "order": {"a": 1},
        "later": {"a": 2},
    }


def test_a_file_of_python_2_and_the_first_pytorch(tmp_path: Path) -> None:
    """Short strings of bytes, a list of pairs as an ordered dict, the first tensor function, a view of a storage."""
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x04(U\x01vK\x01K\x02ttQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x02\x85K\x01\x85tR"
    pickled = b"\x80\x02ccollections\nOrderedDict\n]](U\x06weight" + tensor + b"ea\x85R."
    values = np.arange(4, dtype="<f4")
    data = legacy(pickled, pickle.dumps(["0"], 2), storages=struct.pack("<q", 4) + values.tobytes())
    (tmp_path / "a.pth").write_bytes(data)
    assert read_checkpoint(tmp_path / "a.pth").tensors["weight"].tolist() == [1.0, 2.0]


def tensor_pickle(
    count: Any = 4,
    offset: Any = 0,
    shape: Any = (4,),
    strides: Any = (1,),
    key: Any = "0",
    storage: str = "FloatStorage",
) -> bytes:
    """A state dict of one tensor, with whatever numbers."""

    def raw(value: Any) -> bytes:
        return pickle.dumps(value, 2)[2:-1].replace(b"q\x00", b"").replace(b"q\x01", b"")

    return (
        b"\x80\x02}X\x06\0\0\0weightctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n" + storage.encode() + b"\n" + raw(key) + b"X\x03\0\0\0cpu" + raw(count) + b"tQ"
        + raw(offset) + raw(shape) + raw(strides) + b"\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


def test_the_other_byte_order(tmp_path: Path) -> None:
    values = np.arange(4, dtype=np.float32)
    big, pickled = values.astype(">f4").tobytes(), tensor_pickle()
    (tmp_path / "a.pth").write_bytes(zipped(pickled, {"0": big}, byteorder=b"big"))
    system = pickle.dumps({"little_endian": False}, 2)
    data = legacy(pickled, pickle.dumps(["0"], 2), system, struct.pack(">q", 4) + big)
    (tmp_path / "b.pth").write_bytes(data)
    for name in ("a.pth", "b.pth"):
        found = read_checkpoint(tmp_path / name).tensors["weight"]
        assert found.dtype.isnative
        assert found.tolist() == [0, 1, 2, 3]
    (tmp_path / "c.pth").write_bytes(zipped(pickled, {"0": big}, byteorder=b"middle"))
    assert "byte order" in refused(tmp_path / "c.pth")


# What runs nothing


class Call:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def touching(canary: Path) -> str:
    return f"touch '{canary}'"


def writing(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def by_call(*call: Any) -> Callable[[Path], bytes]:
    """A call whose argument ``touching`` or ``writing`` is the canary's command."""

    def made(canary: Path) -> bytes:
        arguments = [each(canary) if each in (touching, writing) else each for each in call[1:]]
        return pickle.dumps(Call(call[0], *arguments), 2)

    return made


def by_hand(*parts: bytes | Callable[[Path], str]) -> Callable[[Path], bytes]:
    """A pickle from operations; a function is the text that it makes of the canary's path."""

    def made(canary: Path) -> bytes:
        return b"\x80\x04" + b"".join(word(p(canary)) if callable(p) else p for p in parts) + b"."

    return made


POPEN = b"csubprocess\nPopen\n"
TOUCH: tuple[bytes | Callable[[Path], str], ...] = (b"](", word("touch"), str, b"e")
IMPORT_OS = b"cimportlib\nimport_module\n" + word("os") + b"\x85R"
RUNS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    # what a plain unpickler would run, and the name in our refusal
    "os.system": (by_call(os.system, touching), "system"),
    "os.popen": (by_call(os.popen, touching), "os.popen"),
    "eval": (by_call(eval, writing), "builtins.eval"),
    "exec": (by_call(exec, writing), "builtins.exec"),
    "open": (by_hand(b"cbuiltins\nopen\n", str, word("w"), b"\x86R"), "builtins.open"),
    "subprocess": (by_hand(b"csubprocess\ncheck_call\n", *TOUCH, b"\x85R"), "subprocess.check_call"),
    "import": (by_call(importlib.import_module, "canary_module"), "importlib.import_module"),
    "a name alone": (by_hand(b"ccanary_module\nvalue\n"), "canary_module.value"),
    "Python 2": (by_hand(b"\x80\x02c__builtin__\neval\n", writing, b"\x85R"), "builtins.eval"),
    "getattr": (
        by_hand(b"cbuiltins\ngetattr\n", IMPORT_OS, word("system"), b"\x86R", touching, b"\x85R"),
        "builtins.getattr",
    ),
    "attrgetter": (
        by_hand(
            b"coperator\nattrgetter\n", word("system"), b"\x85R", IMPORT_OS, b"\x85R", touching, b"\x85R"
        ),
        "operator.attrgetter",
    ),
    "methodcaller": (
        by_hand(b"coperator\nmethodcaller\n", word("system"), touching, b"\x86R", IMPORT_OS, b"\x85R"),
        "operator.methodcaller",
    ),
    "partial": (
        by_hand(b"cfunctools\npartial\ncos\nsystem\n", touching, b"\x86R)R"),
        "functools.partial",
    ),
    "map in a set": (
        by_hand(b"cbuiltins\nset\ncbuiltins\nmap\ncos\nsystem\n](", touching, b"e\x86R\x85R"),
        "builtins.map",
    ),
    "dotted name": (
        by_hand(word("os.path"), word("os.system"), b"\x93", touching, b"\x85R"),
        "os.path.os.system",
    ),
    "INST": (by_hand(b"(", touching, b"ios\nsystem\n"), "os.system"),
    "OBJ": (by_hand(b"(", POPEN, *TOUCH, b"o"), "subprocess.Popen"),
    "default of a table": (
        by_hand(b"ccollections\ndefaultdict\nccanary_module\nvalue\n\x85R"),
        "canary_module.value",
    ),
    "state of an object": (
        by_hand(b"ccanary_module\nStateful\n)\x81}", word("x"), b"K\x01sb"),
        "canary_module.Stateful",
    ),
    "extension": (by_hand(b"\x82\xf0", touching, b"\x85R"), "the pickle operation EXT1"),
}


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that does not exist, unless something ran. Importing ``canary_module`` makes it too."""
    path = tmp_path / "canary"
    folder = tmp_path / "importable"
    folder.mkdir()
    (folder / "canary_module.py").write_text(f"{writing(path)}\nvalue = dict\nclass Stateful: pass\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "canary_module", raising=False)
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("os", "system"))  # type: ignore[attr-defined]
    return path


@pytest.mark.parametrize("name", RUNS)
def test_a_plain_unpickler_would_have_run_it(name: str, canary: Path) -> None:
    """Else the tests below would show nothing."""
    result = pickle.loads(RUNS[name][0](canary))  # noqa: S301
    if isinstance(result, subprocess.Popen):
        result.wait()
    elif hasattr(result, "close"):
        result.close()
    assert canary.exists()


def placed(pickled: bytes) -> dict[str, bytes]:
    """A pickle in every place where a checkpoint has one."""
    value = pickled[2:-1]
    tensors = b"}" + word("state_dict") + b"}" + word("a") + value + b"ss"
    beside = tensor_pickle()[:-1] + word("hyper_parameters") + value + b"s."
    sound = tensor_pickle()
    return {
        "zip": zipped(pickled),
        "zip, as a tensor": zipped(b"\x80\x02" + tensors + b"."),
        "zip, beside a tensor": zipped(beside, {"0": bytes(16)}),
        "legacy": legacy(pickled),
        "legacy, system": legacy(sound, system=pickled),
        "legacy, keys": legacy(sound, keys=pickled),
        "a pickle alone": pickled,
    }


@pytest.mark.parametrize("name", RUNS)
def test_nothing_runs_and_the_name_is_told(name: str, canary: Path, tmp_path: Path) -> None:
    make, asked = RUNS[name]
    for number, data in enumerate(placed(make(canary)).values()):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(data)
        text = refused(path)
        assert f"refused: it asks for {asked!r}" in text or (asked == "system" and ".system'" in text)
        assert "nothing was run" in text
        assert not canary.exists()
    assert "canary_module" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        "posix.system", "nt.system", "pty.spawn", "runpy._run_code", "code.InteractiveInterpreter", "timeit.timeit",
        "pip.main", "pydoc.pipepager", "sys.modules", "builtins.__import__", "builtins.compile", "builtins.globals",
        "builtins.bytearray", "builtins.object", "io.open", "pickle.loads", "marshal.loads", "types.CodeType",
        "types.FunctionType", "copyreg._reconstructor", "_codecs.decode", "codecs.encode", "collections.deque",
        "collections.OrderedDict.__init__.__globals__", "collections.abc.Mapping", "ctypes.CDLL", "weakref.finalize",
        "numpy.load", "numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.f2py.crackfortran.myeval",
        "numpy.testing._private.utils.runstring", "torch.load", "torch.hub.load", "torch.serialization.load",
        "torch.jit.load", "torch.jit.unsupported_tensor_ops.execWrapper", "torch.storage._load_from_bytes",
        "torch._utils._rebuild_wrapper_subclass", "torch._utils._rebuild_sparse_tensor", "torch.nn.Linear",
        "torch._utils._rebuild_device_tensor_from_numpy", "torch._tensor._rebuild_from_type_v2",
        "torch.distributed.rpc.internal._internal_rpc_pickler", "omegaconf.OmegaConf", "omegaconf.nodes.EnumNode",
        "omegaconf.dictconfig.DictConfig.__init__", "typing.get_type_hints", "lowlight.weights.write_file", "typing.",
    ],
)  # fmt: skip
def test_any_other_name_is_refused(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    if name.startswith(("collections.OrderedDict", "omegaconf.dictconfig")):
        module, _, attribute = name.replace(".", "\n", 1).partition("\n")
    asked = word(module) + word(attribute) + b"\x93"
    for form, wrap in FORMS.items():
        path = tmp_path / f"{form}.pth"
        path.write_bytes(wrap(b"\x80\x04" + asked + b")R."))
        assert f"refused: it asks for {name!r}" in refused(path)


@pytest.mark.parametrize(
    ("operations", "asked"),
    [
        (b"ctyping\nAny\n)R", "a call of typing.Any"),
        (b"ctorch\nFloatStorage\nK\x09\x85R", "a call of torch.FloatStorage"),
        (b"comegaconf.dictconfig\nDictConfig\n}\x85R", "a call of omegaconf.dictconfig.DictConfig"),
        (b"ccollections\nOrderedDict\n)\x81", "a new collections.OrderedDict"),
        (b"comegaconf.dictconfig\nDictConfig\nK\x01\x85\x81", "a new omegaconf.dictconfig.DictConfig"),
        (b"comegaconf.dictconfig\nDictConfig\n)}\x92", "the pickle operation NEWOBJ_EX"),
        (b"(comegaconf.dictconfig\nDictConfig\no", "the pickle operation OBJ"),
        (b"Psecret\n", "the pickle operation PERSID"),
        (b"X\x06\0\0\0moduleK\x00K\x00K\x00K\x00tQ", None),
        (b"(X\x06\0\0\0moduleK\x00K\x00K\x00K\x00tQ", "a stored module"),
        (b"N2", "the pickle operation DUP"),
        (b"\x97", "the pickle operation NEXT_BUFFER"),
        (b"cnumpy\ndtype\nX\x02\0\0\0O8K\x00K\x01\x87R", "a NumPy number of type O8"),
    ],
)
def test_allowed_names_do_no_more_than_pytorch_asks_of_them(
    operations: bytes, asked: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(zipped(b"\x80\x02" + operations + b"."))
    text = refused(path)
    assert (f"refused: it asks for {asked!r}" if asked else "damaged") in text


@pytest.mark.parametrize(
    "operations",
    [
        b"comegaconf.dictconfig\nDictConfig\n)\x81K\x01K\x02sb",  # attributes of a number
        b"ccollections\nOrderedDict\n)R}X\x09\0\0\0__class__ccollections\nOrderedDict\nsbK\x01sb",
        b"}](K\x01eK\x01s",  # a list as a key
        b"})K\x01s",  # a tuple as a key
        b"]K\x01b",  # attributes of a list
        b"K\x01K\x02a",
        b"c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0zip\x86R",
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\0\0\0f8\x85RU\x01a\x86R",
        b"\x85", b"0", b"h\x07", b"s", b"t", b"R", b"\x93", b"Q", b"", b"\xff", b"K", b"X\xff\xff\xff\xffa",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x0fa", b"I1x\n", b"L" + b"9" * 5000 + b"L\n",
    ],
)  # fmt: skip
def test_operations_that_make_no_sense_are_damage(operations: bytes, tmp_path: Path) -> None:
    for form, wrap in FORMS.items():
        path = tmp_path / f"{form}.pth"
        path.write_bytes(wrap(b"\x80\x02" + operations + b"."))
        text = refused(path)
        assert "damaged or cut short" in text or "the pickle operation POP'" in text


# Tensors that reach outside, archives that grow, pickles that never end


@pytest.mark.parametrize(
    "numbers",
    [
        {"count": 5},
        {"count": 2**62},
        {"count": -1},
        {"offset": 1},
        {"offset": 2**62},
        {"offset": -1},
        {"shape": (5,)},
        {"shape": (-1,)},
        {"shape": (2**62, 2**62), "strides": (1, 1)},
        {"shape": (1000, 1000), "strides": (0, 0)},
        {"shape": (4,), "strides": (2,)},
        {"shape": (2,), "strides": (-1,)},
        {"shape": (2,), "strides": (2**62,)},
        {"shape": (2, 2), "strides": (1,)},
        {"shape": (1,) * 40, "strides": (1,) * 40},
        {"shape": (1.5,)},
        {"shape": [4]},
        {"shape": (True, 4), "strides": (1, 1)},
        {"shape": "4"},
        {"shape": (0, 2**62), "strides": (1, 1)},
        {"key": "1"},
        {"key": "../data.pkl"},
        {"key": "/etc/passwd"},
        {"key": 0},
        {"storage": "FloatTensor"},
        {"storage": "UntypedStorage"},
    ],
    ids=str,
)
def test_a_tensor_stays_inside_its_storage(numbers: dict[str, Any], tmp_path: Path) -> None:
    pickled, raw = tensor_pickle(**numbers), np.arange(4, dtype="<f4").tobytes()
    (tmp_path / "zip.pth").write_bytes(zipped(pickled, {"0": raw}))
    data = legacy(pickled, pickle.dumps(["0"], 2), storages=struct.pack("<q", 4) + raw)
    (tmp_path / "legacy.pth").write_bytes(data)
    for path in tmp_path.iterdir():
        refused(path)


@pytest.mark.parametrize("count", [5, 2**61, 2**63 - 1, -1])
def test_a_storage_of_the_older_form_stays_inside_the_file(count: int, tmp_path: Path) -> None:
    data = legacy(tensor_pickle(), pickle.dumps(["0"], 2), storages=struct.pack("<q", count) + bytes(16))
    (tmp_path / "a.pth").write_bytes(data)
    assert "the storage '0' is larger than what is left of the file" in refused(tmp_path / "a.pth")


@pytest.mark.parametrize("keys", [["0", "0"], ["1"], [], [0], {"0": 1}, None, ["0", ["0"]]], ids=str)
def test_the_older_form_lists_its_storages(keys: Any, tmp_path: Path) -> None:
    data = legacy(tensor_pickle(), pickle.dumps(keys, 2), storages=struct.pack("<q", 4) + bytes(16))
    (tmp_path / "a.pth").write_bytes(data)
    assert "damaged" in refused(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("a/data.pkl", b"\x80\x02}."), ("a/data.pkl", b"\x80\x02].")], "'a/data.pkl' of its zip archive stands twice"),
        ([("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", b"\x80\x02}.")], "it has no data.pkl"),
        ([("data.pkl", b"\x80\x02}.")], "it has no data.pkl"),
        ([("../../a.pth", b"x")], "it has no data.pkl"),
        ([("weights.pth", b"PK")], "if it holds one, unpack it first"),
        ([], "it has no data.pkl"),
        ([("a/data.pkl", b"\x80\x02}."), ("a/constants.pkl", b""), ("a/code/m.py", b"")], "a TorchScript program"),
        ([("a/data.pkl", b"\x80\x02}."), ("a/code/__torch__.py", b"import os")], "a TorchScript program"),
        ([("a/data.pkl", tensor_pickle()), ("a/DATA/0", bytes(16))], "the entry 'a/data/0' is missing"),
        ([("a/data.pkl", tensor_pickle()), ("a/data/0", bytes(15))], "fewer bytes than it says"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)  # fmt: skip
def test_archives_that_are_no_checkpoint(
    entries: list[tuple[str, bytes]], words: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    assert words in refused(tmp_path / "a.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize("name", ["a/data.pkl", "a/data/0"])
def test_nothing_is_decompressed(name: str, tmp_path: Path) -> None:
    """A megabyte of compressed zeros that says it is 40 GB."""
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for each, content in (("a/data.pkl", tensor_pickle()), ("a/data/0", bytes(1 << 20))):
            method = zipfile.ZIP_DEFLATED if each == name else zipfile.ZIP_STORED
            archive.writestr(each, content, compress_type=method)
        archive.filelist[-1].file_size = 40 << 30
    with bounded():
        assert "is compressed or encrypted" in refused(tmp_path / "a.pth") or name == "a/data.pkl"


@contextmanager
def bounded(limit: int = 64 << 20) -> Iterator[None]:
    """No more memory than this inside the block."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_a_large_file_of_another_kind_or_size_is_not_read(tmp_path: Path) -> None:
    for name, start, words in (
        ("zeros", b"", "unknown or damaged data"),
        ("zip", b"PK\x03\x04", "a checkpoint has at most"),
        ("pickle", b"\x80\x02", "a checkpoint has at most"),
    ):
        with (tmp_path / name).open("wb") as file:
            file.write(start)
            file.truncate(40 << 30)  # a hole: no disk is used
        with bounded(1 << 20):
            assert words in refused(tmp_path / name)


BOMBS = {
    "a memo without end": (b"]r\xff\xff\xff\xff.", "expected a state dict"),
    "a text without end": (b"\x8d" + b"\xff" * 7 + b"\x0f.", "damaged"),
    "operations without end": (b"N" * 300_000 + b".", "more than 200000 operations"),
    "lists copied": (
        b"](" + b"K\x01" * 50_000 + b"eq\x00(" + b"c__builtin__\nset\nh\x00\x85R" * 100 + b"t.",
        "copies more than 200000 values",
    ),
    "bytes copied": (
        b"(c_codecs\nencode\nX\x40\x42\x0f\0" + b"a" * 1_000_000 + b"X\x06\0\0\0latin1\x86Rt.",
        "copies more than 200000 values",
    ),
    "a name of a megabyte": (b"c" + b"a" * 1_000_000 + b"\nb\n.", "refused: it asks for 'aaaa"),
    "a storage of a megabyte's name": (
        tensor_pickle(key="k" * 100_000)[2:],
        "is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_takes_little_memory_and_ends(name: str, tmp_path: Path) -> None:
    operations, words = BOMBS[name]
    (tmp_path / "a.pth").write_bytes(zipped(b"\x80\x02" + operations))
    with bounded():
        assert words in refused(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", ["list", "itself"])
def test_settings_that_multiply_are_refused(kind: str, tmp_path: Path) -> None:
    nested: Any = []
    if kind == "itself":
        nested.append(nested)
    for _ in range(30):
        nested = [nested, nested]
    path = save({"state_dict": {"a": torch.ones(1)}, "hyper_parameters": {"x": nested}}, tmp_path / "a.pth")
    assert "its settings are too many or nested too deeply" in refused(path)


# Damage


@pytest.fixture(scope="module", params=[True, False], ids=["zip", "legacy"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    path = tmp_path_factory.mktemp("whole") / "a.pth"
    value = {"state_dict": {"a": torch.arange(5.0), "b": torch.ones(2, 2)}, "hyper_parameters": {"x": 1}}
    save(value, path, _use_new_zipfile_serialization=request.param)
    return path.read_bytes(), path


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_cut_and_any_byte_changed_is_one_line_or_a_checkpoint(
    whole: tuple[bytes, Path], data: st.DataObject
) -> None:
    content, path = whole
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(1, 255))
    flipped = content[:at] + bytes([content[at] ^ other]) + content[at + 1 :]
    path.write_bytes(data.draw(st.sampled_from([content[:at], flipped])))
    try:
        read_checkpoint(path)
    except WeightsError:
        refused(path)


def test_half_a_file_is_told(whole: tuple[bytes, Path], tmp_path: Path) -> None:
    content, _ = whole
    (tmp_path / "half.pth").write_bytes(content[: len(content) // 2])
    assert "damaged or cut short" in refused(tmp_path / "half.pth")


def test_a_changed_number_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = save({"a": torch.full((100,), 1.5)}, tmp_path / "a.pth")
    content, value = path.read_bytes(), struct.pack("<f", 1.5) * 100
    assert content.count(value) == 1
    path.write_bytes(content.replace(value, value[:-4] + struct.pack("<f", 2.5)))
    assert "checksum" in refused(path)


# Files that are no checkpoint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found an empty file"),
        (b"these are not the weights you are looking for\n" * 2, "found text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "get the file itself with `git lfs"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page; download the file itself"),
        (b"\x1f\x8b\x08" + bytes(20), "a gzip archive; unpack it first"),
        (bytes(257) + b"ustar" + bytes(300), "a tar archive; unpack it first"),
        (b"\x08\x0a\x12\x07pytorch", "lowlight's own need no import"),
        (struct.pack("<Q", 2) + b"{}", "lowlight's own need no import"),
        (bytes(range(255, 0, -1)), "unknown or damaged data"),
        (b"cposix\nsystem\n(S'true'\ntR.", "found text"),
        (pickle.dumps({"a": 1}, 2), "a pickle, but no PyTorch checkpoint"),
        (pickle.dumps(checkpoints.MAGIC, 2), "damaged or cut short"),
        (pickle.dumps(checkpoints.MAGIC, 2) + pickle.dumps(1000, 2) + pickle.dumps({}, 2), "its version is unknown"),
    ],
)  # fmt: skip
def test_a_foreign_file_is_named_with_what_to_do(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert words in refused(tmp_path / "a.pth")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    (tmp_path / "loop.pth").symlink_to("loop.pth")
    for name, words in (
        ("pipe.pth", "a folder, pipe or device"),
        ("zero.pth", "a folder, pipe or device"),
        ("loop.pth", "no such file"),
        ("missing.pth", "no such file"),
    ):
        assert words in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([torch.ones(2)], "expected a state dict (tensors by name), found something else"),
        (torch.ones(2), "expected a state dict"),
        ({}, "found nothing"),
        ({"epoch": 1, "iter": 2, "optimizers": [], "schedulers": []}, "found 'epoch', 'iter', 'optimizers', 'schedulers'"),
        ({"state_dict": {}}, "found nothing"),
        ({"a": torch.ones(2), "epoch": 3}, "'epoch' in its state dict is no tensor"),
        ({"a": torch.ones(2), 3: torch.ones(2)}, "a tensor's name is no text"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)  # fmt: skip
def test_a_checkpoint_of_something_else_says_what_it_holds(value: Any, words: str, tmp_path: Path) -> None:
    assert words in refused(save(value, tmp_path / "a.pth"))


# Folders


def test_a_folder_is_its_checkpoint_and_its_arrays(tmp_path: Path) -> None:
    save({"a": torch.ones(2)}, tmp_path / "mdn.pt")
    rng = np.random.default_rng(0)
    arrays = {"mean": rng.random(7), "std": rng.random((2, 3), np.float32), "n": np.arange(3)}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    found = read_checkpoint(tmp_path)
    assert found.tensors.keys() == {"a", *arrays}
    for name, array in arrays.items():
        assert found.tensors[name].dtype == array.dtype
        assert np.array_equal(found.tensors[name], array)
    assert found.hashes.keys() == {"mdn.pt", "mean.npy", "std.npy", "n.npy"}
    np.save(tmp_path / "a.npy", np.ones(2))
    with pytest.raises(WeightsError, match=r"a\.npy: mdn\.pt has a tensor of this name already: 'a'"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data.replace(b"(7,)", b"(9,)"),
        lambda data: data.replace(b"'<f8'", b"'|O8'"),
        lambda data: data.replace(b"False", b"True "),
        lambda data: data.replace(b"(7,)", b"__import__('os').system('true')"),
        lambda data: data.replace(b"\x01\x00", b"\x09\x00", 1),
    ],
)
def test_an_array_that_is_none_is_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    save({"a": torch.ones(2)}, tmp_path / "mdn.pt")
    np.save(tmp_path / "mean.npy", np.ones(7))
    data = (tmp_path / "mean.npy").read_bytes()
    (tmp_path / "mean.npy").write_bytes(change(data))
    with pytest.raises(WeightsError, match=r"mean\.npy: ") as caught:
        read_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folders_arrays_are_files(tmp_path: Path) -> None:
    save({"a": torch.ones(2)}, tmp_path / "mdn.pt")
    os.mkfifo(tmp_path / "mean.npy")
    with pytest.raises(
        WeightsError, match=r"mean\.npy: expected a checkpoint, found a folder, pipe or device"
    ):
        read_checkpoint(tmp_path)


def test_a_folder_needs_a_checkpoint(tmp_path: Path) -> None:
    assert "expected a .pt, .pth, .ckpt or .pkl file in the folder, found none" in refused(tmp_path)


def test_a_checkpoint_may_come_in_parts_that_share_no_name(tmp_path: Path) -> None:
    save({"module.a": torch.ones(2)}, tmp_path / "net.pth")
    save({"state_dict": {"b": torch.zeros(3)}, "hyper_parameters": {"head": "x"}}, tmp_path / "other.pkl")
    found = read_checkpoint(tmp_path)
    assert {name: each.tolist() for name, each in found.tensors.items()} == {"a": [1, 1], "b": [0, 0, 0]}
    assert found.settings == {"head": "x"}
    assert found.hashes.keys() == {"net.pth", "other.pkl"}
    save({"a": torch.ones(2)}, tmp_path / "older.pth")
    words = (
        r"older\.pth: net\.pth has a tensor of this name already: 'a'; expected the files of one checkpoint"
    )
    with pytest.raises(WeightsError, match=words):
        read_checkpoint(tmp_path)


def test_a_storage_that_many_tensors_share_is_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = torch.arange(100.0)
    path = save({f"t{start}": base[start:] for start in range(50)}, tmp_path / "a.pth")
    checked: list[int] = []
    crc32 = checkpoints.zlib.crc32
    monkeypatch.setattr(checkpoints.zlib, "crc32", lambda data: checked.append(len(data)) or crc32(data))
    found = read_checkpoint(path).tensors
    assert found["t49"].tolist() == list(range(49, 100))
    assert checked.count(400) == 1
