"""Benchmark sets: layouts that are checked, splits by name, faults that are told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pictures
from lowlight.errors import UseError
from lowlight.evaluation import leaderboard
from lowlight.evaluation.benchmarks import BENCHMARKS, cases, check
from lowlight.evaluation.metrics import METRICS
from lowlight.evaluation.protocols import PROTOCOLS

LOL = BENCHMARKS["lol-v1"]
TEST = LOL.parts[1].names
PICTURE = np.zeros((400, 600, 3), np.uint8)


def save(path: Path, array: np.ndarray = PICTURE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, compress_level=1)


@pytest.fixture
def lol(tmp_path: Path) -> Path:
    """LOL's test part, of black pictures."""
    for folder in ("low", "high"):
        for name in TEST:
            save(tmp_path / "eval15" / folder / f"{name}.png")
    return tmp_path


def test_the_sets_are_those_that_are_published() -> None:
    wanted = (
        "lol-v1 lol-v2-real lol-v2-synthetic ve-lol sice fivek sid lsrw lol-blur lime mef npe dicm vv exdark"
    )
    assert list(BENCHMARKS) == wanted.split()
    counts = {f"{set_.name} {part.name}": part.count for set_ in BENCHMARKS.values() for part in set_.parts}
    assert counts["lol-v1 train"] == 485
    assert counts["lol-v2-real train"] == 689
    assert counts["lol-v2-synthetic train"] == 900
    assert counts["sice part1"] + counts["sice part2"] == 589  # type: ignore[operator]
    assert counts["sid all-sony"] + counts["sid all-fuji"] == 5094  # type: ignore[operator]
    for set_ in BENCHMARKS.values():
        assert set_.source
        assert set_.terms


def test_lol_is_split_by_name() -> None:
    train, test = (part.names for part in LOL.parts)
    assert (len(train), len(test)) == (485, 15)
    assert not set(train) & set(test)
    assert {"2", "648", "789"} <= set(train)


def test_a_whole_part_is_as_it_should_be(lol: Path) -> None:
    [found] = check(LOL, lol, "test")
    assert (found.found, found.expected, found.problems) == (15, 15, ())
    assert "14 of the 15 test scenes" in found.notes[0]


def test_a_part_that_is_not_there_is_a_problem(lol: Path) -> None:
    train, test = check(LOL, lol)
    assert (train.found, test.problems) == (0, ())
    assert "our485/low: expected a folder of photos" in train.problems[0]


def test_what_is_wrong_is_named(lol: Path) -> None:
    for folder in ("low", "high"):
        (lol / "eval15" / folder / "778.png").rename(lol / "eval15" / folder / "779.png")
        save(lol / "eval15" / folder / "22.png", PICTURE[:200])
    (lol / "eval15" / "low" / "23.png").write_bytes(b"no photo")
    [found] = check(LOL, lol, "test")
    problems = "\n".join(found.problems)
    assert "not there: 778" in problems
    assert "not of this part: 779" in problems
    assert "23.png" in problems
    assert "expected 600x400 pixels, not so: 22 (600x200)" in problems


def test_partners_that_are_missing_are_named(lol: Path) -> None:
    (lol / "eval15" / "high" / "1.png").unlink()
    [found] = check(LOL, lol, "test")
    assert found.found == 0
    assert "high: no photo for 1" in found.problems[0]


