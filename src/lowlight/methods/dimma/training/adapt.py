"""A few pairs of one's own camera become a model: dimmer, training on dimmed photos and on the pairs, judge, graph.

All that is made on the way lies in a folder beside the model, so that an adaptation that was killed anywhere goes on
by the same call.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import statistics as averages
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from skimage import data

from lowlight import methods, sheet, statistics
from lowlight.engines import Precision
from lowlight.engines.torch import TorchEngine, load_network
from lowlight.enhancer import Enhancer
from lowlight.errors import LowlightError, PhotoError, UseError, shown
from lowlight.evaluation import guards, metrics, pairing
from lowlight.files import claimed, write_file
from lowlight.methods.dimma.dimmer import PART, load_dimmer
from lowlight.photo import Photo, read_photo, write_photo
from lowlight.training.camera_pairs import CameraPair, Pixels, eight_bits
from lowlight.training.data import Pairs
from lowlight.training.export import export_onnx
from lowlight.training.loop import fit, time_steps
from lowlight.training.recipe import Recipe
from lowlight.weights import Header, Weights, open_trainable, open_weights

NORMAL = 100
"""Normal photos at most, spread evenly over the folder: a short training sees a few crops of each."""
FREE = ("astronaut", "chelsea", "coffee", "rocket")
"""Photos in ordinary light that scikit-image carries: public domain and CC0."""
NORMAL_SIDE = 512
"""Longest side that normal photos are reduced to, pixels: they are to be sharp and free of noise."""
NORMAL_MEANS = (0.2, 0.75)
"""Means of photos that count as normally exposed."""
LEAST_STEPS = 50
"""Of the network after those for detail, of which there are more in the same share: fewer teach too little."""
TIMED = 3
"""Steps that are timed, after a first that is slower; ..."""
TIMING = 15.0
"""... or fewer, but one, where they take longer than these seconds."""
DIMMER_MINUTES = 2.0
"""At most, and a fifth of all at most."""
JUDGED = 10
"""Times that the left-out pair is looked at while the network trains."""
SPARE = 60.0
"""Seconds kept for the graph, ..."""
GRAPH = 15.0
"""... which takes about these where nothing else is computed."""
DIMMER_CROP = 100

TRAININGS = ("detail", "network", "detail-whole", "whole")
"""Folders of what trains the network, in their order: to judge by the left-out pair, then with all pairs."""

Scores = dict[str, float]


class Stopped(LowlightError):  # noqa: N818 - no error, but the way out
    """The adaptation was asked to stop; the same call goes on."""


@dataclass(frozen=True)
class Course:
    """How much is done, and how. Chosen on LOL, see ``docs/adapt.md``."""

    dimmer_steps: int = 400
    detail_steps: int = 400
    """Of the network that only learns detail, from half as many squares a step; ..."""
    steps: int = 120
    """... then of all that it learns. Fewer of both where the minutes do not allow them."""
    crop: int = 96
    """Side of the squares that are learned from, pixels."""
    count: int = 8
    """Squares a step."""
    rate: float = 5e-5
    """Higher ones forget what the network knew, in a hundred steps."""
    detail_rate: float = 1e-4
    """Detail, with the colours held, can take more."""
    detail_dimmed: float = 0.45
    """As ``dimmed``, while detail is learned."""
    dimmed: float = 0.15
    """Share of the squares that are of normal photos, dimmed; ..."""
    darkened: float = 0.15
    """... and of such photos darkened as no camera in particular would: they keep what the network knew. The rest
    is of the pairs."""
    precision: Precision | None = None
    """None: the faster one on this machine."""


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    pairs: Sequence[CameraPair]
    out: Path
    """The .onnx file; the working folder beside it is ``work``."""
    start: Path
    """Weights to start from, .safetensors."""
    photos: Path | None = None
    """A folder of normal photos."""
    minutes: float = 25.0
    """Of wall time, at most."""
    seed: int = 0
    threads: int = 1
    """At most; fewer where that is faster."""
    course: Course = Course()

    @property
    def work(self) -> Path:
        """The working folder."""
        return self.out.with_suffix(".adapt").resolve()


@dataclass(frozen=True)
class Result:
    """What came of it. Scores are those of the left-out pair, the mean of its light photo given."""

    out: Path
    sheet: Path
    held: str
    """Name of the left-out pair."""
    before: Scores
    """``psnr`` (dB) and ``ssim``."""
    after: Scores
    """Of the best moment of the training that did not see the pair; the model was trained on all pairs."""
    kept_old: bool
    """Nothing was better than the weights it started from, and the model is these."""
    steps: int
    """Of the network after those for detail."""
    seconds: float


@dataclass(frozen=True)
class _Plan:
    """What was decided once, so that an adaptation that goes on decides nothing anew."""

    precision: Precision
    threads: int
    detail_steps: int
    steps: int
    seconds: float
    """Of all that then follows, by measured ones."""


def adapt(
    order: Order,
    *,
    say: Callable[[str], None] = lambda line: None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Make a model of the pairs, or go on where an earlier call ended.

    say: gets a line for the user now and then. stop: asked after every step; leaves with Stopped. Raises
    UseError when the working folder holds another adaptation or another process works in it, or too few steps
    fit into the minutes.
    """
    base = open_trainable(order.start, method="dimma")
    with claimed(order.work):
        return _adapt(order, base, say, stop)


