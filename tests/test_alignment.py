"""Shifts between two photos of a scene: known ones are found, whatever the exposure, the noise and the depth."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from camera import night, place
from lowlight import alignment


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-11, 7), (1, 0), (20, 25)])
def test_a_known_shift_is_found_through_darkness_and_noise(shift: tuple[int, int]) -> None:
    whole = place(1, 260, 300)
    down, right = shift
    dark = night(whole[30:230, 30:270], seed=2)
    light = whole[30 - down : 230 - down, 30 - right : 270 - right]
    found = alignment.measure(dark, light)
    assert (found.down, found.right) == shift
    assert found.likeness > 0.5
    assert found.spread < 1
    ours, theirs = alignment.overlap(200, 240, found)
    assert np.array_equal(whole[30:230, 30:270][ours], light[theirs])


def test_depth_does_not_matter() -> None:
    whole = place(3, 200, 220)
    dark = night(whole[10:190, 10:210])
    deep = dark.astype(np.uint16) * 257
    light = (whole[6:186, 12:212] / np.float32(255)).astype(np.float32)
    found, coarse = (alignment.measure(*pair) for pair in ((deep, light), (dark, whole[6:186, 12:212])))
    assert (found.down, found.right) == (coarse.down, coarse.right) == (4, -2)
    assert found.likeness == pytest.approx(coarse.likeness, abs=1e-3)


def test_large_photos_are_measured_to_the_pixel() -> None:
    whole = place(4, 440, 1100, detail=7)
    found = alignment.measure(night(whole[20:420, 20:1080]), whole[17:417, 31:1091])
    assert (found.down, found.right) == (3, -11)


def test_other_places_are_unlike() -> None:
    assert alignment.measure(night(place(5)), place(6)).likeness < 0.2


def test_flat_photos_have_no_likeness() -> None:
    found = alignment.measure(np.full((80, 90, 3), 3, np.uint8), np.full((80, 90, 3), 200, np.uint8))
    assert found == alignment.Shift(0, 0, 0.0, 0.0)


def test_a_turned_camera_is_told_from_a_moved_one() -> None:
    whole = place(7, 400, 500)
    turned = np.asarray(Image.fromarray(whole).rotate(1.5, Image.Resampling.BICUBIC))
    found = alignment.measure(night(whole)[40:360, 40:460], turned[40:360, 40:460])
    assert found.spread > 1.5
