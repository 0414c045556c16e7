"""The training loop of every stage of every method: one function, ``fit``.

A run is a function of its recipe: all randomness comes from generators that the loop owns and saves, so that
a run killed anywhere and resumed gives, on the CPU in float32, bit for bit the weights of the run that never
stopped.
"""

from __future__ import annotations

import copy
import math
import os
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor, nn

from lowlight import methods, weights
from lowlight.engines import Precision
from lowlight.engines.torch import TorchEngine
from lowlight.enhancer import Enhancer
from lowlight.errors import RecipeError
from lowlight.evaluation import guards
from lowlight.files import claimed, write_file
from lowlight.methods import Array
from lowlight.training.checkpoint import (
    Checkpoint,
    TrainingError,
    load_module,
    load_optimizer,
    module_tensors,
    optimizer_tensors,
    read_arrays,
    read_network,
)
from lowlight.training.data import Batch, Mixture
from lowlight.training.journal import Journal, board_class
from lowlight.training.recipe import Recipe, in_full, stage_settings
from lowlight.training.stage import Moment, Optimizer, Player
from lowlight.training.validate import Validator, named

MAX_SKIPPED = 100
"""Updates of one player skipped in a row after which a run stops all the same."""
FREE = frozenset({"threads", "device", "log_every", "save_every", "tensorboard", "validation"})
"""Keys of a recipe that may change when a run is resumed: none has a say in the weights (but ``threads`` and
``device`` in their last digits)."""


@dataclass(frozen=True)
class Outcome:
    """How a call of ``fit`` ended."""

    step: int
    """Steps done in all."""
    finished: bool
    """All steps of the recipe are done; otherwise ``resume`` goes on."""
    score: float | None
    """Best score in validation."""


