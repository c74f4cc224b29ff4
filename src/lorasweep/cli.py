"""The console script ``lorasweep``: words in, one function of ``lorasweep.commands`` called, an exit code out.

Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

import argparse
import contextlib
import dataclasses
import errno
import json
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorasweep import __version__
from lorasweep.errors import RunFailedError, TryAgainError, UserError

FINE, FAILED, USAGE, NO_CHECKPOINT, SKIPPED, TRY_AGAIN, INTERRUPTED = 0, 1, 2, 3, 4, 75, 130

EXIT_CODES = """exit codes:
  0    fine
  1    failed: a run went wrong
  2    wrong usage, configuration or photos; planned, but it cannot fit this machine
  3    trained or scored, but no checkpoint is usable; a pick was asked for where none is made, as for a style
  4    scored and picked, but some files of the folder were skipped, each with a line that says why
  75   try again: the disk is full or a server does not answer
  130  interrupted by Ctrl-C (143 by SIGTERM); 'lorasweep resume last' goes on"""

RETRYABLE = (errno.ENOSPC, errno.EDQUOT, errno.ECONNREFUSED, errno.ETIMEDOUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; errors are one sentence on stderr.

    With LORASWEEP_TRACEBACK in the environment they are raised as they came.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # It complains of a faster kernel for CPUs as soon as PEFT finds it, whether anything is packed or not.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if os.environ.get("LORASWEEP_TRACEBACK"):
        return _dispatch(words)
    try:
        return _dispatch(words)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _complain(_about_file(error), _code_of_error(error))
    except ValueError as error:
        return _complain(str(error), _code_of_error(error))


def _dispatch(words: list[str]) -> int:
    if words[:1] in (["-sc"], ["--shell-completion"]):
        return _complete(words)
    if words[:1] == ["train"] and words != ["train"]:
        return _train(words[1:])
    if words[:1] == ["sweep"] and len(words) > 2 and not {"-h", "--help"} & set(words[1:3]):
        return _train([words[2], *_sweep_words(words[1], words[3:])])
    parser = _parser()
    chosen, rest = parser.parse_known_args(words)
    if rest and (chosen.command not in TAKES_WORDS or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    chosen.overrides = rest
    from lorasweep import commands as app

    call: Callable[[Any, argparse.Namespace], Any] = chosen.call
    # With --json, stdout carries the JSON and nothing else.
    with contextlib.redirect_stdout(sys.stderr) if chosen.json else contextlib.nullcontext():
        result = call(app, chosen)
    if chosen.json:
        print(json.dumps(_plain(result), indent=2))
    else:
        _show(result)
    return _code_of(result)


def _train(words: list[str]) -> int:
    """``train DIR …``: the folder first, so that it never meets Hydra's grammar; the rest is Hydra's."""
    from lorasweep.config.compose import hydra_entry, is_multirun
    from lorasweep.config.subject import told_by

    if not words[0].startswith("-"):
        folder = Path(words[0]).expanduser()
        if not folder.is_dir():
            raise UserError(f"the folder of photos {words[0]!r} does not exist; name it right after 'train'")
        from lorasweep.commands.overrides import folder_words

        words = [*folder_words(folder, words[1:]), *words[1:]]

    judged: list[bool] = []
    parents: list[Any] = []

    def task(run: Any) -> float:
        from lorasweep import commands as app

        judged.append(run.evaluate.enabled and told_by(run) != "none")
        if is_multirun() and not parents:
            parents.append(closing.enter_context(app.Multirun(run)))
        return app.train(run, *parents)

    with contextlib.ExitStack() as closing:
        score = hydra_entry(task)(words)
    return _code_of(score) if all(judged) else FINE


def _sweep_words(search: str, words: Sequence[str]) -> list[str]:
    """``sweep NAME DIR …`` as the multirun that it is short for."""
    from lorasweep.config.compose import as_override

    told = [f"hydra.sweeper.{word}" if word.partition("=")[0] in OF_A_SEARCH else word for word in words]
    launcher = [] if any(word.startswith("hydra/launcher=") for word in words) else ["hydra/launcher=cohort"]
    return ["-m", "hydra/sweeper=lorasweep", *launcher, as_override("hydra.sweeper.search", search), *told]


def _complete(words: list[str]) -> int:
    """Tab completion: command names first, Hydra's own answers after ``train DIR``."""
    from lorasweep.config.compose import hydra_entry

    line = os.environ.get("COMP_LINE", "")
    overrides = re.match(r"""(\S+)\s+train\s+(?:"[^"]*"|'[^']*'|(?:\\.|[^\s\\])+)\s(.*)""", line, re.DOTALL)
    if any(word.startswith("query") for word in words) and not overrides:
        print(" ".join(["train", "sweep", *COMMANDS]) if len(line.split()) < 2 or not line.endswith(" ") else "")
        return FINE
    if overrides:
        os.environ["COMP_LINE"] = f"{overrides[1]} {overrides[2]}"
    hydra_entry(lambda _: math.nan)(words)
    return FINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lorasweep",
        description="Teach an image model one person with a LoRA, score every checkpoint and pick the best one.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lorasweep {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    train = commands.add_parser("train", help="train on the photos in DIR: DIR preset=NAME [key=value …] [-m]")
    train.add_argument("folder", metavar="DIR")
    sweep = commands.add_parser(
        "sweep",
        help="search for rate, steps and more: NAME DIR preset=NAME [trials=N] [study=NAME] [key=value …]",
        description="Search: NAME is lr, lr_steps, lr_rank, lr_te_lr, flux_shift or a YAML file of your own; the rest "
        "is as for train. The same command goes on after a crash. Of the search itself: trials=N, study=NAME, "
        "sampler=tpe|gp|random|grid|qmc, prune=false, stop_past_peak=false, width=N|auto, and for several workers "
        "(docs/cluster.md) storage=URL, workers=N, heartbeat=SECONDS. A key with "
        "several values joins the space: optim.lr=tag(log,interval(1e-5,1e-3)), lora.rank=4,16.",
    )
    sweep.add_argument("search", metavar="NAME")
    sweep.add_argument("folder", metavar="DIR")
    for name, (line, call) in COMMANDS.items():
        command = commands.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}.")
        command.set_defaults(call=call)
        _add_options(command, name)
    return parser


