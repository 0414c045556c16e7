"""Published checkpoints become weights files that give the authors' pictures, or are refused by a tensor's name."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fill
import lowlight
from dimma_numbers import FIXTURES, tensors
from lowlight import checkpoints, cli, methods
from lowlight.engines.torch import TorchEngine, load_network
from lowlight.errors import ControlError, EngineError, WeightsError
from lowlight.importing import import_checkpoint, recognise
from lowlight.methods.dimma import Config, Dimma
from lowlight.methods.dimma.dimmer import Dimmer, load_dimmer
from lowlight.methods.dimma.published import derive_config
from lowlight.methods.dimma.retinex import mean_lightness
from lowlight.weights import load_tensors, open_weights
from released import lightning, state, training_loss, write_dimmer

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = Config(body="published", widths=(32, 32), blocks=(1,), attention_head=16)
SETTINGS = {"name": "mdn-mixhq-3shot", "model": {"head": "sig_dim", "attention_head_dim": 16}}


@lru_cache
def tiny() -> dict[str, Tensor]:
    """The tensors of a small checkpoint. To be read alone."""
    return state(TINY)


@lru_cache
def written() -> bytes:
    stream = io.BytesIO()
    torch.save(lightning(tiny() | training_loss(), **SETTINGS), stream)
    return stream.getvalue()


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A small checkpoint as Lightning wrote it."""
    path = tmp_path / "official.ckpt"
    path.write_bytes(written())
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights file."""
    folder = tmp_path_factory.mktemp("imported")
    torch.save(lightning(tiny(), **SETTINGS), folder / "official.ckpt")
    import_checkpoint(folder / "official.ckpt", folder / "tiny.safetensors")
    return folder / "tiny.safetensors"


def refused(source: Path, **options: Any) -> str:
    out = source.with_name("refused.safetensors")
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(source, out, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert source.name in text
    assert not out.exists()
    return text


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["lowlight", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


# Round trips

ODD = [
    # widths, blocks, head, attention_head, norm_groups
    ((32, 64), (1,), "sig_dim", 64, 32),
    ((64, 32), (2,), "dim", 8, 32),
    ((32, 96, 64), (1,), "retinex", 32, 32),
    ((32, 32, 32, 32), (1,), "HE", 16, 32),
    ((8, 16), (3,), "normal", 4, 4),
    ((2, 6), (1,), "retinex", 3, 1),
    ((4, 4, 4, 4, 4), (1,), "sig_dim", 4, 2),
]


@pytest.mark.parametrize(
    ("widths", "blocks", "head", "attention", "groups", "older"),
    [
        pytest.param(
            *sizes,
            older,
            marks=[pytest.mark.slow] if max(sizes[0]) > 16 or (len(sizes[0]) > 4 and not older) else [],
        )
        for sizes in ODD
        for older in (True, False)
    ],
)
def test_any_size_comes_back_from_shapes_and_settings(
    widths: Any, blocks: Any, head: Any, attention: int, groups: int, older: bool, tmp_path: Path
) -> None:
    config = Config(
        body="published",
        widths=widths,
        blocks=blocks,
        head=head,
        attention_head=attention,
        norm_groups=groups,
    )
    given, out = state(config, older=older), tmp_path / "out.safetensors"
    told = {"head": head, "attention_head_dim": attention}
    torch.save(lightning(given, model=told), tmp_path / "a.ckpt")
    sets = {} if groups == 32 else {"norm_groups": str(groups)}
    weights = import_checkpoint(tmp_path / "a.ckpt", out, sets=sets)
    assert Config.model_validate(weights.header.config) == config
    found = load_network(weights).state_dict()
    today = state(config, older=False)
    assert found.keys() == today.keys()
    for name, tensor in given.items():
        assert torch.equal(found[methods.room("dimma", "published").rename(name)], tensor), name


@pytest.mark.parametrize("kind", ["plain", "older form", "module", "half", "double", "bfloat16"])
def test_every_way_of_saving_gives_the_same_network(kind: str, official: Path, tmp_path: Path) -> None:
    dtype = {"half": torch.float16, "double": torch.float64, "bfloat16": torch.bfloat16}.get(
        kind, torch.float32
    )
    prefix = "module." if kind == "module" else ""
    given = {f"{prefix}{name}": tensor.to(dtype) for name, tensor in tiny().items()}
    torch.save(given, tmp_path / "a.pth", _use_new_zipfile_serialization=kind != "older form")
    sets = {"attention_head": "16"}
    found = load_tensors(import_checkpoint(tmp_path / "a.pth", tmp_path / "a.safetensors", sets=sets))
    expected = load_tensors(import_checkpoint(official, tmp_path / "b.safetensors"))
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == np.float32
        rounded = torch.from_numpy(expected[name].copy()).to(dtype).float().numpy()
        assert np.array_equal(tensor, rounded), name


def test_the_header_tells_where_it_comes_from(official: Path, tmp_path: Path) -> None:
    header = import_checkpoint(official, tmp_path / "mine.safetensors").header
    assert (header.name, header.method, header.part) == ("mine", "dimma", "")
    assert "not stated for the weights" in header.licence
    assert "2310.09633" in header.data[0]
    assert "mdn-mixhq-3shot" in header.data[1]
    assert header.recipe == {"imported": {"sha256": checkpoints.read_checkpoint(official).hashes}}
    assert "left out: 14 tensors of the training's loss (ssim_loss)" in header.notes
    assert not any("does not tell" in note for note in header.notes)


def test_what_a_file_does_not_tell_is_said_and_can_be_told(tmp_path: Path) -> None:
    torch.save(state(TINY.model_copy(update={"widths": (64, 64)})), tmp_path / "a.pth")
    header = import_checkpoint(tmp_path / "a.pth", tmp_path / "a.safetensors").header
    assert (header.config["head"], header.config["attention_head"]) == ("sig_dim", 64)
    told = [note for note in header.notes if "does not tell" in note]
    assert [note.partition("--set ")[2].partition("=")[0] for note in told] == ["head", "attention_head"]
    sets = {"head": "HE", "attention_head": "32"}
    header = import_checkpoint(tmp_path / "a.pth", tmp_path / "b.safetensors", sets=sets).header
    assert (header.config["head"], header.config["attention_head"]) == ("HE", 32)
    assert header.recipe["imported"]["set"] == sets
    assert not any("does not tell" in note for note in header.notes)


def test_the_authors_small_file_lacks_most_tensors() -> None:
    part = FIXTURES / "lightning_part.ckpt"
    found = checkpoints.read_checkpoint(part)
    assert recognise(found.tensors, part) == "dimma"
    with pytest.raises(WeightsError, match=r"lightning_part\.ckpt: tensors? '?\S+ .*missing"):
        import_checkpoint(part, Path("never.safetensors"))
    told = {"model": {"head": "HE", "attention_head_dim": 16}}
    whole = {name: each.numpy() for name, each in tiny().items()}
    assert derive_config(whole, told) == TINY.model_copy(update={"head": "HE"})


# Refusals


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda given: given.pop(name)


def with_(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda given: given.update({name: value})


QUERY = "backbone.mid_block.attentions.0.query.weight"
CONV = "backbone.conv_in.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("backbone.conv_norm_out.weight"), "tensor 'backbone.conv_norm_out.weight' missing"),
        (without("backbone.conv_out.weight"), "tensor 'backbone.conv_out.weight' is missing"),
        (without(QUERY), "'backbone.mid_block.attentions.0.query.weight' missing"),
        (with_("backbone.stranger", torch.ones(1)), "tensor 'backbone.stranger' unknown"),
        (with_("ema.conv_in.weight", torch.ones(1)), "tensor 'ema.conv_in.weight' unknown"),
        (with_("ssim_loss.stranger", torch.ones(1)), "tensor 'ssim_loss.stranger' unknown"),
        (with_(QUERY.replace("query", "to_q"), torch.ones(32, 32)), "both older and today's names"[5:]),
        (with_("backbone.conv_in.bias", torch.ones(31)), "'backbone.conv_in.bias' has shape (31,); the network expects (32,)"),
        (with_(CONV, torch.ones(32, 6, 3, 3)), "has shape (32, 6, 3, 3); the network expects (32, 10, 3, 3)"),
        (with_("backbone.conv_in.bias", torch.ones(32, dtype=torch.int64)), "is int64; the network expects float32"),
        (with_("backbone.conv_in.bias", torch.full((32,), torch.nan)), "'backbone.conv_in.bias' holds NaN or infinity"),
        (with_("backbone.conv_in.bias", torch.full((32,), 1e300, dtype=torch.float64)), "holds NaN or infinity"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)  # fmt: skip
def test_tensors_are_refused_by_name(
    change: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = dict(tiny())
    change(given)
    torch.save(lightning(given, **SETTINGS), tmp_path / "a.ckpt")
    assert words in refused(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"head": "loud"}, "its settings have head 'loud'; expected sig_dim, dim"),
        ({"head": ["sig_dim"]}, "its settings have head"),
        ({"attention_head_dim": "many"}, "attention_head_dim 'many'; expected a whole number"),
        ({"attention_head_dim": 5}, "attention_head: 5 does not divide"),
        ({"head": "retinex"}, "has shape (3, 32, 3, 3); the network expects (4, 32, 3, 3)"),
    ],
    ids=str,
)
def test_settings_of_another_network_are_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    model = {"head": "sig_dim", "attention_head_dim": 16} | settings
    torch.save(lightning(tiny(), model=model), tmp_path / "a.ckpt")
    assert words in refused(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ({"widths": "8"}, "--set widths: no such key; there are: head, norm_groups, attention_head"),
        ({"head": "loud"}, "--set head=loud: "),
        ({"norm_groups": "many"}, "--set norm_groups=many: "),
        (
            {"norm_groups": "7"},
            "norm_groups: 7 does not divide the 32 channels of a level; --set tells: head, ",
        ),
        ({"norm_groups": "0"}, "--set norm_groups=0: "),
        ({"attention_head": "-1"}, "--set attention_head=-1: "),
    ],
    ids=str,
)
def test_what_is_told_wrong_is_refused(sets: dict[str, str], words: str, official: Path) -> None:
    assert words in refused(official, sets=sets)


def test_settings_that_are_no_table_tell_nothing(tmp_path: Path) -> None:
    for settings in ("text", ["list"], {"model": "unet", "name": 3}):
        value = lightning(tiny()) | {"hyper_parameters": settings}
        torch.save(value, tmp_path / "a.ckpt")
        weights = import_checkpoint(
            tmp_path / "a.ckpt", tmp_path / "a.safetensors", sets={"attention_head": "16"}
        )
        assert weights.header.config["head"] == "sig_dim"


def test_a_checkpoint_of_nobody_is_told_by_its_names(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.ones(2), "layer.bias": torch.ones(2)}, tmp_path / "a.pth")
    text = refused(tmp_path / "a.pth")
    assert "expected a published checkpoint of dimma" in text
    assert "found 2 tensors ('layer.bias', 'layer.weight', ...)" in text
    assert "expected a published checkpoint of dimma; " in refused(tmp_path / "a.pth", method="dimma")


# The command


def test_the_command_imports_tells_and_never_overwrites(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models" / "night.safetensors"
    assert command(monkeypatch, "import", official, "-o", out) == 0
    stdout, stderr = capfd.readouterr()
    assert stdout == f"{out}\n"
    assert "dimma, licence: not stated for the weights" in stderr
    before = out.read_bytes()
    assert command(monkeypatch, "import", official, "-o", out) == 2
    assert "exists; --overwrite replaces it" in capfd.readouterr().err
    assert command(monkeypatch, "import", official, "-o", out, "--overwrite", "--method", "dimma") == 0
    assert out.read_bytes() == before, "the same checkpoint gives the same bytes"
    assert [path.name for path in out.parent.iterdir()] == ["night.safetensors"]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["official.ckpt", "-o", "a.onnx"], 2, "expected a name that ends in .safetensors"),
        (["official.ckpt", "-o", "a.safetensors", "--set", "head"], 2, "'head': expected NAME=VALUE"),
        (["official.ckpt", "-o", "a.safetensors", "--set", "a=1", "--set", "a=2"], 2, "a is given twice"),
        (["official.ckpt", "-o", "a.safetensors", "--method", "night"], 2, "no method is called 'night'; there are: dimma"),
        (["official.ckpt", "-o", "a.safetensors", "--set", "gamma=1"], 1, "--set gamma: no such key"),
        (["missing.ckpt", "-o", "a.safetensors"], 1, "missing.ckpt: expected a checkpoint, found no such file"),
        (["text.ckpt", "-o", "a.safetensors"], 1, "text.ckpt: expected a PyTorch checkpoint"),
        (["official.ckpt", "-o", "text.ckpt/a.safetensors"], 1, "a.safetensors: cannot be written"),
        (["official.ckpt", "-o", "/proc/a.safetensors"], 1, "a.safetensors: cannot be written"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)  # fmt: skip
def test_wrong_use_is_one_line(
    words: list[str],
    status: int,
    told: str,
    official: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(official.parent)
    Path("text.ckpt").write_text("these are no weights")
    assert command(monkeypatch, "import", *words) == status
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    assert told in stderr
    assert stderr.count("\n") == 1
    assert not Path("a.safetensors").exists()


def test_a_file_replaced_after_it_was_read_changes_nothing(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = import_checkpoint(official, tmp_path / "a.safetensors").sha256
    read = checkpoints._read

    def then_replaced(path: Path) -> bytes:
        data = read(path)
        path.write_bytes(bytes(len(data)))
        return data

    monkeypatch.setattr(checkpoints, "_read", then_replaced)
    assert import_checkpoint(official, tmp_path / "again" / "a.safetensors").sha256 == expected


@pytest.mark.slow
def test_processes_that_import_one_file_at_once(official: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "lowlight", "import", str(official), "-o", "out.safetensors", "--overwrite"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen(line, cwd=tmp_path, env=environment) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    load_network(open_weights(tmp_path / "out.safetensors"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["official.ckpt", "out.safetensors"]


# As released


def dark(height: int, width: int) -> np.ndarray:
    return np.rint(255 * fill.photo("dark", height, width, high=0.3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (7, 50), (33, 16)])
def test_imported_weights_enhance_a_photo_of_any_size(imported: Path, size: tuple[int, int]) -> None:
    picture = dark(*size)
    result = lowlight.load(imported, threads=1)(picture, lightness=0.4)
    assert result.shape == picture.shape
    assert result.mean() / 255 == pytest.approx(0.4, abs=0.005)


def test_as_released_is_the_network_alone_told_in_whole_steps(imported: Path) -> None:
    enhancer = lowlight.load(imported, threads=1)
    picture = dark(24, 32)
    network = load_network(open_weights(imported))
    assert isinstance(enhancer.method, Dimma)
    found = []
    for lightness in (0.4, 0.4 + 3e-4):
        source = mean_lightness(picture)
        steps = np.trunc(1000 * (np.float32(lightness) - np.float32(source)))
        observation = enhancer.method.observe(picture, enhancer.controls(lightness=lightness, published=True))
        whole = dict(observation, lightness=np.float32(source + steps / 1000) * np.ones((), np.float32))
        whole["published"] = np.zeros((), np.float32)
        expected = TorchEngine(network, threads=1).run(picture.astype(np.float32) / 255, whole)
        found.append(enhancer(picture, lightness=lightness, published=True))
        assert np.abs(found[-1] - 255 * expected).max() < 0.51
        exact = enhancer(picture, lightness=lightness)
        assert exact.mean() / 255 == pytest.approx(lightness, abs=0.005)
        assert abs(found[-1].mean() / 255 - lightness) > 0.02, (
            "this network misses: else this would show nothing"
        )


def test_as_released_is_for_the_authors_networks_alone() -> None:
    controls = Dimma.Controls(published=True)
    with pytest.raises(ControlError, match="control published = True: this network is not the authors'"):
        Dimma(Dimma.tiny_config(), {}).observe(dark(8, 8), controls)
    with pytest.raises(ControlError, match="published = 'maybe': expected true or false"):
        methods.parse_controls(Dimma, {"published": "maybe"})


def test_the_command_enhances_with_imported_weights(
    imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lowlight.cli.enhance.cores", lambda: 1)  # threads of torch that wait for each other
    Image.fromarray(dark(21, 30)).save("dark.png")
    line = ["enhance", "dark.png", "--model", imported, "--lightness", "0.4"]
    assert command(monkeypatch, *line, "-o", "a.png") == 0
    assert command(monkeypatch, *line, "-o", "b.png", "--control", "published=true") == 0
    a, b = (np.asarray(Image.open(f"{name}.png"), float) for name in "ab")
    assert a.mean() / 255 == pytest.approx(0.4, abs=0.005)
    assert np.abs(a - b).max() > 5
    capfd.readouterr()
    assert command(monkeypatch, *line, "-o", "c.png", "--engine", "onnx") == 2
    assert "tensors run with engine torch" in capfd.readouterr().err
    Image.fromarray(dark(300, 400)).save("large.png")
    assert (
        command(monkeypatch, "enhance", "large.png", "--model", imported, "--memory", "100MB", "-o", "d.png")
        == 1
    )
    told = capfd.readouterr().err
    assert "pixels need at least" in told
    assert "give more memory or a smaller photo, for this network sees it in one piece" in told


@pytest.mark.slow
def test_imported_weights_are_exported_and_the_graph_does_as_they_do(imported: Path, tmp_path: Path) -> None:
    from lowlight.training.export import export_onnx

    weights, path = open_weights(imported), tmp_path / "tiny.onnx"
    method = methods.create("dimma", weights.header.config, weights.arrays)
    export_onnx(load_network(weights), method, weights.header, path)
    for published in (False, True):
        results = [
            lowlight.load(each, threads=1)(dark(21, 30), lightness=0.4, published=published)
            for each in (imported, path)
        ]
        assert np.abs(results[0].astype(int) - results[1].astype(int)).max() <= 1


def numbers(weights: str, folder: Path) -> tuple[Any, Any]:
    """A published network from a fixture's list, imported as if its file were at hand, and the fixture."""
    given = {f"backbone.{name}": each for name, each in tensors(weights, "backbone.").items()}
    torch.save(lightning(given | training_loss()), folder / "a.ckpt")
    imported = import_checkpoint(folder / "a.ckpt", folder / "a.safetensors")
    (folder / "a.ckpt").unlink()
    return imported, dict(np.load(FIXTURES / "unet.npz"))