def _adapt(order: Order, base: Weights, say: Callable[[str], None], stop: Callable[[], bool]) -> Result:
    started = time.monotonic()
    held = left_out(order.pairs)
    train = [pair for pair in order.pairs if pair is not held]
    _claim(order, base, say)
    plan = _read_plan(order.work)
    if plan is None:
        _prepare(order, train, held, say)
    judging = time.monotonic()
    before = judge(base, held)
    judging = time.monotonic() - judging
    say(f"{held.name} is left out, to judge by: {_words(before)} before")

    def minutes_left() -> float:
        return order.minutes - (time.monotonic() - started) / 60

    def run(recipe: Recipe, name: str, minutes: float) -> None:
        # Once a later training has begun, this one is over, also if time ended it early.
        later = TRAININGS[TRAININGS.index(name) + 1 :] if name in TRAININGS else ()
        if any((order.work / each).exists() for each in later):
            return
        folder = order.work / name
        checkpoint = folder / "checkpoint.safetensors"
        resume = checkpoint if checkpoint.exists() else None
        outcome = fit(recipe, folder, resume=resume, max_minutes=max(minutes, 0.05), stop=stop)
        if not outcome.finished and stop():
            raise Stopped(f"interrupted at step {outcome.step} of {recipe.steps}; the same command goes on")
        if not outcome.finished:
            say(
                f"{name}: its share of the minutes held {outcome.step} of {recipe.steps} steps; on with these"
            )

    say("learning how the camera makes dark photos")
    run(_dimmer_recipe(order, train), PART, min(DIMMER_MINUTES, minutes_left() / 5))
    if plan is None:
        say("timing a few steps on this machine")
        plan = _make_plan(order, base, held, judging, minutes_left, stop)
        write_file(order.work / "plan.json", json.dumps(asdict(plan)).encode())
        say(f"as fast as this machine is now, it takes about {_duration(plan.seconds)} from here")
    say(f"{plan.detail_steps} steps for detail and {plan.steps} for all, then both again with all pairs")
    half = (minutes_left() - SPARE / 60) / 2
    run(_detail_recipe(order, base, train, plan), "detail", half)
    judged = _network_recipe(order, base, held, plan, start=order.work / "detail" / "last.safetensors")
    run(judged, "network", minutes_left() - SPARE / 60 - half)
    best = open_weights(order.work / "network" / "best.safetensors")
    after = judge(best, held)
    kept_old = after["psnr"] <= before["psnr"]
    steps = int(best.header.recipe["run"]["step"])
    if kept_old:
        best, after, steps = base, before, 0
        say(f"{held.name}: nothing was better than before; the old weights are kept")
    else:
        say(f"{held.name}: {_words(after)} at best, after {steps} steps; now with it, too")
        run(_detail_recipe(order, base, order.pairs, plan), "detail-whole", minutes_left() - SPARE / 60)
        detail = order.work / "detail-whole" / "last.safetensors"
        run(_whole_recipe(order, judged, start=detail), "whole", minutes_left() - SPARE / 60)
        whole = open_weights(order.work / "whole" / "last.safetensors")
        if judge(whole, held)["psnr"] >= after["psnr"]:
            best, steps = whole, int(whole.header.recipe["run"]["step"])
    header = _header(order, base, best, held, after)
    export_onnx(load_network(best), _method(best), header, order.out, precision="float16")
    picture = order.out.with_suffix(".png")
    write_photo(Photo(_sheet(order, held, base, best)), picture)
    seconds = round(time.monotonic() - started, 1)
    return Result(order.out, picture, held.name, before, after, kept_old, steps, seconds)


