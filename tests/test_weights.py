"""Weights files: found by name, whole or refused in one line, and never executed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lowlight.errors import WeightsError
from lowlight.weights import (
    HEADER_KEY,
    SEAL_KEY,
    Header,
    Weights,
    available,
    cache_folder,
    check_tensors,
    decode_arrays,
    encode_arrays,
    find,
    load_tensors,
    open_weights,
    save_safetensors,
    sealed,
)

HEADER = Header(
    name="tiny",
    method="dimma",
    config={},
    licence="CC0",
    notes=['ünïcode and "quotes"'],
    arrays=encode_arrays({"gamma": np.array(0.25, np.float32), "support": np.eye(3, dtype=np.float32)}),
)
TENSORS = {
    "stem.weight": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4),
    "count": np.array(7, np.int64),
    "scale": np.array(0.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def save(path: Path, header: Header = HEADER) -> Path:
    save_safetensors(path, header, TENSORS)
    return path


def onnx_bytes(change: Callable[[Any], None] = lambda model: None, **metadata: str) -> bytes:
    """A sealed model that multiplies dark by a stored factor, changed before it is sealed."""
    picture = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["dark", "factor"], ["enhanced"])],
        "tiny",
        [helper.make_tensor_value_info("dark", TensorProto.FLOAT, picture)],
        [helper.make_tensor_value_info("enhanced", TensorProto.FLOAT, picture)],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [2.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    change(model)

    def build(seal: str) -> bytes:
        helper.set_model_props(model, {HEADER_KEY: HEADER.model_dump_json(), SEAL_KEY: seal, **metadata})
        return bytes(model.SerializeToString(deterministic=True))

    return sealed(build)


def tensors_bytes(
    table: Any = None, payload: bytes = b"", header: str | None = None, *, text: str | None = None
) -> bytes:
    """A sealed safetensors file with whatever table, payload and header."""

    def build(seal: str) -> bytes:
        metadata = {SEAL_KEY: seal, HEADER_KEY: HEADER.model_dump_json() if header is None else header}
        start = json.dumps({"__metadata__": metadata, **(table or {})})
        if text is not None:  # raw JSON of further entries
            start = f"{start[:-1]}, {text}}}"
        return len(start.encode()).to_bytes(8, "little") + start.encode() + payload

    return sealed(build)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refused(path: Path, load: Callable[[Path], object] = open_weights) -> str:
    with pytest.raises(WeightsError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


# Round trips


def test_saved_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.safetensors")
    weights = open_weights(path)
    assert weights.header == HEADER
    assert weights.kind == "safetensors"
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.arrays["gamma"] == np.float32(0.25)
    assert np.array_equal(weights.arrays["support"], np.eye(3))
    tensors = load_tensors(weights)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert tensor.shape == TENSORS[name].shape
        assert tensor.tobytes() == TENSORS[name].tobytes()


def test_other_programs_can_read_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.safetensors")
    tensors = safetensors.numpy.load_file(path)
    assert all(np.array_equal(tensors[name], TENSORS[name]) for name in TENSORS)
    with safetensors.safe_open(path, "np") as file:
        assert json.loads(file.metadata()["lowlight"])["name"] == "tiny"


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path: Path) -> None:
    first = save(tmp_path / "a.safetensors").read_bytes()
    save_safetensors(tmp_path / "b.safetensors", HEADER, dict(reversed(TENSORS.items())))
    assert (tmp_path / "b.safetensors").read_bytes() == first


def test_float16_on_disk_is_given_back_as_float32(tmp_path: Path) -> None:
    path = save(tmp_path / "a.safetensors", HEADER.model_copy(update={"precision": "float16"}))
    assert safetensors.numpy.load_file(path)["stem.weight"].dtype == np.float16
    found = load_tensors(open_weights(path))["stem.weight"]
    assert found.dtype == np.float32
    assert np.array_equal(found, TENSORS["stem.weight"].astype(np.float16).astype(np.float32))


def test_an_onnx_file_is_opened_without_its_library_or_a_runtime(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(onnx_bytes())
    program = (
        "import sys; from lowlight.weights import open_weights; w = open_weights('a.onnx');"
        "assert w.kind == 'onnx' and w.header.name == 'tiny' and w.arrays['support'].shape == (3, 3);"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'pickle5') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=6).map(
            lambda values: np.array(values, np.float32).reshape(-1, 1)
        ),
        max_size=3,
    )
)
def test_header_arrays_survive_json(arrays: dict[str, Any]) -> None:
    found = decode_arrays(json.loads(json.dumps(encode_arrays(arrays))))
    assert found.keys() == arrays.keys()
    assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())


# Names


def test_a_name_is_looked_up_here_then_in_the_cache_then_as_a_file(home: Path) -> None:
    cached = save(home / "cache" / "night.safetensors")
    assert find("night") == cached
    local = save(home / "models" / "night.safetensors")
    assert find("night") == local
    assert find(Path("cache/night.safetensors")) == Path("cache/night.safetensors")
    (home / "models" / "night.onnx").write_bytes(onnx_bytes())
    assert open_weights("night").kind == "onnx"


def test_an_unknown_name_or_file_is_answered_with_those_that_exist(home: Path) -> None:
    save(home / "cache" / "night.safetensors")
    with pytest.raises(WeightsError, match=r"no model is called 'day'; models by name: .*night"):
        open_weights("day")
    with pytest.raises(WeightsError, match=r"day\.onnx: no such weights file; models by name: .*night"):
        open_weights(Path("day.onnx"))
    with pytest.raises(WeightsError, match="no model is called"):
        open_weights("x" * 5000)


def test_cache_folder_follows_variable_and_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOWLIGHT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path("/there/lowlight")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library/Caches/lowlight"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_folder() == Path("/local/lowlight/Cache")
    monkeypatch.setenv("LOWLIGHT_CACHE", "/mine")
    assert cache_folder() == Path("/mine")


def test_available_lists_what_opens_and_warns_of_the_rest(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save(home / "models" / "night.safetensors")
    (home / "models" / "broken.onnx").write_bytes(onnx_bytes()[:-5])
    (home / "models" / "notes.txt").write_text("no weights")
    found = {weights.path.stem: weights for weights in available()}
    assert found["night"].header.licence == "CC0"
    assert "broken" not in found
    [warning] = capfd.readouterr().err.splitlines()
    assert "broken.onnx" in warning


# Files that are no weights


def pickled(canary: Path) -> bytes:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch '{canary}'",)

    return pickle.dumps({"state_dict": Bomb()}, protocol=2)


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return stream.getvalue()


FOREIGN = {
    "empty": (lambda canary: b"", "an empty file"),
    "text": (lambda canary: b"these are not the weights you are looking for\n" * 3, "found text"),
    "lfs": (
        lambda canary: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "Git LFS pointer",
    ),
    "html": (lambda canary: b"\n<!DOCTYPE html><html>404</html>", "a web page"),
    "pickle": (pickled, "`lowlight import`"),
    "zip": (lambda canary: zipped(pickled(canary)), "`lowlight import`"),
    "half zip": (lambda canary: zipped(pickled(canary))[:40], "`lowlight import`"),
    "old pickle": (
        lambda canary: pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickled(canary),
        "`lowlight import`",
    ),
    "text pickle": (lambda canary: f"cos\nsystem\n(S'touch {canary}'\ntR.".encode(), "found text"),
    "noise": (lambda canary: bytes(range(255, 0, -1)), "unknown or damaged"),
    "zeros": (lambda canary: bytes(5000), "unknown or damaged"),
    "tiny": (lambda canary: b"\x00", "unknown or damaged"),
}


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".pth", ".ckpt"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_by_its_content_and_not_run(kind: str, suffix: str, tmp_path: Path) -> None:
    make, words = FOREIGN[kind]
    path, canary = tmp_path / f"weights{suffix}", tmp_path / "canary"
    path.write_bytes(make(canary))
    assert words in refused(path)
    assert not canary.exists()


def test_links_folders_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    (tmp_path / "nowhere.onnx").symlink_to("missing")
    for path in tmp_path.iterdir():
        refused(path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    for name, start, words in [("z.onnx", b"", "unknown"), ("o.onnx", onnx_bytes(), "at most")]:
        with (tmp_path / name).open("wb") as file:
            file.write(start)
            file.truncate(40 << 30)  # a hole: no disk is used
        assert words in refused(tmp_path / name)


# Damage


@pytest.fixture(scope="module", params=["onnx", "safetensors"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    path = tmp_path_factory.mktemp("whole") / f"whole.{request.param}"
    if request.param == "onnx":
        path.write_bytes(onnx_bytes())
    else:
        save(path)
    open_weights(path)
    return path.read_bytes(), path


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_cut_any_byte_changed_and_anything_added_is_noticed(
    whole: tuple[bytes, Path], data: st.DataObject
) -> None:
    content, path = whole
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(1, 255))
    damaged = data.draw(
        st.sampled_from(
            [
                content[:at],
                content[:at] + bytes([content[at] ^ other]) + content[at + 1 :],
                content + bytes([other]) * (at + 1),
            ]
        )
    )
    path.write_bytes(damaged)
    refused(path)


def test_a_file_replaced_after_it_was_opened_is_not_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "a.safetensors")
    weights = open_weights(path)
    save_safetensors(path, HEADER, {**TENSORS, "scale": np.array(9, np.float32)})
    with pytest.raises(WeightsError, match=r"a\.safetensors: the file changed since it was opened"):
        load_tensors(weights)
    path.unlink()
    with pytest.raises(WeightsError, match=r"a\.safetensors: cannot be read"):
        load_tensors(weights)


# Headers


def changed(**values: Any) -> str:
    return json.dumps({**HEADER.model_dump(), **values})


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("no JSON", "header: expected JSON, found 'no JSON'"),
        ("[1]", "expected a JSON object"),
        ("[" * 100_000, "expected JSON"),
        ('{"name": "a", "name": "b"}', "the name 'name' stands twice"),
        (changed(scores={"psnr": float("nan")}), "NaN is no JSON number"),
        ("{}", "name: Field required"),
        (changed(version=2), "version"),
        (changed(owner="me"), "unknown key 'owner'; known keys: version, name, method"),
        (changed(licence=3), "licence: Input should be a valid string (given: '3')"),
        (changed(method="dimmer"), "made for method 'dimmer', which is not installed; there are: dimma"),
        (changed(config={"width": 8}), "config of dimma: unknown key 'width'; known keys: "),
        (changed(config={"unshuffle": 0}), "config of dimma: unshuffle"),
        (
            changed(config={"widths": [16, 32]}),
            "config of dimma: blocks: expected 2 numbers, one a level, got [1, 1, 2]",
        ),
        (changed(arrays={"a": {"shape": [2], "base64": "AAAA"}}), "array 'a': expected shape and base64"),
        (changed(arrays={"a": {"shape": [-1], "base64": "AAAAAA=="}}), "array 'a'"),
        (changed(arrays={"a": {"shape": [1], "base64": "AADAfw=="}}), "array 'a' holds NaN or infinity"),
        (changed(arrays={"a": {"shape": [1], "base64": 5}}), "array 'a'"),
    ],
)
def test_a_wrong_header_is_refused_by_its_key(header: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(tensors_bytes(header=header))
    assert words in refused(path)


def test_a_header_older_than_noise_levels_has_them_in_its_recipe() -> None:
    old = HEADER.model_dump(exclude={"noise_levels", "recipe"})
    for recipe, told in (({"settings": {"noise_levels": 255}}, 255), ({"mean of": []}, None), ({}, None)):
        assert Header.model_validate({**old, "recipe": recipe}).noise_levels == told
    recipe = {"settings": {"noise_levels": 255}}
    assert Header.model_validate({**old, "recipe": recipe, "noise_levels": None}).noise_levels is None


def test_files_without_header_or_seal_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(TENSORS, path)
    assert "a safetensors file without lowlight's header" in refused(path)
    safetensors.numpy.save_file(TENSORS, path, {HEADER_KEY: HEADER.model_dump_json()})
    assert "no seal" in refused(path)


def test_weights_of_another_method_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.safetensors")
    assert open_weights(path, method="dimma").header.method == "dimma"
    with pytest.raises(
        WeightsError, match=r"a\.safetensors: expected weights of method glare, found .* dimma"
    ):
        open_weights(path, method="glare")


# Tensors


FLOAT = np.ones(1, np.float32).tobytes()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            tensors_bytes(
                payload=FLOAT,
                text='"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, ' * 2 + '"b": 0',
            ),
            "the name 'a' stands twice",
        ),
        (
            tensors_bytes({"a": entry("BF16", [2], 0, 4)}, FLOAT),
            "tensor 'a' has dtype 'BF16'; allowed: F32, F16",
        ),
        (
            tensors_bytes({"a": entry("F32", [2], 0, 4)}, FLOAT),
            "tensor 'a': its shape (2,) does not fit its bytes",
        ),
        (tensors_bytes({"a": entry("F32", [-1], 0, 4)}, FLOAT), "tensor 'a': its entry"),
        (tensors_bytes({"a": entry("F32", [1], -4, 0)}, FLOAT), "tensor 'a': its entry"),
        (tensors_bytes({"a": entry("F32", [2**62, 2**62], 0, 4)}, FLOAT), "tensor 'a': its shape"),
        (tensors_bytes({"a": {"dtype": "F32"}}, FLOAT), "tensor 'a': its entry"),
        (tensors_bytes({"a": 3}, FLOAT), "tensor 'a': its entry"),
        (tensors_bytes({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, FLOAT), "overlap"),
        (tensors_bytes({"a": entry("F32", [1], 4, 8)}, FLOAT * 2), "leave a hole"),
        (tensors_bytes({"a": entry("F32", [1], 0, 4)}, FLOAT * 2), "cut short or padded"),
        (tensors_bytes({"a": entry("F32", [2], 0, 8)}, FLOAT), "cut short or padded"),
    ],
)
def test_a_malformed_table_is_refused_by_the_tensors_name(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    assert words in refused(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_values_that_are_not_finite_are_neither_written_nor_loaded(
    value: float, dtype: type, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    bad = np.array([0, value], dtype)
    with pytest.raises(WeightsError, match=r"a\.safetensors: tensor 'bad' holds NaN or infinity"):
        save_safetensors(path, HEADER, {"bad": bad})
    assert not path.exists()
    code = {np.float32: "F32", np.float16: "F16"}[dtype]
    path.write_bytes(tensors_bytes({"bad": entry(code, [2], 0, bad.nbytes)}, bad.tobytes()))
    with pytest.raises(WeightsError, match=r"a\.safetensors: tensor 'bad' holds NaN or infinity"):
        load_tensors(open_weights(path))


def test_tensors_must_be_exactly_those_that_the_network_expects() -> None:
    path = Path("w.safetensors")
    expected = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float32)}

    def check(change: dict[str, Any], without: str = "") -> None:
        check_tensors({k: v for k, v in {**expected, **change}.items() if k != without}, expected, path)

    check({})
    with pytest.raises(WeightsError, match=r"w\.safetensors: tensor 'a' missing"):
        check({}, without="a")
    with pytest.raises(WeightsError, match=r"w\.safetensors: tensor 'c' unknown"):
        check({"c": np.zeros(1, np.float32)})
    with pytest.raises(WeightsError, match=r"tensor 'a' missing"):
        check({"module.a": expected["a"]}, without="a")
    with pytest.raises(WeightsError, match=r"tensor 'a' has shape \(3, 2\); the network expects \(2, 3\)"):
        check({"a": expected["a"].T})
    with pytest.raises(WeightsError, match="tensor 'b' is int64; the network expects float32"):
        check({"b": np.zeros(4, np.int64)})


def test_an_onnx_file_gives_no_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx_bytes())
    with pytest.raises(WeightsError, match=r"a\.onnx: an ONNX graph runs but cannot be trained on"):
        load_tensors(open_weights(path))


# ONNX files that would reach outside


def external(tensor: Any, file: Path) -> None:
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(file))


def in_initializer(model: Any, file: Path) -> None:
    external(model.graph.initializer[0], file)


def in_constant(model: Any, file: Path) -> None:
    constant = helper.make_node(
        "Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    )
    external(constant.attribute[0].t, file)
    model.graph.node.append(constant)


def in_branch(model: Any, file: Path) -> None:
    branch = onnx.GraphProto(name="branch", initializer=model.graph.initializer)
    external(branch.initializer[0], file)
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))


def in_function(model: Any, file: Path) -> None:
    constant = helper.make_node(
        "Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    )
    external(constant.attribute[0].t, file)
    model.functions.append(
        helper.make_function("", "F", [], ["c"], [constant], [helper.make_opsetid("", 18)])
    )


def in_sparse(model: Any, file: Path) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name = "sparse"
    external(sparse.values, file)


def foreign_operator(model: Any, file: Path) -> None:
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))
    model.graph.node.append(helper.make_node("Run", ["dark"], ["y"], domain="evil.ops"))


def machine_code(model: Any, file: Path) -> None:
    node = helper.make_node("EPContext", ["dark"], ["y"], domain="com.microsoft", ep_cache_context=str(file))
    model.graph.node.append(node)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_initializer, "tensors in another file"),
        (in_constant, "tensors in another file"),
        (in_branch, "tensors in another file"),
        (in_function, "tensors in another file"),
        (in_sparse, "tensors in another file"),
        (foreign_operator, "foreign operators (evil.ops)"),
        (machine_code, "foreign operators (com.microsoft)"),
    ],
)
def test_a_graph_that_names_another_file_is_refused(
    change: Callable[[Any, Path], None], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(onnx_bytes(lambda model: change(model, tmp_path / "secret")))
    assert words in refused(path)


def test_metadata_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    extra = onnx.ModelProto()  # joined to another, its fields add to it: so protobuf has it
    extra.metadata_props.add(key=HEADER_KEY, value="{}")
    path.write_bytes(onnx_bytes() + extra.SerializeToString())
    assert "the metadata 'lowlight' stands twice" in refused(path)


# Writing


@pytest.mark.slow
def test_processes_that_write_one_file_at_once_leave_a_whole_one(tmp_path: Path) -> None:
    program = (
        "import sys; import numpy as np; from pathlib import Path; from lowlight.weights import *\n"
        "header = Header(name='tiny', method='dimma', config={}, licence='CC0')\n"
        "for n in range(20): save_safetensors(Path('a.safetensors'), header, {'n': np.full(9999, n, np.float32)})"
    )
    command = [sys.executable, "-c", program]
    writers = [subprocess.Popen(command, cwd=tmp_path) for _ in range(2)]
    opened: list[Weights] = []
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "a.safetensors").exists():
            opened.append(open_weights(tmp_path / "a.safetensors"))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert opened
    assert load_tensors(open_weights(tmp_path / "a.safetensors"))["n"].max() == 19
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
