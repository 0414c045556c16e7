"""Recipes: what is refused, and that the error says file, key, value and what is allowed."""

from pathlib import Path

import pytest

from lowlight.errors import RecipeError
from lowlight.training.recipe import Recipe, read_recipe
from lowlight.training.stage import Schedule
from toy_run import PLUGIN, recipe, write_recipe


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(PLUGIN)
    return write_recipe(tmp_path)


def test_overrides_are_yaml_at_dotted_keys(path: Path) -> None:
    changed = read_recipe(
        path,
        [
            "steps=7",
            "data.cache=device",
            "data.sources.0.weight=0.25",
            "settings.optimizer.rate=1e-4",
            "average=null",
            "validation.sets.held.score={auto: 2}",
        ],
    )
    assert changed.steps == 7
    assert changed.data.cache == "device"
    assert changed.data.sources[0].weight == 0.25
    assert changed.settings == {"optimizer": {"rate": "1e-4"}}
    assert changed.average is None
    assert changed.validation is not None
    assert changed.validation.sets["held"].score == {"auto": 2.0}


@pytest.mark.parametrize(
    ("method", "config", "said"),
    [
        ("dimma", "{widths: [16, 32]}", r"blocks: expected 2 numbers, one a level, got \[1, 1, 2\]"),
        (
            "dimma",
            "{body: published, blocks: [2], attention_head: 100}",
            "attention_head: 100 does not divide",
        ),
        (
            "dimma",
            "{body: published, blocks: [2], norm_groups: 48}",
            "norm_groups: 48 does not divide the 64",
        ),
        ("llflow", "{stacked: [1, 4]}", r"stacked: expected blocks from 0 to 3, got \[1, 4\]"),
        ("llflow", "{stacked: [1, 1]}", r"stacked: expected each block once, got \[1, 1\]"),
    ],
)
def test_sizes_of_no_network_are_one_line(path: Path, method: str, config: str, said: str) -> None:
    stage = {"dimma": "paired", "llflow": "flow"}[method]
    with pytest.raises(RecipeError, match=rf"^\S+toy\.yaml: {said}[^\n]*$"):
        read_recipe(path, [f"method={method}", f"stage={stage}", f"config={config}"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stepz=3", r"toy\.yaml: unknown key stepz; known here: .*steps, batches"),
        ("steps=many", r"toy\.yaml: steps = 'many': .*integer"),
        ("steps=0", r"steps = '0': .*greater than or equal to 1"),
        ("precision=half", r"precision = 'half': .*'float32' or 'bf16'"),
        ("data.sources.0.wight=1", r"unknown key data\.sources\.0\.wight; known here: kind, dark, light"),
        ("data.sources.0.kind=video", r"data\.sources\.0 = .*'pairs', 'exposures', 'photos'"),
        ("data.jitter.sharp=1", r"unknown key data\.jitter\.sharp; known here: share, dark"),
        ("validation.sets.held.pairs.dork=1", r"unknown key validation\.sets\.held\.pairs\.dork; .*dark"),
        (
            "validation.sets.held.score={psnr: 1}",
            r"validation\.sets\.held\.score\.psnr.*'reference' or 'auto'",
        ),
        ("settings.nose=1", r"unknown key settings\.nose; known here: noise"),
        ("settings.optimizer.rate=-1", r"settings\.optimizer\.rate = '-1': .*greater than 0"),
        ("config.width=wide", r"config\.width = 'wide': .*integer"),
        ("method=oracle", r"toy\.yaml: method: 'oracle'; there are: dimma.*toy"),
        ("stage=last", r"stage: toy has no 'last'; it has: versus"),
        ("batches=[{until: 0.5, crop: 8, count: 2}]", r"batches: .*end at 1\.0, got \[0\.5\]"),
        ("batches=[{crop: 8}]", r"batches\.0\.count is missing"),
        ("steps", r"'steps': expected KEY=VALUE"),
        ("data.sources.3.weight=1", r"'data\.sources\.3\.weight=1': expected a number from 0 to 0 for '3'"),
        ("steps.more=1", r"steps is a single value and has no 'more'"),
        ("steps=[", r"'steps=\[': the value is no YAML"),
    ],
)
def test_a_wrong_key_or_value_is_named(path: Path, override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_recipe(path, [override])


@pytest.mark.parametrize(
    ("text", "said"),
    [("- 1\n", "expected keys and values, found list"), ("a: [", "expected YAML"), ("", "found NoneType")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=rf"r\.yaml: .*{said}"):
        read_recipe(path)
    with pytest.raises(RecipeError, match=r"none\.yaml: expected a recipe: No such file"):
        read_recipe(tmp_path / "none.yaml")


def test_phases_take_turns_at_their_shares(tmp_path: Path) -> None:
    checked = Recipe.model_validate(recipe(tmp_path, steps=10))
    assert [checked.phase(step).crop for step in range(10)] == [12] * 5 + [24] * 5


def test_schedules() -> None:
    cosine = Schedule(warmup=3, floor=0.1)
    assert [round(cosine.factor(step, 1000), 3) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert cosine.factor(500, 1000) == pytest.approx(0.55)
    assert cosine.factor(1000, 1000) == pytest.approx(0.1)
    halves = Schedule(shape="steps", milestones=(0.5, 0.75))
    assert [halves.factor(step, 100) for step in (0, 49, 50, 75, 99)] == [1, 1, 0.5, 0.25, 0.25]
    assert Schedule(shape="linear").factor(25, 100) == 0.75
    assert Schedule(shape="constant").factor(99, 100) == 1
