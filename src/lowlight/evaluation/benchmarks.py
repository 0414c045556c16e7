"""Benchmark sets by name: where their photos lie, how many there are, who published them, what is wrong with them.

Folders are those of the publisher's archive where one is commonly unpacked in one way, else lowlight's own; ``note``
says which. No set comes with lowlight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowlight.containers import SUFFIXES
from lowlight.errors import PhotoError, UseError, shown
from lowlight.evaluation import guards, pairing
from lowlight.evaluation.pairing import Case, Role
from lowlight.photo import describe_photo, read_photo
from lowlight.statistics import to_8_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

RAW_SUFFIXES = (".arw", ".raf", ".dng")


@dataclass(frozen=True)
class Part:
    """One split of a set, or one camera of it."""

    name: str
    low: str
    """Folder of the dark photos below the set's."""
    reference: str = ""
    """Folder of their references; empty: there are none."""
    count: int | None = None
    """Pairs, or photos without references; None: not stated by the publisher."""
    patterns: dict[Role, str] = field(default_factory=dict)
    """Names around the part that partners share."""
    size: tuple[int, int] | None = None
    """Width and height of all photos."""
    names: tuple[str, ...] = ()
    """The published split, where it is known by file names."""
    folders: tuple[str, ...] = ()
    """Folders that must be below ``low``."""
    suffixes: tuple[str, ...] = tuple(SUFFIXES)
    chosen: Callable[[str], bool] | None = None
    """Whether a file name belongs to this part, where parts share a folder."""
    faults: tuple[str, ...] = ()
    """Known, and of weight when this part is used: one sentence each."""

    @property
    def checks(self) -> tuple[str, ...]:
        """What ``check`` can tell of a folder."""
        told = {
            "folders": self.folders,
            "count": self.count,
            "names": self.names,
            "partners": self.reference or self.folders == ("Label",),
            "sizes": self.size,
        }
        return tuple(what for what, known in told.items() if known)


@dataclass(frozen=True)
class Benchmark:
    """A published set of photos."""

    name: str
    title: str
    source: str
    terms: str
    parts: tuple[Part, ...]
    note: str = ""
    """On the layout."""
    unusable: str = ""
    """Why `lowlight evaluate --set` can't take it as it is, and what to do."""
    shares: str = ""
    """A name in the data of weights that have seen this set's shots."""

    def shared_with(self, data: Sequence[str]) -> list[str]:
        """What to say of weights trained on these data, one sentence each as their header has it."""
        if not self.shares or not any(self.shares in sentence for sentence in data):
            return []
        return [f"the weights name {self.shares} among their training data, and {self.name} shares its shots"]

    @property
    def default_split(self) -> str:
        """What is measured where nobody chooses."""
        return "test" if any(part.name.split("-")[0] == "test" for part in self.parts) else "all"

    def parts_of(self, split: str) -> list[Part]:
        """The parts of a split: ``test`` is also ``test-real`` and ``test-synthetic``. Raises UseError."""
        found = [part for part in self.parts if split in (part.name, part.name.split("-")[0])]
        if not found:
            names = ", ".join(part.name for part in self.parts)
            raise UseError(f"{self.name} has no part {split!r}; it has: {names}")
        return found


_SHARED_SHOTS = (
    "LOL-v1 and LOL-v2-real are two splits of the same shots: LOL-v1's training part holds photos of this test "
    "part, so weights trained on LOL-v1 have seen them (LLFlow issue 35, GLARE issue 4)."
)
_LOL_TEST = "1 22 23 55 79 111 146 179 493 547 665 669 748 778 780"
_LOL = (
    "1-2 5-6 9-10 12-18 21-28 33 35-36 38-40 42-48 50-64 67-70 73-84 86-89 91-107 109-132 135-147 "
    "149-152 154 157 159-160 162 167 169 171-176 179-180 183-189 191 193-196 198-204 206-207 209-213 "
    "215-216 219-222 225 227-233 235-244 246-254 257-265 267 328 330 342 344 450 460 464 468-502 "
    "504-508 511-512 514-515 517 522-535 537-576 578-580 583 585-588 590-598 600-601 604-617 620-630 "
    "633-634 637-651 653-655 658-671 674-704 708-741 743-748 750-752 757-766 769-789"
)
"""Numbers of all 500 pairs, first to last of each row without a gap."""
_EXDARK = "Bicycle Boat Bottle Bus Car Cat Chair Cup Dog Motorbike People Table"
_UNSEEN = "this layout was not compared with the publisher's archive"
_UNPAIRED = "none stated: measure and look, do not ship"


