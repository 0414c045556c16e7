"""`lowlight evaluate` and `lowlight compare`: real files in, reports out."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pictures
from lowlight import weights
from lowlight.cli._tables import print_numbers
from lowlight.enhancer import load
from lowlight.evaluation import comparing, guards, metrics, page, scoring
from lowlight.evaluation.benchmarks import BENCHMARKS
from lowlight.evaluation.metrics import METRICS, Metric, Missing, Picture
from lowlight.evaluation.pairing import Case
from lowlight.evaluation.protocols import PRESETS, PROTOCOLS
from lowlight.evaluation.scoring import Finished, Network, read_report, score
from lowlight.evaluation.scoring import load as load_case
from lowlight.photo import Photo, read_photo

QUICK = ("--metrics", "psnr,ssim", "--protocol", "raw,gtmean_glare")
NAMES = ("1", "2", "10")


def save(path: Path | str, array: np.ndarray) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, compress_level=1)  # of PNG


def result(seed: int, shift: int = 6) -> np.ndarray:
    """A made-up result for a scene: too dark and noisy."""
    noise = np.random.default_rng(seed + 100).integers(-shift, shift + 1, (48, 64, 3))
    return np.clip(pictures.scene(seed, 48, 64) * 0.8 + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with references, dark photos and finished results of three scenes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate(NAMES):
        scene = pictures.scene(seed, 48, 64)
        save(f"high/{name}.png", scene)
        save(f"low/{name}.png", (scene * 0.15).astype(np.uint8))
        save(f"done/{name}.png", result(seed))
    return tmp_path


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


# Numbers


def test_columns_are_means_of_what_the_metrics_say(lowlight, place):
    status, out, err = lowlight("evaluate", "done", "--reference", "high", *QUICK, "--json")
    assert status == 0
    report = json.loads(out)
    columns = {(each["protocol"], each["metric"]): each for each in report["columns"]}
    assert list(columns) == [
        ("raw", "psnr"),
        ("raw", "ssim"),
        ("raw", "lightness_error"),  # never a raw PSNR without it
        ("gtmean_glare", "psnr"),
        ("gtmean_glare", "ssim"),
    ]
    values = [metrics.psnr(pixels(f"done/{name}.png"), pixels(f"high/{name}.png")) for name in NAMES]
    found = columns["raw", "psnr"]
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-12)
    assert found["deviation"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert found["count"] == 3
    assert found["worst"] == [NAMES[index] for index in np.argsort(values)]
    picture = Picture.of_samples(pixels("done/10.png"))
    reference = Picture.of_samples(pixels("high/10.png"))
    gained, gain = PROTOCOLS["gtmean_glare"].apply(picture, reference)
    row = report["photos"][2]
    assert row["name"] == "10"
    assert row["gains"] == {"gtmean_glare": pytest.approx(gain, abs=1e-12)}
    assert row["values"]["gtmean_glare.psnr"] == pytest.approx(METRICS["psnr"](gained, reference), abs=1e-12)
    digest = hashlib.sha256(Path("high/10.png").read_bytes()).hexdigest()
    assert row["files"]["reference"] == {"path": "high/10.png", "sha256": digest}
    assert report["made"]["lowlight"]
    assert report["system"]["saved"].startswith("files as saved")
    assert "pictures say nothing of training" in err


def test_results_that_were_compressed_are_told(lowlight, place):
    _, out, err = lowlight("evaluate", "done", "--reference", "high", *QUICK)
    assert "compressed" not in out + err
    Image.open("done/10.png").save("done/10.webp")
    Path("done/10.png").unlink()
    status, out, err = lowlight("evaluate", "done", "--reference", "high", *QUICK)
    assert status == 0
    assert "1 of 3 results may be compressed with loss" in out + err


@pytest.fixture
def without_lpips(monkeypatch):
    """Its weights are missing; nothing imports torch."""

    def measure(result, reference):
        raise Missing("lpips.pth is in none of: there; put it there")

    for name in ("lpips_alex", "lpips_vgg"):
        monkeypatch.setitem(METRICS, name, Metric(name, "LPIPS", "lower", "reference", measure))


def test_defaults_are_raw_and_all_published_gains(lowlight, place, without_lpips):
    status, out, _ = lowlight("evaluate", "done", "--reference", "high", "--json")
    assert status == 0
    report = json.loads(out)
    named = [name for name in PROTOCOLS if name == "raw" or name.startswith("gtmean_")]
    assert list(report["protocols"]) == named
    raw = {each["metric"]: each for each in report["columns"] if each["protocol"] == "raw"}
    assert raw["lightness_error"]["count"] == 3
    assert raw["niqe"]["undefined"] == 3
    assert raw["niqe"]["mean"] is None


def test_what_is_rounded_where_a_release_is_not_is_said_beside_the_numbers(lowlight, place):
    said = "of the result rounded to 8 bits after the gain, where the release measures floats: gtmean_glare.psnr; "
    status, out, _ = lowlight("evaluate", "done", "--reference", "high", *QUICK, "-o", "report")
    assert status == 0
    for text in (out, *(Path(f"report/report.{kind}").read_text("utf-8") for kind in ("md", "html"))):
        assert said in text
    words = json.loads(Path("report/report.json").read_text())["protocols"]["gtmean_glare"]
    assert "psnr here: of the result rounded to 8 bits after the gain" in words
    as_released = ("--metrics", "psnr_float,ssim", "--protocol", "gtmean_glare")
    assert (
        "rounded to 8 bits after" not in lowlight("evaluate", "done", "--reference", "high", *as_released)[1]
    )


def test_equal_pictures_are_counted_and_left_out_of_the_mean(lowlight, place):
    save("done/2.png", pixels("high/2.png"))
    status, out, _ = lowlight("evaluate", "done", "--reference", "high", *QUICK, "-o", "report")
    assert status == 0
    assert re.search(r"^psnr ↑ .*\(2\) \+1 inf", out, re.MULTILINE)
    report = read_report(Path("report"))
    column = report.column("raw.psnr")
    assert (column.count, column.infinite) == (2, 1)
    assert np.isfinite(column.mean)
    assert report.photos[1].values["raw.psnr"] == float("inf")
    rows = list(csv.DictReader(Path("report/photos.csv").read_text().splitlines()))
    assert rows[1]["raw.psnr"] == "inf"
    assert float(rows[0]["raw.psnr"]) == report.photos[0].values["raw.psnr"]
    assert float(rows[0]["gtmean_glare.gain"]) == report.photos[0].gains["gtmean_glare"]


def test_a_metric_whose_weights_are_missing_leaves_its_column_empty(lowlight, place, without_lpips):
    arguments = ("--metrics", "lpips_alex,psnr", "--protocol", "raw")
    status, out, _ = lowlight("evaluate", "done", "--reference", "high", *arguments, "-o", "report")
    assert status == 1  # it was asked for by name
    assert "no lpips_alex: lpips.pth is in none of: there; put it there" in out
    report = read_report(Path("report"))
    assert report.column("raw.lpips_alex").missing.startswith("lpips.pth")
    assert report.column("raw.psnr").count == 3
    assert "raw.lpips_alex" not in Path("report/photos.csv").read_text()


def test_default_metrics_whose_weights_are_missing_are_one_short_line(lowlight, place, without_lpips):
    arguments = ("--protocol", "raw", "--pictures", "0", "-o", "report")
    status, out, _ = lowlight("evaluate", "done", "--reference", "high", *arguments)
    assert status == 0
    report = read_report(Path("report"))
    assert report.column("raw.lpips_alex") is None
    assert report.photos[0].values.keys() == {column.name for column in report.columns}
    for text in (out, *(Path(f"report/report.{kind}").read_text("utf-8") for kind in ("md", "html"))):
        [line] = [line for line in re.split(r"\n|</li>", text) if "lpips" in line]
        assert "no lpips_alex,lpips_vgg: weights or a package that they need are not here" in line
        assert line.endswith("--metrics lpips_alex,lpips_vgg says which")
        assert "lpips.pth" not in text


def test_what_is_measured_in_batches_finds_its_photo(place, monkeypatch):
    """Batches end at their size, at another size of photo, and at the last photo."""
    sizes = {"1": 48, "2": 48, "3": 48, "4": 40, "5": 48}
    for seed, (name, height) in enumerate(sizes.items()):
        save(f"many/{name}.png", result(seed)[:height])
        save(f"truth/{name}.png", pictures.scene(seed, 48, 64)[:height])
    batches = []

    def batch(pairs, device):
        batches.append((len(pairs), device))
        return [float(abs(a.mean() - b.mean())) for a, b in pairs]

    monkeypatch.setitem(METRICS, "far", Metric("far", "", "lower", "reference", None, batch=batch))
    monkeypatch.setattr(scoring, "WAITING", 2 * 48 * 64 * 3)
    cases = [Case(name, Path(f"many/{name}.png"), None, Path(f"truth/{name}.png")) for name in sizes]
    found = score(Finished(), cases, {"raw": ("far",)}, device="cpu")
    assert batches == [(2, "cpu"), (1, "cpu"), (1, "cpu"), (1, "cpu")]
    for row in found.rows:
        expected = abs(pixels(f"many/{row.name}.png").mean() - pixels(f"truth/{row.name}.png").mean())
        assert row.values["raw.far"] == expected


def test_a_pooled_value_is_that_of_the_pool(place):
    save("done/2.png", pixels("high/2.png"))
    cases = [Case(name, Path(f"done/{name}.png"), None, Path(f"high/{name}.png")) for name in NAMES]
    found = score(Finished(), cases, {"raw": ("psnr_dimma_val", "psnr")})
    pooled, mean = found.columns
    errors = [(pixels(c.result) / 255 - pixels(c.reference) / 255) ** 2 for c in cases]
    peak = max(pixels(c.reference).max() for c in cases) / 255
    assert pooled.pooled
    assert (pooled.count, pooled.infinite) == (3, 0), "equal pictures are in the pool"
    assert (mean.count, mean.infinite) == (2, 1)
    assert pooled.mean == pytest.approx(10 * np.log10(peak**2 / np.mean(errors)), abs=1e-5)
    assert not mean.pooled


def test_without_references_the_metrics_that_need_none(lowlight, place):
    save("alone/a.png", pictures.scene(0, 200, 200))
    status, out, _ = lowlight("evaluate", "alone", "--json")
    assert status == 0
    report = json.loads(out)
    assert [(each["protocol"], each["metric"]) for each in report["columns"]] == [("raw", "niqe")]
    assert report["columns"][0]["count"] == 1


def test_a_preset_says_what_it_repeats(lowlight, place):
    status, out, err = lowlight("evaluate", "done", "--reference", "high", "--preset", "paper-lyt", "--json")
    assert status == 0
    report = json.loads(out)
    assert [(each["protocol"], each["metric"]) for each in report["columns"]] == [
        ("gtmean_lyt", "psnr_float"),
        ("gtmean_lyt", "ssim_lyt"),
    ]
    assert report["options"]["preset"] == "paper-lyt"
    assert "slips included" in err
    assert any("on by default in the release's PyTorch test" in line for line in report["warnings"])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_too_prints_no_raw_psnr_without_the_error_of_lightness(preset):
    raw = PRESETS[preset].columns.get("raw", ())
    assert not any(name.startswith("psnr") for name in raw) or "lightness_error" in raw


def test_means_of_unclipped_values_are_not_to_be_had_of_files(lowlight, place):
    said = "note: gtmean_llflow, gtmean_lyt: the release takes the mean of unclipped floats, and files hold"
    assert said in lowlight("evaluate", "done", "--reference", "high", "--metrics", "psnr")[1]
    assert "unclipped" not in lowlight("evaluate", "done", "--reference", "high", *QUICK)[1]
    model = ("--low", "low", "--reference", "high", "--metrics", "psnr", "--protocol", "raw,gtmean_lyt")
    assert "files hold" not in lowlight("evaluate", "dimma", *model)[1]


def test_what_a_metric_looks_through_is_told(lowlight, place, monkeypatch):
    """A trunk under another name than the published one is nowhere checked, so its hash stands in the report."""
    arguments = ("--reference", "high", "--metrics", "seen", "--protocol", "raw", "-o")
    for name in ("a", "b"):
        trunk = place / f"{name}.safetensors"
        trunk.write_bytes(name.encode())
        metric = Metric("seen", "", "lower", "reference", lambda *_: 0.5, weights=lambda trunk=trunk: trunk)
        monkeypatch.setitem(METRICS, "seen", metric)
        status, out, _ = lowlight("evaluate", "done", *arguments, f"of-{name}")
        digest = hashlib.sha256(name.encode()).hexdigest()
        assert (status, f"seen looks through {name}.safetensors, SHA-256 {digest[:16]}..." in out) == (
            0,
            True,
        )
        found = json.loads(Path(f"of-{name}/report.json").read_text())
        assert found["weights"] == {"seen": {"path": str(trunk), "sha256": digest}}
    said = "seen of done (of-b) and done (of-a) look through other weights: b.safetensors, a.safetensors"
    assert said in lowlight("compare", "of-a", "of-b")[1]


def test_one_deep_photo_among_others_is_told(lowlight, place):
    for folder in ("done", "high"):
        samples = pixels(f"{folder}/2.png").astype(np.uint16) * 257
        Path(f"{folder}/2.png").write_bytes(pictures.png(samples))
    out = lowlight("evaluate", "done", "--reference", "high", *QUICK)[1]
    assert "note: photos of more than 8 bits: metrics on samples see them rounded to 8" in out


def test_the_best_constant_gain_comes_from_other_photos(lowlight, place):
    for seed in (20, 21):
        save(f"train/high/{seed}.png", pictures.scene(seed, 48, 64))
        save(f"train/done/{seed}.png", (pictures.scene(seed, 48, 64) * 0.8).astype(np.uint8))
    arguments = ("--reference", "high", "--protocol", "constant", "--metrics", "psnr", "--json")
    status, out, _ = lowlight("evaluate", "done", "--train", "train/done", "train/high", *arguments)
    assert status == 0
    options = json.loads(out)["options"]
    assert options["constant"] == pytest.approx(1.25, abs=0.05)
    assert options["train"] == ["train/done", "train/high"]
    status, _, err = lowlight("evaluate", "done", "--train", "done", "high", *arguments)
    assert status == 2
    assert "photos or scenes that are judged are among the training pairs: 1, 2, 10" in err


# Models


def test_a_model_is_measured_as_users_get_it(lowlight, place):
    arguments = ("--low", "low", "--reference", "high", "--metrics", "psnr", "-o", "report")
    assert lowlight("evaluate", "dimma", *arguments, "--protocol", "raw,reference_lightness")[0] == 0
    report = read_report(Path("report"))
    enhancer = load("dimma", threads=1)
    dark = read_photo(Path("low/10.png"))
    for protocol, lightness in (("raw", "auto"), ("reference_lightness", pixels("high/10.png").mean() / 255)):
        users, _ = enhancer.enhance_photo(dark, enhancer.controls(lightness=lightness))
        wanted = metrics.psnr(users.samples, pixels("high/10.png"))
        assert report.photos[2].values[f"{protocol}.psnr"] == pytest.approx(wanted, abs=1e-6)
        if protocol == "raw":
            assert (pixels("report/results/10.png") == users.samples).all()
    assert report.system.sha256 == enhancer.fingerprint
    assert report.system.saved.startswith("rounded to 8 bits as users get it")
    assert report.system.options["ran_on"] == {"engine": "onnx", "device": enhancer.engine.device}


def test_a_result_cut_to_8_bits_is_darker_and_said_to_be(place):
    case = Case("1", None, Path("low/1.png"), Path("high/1.png"))
    enhancer = load("dimma", threads=1)
    rounded, cut = (
        Network(enhancer, {"lightness": 0.4}, rounding).result(load_case(case), "asked", None)
        for rounding in ("round", "truncate")
    )
    assert (rounded.raw == cut.raw).all()
    assert rounded.samples.mean() - cut.samples.mean() == pytest.approx(0.5, abs=0.1)


def trained_here(path: Path, **seen: list[np.ndarray]) -> Path:
    """The shipped model's tensors as weights whose header says what they were trained on."""
    shipped = weights.open_weights("dimma-torch") if Path("models").is_dir() else None
    found = shipped or weights.open_weights(Path(__file__).parents[1] / "models" / "dimma-torch.safetensors")
    marks = {of: guards.pack(map(guards.mark, photos)) for of, photos in seen.items()}
    weights.save_safetensors(
        path, found.header.model_copy(update={"seen": marks}), weights.load_tensors(found)
    )
    return path


