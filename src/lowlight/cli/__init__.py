"""The command ``lowlight``: one thin module a command, imported when that command runs.

Results go to standard output, everything else to standard error. Exit status: 0 all done, 1 something
failed, 2 wrong use, 130 (Ctrl-C) or 143 (SIGTERM) interrupted.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from lowlight.errors import ControlError, LowlightError, RecipeError, UseError, reason, shown

# A command NAME is the function NAME of the module ``lowlight.cli.NAME``, or ``NAME_`` for a word of Python's. The
# help stands here, so that `lowlight --help` imports none of them; it is the first line of the function's own.
COMMANDS = {
    "enhance": "Make dark photos light: files, folders, globs, or - for standard input.",
    "adapt": "Make a model for your camera from 3 to 8 pairs of photos. Needs lowlight[train].",
    "dim": "Make dark twins of photos, as a camera would have taken them in the dark.",
    "likelihood": "Tell how likely photos are, given the dark one; less is more likely. Needs lowlight[train].",
    "methods": "List the methods and what can be turned in each.",
    "models": "List the weights at hand: shipped, in ./models, and cached.",
    "info": "Tell what photos and weights files are.",
    "evaluate": "Measure a model or a folder of pictures: metrics by exact variant, under named protocols.",
    "compare": "Compare results on the same photos, with paired bootstrap intervals.",
    "data": "List benchmark sets, or check a folder that holds one.",
    "train": "Train one stage of a method, as its recipe says. Needs lowlight[train].",
    "average": "Average networks trained from one start, which often beats each. Needs lowlight[train].",
    "export": "Turn trained weights into the ONNX file that users run. Needs lowlight[train].",
    "import": "Turn the authors' checkpoint into a weights file, without executing it. Needs lowlight[train].",
    "study": "Run one of the papers' experiments, or list them. Some need lowlight[train].",
}

EXAMPLES = {
    "enhance": (
        "lowlight enhance dark.jpg",
        "lowlight enhance dark.jpg --lightness 0.4 -o light.png",
        "lowlight enhance photos -o light",
    ),
    "adapt": (
        "lowlight adapt --pairs pairs -o models/mine.onnx",
        "lowlight adapt --pairs pairs --photos holiday --minutes 60 -o models/mine.onnx",
    ),
    "dim": (
        "lowlight dim photos -o dark",
        "lowlight dim dark.jpg --model camera --factor 0.5 -o darker.jpg",
    ),
    "likelihood": (
        "lowlight likelihood dark.jpg result.jpg",
        "lowlight likelihood dark.jpg result.jpg other.jpg --map maps",
    ),
    "methods": ("lowlight methods", "lowlight methods dimma"),
    "models": ("lowlight models", "lowlight models --json"),
    "info": ("lowlight info dark.jpg", "lowlight info dimma"),
    "evaluate": (
        "lowlight evaluate dimma --low pairs/dark --reference pairs/light -o report",
        "lowlight evaluate finished --reference pairs/light -o other",
        "lowlight evaluate dimma --set lime LIME",
    ),
    "compare": ("lowlight compare report other", "lowlight compare report other -o comparison"),
    "data": ("lowlight data list", "lowlight data list lol-v1", "lowlight data check lime LIME"),
    "train": (
        "lowlight train recipes/dimma.yaml data.root=DATA",
        "lowlight train recipes/dimma.yaml data.root=DATA --resume",
        "lowlight train recipes/dimma.yaml data.root=DATA steps=100 -o runs/trial",
    ),
    "average": (
        "lowlight average runs/a/best.safetensors runs/b/best.safetensors -o runs/mean.safetensors",
        "lowlight average runs/*/best.safetensors -o runs/mean.safetensors --name mean",
    ),
    "export": (
        "lowlight export runs/dimma/best.safetensors -o models/mine.onnx",
        "lowlight export runs/dimma/best.safetensors -o models/half.onnx --precision float16",
    ),
    "import": (
        "lowlight import released.ckpt -o models/released.safetensors",
        "lowlight import released-dimmer -o models/camera.safetensors",
    ),
    "study": (
        "lowlight study",
        "lowlight study lightness photos=exposures",
        "lowlight study lightness photos=exposures scenes=2 -o study",
    ),
}
"""Calls of each command, with which its help ends."""

# Plain help and errors: rich would take a tenth of a second to print them.
_PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": lambda name: "output" if name == "out" else name,  # --out is understood too
    },
}


class _Command(TyperCommand):
    """A command whose help ends with examples; arguments are shown as their metavar says, without types.

    Its module may add sections to the help by ``help_of``, which is given the words after the command's name.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["words"] = list(args)  # help is printed before they are looked at
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [each for each in self.params if each.param_type_name == "argument"]
        return ["[OPTIONS]", *map(_placeholder, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        each: Any
        for each in self.get_params(ctx):
            if (record := each.get_help_record(ctx)) is None:
                continue
            if each.param_type_name == "argument":
                rows["Arguments"].append((_placeholder(each), each.help))
            else:
                rows["Options"].append(record)
        more = getattr(sys.modules[getattr(self.callback, "__module__", "")], "help_of", None)
        if more is not None:
            rows = {"Arguments": rows["Arguments"], **more(ctx.meta["words"]), "Options": rows["Options"]}
        for title, found in rows.items():
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Examples"):
            for line in EXAMPLES[str(self.name)]:
                formatter.write(f"  {line}\n")


def _placeholder(argument: Any) -> str:
    """An argument in help: ``NAME``, ``[NAME]`` where it may be left out, ``NAME...`` where it takes several."""
    name: str = argument.metavar or argument.name.upper()
    if argument.nargs != 1 and not name.endswith("..."):
        name += "..."
    return name if argument.required or name.startswith("[") else f"[{name}]"


@cache
def _command(name: str) -> Any:
    single = typer.Typer(**_PLAIN)
    function = name + "_" * iskeyword(name)
    single.command(name, cls=_Command)(getattr(import_module(f"lowlight.cli.{function}"), function))
    return typer.main.get_command(single)


class _Commands(TyperGroup):
    """The commands by name; only the one that runs is imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS:
            ctx.fail(f"No such command {shown(args[0])!r}.{_meant(args[0])}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _meant(word: str) -> str:
    """A question that tells what a word which is no command was probably meant for."""
    if os.path.exists(word):  # noqa: PTH110 - false, and no error, for what can be no name
        meant = f"lowlight enhance {shlex.quote(word)}"
    elif near := get_close_matches(word, COMMANDS, 1):
        meant = f"lowlight {near[0]}"
    else:
        return ""
    return f" Did you mean `{shown(meant)}`?"


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    epilog="Begin with `lowlight enhance PHOTO`. `lowlight COMMAND --help` has options and examples.",
    **_PLAIN,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from lowlight import __version__

        print(f"lowlight {__version__}")
        raise typer.Exit


@app.callback()
def _lowlight(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Dark photos in, good photos out."""


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    _hold_standard_streams()
    try:
        try:
            app(prog_name="lowlight")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has left; what Python flushes at its end must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        name = "" if error.filename is None else f"{shown(error.filename)}: "
        _fail(f"{name}{reason(error)}", 1)
    except LowlightError as error:
        _fail(shown(str(error)), 2 if isinstance(error, ControlError | RecipeError | UseError) else 1)


def _fail(text: str, status: int) -> NoReturn:
    print(f"lowlight: {text}", file=sys.stderr)
    sys.exit(status)


def _hold_standard_streams() -> None:
    """Open what the caller closed: else a photo could become descriptor 1 or 2, and messages land in it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks must not end a batch.
        sys.stdout.reconfigure(errors="backslashreplace")
