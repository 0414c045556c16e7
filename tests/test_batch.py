"""Many photos through a stand-in for the enhancer: what is done, skipped, refused, and how many at once."""

import io
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import pictures
from lowlight import photo as photos
from lowlight.batch import Outcome, Settings, _Budget, run
from lowlight.containers import SUFFIXES
from lowlight.enhancer import Report
from lowlight.methods import Controls
from lowlight.plan import make_plan


class Doubler:
    """Doubles values; counts who computes at the same time."""

    fingerprint = "weights"

    def __init__(self, wait=lambda: None):
        self.wait = wait
        self.lock = threading.Lock()
        self.computing = self.most = self.calls = 0
        self.memory = []

    def memory_for(self, height, width, itemsize, controls):
        return height * width * itemsize * 100

    def enhance_photo(self, photo, controls, *, memory, progress, spread):
        with self.lock:
            self.calls += 1
            self.computing += 1
            self.most = max(self.most, self.computing)
            self.memory.append(memory)
        self.wait()
        progress(0.5)
        with self.lock:
            self.computing -= 1
        samples = (photo.samples.astype(np.float32) * 2).clip(0, 255).astype(photo.samples.dtype)
        grey = photos.Photo(photo.samples[..., :1].repeat(3, axis=2), grey=True) if spread else None
        report = Report(controls.model_dump(), 0.1, 0.2, 1, 0.0, ("doubled",), grey)
        return photos.Photo(samples, grey=photo.grey, format=photo.format), report


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(*names, size=(12, 8)):
    for index, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(index).integers(0, 100, (*size[::-1], 3), np.uint8)
        Image.fromarray(values).save(name)


def do(inputs, output="out", enhancer=None, wanted=None, **settings) -> list[Outcome]:
    settings = {"controls": Controls(), **settings}
    jobs = make_plan(inputs, output, wanted=wanted).jobs
    return sorted(run(jobs, enhancer or Doubler(), Settings(**settings)), key=lambda outcome: outcome.source)


