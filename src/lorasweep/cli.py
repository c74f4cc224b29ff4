"""The console script ``lorasweep``: find the command's module, run it, and turn what it raises into an exit code.

A command is imported when it is asked for, so that ``--help`` answers at once. A new one costs its module in
``lorasweep.commands`` and its line in ``COMMANDS``.
"""

import argparse
import atexit
import contextlib
import dataclasses
import gc
import importlib
import json
import keyword
import logging
import math
import os
import platform
import re
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from lorasweep import __version__
from lorasweep.errors import ExitCode, UserError, exit_code_of

COMMANDS: Mapping[str, str] = {
    "train": "train, score and pick: DIR preset=NAME [key=value …] [-m]",
    "sweep": "search for rate, steps and more: NAME DIR preset=NAME [trials=N] [study=NAME] [key=value …]",
    "caption": "write a caption beside each photo that has none: DIR trigger=WORD [with=blip|tagger] [key=value …]",
    "plan": "predict steps, memory, time and disk of a run, and train nothing: DIR preset=NAME [key=value …]",
    "check": "say what is wrong with a folder of photos, and change nothing: DIR [preset=NAME] [key=value …]",
    "import": "turn Kohya's settings into a preset: FILE [DIR] [--to FOLDER/preset/NAME.yaml]",
    "resume": "continue an interrupted run",
    "evaluate": "score a run again, or another trainer's files: FOLDER preset=NAME references=DIR [key=value …]",
    "pick": "name the best checkpoint of a run, and say why",
    "extend": "train more steps from a run's checkpoint: RUN steps=N",
    "export": "write a checkpoint in another program's layout: RUN format=kohya|diffusers",
    "refit": "train on all photos, held-out ones too, for the picked number of steps",
    "report": "write the page of a run: images by checkpoint, scores, the pick",
    "reproduce": "train a run again from its stored configuration, and compare the two",
    "ui": "open MLflow's pages on this store, on this machine only",
    "sync": "send MLflow what it has missed",
    "doctor": "say whether this machine is fit for training",
    "demo": "train, score and pick on drawn people, offline",
}
"""Names and what ``--help`` says of them."""

OF_HYDRA = ("train", "sweep")
"""Commands whose words Hydra reads: argparse would take ``-m`` and ``--cfg`` for its own."""

EXIT_CODES = """exit codes:
  0    fine
  1    failed: a run went wrong, or lorasweep itself, with a file to report
  2    wrong usage, configuration or photos; planned, but it cannot fit this machine
  3    trained or scored, but no checkpoint is usable; a pick was asked for where none is made, as for a style
  4    scored and picked, but some files of the folder were skipped, each with a line that says why
  75   try again: the disk is full or a server does not answer
  130  interrupted by Ctrl-C (143 by SIGTERM); 'lorasweep resume last' goes on"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error that the user can mend is one sentence on stderr.

    Any other exception is a fault of ours: the sentence says where its traceback lies and to report it. With
    LORASWEEP_TRACEBACK in the environment every error is raised as it came.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # It complains of a faster kernel for CPUs as soon as PEFT finds it, whether anything is packed or not.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # At its end Python looks for garbage among all that torch and diffusers ever made; of what is frozen it does not.
    atexit.register(gc.freeze)
    if os.environ.get("LORASWEEP_TRACEBACK"):
        return _dispatch(words)
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        return _complain("interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except UserError as error:
        return _complain(str(error), error.exit_code)
    except OSError as error:
        return _complain(_about_file(error), exit_code_of(error))
    except Exception as error:
        return _complain(_about_bug(error), ExitCode.FAILED)


def _dispatch(words: list[str]) -> ExitCode:
    if words[:1] in (["-sc"], ["--shell-completion"]):
        return _complete(words)
    name, *rest = words or [""]
    if name not in COMMANDS or (name in OF_HYDRA and not rest):
        _parser().parse_args(words)  # prints the help, the version or what is wrong, and exits
    command = module_of(name)
    return command.main(rest) if name in OF_HYDRA else _answer(name, command, rest)


def module_of(name: str) -> ModuleType:
    """Import a command's module, a ``commands.Command`` or ``commands.HydraCommand``."""
    return importlib.import_module(f"lorasweep.commands.{name}{'_' if keyword.iskeyword(name) else ''}")


