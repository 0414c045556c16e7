"""Pixels through files: every depth and channel, upright, exactly what the file holds."""

import io
import stat
import threading

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pictures
from lowlight.errors import PhotoError
from lowlight.photo import Metadata, Photo, describe_photo, read_photo, to_float, write_photo

LOSSLESS = {
    "png": (np.uint8, np.uint16),
    "tiff": (np.uint8, np.uint16, np.float32),
    "ppm": (np.uint8, np.uint16),
}


def written(photo, **options):
    file = io.BytesIO()
    notes = write_photo(photo, file, **options)
    return file.getvalue(), notes


def grey_of(array):
    return np.repeat(array[..., None], 3, axis=-1)


# --- reading


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("make", [pictures.png, pictures.tiff])
def test_every_value_of_png_and_tiff_is_read(make, channels, dtype):
    array = pictures.noise(channels=channels, dtype=dtype)
    photo = read_photo(make(array))
    assert photo.samples.dtype == dtype
    assert photo.grey == (channels <= 2)
    colours = array.reshape(24, 40, channels)[..., : 1 if channels <= 2 else 3]
    np.testing.assert_array_equal(photo.samples, np.broadcast_to(colours, (24, 40, 3)))
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha, array[..., -1])
    else:
        assert photo.alpha is None
    assert photo.notes == ()


@pytest.mark.parametrize(
    "storage",
    [
        {"order": ">"},
        {"big": True},
        {"big": True, "order": ">"},
        {"tile": 16},
        {"planar": True},
        {"tile": 16, "planar": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_storage_makes_no_difference(storage, dtype):
    array = pictures.noise(33, 41, dtype=dtype)
    data = pictures.tiff(array, **storage)
    if storage == {"tile": 16, "planar": True} and dtype == np.uint16:
        # Pillow would halve the depth without a word.
        with pytest.raises(PhotoError, match="tiled separate planes"):
            read_photo(data)
    else:
        np.testing.assert_array_equal(read_photo(data).samples, array)


def test_interlaced_png():
    array = pictures.noise(channels=4)
    image = pyvips.Image.new_from_array(array, interpretation="srgb")
    photo = read_photo(image.pngsave_buffer(interlace=True))
    np.testing.assert_array_equal(photo.samples, array[..., :3])


def test_depth_is_the_headers_not_the_values():
    dark = pictures.noise(dtype=np.uint16) % 201
    for data in (pictures.png(dark), pictures.tiff(dark)):
        photo = read_photo(data)
        assert photo.samples.dtype == np.uint16
        np.testing.assert_array_equal(photo.samples, dark)
        assert read_photo(written(photo)[0]).samples.dtype == np.uint16
    assert to_float(dark).max() < 0.004


def test_palette_transparent_colour_and_bits():
    ramp = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (24, 1))
    palette = Image.fromarray(ramp).convert("P")
    photo = read_photo(pictures.pillow(palette, "PNG", transparency=6))
    np.testing.assert_array_equal(photo.samples, grey_of(ramp))
    np.testing.assert_array_equal(photo.alpha, np.where(ramp == 6, 0, 255))
    assert not photo.grey

    photo = read_photo(pictures.pillow(ramp, "PNG", transparency=12))
    assert photo.grey
    np.testing.assert_array_equal(photo.alpha, np.where(ramp == 12, 0, 255))

    bits = ramp > 100
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        photo = read_photo(pictures.pillow(Image.fromarray(bits), kind))
        np.testing.assert_array_equal(photo.samples, grey_of(np.where(bits, 255, 0).astype(np.uint8)))
        assert photo.grey


def test_float_tiff_is_linear_light():
    values = pictures.noise(channels=3, dtype=np.float32)
    photo = read_photo(pictures.tiff(values))
    expected = np.where(
        values <= 0.0031308, values * 12.92, 1.055 * values.astype(float) ** (1 / 2.4) - 0.055
    )
    np.testing.assert_allclose(photo.samples, expected, atol=2e-7)
    back, _ = written(photo)
    again = read_photo(back)
    np.testing.assert_allclose(again.samples, photo.samples, atol=3e-7)
    stored = pyvips.Image.new_from_buffer(back, "")
    assert stored.format == "float"
    np.testing.assert_allclose(stored.numpy(), values, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_float_tiff_is_clipped_with_a_word(dtype):
    values = np.array([[-1, 0, 0.5], [1, 1.5, np.inf]], dtype)
    photo = read_photo(pictures.tiff(values))
    assert photo.samples.dtype == np.float32
    np.testing.assert_allclose(photo.samples[..., 0], [[0, 0, 0.735357], [1, 1, 1]], atol=1e-5)
    if dtype == np.float32:
        assert read_photo(pictures.tiff(np.full((2, 2), np.nan, dtype))).samples.max() == 0
    assert any("clipped" in note for note in photo.notes)


def test_twelve_bit_tiff():
    values = np.linspace(0, 4095, 24 * 40).astype(np.uint16).reshape(24, 40)
    pairs = values.reshape(-1, 2).astype(int)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1)
    data = pictures.tiff(values, depth=12, data=packed.astype(np.uint8).tobytes())
    photo = read_photo(data)
    assert photo.samples.dtype == np.uint16
    np.testing.assert_array_equal(photo.samples, grey_of(np.rint(values * (65535 / 4095)).astype(np.uint16)))


def test_multiplied_opacity_is_taken_apart():
    array = np.full((4, 5, 4), (100, 50, 20, 128), np.uint8)
    photo = read_photo(pictures.tiff(array, fields={338: (3, 1)}))
    np.testing.assert_allclose(photo.samples, np.full((4, 5, 3), (199, 100, 40)), atol=1)
    np.testing.assert_array_equal(photo.alpha, 128)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6])
