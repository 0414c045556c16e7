"""EXIF, XMP, profile and resolution through every format, true of the upright result, nothing stale."""

import io
import struct
import warnings
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import pictures
from lowlight import metadata as surgery
from lowlight.photo import Metadata, Photo, describe_photo, read_fingerprint, read_photo, write_photo

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
FORMATS = ("jpeg", "png", "tiff", "webp", "avif")
JPEG = pictures.pillow(pictures.smooth(), "JPEG")
P3 = pictures.profile(pictures.DISPLAY_P3, name=b"Display P3")


def source(orientation=6, **options):
    """A PNG with everything in it, stored sideways."""
    upright = pictures.smooth(24, 40)
    stored = np.ascontiguousarray(pictures.ORIENTATIONS[orientation](upright))
    size = stored.shape[1::-1]
    return pictures.png(
        stored,
        extra=[
            (b"iCCP", pictures.iccp(P3)),
            (b"pHYs", struct.pack(">IIB", 11811, 7874, 1)),
            (b"eXIf", pictures.exif(orientation, size=size, **options)),
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + pictures.xmp(orientation, gps=True)),
        ],
    )


def written(photo, kind, **options):
    file = io.BytesIO()
    notes = write_photo(photo, file, format=kind, **options)
    return file.getvalue(), notes


def properties(xmp):
    """{(namespace, name): value} of a packet, by an XML parser."""
    packet = xmp.decode().split("?>", 1)[1].rsplit("<?", 1)[0]
    found = {}
    for description in ElementTree.fromstring(packet).iter(RDF + "Description"):  # noqa: S314 (made here)
        found.update(description.attrib)
        found.update({child.tag: child.text for child in description})
    return {tuple(key[1:].split("}")): value for key, value in found.items()}


@pytest.mark.parametrize("kind", FORMATS)
def test_everything_survives(kind):
    photo = read_photo(source())
    data, notes = written(photo, kind)
    assert notes == ()
    again = read_photo(data)
    assert again.metadata.icc == P3
    assert again.metadata.xmp == photo.metadata.xmp
    if kind in ("jpeg", "png", "tiff"):
        # The stored picture lay on its side, and so did its two resolutions.
        np.testing.assert_allclose(again.metadata.resolution, (7.874, 11.811), rtol=2e-3)
    if kind == "tiff":
        # The maker's block is moved; all values stay.
        before, after = pictures.tags(photo.metadata.exif), pictures.tags(again.metadata.exif)
        assert after["photo"] == before["photo"]
        assert after["place"] == before["place"]
        for tag in (0x10F, 0x110, 0x8298):
            assert after["first"][tag] == before["first"][tag]
    else:
        assert again.metadata.exif == photo.metadata.exif
    with Image.open(io.BytesIO(data)) as image:  # a second reader
        assert image.size == (40, 24)
        assert image.info["icc_profile"] == P3
        assert image.getexif()[0x10F] == "Camera works"
        assert image.getexif().get(0x112, 1) == 1
        assert image.getexif().get_ifd(0x8769)[0x927C] == pictures.MAKER
        assert image.getexif().get_ifd(0x8825)[2] == (48.0, 8.0, 12.34)


@pytest.mark.parametrize("order", "<>")
def test_exif_changes_only_what_is_no_longer_true(order):
    block = pictures.exif(6, order, size=(40, 24))
    edited = surgery.edit_exif(block, (24, 40))
    before, after = pictures.tags(block), pictures.tags(edited)
    assert before["first"].pop(0x112) == 6
    assert after["first"].pop(0x112) == 1
    assert (before["first"].pop(0x100), after["first"].pop(0x100)) == (40, 24)
    for tag, number in ((0xA002, 24), (0xA003, 40)):
        assert before["photo"].pop(tag) != number
        assert after["photo"].pop(tag) == number
    assert after == before
    assert edited.index(pictures.MAKER) == block.index(pictures.MAKER)
    assert pictures.THUMBNAIL in block
    assert b"thumbnail" not in edited
    assert len(edited) < len(block)
    with Image.open(io.BytesIO(pictures.with_segments(JPEG, (0xE1, b"Exif\0\0" + edited)))) as image:
        assert image.getexif().get_ifd(1) == {}
    assert surgery.edit_exif(edited, (24, 40)) == edited


