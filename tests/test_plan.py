"""Which photo becomes which file: names only, so the files hold nothing."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowlight.containers import SUFFIXES
from lowlight.errors import PhotoError, UseError, shown
from lowlight.plan import make_plan, target_of


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def pairs(inputs, output=None, **options):
    plan = make_plan([inputs] if isinstance(inputs, str) else inputs, output, **options)
    assert not plan.failures
    return {str(job.source): str(job.target) for job in plan.jobs}


def test_the_result_lies_beside_the_photo():
    touch("a.jpg", "in/B.PNG")
    assert pairs(["a.jpg", "in/B.PNG"]) == {"a.jpg": "a.enhanced.jpg", "in/B.PNG": "in/B.enhanced.PNG"}


def test_the_name_beside_a_photo_says_its_format():
    touch("a.JPG")
    Path("IMG_1").write_bytes(b"\x89PNG\r\n\x1a\n")
    Path("text").write_text("no photo")
    assert target_of(Path("a.JPG")) == Path("a.enhanced.JPG")
    assert target_of(Path("IMG_1")) == Path("IMG_1.enhanced.png")
    for name in ("text", "missing"):
        with pytest.raises(PhotoError, match=rf"^{name}: "):
            target_of(Path(name))


def test_a_photo_that_cannot_be_opened_does_not_stop_the_others(monkeypatch):
    touch("IMG_1", "b.jpg")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    plan = make_plan(["IMG_1", "b.jpg"], None)
    assert plan.failures == [(Path("IMG_1"), "permission denied")]
    assert [job.source for job in plan.jobs] == [Path("b.jpg")]


def test_a_folder_keeps_its_tree():
    touch("in/a.jpg", "in/deep/er/b.tif", "in/notes.txt", "in/.hidden/c.jpg", "in/._d.jpg")
    assert pairs("in", "out") == {"in/a.jpg": "out/a.jpg", "in/deep/er/b.tif": "out/deep/er/b.tif"}


def test_a_folder_named_like_a_photo_is_a_folder():
    touch("x.jpg/a.png")
    assert pairs("x.jpg", "out") == {"x.jpg/a.png": "out/a.png"}


def test_patterns_are_expanded_for_shells_that_do_not():
    touch("a1.jpg", "a2.jpg", "b.jpg", "deep/a3.jpg")
    assert set(pairs("a*.jpg")) == {"a1.jpg", "a2.jpg"}
    assert set(pairs("**/*.jpg", "out")) == {"a1.jpg", "a2.jpg", "b.jpg", "deep/a3.jpg"}


def test_maps_of_spreads_lie_beside_results_and_are_no_photos():
    touch("in/a.jpg", "in/a.enhanced.jpg", "in/a.enhanced.spread.png")
    plan = make_plan(["in/a.jpg"], None, spread=True)
    assert [str(job.spread) for job in plan.jobs] == ["in/a.enhanced.spread.png"]
    assert [job.spread for job in make_plan(["in/a.jpg"], None).jobs] == [None]
    for inputs in ("in", "in/*", ["in/a.jpg", "in/a.enhanced.jpg", "in/a.enhanced.spread.png"]):
        assert pairs(inputs, spread=True) == {"in/a.jpg": "in/a.enhanced.jpg"}
    touch("b.jpg", "b.spread.png")
    with pytest.raises(UseError, match=r"b\.spread\.png and b\.jpg would both become out/b\.spread\.png"):
        make_plan(["b.spread.png", "b.jpg"], "out/", spread=True)
    with pytest.raises(UseError, match=r"the result of b\.jpg would overwrite the input b\.spread\.png"):
        make_plan(["b.spread.png", "b.jpg"], "./", wanted="webp", spread=True)
    for inputs, output in ((["b.jpg"], "-"), (["-"], None)):
        with pytest.raises(UseError, match="beside the result"):
            make_plan(inputs, output, spread=True)
    assert make_plan(["-"], "light.jpg", spread=True).jobs[0].spread == Path("light.spread.png")


def test_a_file_whose_name_looks_like_a_pattern_is_a_file():
    touch("a[1].jpg", "a1.jpg")
    assert pairs("a[1].jpg") == {"a[1].jpg": "a[1].enhanced.jpg"}


@pytest.mark.parametrize("again", [["in"], ["in/*.jpg"], ["in/a.jpg", "in/a.enhanced.jpg"]])
def test_own_results_are_not_taken_as_photos(again):
    touch("in/a.jpg", "in/a.enhanced.jpg")
    plan = make_plan(again, None)
    assert [str(job.source) for job in plan.jobs] == ["in/a.jpg"]
    assert plan.notes == ["in/a.enhanced.jpg: a result, left out; give it alone to do it again"]
    touch("in/b.enhanced.jpg")
    assert make_plan(["in"], None).notes == [
        "in/a.enhanced.jpg and 1 more: results, left out; give one alone to do it again"
    ]


def test_a_result_that_is_named_alone_is_a_photo():
    touch("a.enhanced.jpg")
    assert pairs("a.enhanced.jpg") == {"a.enhanced.jpg": "a.enhanced.enhanced.jpg"}


def test_results_inside_the_input_folder_are_not_walked_into():
    touch("in/a.jpg", "in/out/a.jpg", "in/other/b.jpg")
    assert pairs("in", "in/out") == {"in/a.jpg": "in/out/a.jpg", "in/other/b.jpg": "in/out/other/b.jpg"}


def test_format_gives_its_suffix_and_keeps_one_that_fits():
    touch("in/a.png", "in/b.jpeg")
    assert pairs("in", "out", wanted="jpeg") == {"in/a.png": "out/a.jpg", "in/b.jpeg": "out/b.jpeg"}
    for suffix, kind in SUFFIXES.items():
        touch(f"all/{kind}{suffix}")
        assert pairs(f"all/{kind}{suffix}", f"out{suffix}", wanted=kind)


def test_a_file_or_a_folder_as_out():
    touch("a.jpg", "b.jpg")
    Path("folder.jpg").mkdir()
    assert pairs("a.jpg", "new.png") == {"a.jpg": "new.png"}
    assert pairs("a.jpg", "new") == {"a.jpg": "new/a.jpg"}
    assert pairs("a.jpg", "new.png/") == {"a.jpg": "new.png/a.jpg"}
    assert pairs("a.jpg", "folder.jpg") == {"a.jpg": "folder.jpg/a.jpg"}
    for folder in ("new.png/", "folder.jpg"):
        inside = folder.rstrip("/")
        assert pairs(["a.jpg", "b.jpg"], folder) == {"a.jpg": f"{inside}/a.jpg", "b.jpg": f"{inside}/b.jpg"}


def test_the_same_photo_named_twice_is_one_job():
    touch("in/a.jpg")
    Path("link").symlink_to("in")
    assert len(pairs(["in/a.jpg", "./in/a.jpg", "in", "link/a.jpg"], "out")) == 1


@pytest.mark.parametrize(
    ("files", "inputs", "output", "wanted"),
    [
        (["a.jpg", "a.png"], ["a.jpg", "a.png"], None, "webp"),
        (["a.jpg", "a.jpeg"], ["."], "out", "avif"),
        (["one/a.jpg", "two/a.jpg"], ["one", "two"], "out", None),
        (["one/a.jpg", "two/A.JPG"], ["one", "two"], "out", None),
        (["one/deep/a.jpg", "two/DEEP/a.jpg"], ["one", "two"], "out", None),
        (["one/é.jpg", "two/e\u0301.jpg"], ["one", "two"], "out", None),
        (["one/a.jpg", "two/a.jpg/b.jpg"], ["one", "two"], "out", None),
    ],
)
def test_two_photos_for_one_name_are_refused(files, inputs, output, wanted):
    touch(*files)
    with pytest.raises(UseError, match="would both be"):
        make_plan(inputs, output, wanted=wanted)


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        (["in"], "in"),
        (["in"], "link"),
        (["in/a.jpg"], "in/a.jpg"),
        (["in/a.jpg"], "in/A.jpg"),
        (["in/a.jpg"], "hard.jpg"),
        (["in/a.jpg"], "soft.jpg"),
        (["in/a.jpg", "b/a.jpg"], "b"),
    ],
)
def test_an_input_is_never_overwritten(inputs, output):
    touch("in/a.jpg", "b/a.jpg")
    Path("link").symlink_to("in")
    Path("hard.jpg").hardlink_to("in/a.jpg")
    Path("soft.jpg").symlink_to("in/a.jpg")
    with pytest.raises(UseError, match="would overwrite the input"):
        make_plan(inputs, output)


@pytest.mark.parametrize(
    ("inputs", "output", "wanted", "said"),
    [
        ([""], None, None, "empty"),
        (["a.jpg"], "", None, "empty"),
        (["a.jpg", "-"], None, None, "only input"),
        (["-"], "folder", None, "file's name"),
        (["a.jpg", "b.jpg"], "-", None, "inputs are 2"),
        (["a.jpg", "b.jpg"], "file.txt", None, "found a file"),
        (["a.jpg"], "file.txt/out", None, "found a file"),
        (["a.jpg", "b.jpg"], "both.jpg", None, r"both\.jpg: a photo's name, and the inputs are several"),
        (["folder"], "all.PNG", None, "end it in /"),
        (["*.jpg"], "all.png", None, "end it in /"),
        (["a.jpg"], "a.gif", None, r"cannot write \.gif"),
        (["a.jpg"], "a.png", "jpeg", "says png, --format says jpeg"),
        (["-"], "a.png", "jpeg", "says png, --format says jpeg"),
    ],
)
def test_wrong_use_is_refused(inputs, output, wanted, said):
    touch("a.jpg", "b.jpg", "file.txt")
    Path("folder").mkdir()
    with pytest.raises(UseError, match=said):
        make_plan(inputs, output, wanted=wanted)


def test_standard_streams():
    touch("a.jpg")
    [job] = make_plan(["-"], None, wanted="png").jobs
    assert (job.source, job.target, job.format) == (None, None, "png")
    [job] = make_plan(["-"], "a.tif").jobs
    assert (job.source, job.target, job.format) == (None, Path("a.tif"), "tiff")
    [job] = make_plan(["a.jpg"], "-").jobs
    assert (job.source, job.target, job.format) == (Path("a.jpg"), None, None)
    touch("./-")
    assert pairs("./-", "out.png") == {"-": "out.png"}


def test_what_is_no_photo_is_named_and_the_rest_is_planned():
    touch("in/a.jpg")
    os.mkfifo("in/pipe.jpg")
    Path("in/dangling.jpg").symlink_to("nowhere")
    Path("loop.jpg").symlink_to("loop.jpg")
    plan = make_plan(["in", "missing.jpg", "*.gone", "loop.jpg", "/dev/zero", "in/pipe.jpg"], "out")
    assert [str(job.source) for job in plan.jobs] == ["in/a.jpg"]
    named = sorted(str(path) for path, _ in plan.failures)
    wrong = [
        "in/dangling.jpg",
        "in/pipe.jpg",
        "in/pipe.jpg",
        "missing.jpg",
        "*.gone",
        "loop.jpg",
        "/dev/zero",
    ]
    assert named == sorted(wrong)


def test_photos_that_are_not_read_are_left_out_of_a_folder_with_a_note():
    touch("in/a.jpg", "in/IMG.HEIC", "in/deep/D.nef", "in/notes.txt", "in/.hidden.heic")
    plan = make_plan(["in"], "out")
    assert [str(job.source) for job in plan.jobs] == ["in/a.jpg"]
    (note,) = plan.notes
    assert note == (
        "in/IMG.HEIC and 1 more: formats that are not read (.heic, .nef), left out; convert them first"
    )


def test_links_to_folders_are_not_followed():
    touch("in/a.jpg")
    Path("in/self").symlink_to(".")
    plan = make_plan(["in"], "out")
    assert [str(job.target) for job in plan.jobs] == ["out/a.jpg"]
    assert "in/self" in plan.notes[0]


def test_an_empty_folder_is_told():
    Path("empty").mkdir()
    plan = make_plan(["empty"], "out")
    assert not plan.jobs
    assert "empty: no photos" in plan.notes[0]


def test_odd_names_stay_what_they_are():
    names = ["in/new\nline.jpg", "in/-dash.jpg", "in/#.jpg", "in/ .jpg", os.fsdecode(b"in/\xff.jpg")]
    touch(*names)
    assert set(pairs("in", "out")) == set(names)
    assert {str(Path("out", Path(name).name)) for name in names} == set(pairs("in", "out").values())


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_a_shown_name_is_one_printable_line(name):
    text = shown(os.fsdecode(name))
    assert text.isprintable()
    assert shown(text) == text
    text.encode()
