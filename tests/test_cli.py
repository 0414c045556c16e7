"""The command line, in this process: what it says where, and with which status it ends."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

import pictures
from lowlight import cli, engines, enhancer, places
from lowlight import photo as photos
from lowlight.cli import _interrupts, _options, _photos
from lowlight.cli import enhance as enhance_command
from lowlight.cli._interrupts import interruptible
from lowlight.errors import WeightsError
from lowlight.methods import Controls


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))


def make(*names, size=(24, 16)):
    for index, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(index).integers(0, 60, (*size[::-1], 3), np.uint8)
        Image.fromarray(values).save(name)


def hashes(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# Streams; as real processes in test_cli_process.py


def test_closed_streams_are_held(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    monkeypatch.setattr(sys, "argv", ["lowlight", "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        assert stream.name == os.devnull
        stream.close()


def test_a_reader_that_has_left_ends_the_command_without_a_word(monkeypatch, capfd):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "argv", ["lowlight", "methods"])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 1
    assert capfd.readouterr() == ("", "")


# Signals


@pytest.fixture
def received():
    """Ctrl-C that nobody catches, as it comes."""
    came = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    yield came
    signal.signal(signal.SIGINT, before)


def test_the_first_signal_asks_and_a_second_one_is_as_it_was(received, capsys, monkeypatch):
    with interruptible("stopping") as interrupted:
        assert interrupted.status == 0
        signal.raise_signal(signal.SIGINT)
        assert (interrupted.stop.is_set(), interrupted.status, received) == (True, 130, [])
        assert capsys.readouterr().err == "stopping\n"
        monkeypatch.setattr(_interrupts, "TOGETHER", 60.0)
        signal.raise_signal(signal.SIGINT)  # a launcher's, for the same Ctrl-C
        assert (received, capsys.readouterr().err) == ([], "")
        monkeypatch.setattr(_interrupts, "TOGETHER", 0.0)
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
    signal.raise_signal(signal.SIGINT)
    assert received == [signal.SIGINT] * 2


def test_a_signal_that_is_ignored_stays_ignored(received):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert not interrupted.stop.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


# Help and wrong use


def test_help_names_every_command_and_each_says_the_same_of_itself(lowlight):
    status, out, err = lowlight("--help")
    assert (status, err) == (0, "")
    for name, line in cli.COMMANDS.items():
        assert re.search(rf"^  {name} ", out, re.MULTILINE)
        status, own, err = lowlight(name, "--help")
        assert (status, err) == (0, "")
        assert line in " ".join(own.split())


def test_results_go_where_output_says_in_every_command():
    group = typer.main.get_command(cli.app)
    commands = {name: group.get_command(None, name) for name in cli.COMMANDS}
    for name, command in commands.items():
        for option in command.params:
            if {"--output", "--out", "-o"} & set(option.opts):
                assert (option.name, option.opts) == ("output", ["--output", "-o"]), name
    for spelled in ("-o", "--output", "--out"):
        context = commands["train"].make_context("train", ["mine.yaml", spelled, "runs/mine"])
        assert Path(context.params["output"]) == Path("runs/mine")


def test_help_ends_with_examples_and_shows_arguments_as_they_are_written(lowlight):
    out = lowlight("enhance", "--help")[1]
    assert out.startswith("Usage: lowlight enhance [OPTIONS] IN...\n")
    assert "<list" not in out
    assert out.rstrip().endswith(f"  {cli.EXAMPLES['enhance'][-1]}")
    assert lowlight("train", "-h")[1].startswith("Usage: lowlight train [OPTIONS] RECIPE [KEY=VALUE...]\n")
    assert lowlight("data", "-h")[1].startswith("Usage: lowlight data [OPTIONS] list|check [NAME] [DIR]\n")


def test_no_command_is_wrong_use(lowlight):
    status, out, err = lowlight()
    assert (status, out) == (2, "")
    assert "Usage: lowlight" in err


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("enhanc", "Did you mean `lowlight enhance`?"),
        ("model", "Did you mean `lowlight models`?"),
        ("a photo.png", "Did you mean `lowlight enhance 'a photo.png'`?"),
        ("study.png", "Did you mean `lowlight enhance study.png`?"),
        ("xyz", ""),
        ("x" * 5000, ""),
    ],
)
def test_a_word_that_is_no_command_gets_a_suggestion(lowlight, word, meant):
    make("a photo.png", "study.png")
    status, out, err = lowlight(word)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == f"Error: No such command {word!r}. {meant}".rstrip()


def test_version(lowlight):
    import lowlight as package

    assert lowlight("--version") == (0, f"lowlight {package.__version__}\n", "")


def test_choices_are_those_of_the_package():
    assert _options.Device == engines.Device
    assert _options.Engine == engines.EngineName
    assert _options.Precision == engines.Precision
    assert _photos.Format == photos.Format
    assert _photos.Strip == photos.Strip
    assert get_args(photos.Format)


@pytest.mark.parametrize(
    "value", ["auto", "0", "1", "0.5", "1e-3", "-0.1", "1.1", "nan", "inf", "bright", ""]
)
@pytest.mark.parametrize("name", ["lightness", "strength"])
def test_common_controls_are_checked_as_the_methods_do(name, value):
    import typer
    from pydantic import ValidationError

    try:
        Controls.model_validate({name: value})
        fits = True
    except ValidationError:
        fits = False
    given = {"lightness": None, "strength": None, name: value}
    if fits:
        assert enhance_command._parse_controls(**given, control=[]) == {name: value}
    else:
        with pytest.raises(typer.BadParameter, match="0 to 1"):
            enhance_command._parse_controls(**given, control=[])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument"),
        (["a.png", "--lightness", "2"], "'2': expected auto or 0 to 1"),
        (["a.png", "--strength", "much"], "'much': expected 0 to 1"),
        (["a.png", "--control", "strength=3"], "strength = '3': expected 0 to 1"),
        (["a.png", "--control", "sharpness=3"], "no control 'sharpness'; it has: lightness, strength"),
        (["a.png", "--control", "published=true"], "this network is not the authors'"),
        (["a.png", "--control", "strength"], "'strength': expected NAME=VALUE"),
        (["a.png", "--control", "=1"], "'=1': expected NAME=VALUE"),
        (["a.png", "--control", "strength=1", "--strength", "1"], "strength is given twice"),
        (["a.png", "--memory", "2XB"], "'2XB': expected a size"),
        (["a.png", "--memory", "-1GB"], "'-1GB': expected a size"),
        (["a.png", "--memory", "0GB"], "'0GB': expected a size"),
        (["a.png", "--memory", "2"], "'2': expected a size with its unit, say 500MB or 2GB"),
        (["a.png", "--quality", "101"], "--quality"),
        (["a.png", "--jobs", "0"], "--jobs"),
        (["a.png", "--max-pixels", "0"], "--max-pixels"),
        (["a.png", "--format", "gif"], "--format"),
        (["a.png", "--device", "abacus"], "--device"),
        (["a.png", "--engine", "abacus"], "--engine"),
        (["a.png", "--strip", "some"], "--strip"),
        (["a.png", "--model", "nobody"], "nobody"),
        (["a.png", "--device", "directml"], "directml"),
        (["a.png", "-o", "-", "--json"], "not both"),
        (["a.png", "-o", "."], "would overwrite the input"),
        (["a.png", "b.png", "-o", "a.png"], "found a file"),
        (["a.png", "--lightnes", "1"], "No such option"),
        (["-a.png"], "No such option"),
    ],
)
def test_wrong_use_is_told_before_the_first_pixel(lowlight, arguments, said):
    make("a.png", "b.png")
    before = hashes(".")
    status, out, err = lowlight("enhance", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert hashes(".") == before


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9),
        ("2G", 2 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("500mb", 5 * 10**8),
        ("64KiB", 2**16),
    ],
)
def test_sizes(text, size):
    assert _options.parse_size(text) == size


# Photos


def test_a_photo_becomes_a_light_one_beside_it(lowlight):
    make("dark.png")
    status, out, err = lowlight("enhance", "dark.png")
    assert (status, err) == (0, "")
    assert re.fullmatch(
        r"dark\.png: dark\.enhanced\.png \(lightness 0\.\d\d to 0\.\d\d, \d+\.\d\d s\)\n", out
    )
    assert (
        np.asarray(Image.open("dark.enhanced.png")).mean() > 1.5 * np.asarray(Image.open("dark.png")).mean()
    )
    assert lowlight("enhance", "dark.png") == (0, "dark.png: dark.enhanced.png (done already)\n", "")


def test_options_reach_the_result(lowlight):
    make("dark.png")
    status, out, err = lowlight(
        "enhance",
        "dark.png",
        "-o",
        "out.jpg",
        "--lightness",
        "0.6",
        "--control",
        "strength=0.5",
        "--quality",
        "30",
        "--json",
        "--memory",
        "1GB",
        "--jobs",
        "1",
        "--device",
        "cpu",
    )
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert record["controls"] == {"lightness": 0.6, "strength": 0.5, "published": False}
    assert (record["input"], record["output"], record["status"]) == ("dark.png", "out.jpg", "done")
    assert (record["width"], record["height"]) == (24, 16)
    assert 0 < record["seconds"] < 60
    mean = np.asarray(Image.open("out.jpg"), np.float32).mean() / 255
    assert record["lightness_after"] == pytest.approx(mean, abs=0.02)
    middle = (record["lightness_before"] + 0.6) / 2
    assert record["lightness_after"] == pytest.approx(middle, abs=0.02)


def test_strength_zero_gives_the_input_back(lowlight):
    make("dark.png")
    assert lowlight("enhance", "dark.png", "--strength", "0")[0] == 0
    assert np.array_equal(np.asarray(Image.open("dark.png")), np.asarray(Image.open("dark.enhanced.png")))
    # Every value of a wide profile, though the network's space lacks some.
    values, p3 = pictures.noise(), pictures.profile(pictures.DISPLAY_P3)
    Path("p3.png").write_bytes(pictures.png(values, extra=[(b"iCCP", pictures.iccp(p3))]))
    assert lowlight("enhance", "p3.png", "--strength", "0")[0] == 0
    result = Image.open("p3.enhanced.png")
    assert np.array_equal(np.asarray(result), values)
    assert result.info["icc_profile"] == p3


def test_a_batch_tells_the_truth(lowlight):
    make("in/a.png", "in/b.png", "in/deep/c.png", "in/deep/d.png")
    Path("in/b.png").write_bytes(Path("in/b.png").read_bytes()[:60])
    Path("in/notes.txt").write_text("no photo")
    before = hashes("in")
    status, out, err = lowlight("enhance", "in", "missing.jpg", "-o", "out", "--strength", "0")
    assert status == 1
    assert sorted(line.partition(":")[0] for line in out.splitlines()) == [
        "in/a.png",
        "in/deep/c.png",
        "in/deep/d.png",
    ]
    # Each at once, and all again at the end.
    *at_once, first, missing, broken = err.splitlines()
    assert first == "2 of 5 photos failed:"
    assert missing == "missing.jpg: no such file or directory"
    assert broken.startswith("in/b.png: ")
    assert at_once == [missing, broken]
    assert set(hashes("out")) == {Path("out/a.png"), Path("out/deep/c.png"), Path("out/deep/d.png")}
    assert hashes("in") == before

    status, out, err = lowlight("enhance", "in", "-o", "out", "--strength", "0", "--json")
    assert status == 1
    records = {record["input"]: record for record in map(json.loads, out.splitlines())}
    assert {name: record["status"] for name, record in records.items()} == {
        "in/a.png": "skipped",
        "in/b.png": "failed",
        "in/deep/c.png": "skipped",
        "in/deep/d.png": "skipped",
    }
    assert records["in/b.png"]["error"]

    status, out, err = lowlight("enhance", "in/a.png", "-o", "out", "--strength", "0", "--quality", "80")
    assert (status, out) == (1, "")
    assert err == (
        "in/a.png: out/a.png exists and was made with other output options; --overwrite replaces it\n"
    )


def test_odd_names(lowlight):
    long = "x" * 251 + ".png"
    odd = os.fsdecode(b"\xff.png")
    make("in/new\nline.png", "in/-dash.png", f"in/{long}", "in/#.png", f"in/{odd}", "in/[page=1].png")
    status, out, err = lowlight("enhance", "in", "-o", "out", "--strength", "0")
    assert (status, err) == (0, "")
    assert sorted(os.listdir("out")) == sorted(os.listdir("in"))  # noqa: PTH208
    assert len(out.splitlines()) == 6
    assert r"in/new\nline.png: out/new\nline.png" in out
    assert r"in/\xff.png: out/\xff.png" in out
    status, out, err = lowlight("enhance", f"in/{odd}", "-o", "out", "--strength", "0", "--json")
    assert os.fsencode(json.loads(out)["input"]) == b"in/\xff.png"
    os.chdir("in")
    assert lowlight("enhance", "--strength", "0", "--", "-dash.png")[0] == 0
    assert lowlight("enhance", "--strength", "0", "./-dash.png")[0] == 0
    status, out, err = lowlight("enhance", "--strength", "0", long)
    assert (status, out) == (1, "")
    assert "name too long" in err


def test_suffixes_that_say_nothing(lowlight):
    make("in/a.png")
    shutil.copyfile("in/a.png", "IMG_1")
    shutil.copyfile("in/a.png", "photo.gif")
    Path("text.gif").write_text("no photo")
    status, _, err = lowlight("enhance", "IMG_1", "photo.gif", "text.gif", "--strength", "0")
    assert status == 1
    assert Path("IMG_1.enhanced.png").is_file()
    assert Path("photo.enhanced.png").is_file()
    assert "text.gif: " in err


# Full and read-only places


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("mounting a small file system needs Linux and root")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_no_half_file(lowlight, small_disk):
    make("in/a.png", "in/b.png", size=(200, 160))
    make("small.png")
    before = hashes("in")
    status, out, err = lowlight("enhance", "in", "-o", small_disk, "--strength", "0", "--format", "tiff")
    assert (status, out) == (1, "")
    assert "2 of 2 photos failed:" in err
    assert err.count("can't be written") == 2 * 2
    assert list(small_disk.iterdir()) == []
    status, out, err = lowlight("enhance", "in/a.png", "-o", small_disk, "--strength", "0")
    assert (status, out) == (1, "")
    assert "can't be written: No space left on device" in err
    assert hashes("in") == before
    assert lowlight("enhance", "small.png", "-o", small_disk, "--strength", "0")[0] == 0


def test_a_read_only_folder_is_told_before_the_work(lowlight, small_disk, monkeypatch):
    make(small_disk / "a.png")
    before = hashes(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    monkeypatch.setattr(enhancer.Enhancer, "enhance_photo", None)
    for arguments in ([], ["-o", small_disk / "out"]):
        status, out, err = lowlight("enhance", small_disk / "a.png", *arguments)
        assert (status, out) == (1, "")
        assert (
            err
            == f"{small_disk}/a.png: cannot write into the folder {small_disk}: read-only or not permitted\n"
        )
        assert hashes(small_disk) == before


# The other commands


def test_methods(lowlight):
    status, out, err = lowlight("methods")
    assert (status, err) == (0, "")
    assert re.search(r"^dimma +Dimma.*lightness, strength", out, re.MULTILINE)
    status, out, err = lowlight("methods", "dimma")
    assert re.search(r"^lightness +auto or 0 to 1 +auto +\w+", out, re.MULTILINE)
    status, out, err = lowlight("methods", "dimma", "--json")
    controls = {control["name"]: control for control in json.loads(out)["controls"]}
    assert set(controls) >= set(Controls.model_fields)
    assert controls["strength"]["default"] == 1.0
    status, out, err = lowlight("methods", "nobody")
    assert (status, out) == (2, "")
    assert "there are: dimma" in err


def test_models(lowlight):
    status, out, err = lowlight("models")
    assert (status, err) == (0, "")
    assert re.search(r"^dimma \(the default\)\n  method: dimma\n", out, re.MULTILINE)
    for said in ("licence", "data", "scores", "sha256"):
        assert f"\n  {said}: " in out
    status, out, err = lowlight("models", "--json")
    shipped = {each["name"]: each for each in json.loads(out)}["dimma"]
    assert shipped["method"] == "dimma"
    assert shipped["licence"]
    assert re.fullmatch("[0-9a-f]{64}", shipped["sha256"])
    assert shipped["sha256"] == enhancer.load("dimma", threads=1).fingerprint


def test_a_method_without_weights_is_told_from_an_unknown_name(lowlight, monkeypatch):
    make("dark.png")
    monkeypatch.setattr(places, "candidates", lambda: {"dimma": Path("dimma.onnx")})
    status, _, err = lowlight("enhance", "dark.png", "--model", "llflow")
    assert (status, err.count("\n")) == (2, 1)
    assert "no model is called 'llflow': it is a method without weights here; train or import them" in err
    assert "method" not in lowlight("enhance", "dark.png", "--model", "flow")[2]


def test_info(lowlight):
    make("dark.png")
    status, out, err = lowlight("info", "dark.png")
    assert (status, err) == (0, "")
    assert "24" in out
    assert "16" in out
    assert json.loads(lowlight("info", "dark.png", "--json")[1])["width"] == 24
    status, out, err = lowlight("info", "dimma", "--json")
    assert json.loads(out)["method"] == "dimma"
    Path("text.png").write_text("no photo")
    for wrong in ("text.png", "missing.png", "."):
        status, out, err = lowlight("info", wrong)
        assert (status, out) == (1, "")
        assert err.count("\n") == 1


def test_info_of_a_turned_photo_does_not_contradict_its_size(lowlight):
    exif = Image.Exif()
    for orientation, stored in ((3, "24 x 16"), (6, "24 x 16")):
        exif[274] = orientation
        Image.new("RGB", (24, 16)).save("turned.jpg", exif=exif)
        out = lowlight("info", "turned.jpg")[1]
        width, height = (16, 24) if orientation == 6 else (24, 16)
        assert f"  width: {width}\n  height: {height}\n" in out
        assert (
            f"  orientation: {orientation}: stored as {stored}; the size above is the upright photo's\n"
            in out
        )
        found = json.loads(lowlight("info", "turned.jpg", "--json")[1])
        assert (found["width"], found["height"], found["orientation"]) == (width, height, orientation)


def test_info_of_several_files_measures_photos_and_finds_damage(lowlight):
    make("dark.png", "cut.png", size=(64, 48))
    whole = Path("cut.png").read_bytes()
    Path("cut.png").write_bytes(whole[: len(whole) // 2])
    status, out, err = lowlight("info", "dark.png", "cut.png", "missing.png", "dimma", "--json")
    assert status == 1
    assert [line.split(":")[1] for line in err.splitlines()] == [" cut.png", " missing.png"]
    dark, cut, model = json.loads(out)
    assert dark["lightness"] == pytest.approx(np.asarray(Image.open("dark.png")).mean() / 255, abs=1e-4)
    assert (cut["file"], cut["width"], cut["lightness"]) == ("cut.png", 64, None)
    assert model["is"] == "weights"
    status, out, err = lowlight("info", "cut.png")
    assert (status, out.splitlines()[0], err.count("\n")) == (1, "cut.png", 1)


def test_a_damaged_jpeg_is_done_with_a_word_and_info_fails(lowlight):
    Image.fromarray(pictures.smooth()).save("dark.jpg", quality=95)
    whole = Path("dark.jpg").read_bytes()
    Path("dark.jpg").write_bytes(whole[: len(whole) * 2 // 3] + b"\xff\xd9")
    status, out, err = lowlight("enhance", "dark.jpg")
    assert (status, err) == (0, f"dark.jpg: {photos.DAMAGED}\n")
    status, out, err = lowlight("info", "dark.jpg")
    assert (status, err) == (1, f"lowlight: dark.jpg: {photos.DAMAGED}\n")
    assert "width: 64" in out


def test_info_prints_the_recipe_as_yaml(lowlight):
    recipes = json.loads(lowlight("info", "dimma", "--json")[1])["recipe"]["mean of"]
    lines = lowlight("info", "dimma")[1].partition("\n  recipe:\n")[2].splitlines()
    inside = [line for line in lines if line.startswith("    ")]
    [(count, first), *others] = [
        pair for each in yaml.safe_load("\n".join(inside))["mean of"] for pair in each.items()
    ]
    assert (count, first) == (f"{recipes.count(recipes[0])} x", recipes[0])
    assert sum(int(count.split()[0]) for count, _ in [(count, first), *others]) == len(recipes)
    assert all("config" not in each for _, each in others), "what is as in the first is not said again"


def test_equal_recipes_of_a_mean_are_shown_once():
    from lowlight.cli.info import _short

    first = {"steps": 5, "run": {"hours": 1, "seed": 0}, "start": "a"}
    other = {"steps": 5, "run": {"hours": 2, "seed": 0, "step": 4}}
    assert _short({"mean of": [first, other, first]}) == {
        "mean of": [
            {"2 x": first},
            {"1 x, as the first but": {"run": {"hours": 2, "step": 4}, "start": None}},
        ]
    }
    assert _short(first) == first


def test_the_default_model_is_listed_first(lowlight):
    make("models/x.png")
    shutil.copyfile(places.find("dimma"), "models/another.onnx")
    out = lowlight("models")[1]
    titles = [line for line in out.splitlines() if not line.startswith(" ")]
    assert titles[0] == "dimma (the default)"
    assert "another" in titles


def test_fast_takes_the_twin_of_a_name_a_file_or_itself(tmp_path):
    make("models/x.png")
    for name in ("mine", "mine-fast"):
        Path(f"models/{name}.onnx").touch()
    assert places.fast("mine") == "mine-fast"
    assert places.fast("mine-fast") == "mine-fast"
    assert Path(places.fast("models/mine.onnx")) == Path("models/mine-fast.onnx")
    with pytest.raises(WeightsError, match="no model is called 'nobody-fast'"):
        places.find(places.fast("nobody"))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["export", "missing.safetensors", "-o", "a.onnx"], 1, "missing.safetensors: no such file"),
        (["export", "a.safetensors", "-o", "there.onnx"], 2, "there.onnx exists; --overwrite replaces it"),
        (["export", "a.safetensors", "-o", "a.png"], 2, "a.png: expected a name that ends in .onnx"),
        (["export", "a.safetensors", "-o", "there.onnx", "--overwrite"], 1, "a.safetensors: expected"),
        (["train", "missing.yaml"], 1, "missing.yaml: no such file"),
        (["train", "a.yaml", "steps"], 2, "expected KEY=VALUE"),
        (["train", "a.yaml", "steps=0"], 2, "a.yaml: unknown key colour; known here: name, "),
        (["info", "missing.png"], 1, "missing.png: no such file"),
        (["methods", "nobody"], 2, "there are: dimma"),
    ],
)
def test_a_missing_file_is_a_failure_and_a_wrong_option_wrong_use(lowlight, arguments, status, said):
    Path("there.onnx").touch()
    Path("a.safetensors").touch()
    Path("a.yaml").write_text("colour: red\n")
    found, out, err = lowlight(*arguments)
    assert (found, out) == (status, "")
    assert said in err
    assert Path("there.onnx").read_bytes() == b""


def test_a_table_on_a_terminal_keeps_every_word(monkeypatch, capsys):
    from lowlight.cli._tables import print_table

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_table(("name", "help"), [("a", "[bold]words[/bold] " * 6), ("b", "c")])
    assert capsys.readouterr().out.count("[bold]words[/bold]") == 6


def test_no_thread_stays(lowlight):
    make("a.png")
    before = threading.active_count()
    lowlight("enhance", "a.png", "--strength", "0")
    assert threading.active_count() == before