def test_a_thumbnail_of_the_first_directory_goes_too():
    table = {0x10F: (2, b"Old\0"), 0x201: (4, 0), 0x202: (4, len(pictures.THUMBNAIL))}
    table[0x201] = (4, 8 + len(pictures.directory("<", table, 8)))
    block = b"II*\0" + struct.pack("<I", 8) + pictures.directory("<", table, 8) + pictures.THUMBNAIL
    edited = surgery.edit_exif(block, (40, 24))
    assert pictures.tags(edited)["first"] == {0x10F: "Old"}
    assert b"thumbnail" not in edited


@pytest.mark.parametrize(("orientation", "across", "down"), [(6, 150, 300), (3, 300, 150)])
def test_resolutions_of_a_turned_photo_change_places_in_exif_too(tmp_path, orientation, across, down):
    table = {0x112: (3, orientation), 0x11A: (5, (300, 1)), 0x11B: (5, (150, 1)), 0x128: (3, 2)}
    block = b"II*\0" + struct.pack("<I", 8) + pictures.directory("<", table, 8)
    (tmp_path / "a.jpg").write_bytes(pictures.with_segments(JPEG, (0xE1, b"Exif\0\0" + block)))
    photo = read_photo(tmp_path / "a.jpg")
    after = pictures.tags(photo.metadata.exif)["first"]
    assert (after[0x11A], after[0x11B]) == (across, down)
    assert surgery.edit_exif(photo.metadata.exif, (40, 24)) == photo.metadata.exif


def test_exif_without_place():
    edited = surgery.edit_exif(pictures.exif(1), (40, 24), gps=False)
    after = pictures.tags(edited)
    assert after["place"] == {}
    assert after["photo"][0xA434] == "Old 50mm lens"
    assert struct.pack(">II", 1234, 100) not in edited


def test_an_orientation_that_claims_no_values_is_reset_too():
    block = bytearray(pictures.exif(6))
    assert surgery.exif_orientation(bytes(block)) == 6
    block[53] = 0  # the count of the orientation's entry
    assert surgery.exif_orientation(surgery.edit_exif(bytes(block), (40, 24))) in (1, None)


@settings(max_examples=300)
@given(st.data())
def test_damaged_exif_is_edited_or_refused(data):
    block = bytearray(pictures.exif(6))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(block)))
    for damaged in (bytes(block), bytes(block[:cut])):
        try:
            edited = surgery.edit_exif(damaged, (40, 24))
        except ValueError:
            continue
        assert len(edited) <= len(damaged) + 4
        assert surgery.exif_orientation(edited) in (1, None)


@pytest.mark.parametrize("attributes", [True, False])
def test_xmp_is_true_after(attributes):
    photo_xmp = surgery.edit_xmp(pictures.xmp(6, gps=True, attributes=attributes), (24, 41))
    found = properties(photo_xmp)
    assert found["http://ns.adobe.com/tiff/1.0/", "Orientation"] == "1"
    assert found["http://ns.adobe.com/tiff/1.0/", "ImageWidth"] == "24"
    assert found["http://ns.adobe.com/photoshop/1.0/", "City"] == "Åland"
    assert found["http://ns.adobe.com/exif/1.0/", "GPSLatitude"] == "48,8.2N"
    assert surgery.xmp_orientation(photo_xmp) == 1
    stripped = properties(surgery.edit_xmp(photo_xmp, (24, 41), gps=False))
    assert not any(name.startswith("GPS") for _, name in stripped)
    assert stripped["http://ns.adobe.com/photoshop/1.0/", "City"] == "Åland"


