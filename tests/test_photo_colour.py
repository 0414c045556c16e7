"""Profiles: recognised, converted and converted back, or ignored with a word."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import pyvips
from PIL import Image

import pictures
from lowlight import colour
from lowlight.errors import PhotoError
from lowlight.libvips import image_of
from lowlight.photo import Metadata, Photo, read_photo, write_photo

P3 = pictures.profile(pictures.DISPLAY_P3)
CURVE = colour.to_srgb_curve


def written(photo, **options):
    file = io.BytesIO()
    write_photo(photo, file, **options)
    return file.getvalue()


def with_profile(array, icc):
    return pictures.png(array, extra=[(b"iCCP", pictures.iccp(icc))])


def muted(dtype=np.uint8):
    """Colours that sRGB holds, whatever the profile."""
    full = np.iinfo(dtype).max
    return (pictures.noise(dtype=dtype) * 0.3 + 0.35 * full).astype(dtype)


def p3_to_srgb(values):
    """By the matrices of the two standards, in double precision; values in [0, 1]."""
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    matrix = np.linalg.inv(np.array(pictures.SRGB).T) @ np.array(pictures.DISPLAY_P3).T
    linear = linear @ matrix.T
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("dtype", "step"), [(np.uint8, 1), (np.uint16, 100)])
def test_display_p3_becomes_srgb(dtype, step):
    array = muted(dtype)
    full = np.iinfo(dtype).max
    photo = read_photo(with_profile(array, P3))
    assert photo.samples.dtype == dtype
    np.testing.assert_allclose(photo.samples.astype(float), p3_to_srgb(array / full) * full, atol=step)
    assert np.abs(photo.samples.astype(int) - array).max() > 10 * step
    assert photo.metadata.icc == P3


@pytest.mark.parametrize(("dtype", "step"), [(np.uint8, 2), (np.uint16, 120)])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_and_goes_back(kind, dtype, step):
    array, alpha = muted(dtype), pictures.noise(channels=1, dtype=dtype, seed=5)
    photo = read_photo(with_profile(np.dstack([array, alpha]), P3))
    np.testing.assert_array_equal(photo.alpha, alpha)
    again = written(photo, format=kind)
    plain = written(Photo(photo.samples, photo.alpha), format=kind)
    stored = pyvips.Image.new_from_buffer(again, "").numpy()
    np.testing.assert_allclose(stored[..., :3].astype(int), array, atol=step)
    np.testing.assert_array_equal(stored[..., 3], alpha)
    assert (
        np.abs(pyvips.Image.new_from_buffer(plain, "").numpy()[..., :3].astype(int) - array).max() > 5 * step
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_untouched_photo_goes_back_bit_for_bit(dtype, channels):
    array, alpha = pictures.noise(channels=channels, dtype=dtype), pictures.noise(channels=1, dtype=dtype)
    icc = P3 if channels == 3 else pictures.profile(curve=pictures.gamma_curve(1.8))
    data = with_profile(np.dstack([array, alpha]), icc)
    photo, usual = read_photo(data, exact=True), read_photo(data)
    np.testing.assert_array_equal(photo.samples, usual.samples)
    for kind in ("png", "tiff"):
        stored = pyvips.Image.new_from_buffer(written(photo, format=kind), "").numpy()
        np.testing.assert_array_equal(stored, np.dstack([array, alpha]))
    # What the file can't say, and what was changed, is converted as always.
    assert written(photo, format="ppm") == written(usual, format="ppm")
    half = photo.samples // 2
    assert written(replace(photo, samples=half)) == written(replace(usual, samples=half))


def test_an_untouched_float_photo_goes_back_bit_for_bit():
    values = np.random.default_rng(0).uniform(-1, 3, (5, 7, 4)).astype(np.float32)
    values[0, 0, :3] = np.inf
    values[..., 3] = np.clip(values[..., 3], 0, 1)
    photo = read_photo(pictures.tiff(values), exact=True)
    np.testing.assert_array_equal(pyvips.Image.new_from_buffer(written(photo), "").numpy(), values)
    assert written(photo, format="png") == written(read_photo(pictures.tiff(values)), format="png")


@pytest.mark.parametrize(
    "icc",
    [
        pictures.profile(pictures.SRGB),
        pictures.profile(colour._SRGB_PRIMARIES),
        pictures.profile(
            pictures.SRGB,
            b"curv\0\0\0\0"
            + struct.pack(
                ">I1024H",
                1024,
                *np.rint(
                    65535
                    * np.where(
                        np.linspace(0, 1, 1024) <= 0.04045,
                        np.linspace(0, 1, 1024) / 12.92,
                        ((np.linspace(0, 1, 1024) + 0.055) / 1.055) ** 2.4,
                    )
                ).astype(int),
            ),
        ),
    ],
    ids=["parametric", "rounded", "table"],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_srgb_by_any_name_is_exact(icc, dtype):
    assert colour.is_srgb(icc)
    array = pictures.noise(dtype=dtype)
    photo = read_photo(with_profile(array, icc))
    np.testing.assert_array_equal(photo.samples, array)
    again = read_photo(written(photo))
    np.testing.assert_array_equal(again.samples, array)
    assert again.metadata.icc == icc


@pytest.mark.parametrize(
    "icc",
    [
        P3,
        pictures.profile(pictures.SRGB, pictures.gamma_curve(2.2)),
        pictures.profile(pictures.SRGB, pictures.gamma_curve(1)),
    ],
    ids=["primaries", "gamma 2.2", "linear"],
)
def test_other_profiles_are_not_srgb(icc):
    assert not colour.is_srgb(icc)
    assert colour.profile_space(icc) == "RGB"
    assert colour.converts(icc)


def test_linear_profile_against_the_curve():
    array = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    photo = read_photo(with_profile(array, pictures.profile(pictures.SRGB, pictures.gamma_curve(1))))
    expected = CURVE((array / 65535).astype(np.float32))
    np.testing.assert_allclose(photo.samples / 65535, expected, atol=3e-3)
    assert np.abs(photo.samples / 65535 - expected).mean() < 1e-4


@pytest.mark.parametrize(("dtype", "step"), [(np.uint8, 2), (np.uint16, 300)])
@pytest.mark.parametrize("channels", [1, 2])
def test_grey_profile(dtype, step, channels):
    icc = pictures.profile(None, pictures.gamma_curve(1.8))
    full = np.iinfo(dtype).max
    array = np.clip(pictures.noise(channels=channels, dtype=dtype), full // 10, None)
    photo = read_photo(with_profile(array, icc))
    assert photo.grey
    values = array.reshape(24, 40, channels)[..., 0]
    expected = CURVE(((values / full) ** 1.8).astype(np.float32)) * full
    np.testing.assert_allclose(photo.samples[..., 1].astype(float), expected, atol=step)
    assert (photo.samples == photo.samples[..., :1]).all()
    stored = pyvips.Image.new_from_buffer(written(photo), "").numpy().reshape(24, 40, channels)
    np.testing.assert_allclose(stored[..., 0].astype(int), values, atol=step)
    if channels == 2:
        np.testing.assert_array_equal(stored[..., 1], array[..., 1])


@pytest.mark.parametrize(
    "icc",
    [b"", b"tiny", P3[:200], b"\0" * 500, P3[:36] + b"none" + P3[40:], pictures.profile(None)],
    ids=["empty", "tiny", "cut", "zeros", "unsigned", "grey for RGB"],
)
def test_profiles_not_to_be_trusted_are_ignored_with_a_word(icc):
    array = pictures.noise()
    photo = read_photo(with_profile(array, icc))
    np.testing.assert_array_equal(photo.samples, array)
    assert photo.metadata.icc is None
    assert any("profile" in note for note in photo.notes)


def test_damaged_profile_never_stops_a_photo():
    array = pictures.noise()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(P3)
        for at in rng.integers(0, len(damaged), 3):
            damaged[at] = rng.integers(0, 256)
        photo = read_photo(with_profile(array, bytes(damaged)))
        assert photo.samples.shape == array.shape
        written(photo, format="tiff")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind):
    """In JPEG files Adobe's programs store CMYK inverted, and say so; Pillow does the same."""
    ink = np.zeros((16, 32, 4), np.uint8)
    ink[:, 16:] = (0, 0, 0, 255)
    data = pictures.pillow(Image.frombytes("CMYK", (32, 16), ink.tobytes()), kind)
    assert (b"Adobe" in data) == (kind == "JPEG")
    photo = read_photo(data)
    assert photo.samples[:, :12].min() > 245
    assert photo.samples[:, 20:].max() < 60
    assert (photo.grey, photo.metadata.icc) == (False, None)
    assert any("CMYK" in note for note in photo.notes)
    assert read_photo(written(photo, format="jpeg")).samples.shape == (16, 32, 3)


