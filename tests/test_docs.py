"""What the documents say is what happens: commands, Python, recipes, tables of keys, links."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image
from pydantic import BaseModel

import released
from lowlight import cli, enhancer, methods
from lowlight.methods.dimma import Config
from lowlight.photo import Photo, write_photo
from lowlight.training.recipe import Recipe, read_recipe, stage_settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
METHOD_PAGE = ROOT / "docs" / "adding-a-method.md"
TRAINING_PAGE = ROOT / "docs" / "training.md"
ADAPTING_PAGE = ROOT / "docs" / "adapt.md"
SHIPPED = ("dimma",)
"""Models that commands of documents may name and that a fresh clone has."""

NEED_TRAINING = ("lowlight adapt ", "lowlight average ", "lowlight export ")
"""Commands that are only parsed: they need weights that training leaves, or hours."""

load = lru_cache(enhancer.load)


def of_page(path: Path) -> str:
    return path.stem


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def lines(block: str) -> list[str]:
    """The commands of a shell block that call lowlight, without comments and `uv run`."""
    plain = re.sub(r"(^|\s)#.*", "", block.replace("\\\n", " "))
    plain = re.sub(r"\buv run (--(extra|group) \S+ )*lowlight\b", "lowlight", plain)
    found = (part.strip() for line in plain.splitlines() for part in re.split("&&|;", line))
    return [line for line in found if re.search(r"(^|\| )lowlight ", line)]


def commands(page: Path) -> list[str]:
    return [line for block in blocks(page, "sh") for line in lines(block)]


def files(page: Path) -> dict[str, str]:
    """Blocks that begin with a file's name in a comment."""
    found = (
        (re.match(r"# (\S+\.\w+)\n", block), block)
        for language in ("python", "toml", "yaml")
        for block in blocks(page, language)
    )
    return {name[1]: block for name, block in found if name}


def save(name: str, values: np.ndarray) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(name, compress_level=1)  # of PNG


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files of the names that the documents use; each test has a copy."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_files()
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small files of the names that the documents use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWLIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path


def write_files() -> None:
    rng = np.random.default_rng(0)
    names = ["dark.jpg", "night.jpg", "photos/first.jpg", "photos/deeper/second.png", "holiday/a.jpg"]
    examples = [path.name for path in (ROOT / "examples").glob("*.[jp]*g") if ".enhanced." not in path.name]
    for name in [*names, *(f"examples/{name}" for name in examples)]:
        save(name, rng.integers(0, 60, (16, 24, 3), np.uint8))
    for exposure in (1, 2, 4):
        save(f"exposures/scene/{exposure}.png", np.full((16, 24, 3), 50 * exposure, np.uint8))
    write_photo(Photo(rng.integers(0, 9000, (16, 24, 3), np.uint16)), Path("deep.tif"))
    for index in range(6):
        light = np.asarray(Image.fromarray(rng.integers(60, 256, (4, 5, 3), np.uint8)).resize((40, 32)))
        save(f"pairs/light/{index}.png", light)
        save(f"pairs/dark/{index}.png", (light * 0.2).astype(np.uint8))
        save(f"finished/{index}.png", (light * 0.8).astype(np.uint8))
    for index in range(1, 11):
        save(f"LIME/{index}.bmp", rng.integers(0, 60, (16, 24, 3), np.uint8))
    Path("pairs/train.txt").write_text("0\n1\n2\n3\n")
    Path("pairs/val.txt").write_text("4\n5\n")
    # A small network as its authors would publish it.
    torch.save(released.state(Config(body="published", widths=(64, 64), blocks=(1,))), "released.ckpt")
    released.write_dimmer(Path("released-dimmer"))
    Path("recipes").symlink_to(ROOT / "recipes")
    for block in blocks(TRAINING_PAGE, "yaml"):
        Path(f"{yaml.safe_load(block)['name']}.yaml").write_text(block)