def test_gain_map_goes_with_its_hints():
    hints = '<hdrgm:Version xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/">1.0</hdrgm:Version>'
    jpeg = pictures.pillow(pictures.smooth(), "JPEG")
    data = pictures.with_segments(
        jpeg,
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + pictures.xmp(extra=hints)),
        (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"),
    )
    photo = read_photo(data + jpeg)
    assert [note for note in photo.notes if "gain map" in note] == [
        "The HDR gain map belongs to the old pixels and was dropped."
    ]
    result, _ = written(photo, "jpeg")
    assert b"hdr-gain-map" not in result
    assert b"21496" not in result
    assert result.count(b"\xff\xd8\xff") == 1


def test_captions_that_are_not_kept_are_told():
    iptc = b"\x1c\x02\x78\0\x05night"
    resource = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    jpeg = pictures.with_segments(pictures.pillow(pictures.smooth(), "JPEG"), (0xED, resource))
    tiff = pictures.tiff(pictures.noise(), fields={33723: (7, list(iptc))})
    for data in (jpeg, tiff):
        photo = read_photo(data)
        assert photo.notes == ("IPTC captions are not kept; EXIF and XMP are.",)
        assert b"night" not in written(photo, photo.format)[0]
    assert read_photo(jpeg.replace(b"8BIM\x04\x04", b"8BIM\x03\xed")).notes == ()


@pytest.mark.parametrize("kind", FORMATS)
def test_strip(kind):
    photo = read_photo(source())
    bare, _ = written(photo, kind, strip="all")
    kept = read_photo(bare).metadata
    assert kept == Metadata(icc=P3)
    assert b"Camera works" not in bare
    placeless, _ = written(photo, kind, strip="gps")
    with Image.open(io.BytesIO(placeless)) as image:
        assert image.getexif()[0x10F] == "Camera works"
        assert not image.getexif().get_ifd(0x8825)
    assert b"2024:05:06\0N" not in placeless
    assert b"GPSLatitude" not in placeless
    assert read_photo(placeless).metadata.icc == P3


@pytest.mark.parametrize("kind", [*FORMATS, "bmp", "ppm"])
def test_fingerprint(kind, tmp_path):
    path = tmp_path / f"photo.{kind}"
    photo = Photo(pictures.smooth())
    write_photo(photo, path, format=kind)
    assert read_fingerprint(path) is None
    write_photo(photo, path, format=kind, fingerprint="sha256:0&<'\">")
    assert read_fingerprint(path) == "sha256:0&<'\">"
    assert describe_photo(path)["fingerprint"] == "sha256:0&<'\">"
    again = read_photo(path)
    assert again.metadata.xmp is None  # a result is not what made it
    write_photo(again, path, format=kind)
    assert read_fingerprint(path) is None
    rich = read_photo(source())
    write_photo(rich, path, format=kind, fingerprint="second", strip="all")
    assert read_fingerprint(path) == "second"
    if kind in FORMATS:
        write_photo(rich, path, format=kind, fingerprint="third")
        assert read_fingerprint(path) == "third"
        assert "Åland".encode() in read_photo(path).metadata.xmp


def test_large_profile_and_packet_in_many_segments():
    icc = pictures.profile(pictures.DISPLAY_P3, pad=400_000)
    packet = pictures.xmp(extra="<dc:description>" + "long words " * 20_000 + "</dc:description>")
    photo = Photo(pictures.smooth(), metadata=Metadata(icc=icc, xmp=packet))
    data, notes = written(photo, "jpeg", fingerprint="f")
    assert notes == ()
    segments = pictures.jpeg_segments(data)
    assert sum(content.startswith(b"ICC_PROFILE\0") for _, content in segments) == 7
    assert sum(content.startswith(b"http://ns.adobe.com/xmp/extension/\0") for _, content in segments) == 4
    again = read_photo(data)
    assert again.metadata.icc == icc
    before, after = properties(packet), properties(again.metadata.xmp)
    assert before.items() <= after.items()
    assert ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP") not in after
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == icc