_MEF = (
    "Balloons BelgiumHouse Cadik Candle Cave ChineseGarden Farmhouse House Kluki Lamp Landscape LightHouse Madison "
    "Memorial Office Tower Venice"
)


def _unpaired(
    name: str, count: int, publication: str, fault: str = "", names: tuple[str, ...] = ()
) -> Benchmark:
    part = Part("all", ".", count=count, names=names, faults=(fault,) if fault else ())
    note = "all photos in one folder" + (
        ", with the names of one of the copies that go round" if names else ""
    )
    return Benchmark(
        name, f"{name.upper()}: {count} photos without reference", publication, _UNPAIRED, (part,), note
    )


def _sid(camera: str, suffix: str, count: int) -> Iterator[Part]:
    for digit, split in (("0", "train"), ("2", "validation"), ("1", "test")):
        yield Part(
            f"{split}-{camera.lower()}",
            f"{camera}/short",
            suffixes=(suffix,),
            chosen=lambda name, digit=digit: name.startswith(digit),  # type: ignore[misc]
            faults=("10034, 10045 and 10172 are misaligned: leave them out.",) if split == "test" else (),
        )
    yield Part(f"all-{camera.lower()}", f"{camera}/short", count=count, suffixes=(suffix,))


def _lol_train() -> tuple[str, ...]:
    numbers: list[str] = []
    for row in _LOL.split():
        first, _, last = row.partition("-")
        numbers += map(str, range(int(first), int(last or first) + 1))
    return tuple(name for name in numbers if name not in _LOL_TEST.split())