@pytest.fixture
def plugin(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The method of adding-a-method.md, installed for this process and those that it starts."""
    written = files(METHOD_PAGE)
    assert [name for name in written if name.endswith(".py")] == [
        f"lowlight_curve/{room}.py" for room in ("__init__", "network", "training")
    ]
    folder = place / "plugin"
    for name, text in written.items():
        path = (place if name.endswith(".yaml") else folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    project = tomllib.loads(written["pyproject.toml"])["project"]
    metadata = folder / f"lowlight_curve-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = project["entry-points"]["lowlight.methods"]
    (metadata / "entry_points.txt").write_text(
        "[lowlight.methods]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return folder


# Commands


def split(line: str) -> tuple[list[str], dict[str, str]]:
    """The words of a call of lowlight, and the files that its standard streams are redirected to."""
    words = shlex.split(line)
    words, streams = words[words.index("lowlight") :], {}
    for sign, stream in (("<", "stdin"), (">", "stdout")):
        if sign in words:
            at = words.index(sign)
            streams[stream] = words[at + 1]
            del words[at : at + 2]
    return words, streams


def call(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a line in this process; gives the exit status."""
    words, streams = split(line)
    with monkeypatch.context() as patch, ExitStack() as opened:
        patch.setattr(enhancer, "load", lambda model, **options: load(model, **{**options, "threads": 1}))
        for stream, file in streams.items():
            mode = "r" if stream == "stdin" else "w"
            patch.setattr(sys, stream, opened.enter_context(Path(file).open(mode)))
        patch.setattr(sys, "argv", words)
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def parse(line: str) -> dict[str, Any]:
    """The values that a line's command would be called with; an option that does not exist raises."""
    _, name, *arguments = split(line)[0]
    group: Any = typer.main.get_command(cli.app)
    command = group.get_command(None, name)
    assert command is not None, line
    found: dict[str, Any] = command.make_context(name, arguments).params
    return found


def has_its_model(line: str) -> bool:
    found = re.search(r"\bmodel[ =](\S+)", line)
    return found is None or found[1] in SHIPPED


IN_SHELL = [
    page for page in PAGES if commands(page) and page not in (METHOD_PAGE, TRAINING_PAGE, ADAPTING_PAGE)
]
"""Pages whose commands also run in a shell, in the slow set."""


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=of_page)
def test_commands_work(
    page: Path,
    place: Path,
    plugin: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for line in commands(page):
        for file in map(Path, re.findall(r"runs/\S+\.safetensors", line)):  # what training would have left
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        values = parse(line)
        if line.startswith("lowlight train "):
            read_recipe(values["recipe"], values["overrides"] or [])
        elif "|" in line:
            assert page in IN_SHELL, "a pipe, which nothing would run"
        elif not line.startswith(NEED_TRAINING) and has_its_model(line):
            status = call(line, monkeypatch)
            assert status == 0, f"{line}: {capfd.readouterr().err}"


def test_examples_of_help_are_calls_of_the_command(place: Path) -> None:
    assert cli.EXAMPLES.keys() == cli.COMMANDS.keys()
    for name, examples in cli.EXAMPLES.items():
        assert 2 <= len(examples) <= 3
        for line in examples:
            assert line.split()[:2] == ["lowlight", name]
            parse(line)


@pytest.mark.slow
def test_examples_of_help_work(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [
        "enhance",
        "import",
        "dim",
        "methods",
        "models",
        "info",
        "evaluate",
        "compare",
        "data",
        "study",
    ]:
        for line in cli.EXAMPLES[name]:
            assert call(line, monkeypatch) == 0, f"{line}: {capfd.readouterr().err}"


def test_there_are_commands_to_run() -> None:
    """A change of the pages' form must not leave the tests above with nothing to do."""
    assert len(commands(ROOT / "docs" / "getting-started.md")) > 10
    assert {split(line)[0][1] for page in PAGES for line in commands(page)} == set(cli.COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("page", IN_SHELL, ids=of_page)
def test_commands_work_in_a_shell(page: Path, place: Path) -> None:
    for line in commands(page):
        if has_its_model(line) and not line.startswith((*NEED_TRAINING, "lowlight train ")):
            in_shell(line, place)


def in_shell(line: str, place: Path) -> None:
    binary = place / "bin" / "lowlight"
    binary.parent.mkdir(exist_ok=True)
    binary.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lowlight "$@"\n')
    binary.chmod(0o755)
    path = os.pathsep.join([str(binary.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-c", line], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "recipe", "config"),
    [
        (TRAINING_PAGE, "mine.yaml", {"widths": [8, 16], "blocks": [1, 1], "unshuffle": 2}),
        (METHOD_PAGE, "curve.yaml", {"width": 4}),
    ],
    ids=("training", "adding-a-method"),
)
def test_commands_train_export_and_enhance(
    page: Path, recipe: str, config: dict[str, Any], plugin: Path, place: Path
) -> None:
    values = yaml.safe_load(Path(recipe).read_text())
    small = {"steps": 4, "batches": [{"crop": 24, "count": 2}], "config": config, "device": "cpu"}
    Path(recipe).write_text(yaml.safe_dump({**values, **small}))
    [block] = [block for block in blocks(page, "sh") if f"lowlight train {recipe}" in block]
    for line in lines(block):
        in_shell(line, place)
    name = Path(recipe).stem
    assert load(place / "models" / f"{name}.onnx").method.name == values["method"]
    assert Path("by-mine.jpg" if name == "mine" else "curve.jpg").is_file()


# Python


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=of_page)
def test_python_runs(page: Path, place: Path) -> None:
    for block in blocks(page, "python"):
        if block not in files(page).values():
            given = {"__name__": "document", "dark_array": np.full((16, 24, 3), 20, np.uint8)}
            exec(compile(block, str(page), "exec"), given)  # noqa: S102


def test_the_worked_method_is_a_method(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call("lowlight methods curve", monkeypatch) == 0
    assert "contrast   0 to 1" in capfd.readouterr().out
    stage, config, _ = stage_settings(read_recipe(Path("curve.yaml"), ["config.width=3"]), "curve.yaml")
    assert stage.__name__ == "Paired"
    assert config.model_dump() == {"width": 3, "rounds": 4}


@pytest.mark.slow
def test_the_worked_method_keeps_the_contract(plugin: Path) -> None:
    contract = [str(ROOT / "tests" / "test_contract.py"), "-k", "curve", "-m", "slow or not slow"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *contract],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 40  # type: ignore[index]


# Tables


def tables(page: Path) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """Tables below `<!-- keys: MODULE:MODEL -->`: rows by the key in the first column, cells by their header."""
    pattern = r"^<!-- keys: (\S+) -->\n((?:\|.*\n)+)"
    for name, table in re.findall(pattern, page.read_text("utf-8"), re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
        yield name, {row[0].strip("`"): dict(zip(header, row, strict=True)) for row in rows}


DOCUMENTED = [(name, rows) for page in PAGES for name, rows in tables(page)]


def find_model(name: str) -> type[BaseModel]:
    module, path = name.split(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return typing.cast(type[BaseModel], found)


@pytest.mark.parametrize(("name", "rows"), DOCUMENTED, ids=[name for name, _ in DOCUMENTED])
def test_keys_and_defaults_are_the_code_s(name: str, rows: dict[str, dict[str, str]]) -> None:
    fields = find_model(name).model_fields
    assert list(rows) == list(fields)
    for key, field in fields.items():
        said = rows[key]["default"]
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            assert said == "required", key
        elif said == "see below":
            assert isinstance(default, BaseModel), key
        else:
            plain = find_model(name).model_construct(**{key: default}).model_dump(mode="json", warnings=False)
            assert yaml.safe_load(said.strip("`")) == plain[key], key


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a user writes to fill an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def test_every_key_that_a_recipe_may_hold_is_documented() -> None:
    wanted = set(models_in(Recipe))
    for name in methods.names():
        method = methods.find(name)
        if method.__module__.startswith("lowlight."):
            wanted |= {method.Config, method.Controls}
            for stage in methods.room(name, "training").stages.values():
                wanted |= set(models_in(stage.Settings))
    documented = {find_model(name) for name, _ in DOCUMENTED}
    assert {model.__qualname__ for model in wanted - documented} == set()


def test_json_has_the_keys_of_its_table(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("photos/broken.jpg").write_bytes(b"no photo")
    assert call("lowlight enhance photos --json", monkeypatch) == 1
    found: set[str] = set()
    for line in capfd.readouterr().out.splitlines():
        found |= json.loads(line).keys()
    page = (ROOT / "docs" / "getting-started.md").read_text("utf-8")
    rows = page.partition("### JSON")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", rows, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == found


def test_options_exist() -> None:
    group: Any = typer.main.get_command(cli.app)
    known = {"--extra", "--group", "--help", "--version"}  # the first two are uv's
    for name in cli.COMMANDS:
        for option in group.get_command(None, name).params:
            known |= set(option.opts)
    for page in (ROOT / "docs").glob("*.md"):
        # Inline code alone: blocks are run or parsed.
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for code in re.findall(r"`([^`\n]+)`", text):
            assert set(re.findall(r"(?<!\S)--[a-z-]+", code)) <= known, f"{page.name}: {code}"


# Recipes and links


@pytest.mark.parametrize("path", RECIPES, ids=of_page)
def test_recipes_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.licence != Recipe.model_fields["licence"].default, "say under which licence the weights are"
    assert recipe.sources, "say what the data are"
    assert recipe.validation is not None


def test_the_layout_of_the_data_is_that_of_the_recipe() -> None:
    page = TRAINING_PAGE.read_text("utf-8")
    tree = page.partition("```\nDATA\n")[2].partition("```")[0]
    names = {part for path in re.findall(r"── (\S+)", tree) for part in path.split("/")}
    data = yaml.safe_load((ROOT / "recipes" / "dimma.yaml").read_text())
    sets = [each["pairs"] for each in data["validation"]["sets"].values()]
    for source in [*data["data"]["sources"], *sets]:
        for key in ("dark", "light", "names", "histograms", "folder"):
            if key in source:
                assert names >= set(source[key].split("/")), source[key]


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href|srcset)="([^"]+)"', text)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"