def _add_options(command: argparse.ArgumentParser, name: str) -> None:
    if name in OF_A_RUN:
        command.add_argument("run", metavar="RUN", help=WHICH_RUN)
    if name not in WITHOUT_RUNS:
        command.add_argument("--root", type=Path, default=Path("mlruns"), help="where runs are kept (default: mlruns)")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    for flag, how in OPTIONS.get(name, {}).items():
        command.add_argument(flag, **how)


OF_A_SEARCH = ("study", "storage", "trials", "sampler", "prune", "stop_past_peak", "width", "workers", "heartbeat")
"""Short keys of ``sweep``; they are those of ``hydra.sweeper``."""
OF_A_RUN = ("resume", "evaluate", "export", "extend", "pick", "refit", "report", "reproduce")
TAKES_WORDS = ("caption", "check", "evaluate", "plan")
"""Commands after whose target any number of ``key=value`` may stand."""
WITHOUT_RUNS = ("caption", "check", "import", "plan")
"""Commands without ``--root``: three make no run, in plan it is an override as in training, ``track.root``."""
OPTIONS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "caption": {
        "folder": {
            "metavar": "DIR",
            "help": "the folder of photos; then trigger=WORD with=blip|tagger model=DIR_OR_HUB_ID revision=COMMIT "
            "offline=true prefix=WORDS ending=.txt|.caption overwrite=true device=auto batch_size=8, and for taggers "
            "threshold=0.35 character_threshold=0.85 escape=true",
        },
    },
    "evaluate": {
        "--config-dir": {"action": "append", "default": [], "metavar": "DIR", "help": "a folder of own presets"},
    },
    "plan": {
        "folder": {"metavar": "DIR", "help": "the folder of photos; what follows are overrides, as for train"},
        "--config-dir": {"action": "append", "default": [], "metavar": "DIR", "help": "a folder of own presets"},
    },
    "check": {
        "folder": {"metavar": "DIR", "help": "the folder of photos; what follows are overrides, as for train"},
        "--config-dir": {"action": "append", "default": [], "metavar": "DIR", "help": "a folder of own presets"},
        "--sheet": {"type": Path, "metavar": "FILE", "help": "draw all pictures, with what was found, into this PNG"},
        "--fix": {"type": Path, "metavar": "DIR", "help": "write a mended copy into this new folder"},
    },
    "import": {
        "file": {"metavar": "FILE", "help": "JSON of Kohya's GUI, TOML of sd-scripts, or a file with its command line"},
        "folder": {"nargs": "?", "metavar": "DIR", "help": "the photos (default: where the settings say)"},
        "--to": {"metavar": "FILE", "help": "write FOLDER/preset/NAME.yaml (default: presets/preset/OUTPUT_NAME.yaml)"},
        "--like": {"metavar": "PRESET", "help": "build on this preset (default: the one for persons on that base)"},
        "--steps": {"type": int, "metavar": "N", "help": "train so many steps, in place of counting epochs"},
        "--overwrite": {"action": "store_true", "help": "replace a preset that is already there"},
    },
    "pick": {
        "--to": {"type": Path, "metavar": "DIR", "help": "copy the picked file into this folder"},
        "--step": {"type": int, "metavar": "N", "help": "take this checkpoint by hand (default: what the scores say)"},
        "--why": {
            "nargs": "?",
            "type": lambda word: int(word) if word.isdecimal() else word,
            "const": "neighbours",
            "metavar": "STEP",
            "help": "say what each component did, and in which pictures: of this checkpoint against the pick "
            "(default: of the pick against the base model and its neighbours)",
        },
    },
    "reproduce": {"--verify": {"action": "store_true", "help": "compare hashes and metrics with the original"}},
    "export": {
        "format": {
            "nargs": "?",
            "default": "kohya",
            "type": lambda word: word.removeprefix("format="),
            "metavar": "format=kohya|diffusers",
            "help": "the layout (default: kohya)",
        },
        "--to": {"type": Path, "metavar": "DIR", "help": "write into this folder (default: the run's own)"},
        "--step": {"type": int, "metavar": "N", "help": "this checkpoint (default: the picked one)"},
        "--audit": {"action": "store_true", "help": "print what the file's header tells a stranger"},
    },
    "extend": {
        "steps": {"metavar": "steps=N", "help": "how many more optimiser steps"},
        "--step": {"type": int, "metavar": "N", "help": "start from this checkpoint (default: the last)"},
    },
    "ui": {"--port": {"type": int, "default": 5000, "help": "port on this machine (default: 5000)"}},
    "demo": {"--fast": {"action": "store_true", "help": "one short run only"}},
}
WHICH_RUN = "a run's name or folder, a folder of another trainer's files, or 'last' for the newest run"