def _answer(name: str, command: Any, words: Sequence[str]) -> ExitCode:
    """Parse a command's words and run it; with ``--json``, stdout carries the JSON and nothing else."""
    parser = argparse.ArgumentParser(prog=f"lorasweep {name}", description=_sentence(COMMANDS[name]))
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_arguments(parser)
    options = parser.parse_intermixed_args(words)  # overrides may stand between and behind options
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        result, code = command.main(options)
    if options.json:
        print(json.dumps(_plain(result), indent=2))
    return code


def _complete(words: list[str]) -> ExitCode:
    """Tab completion: command names first, Hydra's own answers after ``train DIR``."""
    from lorasweep.config.compose import hydra_entry

    line = os.environ.get("COMP_LINE", "")
    overrides = re.match(r"""(\S+)\s+train\s+(?:"[^"]*"|'[^']*'|(?:\\.|[^\s\\])+)\s(.*)""", line, re.DOTALL)
    if any(word.startswith("query") for word in words) and not overrides:
        print(" ".join(COMMANDS) if len(line.split()) < 2 or not line.endswith(" ") else "")
        return ExitCode.FINE
    if overrides:
        os.environ["COMP_LINE"] = f"{overrides[1]} {overrides[2]}"
    hydra_entry(_untouched)(words)
    return ExitCode.FINE


def _untouched(run: Any) -> Any:
    raise AssertionError("completion runs no job")


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command's name, which knows no command's arguments."""
    parser = argparse.ArgumentParser(
        prog="lorasweep",
        description="Teach an image model one person with a LoRA, score every checkpoint and pick the best one.",
        epilog=EXIT_CODES,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=16),
    )
    parser.add_argument("--version", action="version", version=f"lorasweep {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        command = commands.add_parser(name, help=line, usage=f"lorasweep {name} {line.partition(': ')[2]}")
        if name in OF_HYDRA:  # parsed only to say that they are missing
            command.add_argument("words", nargs="+", metavar=line.partition(": ")[2].split()[0])
    return parser


def _sentence(line: str) -> str:
    return f"{line[0].upper()}{line[1:].partition(':')[0]}."


def _plain(result: Any) -> Any:
    """Return the result as JSON types; NaN, which JSON has not, becomes null."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: _plain(getattr(result, field.name)) for field in dataclasses.fields(result)}
    if isinstance(result, Mapping):
        return {str(key): _plain(value) for key, value in result.items()}
    if isinstance(result, tuple | list):
        return [_plain(part) for part in result]
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return result if isinstance(result, str | int | float | bool | None) else str(result)


def _complain(sentence: str, code: ExitCode) -> ExitCode:
    for line in sentence.splitlines() or ["failed"]:
        print(f"lorasweep: {line}", file=sys.stderr)
    return code


def _about_file(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _about_bug(error: Exception) -> str:
    """Write the traceback into a file and return the sentence that names it."""
    from lorasweep.track.secrets import redact

    told = redact("".join(traceback.format_exception(error)))
    first = redact(str(error)).partition("\n")[0][:200]
    system = f"lorasweep {__version__}, Python {platform.python_version()}, {platform.platform()}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="lorasweep-traceback-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"{system}\n\n{told}")
        where = file.name
    except OSError:  # as on a full disk
        print(told, file=sys.stderr)
        where = "the lines above"
    return (
        f"this is a fault of lorasweep ({type(error).__name__}: {first}); "
        f"please report it on the project's issue page with {where}"
    )
