"""Makers of pictures and their parts, by hand where a library would not write them (or is the one tested)."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.swapaxes(a, 0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}
"""Upright pixels to those that a file of that orientation stores (EXIF 2.32, table 6)."""


def noise(height=24, width=40, channels=3, dtype=np.uint8, seed=0):
    values = np.random.default_rng(seed).random(
        (height, width, channels) if channels > 1 else (height, width)
    )
    return (
        values.astype(np.float32)
        if dtype == np.float32
        else (values * np.iinfo(dtype).max).round().astype(dtype)
    )


def smooth(height=48, width=64, seed=0):
    """A photo-like picture that lossy formats keep within a few steps: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / width * a + y / height * b + c) for a, b, c in rng.random((3, 3)) * 4]
    return np.stack([110 + 90 * wave for wave in waves], -1).round().astype(np.uint8)


def scene(seed, height=96, width=128):
    """A picture that no other seed's looks like, as photos of different places: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(30, 226, (9, 11, 3), np.uint8))
    large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return np.clip(large + rng.integers(-6, 7, large.shape), 0, 255).astype(np.uint8)


def pillow(array, kind, mode=None, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


# --- PNG


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(array, *, extra=(), size=None, data=None):
    """An 8 or 16 bit PNG; ``extra``: chunks behind the header; ``size``, ``data``: lies about them."""
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = array.astype(array.dtype.newbyteorder(">")).reshape(height, -1)
    packed = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", *(size or (width, height)), array.dtype.itemsize * 8, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", head)
        + b"".join(png_chunk(name, content) for name, content in extra)
        + png_chunk(b"IDAT", zlib.compress(packed) if data is None else data)
        + png_chunk(b"IEND", b"")
    )


def png_chunks(data):
    at, found = 8, []
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        assert (
            zlib.crc32(data[at + 4 : at + 8 + length])
            == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]
        )
        found.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


# --- JPEG


def with_segments(jpeg, *segments):
    """A JPEG with application segments (marker, data) behind its first bytes."""
    return jpeg[:2] + b"".join(struct.pack(">BBH", 255, m, len(d) + 2) + d for m, d in segments) + jpeg[2:]


def jpeg_segments(data):
    at, found = 2, []
    while data[at + 1] != 0xDA:
        marker, length = struct.unpack(">xBH", data[at : at + 4])
        found.append((marker, data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found


# --- EXIF and TIFF

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 12: 8}
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 12: "d"}


def _field(order, kind, values):
    if isinstance(values, bytes):
        return len(values) // _SIZES[kind], values
    numbers = values if isinstance(values, (tuple, list)) else (values,)
    count = len(numbers) // (2 if kind == 5 else 1)
    return count, struct.pack(f"{order}{len(numbers)}{_CODES[kind]}", *numbers)


def directory(order, fields, base, following=0, big=False):
    """One directory at ``base``: fields {tag: (kind, values)}; values that do not fit stand behind it."""
    pointer, inline = ("Q", 8) if big else ("I", 4)
    rows, tail = b"", b""
    behind = base + (8 if big else 2) + (20 if big else 12) * len(fields) + inline
    for tag, (kind, values) in sorted(fields.items()):
        count, data = _field(order, kind, values)
        if len(data) > inline:
            place = struct.pack(order + pointer, behind + len(tail))
            tail += data + b"\0" * (len(data) % 2)
        else:
            place = data.ljust(inline, b"\0")
        rows += struct.pack(order + "HH" + pointer, tag, kind, count) + place
    head = struct.pack(order + ("Q" if big else "H"), len(fields))
    return head + rows + struct.pack(order + pointer, following) + tail


MAKER = b"Maker's own block, offsets count from the start" * 3
THUMBNAIL = b"\xff\xd8" + b"old dark thumbnail" * 20 + b"\xff\xd9"


def exif(orientation=6, order=">", size=(40, 24), gps=True, thumbnail=True):
    """An EXIF block as cameras write it: maker's block, sub-directories, place, thumbnail at the end."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    photo = {
        0x829A: (5, (1, 50)),
        0x9003: (2, b"2024:05:06 07:08:09\0"),
        0x927C: (7, MAKER),
        0xA002: (4, size[0]),
        0xA003: (4, size[1]),
        0xA434: (2, b"Old 50mm lens\0"),
    }
    place = {1: (2, b"N\0"), 2: (5, (48, 1, 8, 1, 1234, 100)), 29: (2, b"2024:05:06\0")}
    first = {
        0x100: (4, size[0]),
        0x10F: (2, b"Camera works\0"),
        0x110: (2, b"C1\0"),
        0x112: (3, orientation),
        0x11A: (5, (300, 1)),
        0x11B: (5, (300, 1)),
        0x128: (3, 2),
        0x8298: (2, b"(c) somebody, with a name that is long\0"),
        0x8769: (4, 0),
    }
    if gps:
        first[0x8825] = (4, 0)
    if orientation is None:
        del first[0x112]
    at_photo = 8 + len(directory(order, first, 8))
    at_place = at_photo + len(directory(order, photo, at_photo))
    at_thumb = at_place + (len(directory(order, place, at_place)) if gps else 0)
    first[0x8769] = (4, at_photo)
    if gps:
        first[0x8825] = (4, at_place)
    thumb = {0x103: (3, 6), 0x201: (4, 0), 0x202: (4, len(THUMBNAIL))}
    thumb[0x201] = (4, at_thumb + len(directory(order, thumb, at_thumb)))
    block = mark + struct.pack(order + "I", 8) + directory(order, first, 8, at_thumb if thumbnail else 0)
    block += directory(order, photo, at_photo)
    if gps:
        block += directory(order, place, at_place)
    return block + (directory(order, thumb, at_thumb) + THUMBNAIL if thumbnail else b"")