def test_scenes_of_a_test_part_are_found_in_training(tmp_path: Path) -> None:
    for folder in ("low", "high"):
        for index, name in enumerate(TEST[:2]):
            save(tmp_path / "eval15" / folder / f"{name}.png", pictures.scene(index))
        save(tmp_path / "our485" / folder / "2.png", pictures.scene(1) // 2)
        save(tmp_path / "our485" / folder / "5.png", pictures.scene(9))
    _, test = check(LOL, tmp_path, scenes=True)
    assert "1 of 2 photos or their scenes are in train: 22 (scene)" in test.notes


def test_cases_are_the_published_split(lol: Path) -> None:
    found, faults = cases(LOL, None, lol)
    assert [case.name for case in found] == list(TEST)
    assert found[0].low == lol / "eval15" / "low" / "1.png"
    assert len(faults) == 1


def test_names_of_partners_may_differ(tmp_path: Path) -> None:
    numbers = [f"{number:05d}" for number in range(690, 790)]
    for number in numbers:
        save(tmp_path / "Real_captured" / "Test" / "Low" / f"low{number}.png", PICTURE[:20, :20])
        save(tmp_path / "Real_captured" / "Test" / "Normal" / f"normal{number}.png", PICTURE[:20, :20])
    found, faults = cases(BENCHMARKS["lol-v2-real"], "test", tmp_path)
    assert [case.name for case in found] == numbers
    assert "two splits of the same shots" in faults[0]
    (tmp_path / "Real_captured" / "Test" / "Normal" / "normal00700.png").unlink()
    with pytest.raises(UseError, match="no photo for 00700"):
        cases(BENCHMARKS["lol-v2-real"], "test", tmp_path)


def test_weights_that_name_a_set_of_the_same_shots_are_told_apart() -> None:
    real = BENCHMARKS["lol-v2-real"]
    [line] = real.shared_with(["BSDS500", "LOL-v1, 485 pairs"])
    assert "lol-v2-real shares its shots" in line
    assert real.shared_with(["BSDS500"]) == []
    assert BENCHMARKS["lol-v2-synthetic"].shared_with(["LOL-v1, 485 pairs"]) == []


def test_parts_of_one_split_are_measured_together(tmp_path: Path) -> None:
    for kind in ("real", "synthetic"):
        for folder in ("low", "high"):
            save(tmp_path / kind / "test" / folder / "1.png", PICTURE[:20, :20])
    ve_lol = BENCHMARKS["ve-lol"]
    assert [case.name for case in cases(ve_lol, None, tmp_path)[0]] == ["test-real/1", "test-synthetic/1"]
    assert [case.name for case in cases(ve_lol, "test-real", tmp_path)[0]] == ["1"]


def test_sequences_and_raw_photos_are_counted(tmp_path: Path) -> None:
    save(tmp_path / "Dataset_Part1" / "1" / "1.PNG", PICTURE[:20, :20])
    save(tmp_path / "Dataset_Part1" / "2" / "1.PNG", PICTURE[:20, :20])
    save(tmp_path / "Dataset_Part1" / "Label" / "1.PNG", PICTURE[:20, :20])
    [found] = check(BENCHMARKS["sice"], tmp_path, "part1")
    assert found.found == 2
    assert found.problems == ("without a label: 2", "found 2, expected 360")
    for name in ("00001_00_0.1s", "10003_00_0.04s", "10034_00_0.1s", "20001_00_0.1s"):
        place = tmp_path / "Sony" / "short" / f"{name}.ARW"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    counts = {part.part: part.found for part in check(BENCHMARKS["sid"], tmp_path)}
    assert [counts[f"{name}-sony"] for name in ("train", "validation", "test", "all")] == [1, 1, 2, 4]


@pytest.mark.parametrize(
    ("name", "split", "said"),
    [
        ("sice", None, "which exposure is the dark one"),
        ("sid", None, "camera RAW"),
        ("lol-v1", "val", "no part 'val'; it has: train, test"),
    ],
)
def test_what_cannot_be_measured_says_why(tmp_path: Path, name: str, split: str | None, said: str) -> None:
    with pytest.raises(UseError, match=said):
        cases(BENCHMARKS[name], split, tmp_path)


def test_the_commands_list_and_check(lowlight, lol: Path) -> None:  # type: ignore[no-untyped-def]
    status, out, err = lowlight("data", "list")
    assert (status, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()[1:]} == set(BENCHMARKS)
    status, out, _ = lowlight("data", "list", "lol-v2-real")
    assert status == 0
    folders = "Real_captured/Test/Low with Real_captured/Test/Normal"
    assert f"test: 100, {folders}, low low*, reference normal*, 600x400" in out.splitlines()
    status, out, _ = lowlight("data", "list", "lol-v1", "--json")
    assert json.loads(out)["parts"][0]["faults"][0].startswith("Pair 648 does not match")
    assert lowlight("data", "check", "lol-v1", lol, "--split", "test")[0] == 0
    status, out, _ = lowlight("data", "check", "lol-v1", lol, "--json")
    assert status == 1
    assert [part["found"] for part in json.loads(out)] == [0, 15]
    assert lowlight("data", "check", "lol-v1")[0] == 2
    assert lowlight("data", "check", "lol", lol)[0] == 2
    assert lowlight("data", "check", "lol-v1", lol / "none")[0] == 2


def test_sets_of_one_folder_say_what_was_looked_at(lowlight: Any, tmp_path: Path) -> None:
    for number in range(1, 11):
        save(tmp_path / "lime" / f"{number}.png", PICTURE[:20, :20])
    status, out, _ = lowlight("data", "check", "lime", tmp_path / "lime")
    assert (status, out) == (0, "lime all: 10 of 10, as it should be by count, names\n")
    (tmp_path / "lime" / "10.png").rename(tmp_path / "lime" / "mine.png")
    status, out, _ = lowlight("data", "check", "lime", tmp_path / "lime")
    wrong = ["lime all: 10 of 10, wrong", "  wrong: not there: 10", "  wrong: not of this part: mine"]
    assert (status, out.splitlines()) == (1, wrong)
    # A folder is the whole set, whatever its photos are called.
    assert [case.name for case in cases(BENCHMARKS["lime"], None, tmp_path / "lime")[0]][-1] == "mine"
    for number in range(24):
        save(tmp_path / "vv" / f"{number}.png", PICTURE[:20, :20])
    status, out, _ = lowlight("data", "check", "vv", tmp_path / "vv")
    said = "vv all: 24 of 24, as it should be by count; names are not known, only counted\n"
    assert (status, out) == (0, said)


def test_the_page_says_what_is_checked_of_which_set() -> None:
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page[page.index("| set | part |") :].split("\n\n")[0].splitlines()[2:]
    ]
    told = {
        (name, part): looked
        for names, parts, looked in rows
        for name in names.split(", ")
        for part in parts.split(", ")
    }
    assert told == {
        (f"`{name}`", part.name): ", ".join(part.checks) or "nothing but that there are some"
        for name, benchmark in BENCHMARKS.items()
        for part in benchmark.parts
    }