def test_netpbm(kind):
    channels = 3 if kind in (3, 6) else 1
    for maximum in (1,) if kind in (1, 4) else (255, 1000, 65535):
        values = pictures.noise(5, 13, channels, np.uint16) % np.uint32(maximum + 1)
        head = f"P{kind} # a comment\n13\n# another\n5" + ("" if kind in (1, 4) else f" {maximum}") + "\n"
        if kind in (1, 2, 3):
            body = " ".join(str(v) for v in values.ravel()).encode()
        elif kind == 4:
            body = np.packbits(values.astype(np.uint8), axis=1).tobytes()
        else:
            body = values.astype(np.uint8 if maximum == 255 else ">u2").tobytes()
        photo = read_photo(head.encode() + body)
        full = 255 if maximum < 256 else 65535
        expected = np.rint(values / maximum * full)
        if kind in (1, 4):
            expected = 255 - expected
        np.testing.assert_array_equal(
            photo.samples, np.broadcast_to(expected.reshape(5, 13, channels), (5, 13, 3))
        )
        assert photo.samples.dtype == (np.uint8 if maximum < 256 else np.uint16)


def test_bmp_kinds():
    array = pictures.noise(channels=3)
    np.testing.assert_array_equal(read_photo(pictures.pillow(array, "BMP")).samples, array)
    palette = Image.fromarray(array).convert("P")
    photo = read_photo(pictures.pillow(palette, "BMP"))
    np.testing.assert_array_equal(photo.samples, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF", "MPO"])
def test_first_picture_with_a_word(kind):
    first, second = pictures.smooth(seed=1), pictures.smooth(seed=2)
    data = pictures.pillow(first, kind, save_all=True, append_images=[Image.fromarray(second)])
    if kind == "GIF":
        with pytest.raises(PhotoError, match="this is a GIF"):
            read_photo(data)
        return
    photo = read_photo(data)
    assert np.abs(photo.samples.astype(int) - first).mean() < 3
    assert len(photo.notes) == 1
    assert "first picture" in photo.notes[0]


def test_ten_bit_avif_spans_the_range():
    for bits in (10, 12):
        array = np.zeros((16, 16, 3), np.uint16)
        array[:8] = 65535
        image = pyvips.Image.new_from_array(array, interpretation="rgb16")
        photo = read_photo(image.heifsave_buffer(compression="av1", bitdepth=bits, lossless=True))
        np.testing.assert_allclose(photo.samples.astype(int), array, atol=70)
        assert photo.samples.max() == 65535


# --- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_once(orientation):
    upright = pictures.noise(24, 40)
    stored = np.ascontiguousarray(pictures.ORIENTATIONS[orientation](upright))
    block = pictures.exif(orientation)
    alpha = np.dstack([upright, upright[..., :1]])
    stored_alpha = np.ascontiguousarray(pictures.ORIENTATIONS[orientation](alpha))
    files = [
        pictures.png(stored, extra=[(b"eXIf", block)]),
        pictures.pillow(stored, "WEBP", lossless=True, exif=b"Exif\0\0" + block),
        pictures.tiff(stored, fields={274: (3, orientation)}),
        pictures.tiff(stored, tile=16, fields={274: (3, orientation)}),
        pictures.png(stored, extra=[(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + pictures.xmp(orientation))]),
        pictures.png(stored_alpha, extra=[(b"eXIf", block)]),
    ]
    for data in files:
        photo = read_photo(data)
        np.testing.assert_array_equal(photo.samples, upright)
        if photo.alpha is not None:
            np.testing.assert_array_equal(photo.alpha, upright[..., 0])
        assert describe_photo(data)["orientation"] == orientation
        assert (describe_photo(data)["width"], describe_photo(data)["height"]) == (40, 24)
        for kind in ("png", "tiff"):
            again = read_photo(written(photo, format=kind)[0])
            np.testing.assert_array_equal(again.samples, upright)
    odd = pictures.tiff(stored, tile=16, planar=True, fields={274: (3, orientation)})
    np.testing.assert_array_equal(read_photo(odd).samples, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_once_in_lossy_formats(orientation):
    upright = pictures.smooth()
    stored = np.ascontiguousarray(pictures.ORIENTATIONS[orientation](upright))
    segment = (0xE1, b"Exif\0\0" + pictures.exif(orientation))
    jpeg = pictures.with_segments(pictures.pillow(stored, "JPEG", quality=98), segment)
    xmp_only = pictures.with_segments(
        pictures.pillow(stored, "JPEG", quality=98),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + pictures.xmp(orientation)),
    )
    options = Image.Exif()
    options[274] = orientation
    avif = pictures.pillow(stored, "AVIF", quality=95, exif=options)  # Pillow writes boxes of rotation
    for data in (jpeg, xmp_only, avif):
        photo = read_photo(data)
        assert np.abs(photo.samples.astype(int) - upright).mean() < 4
        for kind in ("jpeg", "webp", "avif"):
            again = read_photo(written(photo, format=kind)[0])
            assert np.abs(again.samples.astype(int) - upright).mean() < 6


def test_exif_rules_over_xmp_and_boxes_over_both():
    stored = pictures.noise(24, 40)
    data = pictures.png(
        stored,
        extra=[(b"eXIf", pictures.exif(3)), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + pictures.xmp(6))],
    )
    np.testing.assert_array_equal(read_photo(data).samples, stored[::-1, ::-1])
    turned = Photo(pictures.smooth(), metadata=Metadata(exif=pictures.exif(1)))
    avif = written(turned, format="avif")[0].replace(pictures.exif(1)[8:120], pictures.exif(6)[8:120])
    assert read_photo(avif).samples.shape == (48, 64, 3)


