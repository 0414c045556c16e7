"""Where weights lie: shipped, in a folder ``models``, cached, or at a path. Needs no NumPy: names are checked first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lowlight.errors import WeightsError

DEFAULT = "dimma"
"""The model that is taken where none is named."""
CAMERA = "lol-480"
"""The dimmer that is taken where none is named."""
DENSITY = "llflow-torch"
"""The model whose likelihoods are told where none is named."""
TWIN = "-fast"
"""``NAME-fast`` is the 8-bit twin of ``NAME``."""


def cache_folder() -> Path:
    """Where imported weights are kept: ``LOWLIGHT_CACHE``, or the platform's folder for caches."""
    if chosen := os.environ.get("LOWLIGHT_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lowlight"
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lowlight" / "Cache"
        )
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lowlight"


def folders() -> list[Path]:
    """Where names are looked up, in order: shipped, ``models`` here and in a checkout, cache."""
    package = Path(__file__).resolve().parent
    found = [package / "shipped", Path.cwd() / "models"]
    checkout = package.parent.parent
    if (checkout / "pyproject.toml").is_file():
        found.append(checkout / "models")
    found.append(cache_folder())
    return list(dict.fromkeys(found))


def fast(name_or_path: str | Path) -> str | Path:
    """The model's 8-bit twin: ``NAME-fast``, or the file of that name beside it. A twin is its own."""
    path = Path(name_or_path)
    if path.stem.endswith(TWIN):
        return name_or_path
    if str(name_or_path) not in candidates() and path.is_file():
        return path.with_stem(f"{path.stem}{TWIN}")
    return f"{name_or_path}{TWIN}"


def find(name_or_path: str | Path) -> Path:
    """The file of a model's name, or the path itself. Raises WeightsError naming the models that exist."""
    known = candidates()
    if isinstance(name_or_path, str) and name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    try:
        if path.is_file():
            return path
        exists = path.exists()
    except OSError:  # a name that no file can have
        exists = False
    if exists:
        raise WeightsError(f"{path}: expected a weights file, found a folder or device")
    from lowlight import methods

    missing = f"{path}: no such weights file" if path.suffix else f"no model is called {str(path)!r}"
    if str(path) in methods.names():
        missing += ": it is a method without weights here; train or import them, see docs/training.md and docs/import.md"
    raise WeightsError(f"{missing}; models by name: {', '.join(known) or 'none'}")


def candidates() -> dict[str, Path]:
    """Name to file of all weights that a name can reach; an earlier folder hides a later one."""
    found: dict[str, Path] = {}
    for folder in folders():
        try:
            files = list(folder.iterdir())
        except OSError:  # the folder is missing or may not be read: it offers nothing
            continue
        # By name, so that a model comes before its twin; name.onnx comes before name.safetensors.
        for file in sorted(files, key=lambda file: (file.stem, file.suffix)):
            if file.suffix in (".onnx", ".safetensors") and file.is_file():
                found.setdefault(file.stem, file)
    return found