@pytest.mark.slow
def test_the_published_network_gives_the_authors_picture(tmp_path: Path) -> None:
    weights, fixture = numbers("weights.json", tmp_path)
    assert weights.header.config["widths"] == [64, 128, 256, 384]
    enhancer = lowlight.load(weights.path, threads=1)
    lightness = float(fixture["reference_target_lightness"])
    controls = enhancer.controls(lightness=lightness, published=True)
    observation = enhancer.method.observe(fixture["dark"], controls)
    assert observation["source_lightness"] == pytest.approx(fixture["reference_source_lightness"], abs=1e-7)
    # In float64: how convolutions round in float32 depends on the processor, and takes all of the tolerance.
    network = load_network(weights).double()
    dark = torch.from_numpy(fixture["dark"].transpose(2, 0, 1)[None] / 255)
    given = {name: torch.from_numpy(np.array(each)[None]).double() for name, each in observation.items()}
    with torch.inference_mode():
        found = network(dark, **given)[0].numpy().transpose(1, 2, 0)
    expected = fixture["output_test_protocol"].transpose(1, 2, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6)
    picture = enhancer(fixture["dark"], lightness=lightness, published=True)
    assert np.abs(picture - 255 * expected).max() < 0.51


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "part", "widths"),
    [
        ("weights_small.json", "small_raw", [64, 96, 128, 192]),
        ("weights_today.json", "today_raw", [64, 128, 256, 384]),
    ],
)
def test_the_small_network_and_names_of_today(
    weights: str, part: str, widths: list[int], tmp_path: Path
) -> None:
    opened, fixture = numbers(weights, tmp_path)
    assert opened.header.config["widths"] == widths
    network: Any = load_network(opened).eval()
    x = torch.from_numpy(fixture["image"]).repeat(2, 1, 1, 1)
    with torch.inference_mode():
        raw = network.backbone(x, torch.from_numpy(fixture["timestep"][:2]))
    np.testing.assert_allclose(raw.numpy(), fixture[part], rtol=0, atol=2e-5)