# --- writing


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("grey", [False, True])
def test_lossless_round_trip(kind, grey):
    for dtype in LOSSLESS[kind]:
        array = pictures.noise(dtype=dtype)
        if grey:
            array = grey_of(array[..., 0])
        alpha = None if kind == "ppm" else pictures.noise(channels=1, dtype=dtype, seed=1)
        photo = Photo(array, alpha, grey, kind)
        data, notes = written(photo)
        again = read_photo(data)
        assert (again.format, again.grey, again.samples.dtype) == (kind, grey, dtype)
        np.testing.assert_allclose(again.samples, array, atol=3e-7 if dtype == np.float32 else 0)
        if alpha is not None:
            np.testing.assert_array_equal(again.alpha, alpha)
        assert notes == ()


@pytest.mark.parametrize("kind", ["jpeg", "webp", "avif"])
def test_lossy_quality(kind):
    array = pictures.smooth()
    data, _ = written(Photo(array), format=kind)
    error = read_photo(data).samples.astype(float) - array
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38
    small, _ = written(Photo(array), format=kind, quality=30)
    assert len(small) < len(data)
    np.testing.assert_array_equal(pictures.decoded(data).shape, array.shape)


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_quality_100_is_lossless(kind):
    array, alpha = pictures.noise(), pictures.noise(channels=1, seed=3)
    photo = read_photo(written(Photo(array, alpha), format=kind, quality=100)[0])
    np.testing.assert_array_equal(photo.samples, array)
    np.testing.assert_array_equal(photo.alpha, alpha)


