"""Photos that are in training and evaluation both: found as copies, not found where there is none."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import pictures
import toy_run
from lowlight.errors import WeightsError
from lowlight.evaluation import guards
from lowlight.evaluation.guards import Index, find_leaks, mark, pack, read_seen, unpack
from lowlight.evaluation.pairing import Case
from lowlight.evaluation.scoring import look_for_leaks
from lowlight.training.data import Mixture
from lowlight.training.loop import fit
from lowlight.training.recipe import Recipe
from lowlight.weights import open_weights

TRAINED = [pictures.scene(seed) for seed in range(40)]
INDEX = Index([mark(each) for each in TRAINED])


def again(photo: np.ndarray, kind: str, **options: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, kind, **options)
    return np.asarray(Image.open(stream).convert("RGB"))


def test_the_same_photo_is_found_in_any_lossless_file() -> None:
    assert INDEX.find(mark(again(TRAINED[3], "png"))) == ("photo", 0)
    assert INDEX.find(mark(again(TRAINED[3], "webp", lossless=1))) == ("photo", 0)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_jpeg_of_it_is_found(quality: int) -> None:
    for photo in TRAINED[:10]:
        copy = again(photo, "jpeg", quality=quality)
        assert (copy != photo).any()
        found = INDEX.find(mark(copy))
        assert found is not None
        assert found[0] == "scene"


@pytest.mark.parametrize("size", [(64, 48), (200, 150), (96, 96)])
def test_a_resized_copy_is_found(size: tuple[int, int]) -> None:
    for photo in TRAINED[:10]:
        small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
        found = INDEX.find(mark(small))
        assert found is not None
        assert found[0] == "scene"


@pytest.mark.parametrize("gain", [0.1, 0.5, 1.3])
def test_another_exposure_of_the_scene_is_found(gain: float) -> None:
    for photo in TRAINED[:10]:
        other = np.clip(photo * gain, 0, 255).round().astype(np.uint8)
        assert INDEX.find(mark(other)) is not None


def test_other_scenes_are_not_found() -> None:
    others = [mark(pictures.scene(seed)) for seed in range(1000, 1200)]
    assert [INDEX.find(each) for each in others] == [None] * 200


def test_scenes_are_what_is_near_over_steps() -> None:
    def near(bits: int, seed: int) -> bytes:
        """A mark whose hash has ``bits`` of its first bits turned."""
        photo = bytearray(mark(TRAINED[seed]))
        for bit in range(bits):
            photo[guards.EXACT + bit // 8] ^= 1 << bit % 8
        return bytes(photo)

    flat = [mark(np.full((30, 40, 3), level, np.uint8)) for level in (50, 90)]
    found = guards.scenes(
        {"a": near(0, 0), "b": near(0, 1), "c": near(28, 0), "d": near(14, 0), "e": flat[0], "f": flat[1]}
    )
    assert found == {"a": "a", "b": "b", "c": "a", "d": "a", "e": "e", "f": "f"}
    assert guards.scenes({}) == {}


def test_flat_pictures_are_only_known_by_their_pixels() -> None:
    index = Index([mark(np.full((30, 40, 3), 90, np.uint8))])
    assert index.find(mark(np.full((30, 40, 3), 90, np.uint8))) == ("photo", 0)
    assert index.find(mark(np.full((30, 40, 3), 91, np.uint8))) is None
    assert index.find(mark(np.full((40, 30, 3), 90, np.uint8))) is None


def test_marks_are_small_and_come_back() -> None:
    marks = [mark(each) for each in TRAINED]
    text = pack([*marks, *marks])
    assert sorted(unpack(text)) == sorted(marks)
    assert len(text) == 40 * guards.SIZE * 4 // 3
    assert unpack(pack([])) == []


@pytest.mark.parametrize("text", ["?", "AAAA", base64.b64encode(bytes(25)).decode()])
def test_damaged_marks_are_refused(text: str) -> None:
    with pytest.raises(WeightsError, match=r"here\.onnx: header: seen\.trained: expected base64 of marks"):
        read_seen({"trained": text}, "here.onnx")


def test_leaks_say_what_is_known_and_how() -> None:
    known = {"trained": [mark(TRAINED[0]), mark(TRAINED[1])], "chosen": [mark(TRAINED[2])]}
    photos = {
        "same": [mark(TRAINED[0])],
        "copy": [mark(pictures.scene(50)), mark(again(TRAINED[1], "jpeg"))],
        "judged": [mark(TRAINED[2])],
        "new": [mark(pictures.scene(60))],
    }
    found = [(leak.name, leak.kind, leak.of) for leak in find_leaks(known, photos)]  # type: ignore[arg-type]
    assert found == [
        ("same", "photo", "trained"),
        ("copy", "scene", "trained"),
        ("judged", "photo", "chosen"),
    ]


def test_what_is_not_known_is_said_to_be_so(tmp_path: Path) -> None:
    Image.fromarray(TRAINED[0]).save(tmp_path / "a.png")
    case = Case("a", None, None, tmp_path / "a.png")
    unknown = look_for_leaks([case], {}, "no marks")
    assert (unknown.known, unknown.lines) == (False, ["no marks"])
    clean = look_for_leaks([case], {"trained": [mark(TRAINED[1])]}, "no marks")
    assert clean.lines == [
        "no photo or scene was found among the marks of 1 training photos (crops and mirrored copies are not found)"
    ]
    leak = look_for_leaks([case], {"trained": [mark(TRAINED[0])]}, "no marks")
    assert leak.lines == ["1 of 1 photos were trained on: a"]
    known = {"trained": [mark(TRAINED[1])], "chosen": [mark(TRAINED[0])]}
    chosen = look_for_leaks([case], known, "no marks")
    assert chosen.lines == [  # the warning first
        "scores are too good: the checkpoint was chosen by its score on 1 of these 1 photos: a",
        f"in the training itself {clean.lines[0]}",
    ]


def test_dark_twins_that_were_made_have_no_mark(tmp_path: Path) -> None:
    (tmp_path / "normal").mkdir()
    Image.fromarray(TRAINED[0]).save(tmp_path / "normal" / "0.png")
    data = {"root": tmp_path, "sources": [{"kind": "photos", "folder": "normal", "darken": {}}]}
    mixture = Mixture.read(
        Recipe.model_fields["data"].annotation(**data), np.random.default_rng(0), torch.device("cpu")
    )  # type: ignore[misc]
    assert mixture.marks() == {mark(TRAINED[0])}


def test_trained_weights_carry_the_marks_of_their_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(toy_run.PLUGIN)
    toy_run.write_photos(tmp_path)
    values = yaml.safe_load(toy_run.write_recipe(tmp_path, steps=1).read_text())
    fit(Recipe.model_validate(values), tmp_path / "run")
    seen = read_seen(open_weights(tmp_path / "run" / "best.safetensors").header.seen, "best")

    def marks(*names: str) -> set[bytes]:
        return {mark(np.asarray(Image.open(tmp_path / name))) for name in names}

    trained = [f"{folder}/{index}.png" for folder in ("low", "high") for index in range(4)]
    assert set(seen["trained"]) == marks(*trained)
    assert set(seen["chosen"]) == marks("high/4.png", "high/5.png")
