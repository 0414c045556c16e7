"""Losses on structure, against the reference implementation's numbers and by their own laws."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lowlight.nn.structure import (
    DARK,
    colour_distance,
    gradient_distance,
    multiscale_ssim,
    ssim,
    structure,
    unevenness,
    unlikeness,
)

FIXTURES = Path(__file__).parent / "fixtures" / "metrics"


def picture(name: str) -> Tensor:
    with Image.open(FIXTURES / "pictures" / f"{name}.png") as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None] / 255


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["a", "b"])
def test_ssim_is_the_one_of_scikit_image(name: str) -> None:
    wanted = json.loads((FIXTURES / "values.json").read_text())[name]["ssim"]["skimage_gauss_rgb8"]
    assert ssim(picture(f"{name}_out"), picture(f"{name}_ref")).item() == pytest.approx(wanted, abs=2e-5)


def test_ssim_stays_float32_under_autocast() -> None:
    a, b = noise(0, 2, 3, 40, 50), noise(1, 2, 3, 40, 50)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ssim(a, b)
    assert torch.equal(inside, ssim(a, b))


def test_equal_pictures_have_no_distance_and_others_do() -> None:
    a = noise(0, 2, 3, 48, 48)
    torch.testing.assert_close(structure(a, a), torch.zeros(2), atol=1e-5, rtol=0)
    nearer, farther = a + 0.05 * noise(1, 2, 3, 48, 48), a + 0.3 * noise(1, 2, 3, 48, 48)
    assert (structure(a, nearer) < structure(a, farther)).all()


def test_scales_are_as_many_as_the_picture_allows() -> None:
    a, b = noise(0, 1, 3, 48, 48), noise(1, 1, 3, 48, 48)
    halves = [torch.nn.functional.avg_pool2d(each, 2) for each in (a, b)]
    quarters = [torch.nn.functional.avg_pool2d(each, 4) for each in (a, b)]
    mean = (ssim(a, b) + ssim(*halves) + ssim(*quarters)) / 3
    torch.testing.assert_close(multiscale_ssim(a, b), mean)
    torch.testing.assert_close(
        multiscale_ssim(a[..., :20, :], b[..., :20, :]), ssim(a[..., :20, :], b[..., :20, :])
    )


def test_gradients_of_a_ramp() -> None:
    ramp = (torch.arange(8.0) / 10).expand(1, 3, 8, 8)
    torch.testing.assert_close(gradient_distance(ramp, torch.zeros(1, 3, 8, 8)), torch.tensor([0.1]))
    torch.testing.assert_close(gradient_distance(ramp, ramp + 0.5), torch.tensor([0.0]), atol=1e-6, rtol=0)


def test_the_loss_has_the_gradient_of_finite_differences() -> None:
    a, b = noise(0, 1, 3, 24, 24).requires_grad_(), noise(1, 1, 3, 24, 24)
    direction = torch.randn(a.shape, generator=torch.Generator().manual_seed(2))
    loss = structure(a, b).sum()
    (gradient,) = torch.autograd.grad(loss, a)
    step = 1e-3
    with torch.no_grad():
        slope = (structure(a + step * direction, b) - structure(a - step * direction, b)).sum() / (2 * step)
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=0.02)


def test_what_is_alike_but_for_its_light() -> None:
    a, b = (picture(name)[:, :, :190, :190] for name in ("a_ref", "b_ref"))
    other = unlikeness(a, b).item()
    assert unlikeness(a, a).item() < 0.02 * other
    torch.testing.assert_close(
        unlikeness(a, 0.1 * a), unlikeness(a, a), atol=5e-3, rtol=0, msg="nor does a gain"
    )
    assert unlikeness(a.clamp(min=0.02) ** 0.45, a).item() < 0.25 * other, "a curve hardly counts"
    assert unlikeness(1 - a, a).item() > 1
    assert unlikeness(a, b).shape == (1,)


def test_detail_in_the_dark_counts() -> None:
    a = picture("b_ref")[:, :, :190, :190]
    ramp = torch.exp(-3 * torch.linspace(0, 1, 190))
    lost = torch.where(ramp < 0.2, 0.3, a)
    assert unlikeness(a, ramp * a).item() < 0.6 * unlikeness(lost, ramp * a).item()
    flat = torch.where(ramp < 0.2, 0.05, a)
    assert unlikeness(lost, flat).item() < 0.5 * unlikeness(lost, a).item(), (
        "where there is none little is missed"
    )


def test_light_that_is_even() -> None:
    dark = 0.02 + 0.2 * noise(0, 1, 1, 64, 64).expand(1, 3, 64, 64)
    assert unevenness(dark, dark).item() == 0
    assert unevenness(4 * dark, dark).item() < 0.02, "all of it alike"
    spot = torch.ones(64, 64)
    spot[16:48, 16:48] = 4
    edge = torch.where(spot > 1, 0.05, 1.0)
    uneven = unevenness(dark * spot, dark).item()
    assert uneven > 0.05
    # Of 8 x 8 squares 16 of 112 pairs of neighbours have the spot's edge between them.
    flat = torch.full((1, 3, 64, 64), 0.1)
    light = torch.tensor([0.1 * each + 0.2 * 0.1 * 1.75 + 1e-3 for each in (1, 4)])
    assert unevenness(flat * spot, flat).item() == pytest.approx(
        16 / 112 * light.log().diff().item(), abs=1e-5
    )
    assert unevenness(dark * edge * spot, dark * edge).item() < 0.3 * uneven, "at an edge gains may differ"


def test_colour_is_told_from_light() -> None:
    a = picture("a_ref")
    tinted = a * torch.tensor([0.5, 1.0, 1.0]).view(1, 3, 1, 1)
    assert colour_distance(a, a).item() == 0
    assert colour_distance(a, 0.2 * a).item() < 0.1 * colour_distance(a, tinted).item()
    red, blue = (
        torch.tensor(each).view(1, 3, 1, 1).expand(1, 3, 16, 16) for each in ([1.0, 0, 0], [0, 0, 1.0])
    )
    # Shares (1 + d/3, d/3, d/3) / (1 + d) with d = DARK: two channels differ by 1 / (1 + d).
    assert colour_distance(red, blue).item() == pytest.approx(2 / 3 / (1 + DARK), abs=3e-3)
    # Noise in the dark has no colour.
    dark, other = (torch.cat([0.01 * noise(seed, 1, 3, 16, 16), a[:, :, :64, :16]], dim=2) for seed in (0, 1))
    assert colour_distance(dark, other).item() < 0.005


def test_flat_pictures_are_alike_with_finite_gradients() -> None:
    flat = torch.full((1, 3, 16, 16), 0.25, requires_grad=True)
    found = unlikeness(flat, noise(0, 1, 3, 16, 16))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert flat.grad is not None
    assert flat.grad.isfinite().all()
    assert 0 <= float(found.detach()) <= 1.01
    black = torch.zeros(1, 3, 16, 16, requires_grad=True)
    (unlikeness(black, black.detach()).sum() + unevenness(black, noise(0, 1, 3, 16, 16))).backward()  # type: ignore[no-untyped-call]
    assert black.grad is not None
    assert black.grad.isfinite().all()
