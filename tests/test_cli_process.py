"""The command line as real processes: torch, pipes, signals, memory, time."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

COMMAND = [sys.executable, "-m", "lowlight"]


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def lowlight(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=300, **options)


def start(*arguments, **options):
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def finish(process):
    """Wait for a process that has said all; gives its status."""
    process.stdout.close()
    process.stderr.close()
    return process.wait(60)


def make(*names, size=(24, 16)):
    for index, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(index).integers(0, 60, (*size[::-1], 3), np.uint8)
        Image.fromarray(values).save(name)


def many(count, size=(24, 16)):
    """Copies of one photo that differ in their metadata only."""
    Path("in").mkdir()
    values = np.random.default_rng(0).integers(0, 60, (*size[::-1], 3), np.uint8)
    for index in range(count):
        exif = Image.Exif()
        exif[0x010E] = str(index)
        Image.fromarray(values).save(f"in/{index:04}.jpg", exif=exif)


def hashes(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def check_whole(folder):
    """Every file that bears a photo's name can be read to its end; gives their names."""
    names = [path for path in Path(folder).iterdir() if not path.name.startswith(".")]
    for name in names:
        assert name.suffix in (".jpg", ".png")
        Image.open(name).load()
    return {path.name for path in names}


@pytest.fixture
def no_torch(tmp_path, monkeypatch):
    """Importing torch fails in every process that is started."""
    folder = tmp_path / "blocker"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), before])))
    assert (
        b"None in sys.modules"
        in subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).stderr
    )


