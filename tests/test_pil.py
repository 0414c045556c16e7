"""PIL images as photos: what a mode says of colour and transparency, and profiles, as in files."""

import io

import numpy as np
import pytest
from PIL import Image

import lowlight
import pictures
from lowlight.photo import read_photo
from lowlight.pil import from_pil

P3 = pictures.profile(pictures.DISPLAY_P3)


def dark():
    return Image.fromarray(pictures.smooth() // 4)


@pytest.fixture(scope="module")
def enhancer():
    return lowlight.load("dimma", threads=1)


@pytest.mark.parametrize(
    ("mode", "becomes"),
    [
        ("1", "L"), ("L", "L"), ("LA", "LA"), ("La", "LA"), ("P", "RGB"), ("PA", "RGBA"), ("RGB", "RGB"),
        ("RGBA", "RGBA"), ("RGBa", "RGBA"), ("RGBX", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB"),
        ("LAB", "RGB"),
    ],
)  # fmt: skip
def test_every_mode(mode, becomes, enhancer):
    way = {"La": "LA", "RGBa": "RGBA"}.get(mode, mode)
    image = dark().convert(way)
    if way[-1] == "A":
        image.putalpha(Image.fromarray(pictures.noise(48, 64, 1)))
    alpha = image.convert("RGBA").getchannel("A")
    image = image.convert(mode)
    for strength in (0, 1):
        result = enhancer(image, strength=strength)
        assert (result.mode, result.size) == (becomes, image.size)
        if becomes.endswith("A"):
            assert result.getchannel("A").tobytes() == alpha.tobytes()
    if mode == becomes:
        assert enhancer(image, strength=0).tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_transparent_colour_becomes_opacity(mode, enhancer):
    image = dark().convert(mode)
    image.info["transparency"] = image.getpixel((3, 4))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    clear = read_photo(stream.getvalue()).alpha == 0
    assert clear[4, 3]
    result = enhancer(image)
    assert "transparency" not in result.info
    assert np.array_equal(np.asarray(result.getchannel("A")) == 0, clear)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_another_profile_is_converted_and_back_as_in_a_file(mode, enhancer):
    image = dark().convert(mode)
    icc = P3 if mode != "L" else pictures.profile(curve=pictures.gamma_curve(1.8))
    stream = io.BytesIO()
    image.save(stream, "PNG", icc_profile=icc)
    image.info["icc_profile"] = icc
    assert np.array_equal(from_pil(image).samples, read_photo(stream.getvalue()).samples)
    result = enhancer(image)
    assert result.info["icc_profile"] == icc
    assert np.array_equal(np.asarray(result), np.asarray(Image.open(io.BytesIO(enhancer(stream.getvalue())))))
    assert enhancer(image, strength=0).tobytes() == image.tobytes()


def test_cmyk_becomes_the_rgb_of_a_file(enhancer):
    image = dark().convert("CMYK")
    stream = io.BytesIO()
    image.save(stream, "TIFF")
    assert np.array_equal(from_pil(image).samples, read_photo(stream.getvalue()).samples)


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "L"])
def test_a_profile_of_other_colours_does_not_come_back(mode, enhancer):
    image = dark().convert(mode)
    image.info |= {"icc_profile": P3[:16] + b"CMYK" + P3[20:], "dpi": (300, 300)}
    assert enhancer(image).info == {"dpi": (300, 300)}


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_modes_that_pillow_cannot_hold_in_8_bits_are_refused(mode, enhancer):
    with pytest.raises(lowlight.LowlightError, match="lose depth"):
        enhancer(Image.new(mode, (4, 4)))