def test_cmyk_with_its_own_profile():
    cmyk = pyvips.Image.new_from_array(pictures.smooth(), interpretation="srgb").icc_transform(
        "cmyk", input_profile="srgb"
    )
    photo = read_photo(cmyk.jpegsave_buffer(Q=98))
    assert np.abs(photo.samples.astype(int) - pictures.smooth()).mean() < 12
    assert photo.metadata.icc is None


def test_float_tiff_keeps_no_profile():
    photo = read_photo(pictures.tiff(pictures.noise(dtype=np.float32), fields={34675: (7, P3)}))
    assert photo.metadata.icc is None
    assert any("linear" in note for note in photo.notes)


def test_profile_of_the_wrong_kind_is_not_written():
    grey = Photo(
        np.repeat(pictures.noise(channels=1)[..., None], 3, -1), grey=True, metadata=Metadata(icc=P3)
    )
    again = read_photo(written(grey))
    assert again.metadata.icc is None
    np.testing.assert_array_equal(again.samples, grey.samples)


@pytest.mark.parametrize("curve", [16, 18])
def test_hdr_is_refused(curve):
    data = pictures.png(pictures.noise(dtype=np.uint16), extra=[(b"cICP", bytes([9, curve, 0, 1]))])
    with pytest.raises(PhotoError, match="HDR"):
        read_photo(data)
    avif = pictures.pillow(pictures.smooth(), "AVIF")
    at = avif.index(b"colrnclx") + 8
    with pytest.raises(PhotoError, match="HDR"):
        read_photo(avif[: at + 2] + struct.pack(">H", curve) + avif[at + 4 :])