def test_a_photo_without_torch(no_torch):
    make("dark.png")
    done = lowlight("enhance", "dark.png", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["output"] == "dark.enhanced.png"


def test_an_engine_that_does_not_run_these_weights_is_told_without_torch(no_torch):
    make("dark.png")
    done = lowlight("enhance", "dark.png", "--engine", "torch")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"engine torch runs .safetensors weights" in done.stderr
    assert done.stderr.count(b"\n") == 1


LIGHT = [
    ["--help"],
    ["enhance", "--help"],
    ["dim", "--help"],
    ["train", "--help"],
    ["enhance"],
    ["enhance", "a.png", "--jobs", "0"],
    ["enhance", "a.png", "--control", "strength=2"],
    ["enhance", "missing.png"],
    ["train", "missing.yaml"],
    ["methods", "nobody"],
    ["train", "a.png", "steps"],
    ["export", "missing.safetensors", "-o", "a.onnx"],
    ["export", "a.png", "-o", "a.onnx", "--precision", "int8"],
]
"""Help and wrong use."""


def test_help_and_wrong_use_import_nothing_heavy():
    """All in one process: what one of them had imported, it would still have at the end."""
    make("a.png")
    code = f"""
import sys
from lowlight import cli
for arguments in {LIGHT!r}:
    sys.argv = ["lowlight", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        print(end.code)
    heavy = {{"torch", "numpy", "onnxruntime", "pyvips", "PIL", "rich"}} & set(sys.modules)
    assert not heavy, (arguments, heavy)
assert "typer" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    ended = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert len(ended) == len(LIGHT)
    assert set(ended[:4]) == {"0"}
    assert set(ended[4:]) <= {"1", "2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["methods", "dimma"], ["models"], ["info", "dimma"], ["info", "dark.png"], ["train", "--help"]],
)
def test_no_command_needs_torch(no_torch, arguments):
    make("dark.png")
    done = lowlight(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")


def test_through_pipes():
    make("dark.png")
    done = lowlight("enhance", "-", "--format", "jpeg", input=Path("dark.png").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    picture = Image.open(io.BytesIO(done.stdout))
    assert (picture.format, picture.size) == ("JPEG", (24, 16))


@pytest.mark.slow
def test_no_photo_through_a_pipe():
    wrong = lowlight("enhance", "-", input=b"no photo")
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert wrong.stderr.startswith(b"-: ")
    assert wrong.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_pipe_to_file_and_file_to_pipe():
    make("dark.png")
    done = lowlight("enhance", "-", "-o", "out.png", "--json", input=Path("dark.png").read_bytes())
    assert json.loads(done.stdout)["output"] == "out.png"
    done = lowlight("enhance", "dark.png", "-o", "-")
    assert Image.open(io.BytesIO(done.stdout)).format == "PNG"
    # The same photo, named otherwise: done already.
    again = lowlight("enhance", "dark.png", "-o", "out.png", "--json")
    assert json.loads(again.stdout)["status"] == "skipped"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_taken_up_again(number):
    many(150)
    before = hashes("in")
    batch = start("enhance", "in", "-o", "out", "--strength", "0", "--json")
    told = [batch.stdout.readline()]
    batch.send_signal(number)
    told += batch.stdout.readlines()
    err = batch.stderr.read()
    assert finish(batch) == 128 + number
    names = check_whole("out")
    assert 1 <= len(told) == len(names) < 150
    assert err == f"interrupted: {len(told)} of 150 photos are done; the same command does the rest\n"
    assert hashes("in") == before
    assert set(hashes("out")) == {Path("out", name) for name in names}

    again = lowlight("enhance", "in", "-o", "out", "--strength", "0", "--json")
    assert again.returncode == 0
    skipped = {
        record["output"]
        for record in map(json.loads, again.stdout.splitlines())
        if record["status"] == "skipped"
    }
    assert skipped == {f"out/{name}" for name in names}


@pytest.mark.slow
def test_killed_at_any_moment_leaves_nothing_half():
    make(*(f"in/{index}.png" for index in range(60)), size=(640, 480))
    before = hashes("in")
    finished = set()
    for delay in (0.0, 0.01, 0.02, 0.05, 0.1):
        batch = start("enhance", "in", "-o", "out", "--strength", "0", "--json")
        while json.loads(batch.stdout.readline())["status"] == "skipped":
            pass
        time.sleep(delay)
        batch.kill()
        assert finish(batch) == -signal.SIGKILL
        names = check_whole("out")
        assert finished < names
        finished = names
    assert hashes("in") == before
    done = lowlight("enhance", "in", "-o", "out", "--strength", "0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert check_whole("out") == {path.name for path in before}
    # What the killed processes left is no photo.
    done = lowlight("enhance", "out", "-o", "again", "--strength", "0")
    assert check_whole("again") == {path.name for path in before}


@pytest.mark.slow
def test_a_reader_that_leaves():
    many(40)
    batch = start("enhance", "in", "-o", "out", "--strength", "0", "--json")
    batch.stdout.readline()
    batch.stdout.close()
    assert batch.stderr.read() == ""
    assert finish(batch) != 0
    check_whole("out")


@pytest.mark.slow
def test_output_that_fails_is_one_line_or_none():
    make("dark.png")
    command = " ".join(COMMAND)
    for arguments, said in (
        ("models | true", ""),
        ("--help > /dev/full", "lowlight: no space left on device\n"),
        ("enhance dark.png --strength 0 --json > /dev/full", "lowlight: no space left on device\n"),
        ("enhance - > out.png < /dev/zero", None),
    ):
        done = subprocess.run(  # noqa: S602
            f"{command} {arguments}", shell=True, capture_output=True, text=True, timeout=300
        )
        assert done.stdout == ""
        assert done.stderr.count("\n") <= 1
        assert said is None or done.stderr == said
        assert done.returncode == (0 if "|" in arguments else 1)


@pytest.mark.slow
def test_an_encoding_without_the_letters(monkeypatch):
    make("in/\u0142\u00f3d\u017a.png", "in/b.png")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = lowlight("enhance", "in", "-o", "out", "--strength", "0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 2
    assert check_whole("out") == {"\u0142\u00f3d\u017a.png", "b.png"}


@pytest.mark.slow
def test_closed_standard_streams_hold_no_photo():
    make("in/a.png", "in/b.png", "in/c.png")
    Path("in/b.png").write_bytes(b"")
    command = f"{' '.join(COMMAND)} enhance in -o out --strength 0 <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, timeout=300).returncode == 1  # noqa: S602
    assert check_whole("out") == {"a.png", "c.png"}


@pytest.mark.slow
def test_memory_stays_flat():
    many(400, (96, 64))
    batch = start("enhance", "in", "-o", "out", "--json")
    process = psutil.Process(batch.pid)
    resident = []
    for line in batch.stdout:
        assert json.loads(line)["status"] == "done"
        resident.append(process.memory_info().rss)
    assert finish(batch) == 0
    steady = np.array(resident[100:-1])
    slope = np.polyfit(np.arange(len(steady)), steady, 1)[0]
    # Ten thousand photos may add 50 MB.
    assert slope < 5_000


@pytest.mark.slow
def test_a_bar_on_a_terminal():
    pty = pytest.importorskip("pty")
    many(3)
    master, slave = pty.openpty()
    batch = subprocess.Popen(
        [*COMMAND, "enhance", "in", "-o", "out", "--strength", "0"], stdout=subprocess.PIPE, stderr=slave
    )
    os.close(slave)
    out = batch.stdout.read().decode()
    assert batch.wait(60) == 0
    batch.stdout.close()
    seen = os.read(master, 1 << 20).decode()
    os.close(master)
    assert "of 3 photos" in seen
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out


@pytest.mark.slow
def test_lines_on_a_terminal_are_whole_and_failures_are_told_at_once():
    pty = pytest.importorskip("pty")
    long = "a long name " * 15 + ".jpg"
    many(2)
    Path("in/0000.jpg").rename(f"in/{long}")
    Path("in/broken.jpg").write_bytes(b"no photo")
    master, slave = pty.openpty()
    batch = subprocess.Popen(
        [*COMMAND, "enhance", "in", "-o", "out", "--strength", "0"],
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(slave)
    seen = b""
    with suppress(OSError):  # how Linux tells that the other end is closed
        while part := os.read(master, 1 << 16):
            seen += part
    os.close(master)
    assert batch.wait(60) == 1
    text = seen.decode()
    assert f"in/{long}: out/{long} (lightness" in text
    assert text.count("in/broken.jpg: ") == 2
    assert text.index("in/broken.jpg: ") < text.index("1 of 3 photos failed:")