COMMANDS: Mapping[str, tuple[str, Callable[[Any, argparse.Namespace], Any]]] = {
    "caption": (
        "write captions beside the photos that have none: DIR trigger=WORD [with=blip|tagger] [key=value …]",
        lambda app, of: app.caption(of.folder, of.overrides),
    ),
    "plan": (
        "say what a run would take, without training: DIR preset=NAME [key=value …]; 2 where it cannot fit",
        lambda app, of: app.plan(of.folder, of.overrides, config_dirs=of.config_dir),
    ),
    "check": (
        "say what is wrong with a folder of photos, and change nothing: DIR [preset=NAME] [key=value …]; 2 on errors",
        lambda app, of: app.check(of.folder, of.overrides, config_dirs=of.config_dir, sheet=of.sheet, fix=of.fix),
    ),
    "import": (
        "turn Kohya's settings into a preset, and say what became of each: FILE [DIR] [--to FOLDER/preset/NAME.yaml]",
        lambda app, of: app.import_settings(
            of.file, of.folder, to=of.to, like=of.like, steps=of.steps, overwrite=of.overwrite
        ),
    ),
    "resume": ("go on with a run that was interrupted", lambda app, of: app.resume(of.root, of.run)),
    "evaluate": (
        "score a run again, or a folder of another trainer's files: FOLDER preset=NAME references=DIR [key=value …]",
        lambda app, of: app.evaluate(of.root, of.run, of.overrides, config_dirs=of.config_dir),
    ),
    "pick": (
        "name the best checkpoint of a run, and why",
        lambda app, of: app.pick(of.root, of.run, of.to, step=of.step, why=of.why),
    ),
    "extend": (
        "train more steps from a run's checkpoint",
        lambda app, of: app.extend(of.root, of.run, _steps(of.steps), of.step),
    ),
    "export": (
        "write a checkpoint in another program's layout",
        lambda app, of: app.export(of.root, of.run, of.format, to=of.to, step=of.step, audit=of.audit),
    ),
    "refit": ("train on all photos for the picked number of steps", lambda app, of: app.refit(of.root, of.run)),
    "report": ("write the run's page of pictures and scores", lambda app, of: app.report(of.root, of.run)),
    "reproduce": ("run again from what was logged", lambda app, of: app.reproduce(of.root, of.run, of.verify)),
    "ui": ("open MLflow on this store, on this machine only", lambda app, of: app.ui(of.root, of.port)),
    "sync": ("deliver to MLflow what it missed", lambda app, of: app.sync(of.root)),
    "doctor": ("say whether this machine is fit for training", lambda app, of: app.doctor(of.root)),
    "demo": ("train, score and pick on drawn people, offline", lambda app, of: app.demo(of.root, fast=of.fast)),
}


