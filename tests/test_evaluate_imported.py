"""Authors' networks under `lowlight evaluate`: presets give the numbers that their own scripts print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fill
import llflow_numbers
import pictures
from lowlight import load
from lowlight.evaluation.metrics import METRICS, Picture
from lowlight.evaluation.protocols import PROTOCOLS
from lowlight.importing import import_checkpoint
from lowlight.methods.dimma import Config
from lowlight.methods.dimma.retinex import mean_lightness
from released import lightning, state

pytestmark = pytest.mark.usefixtures("one_thread")
Command = Callable[..., tuple[int, str, str]]

TEST = {"psnr": 9.152332981234698, "ssim_llflow": 0.053793066490139485, "ssim_uniform_rgb": 0.010181780496453}
"""What LLFlow's ``test.py`` gives for the fixture's photo, whose result leaves [0, 1] far: PSNR, SSIM, SSIM of colour."""
GAIN = 0.5086849927902222 / 0.688453972339630
LOGS = {"psnr": 9.652636328701343, "ssim": 0.10180988907814026}
"""What its validation logs."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def save(path: str, samples: np.ndarray) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(samples).save(path)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported checkpoint of LLFlow."""
    folder = tmp_path_factory.mktemp("imported")
    weights = fill.checkpoint(llflow_numbers.FIXTURES / "weights.json")
    torch.save({key: torch.from_numpy(each) for key, each in weights.items()}, folder / "official.pth")
    import_checkpoint(folder / "official.pth", folder / "llflow.safetensors")
    return folder / "llflow.safetensors"


@pytest.fixture
def llflow(place: Path, imported: Path) -> list[str]:
    """Arguments that name an imported checkpoint and its photo."""
    Path("llflow.safetensors").symlink_to(imported)
    pair = llflow_numbers.numbers("input")
    save("low/street.png", pair["dark"])
    save("high/street.png", pair["reference"])
    return ["evaluate", "llflow.safetensors", "--low", "low", "--reference", "high"]


@pytest.mark.slow
def test_llflows_test_to_the_digit(lowlight: Command, llflow: list[str]) -> None:
    """PSNR within 1e-4 dB and SSIM within 1e-5 of what it prints, through the command and on its own result."""
    status, out, err = lowlight(*llflow, "--preset", "paper-llflow", "--json")
    assert status == 0
    report = json.loads(out)
    found = {each["metric"]: each["mean"] for each in report["columns"]}
    assert report["photos"][0]["gains"]["gtmean_llflow"] == pytest.approx(GAIN, abs=1e-6)
    assert report["system"]["saved"].endswith("floats as the network gives them, not clipped")
    assert "unclipped floats, and files hold clipped ones" not in err
    raw = np.moveaxis(llflow_numbers.numbers("inverse")["enhanced"], 0, -1)
    reference = Picture.of_samples(llflow_numbers.numbers("input")["reference"])
    own, _ = PROTOCOLS["gtmean_llflow"].apply(Picture.of_raw(raw), reference)
    for name, wanted in TEST.items():
        tolerance = 1e-4 if name == "psnr" else 1e-5
        assert found[name] == pytest.approx(wanted, abs=tolerance)
        assert METRICS[name](own, reference) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.slow
def test_llflows_validation_and_where_its_ssim_is_from(lowlight: Command, llflow: list[str]) -> None:
    """PSNR is of the gained floats, SSIM of the clipped ones before the gain: of the saved file, to 2e-5."""
    asked = ("--metrics", "psnr_float,ssim_llflow_val", "--json")
    status, out, _ = lowlight(*llflow, "--protocol", "gtmean_llflow_val", *asked, "-o", "report")
    assert status == 0
    report = json.loads(out)
    assert report["columns"][0]["mean"] == pytest.approx(LOGS["psnr"], abs=1e-4)
    assert (
        "SSIM of LLFlow's logs is of the clipped result before the gain" in report["protocols"].popitem()[1]
    )
    arguments = ("report/results", "--reference", "high", "--protocol", "raw")
    status, out, _ = lowlight("evaluate", *arguments, *asked)
    assert status == 0
    assert json.loads(out)["columns"][1]["mean"] == pytest.approx(LOGS["ssim"], abs=2e-5)


@pytest.mark.slow
def test_its_front_end_for_photos_without_reference_truncates_and_is_said_to(
    lowlight: Command, llflow: list[str]
) -> None:
    asked = ("--protocol", "raw", "--metrics", "psnr_float,psnr", "--control", "published=true")
    status, out, _ = lowlight(*llflow, *asked, "--json", "-o", "report")
    assert status == 0
    assert json.loads(out)["system"]["saved"].startswith("truncated to 8 bits as users get it")
    users = load("llflow.safetensors", threads=1)(llflow_numbers.numbers("input")["dark"], published=True)
    np.testing.assert_array_equal(np.asarray(Image.open("report/results/street.png")), users)


def test_dimma_is_told_whole_steps_and_its_result_left_alone(lowlight: Command, place: Path) -> None:
    settings: dict[str, Any] = {"name": "mdn", "model": {"head": "sig_dim", "attention_head_dim": 16}}
    tiny = Config(body="published", widths=(32, 32), blocks=(1,), attention_head=16)
    torch.save(lightning(state(tiny), **settings), "official.ckpt")
    import_checkpoint(Path("official.ckpt"), Path("dimma.safetensors"))
    for seed in range(6):
        scene = pictures.scene(seed, 24, 32)
        save(f"high/{seed}.png", scene)
        save(f"low/{seed}.png", (scene * 0.2).astype(np.uint8))
    status, out, _ = lowlight(
        *("evaluate", "dimma.safetensors", "--low", "low", "--reference", "high", "--json"),
        *("--protocol", "reference_lightness_dimma", "--metrics", "psnr_float"),
        *("--control", "published=true"),
    )
    assert status == 0
    enhancer = load("dimma.safetensors", threads=1)
    for row in json.loads(out)["photos"]:
        dark, reference = (
            np.asarray(Image.open(row["files"][role]["path"])) for role in ("low", "reference")
        )
        source, target = mean_lightness(dark), reference.mean() / 255
        steps = np.trunc(1000 * (np.float32(target) - np.float32(source)))
        observation = enhancer.method.observe(dark, enhancer.controls(lightness=0.5))
        told = {
            **observation,
            "source_lightness": np.float32(source) * np.ones((), np.float32),
            "lightness": np.float32(source + steps / 1000) * np.ones((), np.float32),
        }
        raw = enhancer.engine.run(dark.astype(np.float32) / 255, told)
        wanted = METRICS["psnr_float"](Picture.of_raw(raw), Picture.of_samples(reference))
        assert row["values"]["reference_lightness_dimma.psnr_float"] == pytest.approx(wanted, abs=1e-4)