# Published numbers


def test_published_numbers_are_all_there_with_their_source() -> None:
    rows = leaderboard.rows()
    assert len(rows) == 178
    assert all(row["source"] and row["protocol"] and row["data"] and row["method"] for row in rows)
    assert sum(isinstance(value, float | int) for row in rows for value in row.values()) == 472
    # ``psnr`` and ``psnr_cidnet`` of one row are one number.
    shown = {
        (of, each.method, each.source, each.protocol, each.metric.split("_")[0])
        for of in leaderboard.DATA
        for each in leaderboard.published(*of)
    }
    assert len(shown) == 138


def test_only_rows_of_the_same_protocol_and_variant_stand_beside_a_column() -> None:
    found, others = leaderboard.beside("lol-v1", "test", {"raw.psnr"})
    assert {(row.protocol, row.metric) for row in found} == {("raw", "psnr")}
    assert ("CIDNet w_perc", 23.8091) in {(row.method, row.value) for row in found}
    assert not any("Dimma" in row.method or "Retinexformer" in row.method for row in found)
    assert others > 100
    gained, _ = leaderboard.beside("lol-v1", "test", {"gtmean_glare.psnr_float"})
    assert [(row.method, row.value) for row in gained] == [("Retinexformer", 27.18)]
    assert leaderboard.beside("lol-v1", "train", {"raw.psnr"})[0] == []
    assert leaderboard.beside("", "", {"raw.psnr"}) == ([], 0)


def test_the_keys_of_published_rows_name_what_exists() -> None:
    data = {row["data"] for row in leaderboard.rows()}
    assert set(leaderboard.DATA.values()) <= data
    assert leaderboard.PROTOCOLS.keys() <= {row["protocol"] for row in leaderboard.rows()}
    assert set(leaderboard.PROTOCOLS.values()) <= PROTOCOLS.keys()
    for (source, protocol, _), metrics in leaderboard.VARIANTS.items():
        assert any(str(row["source"]).startswith(source) for row in leaderboard.rows())
        assert protocol in PROTOCOLS
        assert set(metrics) <= METRICS.keys()
    for name, split in leaderboard.DATA:
        assert any(part.name.split("-")[0] == split for part in BENCHMARKS[name].parts)