def test_too_much_for_a_jpeg_is_said():
    block = surgery.edit_exif(pictures.exif(), (64, 48))
    large = pictures.directory("<", {0x10F: (2, b"C\0"), 0x8298: (2, b"x" * 70000)}, 8)
    photo = Photo(pictures.smooth(), metadata=Metadata(exif=b"II*\0\x08\0\0\0" + large))
    data, notes = written(photo, "jpeg")
    assert any("EXIF is larger" in note for note in notes)
    assert read_photo(data).metadata.exif is None
    assert written(Photo(pictures.smooth(), metadata=Metadata(exif=block)), "jpeg")[1] == ()


@pytest.mark.parametrize(
    "exif",
    [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"nonsense" * 9, b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40],
    ids=repr,
)
def test_unreadable_exif_goes_and_the_picture_is_done(exif):
    array = pictures.noise()
    photo = read_photo(pictures.png(array, extra=[(b"eXIf", exif)]))
    np.testing.assert_array_equal(photo.samples, array)
    assert photo.metadata.exif is None
    assert any("EXIF" in note for note in photo.notes)


BILLION = (
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b"]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&j;</x:xmpmeta>"
)


@pytest.mark.parametrize(
    "packet",
    [
        b"no xml",
        b"<a/>",
        BILLION,
        BILLION.decode().encode("utf-16"),
        b"<a>" * 20_000 + b"</a>" * 20_000,
        b" " * 5_000_000,
        pictures.xmp(6)[:-60],
    ],
    ids=["text", "other", "entities", "utf-16", "deep", "large", "cut"],
)
def test_unreadable_xmp_goes_and_the_picture_is_done(packet):
    array = pictures.noise()
    photo = read_photo(pictures.png(array, extra=[(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)]))
    np.testing.assert_array_equal(photo.samples, array)
    assert photo.metadata.xmp is None
    assert any("XMP" in note for note in photo.notes)


def test_packed_packet_and_packed_bomb():
    def with_text(text):
        data = b"XML:com.adobe.xmp\0\1\0en\0x\0" + zlib.compress(text)
        return read_photo(pictures.png(pictures.noise(), extra=[(b"iTXt", data)]))

    assert properties(with_text(pictures.xmp()).metadata.xmp)
    assert with_text(b"\0" * 100_000_000).metadata.xmp is None


def test_old_photo_without_metadata_stays_without():
    for kind in FORMATS:
        data, _ = written(Photo(pictures.smooth()), kind)
        assert read_photo(data).metadata == Metadata()
    names = [name for name, _ in pictures.png_chunks(written(Photo(pictures.smooth()), "png")[0])]
    assert set(names) == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "bmp"])
def test_resolution(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = read_photo(pictures.pillow(pictures.smooth(), kind.upper(), dpi=(300, 150)))
    np.testing.assert_allclose(np.array(photo.metadata.resolution) * 25.4, (300, 150), rtol=1e-3)
    with Image.open(io.BytesIO(written(photo, kind)[0])) as image:
        np.testing.assert_allclose([float(side) for side in image.info["dpi"]], (300, 150), rtol=1e-2)


def test_describe():
    found = describe_photo(source())
    assert found == {
        "format": "PNG",
        "width": 40,
        "height": 24,
        "depth": "8 bit",
        "colour": "RGB",
        "alpha": False,
        "profile": "Display P3",
        "orientation": 6,
        "exif": True,
        "xmp": True,
        "resolution": (7.874, 11.811),
        "fingerprint": None,
        "notes": [],
    }
    assert describe_photo(pictures.tiff(pictures.noise(channels=2, dtype=np.float32)))["depth"] == "float"
    assert describe_photo(pictures.pillow(pictures.smooth(), "JPEG", "CMYK"))["colour"] == "CMYK"
    assert describe_photo(pictures.pillow(pictures.smooth(), "PNG", "P"))["colour"] == "palette"
    assert describe_photo(pictures.pillow(pictures.smooth(), "PNG", "1"))["depth"] == "1 bit"