def left_out(pairs: Sequence[CameraPair]) -> CameraPair:
    """The pair to judge by: the one whose dark photo lost the median share of light, so the least unusual one."""
    return sorted(pairs, key=lambda pair: pair.dark.mean() / pair.light.mean())[(len(pairs) - 1) // 2]


def judge(weights: Weights, pair: CameraPair) -> Scores:
    """PSNR and SSIM of a pair, the light photo's mean given, through what users call."""
    result = _enhanced(weights, pair)
    return {"psnr": metrics.psnr(result, pair.light), "ssim": metrics.ssim(result, pair.light)}


def _enhanced(weights: Weights, pair: CameraPair) -> Pixels:
    enhancer = Enhancer(_method(weights), TorchEngine(load_network(weights)))
    controls = enhancer.controls(lightness=statistics.mean(pair.light))
    result, _ = enhancer.enhance_photo(Photo(pair.dark), controls)
    return np.asarray(result.samples, np.uint8)


def _method(weights: Weights) -> methods.Method:
    return methods.create(weights.header.method, weights.header.config, weights.arrays)


# The working folder


def _claim(order: Order, base: Weights, say: Callable[[str], None]) -> None:
    """Make the working folder, or see that it belongs to this very adaptation."""
    found = hashlib.sha256()
    for pair in order.pairs:
        found.update(pair.name.encode())
        for picture in (pair.dark, pair.light):
            found.update(repr(picture.shape).encode())
            found.update(picture.data)
    identity = {
        "pairs": found.hexdigest(),
        "photos": None if order.photos is None else str(order.photos.resolve()),
        "from": base.sha256,
        "seed": order.seed,
        "course": asdict(order.course),
    }
    place = order.work / "order.json"
    if not place.exists():
        if order.work.exists() and any(order.work.iterdir()):
            raise UseError(f"{shown(order.work)}: exists and holds something else; move it away")
        write_file(place, json.dumps(identity).encode())
        return
    try:
        kept = json.loads(place.read_bytes())
        other = [key for key, value in identity.items() if kept[key] != value]
    except (ValueError, KeyError, TypeError):
        other = ["order.json"]
    if other:
        raise UseError(
            f"{shown(order.work)}: holds an adaptation that began otherwise ({', '.join(other)}); "
            "remove it or choose another name for the model"
        )
    say(f"going on with {shown(order.work)}")


def _read_plan(work: Path) -> _Plan | None:
    place = work / "plan.json"
    return _Plan(**json.loads(place.read_bytes())) if place.exists() else None


def _prepare(order: Order, train: Sequence[CameraPair], held: CameraPair, say: Callable[[str], None]) -> None:
    """Write the photos as training reads them: pairs, and normal photos with the pairs' light ones among them."""
    for name in ("pairs", "normal"):
        shutil.rmtree(order.work / name, ignore_errors=True)
    for pair in (*train, held):
        for folder, picture in (("dark", pair.dark), ("light", pair.light)):
            _write_png(order.work / "pairs" / folder / f"{pair.name}.png", picture)
    for pair in train:
        _write_png(order.work / "normal" / f"pair-{pair.name}.png", _reduced(pair.light))
    if order.photos is None:
        for name in FREE:
            _write_png(order.work / "normal" / f"{name}.png", getattr(data, name)())
        say(
            f"no --photos: the dimmer darkens the pairs' own light photos and {len(FREE)} free ones of scikit-image; "
            "more normal photos teach more"
        )
        return
    files = list(pairing.photos_in(order.photos, deep=True).values())
    files = [files[index * len(files) // NORMAL] for index in range(NORMAL)] if len(files) > NORMAL else files
    left: dict[str, int] = {}
    for index, path in enumerate(files):
        try:
            picture = _reduced(eight_bits(read_photo(path).samples))
        except PhotoError:
            why = "unreadable"
        else:
            why = _unfit(picture, order.course.crop)
            if not why:
                _write_png(order.work / "normal" / f"{index}.png", picture)
        if why:
            left[why] = left.get(why, 0) + 1
    reasons = ", ".join(f"{count} {why}" for why, count in left.items())
    say(
        f"{len(files) - sum(left.values())} normal photos of {shown(order.photos)}"
        + (f"; left out: {reasons}" if left else "")
    )


def _unfit(picture: Pixels, crop: int) -> str:
    mean = statistics.mean(picture)
    if min(picture.shape[:2]) < crop:
        return "too small"
    low, high = NORMAL_MEANS
    return "too dark" if mean < low else "too light" if mean > high else ""


def _reduced(picture: Pixels) -> Pixels:
    """At most NORMAL_SIDE long."""
    scale = NORMAL_SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _write_png(path: Path, picture: Pixels) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "png", compress_level=1)
    write_file(path, stream.getvalue())


# Training


def _pairs(pairs: Sequence[CameraPair]) -> dict[str, Any]:
    return {
        "kind": "pairs",
        "dark": "pairs/dark",
        "light": "pairs/light",
        "names": [pair.name for pair in pairs],
    }


def _dimmer_recipe(order: Order, train: Sequence[CameraPair]) -> Recipe:
    crop = min(DIMMER_CROP, *(min(pair.dark.shape[:2]) for pair in train))
    return Recipe.model_validate(
        {
            "name": f"{order.out.stem}-dimmer",
            "method": "dimma",
            "stage": "dimmer",
            "settings": {"optimizer": {"kind": "adam", "rate": 3e-3}, "schedule": {"shape": "cosine"}},
            "data": {"root": order.work, "jitter": None, "sources": [_pairs(train)]},
            "batches": [{"crop": crop, "count": 1}],
            "steps": order.course.dimmer_steps,
            "seed": order.seed,
            "device": "auto",
            "threads": 1,  # of a network this small more would wait for each other
            "average": None,
            "clip": None,
            "log_every": 200,
            "save_every": 100,
            "licence": "that of the pairs",
        }
    )


def _sources(order: Order, pairs: Sequence[CameraPair], dimmed: float) -> list[dict[str, Any]]:
    normal = {"kind": "photos", "folder": "normal"}
    sources = [
        {**_pairs(pairs), "weight": 1 - dimmed - order.course.darkened},
        {**normal, "weight": dimmed},
        {**normal, "darken": {}, "twins": 1, "weight": order.course.darkened},
    ]
    return [source for source in sources if source["weight"] > 0]


def _network_recipe(order: Order, base: Weights, held: CameraPair, plan: _Plan, *, start: Path) -> Recipe:
    course = order.course
    train = [pair for pair in order.pairs if pair is not held]
    return Recipe.model_validate(
        {
            "name": order.out.stem,
            "method": "dimma",
            "stage": "dimmed",
            "config": base.header.config,
            "start": {"network": start.resolve()},
            "settings": {
                "dimmer": str(order.work / PART / "last.safetensors"),
                "losses": {"mse": 0, "lpips": 0, "psnr": 0.05, "ssim": 0.5},
                "optimizer": {
                    "kind": "adamw",
                    "rate": course.rate,
                    "betas": [0.9, 0.99],
                    "weight_decay": 1e-4,
                },
                "schedule": {"shape": "cosine", "warmup": 20},
                "noise": {"share": 0},
            },
            "data": {
                "root": order.work,
                "jitter": None,
                "sources": _sources(order, train, course.dimmed),
            },
            "batches": [{"crop": course.crop, "count": course.count}],
            "steps": plan.steps,
            "seed": order.seed,
            "threads": plan.threads,
            "precision": plan.precision,
            "average": 0.99,
            "log_every": max(1, plan.steps // 20),
            "save_every": max(1, plan.steps // 20),
            "validation": {
                "every": max(1, plan.steps // JUDGED),
                "at_start": True,
                "samples": 0,
                "sets": {"left-out": {"pairs": _pairs([held])}},
            },
            "licence": base.header.licence,
            "sources": base.header.data,
        }
    )


def _detail_recipe(order: Order, base: Weights, pairs: Sequence[CameraPair], plan: _Plan) -> Recipe:
    """Detail and noise are local: a few photos hold plenty of them, and colours, of which they hold few, stay."""
    course = order.course
    values = _network_recipe(order, base, order.pairs[0], plan, start=base.path).model_dump(mode="json")
    values["settings"]["optimizer"]["rate"] = course.detail_rate
    values["settings"] |= {
        "losses": {"mse": 0, "lpips": 0, "detail": 0.05, "colour": 30},
        "colour_of": str(base.path.resolve()),
    }
    values["data"]["sources"] = _sources(order, pairs, course.detail_dimmed)
    values |= {
        "batches": [{"crop": course.crop, "count": max(1, course.count // 2)}],
        "steps": plan.detail_steps,
        "validation": None,
    }
    return Recipe.model_validate(values)


def _whole_recipe(order: Order, judged: Recipe, *, start: Path) -> Recipe:
    """The same training with the left-out pair among the others, which told whether, but cannot tell for how long."""
    normal = [source for source in judged.data.sources if source.kind == "photos"]
    weight = 1 - order.course.dimmed - order.course.darkened
    pairs = Pairs(**{**_pairs(order.pairs), "weight": weight})
    data = judged.data.model_copy(update={"sources": (pairs, *normal)})
    changes = {"data": data, "validation": None, "start": {"network": start.resolve()}}
    return judged.model_copy(update=changes)


def _make_plan(
    order: Order,
    base: Weights,
    held: CameraPair,
    judging: float,
    minutes_left: Callable[[], float],
    stop: Callable[[], bool],
) -> _Plan:
    """The fastest way on this machine, by a few real steps, and as many steps as the minutes allow.

    On a machine that is busy threads wait for the last of them, so that one alone may be faster than all.

    Asked when there is a dimmer. judging: seconds that the left-out pair takes once.
    """
    course = order.course
    precisions: tuple[Precision, ...] = (
        ("float32", "bf16") if course.precision is None else (course.precision,)
    )
    ways = [(precision, threads) for precision in precisions for threads in sorted({1, order.threads})]
    whole = _Plan(*ways[0], course.detail_steps, course.steps, 0)

    def enough(found: list[float]) -> bool:
        if stop():
            raise Stopped("interrupted while steps were timed; the same command goes on")
        return len(found) > TIMED or (len(found) > 1 and sum(found) > TIMING)

    train = [pair for pair in order.pairs if pair is not held]
    recipes = (
        _detail_recipe(order, base, train, whole),
        _network_recipe(order, base, held, whole, start=base.path),
    )
    timed = [(recipe.steps, time_steps(recipe, ways, enough)) for recipe in recipes]
    # All is trained twice: to be judged, and with all pairs.
    totals = {
        way: sum(2 * steps * averages.median(each.steps[way][1:]) for steps, each in timed) for way in ways
    }
    way = min(totals, key=totals.__getitem__)
    total = totals[way]
    looks = JUDGED + 4 + 2 * len(order.pairs)  # those on the sheet are enhanced before and after
    other = sum(2 * each.start for _, each in timed) + looks * judging
    left = minutes_left()
    share = min(1.0, max(0.0, 0.85 * (60 * left - SPARE - other) / total))
    steps, detail_steps = (int(share * each) for each in (course.steps, course.detail_steps))
    least = min(LEAST_STEPS, course.steps)
    if steps < least:
        # Of what takes its time alone, not of the minutes given, and with room for a machine that gets slower.
        taken = order.minutes - left + (other + SPARE + total * (least + 1) / course.steps / 0.85) / 60
        raise UseError(
            f"{steps} steps of {course.steps} fit into {order.minutes:g} minutes as fast as this machine is now, "
            f"fewer than the {least} that it takes to learn: --minutes {math.ceil(1.25 * taken + DIMMER_MINUTES)} "
            "or more, or when the machine is idle"
        )
    return _Plan(*way, detail_steps, steps, round(share * total + other + GRAPH, 4))


# What is left in the end


def _header(order: Order, base: Weights, best: Weights, held: CameraPair, scores: Scores) -> Header:
    """The model's header: what the base was made of, and what came to it."""
    if best is base:
        return base.header.model_copy(update={"name": order.out.stem})
    before, added = (guards.read_seen(each.header.seen, each.path) for each in (base, best))
    seen: dict[Literal["trained", "chosen"], set[bytes]] = {
        of: {*before.get(of, []), *added.get(of, [])} for of in ("trained", "chosen")
    }
    # The left-out pair chose between old and new, whether it was trained on in the end or not.
    seen["chosen"].add(guards.mark(held.light))
    return best.header.model_copy(
        update={
            "data": [*base.header.data, f"{len(order.pairs)} pairs of one's own camera"],
            "scores": {f"left-out.reference.{name}": round(value, 4) for name, value in scores.items()},
            "notes": [
                *base.header.notes,
                f"adapted from {base.header.name} ({base.sha256[:12]}) by lowlight adapt",
            ],
            "seen": {of: guards.pack(marks) for of, marks in seen.items()},
        }
    )


def _sheet(order: Order, held: CameraPair, base: Weights, best: Weights) -> Pixels:
    """Dimmed light photos beside the real dark ones, equally lightened; results before and after."""
    dimmer = load_dimmer(order.work / PART / "last.safetensors")
    rows = []
    for pair in order.pairs:
        gain = 0.35 / max(statistics.mean(pair.dark), 1 / 255)
        twin = dimmer.dim(pair.light, seed=order.seed)
        lighter = [np.minimum(each * gain, 255).astype(np.uint8) for each in (pair.dark, twin)]
        mark = " (left out)" if pair is held else ""
        results = [_enhanced(each, pair) for each in ((base,) if best is base else (base, best))]
        titles = [f"{pair.name}{mark}: dark, x{gain:.0f}", f"dimmed, x{gain:.0f}", "before", "after"][
            : 2 + len(results)
        ]
        rows.append(list(zip([*titles, "light"], [*lighter, *results, pair.light], strict=True)))
    return sheet.draw(rows)


def _words(scores: Scores) -> str:
    return f"raw RGB PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}, its lightness given,"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