def _numbers(first: int, end: int) -> tuple[str, ...]:
    return tuple(f"{number:05d}" for number in range(first, end))


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "lol-v1",
            "LOL: 500 real pairs, 485 to train on and 15 to test",
            "Wei, Wang, Yang, Liu, Deep Retinex Decomposition, BMVC 2018; project page of RetinexNet",
            "none stated: research only",
            (
                Part(
                    "train", "our485/low", "our485/high", 485, size=(600, 400), names=_lol_train(),
                    faults=(
                        "Pair 648 does not match (the camera moved by about 50 pixels): leave it out of training.",
                        "Scenes repeat: 234 in 485 pairs. Hold out whole scenes, not single photos.",
                    ),
                ),
                Part(
                    "test", "eval15/low", "eval15/high", 15, size=(600, 400), names=tuple(_LOL_TEST.split()),
                    faults=(
                        ("14 of the 15 test scenes are in the training part too, under another exposure: this is no "
                        "test on new scenes for weights trained on LOL."),
                    ),
                ),
            ),
        ),
        Benchmark(
            "lol-v2-real",
            "LOL-v2 real: 689 pairs to train on, 100 to test",
            "Yang, Wang, Huang, Wang, Liu, Sparse Gradient Regularized Deep Retinex Network, TIP 2021",
            "none stated: research only",
            (
                Part("train", "Real_captured/Train/Low", "Real_captured/Train/Normal", 689,
                     {"low": "low*", "reference": "normal*"}, (600, 400), _numbers(1, 690)),
                Part("test", "Real_captured/Test/Low", "Real_captured/Test/Normal", 100,
                     {"low": "low*", "reference": "normal*"}, (600, 400), _numbers(690, 790),
                     faults=(_SHARED_SHOTS,)),
            ),
            shares="LOL",
        ),
        Benchmark(
            "lol-v2-synthetic",
            "LOL-v2 synthetic: 900 pairs to train on, 100 to test",
            "Yang, Wang, Huang, Wang, Liu, Sparse Gradient Regularized Deep Retinex Network, TIP 2021",
            "none stated: research only",
            (
                Part("train", "Synthetic/Train/Low", "Synthetic/Train/Normal", 900, size=(384, 384)),
                Part("test", "Synthetic/Test/Low", "Synthetic/Test/Normal", 100, size=(384, 384)),
            ),
        ),
        Benchmark(
            "ve-lol",
            "VE-LOL, low-level part: tested on 100 real and 100 synthetic pairs of 2500",
            "Liu, Xu, Yang, Fan, Huang, Benchmarking Low-Light Image Enhancement and Beyond, IJCV 2021",
            "as its project page says: research",
            (
                Part("test-real", "real/test/low", "real/test/high", 100, faults=(_SHARED_SHOTS,)),
                Part("test-synthetic", "synthetic/test/low", "synthetic/test/high", 100),
            ),
            "lowlight's own layout, names of partners equal: archives differ",
            shares="LOL",
        ),
        Benchmark(
            "sice",
            "SICE: 589 sequences of several exposures with a label each, 4413 photos",
            "Cai, Gu, Zhang, Learning a Deep Single Image Contrast Enhancer, TIP 2018; csjcai/SICE",
            "none stated: research only",
            (
                Part("part1", "Dataset_Part1", count=360, folders=("Label",)),
                Part("part2", "Dataset_Part2", count=229, folders=("Label",)),
            ),
            "Dataset_PartN/SEQUENCE/*.JPG with Dataset_PartN/Label/SEQUENCE.JPG; sequences are counted; " + _UNSEEN,
            "which exposure is the dark one is not part of the set; choose it and give --low and --reference",
        ),
        Benchmark(
            "fivek",
            "MIT-Adobe FiveK: 5000 photos retouched by five experts, usually C",
            "Bychkovsky, Paris, Chan, Durand, CVPR 2011",
            "two licence files inside (Adobe, Adobe-MIT): research",
            (Part("all", "input", "expertC", 5000),),
            "lowlight's own layout: the archive holds DNG and 16-bit ProPhoto TIFF; export both to sRGB of one size",
        ),
        Benchmark(
            "sid",
            "SID: 5094 raw short exposures of two cameras with long ones",
            "Chen, Chen, Xu, Koltun, Learning to See in the Dark, CVPR 2018",
            "repository MIT; nothing apart for the photos",
            (*_sid("Sony", ".arw", 2697), *_sid("Fuji", ".raf", 2397)),
            "{Sony,Fuji}/{short,long}; a name that starts with 0 is to train on, 1 to test, 2 to validate; " + _UNSEEN,
            "its photos are camera RAW; develop them to PNG and give --low and --reference",
        ),
        Benchmark(
            "lsrw",
            "LSRW: pairs of a Nikon (3150 and 20) and a Huawei (2450 and 30)",
            "Hai, Xuan, Yang, Hao, Zou, Lin, Han, R2RNet, JVCIR 2023; JianghaiSCU/R2RNet",
            "none stated: research only",
            (
                Part("train-nikon", "Training data/Nikon/low", "Training data/Nikon/high", 3150),
                Part("train-huawei", "Training data/Huawei/low", "Training data/Huawei/high", 2450),
                Part("test-nikon", "Eval/Nikon/low", "Eval/Nikon/high", 20),
                Part("test-huawei", "Eval/Huawei/low", "Eval/Huawei/high", 30),
            ),
            _UNSEEN,
        ),
        Benchmark(
            "lol-blur",
            "LOL-Blur: 12000 pairs of dark blurred and light sharp frames",
            "Zhou, Li, Loy, LEDNet, ECCV 2022",
            "none stated: research only",
            (
                Part("train", "train/low_blur", "train/high_sharp_scaled", 10200),
                Part("test", "test/low_blur", "test/high_sharp_scaled", 1800),
            ),
            "frames in a folder a sequence, below each of the two; " + _UNSEEN,
        ),
        _unpaired("lime", 10, "Guo, Li, Ling, LIME, TIP 2017", names=tuple(map(str, range(1, 11)))),
        _unpaired("mef", 17, "scenes of Ma, Zeng, Wang, TIP 2015", names=tuple(_MEF.split())),
        _unpaired("npe", 84, "Wang, Zheng, Hu, Li, Naturalness Preserved Enhancement, TIP 2013",
                  "NPE has been passed on with extra parts: counts differ between papers."),
        _unpaired("dicm", 64, "Lee, Lee, Kim, Contrast Enhancement Based on Layered Difference Representation, TIP 2013",
                  "DICM was published with 69 photos; papers measure 64 of them or all."),
        _unpaired("vv", 24, "Vonikakis, Busting image enhancement and tone-mapping algorithms"),
        Benchmark(
            "exdark",
            "ExDark: 7363 dark photos of 12 classes with boxes, no reference",
            "Loh, Chan, Getting to Know Low-light Images with the Exclusively Dark Dataset, CVIU 2019",
            "photos (terms of 1 October 2026): non-commercial academic use, no redistribution, companies ask first; "
            "code BSD-3-Clause",
            (Part("all", ".", count=7363, folders=tuple(_EXDARK.split())),),
            "a folder a class; " + _UNSEEN,
        ),
    )
}  # fmt: skip