def listing(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


def test_photos_are_done_and_told():
    make("in/a.png", "in/deep/b.png")
    shares = []
    jobs = make_plan(["in"], "out").jobs
    outcomes = list(run(jobs, Doubler(), Settings(Controls()), advance=shares.append))
    assert statuses(outcomes) == ["done", "done"]
    assert {(outcome.width, outcome.height, outcome.notes) for outcome in outcomes} == {(12, 8, ("doubled",))}
    assert sum(shares) == pytest.approx(2.0)
    before = np.asarray(Image.open("in/deep/b.png"))
    assert np.array_equal(np.asarray(Image.open("out/deep/b.png")), before * 2)


@pytest.mark.parametrize("kind", sorted(set(SUFFIXES.values())))
def test_done_is_seen_in_every_format(kind):
    make("a.png")
    [done] = do(["a.png"], wanted=kind, strip="all")
    assert statuses(do(["a.png"], wanted=kind, strip="all")) == ["skipped"]
    Path(done.target).unlink()
    [done] = do(["a.png"], wanted=kind)
    assert done.status == "done"
    with Image.open(done.target) as other:
        assert other.size == (12, 8)
        other.load()
    enhancer = Doubler()
    assert statuses(do(["a.png"], enhancer=enhancer, wanted=kind)) == ["skipped"]
    assert enhancer.calls == 0
    [failed] = do(["a.png"], wanted=kind, controls=Controls(strength=0.5))
    assert "other controls; --overwrite replaces it" in failed.error


@pytest.mark.parametrize("kind", sorted(set(SUFFIXES.values())))
def test_a_result_that_was_cut_is_not_done(kind):
    make("a.png", size=(60, 40))
    [done] = do(["a.png"], wanted=kind)
    whole = Path(done.target).read_bytes()
    for length in (len(whole) // 2, len(whole) - 1):
        Path(done.target).write_bytes(whole[:length])
        assert statuses(do(["a.png"], wanted=kind)) == ["failed"]
    assert statuses(do(["a.png"], wanted=kind, overwrite=True)) == ["done"]
    assert statuses(do(["a.png"], wanted=kind)) == ["skipped"]


def test_a_map_of_the_spread_counts_with_its_result():
    make("a.png")

    def again(**settings):
        jobs = make_plan(["a.png"], "out/", spread=True).jobs
        [outcome] = run(jobs, Doubler(), Settings(Controls(), **settings))
        return outcome

    assert statuses(do(["a.png"], "out/")) == ["done"]
    assert statuses([again()]) == ["done"], "the result was there, its map was not"
    assert listing("out") == ["a.png", "a.spread.png"]
    with Image.open("out/a.spread.png") as made:
        assert np.array_equal(np.asarray(made), np.asarray(Image.open("a.png"))[..., 0])
    assert again().status == "skipped"
    assert again().report is None
    Path("out/a.spread.png").unlink()
    done = again()
    assert done.status == "done"
    assert done.report.spread is None, "what is told holds no pixels"
    result = Path("out/a.png").read_bytes()
    Image.new("L", (3, 3)).save("out/a.spread.png")
    assert "a.spread.png exists and was not made by lowlight" in again().error
    assert Path("out/a.png").read_bytes() == result
    assert again(overwrite=True).status == "done"
    assert statuses(do(["a.png"], "out/", overwrite=True)) == ["skipped"], "the result is the same"
    assert statuses(do(["a.png"], "out/", overwrite=True, quality=94)) == ["done"]
    assert listing("out") == ["a.png"], "the map was of the earlier result"
    Image.new("L", (3, 3)).save("out/a.spread.png")
    assert statuses(do(["a.png"], "out/", overwrite=True)) == ["done"]
    assert listing("out") == ["a.png", "a.spread.png"], "somebody else's picture"


def test_done_survives_a_copy_and_a_new_date():
    make("in/a.jpg")
    do(["in"])
    shutil.copytree("out", "copy")
    shutil.copyfile("in/a.jpg", "other.jpg")
    os.utime("in/a.jpg", (1, 1))
    assert statuses(do(["in"], "copy")) == ["skipped"]
    shutil.copyfile("out/a.jpg", "other.enhanced.jpg")
    assert statuses(do(["other.jpg"], None)) == ["skipped"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("changed", ["controls", "weights", "output options", "photo"])
def test_a_result_made_otherwise_is_refused_or_replaced(changed, overwrite):
    make("a.jpg")
    do(["a.jpg"])
    before = Path("out/a.jpg").read_bytes()
    enhancer, settings = Doubler(), {"overwrite": overwrite}
    if changed == "controls":
        settings["controls"] = Controls(lightness=0.5)
    elif changed == "weights":
        enhancer.fingerprint = "others"
    elif changed == "output options":
        settings["quality"] = 50
    else:
        make("other.jpg", "a.jpg")
    [outcome] = do(["a.jpg"], enhancer=enhancer, **settings)
    if overwrite:
        assert outcome.status == "done"
        assert statuses(do(["a.jpg"], enhancer=enhancer, **settings)) == ["skipped"]
    else:
        how = "from another photo" if changed == "photo" else f"with other {changed}"
        assert outcome.error == f"out/a.jpg exists and was made {how}; --overwrite replaces it"
        assert Path("out/a.jpg").read_bytes() == before
        assert enhancer.calls == 0


def test_all_that_a_result_was_made_otherwise_by_is_told():
    make("a.jpg")
    do(["a.jpg"])
    make("other.jpg", "a.jpg")
    [outcome] = do(["a.jpg"], quality=50, controls=Controls(lightness=0.5))
    assert "made from another photo and with other controls and output options;" in outcome.error


def test_what_stands_in_the_way_is_never_taken_for_a_result():
    make("in/a.png", "in/b.png", "in/c.png", "out/a.png")
    Path("out/b.png").mkdir()
    Path("out/c.png").write_bytes(b"")
    outcomes = do(["in"])
    assert statuses(outcomes) == ["failed"] * 3
    assert ["not made by lowlight" in outcome.error for outcome in outcomes] == [True, False, True]
    assert statuses(do(["in"], overwrite=True)) == ["done", "failed", "done"]


def test_a_result_made_from_python_is_told_as_such():
    make("in/a.png")
    Path("out").mkdir()
    photos.write_photo(photos.read_photo("in/a.png"), "out/a.png", fingerprint="python")
    [outcome] = do(["in"])
    assert (
        outcome.error
        == "out/a.png exists and was made from Python or by another version; --overwrite replaces it"
    )
    assert statuses(do(["in"], overwrite=True)) == ["done"]


def test_a_link_is_no_way_to_an_original():
    make("a.png", "original.png")
    before = Path("original.png").read_bytes()
    Path("out").mkdir()
    Path("out/a.png").symlink_to("../original.png")
    for overwrite in (False, True):
        [outcome] = do(["a.png"], overwrite=overwrite)
        assert outcome.status == "failed"
        assert "is a link" in outcome.error
    assert Path("original.png").read_bytes() == before


def test_a_broken_photo_does_not_end_the_rest():
    make("in/a.png", "in/b.png", "in/c.png", "in/d.png")
    Path("in/b.png").write_bytes(Path("in/b.png").read_bytes()[:100])
    Path("in/c.png").write_text("no photo")
    outcomes = do(["in"])
    assert statuses(outcomes) == ["done", "failed", "failed", "done"]
    assert all("\n" not in outcome.error for outcome in outcomes[1:3])
    assert listing("out") == ["a.png", "d.png"]


def test_what_a_format_cannot_hold_is_told_before_the_work():
    make("wide.png", size=(17_000, 1))
    enhancer = Doubler()
    [outcome] = do(["wide.png"], "wide.webp", enhancer)
    assert outcome.error is not None
    assert outcome.error.startswith("can't be written: WebP holds at most 16383 pixels a side")
    assert enhancer.calls == 0
    assert listing(".") == ["wide.png"]


def test_a_surprise_is_one_photo_s():
    make("in/a.png", "in/b.png")

    class Broken(Doubler):
        def enhance_photo(self, photo, *rest, **options):
            raise ZeroDivisionError("tiles")

    assert [outcome.error for outcome in do(["in"], enhancer=Broken())] == [
        "unexpected ZeroDivisionError: tiles"
    ] * 2


def test_as_many_compute_at_once_as_asked():
    make(*(f"in/{index}.png" for index in range(12)))
    # Two must meet each time: the wait ends early only when another computes at the same time.
    meeting = threading.Barrier(2, timeout=300)
    enhancer = Doubler(meeting.wait)
    assert statuses(do(["in"], enhancer=enhancer, at_once=2)) == ["done"] * 12
    assert enhancer.most == 2


def test_reading_and_writing_overlap_computing(monkeypatch):
    make(*(f"in/{index}.png" for index in range(6)))
    reading, computing = threading.Semaphore(0), threading.Event()
    real = photos.read_photo

    def read(*arguments, **options):
        reading.release()
        return real(*arguments, **options)

    def wait():
        # The first photo computes until three have been read.
        if not computing.is_set():
            computing.set()
            for _ in range(3):
                assert reading.acquire(timeout=300)

    monkeypatch.setattr(photos, "read_photo", read)
    assert statuses(do(["in"], enhancer=Doubler(wait), at_once=1)) == ["done"] * 6


@pytest.mark.parametrize("together", [1, 4])
def test_photos_share_the_memory(together):
    make(*(f"in/{index}.png" for index in range(4)), size=(80, 60))
    one = Doubler().memory_for(60, 80, 1, None)
    meeting = threading.Barrier(together, timeout=300)
    enhancer = Doubler(meeting.wait)
    assert statuses(do(["in"], enhancer=enhancer, at_once=4, memory=together * one)) == ["done"] * 4
    assert enhancer.most == together
    assert max(enhancer.memory) == one


def test_a_large_photo_gets_its_turn():
    budget = _Budget(10)
    order = []

    def large():
        with budget.take(99) as taken:
            order.append(taken)

    def small():
        with budget.take(4) as taken:
            order.append(taken)

    with budget.take(4):
        waiting = threading.Thread(target=large)
        waiting.start()
        while not budget._turn.locked():
            time.sleep(0.001)
        behind = threading.Thread(target=small)
        behind.start()
        time.sleep(0.02)
        assert order == []
    waiting.join(300)
    behind.join(300)
    assert order == [10, 4]


def test_stopping_leaves_nothing_half():
    make(*(f"in/{index}.png" for index in range(20)))
    before, stop = threading.active_count(), threading.Event()
    jobs = make_plan(["in"], "out").jobs
    finished = []
    # All photos but the first wait for the stop: else fast workers could be done before it comes.
    worker = Doubler(lambda: stop.wait(300 if worker.calls > 1 else 0))
    for outcome in run(jobs, worker, Settings(Controls()), stop=stop):
        finished.append(Path(outcome.target).name)
        stop.set()
    assert len(finished) == 1
    assert listing("out") == finished
    assert threading.active_count() == before


def test_closing_stops():
    make(*(f"in/{index}.png" for index in range(20)))
    before = threading.active_count()
    outcomes = run(make_plan(["in"], "out").jobs, Doubler(), Settings(Controls()))
    next(outcomes)
    outcomes.close()
    assert threading.active_count() == before
    assert 1 <= len(listing("out")) < 20


def test_standard_output_that_takes_a_part_at_a_time_gets_all(monkeypatch):
    """So it does without a buffer (PYTHONUNBUFFERED) on a disk that is nearly full."""
    make("a.png", size=(60, 40))
    sip = pictures.Sip()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=sip))
    [outcome] = do(["a.png"], "-")
    assert outcome.status == "done"
    before = np.asarray(Image.open("a.png"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sip.data))), before * 2)
