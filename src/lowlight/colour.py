"""Colour spaces: ICC profiles to sRGB and back, linear light to sRGB and back.

Profiles that are sRGB in all but name are recognised, so that their pixels stay as they are, bit for bit.
"""

from __future__ import annotations

import struct
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lowlight.libvips import VipsError, failing, image_of, vips
from lowlight.methods import Array

Space = Literal["RGB", "GRAY", "CMYK"]

_SRGB_PRIMARIES = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
"""Red, green, blue of sRGB in XYZ under D50, as profiles store them (IEC 61966-2-1, Bradford)."""
_PRIMARY_TOLERANCE = 0.003
_CURVE_TOLERANCE = 0.001
"""In linear light; a plain gamma of 2.2 is off by 0.0084."""


def to_srgb_curve(linear: Array) -> Array:
    """Linear light to sRGB values (IEC 61966-2-1), both in [0, 1], any shape."""
    low = linear * np.float32(12.92)
    high = np.float32(1.055) * np.power(linear, np.float32(1 / 2.4)) - np.float32(0.055)
    return np.where(linear <= 0.0031308, low, high).astype(np.float32)


def linear_light(image: Any) -> Any:
    """The opposite, for a libvips image with values in [0, 1]."""
    low = image / 12.92
    high = ((image + 0.055) / 1.055) ** 2.4
    return (image <= 0.04045).ifthenelse(low, high).cast("float")


def profile_space(profile: bytes) -> Space | None:
    """What a profile's numbers mean; None: this is no profile that can be trusted."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        return None
    (size,) = struct.unpack(">I", profile[:4])
    tags = _tags(profile)
    if size > len(profile) or not tags or any(at + length > len(profile) for at, length in tags.values()):
        return None
    if profile[20:24] not in (b"XYZ ", b"Lab "):
        return None
    spaces: dict[bytes, Space] = {b"RGB ": "RGB", b"GRAY": "GRAY", b"CMYK": "CMYK"}
    return spaces.get(profile[16:20])


def profile_name(profile: bytes) -> str:
    """The description that a profile carries of itself."""
    at, length = _tags(profile).get(b"desc", (0, 0))
    data = profile[at : at + length]
    if data[:4] == b"desc" and len(data) > 12:
        (count,) = struct.unpack(">I", data[8:12])
        text = data[12 : 12 + count].decode("latin-1")
    elif data[:4] == b"mluc" and len(data) >= 28:
        count, start = struct.unpack(">II", data[20:28])
        text = data[start : start + count].decode("utf-16-be", "replace")
    else:
        text = ""
    return "".join(c for c in text if c.isprintable()).strip() or "unnamed"


@lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile's primaries and curves are those of sRGB (for grey: the curve)."""
    tags = _tags(profile)

    def data(name: bytes) -> bytes:
        at, length = tags[name]
        return profile[at : at + length]

    try:
        if b"A2B0" in tags:
            return False
        if profile[16:20] == b"GRAY":
            return _is_srgb_curve(data(b"kTRC"))
        for name, expected in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _SRGB_PRIMARIES, strict=True):
            found = np.array(struct.unpack(">3i", data(name)[8:20])) / 65536
            if np.abs(found - expected).max() > _PRIMARY_TOLERANCE:
                return False
        return all(_is_srgb_curve(data(name)) for name in (b"rTRC", b"gTRC", b"bTRC"))
    except (KeyError, struct.error, ValueError):
        return False


def _tags(profile: bytes) -> dict[bytes, tuple[int, int]]:
    if len(profile) < 132:
        return {}
    (count,) = struct.unpack(">I", profile[128:132])
    if not 0 < count <= (len(profile) - 132) // 12:
        return {}
    rows = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])
    return {name: (at, length) for name, at, length in rows}


def _is_srgb_curve(data: bytes) -> bool:
    x = np.linspace(0, 1, 256)
    if data[:4] == b"para":
        (kind,) = struct.unpack(">H", data[8:10])
        count = (1, 3, 4, 5, 7)[kind] if kind < 5 else 0
        p = [value / 65536 for value in struct.unpack(f">{count}i", data[12 : 12 + 4 * count])]
        y = _parametric(kind, p, x)
    elif data[:4] == b"curv":
        (count,) = struct.unpack(">I", data[8:12])
        table = np.array(struct.unpack(f">{count}H", data[12 : 12 + 2 * count]))
        if count == 0:
            y = x
        elif count == 1:
            y = x ** (table[0] / 256)
        else:
            y = np.interp(x, np.linspace(0, 1, count), table / 65535)
    else:
        return False
    srgb = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return bool(np.abs(y - srgb).max() <= _CURVE_TOLERANCE)


def _parametric(kind: int, p: list[float], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parametric curves of ICC.1:2010, 10.16; raises ValueError for a kind that is none."""
    if kind == 0:
        return x ** p[0]
    if kind in (3, 4):
        g, a, b, c, d = p[:5]
        e, f = p[5:] if kind == 4 else (0.0, 0.0)
        return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    raise ValueError("a curve that sRGB never has")


def to_srgb(image: Any, profile: bytes | None) -> Any:
    """A libvips image (8 or 16 bit, with or without alpha) in a profile's space to sRGB, of the same depth.

    ``profile=None`` is for CMYK without one: libvips' own is taken. Raises pyvips.Error.
    """
    image = image.copy()
    if profile is not None:
        image.set_type(vips().GValue.blob_type, "icc-profile-data", profile)
    fallback = {} if profile is not None else {"input_profile": "cmyk"}
    return image.icc_transform(
        "srgb", embedded=profile is not None, intent="relative", depth=_depth(image), **fallback
    )


def array_to_srgb(samples: NDArray[Any], profile: bytes, *, grey: bool) -> NDArray[Any]:
    """The same for an array (height, width, 3), whose channels are equal if it is grey. Raises VipsError."""
    image = image_of(samples[..., :1] if grey else samples)
    with failing():
        converted = to_srgb(image, profile)
        data = (converted[0] if grey else converted).write_to_memory()
    result = np.frombuffer(data, samples.dtype).reshape(*samples.shape[:2], -1)
    return np.repeat(result, 3, axis=2) if grey else result


def from_srgb(image: Any, profile: bytes) -> Any:
    """The opposite, for an image without alpha. Raises pyvips.Error."""
    # libvips reads the target's profile from a file only, and has read it when the call returns.
    with tempfile.TemporaryDirectory(prefix="lowlight-") as folder:
        path = Path(folder) / "profile.icc"
        path.write_bytes(profile)
        return image.icc_transform(str(path), input_profile="srgb", intent="relative", depth=_depth(image))


@lru_cache(maxsize=16)
def converts(profile: bytes) -> bool:
    """Whether a profile can be converted to sRGB and back."""
    bands = {"RGB": 3, "GRAY": 1, "CMYK": 4}.get(profile_space(profile) or "", 0)
    interpretation = {1: "b-w", 3: "srgb", 4: "cmyk"}.get(bands)
    if interpretation is None:
        return False
    pixel = vips().Image.black(1, 1, bands=bands).copy(interpretation=interpretation)
    try:
        with failing():
            back = from_srgb(to_srgb(pixel, profile), profile)
            return len(back.write_to_memory()) == bands
    except VipsError:
        return False


def _depth(image: Any) -> int:
    return 16 if image.format == "ushort" else 8
