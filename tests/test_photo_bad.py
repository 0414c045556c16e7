"""What is no photo, lies, or can't be written: one line, quickly, nothing left behind, originals whole."""

import gc
import io
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pictures
from lowlight import containers, reading
from lowlight.errors import PhotoError
from lowlight.libvips import vips
from lowlight.photo import (
    DAMAGED,
    MAX_PIXELS,
    Metadata,
    Photo,
    describe_photo,
    read_fingerprint,
    read_photo,
    write_photo,
)

KINDS = ("jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm")
EXIF = Metadata(exif=pictures.exif(1), xmp=pictures.xmp(), icc=pictures.profile(pictures.DISPLAY_P3))


def written(kind, photo=None):
    file = io.BytesIO()
    write_photo(photo or Photo(pictures.smooth()), file, format=kind)
    return file.getvalue()


PLAIN = {kind: written(kind) for kind in KINDS}
RICH = {kind: written(kind, Photo(pictures.smooth(), metadata=EXIF)) for kind in KINDS}


@pytest.fixture(autouse=True)
def no_hanging(request):
    """A file that is waited for must fail its test, not stop the run."""
    if request.node.get_closest_marker("slow"):
        yield
        return

    def stop(*_):
        raise AssertionError("took more than two minutes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def one_line(error):
    assert str(error).isprintable()
    assert len(str(error)) < 500
    return str(error)


def refusal(source, **options):
    with pytest.raises(PhotoError) as caught:
        read_photo(source, **options)
    return one_line(caught.value)


def attempt(function, *arguments, **options):
    """What the function gives, or None where it refuses in one line."""
    try:
        return function(*arguments, **options)
    except PhotoError as error:
        one_line(error)
        return None


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(code, *arguments):
    """A process of its own: its exit status, output and errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        # libvips holds more rows on more cores.
        env={**os.environ, "VIPS_CONCURRENCY": "2"},
    )


# --- files that are no photos


@pytest.mark.parametrize("kind", KINDS)
def test_cut_anywhere(kind):
    data = PLAIN[kind]
    assert read_photo(data).height == 48
    for part in np.linspace(0, 0.97, 30):
        refusal(data[: int(len(data) * part)])


@pytest.mark.parametrize("kind", KINDS)
def test_cut_while_it_is_read(kind, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(written(kind, Photo(pictures.noise(400, 400))))
    with reading.opened(path, MAX_PIXELS) as file:
        picture = reading.open_picture(file, MAX_PIXELS)
        os.truncate(path, 5000)
        rows = attempt(lambda: [picture.rows(top, 8) for top in range(0, 400, 8)])
        assert rows is None or np.concatenate(rows).shape == (400, 400, 3)  # it had been read before


@pytest.mark.slow
@settings(max_examples=250, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_anyhow(data):
    kind = data.draw(st.sampled_from(KINDS))
    content = bytearray(data.draw(st.sampled_from([PLAIN, RICH]))[kind])
    for _ in range(data.draw(st.integers(0, 4))):
        near = data.draw(st.sampled_from([64, 400, len(content)]))
        content[data.draw(st.integers(0, min(near, len(content)) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.one_of(st.none(), st.integers(0, len(content))))])
    attempt(describe_photo, content, max_pixels=100_000)
    photo = attempt(read_photo, content, max_pixels=100_000, exact=data.draw(st.booleans()))
    if photo is not None:
        again = io.BytesIO()
        write_photo(photo, again, format="tiff", fingerprint="f")
        assert read_photo(again.getvalue()).samples.shape == photo.samples.shape


FOREIGN = {
    "a GIF": b"GIF89a" + bytes(50),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "a PDF": b"%PDF-1.7\n",
    "an SVG drawing": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a web page": b"<!DOCTYPE html><html></html>",
    "a HEIC photo": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "a JPEG XL photo": b"\xff\x0a" + bytes(20),
    "a Photoshop file": b"8BPS\0\1",
    "an archive": b"PK\3\4" + bytes(30),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "the file is empty": b"",
    "not a photo": b"just some words",
    "this is a film": b"\0\0\0\x18ftypmp42",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_content_under_a_photos_name(name, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(FOREIGN[name])
    text = refusal(path)
    assert name in text
    assert text.startswith(str(path))
    with pytest.raises(PhotoError, match=name):
        read_fingerprint(path)


def test_operations_that_libvips_does_not_trust_are_blocked(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    for load in (
        lambda: vips().Image.csvload(tmp_path / "a.csv"),
        lambda: vips().Image.svgload_buffer(b"<svg/>"),
    ):
        with pytest.raises(pyvips.Error, match="operation is blocked"):
            load()


def test_no_interpreter_is_started(tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    for name in ("gs", "gswin32c", "gswin64c", "inkscape", "rsvg-convert"):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\ntouch {canary}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    refusal(FOREIGN["PostScript"])
    refusal(b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 30, 100, 0, 0, 0, 0) + FOREIGN["PostScript"])
    assert not canary.exists()


def test_content_counts_not_the_name(tmp_path):
    for kind in KINDS:
        path = tmp_path / f"{kind}.wrong"
        path.write_bytes(PLAIN[kind])
        assert read_photo(path).format == kind
        assert read_photo(str(path)).format == kind
        with path.open("rb") as file:
            assert read_photo(file).format == kind


def test_what_is_no_regular_file(tmp_path):
    folder = tmp_path / "x.jpg"
    folder.mkdir()
    assert refusal(folder) == f"{folder}: this is a folder"
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)
    assert refusal(fifo) == f"{fifo}: this is no regular file"
    assert "no regular file" in refusal("/dev/zero")
    dangling = tmp_path / "dangling.jpg"
    dangling.symlink_to(tmp_path / "nowhere")
    assert "No such file" in refusal(dangling)
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    assert "symbolic links" in refusal(loop)
    assert "No such file" in refusal(tmp_path / "missing.jpg")
    assert "no file can have this name" in refusal("nul\0byte.jpg")


@pytest.mark.parametrize(
    "name",
    [
        b"with\nnewline.png",
        b"-rf.png",
        b"# blank .png",
        b"not-utf8-\xff\xe9.png",
        b"\xc3\xa9" * 100 + b".png",
        b"y" * 251 + b".png",
    ],
    ids=["newline", "dash", "blank", "latin", "accents", "long"],
)
def test_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name))
    photo = Photo(pictures.noise())
    write_photo(photo, path, fingerprint="f")
    assert [os.fsencode(found) for found in names(tmp_path)] == [name]
    np.testing.assert_array_equal(read_photo(path).samples, photo.samples)
    assert read_fingerprint(path) == "f"
    path.write_bytes(b"damaged")
    refusal(path)


class Endless(io.RawIOBase):
    """A pipe that never ends."""

    def __init__(self, head):
        self.head, self.given = head, 0

    def read(self, size=-1):
        self.given += size
        head, self.head = self.head[:size], self.head[size:]
        return head + bytes(size - len(head))


def test_a_stream_that_never_ends():
    zeros = Endless(b"")
    assert "not a photo" in refusal(zeros)
    assert zeros.given < 10_000
    endless = Endless(PLAIN["jpeg"][:200])
    assert "more bytes than" in refusal(endless, max_pixels=1_000_000)
    assert endless.given < 100_000_000


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_a_jpeg_that_lost_a_part_is_told(options):
    good = pictures.pillow(pictures.smooth(), "JPEG", quality=95, **options)
    scan = good.rindex(b"\xff\xda")
    for harmless in (good, good + b"more", good[:-2] + b"\0\0" + good[-2:]):
        assert read_photo(harmless).notes == ()
    lost = good[: (scan + len(good)) // 2] + b"\xff\xd9"  # a copy that broke off, and was closed by a tool
    photo = attempt(read_photo, lost)
    if photo is not None:
        assert photo.notes == (DAMAGED,)
        assert not np.array_equal(photo.samples, read_photo(good).samples)
        assert describe_photo(lost)["width"] == photo.width
    else:
        assert "progressive" in options


def test_a_reason_is_never_another_photo_s():
    """libvips keeps one text of errors for all photos, and what a damaged JPEG leaves there stays."""
    lost = PLAIN["jpeg"][:-400] + b"\xff\xd9"
    chunks = dict(pictures.png_chunks(PLAIN["png"]))
    split = PLAIN["png"].replace(
        pictures.png_chunk(b"IDAT", chunks[b"IDAT"]),
        pictures.png_chunk(b"IDAT", chunks[b"IDAT"][:99])
        + pictures.png_chunk(b"tEXt", b"a\0b")
        + pictures.png_chunk(b"IDAT", chunks[b"IDAT"][99:]),
    )
    for broken in (split, PLAIN["webp"][:-99], PLAIN["tiff"][:-99]):
        assert read_photo(lost).notes == (DAMAGED,)
        assert "jpeg" not in refusal(broken).lower()


# --- headers that lie


def bombs():
    claims = 60_000, 60_000
    array = pictures.noise()
    jpeg = bytearray(PLAIN["jpeg"])
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    webp = bytearray(RICH["webp"])
    at = webp.index(b"VP8X")
    webp[at + 12 : at + 18] = (16383).to_bytes(3, "little") * 2
    avif = bytearray(PLAIN["avif"])
    at = avif.index(b"ispe") + 8
    avif[at : at + 8] = struct.pack(">II", *claims)
    bmp = bytearray(PLAIN["bmp"])
    bmp[18:26] = struct.pack("<ii", *claims)
    return {
        "png": pictures.png(array, size=claims),
        "png of 44 bytes": pictures.png(array, size=claims)[:44],
        "tiff": pictures.tiff(array, fields={256: (4, claims[0]), 257: (4, claims[1])}),
        "ppm": b"P6 60000 60000 255\n" + bytes(100),
        "pgm of text": b"P2 60000 60000 255\n" + b"1 " * 100,
        "jpeg": bytes(jpeg),
        "webp": bytes(webp),
        "avif": bytes(avif),
        "bmp": bytes(bmp),
        # Within the limit, but not there.
        "small png": pictures.png(array, size=(15_000, 15_000)),
        "small tiff": pictures.tiff(array, fields={256: (4, 15_000), 257: (4, 15_000), 278: (4, 15_000)}),
        "small ppm": b"P6 15000 15000 255\n" + bytes(100),
        "small text": b"P3 15000 15000 255\n" + b"1 " * 100,
    }


def test_bombs(tmp_path):
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    done = run(
        """
import resource, sys
from pathlib import Path
from lowlight.errors import PhotoError
from lowlight.photo import read_photo
before = None
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_photo(path)
    except PhotoError as error:
        assert str(error).isprintable()
        print(path.name, "refused", "pixels, more than the 250,000,000 allowed" in str(error))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = before or used
print((used - before) // 1024)
""",
        tmp_path,
    )
    assert done.stderr == ""
    *lines, grown = done.stdout.splitlines()
    by_size = {name: f"{name} refused {not name.startswith('small')}" for name in bombs()}
    lenient = {
        "webp": "webp refused False",
        "avif": "avif refused False",
        "png of 44 bytes": "png of 44 bytes refused False",
    }
    for name, line in by_size.items():
        assert line in lines or lenient.get(name) in lines, name
    assert int(grown) < 100


@pytest.mark.parametrize("value", [b"1" * 100, b"4294967296", b"-1", b"1.5", b"x", b"0x1", b"1_0", b"+1"])
def test_a_value_of_text_that_is_no_number(value):
    for maximum in (b"255", b"65535"):
        assert "broken PPM (a value that is no number" in refusal(b"P2 2 1 " + maximum + b" 0 " + value)


def test_what_follows_values_of_text_costs_nothing():
    photo = read_photo(b"P2 100 100 255" + b" 7" * 10_000 + b" " + b"9" * 10_000_000)
    assert (photo.samples == 7).all()


def test_limit_of_pixels():
    data = PLAIN["png"]
    assert "64 x 48 = 3,072 pixels, more than the 3,071 allowed; " in refusal(data, max_pixels=64 * 48 - 1)
    assert read_photo(data, max_pixels=64 * 48).width == 64


def odd():
    palette = pictures.pillow(pictures.smooth(), "PNG", "P")
    chunks = dict(pictures.png_chunks(palette))
    few = palette.replace(
        pictures.png_chunk(b"PLTE", chunks[b"PLTE"]), pictures.png_chunk(b"PLTE", chunks[b"PLTE"][:6])
    )
    good = pictures.png(pictures.noise())
    flipped = bytearray(good)
    flipped[-20] ^= 255
    big = pictures.tiff(pictures.noise(), big=True)
    tiff = pictures.tiff(pictures.noise())
    first = struct.unpack("<I", tiff[4:8])[0]
    return {
        "index beyond the palette": (few, None),
        "no image data": (good[:33] + pictures.png_chunk(b"IEND", b""), False),
        "wrong checksum": (bytes(flipped), False),
        "text-mode damage": (good.replace(b"\r\n", b"\n"), False),
        "offset beyond 64 bits": (big[:8] + b"\xff" * 8 + big[16:], False),
        "directory loop": (tiff[:-4] + struct.pack("<I", first), None),
        "no size": (pictures.png(pictures.noise(), size=(0, 0)), False),
        "32 bit": (pictures.tiff(pictures.noise(dtype=np.uint16).astype(np.uint32)), False),
        "signed": (pictures.tiff(pictures.noise().astype(np.int16)), False),
        "six channels": (pictures.tiff(pictures.noise(channels=6)), False),
        "lab": (pictures.tiff(pictures.noise(), fields={262: (3, 8)}), False),
        "arithmetic coding": (PLAIN["jpeg"].replace(b"\xff\xc0", b"\xff\xc9"), None),
        "12 bit jpeg": (PLAIN["jpeg"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), False),
    }


@pytest.mark.parametrize("name", odd())
def test_odd_files_are_done_or_refused(name):
    data, accepted = odd()[name]
    if accepted is None:
        attempt(read_photo, data)
    else:
        refusal(data)


@pytest.mark.slow
def test_nothing_is_printed(tmp_path):
    samples = [*bombs().values(), *(data for data, _ in odd().values())]
    samples += [
        data[: len(data) * part // 9] for data in [*PLAIN.values(), *RICH.values()] for part in range(1, 10)
    ]
    fax = pictures.pillow(pictures.smooth(), "TIFF", "1", compression="group4")
    noisy = np.random.default_rng(0)
    for data in (fax, *RICH.values()):
        for _ in range(6):
            damaged = bytearray(data)
            for at in noisy.integers(0, len(data), 4):
                damaged[at] = noisy.integers(0, 256)
            samples.append(bytes(damaged))
    for number, data in enumerate(samples):
        (tmp_path / str(number)).write_bytes(data)
    done = run(
        """
import sys
from pathlib import Path
from lowlight.errors import PhotoError
from lowlight.photo import read_photo
for path in Path(sys.argv[1]).iterdir():
    try:
        read_photo(path, max_pixels=1_000_000)
    except PhotoError:
        pass
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- writing that fails


def test_disk_full_leaves_the_original_whole(tmp_path):
    """A limit on file sizes stops writing in the middle, as a full disk does."""
    for kind in KINDS:
        (tmp_path / f"photo.{kind}").write_bytes(PLAIN[kind])
    done = run(
        """
import resource, signal, sys
from pathlib import Path
import numpy as np
from lowlight.errors import PhotoError
from lowlight.photo import Photo, write_photo
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.dont_write_bytecode = True  # Python would keep what the limit leaves of it
noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        write_photo(Photo(noise), path)
    except PhotoError as error:
        print(error)
""",
        tmp_path,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(KINDS)
    for kind, line in zip(sorted(KINDS), lines, strict=True):
        assert line == f"{tmp_path}/photo.{kind}: can't be written: File too large"
        assert (tmp_path / f"photo.{kind}").read_bytes() == PLAIN[kind]
    assert names(tmp_path) == sorted(f"photo.{kind}" for kind in KINDS)


def test_full_device():
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(PhotoError, match="No space left on device"),
    ):
        write_photo(Photo(pictures.noise()), full, format="png")


def test_where_nothing_can_be_written(tmp_path):
    photo = Photo(pictures.noise())
    folder = tmp_path / "a.png"
    folder.mkdir()
    cases = {
        folder: "this is a folder",
        tmp_path / "missing" / "a.png": "No such file",
        Path("/dev/null"): "no regular file",
        Path("/proc/a.png"): "can't be written",
        tmp_path / ("z" * 300 + ".png"): "can't be written",
    }
    for target, expected in cases.items():
        with pytest.raises(PhotoError) as caught:
            write_photo(photo, target, format="png")
        assert expected in str(caught.value)
        assert str(caught.value).startswith(str(target))
        assert str(caught.value).isprintable()
    assert names(tmp_path) == ["a.png"]
    assert names(folder) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PhotoError, match="Permission denied"):
        write_photo(Photo(pictures.noise()), tmp_path / "a.png")
    assert names(tmp_path) == []
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
def test_interrupted_in_the_middle(failure, tmp_path, monkeypatch):
    target = tmp_path / "photo.png"
    write_photo(Photo(pictures.smooth()), target)
    before = target.read_bytes()

    def half(source, file, changes):
        file.write(b"half of a file")
        raise failure

    monkeypatch.setattr(containers, "copy_spliced", half)
    with pytest.raises(KeyboardInterrupt if failure is KeyboardInterrupt else PhotoError):
        write_photo(Photo(pictures.noise()), target)
    assert names(tmp_path) == ["photo.png"]
    assert target.read_bytes() == before


FORKED = """
import io, os, sys
import numpy as np
from lowlight.errors import PhotoError
from lowlight.photo import Photo, write_photo
photo = Photo(np.zeros((9, 9, 3), np.uint8))
if sys.argv[1] == "after":
    write_photo(photo, io.BytesIO(), format="png")
if os.fork() == 0:
    try:
        write_photo(photo, io.BytesIO(), format="png")
        print("written", flush=True)
    except PhotoError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
write_photo(photo, io.BytesIO(), format="png")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
@pytest.mark.parametrize(
    ("when", "said"), [("before", "written"), ("after", "forked from one that had written")]
)
def test_a_fork_of_a_process_that_wrote_is_told_so_and_does_not_wait(when, said):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, when], capture_output=True, text=True, timeout=60, check=True
    )
    assert said in done.stdout


LARGEST = [("jpeg", 65500), ("webp", 16383), ("avif", 16384)]


def test_too_large_for_a_format():
    wide = Photo(np.zeros((1, 70_000, 3), np.uint8))
    for kind, most in LARGEST:
        with pytest.raises(
            PhotoError, match=f"can't be written: .* at most {most} pixels a side.* 70000 x 1;"
        ):
            write_photo(wide, io.BytesIO(), format=kind)
    write_photo(wide, io.BytesIO(), format="png")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most"), LARGEST)
def test_the_largest_of_a_format(kind, most):
    file = io.BytesIO()
    write_photo(Photo(np.zeros((most, 1, 3), np.uint8)), file, format=kind)
    assert read_photo(file.getvalue()).height == most


@pytest.mark.slow
def test_killed_while_writing(tmp_path):
    """Whenever the process dies, the target is one of the two photos, whole."""
    target = tmp_path / "photo.png"
    write_photo(Photo(np.zeros((300, 300, 3), np.uint8)), target)
    code = """
import sys
import numpy as np
from lowlight.photo import Photo, write_photo
photos = [Photo(np.full((300, 300, 3), value, np.uint8)) for value in (0, 255)]
print("ready", flush=True)
while True:
    for photo in photos:
        write_photo(photo, sys.argv[1])
"""
    rng = np.random.default_rng(0)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.random() * 0.2)
        process.kill()
        process.wait()
        process.stdout.close()
        assert read_photo(target).samples.min() == read_photo(target).samples.max()
    left = [path for path in tmp_path.iterdir() if path != target]
    assert all(path.name.startswith(".lowlight-") for path in left)


# --- memory


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_keeps_no_pixels_and_no_files(kind, tmp_path):
    """Not even until the garbage is collected: the next photo needs the memory and the disk."""
    broken = tmp_path / "broken"
    broken.write_bytes(PLAIN[kind][: len(PLAIN[kind]) * 2 // 3])
    wide = Photo(np.zeros((1, 70_000, 3), np.uint8))

    def fail():
        attempt(read_photo, broken)
        attempt(write_photo, wide, tmp_path / "wide.jpg")
        attempt(write_photo, wide, tmp_path / "missing" / "wide.png")

    fail()
    gc.collect()
    gc.disable()
    try:
        files = len(list(Path("/proc/self/fd").iterdir()))
        fail()
        assert len(list(Path("/proc/self/fd").iterdir())) == files
        assert gc.collect() == 0
    finally:
        gc.enable()


MEASURE = """
import resource, sys
from lowlight.libvips import vips
from lowlight.photo import read_photo, write_photo
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
vips()
base = peak()
photo = read_photo(sys.argv[1])
print(peak() - base)
write_photo(photo, sys.argv[2])
print(peak() - base)
"""


@pytest.mark.slow
@pytest.mark.parametrize("result", ["jpg", "png", "tiff"])
def test_a_photo_of_24_megapixels_is_held_once(result, tmp_path):
    tile = np.kron(pictures.noise(100, 150), np.ones((8, 8, 1), np.uint8))
    large = pyvips.Image.new_from_array(tile).replicate(5, 5)
    assert large.width * large.height == 24_000_000
    large.jpegsave(str(tmp_path / "large.jpg"), Q=90)
    done = run(MEASURE, tmp_path / "large.jpg", tmp_path / f"result.{result}")
    read, both = map(float, done.stdout.split())
    assert read < 69 + 45
    assert both < 150


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    for kind in ("jpeg", "png", "webp"):
        (tmp_path / f"a.{kind}").write_bytes(RICH[kind])
    (tmp_path / "broken.jpeg").write_bytes(PLAIN["jpeg"][:700])
    done = run(
        """
import resource, sys
from pathlib import Path
from lowlight.errors import PhotoError
from lowlight.photo import read_photo, write_photo
folder = Path(sys.argv[1])
sources = sorted(folder.iterdir())
used = []
for turn in range(150):
    for path in sources:
        try:
            write_photo(read_photo(path), folder / f"result{path.suffix}", fingerprint="f")
        except PhotoError:
            pass
    used.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(used[-1] - used[50], len(list(Path("/proc/self/fd").iterdir())))
""",
        tmp_path,
    )
    assert done.stderr == ""
    grown, files = map(float, done.stdout.split())
    assert grown < 3
    assert files < 30


def test_pyvips_waits_until_it_is_needed():
    done = run(
        "import sys, lowlight.photo; print([m for m in ('pyvips', 'PIL', 'torch') if m in sys.modules])"
    )
    assert done.stdout == "[]\n"
