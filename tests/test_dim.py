"""``lowlight dim``: dark twins of photos, by a dimmer's file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lowlight
from lowlight import cli, places
from lowlight.methods.dimma.dimmer import Dimmer, save_dimmer
from lowlight.weights import cache_folder, open_weights

DIMMER = Path(__file__).parent / "fixtures" / "dimma" / "dimmer_3shot.npz"
DOCS = Path(__file__).parents[1] / "docs"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The authors' dimmer of three pairs, under a name; photos to dim lie in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))
    tensors = dict(np.load(DIMMER))
    dimmer = Dimmer.from_arrays(tensors, tensors.pop("mean"), tensors.pop("std"), form="first")
    save_dimmer(cache_folder() / "camera.safetensors", dimmer, name="camera", licence="MIT")
    for index, name in enumerate(["a.png", "photos/b.png", "photos/deep/c.png"]):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(index).integers(60, 256, (30, 40, 3), np.uint8)
        Image.fromarray(values).save(name)
    return "camera"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lowlight", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return run


def pixels(name: str | Path) -> np.ndarray:
    return np.asarray(Image.open(name))


def test_a_photo_gets_its_dark_twin_beside_it(call: Call) -> None:
    status, out, err = call("dim", "a.png", "--model", "camera", "--seed", "4")
    assert (status, err) == (0, "")
    assert out.startswith("a.png: a.dimmed.png (lightness 0.6")
    dimmer = lowlight.load_dimmer("camera")
    assert np.array_equal(pixels("a.dimmed.png"), dimmer.dim(pixels("a.png"), seed=4))
    assert pixels("a.dimmed.png").mean() < 0.4 * pixels("a.png").mean()
    assert (
        call("dim", "a.png", "--model", "camera", "--seed", "4")[1] == "a.png: a.dimmed.png (done already)\n"
    )


def test_options_reach_the_twin(call: Call) -> None:
    options = ["--factor", "0.5", "--temperature", "0.25", "--seed", "7", "--memory", "1GB", "--jobs", "1"]
    status, out, _ = call("dim", "a.png", "-o", "out.png", "--model", "camera", "--json", *options)
    assert status == 0
    record = json.loads(out)
    assert record["controls"] == {"factor": 0.5, "temperature": 0.25, "seed": 7}
    assert record["lightness_after"] == pytest.approx(pixels("out.png").mean() / 255, abs=1e-4)
    expected = lowlight.load_dimmer("camera").dim(pixels("a.png"), factor=0.5, temperature=0.25, seed=7)
    assert np.array_equal(pixels("out.png"), expected)


def test_a_folder_keeps_its_tree_and_twins_are_not_dimmed_again(call: Call) -> None:
    assert call("dim", "photos", "--model", "camera", "-o", "dark")[0] == 0
    twins = sorted(str(path) for path in Path("dark").rglob("*.png"))
    assert twins == ["dark/b.png", "dark/deep/c.png"]
    assert not np.array_equal(pixels(twins[0]) > 20, pixels(twins[1]) > 20), (
        "photos must not share their noise"
    )
    for _ in range(2):
        assert call("dim", "photos", "--model", "camera")[0] == 0
        assert len(list(Path("photos").rglob("*.png"))) == 4
    Image.fromarray(pixels("a.png")).save("photos/x.enhanced.png")
    assert "x.enhanced.png" in call("dim", "photos", "--model", "camera")[1], "a result of enhance is a photo"


def test_originals_and_other_twins_are_kept(call: Call) -> None:
    before = Path("a.png").read_bytes()
    assert call("dim", "a.png", "--model", "camera", "-o", "a.png")[0] == 2
    assert call("dim", "a.png", "--model", "camera")[0] == 0
    status, _, err = call("dim", "a.png", "--model", "camera", "--factor", "2")
    assert status == 1
    assert "was made with other controls; --overwrite replaces it" in err
    assert call("dim", "a.png", "--model", "camera", "--factor", "2", "--overwrite")[0] == 0
    assert Path("a.png").read_bytes() == before


def test_grey_stays_grey_and_depth_stays(call: Call) -> None:
    deep = np.random.default_rng(0).integers(9000, 65536, (20, 30), np.uint16)
    Image.fromarray(deep).save("grey.png")
    assert call("dim", "grey.png", "--model", "camera")[0] == 0
    twin = pixels("grey.dimmed.png")
    assert (twin.shape, twin.dtype) == (deep.shape, np.uint16)
    assert 0 < twin.mean() < 0.4 * deep.mean()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dim", "a.png", "--model", "camera", "--factor", "0.1"], "greater than or equal to 0.3"),
        (["dim", "a.png", "--model", "dimma"], "expected a dimmer, found a network that enhances photos"),
        (
            ["dim", "a.png", "--model", "nobody"],
            "no dimmer is called 'nobody'; dimmers by name: lol-480, camera\n",
        ),
        (["dim", "a.png", "--model", "nobody.safetensors"], "nobody.safetensors: no such weights file"),
        (
            ["enhance", "a.png", "--model", "camera"],
            "expected a network that enhances photos, found a dimmer",
        ),
        (["export", "cache/camera.safetensors", "-o", "c.onnx"], "found a dimmer"),
    ],
)
def test_what_does_not_fit_is_one_line(call: Call, arguments: list[str], said: str) -> None:
    status, out, err = call(*arguments)
    assert (status > 0, out) == (True, "")
    assert said in err
    assert not Path("a.dimmed.png").exists()


def test_without_a_model_the_camera_that_ships_dims(call: Call) -> None:
    Image.new("RGB", (60, 40), (0, 120, 200)).save("sky.png")
    assert call("dim", "a.png", "sky.png", "--seed", "2")[0] == 0
    dimmer = lowlight.load_dimmer(places.CAMERA)
    assert np.array_equal(pixels("a.dimmed.png"), dimmer.dim(pixels("a.png"), seed=2))
    assert pixels("sky.dimmed.png")[..., 2].mean() > 3, "pixels without red keep their light"
    # It is the authors', under their licence.
    released = dict(np.load(DIMMER.with_name("dimmer_480shot.npz")))
    for name, values in (dimmer.tensors | dimmer.arrays).items():
        assert np.array_equal(values, released[name].astype(np.float32)), name
    opened = open_weights(places.CAMERA)
    assert opened.path.parent.name == "shipped"
    assert opened.header.licence == "MIT, Copyright (c) 2023 WojciechKoz"
    notice = opened.path.with_name("lol-480.NOTICE.txt").read_text()
    assert "Copyright (c) 2023 WojciechKoz" in notice
    assert "The above copyright notice and this permission notice shall be included" in notice
    assert opened.sha256 in (DOCS / "models.md").read_text()


def test_a_dimmer_describes_itself(call: Call) -> None:
    assert json.loads(call("info", "camera", "--json")[1])["part"] == "dimmer"
    listed = call("models")[1]
    assert "camera\n  method: dimma\n  part: dimmer\n" in listed
    assert listed.count("part:") == 2


@pytest.mark.slow
def test_dimming_imports_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lowlight", "dim", "a.png", "--model", "camera"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "numpy" in imported
    assert not imported & {"torch", "onnxruntime"}