@pytest.mark.slow
def test_leaks_are_told_before_any_score(lowlight, place):
    scenes = [pixels(f"high/{name}.png") for name in NAMES]
    jpeg = np.asarray(Image.open(pictures_of(scenes[1], "jpeg")).convert("RGB"))
    small = np.asarray(Image.fromarray(scenes[2]).resize((32, 24), Image.Resampling.BICUBIC))
    model = trained_here(place / "mine.safetensors", trained=[scenes[0], jpeg, small], chosen=[scenes[0]])
    arguments = ("--low", "low", "--reference", "high", "--metrics", "psnr", "--protocol", "raw", "--json")
    status, out, err = lowlight("evaluate", model, "--engine", "torch", *arguments)
    assert status == 0
    guard = json.loads(out)["guard"]
    assert guard["known"]
    assert {(leak["name"], leak["kind"], leak["of"]) for leak in guard["leaks"]} == {
        ("1", "photo", "trained"),
        ("2", "scene", "trained"),
        ("10", "scene", "trained"),
        ("1", "photo", "chosen"),
    }
    assert "1 of 3 photos were trained on: 1" in err
    assert "scores are too good: the checkpoint was chosen by its score on 1 of these 3 photos: 1" in err


def pictures_of(array, kind):
    import io

    return io.BytesIO(pictures.pillow(array, kind, quality=80))


