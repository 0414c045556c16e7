"""Validation of a network in training, through the same Enhancer that users call."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lowlight import statistics
from lowlight.enhancer import Enhancer
from lowlight.errors import RecipeError, shown
from lowlight.evaluation import guards, metrics
from lowlight.files import write_file
from lowlight.photo import Photo
from lowlight.training.data import Pixels, check_sizes, pair_files, picture_name, read_pixels
from lowlight.training.recipe import Validation, ValidationSet, read_recipe
from lowlight.training.stage import Stage

SAMPLE_WIDTH = 300
"""Of each picture in a grid of samples, pixels, at most."""

Scores = dict[str, dict[str, dict[str, float]]]
"""Set, how the lightness is given, metric: mean over the photos."""


@dataclass(frozen=True)
class _Pair:
    names: tuple[str, str]
    dark: Pixels
    light: Pixels


class Validator:
    """The held-out photos, and how to score a network on them."""

    def __init__(self, recipe: Validation, root: Path) -> None:
        self.recipe = recipe
        self.pairs = {name: _read(chosen, root) for name, chosen in recipe.sets.items()}

    def __len__(self) -> int:
        """The number of pairs."""
        return sum(map(len, self.pairs.values()))

    def names(self) -> set[str]:
        """Paths of all photos, below the root where they lie there, as ``data.Picture`` has them."""
        return {name for pairs in self.pairs.values() for pair in pairs for name in pair.names}

    def marks(self) -> set[bytes]:
        """Marks of the references, for the header of the weights that they choose."""
        return {guards.mark(pair.light) for pairs in self.pairs.values() for pair in pairs}

    def run(self, enhancer: Enhancer, grids: Path | None = None) -> tuple[Scores, float]:
        """Scores of all sets, and the weighted sum of PSNRs that the best is chosen by.

        grids: where a grid of samples a set is written, as ``GRIDS-SET.png``: dark, each result, reference.
        """
        scores: Scores = {}
        total = 0.0
        for name, chosen in self.recipe.sets.items():
            rows = []
            found: dict[str, list[tuple[float, float]]] = {given: [] for given in chosen.score}
            for index, pair in enumerate(self.pairs[name]):
                results = [self._enhance(enhancer, pair, given) for given in chosen.score]
                for given, result in zip(chosen.score, results, strict=True):
                    found[given].append((metrics.psnr(result, pair.light), metrics.ssim(result, pair.light)))
                if index < self.recipe.samples:
                    rows.append([pair.dark, *results, pair.light])
            means = {given: np.mean(values, axis=0) for given, values in found.items()}
            scores[name] = {given: {"psnr": float(p), "ssim": float(s)} for given, (p, s) in means.items()}
            total += sum(weight * scores[name][given]["psnr"] for given, weight in chosen.score.items())
            if grids is not None:
                _write_grid(grids, name, rows)
        return scores, total

    def judge(self, stage: Stage, networks: Mapping[str, nn.Module], grids: Path) -> tuple[Scores, float]:
        """Measures of all sets, and the weighted sum of scores, by a stage that trains a part.

        grids: as in ``run``, where the stage has pictures to show.
        """
        scores: Scores = {}
        total = 0.0
        for name, chosen in self.recipe.sets.items():
            pairs = [(pair.dark, pair.light) for pair in self.pairs[name]]
            measures, score = stage.judge(networks, pairs)
            scores[name] = {stage.part: measures}
            total += sum(chosen.score.values()) * score
            rows = [stage.sample(networks, pair) for pair in pairs[: self.recipe.samples]]
            _write_grid(grids, name, [row for row in rows if row])
        return scores, total

    def _enhance(self, enhancer: Enhancer, pair: _Pair, given: str) -> Pixels:
        lightness = "auto" if given == "auto" else statistics.mean(pair.light)
        result, _ = enhancer.enhance_photo(Photo(pair.dark), enhancer.controls(lightness=lightness))
        return np.asarray(result.samples, np.uint8)


def validator_of(recipe: Path, root: Path | None) -> Validator:
    """That of a recipe's file. root: of its photos, where not the recipe's. Raises RecipeError."""
    read = read_recipe(recipe)
    if read.validation is None:
        raise RecipeError(f"{shown(recipe)}: validation is missing")
    return Validator(read.validation, root or read.data.root)


def named(scores: Scores) -> dict[str, float]:
    """Scores as a header holds them: ``lol.reference.psnr``."""
    return {
        f"{name}.{given}.{metric}": round(value, 4)
        for name, modes in scores.items()
        for given, values in modes.items()
        for metric, value in values.items()
    }


def files_of(chosen: ValidationSet, root: Path) -> list[tuple[str, Path, Path]]:
    """Name, dark photo and reference of each pair that is validated on."""
    files = pair_files(chosen.pairs, root)
    if chosen.limit is not None and chosen.limit < len(files):
        files = [files[index * len(files) // chosen.limit] for index in range(chosen.limit)]
    return files


def _read(chosen: ValidationSet, root: Path) -> list[_Pair]:
    pairs = []
    for _, dark, light in files_of(chosen, root):
        names = picture_name(dark, root), picture_name(light, root)
        pair = _Pair(names, read_pixels(dark), read_pixels(light))
        check_sizes(dark, pair.dark.shape, light, pair.light.shape)
        pairs.append(pair)
    return pairs


def _write_grid(grids: Path, name: str, rows: list[list[Pixels]]) -> None:
    if rows:
        grids.parent.mkdir(exist_ok=True)
        write_file(grids.with_name(f"{grids.name}-{name}.png"), _grid(rows))


def _grid(rows: list[list[Pixels]]) -> bytes:
    """PNG of pictures in rows, reduced to one width; those of a row have one size."""
    width = min(SAMPLE_WIDTH, *(row[0].shape[1] for row in rows))
    reduced: list[NDArray[np.uint8]] = []
    for row in rows:
        size = width, max(1, round(row[0].shape[0] * width / row[0].shape[1]))
        small = [Image.fromarray(each).resize(size, Image.Resampling.BOX) for each in row]
        reduced.append(np.concatenate([np.asarray(each) for each in small], axis=1))
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(reduced)).save(stream, "png")
    return stream.getvalue()