@pytest.mark.parametrize("quality", [{}, {"quality": 50}])
def test_jpeg_is_444(quality):
    with Image.open(io.BytesIO(written(Photo(pictures.smooth()), format="jpeg", **quality)[0])) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("kind", ["bmp", "webp", "png", "ppm"])
def test_wide_values_are_rounded_not_cut(kind):
    array = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    data, notes = written(Photo(array), format=kind, quality=100)
    again = read_photo(data).samples
    if kind in ("bmp", "webp"):
        np.testing.assert_array_equal(again, np.rint(array / 257))
        assert any("8 bits" in note for note in notes)
    else:
        np.testing.assert_array_equal(again, array)


def test_float_to_sixteen_bits():
    array = pictures.noise(dtype=np.float32)
    again = read_photo(written(Photo(array, format="tiff"), format="png")[0])
    np.testing.assert_array_equal(again.samples, np.rint(array * 65535))


def test_what_a_format_cannot_hold_is_said():
    photo = Photo(pictures.noise(), pictures.noise(channels=1), metadata=Metadata(exif=pictures.exif()))
    for kind in ("jpeg", "bmp", "ppm"):
        data, notes = written(photo, format=kind)
        assert read_photo(data).alpha is None
        assert any("transparency" in note for note in notes)
        assert any("metadata" in note for note in notes) == (kind != "jpeg")