def fit(
    recipe: Recipe,
    out: Path,
    *,
    resume: Path | None = None,
    max_minutes: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train as the recipe says. In the folder ``out``:

    ``recipe.yaml``, ``log.jsonl``, ``checkpoint.safetensors`` (to go on from), ``last.safetensors`` and
    ``best.safetensors`` (averaged weights that ``lowlight.load`` opens), ``samples/STEP-SET.png``.

    resume: a checkpoint of the same recipe to go on from. max_minutes: wall time after which the run is saved
    and left. stop: asked after every step; saves and leaves too. Raises RecipeError for what is not usable,
    TrainingError when a loss is not finite or the checkpoint belongs to another run, UseError when another
    process trains in the folder.
    """
    started = time.monotonic()
    recipe = in_full(recipe, recipe.name)
    if resume is None:
        _refuse_run(out)
        _check_start(recipe)
    elif not resume.is_file():
        raise TrainingError(
            f"{resume}: no such file; nothing was saved there, so there is nothing to go on from"
        )
    device = _device(recipe)
    if recipe.tensorboard:
        board_class()
    with _torch_state(recipe, device):
        run = _Run(recipe, device)
        if resume is not None:
            run.restore(Checkpoint.read(resume), str(resume))
        else:
            run.start()
        with claimed(out):  # only now: what cannot be trained leaves no folder
            if resume is None:  # another process may have trained here meanwhile
                _refuse_run(out)
            write_file(
                out / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).encode()
            )
            journal = Journal(out, recipe.steps, run.step, tensorboard=recipe.tensorboard)
            if resume is None and (known := run.validated_scenes_seen()):
                journal.say(
                    f"{known} of the photos to validate on show scenes that are trained on: scores, and the choice of "
                    "the best, will flatter"
                )
            try:
                return _loop(run, out, journal, started, max_minutes, stop)
            finally:
                journal.close()


def _refuse_run(out: Path) -> None:
    place = out / "checkpoint.safetensors"
    if place.exists():
        raise TrainingError(f"{place}: the folder holds a run already; resume it or choose another")


def _check_start(recipe: Recipe) -> None:
    """Before anything is read: does the recipe name the files that the stage goes on from, and are they there?"""
    stage_class, *_ = stage_settings(recipe, recipe.name)
    if missing := stage_class.needed - recipe.start.keys():
        raise RecipeError(f"start.{min(missing)}: missing; stage {recipe.stage} goes on from such a file")
    for name, path in recipe.start.items():
        if not path.is_file():
            raise RecipeError(
                f"start.{name}: {path}: no such file; expected weights or a checkpoint to start from"
            )


Way = tuple[Precision, int]
"""How steps are computed: precision and threads."""


@dataclass(frozen=True)
class Timed:
    """What a training takes on this machine."""

    start: float
    """Seconds until its first step."""
    steps: dict[Way, list[float]]
    """Seconds of steps, each way; the very first ones are slower."""


def time_steps(recipe: Recipe, ways: Iterable[Way], enough: Callable[[list[float]], bool]) -> Timed:
    """Time the first steps of a recipe, each way. They leave nothing behind.

    enough: asked before every step with the seconds found this way; True ends it.
    """
    device = _device(recipe)
    began = time.monotonic()
    with _torch_state(recipe, device):
        run = _Run(recipe, device)
        run.start()
        start = time.monotonic() - began
        found: dict[Way, list[float]] = {}
        for precision, threads in ways:
            run.recipe = recipe.model_copy(update={"precision": precision})
            torch.set_num_threads(threads)
            seconds = found[precision, threads] = []
            while not enough(seconds):
                before = time.monotonic()
                run.advance()
                seconds.append(time.monotonic() - before)
    return Timed(start, found)


def _loop(
    run: _Run,
    out: Path,
    journal: Journal,
    started: float,
    max_minutes: float | None,
    stop: Callable[[], bool],
) -> Outcome:
    recipe, place = run.recipe, out / "checkpoint.safetensors"
    if run.step == 0 and recipe.validation is not None and recipe.validation.at_start:
        _validate(run, out, journal)
    pace = time.monotonic(), run.step
    while run.step < recipe.steps:
        run.advance()
        journal.advance(run.step)
        step, last = run.step, run.step == recipe.steps
        if step % recipe.log_every == 0 or last:
            now = time.monotonic()
            entry = run.summary((step - pace[1]) / max(now - pace[0], 1e-9))
            journal.write(entry, *_in_words(entry))
            for line in entry.get("left_out", ()):
                journal.say(f"left out: {line}")
            pace = now, step
        every = recipe.validation.every if recipe.validation is not None else recipe.steps
        validated = step % every == 0 or last
        if validated:
            before = time.monotonic()
            _validate(run, out, journal)
            pace = pace[0] + time.monotonic() - before, pace[1]
        late = max_minutes is not None and time.monotonic() - started >= 60 * max_minutes
        leave = (late or stop()) and not last
        if leave and not validated:
            run.write_weights(out / "last.safetensors", {})
        if leave or validated or step % recipe.save_every == 0:
            run.save(place)
        if leave:
            why = f"the {max_minutes:.1f} minutes for this training are over" if late else "asked to stop"
            journal.say(f"{why}: saved step {step} of {recipe.steps} in {place}")
            return Outcome(step, False, run.best)
    journal.say(f"done: {recipe.steps} steps, weights in {out}")
    return Outcome(run.step, True, run.best)


def _validate(run: _Run, out: Path, journal: Journal) -> None:
    """Score the averaged weights; keep them as the last, and as the best if they are."""
    if run.validator is None:
        run.write_weights(out / "last.safetensors", {})
        return
    journal.say(f"step {run.step}/{run.recipe.steps}  validating on {len(run.validator)} photos")
    grids = out / "samples" / f"{run.step:07d}"
    if run.stage.part:
        scores, score = run.validator.judge(run.stage, run.averages, grids)
    else:
        enhancer = Enhancer(run.method(), TorchEngine(run.enhancer_network()))
        scores, score = run.validator.run(enhancer, grids)
    # Weights first: after a crash between the two files the checkpoint's best is scored again.
    best = run.best is None or score > run.best
    flat = named(scores)
    run.write_weights(out / "last.safetensors", flat)
    if best:
        run.best = score
        run.write_weights(out / "best.safetensors", flat)
    words = "  ".join(
        f"{name} {given} " + " ".join(_measure(metric, value) for metric, value in found.items())
        for name, modes in scores.items()
        for given, found in modes.items()
    )
    entry = {"step": run.step, "validation": scores, "score": score, "best": best}
    journal.write(entry, f"validation: {words}{'  (best)' if best else ''}")


class _Run:
    """The state of a run: all of it is in its checkpoint, or follows from the recipe."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        self.device = device
        stage_class, config, settings = stage_settings(recipe, recipe.name)
        making, drawing = np.random.SeedSequence(recipe.seed).spawn(2)
        self.data = Mixture.read(recipe.data, np.random.default_rng(making), device)
        largest = max(phase.crop for phase in recipe.batches)
        smallest = self.data.smallest()
        if min(smallest.pixels.shape[:2]) < largest:
            height, width = smallest.pixels.shape[:2]
            raise RecipeError(
                f"batches: a crop of {largest} pixels does not fit into {smallest.name} ({width}x{height})"
            )
        self.validator = None
        if recipe.validation is not None:
            self.validator = Validator(recipe.validation, recipe.data.root)
            if both := self.validator.names() & {picture.name for picture in self.data.pictures()}:
                raise RecipeError(f"validation: {min(both)} is trained on; it would validate nothing")
        torch.manual_seed(recipe.seed)
        self.rng = np.random.default_rng(drawing)
        self.generator = torch.Generator(device).manual_seed(recipe.seed)
        self.stage = stage_class(config, settings, self.data, device)
        multiple = 1
        if not stage_class.part:
            multiple = methods.find(recipe.method)(config, self.stage.arrays()).multiple
        for phase in recipe.batches:
            if phase.crop % multiple:
                raise RecipeError(
                    f"batches: expected crops of a multiple of {multiple} pixels, got {phase.crop}"
                )
            self.stage.check_crop(phase.crop)
        for network in self.stage.networks.values():
            network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        if unknown := recipe.start.keys() - self.stage.networks.keys():
            raise RecipeError(
                f"start: no network {min(unknown)!r}; the stage has: {', '.join(self.stage.networks)}"
            )
        self.config = config
        self.players = self.stage.players()
        self.optimizers = {name: _optimizer(player) for name, player in self.players.items()}
        self.averages = self.stage.networks
        if recipe.average is not None:
            self.averages = {name: copy.deepcopy(each) for name, each in self.stage.networks.items()}
            for network in self.averages.values():
                network.eval().requires_grad_(False)
        self.step = 0
        self.best: float | None = None
        self.seconds = 0.0
        self.began = time.monotonic()
        self.skipped = dict.fromkeys(self.players, 0)
        self.recent: dict[str, list[float]] = defaultdict(list)
        self.left_out: list[str] = []

    def start(self) -> None:
        """Load what the recipe starts from."""
        for name, path in self.recipe.start.items():
            try:
                tensors = self.stage.adopt(name, *read_network(path, name))
            except RecipeError as error:
                raise RecipeError(f"start.{name}: {path}: {error}") from None
            load_module(self.stage.networks[name], tensors, str(path))
            if arrays := read_arrays(path):
                self.stage.inherit(arrays)
        self.stage.begin()
        if self.recipe.average is not None:
            for name, network in self.stage.networks.items():
                self.averages[name].load_state_dict(network.state_dict())

    def method(self) -> methods.Method:
        """The method as it would observe photos for users."""
        return methods.find(self.recipe.method)(self.config, self._arrays())

    def _arrays(self) -> dict[str, Array]:
        return {**self.stage.arrays(), **self.stage.measured(self.averages)}

    # One step

    def advance(self) -> None:
        """One step: a batch, and an update of every player that the stage yields."""
        recipe = self.recipe
        phase = recipe.phase(self.step)
        moment = Moment(self.step, recipe.steps, phase.crop, phase.count, self.rng, self.generator)
        batch = self.stage.batch(self.data, moment, self.device)
        losses = self.stage.losses(batch, moment)
        while True:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                found = next(losses, None)
            if found is None:
                break
            self._update(*found, batch)
        self.step += 1
        if recipe.average is not None:
            # Shorter at the start, when the first weights are worth forgetting.
            decay = min(recipe.average, (1 + self.step) / (10 + self.step))
            for name, network in self.stage.networks.items():
                update_average(self.averages[name], network, decay)

    def _update(self, name: str, terms: dict[str, Tensor], batch: Batch) -> None:
        player, optimizer = self.players[name], self.optimizers[name]
        values = torch.stack([term.float() for term in terms.values()])
        optimizer.zero_grad()
        values.sum().backward(inputs=list(player.parameters))  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(player.parameters, self.recipe.clip or math.inf)
        *numbers, length = torch.cat([values.detach(), norm.detach().reshape(1)]).tolist()
        found = dict(zip(terms, numbers, strict=True), gradient=length)
        bad = [key for key, value in found.items() if not math.isfinite(value)]
        if bad:
            self._refuse(name, bad[0], found[bad[0]], batch)
            return
        self.skipped[name] = 0
        for group in optimizer.param_groups:
            group["lr"] = player.optimizer.rate * player.schedule.factor(self.step, self.recipe.steps)
        optimizer.step()
        self.recent["loss"].append(sum(numbers))
        for key, value in found.items():
            self.recent[f"{name}.{key}"].append(value)

    def _refuse(self, player: str, term: str, value: float, batch: Batch) -> None:
        """A loss or gradient is not finite: skip this update, or stop."""
        self.skipped[player] += 1
        self.recent[f"{player}.skipped"].append(1.0)
        often = self.skipped[player] > MAX_SKIPPED
        times = f", {self.skipped[player]} times in a row" if often else ""
        told = f"step {self.step + 1}: {player}.{term} is {value}{times}; photos: {', '.join(batch.names)}"
        if self.recipe.non_finite == "stop" or often:
            raise TrainingError(f"{told}; lower the rate, use float32, or set non_finite: skip")
        self.left_out.append(told)

    def summary(self, pace: float) -> dict[str, Any]:
        """Means since the last summary. pace: steps a second."""
        rates = {
            name: player.optimizer.rate * player.schedule.factor(self.step - 1, self.recipe.steps)
            for name, player in self.players.items()
        }
        terms = {
            name: float(np.sum(values) if name.endswith(".skipped") else np.mean(values))
            for name, values in self.recent.items()
        }
        self.recent.clear()
        loss = terms.pop("loss", None)
        entry: dict[str, Any] = {"step": self.step, "loss": loss, "terms": terms, "rate": rates}
        if self.left_out:
            entry["left_out"], self.left_out = self.left_out, []
        return {**entry, "pace": round(pace, 3), "seconds": round(self._seconds(), 1)}

    # What is kept

    def _seconds(self) -> float:
        return self.seconds + time.monotonic() - self.began

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        tensors = module_tensors("network", self.stage.networks)
        if self.recipe.average is not None:
            tensors |= module_tensors("average", self.averages)
        for name, optimizer in self.optimizers.items():
            tensors |= optimizer_tensors(f"optimizer.{name}", optimizer)
        arrays = self.stage.arrays()
        tensors |= {f"arrays.{name}": torch.from_numpy(np.array(each)) for name, each in arrays.items()}
        tensors["random.generator"] = self.generator.get_state()
        tensors["random.torch"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        values = {
            "recipe": self.recipe.model_dump(mode="json"),
            "step": self.step,
            "best": self.best,
            "seconds": self._seconds(),
            "skipped": self.skipped,
            "rng": self.rng.bit_generator.state,
        }
        Checkpoint(tensors, values).write(path)

    def restore(self, checkpoint: Checkpoint, where: str) -> None:
        """Go on from a checkpoint of this recipe."""
        values = checkpoint.values
        _check_same_recipe(values["recipe"], self.recipe, where)
        for name, network in self.stage.networks.items():
            load_module(network, checkpoint.part(f"network.{name}"), where)
            if self.recipe.average is not None:
                load_module(self.averages[name], checkpoint.part(f"average.{name}"), where)
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, checkpoint.part(f"optimizer.{name}"))
        self.stage.inherit(checkpoint.arrays())
        random = checkpoint.part("random")
        torch.set_rng_state(random["torch"])
        if self.device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)
            self.generator.set_state(random["generator"])
        elif self.device.type == "cpu" and "cuda" not in random:
            self.generator.set_state(random["generator"])
        self.rng.bit_generator.state = values["rng"]
        self.step, self.best, self.seconds = values["step"], values["best"], values["seconds"]
        self.skipped = values["skipped"]

    def enhancer_network(self) -> nn.Module:
        """The averaged network that users would get."""
        return self.stage.enhancer_network(self.averages)

    def write_weights(self, path: Path, scores: dict[str, float]) -> None:
        """Write the averaged network as weights that ``lowlight.load`` opens."""
        recipe = self.recipe
        run = {
            "step": self.step,
            "hours": round(self._seconds() / 3600, 3),
            "commit": _commit(),
            "data_sha256": self.digest,
            "machine": _machine(self.device),
            "torch": torch.__version__,
        }
        header = weights.Header(
            name=recipe.name,
            method=recipe.method,
            part=self.stage.part,
            config=self.config.model_dump(mode="json"),
            licence=recipe.licence,
            data=list(recipe.sources),
            recipe={**_without_places(recipe), "run": run},
            scores=scores,
            seen=self.seen,
            noise_levels=self.stage.noise_levels,
            arrays=weights.encode_arrays(self._arrays()),
        )
        state = self.enhancer_network().state_dict()
        weights.save_safetensors(path, header, {key: value.cpu().numpy() for key, value in state.items()})

    @cached_property
    def seen(self) -> dict[str, str]:
        """Marks of the photos trained on and validated on, for the header."""
        found = {"trained": guards.pack(self.data.marks())}
        if self.validator is not None:
            found["chosen"] = guards.pack(self.validator.marks())
        return found

    def validated_scenes_seen(self) -> int:
        """How many photos that are validated on show a scene that is trained on."""
        if self.validator is None:
            return 0
        trained = guards.Index(guards.unpack(self.seen["trained"]))
        return sum(trained.find(mark) is not None for mark in guards.unpack(self.seen["chosen"]))

    @cached_property
    def digest(self) -> str:
        """Hash of the training photos as they are used."""
        return self.data.digest()


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average = decay * average + (1 - decay) * network, a norm's running statistics too; counters are copied."""
    with torch.no_grad():
        mine_all: list[Tensor] = list(average.parameters())
        if mine_all:
            torch._foreach_lerp_(mine_all, list(network.parameters()), 1 - decay)
        for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def _optimizer(player: Player) -> torch.optim.Optimizer:
    chosen: Optimizer = player.optimizer
    kind = torch.optim.AdamW if chosen.kind == "adamw" else torch.optim.Adam
    groups: list[dict[str, Any]] = [{"params": list(player.parameters)}]
    if player.decayed is not None:
        decayed = {id(each) for each in player.decayed}
        plain = [each for each in player.parameters if id(each) not in decayed]
        groups = [{"params": plain, "weight_decay": 0.0}, {"params": list(player.decayed)}]
    return kind(
        groups,
        lr=chosen.rate,
        betas=chosen.betas,
        eps=chosen.epsilon,
        weight_decay=chosen.weight_decay,
        fused=True,
    )