def test_results_alone_are_looked_for_too(lowlight, place):
    save("trained/any.png", pixels("done/2.png"))
    status, out, _ = lowlight("evaluate", "done", "--metrics", "niqe", "--trained-on", "trained")
    assert status == 0
    assert "1 of 3 photos were trained on: 2" in out


def test_a_folder_of_training_photos_is_looked_through(lowlight, place):
    save("trained/any.jpg", pixels("high/2.png"))
    arguments = ("--reference", "high", *QUICK, "--trained-on", "trained")
    status, out, err = lowlight("evaluate", "done", *arguments)
    assert status == 0
    line = "1 of 3 photos show scenes that were trained on (a copy, or another exposure): 2"
    assert (out.count(line), err) == (1, "")
    assert out.index(line) < out.index("metric ")
    status, out, err = lowlight("evaluate", "done", *arguments, "--json")
    assert (json.loads(out)["guard"]["lines"], err.count(line)) == ([line], 1)
    assert json.loads(out)["options"]["trained_on"] == ["trained"]


# Sets


def lol_test_part(height: int = 400, width: int = 600) -> None:
    """LOL-v1's test part in ``LOL`` and results for it in ``mine``."""
    for seed, name in enumerate(BENCHMARKS["lol-v1"].parts[1].names):
        scene = np.full((height, width, 3), 50 + 10 * seed, np.uint8)
        save(f"LOL/eval15/high/{name}.png", scene)
        save(f"LOL/eval15/low/{name}.png", scene // 8)
        save(f"mine/{name}.png", scene // 2)


ON_LOL = ("evaluate", "mine", "--set", "lol-v1", "LOL", "--metrics", "psnr", "--protocol", "raw")


def test_a_set_names_its_photos_and_the_published_numbers(lowlight, place):
    lol_test_part()
    status, out, err = lowlight(*ON_LOL, "-o", "report", "--pictures", "0")
    assert (status, err) == (0, "")
    assert out.count("14 of the 15 test scenes") == 1
    assert "as published" not in out
    assert re.search(r"^raw.psnr +CIDNet w_perc +23.8091 +HVI-CIDNet README$", out, re.MULTILINE)
    assert re.search(r"^raw.psnr +mine \(measured\)", out, re.MULTILINE)
    assert "27.18" not in out  # psnr_float was not measured
    assert "other published numbers on this set have another or no stated protocol" in out
    assert read_report(Path("report")).data.set == "lol-v1"
    (place / "mine" / "22.png").write_bytes(b"no photo")
    status, out, _ = lowlight(*ON_LOL)
    assert (status, "CIDNet" in out) == (1, False)  # a mean over 14 photos is another number
    (place / "mine" / "22.png").unlink()
    status, _, err = lowlight(*ON_LOL)
    assert (status, "mine: no photo for 22" in err) == (2, True)


def test_published_numbers_stand_beside_the_set_alone(lowlight, place):
    """Photos that are not the set's are measured, said to be others, and compared with nothing published."""
    lol_test_part(16, 16)
    status, out, err = lowlight(*ON_LOL, "-o", "report")
    said = (
        "LOL is not lol-v1 as published, so no published number stands beside: test: expected 600x400 pixels"
    )
    assert (status, err) == (0, "")
    assert out.count(f"note: {said}") == 1
    for text in (out, *(Path(f"report/report.{kind}").read_text("utf-8") for kind in ("md", "html"))):
        assert "CIDNet" not in text
        assert "Published, same" not in text
    status, out, err = lowlight("evaluate", "done", "--set", "lime", "low")
    assert status == 0
    assert (
        "low is not lime as published, so no published number stands beside: all: not there: 3, 4, 5" in out
    )
    assert "published numbers on this set" not in out


def test_published_numbers_beside_photos_that_are_only_counted_say_so(lowlight, place):
    said = "are not known, only counted: others would not be noticed. "
    names = BENCHMARKS["lime"].parts[0].names
    for folder, stems, expected in (("lime", names, False), ("vv", map(str, range(24)), True)):
        for seed, name in enumerate(stems):
            save(f"{folder}/{name}.png", pictures.scene(seed, 32, 40))
        status, out, _ = lowlight(
            "evaluate", folder, "--set", folder, folder, "--metrics", "niqe", "-o", f"of-{folder}"
        )
        assert status == 0
        for text in (
            out,
            *(Path(f"of-{folder}/report.{kind}").read_text("utf-8") for kind in ("md", "html")),
        ):
            assert "other published numbers on this set" in text
            assert (f"Names of the photos of {folder} {said}" in text) == expected
        assert json.loads(Path(f"of-{folder}/report.json").read_text())["data"]["names_checked"] != expected


def test_results_may_bear_the_dark_photo_s_name_or_the_shared_part(lowlight, place, monkeypatch):
    train, test = BENCHMARKS["lol-v2-real"].parts
    few = replace(test, names=test.names[:6], count=6)  # names alone count here, not how many
    monkeypatch.setitem(BENCHMARKS, "lol-v2-real", replace(BENCHMARKS["lol-v2-real"], parts=(train, few)))
    for number in few.names:
        index = int(number)
        save(f"LOL2/Real_captured/Test/Low/low{number}.png", pictures.scene(index, 16, 16) // 8)
        save(f"LOL2/Real_captured/Test/Normal/normal{number}.png", pictures.scene(index, 16, 16))
        save(f"low-named/low{number}.png", pictures.scene(index, 16, 16) // 2)
        save(f"out-named/{number}_out.png", pictures.scene(index, 16, 16) // 2)
    arguments = ("--set", "lol-v2-real", "LOL2", *QUICK)
    assert lowlight("evaluate", "low-named", *arguments)[0] == 0
    assert lowlight("evaluate", "out-named", *arguments)[0] == 2
    assert lowlight("evaluate", "out-named", *arguments, "--pattern", "result=*_out")[0] == 0


# Wrong use and bad input


def test_a_photo_that_cannot_be_read_is_left_out_by_name(lowlight, place):
    (place / "done" / "2.png").write_bytes(b"no photo")
    whole = (place / "high" / "10.png").read_bytes()
    (place / "high" / "10.png").write_bytes(whole[: len(whole) // 2])
    status, _, err = lowlight("evaluate", "done", "--reference", "high", *QUICK, "-o", "report")
    assert status == 1
    report = read_report(Path("report"))
    assert [row.name for row in report.photos] == ["1"]
    assert set(report.failed) == {"2", "10"}
    assert report.column("raw.psnr").count == 1
    assert [line.split(": ")[1] for line in err.splitlines()] == ["2", "10"]
    assert "done/2.png" in err
    for text in (Path("report/report.md").read_text(), Path("report/report.html").read_text("utf-8")):
        assert "left out: 10: high/10.png" in text
    rows = {row["name"]: row for row in csv.DictReader(Path("report/photos.csv").read_text().splitlines())}
    assert {name: bool(row["raw.psnr"]) for name, row in rows.items()} == {"1": True, "2": False, "10": False}
    assert {name: row["error"] for name, row in rows.items()} == {"1": "", **report.failed}


def _empty(place):
    for path in (place / "high").iterdir():
        path.unlink()


def _without_partner(place):
    (place / "high" / "2.png").unlink()


def _other_size(place):
    save("done/2.png", result(1)[:40])


def _alpha(place):
    save("done/2.png", np.dstack([result(1), np.full((48, 64), 9, np.uint8)]))


def _sixteen_bit(place):
    (place / "done" / "2.png").write_bytes(pictures.png(result(1).astype(np.uint16) * 257))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_empty, "high: no photos"),
        (_without_partner, "high: no photo for 2"),
        (_other_size, "2: sizes differ: result 64x40, reference 64x48"),
        (_alpha, "2: result with an alpha channel"),
        (_sixteen_bit, "2: depths differ: result 16 bit, reference 8 bit"),
    ],
)
def test_photos_that_cannot_be_compared_are_an_error(lowlight, place, spoil, said):
    spoil(place)
    status, out, err = lowlight("evaluate", "done", "--reference", "high", *QUICK, "-o", "report")
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert not Path("report").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "--low", "low"), "no model is called 'nobody'"),
        (("nowhere/", "--reference", "high"), "nowhere/: no such folder of pictures; no model is called"),
        (
            ("resluts", "--reference", "high"),
            "resluts: no such folder of pictures; no model is called 'resluts'",
        ),
        (
            ("done/1.png", "--reference", "high"),
            "done/1.png: no such folder of pictures; done/1.png: expected .onnx",
        ),
        (("dimma",), "a model needs dark photos"),
        (
            ("done", "--reference", "high", "--metrics", "psnrr"),
            "no metric is called 'psnrr'; there are: psnr,",
        ),
        (("done", "--reference", "high", "--protocol", "best"), "no protocol is called 'best'"),
        (("done", "--reference", "high", "--preset", "paper"), "no preset is called 'paper'"),
        (
            ("done", "--reference", "high", "--preset", "paper-lyt", "--metrics", "psnr"),
            "--preset says which",
        ),
        (("done", "--reference", "high", "--preset", "paper-dimma"), "finished pictures can't be told"),
        (("done", "--metrics", "psnr"), "metric psnr needs references"),
        (("done", "--metrics", "loe_npe"), "metric loe_npe needs the dark photos"),
        (("done", "--protocol", "gtmean_glare"), "protocol gtmean_glare needs references"),
        (("done", "--reference", "high", "--protocol", "constant"), "needs --constant, or --train"),
        (("done", "--reference", "high", "--protocol", "raw", "--constant", "2"), "are of protocol constant"),
        (
            ("done", "--reference", "high", "--preset", "paper-lyt", "--train", "done", "high"),
            "are of protocol constant",
        ),
        (("done", "--reference", "high", "--control", "lightness=1"), "are for models"),
        (("done", "--reference", "high", "--pattern", "dark=low*"), "expected FOLDER=NAME"),
        (("done", "--reference", "high", "--pattern", "low=low*"), "no such folder was given"),
        (("done", "--set", "lol-v3", "high"), "no benchmark set is called 'lol-v3'"),
        (("done", "--set", "lime", "high", "--low", "low"), "leave out --low and --reference"),
        (("dimma", "--low", "low", "--control", "lightness=2"), "lightness"),
        (("dimma", "--low", "low", *("--control", "strength=1") * 2), "strength is given twice"),
    ],
)
def test_wrong_use(lowlight, place, arguments, said):
    status, out, err = lowlight("evaluate", *arguments)
    assert (status, out) == (2, "")
    assert said in err