def _steps(word: str) -> int:
    """``steps=400`` or ``400`` as a number."""
    number = word.removeprefix("optim.").removeprefix("steps=")
    if not number.isdigit() or int(number) < 1:
        raise UserError(f"extend was told {word!r}; say how many steps to go on for, as in steps=400")
    return int(number)


def _show(result: Any) -> None:
    """Print what the command did not say itself: a path, findings, counts."""
    if isinstance(result, Path | str):
        print(result)
    elif isinstance(result, Mapping):
        for key, value in result.items():
            print(f"{key}: {value}")
    elif isinstance(result, tuple | list) and all(hasattr(line, "says") for line in result):
        for line in result:
            print(f"{'fine' if line.fine else 'NOT FINE':<9} {line.what:<10} {line.says}")


def _code_of(result: Any) -> int:
    """The exit code that a result stands for: a score, an outcome, a pick, findings, or a code itself."""
    if isinstance(result, tuple | list):
        return max((_code_of(part) for part in result), default=FINE)
    if isinstance(result, float):
        return NO_CHECKPOINT if math.isnan(result) else FINE
    if isinstance(result, int):
        return int(result)
    if getattr(result, "error", None) is not None or getattr(result, "fine", True) is False:
        return FAILED
    if getattr(result, "fits", True) is False:
        return USAGE
    pick = getattr(result, "pick", result)
    if hasattr(pick, "runner_up") and pick.step is None and not _was_not_promised(result):
        return NO_CHECKPOINT
    return SKIPPED if getattr(result, "skipped", ()) else FINE


def _was_not_promised(result: Any) -> bool:
    """Whether a run that ended well makes no pick, as that of a style; ``pick`` promises one."""
    from lorasweep.evaluate.verdict import WITHHELD

    return hasattr(result, "status") and result.pick.run_verdict == WITHHELD


def _plain(result: Any) -> Any:
    """The result as JSON types; NaN, which JSON has not, becomes null."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: _plain(getattr(result, field.name)) for field in dataclasses.fields(result)}
    if isinstance(result, Mapping):
        return {str(key): _plain(value) for key, value in result.items()}
    if isinstance(result, tuple | list):
        return [_plain(part) for part in result]
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return result if isinstance(result, str | int | float | bool | None) else str(result)


def _complain(sentence: str, code: int) -> int:
    for line in sentence.splitlines() or ["failed"]:
        print(f"lorasweep: {line}", file=sys.stderr)
    return code


def _about_file(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason


def _code_of_error(error: BaseException) -> int:
    if isinstance(error, OSError):
        if error.errno in RETRYABLE or isinstance(error, ConnectionError | TimeoutError):
            return TRY_AGAIN
        return USAGE if isinstance(error, FileNotFoundError | NotADirectoryError) else FAILED
    if isinstance(error, TryAgainError):
        return TRY_AGAIN
    return FAILED if isinstance(error, RunFailedError) else USAGE
