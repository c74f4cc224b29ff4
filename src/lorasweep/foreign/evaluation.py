"""``lorasweep evaluate FOLDER``: LoRA files of another trainer, drawn, judged and picked from as our own are.

The files stay where they are; a run of ours remembers them, with all that a run has but losses.
"""

import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track

from lorasweep.config.compose import from_plain, to_plain
from lorasweep.config.schema import RunConfig
from lorasweep.config.signature import run_signature
from lorasweep.console import Say
from lorasweep.data.prompts import fill_prompts
from lorasweep.errors import UserError
from lorasweep.foreign.files import Chosen, choose_files, read_headers
from lorasweep.foreign.setup import compose, notes_on, photos_of
from lorasweep.plan.budget import folder_announcement
from lorasweep.records import JsonDict, RunView
from lorasweep.run.evaluator import Judge, load_drawing_family, scorers_of
from lorasweep.run.outcome import Outcome
from lorasweep.run.progress import score_line
from lorasweep.run.provenance import origin
from lorasweep.run.recorder import LiveRun
from lorasweep.run.stopping import graceful_stop
from lorasweep.track.journal import read
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder, claim_name, numbered_name
from lorasweep.track.shipper import shipper_of
from lorasweep.track.tracker import JournalTracker, RunMeta
from lorasweep.train.checkpoint import adopt_files, list_checkpoints
from lorasweep.train.trial import Trial

TRAINED_ELSEWHERE = ("lora", "optim", "save")
"""Groups of the configuration that say how to train; a run that only judges does not keep them."""


def evaluate_folder(
    root: str | Path,
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    config_dirs: Sequence[str | Path] = (),
    say: Say = print,
) -> Outcome:
    """Draw the same sheet with every file of a folder, score, and pick a file and its strength.

    Args:
        overrides: as of ``lorasweep train``, and ``references=DIR``; paths may hold spaces, commas and ``=``.

    Raises:
        UserError: no file can be scored, or there are no photos to judge by; no run is named then.
    """
    source = Path(folder).resolve()
    headers = read_headers(source)
    run = compose(root, overrides, headers, config_dirs)
    judge = _judge(run)
    chosen = choose_files(source, headers, judge.family)
    made = RunFolder(Path(run.track.root) / "runs" / _name(run))
    with ExitStack() as closing:
        closing.callback(_drop_unless_begun, made)
        adopt_files(made.path, chosen.checkpoints(made.name))
        live = closing.enter_context(_opened(judge, made, source, _facts(chosen)))
        for line in (*notes_on(run, judge.dataset, headers, chosen.placed), *chosen.skipped):
            live.tracker.note(line)
            say(line)
        say(folder_announcement(run, len(live.drawn)))
        return dataclasses.replace(_look_at_all(live, say), skipped=chosen.skipped)


def evaluate_again(view: RunView, *, say: Say = print) -> Outcome:
    """Go on with the evaluation of a folder, or do it again with today's scorers; pictures that are there are kept."""
    assert view.source is not None
    judge, evaluated = _judge(from_plain(view.config)), view.provenance["evaluated"]
    with _opened(judge, RunFolder(view.folder), view.source, evaluated) as live:
        return dataclasses.replace(_look_at_all(live, say), skipped=tuple(evaluated["skipped"]))


def _judge(run: RunConfig) -> Judge:
    """Photos, base model and scorers, in the order in which a mistake costs the least time."""
    if run.hardware.threads:
        import torch

        torch.set_num_threads(run.hardware.threads)
    dataset, prompts = photos_of(run), fill_prompts(run.sample, run.data)
    family = load_drawing_family(run)
    return Judge(run, family, dataset, prompts, scorers_of(run, family))


@contextmanager
def _opened(judge: Judge, folder: RunFolder, source: Path, evaluated: JsonDict) -> Iterator[LiveRun]:
    """The run that remembers an evaluation, with its journal open."""
    run = judge.run
    shipper = shipper_of(run.track)
    with ExitStack() as closing:
        if shipper is not None:
            closing.callback(shipper.stop)
        tracker = JournalTracker(folder.path, shipper)
        closing.callback(tracker.close)
        tracker.start(_meta(judge, folder.name, source, evaluated))
        steps = [checkpoint.step for checkpoint in list_checkpoints(folder.path, folder.name)]
        trial = Trial(folder.name, run, judge.dataset, folder.path)
        yield LiveRun(trial, judge.family, tracker, judge.prompts, judge, steps)


def _meta(judge: Judge, name: str, source: Path, evaluated: JsonDict) -> RunMeta:
    run, dataset = judge.run, judge.dataset
    config = {key: value for key, value in to_plain(run).items() if key not in TRAINED_ELSEWHERE}
    files = json.dumps(evaluated["files"], sort_keys=True)
    signature = run_signature(run, f"{dataset.fingerprint}/{hashlib.sha256(files.encode()).hexdigest()}")
    facts = origin(run, dataset, judge.family, judge, signature, config)
    if run.evaluate.model:
        del facts["weights"]["model"]  # the base that was trained on was not read
    return RunMeta(
        name=name,
        config=config,
        dataset=dataset,
        prompts=judge.prompts,
        run_signature=signature,
        evaluation_signature=judge.signature,
        provenance={**facts, "evaluated": evaluated},
        source=source,
    )


def _facts(chosen: Chosen) -> JsonDict:
    """For the provenance: file names and hashes by step, what the steps are, and what was left out."""
    files = {str(file.step): {"name": file.name, "sha256": chosen.sha256[file.name]} for file in chosen.placed.files}
    return {"files": files, "unit": chosen.placed.unit, "skipped": list(chosen.skipped)}


def _name(run: RunConfig) -> str:
    root = Path(run.track.root)
    base = Path(run.evaluate.model or run.model.path).stem
    return claim_name(run.name, root) if run.name else numbered_name((run.data.trigger, base, "files"), root)


def _drop_unless_begun(folder: RunFolder) -> None:
    """A run that could not be written down, as on a full disk, leaves no folder."""
    if not any(read(folder.path)):
        shutil.rmtree(folder.path, ignore_errors=True)


def _look_at_all(live: LiveRun, say: Say) -> Outcome:
    """Every file in turn, then the pick; the first Ctrl-C or SIGTERM stops between two files."""
    checkpoints = list_checkpoints(live.folder, live.name)
    if not checkpoints:
        raise UserError(f"{live.name} has no file left to score: all were moved or changed since it began.")
    names = read_run(live.folder).file_name
    with graceful_stop() as stop:
        quiet = not sys.stderr.isatty()
        for checkpoint in track(checkpoints, live.name, console=Console(stderr=True), disable=quiet):
            if stop:
                break
            scores = live.take(checkpoint)
            assert scores is not None
            assert checkpoint.path is not None
            say(f"{names(checkpoint.path)}: {score_line(scores)}")
        stopped = bool(stop)
        outcome = live.stop() if stopped else live.finish()
    if outcome.undelivered:
        say(outcome.undelivered)
    if stopped:
        say(f"Stopped and saved; 'lorasweep resume {live.name}' goes on from here.")
        stop.leave()
    return outcome