def test_a_name_that_is_model_and_folder_is_not_guessed(lowlight, place):
    save("dimma/1.png", result(0))
    status, _, err = lowlight("evaluate", "dimma", "--low", "low")
    assert status == 2
    assert (found := re.search(r"write \./dimma for the folder, (\S+) for the model$", err))
    assert lowlight("evaluate", "./dimma", "--metrics", "niqe")[0] == 0
    assert "model dimma, " in lowlight("evaluate", found[1], "--low", "low", "--metrics", "niqe")[1]


def test_a_report_is_never_overwritten_unasked(lowlight, place):
    arguments = ("evaluate", "done", "--reference", "high", *QUICK, "-o", "report")
    assert lowlight(*arguments)[0] == 0
    before = Path("report/report.json").read_bytes()
    status, _, err = lowlight(*arguments)
    assert (status, "not empty" in err) == (2, True)
    assert Path("report/report.json").read_bytes() == before
    assert lowlight(*arguments, "--overwrite")[0] == 0


def test_a_narrow_terminal_cuts_no_name_and_no_number(capsys, monkeypatch):
    header = ["metric", "raw", "gtmean_llflow_val", "gtmean_glare", "reference_lightness"]
    rows = [["psnr", *["21.27 ± 3.50 (36)"] * 4], ["niqe", "4.3366 ± 0.6718 (36)", "", "", ""]]
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_numbers(header, rows)
    lines = [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [re.split(" {2,}", line) for line in lines] == [
        ["metric", *header[1:3]],
        ["psnr", *["21.27 ± 3.50 (36)"] * 2],
        ["niqe", "4.3366 ± 0.6718 (36)"],
        [""],
        ["metric", *header[3:]],
        ["psnr", *["21.27 ± 3.50 (36)"] * 2],
    ]


# The page


class Page(HTMLParser):
    """What a page would load or run, and whether its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.sources += [values[key] for key in ("src", "href", "srcset", "data", "action") if key in values]
        assert not any(name.startswith("on") for name in values)
        if tag not in ("img", "input", "meta", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_escapes_names(lowlight, place):
    evil = "<img src=x onerror=alert(1)>&\"'"
    for folder in ("done", "high", "low"):
        Path(f"{folder}/2.png").rename(f"{folder}/{evil}.png")
    arguments = ("--reference", "high", "--low", "low", *QUICK, "-o", "report", "--pictures", "2")
    assert lowlight("evaluate", "done", *arguments)[0] == 0
    text = Path("report/report.html").read_text("utf-8")
    whole = Page(text)
    links = [source for source in whole.sources if not source.startswith("data:image/jpeg;base64,")]
    assert links == ["#photo-0", "#photo-1"]
    assert whole.tags.count("img") == 2 * 4 + 3  # input, output, reference, error; a thumbnail of each photo
    assert whole.tags.count("figure") == 2
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#x27;" in text
    assert "default-src 'none'" in text
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "<img" not in Path("report/report.md").read_text("utf-8")


def test_the_worst_photo_comes_first(lowlight, place):
    save("done/2.png", pixels("high/2.png") // 3)
    arguments = ("--reference", "high", *QUICK, "-o", "report", "--pictures", "1")
    assert lowlight("evaluate", "done", *arguments)[0] == 0
    text = Path("report/report.html").read_text("utf-8")
    assert re.findall(r"<figcaption><b>(.*?)</b>", text) == ["2"]
    found = read_report(Path("report")).photos
    order = sorted(NAMES, key=lambda name: next(row.values["raw.psnr"] for row in found if row.name == name))
    assert re.findall(r"<td>.*?<br>(\w+)(?:</a>)?</td>", text.split("<h2>All photos</h2>")[1]) == order


def test_an_error_map_shows_errors_on_one_scale():
    reference = np.zeros((1, 5, 3), np.uint8)
    result = np.array([0, 34, 68, 102, 255], np.uint8)[None, :, None].repeat(3, axis=2)
    colours = {0: (0, 0, 0), 1: (255, 0, 0), 2: (255, 255, 0), 3: (255, 255, 255), 4: (255, 255, 255)}
    found = page.error_map(result, reference)
    assert np.abs(found[0].astype(int) - list(colours.values())).max() <= 1
    assert (found == page.error_map(reference, result)).all()


# Comparing


def test_compare_gives_paired_differences(lowlight, place):
    for seed, name in enumerate(NAMES):
        save(f"worse/{name}.png", result(seed, 20))
    for folder in ("done", "worse"):
        assert lowlight("evaluate", folder, "--reference", "high", *QUICK, "-o", f"of-{folder}")[0] == 0
    status, out, _ = lowlight("compare", "of-done", "of-worse", "-o", "beside", "--json")
    assert status == 0
    whole = json.loads(out)
    found = whole["differences"]["raw.psnr"]["worse"]
    values = [read_report(Path(f"of-{folder}")).photos for folder in ("done", "worse")]
    by_hand = [b.values["raw.psnr"] - a.values["raw.psnr"] for a, b in zip(*values, strict=True)]
    assert found["mean"] == pytest.approx(np.mean(by_hand))
    assert min(by_hand) <= found["low"] <= found["mean"] <= found["high"] <= max(by_hand)
    assert found["count"] == 3
    again = json.loads(lowlight("compare", "of-done", "of-worse", "--json")[1])
    assert again["differences"] == whole["differences"]
    page_ = Page(Path("beside/comparison.html").read_text("utf-8"))
    assert len(page_.sources) == 3 * 3  # reference and two results of each photo
    status, out, _ = lowlight("compare", "of-done/report.json", "of-worse")
    assert status == 0
    assert re.search(r"^raw.psnr ↑ +\d+\.\d+ \(3\) +\d+\.\d+ \(3\) +-\d", out, re.MULTILINE)
    assert "10000 bootstrap resamples (seed 0) of 3 scenes, whose photos are drawn together; 3 are few" in out


def test_a_comparison_is_written_as_numbers_and_words(lowlight, place):
    for seed, name in enumerate(NAMES):
        save(f"worse/{name}.png", result(seed, 20))
    for folder in ("done", "worse"):
        assert lowlight("evaluate", folder, "--reference", "high", *QUICK, "-o", f"of-{folder}")[0] == 0
    status, out, _ = lowlight("compare", "of-done", "of-worse", "-o", "beside")
    assert (status, out.splitlines()[-1]) == (0, "beside/comparison.html")
    numbers = json.loads(Path("beside/comparison.json").read_text())
    rows = list(csv.DictReader(Path("beside/comparison.csv").read_text().splitlines()))
    columns = ["raw.psnr", "raw.ssim", "raw.lightness_error", "gtmean_glare.psnr", "gtmean_glare.ssim"]
    assert [(row["column"], row["result"]) for row in rows] == [
        (column, name) for column in columns for name in ("done", "worse")
    ]
    for row in rows:
        assert float(row["mean"]) == numbers["means"][row["result"]][row["column"]]
        if row["result"] == "worse":
            told = numbers["differences"][row["column"]]["worse"]
            assert {key: float(row[key]) for key in ("low", "high")} == {
                key: told[key] for key in ("low", "high")
            }
            assert (float(row["difference"]), row["photos of difference"]) == (told["mean"], "3")
            drawn = ("scenes", "3", "0", "yes")
        else:
            assert row["difference"] == ""
            drawn = ("", "", "", "")
        assert tuple(row[key] for key in ("interval of", "count", "seed", "too narrow")) == drawn
        better = "lower" if row["column"] == "raw.lightness_error" else "higher"
        assert row["better"] == numbers["better"][row["column"]] == better
    page_ = Path("beside/comparison.html").read_text("utf-8")
    for text in (out, Path("beside/comparison.md").read_text("utf-8"), page_):
        assert "raw.psnr ↑" in text
        assert "raw.lightness_error ↓" in text
    text = Path("beside/comparison.md").read_text("utf-8")
    shown_ = next(line for line in out.splitlines() if line.startswith("raw.psnr"))
    assert f"| {' | '.join(re.split(' {2,}', shown_))} |" in text
    assert "- 2 results on high: 3 photos of 3 scenes" in text
    status, _, err = lowlight("compare", "of-done", "of-worse", "-o", "beside")
    assert (status, "beside: the folder is not empty" in err) == (2, True)
    assert lowlight("compare", "of-done", "of-worse", "-o", "beside", "--overwrite")[0] == 0


def test_photos_of_one_scene_are_drawn_together(lowlight, place):
    """Three exposures of a scene are one observation: the interval is as wide as of one photo a scene."""
    for seed, name in enumerate("abcd"):
        for exposure in (1.0, 0.8, 0.6):
            scene = (pictures.scene(seed, 48, 64) * exposure).astype(np.uint8)
            save(f"truth/{name}{exposure}.png", scene)
            save(f"one/{name}{exposure}.png", scene // 2)
            save(f"two/{name}{exposure}.png", (scene * (0.5 + 0.1 * seed)).astype(np.uint8))
    for folder in ("one", "two"):
        assert lowlight("evaluate", folder, "--reference", "truth", *QUICK, "-o", f"of-{folder}")[0] == 0
    assert "12 photos show 4 scenes: they are not independent" in Path("of-one/report.md").read_text()
    status, out, _ = lowlight("compare", "of-one", "of-two", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["interval"]["of"] == "scenes"
    assert len(set(found["scenes"].values())) == 4
    by_scene = found["differences"]["raw.psnr"]["two"]
    values = [read_report(Path(f"of-{folder}")).photos for folder in ("one", "two")]
    differences = np.array(
        [b.values["raw.psnr"] - a.values["raw.psnr"] for a, b in zip(*values, strict=True)]
    )
    assert (by_scene["low"], by_scene["high"]) == comparing.bootstrap(
        differences, [row.name[0] for row in values[0]]
    )
    alone = comparing.bootstrap(differences, [row.name for row in values[0]])
    assert by_scene["high"] - by_scene["low"] > 1.4 * (alone[1] - alone[0])
    # Reports that do not tell scenes: by photo, and said so.
    for folder in ("one", "two"):
        text = json.loads(Path(f"of-{folder}/report.json").read_text())
        for row in text["photos"]:
            del row["scene"]
        Path(f"of-{folder}/report.json").write_text(json.dumps(text))
    out = lowlight("compare", "of-one", "of-two", "--json")[1]
    by_photo = json.loads(out)["differences"]["raw.psnr"]["two"]
    assert (by_photo["low"], by_photo["high"]) == alone
    assert json.loads(out)["interval"]["of"] == "photos"
    out = lowlight("compare", "of-one", "of-two")[1]
    assert "of 12 photos; scenes are not known, so photos of one count as independent" in out


def test_one_scene_has_no_interval(lowlight, place):
    for name in NAMES[1:]:
        Path(f"high/{name}.png").unlink()
        Path(f"done/{name}.png").unlink()
    for folder in ("a", "b"):
        assert lowlight("evaluate", "done", "--reference", "high", *QUICK, "-o", folder)[0] == 0
    out = lowlight("compare", "a", "b")[1]
    assert out.startswith("2 results on high: 1 photo of 1 scene\n")
    assert "differences to done (a), photo by photo; of 1 scene there is no interval" in out


def test_results_of_one_system_are_told_apart_by_their_folders(lowlight, place):
    for folder in ("new", "old/new", "other"):
        assert lowlight("evaluate", "done", "--reference", "high", *QUICK, "-o", folder)[0] == 0
    header = lowlight("compare", "new", "other/report.json")[1].splitlines()[-7]
    assert re.split(" {2,}", header) == ["column", "done (new)", "done (other)", "difference (95 %)"]
    found = json.loads(lowlight("compare", "new", "old/new", "other", "--json")[1])
    assert list(found["means"]) == ["done (new)", "done (old/new)", "done (other)"]
    [note] = found["notes"]  # what is said of all is said once
    assert note.startswith("done (new), done (old/new), done (other): training photos: whether these photos")
    assert found["base"] == "done (new)"
    assert found["results"]["done (old/new)"] == "old/new"
    drawn = {"of": "scenes", "count": 3, "too_narrow": True}
    assert found["interval"] == {"level": 0.95, "resamples": 10_000, **drawn, "seed": 0}
    assert found["made"]["lowlight"]
    status, _, err = lowlight("compare", "new", "other", "new")
    assert (status, "new: given twice" in err) == (2, True)


def test_compare_names_once_what_only_some_results_have(lowlight, place, without_lpips):
    columns = {"a": "ssim,lpips_alex", "b": "ssim,lpips_alex,ssim_grey", "c": "ssim"}
    for name, metrics_ in columns.items():
        arguments = ("--reference", "high", "--protocol", "raw", "--metrics", metrics_, "-o", name)
        assert lowlight("evaluate", "done", *arguments)[0] == ("lpips" in metrics_)
    said = [line for line in lowlight("compare", "a", "b", "c")[1].splitlines() if "only some" in line]
    assert [line.removeprefix("note: ") for line in said] == ["only some results have raw.ssim_grey"]
    assert "only some" not in lowlight("compare", "a", "c")[1]


def test_results_on_other_photos_are_not_compared(lowlight, place):
    arguments = ("--reference", "high", *QUICK)
    assert lowlight("evaluate", "done", *arguments, "-o", "a")[0] == 0
    save("high/2.png", result(1))
    assert lowlight("evaluate", "done", *arguments, "-o", "b")[0] == 0
    status, _, err = lowlight("compare", "a", "b")
    assert status == 2
    assert "were measured with other reference files: 2" in err
    assert lowlight("compare", "a")[0] == 2
    for folder in ("done", "high"):
        for name in ("1", "2"):
            Path(f"{folder}/{name}.png").unlink()
    assert lowlight("evaluate", "done", *arguments, "-o", "c")[0] == 0
    status, _, err = lowlight("compare", "a", "c")
    assert status == 2
    assert "all have 1 of 3, expected at least half; 1: not in done (c); 2: not in done (c)" in err
    Path("c/report.json").write_text("{}")
    status, _, err = lowlight("compare", "a", "c")
    assert (status, "c/report.json: expected a report" in err) == (2, True)


def test_a_photo_that_one_result_has_not_is_left_out_of_all(lowlight, place):
    arguments = ("--reference", "high", "--metrics", "psnr,psnr_dimma_val", "--protocol", "raw")
    assert lowlight("evaluate", "done", *arguments, "-o", "a")[0] == 0
    save("done/1.png", result(0, 20))
    (place / "done" / "2.png").write_bytes(b"no photo")
    assert lowlight("evaluate", "done", *arguments, "-o", "b")[0] == 1
    status, out, _ = lowlight("compare", "a", "b", "-o", "beside")
    assert status == 1
    assert out.splitlines()[0] == "2 results on high: 2 photos of 2 scenes, 1 left out"
    assert len(re.findall(r"^left out: 2: not in done \(b\) \(done/2.png: ", out, re.MULTILINE)) == 1
    numbers = json.loads(Path("beside/comparison.json").read_text())
    assert (numbers["photos"], list(numbers["left_out"])) == (["1", "10"], ["2"])
    kept = [row.values["raw.psnr"] for row in read_report(Path("a")).photos if row.name != "2"]
    assert numbers["means"]["done (a)"]["raw.psnr"] == pytest.approx(np.mean(kept), abs=1e-12)
    assert numbers["differences"]["raw.psnr"]["done (b)"]["count"] == 2
    assert "raw.psnr_dimma_val" not in numbers["differences"]  # pooled over three photos and two
    assert "- left out: 2: not in done" in Path("beside/comparison.md").read_text()
    # Both are incomplete, so no published number may stand beside.
    assert all(report.failed for report in comparing.compare([Path("a"), Path("b")]).reports.values())


def test_the_bootstrap_is_seeded_and_covers_the_mean():
    rng = np.random.default_rng(1)
    differences = rng.normal(0.5, 1.0, 400)
    each = [str(index) for index in range(400)]
    low, high = comparing.bootstrap(differences, each, seed=3)
    assert (low, high) == comparing.bootstrap(differences, each, seed=3)
    assert (low, high) != comparing.bootstrap(differences, each, seed=4)
    assert comparing.bootstrap(differences, ["one"] * 400) is None
    error = differences.std(ddof=1) / np.sqrt(400)
    assert low == pytest.approx(differences.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(differences.mean() + 1.96 * error, abs=0.1 * error)


# As a process


@pytest.mark.slow
def test_a_folder_and_a_model_without_torch(place):
    (place / "blocker").mkdir()
    (place / "blocker" / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    environment = {**os.environ, "PYTHONPATH": str(place / "blocker"), "OMP_NUM_THREADS": "1"}
    for what in (("done",), ("dimma", "--low", "low")):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "lowlight",
                "evaluate",
                *what,
                "--reference",
                "high",
                "-o",
                f"of-{what[0]}",
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("no lpips_alex,lpips_vgg: ") == 1
        assert read_report(Path(f"of-{what[0]}")).column("raw.psnr").count == 3


def test_floats_beside_a_result_round_to_it(place):
    enhancer = load("dimma", threads=1)
    dark = read_photo(Path("low/1.png"))
    case = Case("1", None, Path("low/1.png"), Path("high/1.png"))
    ours = Network(enhancer).result(load_case(case), "asked", None)
    users, _ = enhancer.enhance_photo(Photo(dark.samples))
    assert (ours.samples == users.samples).all()
    assert np.abs(255 * np.clip(ours.raw, 0, 1) - users.samples).max() < 0.51
