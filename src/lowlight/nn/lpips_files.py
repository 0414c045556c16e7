"""The files of LPIPS' weights, and of VGG: where they lie, what they are, where they come from. Without torch.

The five weight vectors ship with the ``lpips`` package; the trunks are torchvision's, files of hundreds of megabytes
that are searched for, or fetched once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lowlight.errors import WeightsError


@dataclass(frozen=True)
class File:
    """A published file."""

    name: str
    bytes: int
    sha256: str
    """The whole hash or its beginning."""
    url: str = ""


Name = Literal["vgg", "alex"]
"""Of an LPIPS and its trunk; ``vgg`` is VGG-16."""


@dataclass(frozen=True)
class Trunk:
    """A network of torchvision."""

    file: File
    features: str
    """Its tensors ``features.*`` alone, float32 or float16, under a name of our own."""


def _trunk(name: str, hash_: str, size: int, features: str) -> Trunk:
    file = f"{name}-{hash_}.pth"
    return Trunk(File(file, size, hash_, f"https://download.pytorch.org/models/{file}"), features)


TRUNKS: dict[Name | Literal["vgg19"], Trunk] = {
    "vgg": _trunk("vgg16", "397923af", 553_433_881, "vgg16-features.safetensors"),
    "vgg19": _trunk("vgg19", "dcbb9e9d", 574_673_361, "vgg19-features.safetensors"),
    "alex": _trunk("alexnet-owt", "7be5be79", 244_408_911, "alexnet-features.safetensors"),
}


@dataclass(frozen=True)
class Net:
    """An LPIPS: its weight vectors, its trunk's layers, and what of them is compared."""

    linear: File
    layers: tuple[tuple[int, ...] | None, ...]
    """Convolutions, each with a ReLU, as (channels, kernel, stride, padding); None: pooling."""
    pooling: int
    """Side of the pooling's window; its stride is 2."""
    compared: tuple[int, ...]
    """The activations that are compared, as places in torchvision's sequence."""
    smallest: int
    """Pixels a side that reach the last of them."""


def _threes(*channels: int) -> tuple[tuple[int, ...], ...]:
    return tuple((each, 3, 1, 1) for each in channels)


NETS: dict[Name, Net] = {
    "vgg": Net(
        File("vgg.pth", 7_289, "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
        (
            *_threes(64, 64),
            None,
            *_threes(128, 128),
            None,
            *_threes(256, 256, 256),
            None,
            *_threes(512, 512, 512),
            None,
            *_threes(512, 512, 512),
        ),
        pooling=2,
        compared=(3, 8, 15, 22, 29),
        smallest=16,
    ),
    "alex": Net(
        File("alex.pth", 6_009, "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
        ((64, 11, 4, 2), None, (192, 5, 1, 2), None, *_threes(384, 256, 256)),
        pooling=3,
        compared=(1, 4, 7, 9, 11),
        smallest=31,
    ),
}


def find_trunk(
    trunk: Path | None = None, *, cache: Path, net: Name | Literal["vgg19"] = "vgg", fetch: bool = True
) -> Path:
    """The file of the trunk, hash checked: ``trunk``, or from ``cache`` or torch's cache, or with fetch downloaded.

    A file whose name ends in ``-`` and eight or more hexadecimal digits must have that SHA-256. Raises
    WeightsError with name, size, hash and every folder tried when the file cannot be had.
    """
    file, features = TRUNKS[net].file, TRUNKS[net].features
    if trunk is not None:
        if not trunk.is_file():
            raise WeightsError(f"{trunk}: no such file; expected {_describe(file)} or its features alone")
        check_hash(trunk)
        return trunk
    folders = [cache, torch_cache()]
    for folder in folders:
        for name in (file.name, features):
            if (folder / name).is_file():
                check_hash(folder / name)
                return folder / name
    missing = f"{_describe(file)} is in none of: {', '.join(str(folder) for folder in folders)}"
    put = f"put the file, or its features.* alone as {features}, into one of these folders"
    if not fetch:
        raise WeightsError(f"{missing}; {put}; it comes from {file.url}")
    try:
        return _download(file, cache)
    except OSError as error:
        raise WeightsError(
            f"{missing}; fetching {file.url} failed ({error}); {put}, or choose another loss"
        ) from None


def torch_cache() -> Path:
    """Where ``torch.hub`` keeps what it fetched."""
    home = os.environ.get("TORCH_HOME", Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def find_linear(net: Name = "vgg") -> Path:
    """The file of the five weight vectors in the ``lpips`` package, hash checked, without importing it."""
    file = NETS[net].linear
    spec = find_spec("lpips")
    path = Path(spec.origin).parent / "weights" / "v0.1" / file.name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise WeightsError(
            f"LPIPS needs the weights {file.name} of the package lpips 0.1.4: install lowlight[train]"
        )
    check_hash(path, file.sha256)
    return path


def _describe(file: File) -> str:
    return f"{file.name} ({file.bytes / 1e6:.0f} MB, SHA-256 {file.sha256}...)"


def check_hash(path: Path, expected: str = "") -> None:
    """Raises WeightsError unless the file's SHA-256 begins as expected, or as its name says."""
    if not expected:
        match = re.search(r"-([0-9a-f]{8,64})$", path.stem)
        if match is None:
            return
        expected = match[1]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(expected):
        raise WeightsError(
            f"{path}: expected SHA-256 {expected}..., got {found[:16]}...; delete the file and fetch it again"
        )


def _download(file: File, folder: Path) -> Path:
    """Fetch a file, check size and hash, and only then give it its name. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{file.name}.{secrets.token_hex(4)}"
    logging.getLogger(__name__).info("fetching %s to %s", _describe(file), folder)
    digest, size = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(file.url, timeout=30) as source, partial.open("xb") as target:  # noqa: S310
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        if size != file.bytes or not digest.hexdigest().startswith(file.sha256):
            raise OSError(f"got {size} bytes with SHA-256 {digest.hexdigest()[:16]}...")
        return partial.replace(folder / file.name)
    finally:
        partial.unlink(missing_ok=True)
