"""Protocols: what of the reference a result may see before it is measured. A number's name begins with its protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lowlight.evaluation.grey import grey_opencv, grey_swapped
from lowlight.evaluation.metrics import Picture

Floats = NDArray[np.floating[Any]]
Run = Literal["asked", "reference", "reference_steps", "constant"]
"""How the lightness of a model's result is chosen: as the user asks (automatic by default), by the reference's
mean, by the same in Dimma's whole steps, or one value for all photos."""
BESIDE_PSNR = "lightness_error"
"""Explains most differences of raw PSNR, so that none is printed without it, by a preset either."""
DEFAULT_METRICS = ("psnr", "ssim")
"""Of every protocol but ``raw``."""


@dataclass(frozen=True)
class Protocol:
    """One way from a result to what is measured."""

    name: str
    title: str
    """In one line: what is done, and by whom."""
    run: Run = "asked"
    gain: Callable[[Picture, Picture], float] | None = None
    """(result, reference): the factor that the result is multiplied by; None: it stays as it is."""
    finish: Literal["rounded", "truncated", "of_samples"] = "rounded"
    """From gained floats to 8 bits; ``of_samples``: the gain acts on the 8-bit result, which is rounded after."""
    clips_first: bool = False
    """The result is clipped before the gain and after it."""
    of_unclipped: bool = False
    """The release takes the mean of unclipped values, which files do not hold."""
    on_floats: tuple[str, ...] = ()
    """Metrics of 8 bits in whose place the release measures floats: here they see the result rounded."""
    as_released: str = ""
    """What measures those as the release does."""

    @property
    def words(self) -> str:
        """The title, and what is rounded here that the release does not round."""
        if not self.on_floats:
            return self.title
        return (
            f"{self.title}. {' and '.join(self.on_floats)} here: of the result rounded to 8 bits after the gain, which "
            f"the release does not round for them; {self.as_released} to the letter"
        )

    @property
    def needs_reference(self) -> bool:
        """Whether it uses the reference before measuring."""
        return self.gain is not None or self.run in ("reference", "reference_steps")

    def apply(self, result: Picture, reference: Picture) -> tuple[Picture, float]:
        """What is measured, and the gain it took."""
        if self.gain is None:
            return result, 1.0
        return gained(result, self.gain(result, reference), self.finish, clips_first=self.clips_first)


def gained(
    result: Picture,
    gain: float,
    finish: Literal["rounded", "truncated", "of_samples"] = "rounded",
    *,
    clips_first: bool = False,
) -> tuple[Picture, float]:
    """A result times a gain, clipped, and in 8 bits again; with the gain."""
    before = result.samples / np.float32(255) if finish == "of_samples" else result.raw
    if clips_first:
        before = np.clip(before, 0, 1)
    raw = np.clip(before * before.dtype.type(gain), 0, 1)
    if finish == "truncated":
        return Picture.of_samples(truncated(raw)), gain
    return Picture.of_raw(raw), gain


def truncated(raw: Floats) -> NDArray[np.uint8]:
    """floor(255 clip(x, 0, 1)), as ``ToPILImage`` and several scripts save; its mean is half a step lower."""
    return np.floor(255 * np.clip(raw, 0, 1)).astype(np.uint8)


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean(dtype=np.float64))


def _ratio(wanted: float, found: float) -> float:
    """The gain from one mean to another; a black result stays as it is."""
    return wanted / found if found > 0 else 1.0


def _llflow(result: Picture, reference: Picture) -> float:
    # In float32 throughout, as there: values are truncated after it, so its last bit decides some of them.
    wanted = grey_swapped(reference.samples.astype(np.float32)).mean() / np.float32(255)
    return _ratio(float(wanted), float(result.raw.mean()))


def _llflow_val(result: Picture, reference: Picture) -> float:
    return _ratio(_mean(grey_opencv(reference.samples / 1.0)), _mean(grey_opencv(result.samples / 1.0)))


def _cidnet(result: Picture, reference: Picture) -> float:
    return _ratio(_mean(grey_opencv(reference.samples)), _mean(grey_opencv(result.samples)))


def _swapped(result: Picture, reference: Picture) -> float:
    return _ratio(_mean(grey_swapped(reference.raw)), _mean(grey_swapped(np.clip(result.raw, 0, 1))))


