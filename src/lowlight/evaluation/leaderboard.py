"""Published numbers, each with its source, for a report that measured the same thing.

``leaderboard.json`` holds what sources print. A row stands beside a measured column only when data set, protocol and
metric variant are known to be the same; most published numbers do not say enough for that, and are never shown so.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

DATA = {
    ("lol-v1", "test"): "LOL-v1 eval15",
    ("lol-v2-real", "test"): "LOL-v2-real test",
    ("lol-v2-synthetic", "test"): "LOL-v2-synthetic test",
    ("ve-lol", "test"): "VE-LOL 100 real + 100 synthetic",
    ("lsrw", "test"): "LSRW both",
    ("lol-blur", "test"): "LOL-Blur",
    **{(name, "all"): name.upper() for name in ("lime", "mef", "npe", "dicm", "vv")},
}
"""Our sets and splits by what sources call them."""

PROTOCOLS = {
    "raw": "raw",
    "LLFlow gain": "gtmean_llflow",
    "LLFlow gain (number copied from its paper)": "gtmean_llflow",
    "grey gain, 8 bit": "gtmean_cidnet",
    "grey gain (advised against by its author)": "gtmean_glare",
    "plain-mean gain (on by default in its PyTorch test)": "gtmean_lyt",
    "reference lightness given to the model": "reference_lightness_dimma",
    "no reference, MATLAB release (issue 70)": "raw",
    "no reference, BasicSR port fed RGB order": "raw",
}
"""Ours by the words of a row. What is missing here is not stated, mixed, or unknown."""

_CIDNET = "HVI-CIDNet README"
_LLFLOW = ("LLFlow paper (AAAI 2022)", "LLFlow README")
VARIANTS: dict[tuple[str, str, str], tuple[str, ...]] = {
    (_CIDNET, "raw", "psnr"): ("psnr_cidnet", "psnr"),
    (_CIDNET, "raw", "ssim"): ("ssim",),
    (_CIDNET, "raw", "lpips"): ("lpips_alex",),
    (_CIDNET, "raw", "niqe"): ("niqe_cidnet",),
    (_CIDNET, "gtmean_cidnet", "psnr"): ("psnr_cidnet_float",),
    (_CIDNET, "gtmean_cidnet", "ssim"): ("ssim_float",),
    (_CIDNET, "gtmean_cidnet", "lpips"): ("lpips_alex",),
    (_LLFLOW[0], "gtmean_llflow", "psnr"): ("psnr",),
    (_LLFLOW[0], "gtmean_llflow", "lpips"): ("lpips_alex",),
    (_LLFLOW[1], "gtmean_llflow", "psnr"): ("psnr",),
    (_LLFLOW[1], "gtmean_llflow", "rgb_ssim"): ("ssim_uniform_rgb",),
    (_LLFLOW[1], "gtmean_llflow", "lpips"): ("lpips_alex",),
    ("Retinexformer README", "gtmean_glare", "psnr"): ("psnr_float",),
    ("Retinexformer README", "gtmean_glare", "ssim"): ("ssim",),
    ("LYT-Net README", "gtmean_lyt", "psnr"): ("psnr_float",),
    ("LYT-Net README", "gtmean_lyt", "ssim"): ("ssim_lyt",),
    ("EnlightenGAN authors", "raw", "niqe"): ("niqe",),
}
"""(start of the source, protocol, metric of the row) to our metrics of the same value in the digits printed: 8-bit
``psnr`` and ``psnr_cidnet`` differ by less than 1e-9 dB below 50 dB. LYT-Net's TensorFlow rows use other code."""


@dataclass(frozen=True)
class Published:
    """One number that a source prints."""

    method: str
    source: str
    protocol: str
    metric: str
    """Ours, of the same variant."""
    value: float


@cache
def rows() -> tuple[dict[str, str | float], ...]:
    """All rows as the sources print them: method, data, protocol, source, and numbers."""
    text = resources.files("lowlight.evaluation").joinpath("leaderboard.json").read_text("utf-8")
    return tuple(json.loads(text)["rows"])


def published(set_name: str, split: str) -> Iterator[Published]:
    """Numbers whose protocol and metric variant are known, on one of our sets."""
    data = DATA.get((set_name, split))
    for row in rows():
        protocol = PROTOCOLS.get(str(row["protocol"]))
        if data is None or row["data"] != data or protocol is None or "TensorFlow" in str(row["method"]):
            continue
        for (source, of, metric), ours in VARIANTS.items():
            if str(row["source"]).startswith(source) and of == protocol and metric in row:
                for name in ours:
                    yield Published(
                        str(row["method"]), str(row["source"]), protocol, name, float(row[metric])
                    )


def beside(set_name: str, split: str, columns: Container[str]) -> tuple[list[Published], int]:
    """Published numbers of the measured columns (``raw.psnr``), and how many others there are on this set."""
    found = [row for row in published(set_name, split) if f"{row.protocol}.{row.metric}" in columns]
    words = {"method", "data", "protocol", "source"}
    data = DATA.get((set_name, split))
    total = sum(len(row.keys() - words) for row in rows() if row["data"] == data)
    shown = {(row.method, row.source, row.protocol, row.metric.split("_")[0]) for row in found}
    return found, total - len(shown)