def _without_places(recipe: Recipe) -> dict[str, Any]:
    """The recipe for others to read: where things lay on this machine is left out."""
    values = recipe.model_dump(mode="json")
    del values["data"]["root"]
    values["start"] = {name: path.name for name, path in recipe.start.items()}
    for key, value in recipe.settings.items():
        if isinstance(value, str) and Path(value).is_absolute():
            values["settings"][key] = Path(value).name
    return values


def _check_same_recipe(saved: dict[str, Any], recipe: Recipe, where: str) -> None:
    def walk(before: Any, now: Any, key: str) -> Iterator[str]:
        if isinstance(before, dict) and isinstance(now, dict):
            for name in sorted(before.keys() | now.keys()):
                yield from walk(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        elif before != now:
            yield f"{key} was {before!r} and is {now!r}"

    try:
        before = in_full(Recipe.model_validate(saved), where)
    except ValidationError as error:
        raise TrainingError(f"{where}: its recipe is not valid here: {error.errors()[0]['msg']}") from None
    kept = [each.model_dump(mode="json", exclude=set(FREE)) for each in (before, recipe)]
    for each in kept:  # the photos may lie elsewhere or in other memory
        each["data"] = {key: value for key, value in each["data"].items() if key not in ("root", "cache")}
    for difference in walk(kept[0], kept[1], ""):
        raise TrainingError(f"{where}: made by another recipe: {difference}")


def _device(recipe: Recipe) -> torch.device:
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("device cuda is not available to torch; set device: cpu or install torch with CUDA")
    cuda = recipe.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")


@contextmanager
def _torch_state(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Threads, generators and cuDNN's search for the run; the caller's own afterwards."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    cuda = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.set_num_threads(recipe.threads)
        torch.backends.cudnn.benchmark = device.type == "cuda"
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = benchmark


def _measure(metric: str, value: float) -> str:
    if metric == "psnr":
        return f"{value:.2f} dB"
    return f"{value:.4f}" if metric == "ssim" else f"{metric} {value:.4f}"


def _in_words(entry: dict[str, Any]) -> tuple[str, str]:
    """A line, and what of it fits beside a bar."""
    loss = "nothing stepped" if entry["loss"] is None else f"loss {entry['loss']:.5f}"
    terms = "  ".join(f"{name} {value:.4g}" for name, value in entry["terms"].items())
    pace = f"{entry['pace']:.2f} steps/s"
    return f"{loss}  {terms}  {pace}", f"{loss}  {pace}"


def _commit() -> str:
    """The source's commit, or an empty text outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()}, {os.cpu_count()} cores"
