"""PIL images as photos and back, with what a file's mode and profile say of colour and transparency."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lowlight import colour
from lowlight.errors import PhotoError
from lowlight.libvips import image_of
from lowlight.metadata import Metadata
from lowlight.photo import Kept, Photo
from lowlight.writing import outgoing_image

if TYPE_CHECKING:
    from PIL import Image

_CLEAR = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
"""Modes that hold opacity in another way, and those that hold it as a photo does."""


def from_pil(picture: Image.Image) -> Photo:
    """A photo of an 8-bit image, not turned. Palettes, CMYK and the like become RGB.

    Its profile is the image's where that is one of such colours and can be converted. Raises PhotoError for modes
    of more than 8 bits.
    """
    if picture.mode.startswith(("I", "F")):
        raise PhotoError(f"PIL images of mode {picture.mode} lose depth: pass a NumPy array instead")
    grey = picture.mode in ("1", "L", "LA", "La")
    mode = "L" if grey else "RGB"
    if picture.mode in ("LA", "RGBA", *_CLEAR) or "transparency" in picture.info:
        mode += "A"
    icc = picture.info.get("icc_profile")
    space = colour.profile_space(icc) if icc else None
    if picture.mode == "CMYK":
        inks = image_of(np.asarray(picture)).copy(interpretation="cmyk")
        usable = space == "CMYK" and colour.converts(icc)
        array = colour.to_srgb(inks, icc if usable else None).numpy()
    else:
        array = np.asarray(picture.convert(_CLEAR.get(picture.mode, picture.mode)).convert(mode))
    alpha = array[..., -1].copy() if mode.endswith("A") else None
    planes = array if array.ndim == 3 else array[..., None]
    samples = np.repeat(planes[..., :1], 3, axis=2) if grey else np.ascontiguousarray(planes[..., :3])
    photo = Photo(samples, alpha=alpha, grey=grey)
    if not icc or space != ("GRAY" if grey else "RGB"):
        return photo
    if colour.is_srgb(icc):
        return replace(photo, metadata=Metadata(icc=icc))
    if not colour.converts(icc):
        return photo
    converted: Any = colour.array_to_srgb(samples, icc, grey=grey)
    return replace(photo, samples=converted, metadata=Metadata(icc=icc), kept=Kept(samples, converted, icc))


def to_pil(photo: Photo, like: Image.Image) -> Image.Image:
    """An image of a photo that was made of an image; what else that one held is in the new one's ``info``."""
    from PIL import Image

    icc = photo.metadata.icc
    image = outgoing_image(photo, icc, "png", alpha=photo.alpha is not None)
    array = image.numpy()
    result = Image.fromarray(array)
    result.info = {
        key: value for key, value in like.info.items() if key not in ("transparency", "icc_profile")
    }
    if icc is not None:
        result.info["icc_profile"] = icc
    return result