def tags(block):
    """All tags of an EXIF block as Pillow reads them: {directory: {tag: value}}."""
    found = Image.Exif()
    found.load(block)
    return {
        "first": {tag: value for tag, value in found.items() if tag not in (0x8769, 0x8825)},
        "photo": dict(found.get_ifd(0x8769)),
        "place": dict(found.get_ifd(0x8825)),
    }


def tiff(
    array,
    *,
    order="<",
    big=False,
    tile=None,
    planar=False,
    sample_format=None,
    depth=None,
    data=None,
    fields=(),
):
    """An uncompressed TIFF of any number kind; ``tile``: side of its tiles; ``data``: the values themselves."""
    array = array[..., None] if array.ndim == 2 else array
    height, width, channels = array.shape
    stored = array.astype(array.dtype.newbyteorder(order))
    planes = [stored[..., c : c + 1] for c in range(channels)] if planar else [stored]
    pieces = []
    for plane in planes:
        if tile is None:
            pieces.append(plane.tobytes())
            continue
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                part = np.zeros((tile, tile, plane.shape[2]), plane.dtype)
                cut = plane[top : top + tile, left : left + tile]
                part[: cut.shape[0], : cut.shape[1]] = cut
                pieces.append(part.tobytes())
    if data is not None:
        pieces = [data]
    start = 16 if big else 8
    offsets = [start + sum(len(piece) for piece in pieces[:i]) for i in range(len(pieces))]
    kinds = {"u": 1, "i": 2, "f": 3}
    chosen = {
        256: (4, width),
        257: (4, height),
        258: (3, [depth or array.dtype.itemsize * 8] * channels),
        259: (3, 1),
        262: (3, 2 if channels >= 3 else 1),
        277: (3, channels),
        284: (3, 2 if planar else 1),
        339: (3, [sample_format or kinds[array.dtype.kind]] * channels),
    }
    if channels in (2, 4):
        chosen[338] = (3, 2)
    if tile is None:
        chosen |= {273: (4, offsets), 278: (4, height), 279: (4, [len(piece) for piece in pieces])}
    else:
        chosen |= {
            322: (4, tile),
            323: (4, tile),
            324: (4, offsets),
            325: (4, [len(piece) for piece in pieces]),
        }
    chosen |= dict(fields)
    body = b"".join(pieces)
    body += b"\0" * (len(body) % 2)
    mark = {"<": b"II", ">": b"MM"}[order]
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, start + len(body))
    else:
        head = mark + struct.pack(order + "HI", 42, start + len(body))
    return head + body + directory(order, chosen, start + len(body), big=big)


# --- XMP


def xmp(orientation=None, *, gps=False, extra="", attributes=True):
    """A packet; properties as attributes, or as elements."""
    properties = {"dc:format": "image/jpeg", "photoshop:City": "Åland"}
    if orientation:
        properties["tiff:Orientation"] = str(orientation)
        properties["tiff:ImageWidth"] = "40"
    if gps:
        properties["exif:GPSLatitude"] = "48,8.2N"
    spaces = (
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
    )
    inside = "" if attributes else "".join(f"<{k}>{v}</{k}>" for k, v in properties.items())
    outside = " ".join(f'{k}="{v}"' for k, v in properties.items()) if attributes else ""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {spaces} {outside}>{inside}{extra}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta>\n    <?xpacket end="w"?>'
    ).encode()


# --- ICC

SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
SRGB_CURVE = struct.pack(
    ">4s4xHH5i",
    b"para",
    3,
    0,
    *(round(v * 65536) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
)


def gamma_curve(gamma):
    return struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))


def profile(primaries=None, curve=SRGB_CURVE, name=b"test profile", pad=0):
    """A profile of three primaries (XYZ under D50) and a curve; no primaries: a grey one."""
    parts = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" * 80,
        b"wtpt": struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061),
        b"cprt": b"text\0\0\0\0none\0" + b"x" * pad,
    }
    if primaries is None:
        parts[b"kTRC"] = curve
    else:
        for letter, values in zip((b"r", b"g", b"b"), primaries, strict=True):
            parts[letter + b"XYZ"] = struct.pack(">4s4x3i", b"XYZ ", *(round(v * 65536) for v in values))
            parts[letter + b"TRC"] = curve
    table, body = struct.pack(">I", len(parts)), b""
    start = 132 + 12 * len(parts)
    for tag, data in parts.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", tag, start + len(body), len(data))
        body += data
    space = b"GRAY" if primaries is None else b"RGB "
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x04300000, b"mntr", space, b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def iccp(data):
    """The content of a PNG's chunk of a profile."""
    return b"name\0\0" + zlib.compress(data)


class Sip(io.RawIOBase):
    """An open file without a buffer, which takes a part of what it is given."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data[:100])
        return min(len(data), 100)