def test_format_from_argument_or_name(tmp_path):
    photo = Photo(pictures.noise(), format="webp")
    for name, options, expected in (
        ("a.JPG", {}, "jpeg"),
        ("b.tif", {}, "tiff"),
        ("c.unknown", {"format": "webp"}, "webp"),
        ("d", {"format": "png"}, "png"),
    ):
        write_photo(photo, tmp_path / name, **options)
        assert read_photo(tmp_path / name).format == expected
    with pytest.raises(PhotoError, match="quality 0: expected 1 to 100"):
        write_photo(photo, tmp_path / "e.jpg", quality=0)
    with pytest.raises(PhotoError, match=r"e\.jpg: the name says jpeg, format says png"):
        write_photo(photo, tmp_path / "e.jpg", format="png")
    with pytest.raises(PhotoError, match="format 'jpg': expected one of jpeg, png, tiff"):
        write_photo(photo, tmp_path / "e.jpg", format="jpg")
    with pytest.raises(PhotoError, match="expected a Photo, got ndarray"):
        write_photo(photo.samples, tmp_path / "e.jpg")
    assert not (tmp_path / "e.jpg").exists()
    for name, said in (("f.gif", r"\.gif files"), ("g", "a name without suffix")):
        with pytest.raises(PhotoError, match=rf"{name}: cannot write {said}; expected one of \.jpg, "):
            write_photo(photo, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_permissions_and_links(tmp_path):
    photo = Photo(pictures.noise())
    target = tmp_path / "a.png"
    write_photo(photo, target)
    probe = tmp_path / "probe"
    probe.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(probe.stat().st_mode)
    target.chmod(0o604)
    link = tmp_path / "link.png"
    link.symlink_to(target)
    write_photo(Photo(255 - photo.samples), link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    np.testing.assert_array_equal(read_photo(target).samples, 255 - photo.samples)


def test_arrays_need_not_be_contiguous():
    array = pictures.noise(60, 50, 6)[::2, ::-1, ::2]
    np.testing.assert_array_equal(read_photo(written(Photo(array))[0]).samples, array)


def test_window_is_float():
    photo = Photo(pictures.noise(dtype=np.uint16))
    window = photo.window(3, 5, 7, 9)
    assert window.dtype == np.float32
    np.testing.assert_allclose(window, photo.samples[3:10, 5:14] / 65535, atol=1e-7)
    assert photo.pixels.shape == (24, 40, 3)


@settings(max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    grey=st.booleans(),
    alpha=st.booleans(),
    kind=st.sampled_from(["png", "tiff", "ppm", "bmp"]),
    seed=st.integers(0, 99),
)
def test_write_then_read_equals(height, width, dtype, grey, alpha, kind, seed):
    array = pictures.noise(height, width, 3, dtype, seed)
    if grey:
        array = grey_of(array[..., 0])
    opacity = pictures.noise(height, width, 1, dtype, seed + 1) if alpha else None
    again = read_photo(written(Photo(array, opacity, grey), format=kind, fingerprint="f")[0])
    assert again.grey == grey
    step = {np.uint8: 0, np.uint16: 0.5 / 255 if kind == "bmp" else 0, np.float32: 3e-7}[dtype]
    if dtype == np.float32 and kind != "tiff":
        step = 0.501 / (255 if kind == "bmp" else 65535) + (0.501 / 65535 if kind == "bmp" else 0)
    np.testing.assert_allclose(to_float(again.samples), to_float(array), atol=step + 1e-7)
    if alpha and kind in ("png", "tiff"):
        np.testing.assert_allclose(to_float(again.alpha), to_float(opacity), atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (4000, 30), (30, 4000), (1, 500)])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm"])
def test_extreme_shapes(size, kind):
    array = np.full((*size, 3), 100, np.uint8)
    again = read_photo(written(Photo(array), format=kind)[0])
    np.testing.assert_allclose(again.samples.astype(int), array, atol=3)


@pytest.mark.slow
def test_many_threads_at_once(tmp_path):
    arrays = [pictures.noise(50, 60, 3, np.uint16 if i % 2 else np.uint8, seed=i) for i in range(8)]
    profile = pictures.profile(pictures.DISPLAY_P3)
    failures = []

    def work(index):
        try:
            for turn in range(6):
                kind = ("png", "tiff")[turn % 2]
                path = tmp_path / f"{index}.{kind}"
                write_photo(Photo(arrays[index]), path, fingerprint=f"{index}.{turn}")
                np.testing.assert_array_equal(read_photo(path).samples, arrays[index])
                converted = read_photo(pictures.png(arrays[index], extra=[(b"iCCP", pictures.iccp(profile))]))
                write_photo(converted, io.BytesIO(), format="jpeg")
                with pytest.raises(PhotoError):
                    read_photo(path.read_bytes()[: 400 + index])
        except BaseException as error:  # a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_open_file_that_takes_a_part_at_a_time_gets_all():
    photo = Photo(pictures.noise())
    slow, quick = pictures.Sip(), io.BytesIO()
    for target in (slow, quick):
        write_photo(photo, target, format="png")
    assert slow.data == quick.getvalue()


def test_an_open_file_that_takes_nothing_is_an_error():
    class Full(pictures.Sip):
        def write(self, data):
            return None

    with pytest.raises(PhotoError, match="temporarily unavailable"):
        write_photo(Photo(pictures.noise()), Full(), format="png")