def test_gamma_without_profile_is_named():
    array = pictures.noise()
    photo = read_photo(pictures.png(array, extra=[(b"gAMA", struct.pack(">I", 100000))]))
    np.testing.assert_array_equal(photo.samples, array)
    assert any("gamma" in note for note in photo.notes)
    assert read_photo(pictures.png(array, extra=[(b"gAMA", struct.pack(">I", 45455))])).notes == ()


def test_primaries_without_profile_are_named():
    array = pictures.noise()
    p3 = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
    srgb = (b"cHRM", struct.pack(">8I", 31269, 32899, 63999, 33001, 30000, 60000, 15000, 5999))
    photo = read_photo(pictures.png(array, extra=[p3]))
    np.testing.assert_array_equal(photo.samples, array)
    assert photo.notes == ("The file names other colour primaries; its values were taken as sRGB.",)
    for extra in (
        [srgb],
        [p3, (b"sRGB", b"\0")],
        [p3, (b"iCCP", pictures.iccp(pictures.profile(pictures.DISPLAY_P3)))],
    ):
        assert read_photo(pictures.png(array, extra=extra)).notes == ()


def test_curves_are_inverse():
    linear = np.linspace(0, 1, 4001, dtype=np.float32).reshape(1, -1)
    back = colour.linear_light(image_of(colour.to_srgb_curve(linear))).numpy()
    np.testing.assert_allclose(back, linear, atol=5e-7)
