"""LPIPS against numbers of the published code, and finding its weights."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dimma_numbers import FIXTURES, tensors
from lowlight.errors import WeightsError
from lowlight.nn import lpips_files, perceptual
from lowlight.nn.perceptual import Perceptual

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "vgg16-397923af.pth"


@pytest.fixture(scope="module")
def lpips() -> Perceptual:
    return Perceptual(tensors("weights.json", "ssim_loss."))


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    steps = np.load(FIXTURES / "steps.npz")
    return torch.from_numpy(steps["finetune/prediction"]), torch.from_numpy(steps["finetune/target"])


def test_numbers_of_the_release(lpips: Perceptual, pictures: tuple[Tensor, Tensor]) -> None:
    steps = np.load(FIXTURES / "steps.npz")
    layers = lpips.layers(*pictures)
    np.testing.assert_allclose(layers.numpy(), steps["finetune/perceptual_layers"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(layers.sum(dim=0).numpy(), steps["finetune/perceptual"], rtol=0, atol=1e-6)


def small(pictures: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pictures[0][:1, :, :32, :32], pictures[1][:1, :, :32, :32]


def test_a_distance(lpips: Perceptual, pictures: tuple[Tensor, Tensor]) -> None:
    a, b = small(pictures)
    assert lpips(a, a).item() == 0
    assert lpips(a, b).item() == pytest.approx(lpips(b, a).item(), rel=1e-6)
    assert lpips(a, b).item() > lpips(a, (3 * a + b) / 4).item() > 0


def test_gradient_reaches_the_picture_and_no_weight(
    lpips: Perceptual, pictures: tuple[Tensor, Tensor]
) -> None:
    a, b = small(pictures)
    a = a.clone().requires_grad_()
    lpips(a, b).sum().backward()
    assert a.grad is not None
    assert a.grad.abs().max() > 0
    assert all(not each.requires_grad and each.grad is None for each in lpips.parameters())


def test_gradient_is_finite_where_no_feature_is_active(pictures: tuple[Tensor, Tensor]) -> None:
    state = tensors("weights.json", "ssim_loss.")
    state["net.slice5.28.bias"] = state["net.slice5.28.bias"] - 1000
    a, b = small(pictures)
    a = a.clone().requires_grad_()
    dead = Perceptual(state)
    assert dead.layers(a, b)[4].item() == 0
    dead(a, b).sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_float32_under_autocast(lpips: Perceptual, pictures: tuple[Tensor, Tensor]) -> None:
    a, b = small(pictures)
    expected = lpips(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lpips(a, b), expected)


def test_dropout_is_the_generators(lpips: Perceptual, pictures: tuple[Tensor, Tensor]) -> None:
    a, b = small(pictures)
    draws = [lpips(a, b, torch.Generator().manual_seed(seed)).item() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] == pytest.approx(lpips(a, b).item(), rel=0.3)


# Weights


@pytest.fixture(scope="module")
def trunk(lpips: Perceptual) -> dict[str, Tensor]:
    """The trunk's tensors under torchvision's names."""
    return {key: each for key, each in lpips.state_dict().items() if key.startswith("features.")}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, with torch's cache empty and the way to the download cut."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    offer(monkeypatch, tmp_path / "nowhere" / NAME, b"")
    return tmp_path / "cache"


def offer(monkeypatch: pytest.MonkeyPatch, path: Path, data: bytes, **changes: object) -> None:
    """What the download gives, by a file: address."""
    if data:
        path.write_bytes(data)
    file = lpips_files.TRUNKS["vgg"].file
    values = {"name": file.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changes}
    trunk = lpips_files.File(**values, url=path.as_uri())  # type: ignore[arg-type]
    monkeypatch.setitem(lpips_files.TRUNKS, "vgg", replace(lpips_files.TRUNKS["vgg"], file=trunk))


def test_published_linear_weights_ship_with_lpips() -> None:
    state = perceptual.read_tensors(lpips_files.find_linear())
    assert [state[f"lin{index}.model.1.weight"].numel() for index in range(5)] == [64, 128, 256, 512, 512]
    assert all((each >= 0).all() for each in state.values()), "LPIPS' weights are not negative"


def test_files_are_looked_for_without_torch() -> None:
    program = (
        "import sys; from lowlight.nn import lpips_files; lpips_files.find_linear();"
        "sys.exit(bool({'lpips', 'torch', 'torchvision'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    "environment", [{"TORCH_HOME": "~/here"}, {"TORCH_HOME": ""}, {"XDG_CACHE_HOME": "/there"}, {}]
)
def test_torch_s_cache_is_where_torch_says(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert lpips_files.torch_cache() == Path(torch.hub.get_dir(), "checkpoints")


def test_features_alone_in_float16(cache: Path, tmp_path: Path, trunk: dict[str, Tensor]) -> None:
    cache.mkdir()
    save_file({key: each.half() for key, each in trunk.items()}, cache / lpips_files.TRUNKS["vgg"].features)
    found = perceptual.load(cache=cache)
    assert found.features[0].weight.dtype == torch.float32
    assert torch.equal(found.state_dict()["features.28.bias"], trunk["features.28.bias"].half().float())
    assert all(not each.requires_grad for each in found.parameters())


def test_explicit_file_of_torchvisions_kind(cache: Path, tmp_path: Path, trunk: dict[str, Tensor]) -> None:
    path = tmp_path / "my.pth"
    torch.save({**trunk, "classifier.0.bias": torch.zeros(3)}, path)
    assert torch.equal(
        perceptual.load(path, cache=cache).state_dict()["features.0.bias"], trunk["features.0.bias"]
    )
    with pytest.raises(WeightsError, match=r"gone\.pth: no such file; expected vgg16-397923af\.pth"):
        perceptual.load(tmp_path / "gone.pth", cache=cache)


def test_torch_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"weights of the trunk"
    name = f"vgg16-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    offer(monkeypatch, tmp_path / "nowhere" / name, b"", name=name)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
    assert lpips_files.find_trunk(cache=cache) == folder / name


def test_wrong_hash_is_refused(cache: Path) -> None:
    cache.mkdir()
    (cache / NAME).write_bytes(b"half a download")
    with pytest.raises(
        WeightsError, match=r"expected SHA-256 397923af\.\.\., got [0-9a-f]{16}\.\.\.; delete"
    ):
        lpips_files.find_trunk(cache=cache)


def test_download_is_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"weights" * 1000
    name = f"vgg16-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    offer(monkeypatch, tmp_path / "served.pth", data, name=name)
    assert lpips_files.find_trunk(cache=cache) == cache / name
    assert (cache / name).read_bytes() == data
    (tmp_path / "served.pth").unlink()
    assert lpips_files.find_trunk(cache=cache) == cache / name
    assert [each.name for each in cache.iterdir()] == [name]


@pytest.mark.parametrize("changes", [{"sha256": "00000000"}, {"bytes": 553_433_881}])
def test_wrong_download_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    offer(monkeypatch, tmp_path / "served.pth", b"an error page", **changes)
    with pytest.raises(WeightsError, match=r"got 13 bytes with SHA-256 "):
        lpips_files.find_trunk(cache=cache)
    assert list(cache.iterdir()) == []


def test_what_to_do_without_the_file(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, tmp_path / "nowhere" / NAME, b"", bytes=553_433_881, sha256="397923af")
    with pytest.raises(WeightsError) as caught:
        perceptual.load(cache=cache)
    text = str(caught.value)
    for part in (
        NAME,
        "553 MB",
        "397923af",
        str(cache),
        str(tmp_path / "hub" / "checkpoints"),
        "another loss",
    ):
        assert part in text
    assert "\n" not in text


def test_a_read_only_cache_is_an_error_of_one_line(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match=r"is in none of: .*fetching .* failed"):
        perceptual.load(cache=cache)


def broken(trunk: dict[str, Tensor]) -> dict[str, tuple[dict[str, Tensor], str]]:
    first = trunk["features.0.weight"].clone()
    first[0, 0, 0, 0] = torch.nan
    return {
        "missing": (
            {key: each for key, each in trunk.items() if key != "features.5.bias"},
            "expected a tensor features.5.bias, found none",
        ),
        "shape": (
            trunk | {"features.0.bias": torch.zeros(3)},
            r"features.0.bias: expected shape \(64,\), got \(3,\)",
        ),
        "nan": (trunk | {"features.0.weight": first}, "features.0.weight holds values that are not finite"),
    }


@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_damaged_tensors(damage: str, trunk: dict[str, Tensor]) -> None:
    state, message = broken(trunk)[damage]
    with pytest.raises(WeightsError, match=message):
        Perceptual({**state, **perceptual.read_tensors(lpips_files.find_linear())})


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.pth", b""),
        ("a.pth", b"<html>not found</html>"),
        ("a.safetensors", b"12345678{}"),
        ("a.pth", b"PK\x03\x04zip"),
    ],
)
def test_no_file_of_tensors(name: str, data: bytes, tmp_path: Path, cache: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match=rf"{name}: expected a file of tensors") as caught:
        perceptual.load(tmp_path / name, cache=cache)
    assert "\n" not in str(caught.value)


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_nothing_in_a_file_is_executed(tmp_path: Path, cache: Path) -> None:
    torch.save({"features.0.weight": Canary(tmp_path / "canary")}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=r"bad\.pth: expected a file of tensors") as caught:
        perceptual.load(tmp_path / "bad.pth", cache=cache)
    assert "load" not in str(caught.value), "no advice to switch the check off"
    assert not (tmp_path / "canary").exists()