# Dimmers


def test_a_dimmers_folder_becomes_a_dimmer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given, out = write_dimmer(tmp_path / "3shot"), tmp_path / "camera.safetensors"
    assert command(monkeypatch, "import", tmp_path / "3shot", "-o", out) == 0
    assert "dimma dimmer, licence: MIT, Copyright (c) 2023 WojciechKoz" in capfd.readouterr().err
    found = load_dimmer(out)
    assert found.config.form == "first"
    statistics = {name: given.pop(name) for name in ("mean", "std")}
    expected = Dimmer.from_arrays(given, **statistics, form="first")
    light = np.rint(255 * fill.photo("light", 20, 30)).astype(np.uint8)
    assert np.array_equal(found.dim(light, seed=3), expected.dim(light, seed=3))
    assert out.name in str(open_weights(out).path)
    assert set(open_weights(out).header.recipe["imported"]["sha256"]) == {"mdn.pt", "mean.npy", "std.npy"}
    with pytest.raises((WeightsError, EngineError)):
        lowlight.load(out)


def test_the_authors_dimmers_keep_their_numbers(tmp_path: Path) -> None:
    fixture = dict(np.load(FIXTURES / "dimmer_3shot.npz"))
    folder = tmp_path / "3shot"
    folder.mkdir()
    layers = {name: torch.from_numpy(fixture[name]) for name in fixture if name not in ("mean", "std")}
    torch.save(layers, folder / "mdn.pt")
    for name in ("mean", "std"):
        np.save(folder / f"{name}.npy", fixture[name])
    import_checkpoint(folder, tmp_path / "a.safetensors")
    found = load_dimmer(tmp_path / "a.safetensors")
    for name, tensor in layers.items():
        assert np.array_equal(found.tensors[name], tensor.numpy())
    for name in ("mean", "std"):
        assert np.array_equal(found.arrays[name], fixture[name].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "mean.npy").unlink(), "a dimmer without mean.npy; expected its folder"),
        (lambda folder: np.save(folder / "std.npy", np.ones(255)), "std: expected 256 numbers"),
        (lambda folder: np.save(folder / "std.npy", np.full(256, np.nan)), "std: expected 256 numbers"),
        (lambda folder: np.save(folder / "extra.npy", np.ones(1)), "tensor 'extra' unknown"),
        (lambda folder: np.save(folder / "mean.npy", np.array(["a"] * 256)), "mean.npy: expected numbers"),
    ],
)
def test_a_dimmers_folder_must_be_whole(change: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    write_dimmer(tmp_path / "3shot")
    change(tmp_path / "3shot")
    assert words in refused(tmp_path / "3shot")
