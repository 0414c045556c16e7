"""Features of VGG-16: what weights see, by which names they come, where their files are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lowlight.errors import WeightsError
from lowlight.nn.features import BLOCKS, CAFFE_FILE, VGG, find_file, load, standardised

PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Of torchvision's convolutions among its layers."""


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Made-up weights for blocks of two channels, by the names of Caffe's port."""
    blocks = tuple((2,) * len(block) for block in BLOCKS[16])
    monkeypatch.setitem(BLOCKS, 16, blocks)
    generator = torch.Generator().manual_seed(0)
    made: dict[str, Tensor] = {}
    for block, widths in enumerate(blocks, start=1):
        for number in range(1, len(widths) + 1):
            channels = 3 if block == number == 1 else 2
            made[f"conv{block}_{number}.weight"] = torch.randn(2, channels, 3, 3, generator=generator)
            made[f"conv{block}_{number}.bias"] = torch.randn(2, generator=generator)
    return made


def test_both_names_of_the_tensors_are_one_network(narrow: dict[str, Tensor]) -> None:
    parts = [f"features.{place}.{part}" for place in PLACES for part in ("weight", "bias")]
    other = dict(zip(parts, narrow.values(), strict=True))
    x = torch.rand(1, 3, 32, 32)
    first, second = (VGG(state, seen_as="imagenet")(x)[0] for state in (narrow, other))
    assert torch.equal(first, second)
    assert first.shape == (1, 2, 2, 2)
    assert VGG(narrow, seen_as="caffe", layers=["relu4_2"], pool_4=False)(x)[0].shape == (1, 2, 4, 4)
    assert VGG(narrow, seen_as="caffe", pool_4=False)(x)[0].shape == (1, 2, 4, 4)


def test_the_deeper_one_is_torchvisions() -> None:
    from torchvision.models import vgg

    torch.manual_seed(0)
    theirs = vgg.make_layers(vgg.cfgs["E"][:10])
    state = {f"features.{name}": tensor for name, tensor in theirs.state_dict().items()}
    layers = ["relu1_2", "relu2_2", "relu3_4"]
    x = torch.rand(1, 3, 16, 12)
    found = VGG(state, depth=19, seen_as="imagenet", centred=False, layers=layers)(x)
    assert len(found) == 3
    for place, each in zip((4, 9, 18), found, strict=True):
        torch.testing.assert_close(each, theirs[:place](x), rtol=1e-5, atol=1e-6)


def test_what_the_weights_see(narrow: dict[str, Tensor]) -> None:
    """The first convolution shows it: blue, green, red up to 255, or ImageNet's units."""
    for kernel in (narrow["conv1_1.weight"], narrow["conv1_2.weight"]):
        kernel.zero_()
    narrow["conv1_1.bias"].zero_()
    narrow["conv1_1.weight"][0, 0, 1, 1] = 1
    x = torch.tensor([0.9, 0.7, 0.6])[None, :, None, None].expand(1, 3, 4, 4)
    for options, expected in (
        ({"seen_as": "caffe", "centred": False}, 255 * 0.6),
        ({"seen_as": "caffe"}, 255 * 0.6 - 103.939),
        ({"seen_as": "imagenet", "centred": False}, 0.9),
        ({"seen_as": "imagenet"}, (0.9 - 0.485) / 0.229),
    ):
        found = VGG(narrow, layers=["relu1_1"], **options)(x)[0]  # type: ignore[arg-type]
        assert found[0, 0, 0, 0].item() == pytest.approx(expected, rel=1e-5)


def test_channels_are_standardised() -> None:
    x = 3 + 2 * torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    found = standardised(x)
    assert float(found.mean(dim=(2, 3)).abs().max()) < 1e-5
    assert float((found.var(dim=(2, 3), correction=0) - 1).abs().max()) < 1e-4


def test_files_are_looked_for_and_refused_in_a_line(
    narrow: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    cache = tmp_path / "cache"
    with pytest.raises(WeightsError, match=r"58\.9 MB") as caught:
        find_file("caffe", cache=cache)
    assert str(cache) in str(caught.value)
    assert str(tmp_path / "torch") in str(caught.value)
    with pytest.raises(WeightsError, match=r"elsewhere\.weight: no such file"):
        find_file("caffe", tmp_path / "elsewhere.weight", cache=cache)
    cache.mkdir()
    torch.save(narrow, cache / CAFFE_FILE, _use_new_zipfile_serialization=False)
    assert find_file("caffe", cache=cache) == cache / CAFFE_FILE
    assert not any(
        each.requires_grad
        for each in load(cache / CAFFE_FILE, seen_as="caffe", layers=["relu5_1"]).parameters()
    )
    for change, said in (
        ({"conv3_1.bias": torch.zeros(3)}, r"conv3_1\.bias: expected shape \(2,\), got \(3,\)"),
        (
            {"conv1_2.weight": narrow["conv1_2.weight"] * torch.nan},
            "conv1_2.weight holds values that are not",
        ),
        ({"conv5_1.bias": None}, r"expected a tensor conv5_1\.bias or features\.24\.bias"),
    ):
        state = {name: each for name, each in (narrow | change).items() if each is not None}
        torch.save(state, tmp_path / "wrong.weight")
        with pytest.raises(WeightsError, match=rf"wrong\.weight: .*{said}"):
            load(tmp_path / "wrong.weight", seen_as="caffe", layers=["relu5_1"])
