"""``lorasweep evaluate FOLDER``: LoRA files of another trainer, drawn, scored and picked from as our own are.

The files stay where they are. A run of ours remembers them, with all that a run has except losses.
"""

import dataclasses
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track

from lorasweep.config.compose import from_plain
from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.errors import UserError
from lorasweep.foreign.files import Chosen, choose_files, read_headers
from lorasweep.foreign.setup import compose, notes_on, photos_of
from lorasweep.plan.announcements import folder_announcement
from lorasweep.records import JsonDict, RunView
from lorasweep.run.entries import Entry, ForeignFiles
from lorasweep.run.progress import score_line
from lorasweep.run.recorder import Outcome, RunRecorder
from lorasweep.run.session import Purpose, Session
from lorasweep.run.stopping import graceful_stop
from lorasweep.track.journal import read
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder, claim_name, numbered_name
from lorasweep.train.checkpoint import adopt_files, list_checkpoints


def evaluate_folder(
    root: str | Path,
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    config_dirs: Sequence[str | Path] = (),
    say: Say = print,
) -> Outcome:
    """Draw the same sheet with every file of a folder, score it, and pick a file and its strength.

    Args:
        overrides: as of ``lorasweep train``, and ``references=DIR``; paths may hold spaces, commas and ``=``.

    Raises:
        UserError: no file can be scored, or there are no photos to judge by; no run is named then.
    """
    source = Path(folder).resolve()
    headers = read_headers(source)
    run = compose(root, overrides, headers, config_dirs)
    # photos, base model, scorers, files: a mistake is found in the order in which finding it takes longer
    entry = Entry(run, photos_of(run), None)
    with Session(Purpose.SCORE, run) as session:
        session.require(entry)
        chosen = choose_files(source, headers, session.family)
        entry = dataclasses.replace(entry, foreign=ForeignFiles(source, _facts(chosen)))
        with _named(run) as made:  # after everything that can be refused: a mistake leaves no run
            adopt_files(made.path, chosen.checkpoints(made.name))
            recorder = session.open(dataclasses.replace(entry, folder=made))
            for line in (*notes_on(run, entry.dataset, headers, chosen.placed), *chosen.skipped):
                recorder.tracker.note(line)
                say(line)
            say(folder_announcement(run, len(recorder.drawn)))
            return dataclasses.replace(_score_all(recorder, say), skipped=chosen.skipped)


def evaluate_again(view: RunView, *, say: Say = print) -> Outcome:
    """Go on with the evaluation of a folder, or do it again with today's scorers; images that exist are kept."""
    assert view.source is not None
    run, facts = from_plain(view.config), view.provenance["evaluated"]
    entry = Entry(run, photos_of(run), RunFolder(view.folder), foreign=ForeignFiles(view.source, facts))
    with Session(Purpose.SCORE, run) as session:
        session.require(entry)
        outcome = _score_all(session.open(entry), say)
    return dataclasses.replace(outcome, skipped=tuple(facts["skipped"]))


@contextmanager
def _named(run: RunConfig) -> Iterator[RunFolder]:
    """Name the run of an evaluation. If it does not get to its first entry, as on a full disk, its folder goes."""
    root = Path(run.track.root)
    base = Path(run.evaluate.model or run.model.path).stem
    name = claim_name(run.name, root) if run.name else numbered_name((run.data.trigger, base, "files"), root)
    folder = RunFolder(root / "runs" / name)
    try:
        yield folder
    finally:
        if not any(read(folder.path)):
            shutil.rmtree(folder.path, ignore_errors=True)


def _facts(chosen: Chosen) -> JsonDict:
    """Return file names and hashes by step, what the steps are, and what was left out."""
    files = {str(file.step): {"name": file.name, "sha256": chosen.sha256[file.name]} for file in chosen.placed.files}
    return {"files": files, "unit": chosen.placed.unit, "skipped": list(chosen.skipped)}


def _score_all(recorder: RunRecorder, say: Say) -> Outcome:
    """Score file after file, then pick; the first Ctrl-C or SIGTERM stops between two files."""
    checkpoints = list_checkpoints(recorder.folder, recorder.name)
    if not checkpoints:
        raise UserError(f"{recorder.name} has no file left to score: all were moved or changed since it began.")
    name_of = read_run(recorder.folder).file_name
    with graceful_stop() as stop:
        quiet = not sys.stderr.isatty()  # a bar in a log file is noise
        for checkpoint in track(checkpoints, recorder.name, console=Console(stderr=True), disable=quiet):
            if stop:  # images that were drawn are kept, so that resume begins at this file
                break
            recorder.checkpoint_saved(checkpoint)
            scores = recorder.score_checkpoint(checkpoint)
            assert scores is not None
            assert checkpoint.path is not None
            say(f"{name_of(checkpoint.path)}: {score_line(scores)}")
        stopped = bool(stop)
        outcome = recorder.stop() if stopped else recorder.finish()
    if outcome.undelivered:
        say(outcome.undelivered)
    if stopped:
        say(f"Stopped and saved; 'lorasweep resume {recorder.name}' goes on from here.")
        stop.leave()
    return outcome