def find_benchmark(name: str) -> Benchmark:
    """A set by name. Raises UseError naming those that exist."""
    if name not in BENCHMARKS:
        raise UseError(f"no benchmark set is called {name!r}; there are: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def describe(benchmark: Benchmark) -> dict[str, Any]:
    """All that is known of a set, for listing."""
    return {
        "title": benchmark.title,
        "source": benchmark.source,
        "terms": benchmark.terms,
        "note": benchmark.note,
        "unusable": benchmark.unusable,
        "parts": [
            {
                "part": part.name,
                "low": part.low,
                "reference": part.reference,
                "count": part.count,
                "names": part.patterns,
                "size": None if part.size is None else "x".join(map(str, part.size)),
                "faults": list(part.faults),
            }
            for part in benchmark.parts
        ],
    }


def cases(benchmark: Benchmark, split: str | None, folder: Path) -> tuple[list[Case], list[str]]:
    """The photos of a split below ``folder`` and its known faults. Raises UseError for what is missing."""
    if benchmark.unusable:
        raise UseError(f"--set {benchmark.name}: {benchmark.unusable}")
    parts = benchmark.parts_of(split or benchmark.default_split)
    found: list[Case] = []
    faults: list[str] = []
    for part in parts:
        folders: dict[Role, Path] = {"low": folder / part.low}
        if part.reference:
            folders["reference"] = folder / part.reference
        prefix = f"{part.name}/" if len(parts) > 1 else ""
        # Names choose a split out of pairs; a folder of photos is a whole set, and copies name them as they like.
        paired = pairing.pair(folders, part.patterns, part.names if part.reference else ())
        found += [replace(case, name=prefix + case.name) for case in paired]
        faults += part.faults
    return found, list(dict.fromkeys(faults))


# Checking


@dataclass(frozen=True)
class Checked:
    """What was found of one part."""

    part: str
    found: int
    """Pairs, photos or sequences."""
    expected: int | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    checks: tuple[str, ...]
    """What was looked at."""


def check(
    benchmark: Benchmark, folder: Path, split: str | None = None, *, scenes: bool = False
) -> list[Checked]:
    """Compare a folder with what the set should hold: folders, counts, names, partners, sizes.

    scenes: also read all references, and look for photos and scenes of a test part in the others.
    Raises UseError for a folder or part that does not exist.
    """
    if not folder.is_dir():
        raise UseError(f"{shown(folder)}: expected the folder of {benchmark.name}; there is none")
    parts = benchmark.parts if split is None else benchmark.parts_of(split)
    found = {part.name: _check_part(part, folder) for part in parts}
    if scenes:
        for name, problem in _shared_scenes(parts, folder):
            old = found[name]
            found[name] = replace(old, notes=(*old.notes, problem))
    return list(found.values())


def departure(benchmark: Benchmark, folder: Path, split: str | None = None) -> str:
    """In one line, where a folder differs from the set as published, so that no number on both compares; or empty.

    Raises UseError like ``check``.
    """
    problems = [
        f"{part.part}: {problem}"
        for part in check(benchmark, folder, split or benchmark.default_split)
        for problem in part.problems
    ]
    if not problems:
        return ""
    more = f", and {len(problems) - 1} more (`lowlight data check` lists them)" if problems[1:] else ""
    return (
        f"{shown(folder)} is not {benchmark.name} as published, so no published number stands beside: "
        f"{problems[0]}{more}"
    )


def _check_part(part: Part, folder: Path) -> Checked:
    problems: list[str] = []
    missing = [name for name in part.folders if not (folder / part.low / name).is_dir()]
    if missing:
        problems.append(f"{shown(folder / part.low)}: no folder {', '.join(missing)}")
    try:
        count, more = _look(part, folder)
        problems += more
    except UseError as error:
        return Checked(part.name, 0, part.count, (*problems, str(error)), part.faults, part.checks)
    if part.count is not None and count != part.count:
        problems.append(f"found {count}, expected {part.count}")
    return Checked(part.name, count, part.count, tuple(problems), part.faults, part.checks)


def _look(part: Part, folder: Path) -> tuple[int, list[str]]:
    if part.folders == ("Label",):
        return _look_at_sequences(folder / part.low)
    if part.suffixes[0] in RAW_SUFFIXES:
        photos = pairing.photos_in(folder / part.low, suffixes=part.suffixes)
        return len([name for name in photos if part.chosen is None or part.chosen(name)]), []
    folders: dict[Role, Path] = {"low": folder / part.low}
    if part.reference:
        folders["reference"] = folder / part.reference
    found = pairing.pair(folders, part.patterns)
    problems = []
    names = {case.name for case in found}
    if part.names and (absent := sorted(set(part.names) - names, key=pairing.natural)):
        problems.append(f"not there: {pairing.listed(absent)}")
    if part.names and (extra := sorted(names - set(part.names), key=pairing.natural)):
        problems.append(f"not of this part: {pairing.listed(extra)}")
    kept: list[Case] = []
    broken: dict[str, str] = {}
    try:
        kept, broken = pairing.check_alike(found)
    except UseError as error:
        problems.append(str(error))
    problems += broken.values()
    if part.size is not None:
        problems += _other_sizes(kept, part.size)
    return len(found), problems


def _look_at_sequences(folder: Path) -> tuple[int, list[str]]:
    """Sequences of exposures, each with a label of its name."""
    labels = pairing.photos_in(folder / "Label")
    sequences = {path.name for path in folder.iterdir() if path.is_dir() and path.name != "Label"}
    problems = []
    if missing := sorted(sequences - labels.keys(), key=pairing.natural):
        problems.append(f"without a label: {pairing.listed(missing)}")
    if extra := sorted(labels.keys() - sequences, key=pairing.natural):
        problems.append(f"labels without a sequence: {pairing.listed(extra)}")
    return len(sequences), problems


def _other_sizes(cases: Sequence[Case], size: tuple[int, int]) -> list[str]:
    others = []
    for case in cases:
        found = describe_photo(next(iter(case.files().values())))
        if (found["width"], found["height"]) != size:
            others.append(f"{case.name} ({found['width']}x{found['height']})")
    return [f"expected {size[0]}x{size[1]} pixels, not so: {pairing.listed(others)}"] if others else []


def _shared_scenes(parts: Sequence[Part], folder: Path) -> Iterator[tuple[str, str]]:
    """(part, note) for every test part whose photos or scenes another part holds."""
    marks: dict[str, dict[str, bytes]] = {}
    for part in parts:
        try:
            photos = pairing.photos_in(
                folder / (part.reference or part.low), deep=True, suffixes=part.suffixes
            )
        except UseError:
            continue
        marks[part.name] = dict(mark_files(photos))
    for name, own in marks.items():
        if not name.startswith("test"):
            continue
        for other, theirs in marks.items():
            if other.startswith("test"):
                continue
            leaks = guards.find_leaks(
                {"trained": list(theirs.values())}, {each: [mark] for each, mark in own.items()}
            )
            if leaks:
                shared = ", ".join(f"{leak.name} ({leak.kind})" for leak in leaks)
                yield (
                    name,
                    f"{len(leaks)} of {len(own)} photos or their scenes are in {other}: {shown(shared)}",
                )


def mark_files(photos: dict[str, Path]) -> Iterator[tuple[str, bytes]]:
    """(name, mark) of all photos that can be read."""
    for name, path in photos.items():
        try:
            yield name, guards.mark(to_8_bits(read_photo(path).samples))
        except PhotoError:
            continue
