"""Dark photos in, good photos out.

``lowlight.enhance(photo)`` brightens a path, PIL image, array or bytes and gives back the same kind;
``lowlight.load(name)`` gives an :class:`~lowlight.enhancer.Enhancer` to call many times.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowlight.enhancer import Enhancer as Enhancer
    from lowlight.enhancer import enhance as enhance
    from lowlight.enhancer import load as load
    from lowlight.errors import LowlightError as LowlightError
    from lowlight.likelihoods import likelihood as likelihood
    from lowlight.methods.dimma.dimmer import load_dimmer as load_dimmer
    from lowlight.photo import Photo as Photo
    from lowlight.photo import read_photo as read_photo
    from lowlight.photo import write_photo as write_photo

__version__ = "0.1.0"

_HOMES = {
    "Enhancer": "lowlight.enhancer",
    "LowlightError": "lowlight.errors",
    "Photo": "lowlight.photo",
    "enhance": "lowlight.enhancer",
    "likelihood": "lowlight.likelihoods",
    "load": "lowlight.enhancer",
    "load_dimmer": "lowlight.methods.dimma.dimmer",
    "read_photo": "lowlight.photo",
    "write_photo": "lowlight.photo",
}
__all__ = ["__version__", *_HOMES]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Resolved on first use: `lowlight --help` must not pay for NumPy and ONNX Runtime.
    if name not in _HOMES:
        raise AttributeError(f"module 'lowlight' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