def _plain(result: Picture, reference: Picture) -> float:
    return _ratio(_mean(reference.raw), _mean(result.raw))


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("raw", "nothing of the reference is used"),
        Protocol(
            "gtmean_llflow",
            "LLFlow's test: mean of the reference's grey with red and blue exchanged / mean of all values of the "
            "unclipped result; clipped, truncated to 8 bits",
            gain=_llflow,
            finish="truncated",
            of_unclipped=True,
        ),
        Protocol(
            "gtmean_llflow_val",
            "LLFlow's and GLARE's training logs: ratio of the greys of both, the result in 8 bits; clipped. SSIM of "
            "LLFlow's logs is of the clipped result before the gain",
            gain=_llflow_val,
            finish="of_samples",
            on_floats=("psnr",),
            as_released="psnr_float follows it",
        ),
        Protocol(
            "gtmean_glare",
            "GLARE's tests and Retinexformer's --GT_mean: ratio of the float greys with red and blue exchanged; "
            "clipped before and after",
            gain=_swapped,
            clips_first=True,
            on_floats=("psnr",),
            as_released="psnr_float and presets paper-glare and paper-retinexformer follow it",
        ),
        Protocol(
            "gtmean_cidnet",
            "HVI-CIDNet's --use_GT_mean: ratio of the rounded greys of the 8-bit files; clipped",
            gain=_cidnet,
            finish="of_samples",
            on_floats=("psnr", "ssim"),
            as_released="PSNR and SSIM of preset paper-cidnet follow it",
        ),
        Protocol(
            "gtmean_lyt",
            "LYT-Net's PyTorch test: ratio of the plain means of unclipped floats; clipped",
            gain=_plain,
            of_unclipped=True,
            on_floats=("psnr", "ssim"),
            as_released="preset paper-lyt follows it",
        ),
        Protocol(
            "reference_lightness",
            "the model is asked for the mean of the reference (control `lightness`), and lowlight makes the mean "
            "exactly that, but for control `published`: first by a control of the method where it has one for that, the "
            "rest by a gain",
            run="reference",
        ),
        Protocol(
            "reference_lightness_dimma",
            "as Dimma's release tells it: the mean of the input plus the difference in whole steps of 1/1000, "
            "truncated; lowlight makes the mean exactly that, which the release, and control `published`, do not",
            run="reference_steps",
        ),
        Protocol(
            "constant",
            "one lightness (of a model) or gain (of finished pictures) for all photos, chosen on training pairs",
            run="constant",
        ),
    )
}
"""All protocols by name, in the order that tables show."""
GT_MEANS = tuple(name for name in PROTOCOLS if name.startswith("gtmean_"))


def dimma_lightness(low: float, reference: float) -> tuple[int, float]:
    """Dimma's condition from the two means: steps of 1/1000, and the lightness that they ask for."""
    step = int(1000 * (reference - low))
    return step, min(max(low + step / 1000, 0.0), 1.0)


def best_constant(score: Callable[[float], float], low: float, high: float, steps: int = 9) -> float:
    """Where a function with one peak is highest, to a hundredth of the range: a grid, then two finer ones."""
    best = low
    for _ in range(3):
        grid = np.linspace(low, high, steps)
        best = float(max(grid, key=lambda value: score(float(value))))
        width = (high - low) / (steps - 1)
        low, high = max(low, best - width), min(high, best + width)
    return best


@dataclass(frozen=True)
class Preset:
    """Protocols and metrics that repeat what one release prints, slips included."""

    name: str
    columns: Mapping[str, tuple[str, ...]]
    """Protocol to its metrics."""
    says: tuple[str, ...]
    """What a reader must know of these numbers, one sentence each."""
    rounding: Literal["round", "truncate"] = "round"
    """How a model's result becomes 8 bits."""


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "paper-llflow",
            {"gtmean_llflow": ("psnr", "ssim_llflow", "ssim_uniform_rgb", "lpips_alex")},
            (
                "The reference's mean is used, through a grey with red and blue exchanged.",
                "The result is truncated to 8 bits, not rounded.",
                (
                    "ssim_llflow compares columns of a grey picture: most likely the 0.93 of its table; "
                    "ssim_uniform_rgb is the 0.86 of its README."
                ),
            ),
        ),
        Preset(
            "paper-glare",
            {"gtmean_glare": ("psnr_float", "ssim", "ssim_glare2", "lpips_alex")},
            (
                (
                    "The reference's mean is used, through greys with red and blue exchanged; no raw number is "
                    "printed by the release."
                ),
                "PSNR is taken on unrounded values, SSIM and LPIPS after rounding.",
                "The release pads photos left and below by 20 pixels and crops back.",
            ),
        ),
        Preset(
            "paper-retinexformer",
            {"raw": ("psnr_float", "ssim", BESIDE_PSNR), "gtmean_glare": ("psnr_float", "ssim")},
            (
                "PSNR is taken on unrounded values, SSIM after rounding.",
                "gtmean_glare is the release's --GT_mean, which its author advises against.",
            ),
        ),
        Preset(
            "paper-cidnet",
            {
                "raw": ("psnr_cidnet", "ssim", "lpips_alex", "niqe_cidnet", BESIDE_PSNR),
                "gtmean_cidnet": ("psnr_cidnet_float", "ssim_float", "lpips_alex"),
            },
            (
                "A model's result is truncated to 8 bits, as the release saves its PNG.",
                (
                    "After the gain PSNR and SSIM are taken on unrounded values; LPIPS here on rounded ones, which "
                    "the release does not round."
                ),
                "niqe_cidnet exchanges red and blue: it shifts by up to 1.4.",
                "The release resizes a result to its reference; lowlight refuses sizes that differ.",
            ),
            rounding="truncate",
        ),
        Preset(
            "paper-dimma",
            {
                "reference_lightness_dimma": (
                    "psnr",
                    "ssim_grey",
                    "ssim",
                    "lpips_alex",
                    "lpips_vgg",
                    "delta_e_76",
                    "delta_e_2000",
                    "niqe",
                    "psnr_dimma_val",
                    "ssim_dimma_val",
                )
            },
            (
                (
                    "The model is told the reference's lightness, in whole steps of 1/1000. The release leaves the "
                    "result as it is: --control published=true does too, for the authors' network alone."
                ),
                (
                    "No test script was released: the columns of its table with the usual definitions, both Delta E "
                    "and both LPIPS because it does not say which, then its validation's PSNR (pooled) and SSIM."
                ),
            ),
        ),
        Preset(
            "paper-lyt",
            {"gtmean_lyt": ("psnr_float", "ssim_lyt")},
            ("The reference's mean is used; this is on by default in the release's PyTorch test.",),
        ),
    )
}
