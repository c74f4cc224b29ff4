"""``lorasweep evaluate RUN``: a run of our own scored again, whose training stays what it was."""

import json
import os
import platform
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contracts.judged import JUDGED

from lorasweep.commands.evaluate import evaluate
from lorasweep.commands.reproduce import reproduce
from lorasweep.commands.resume import resume
from lorasweep.config.compose import load_run
from lorasweep.records import RunView, Scores
from lorasweep.run.recorder import RunRecorder
from lorasweep.run.training import train_together
from lorasweep.track.journal import read
from lorasweep.track.recall import read_run

Overrides = Callable[..., list[str]]
QUIET = (*JUDGED, "pick.strengths=[]", "evaluate.validation=false")


def ignore(_: str) -> None:
    """Says nothing."""


def train(overrides: list[str]) -> RunView:
    """A judged run of 12 steps with checkpoints at 4, 8 and 12."""
    (outcome,) = train_together([load_run(overrides)], say=ignore)
    return read_run(outcome.folder)


def score_again(view: RunView) -> RunView:
    return read_run(evaluate(view.folder.parents[1], view.name, say=ignore).folder)


def halt(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> RunView:
    """The same run, stopped by SIGTERM at step 9, when its checkpoints at 4 and 8 are scored."""
    run, plain = load_run(overrides), RunRecorder.step_taken

    def terminated(self: RunRecorder, step: Any, cohort: Any) -> None:
        plain(self, step, cohort)
        if step.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(RunRecorder, "step_taken", terminated)
        with pytest.raises(SystemExit):
            train_together([run], say=ignore)
    return read_run(Path(run.track.root) / "runs" / str(run.name))


def test_a_stopped_run_stays_stopped_and_is_resumed_to_its_last_step(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    halted = halt(overrides(*QUIET, "name=halted"), monkeypatch)
    assert (halted.status, halted.pick) == ("stopped", None)
    scored = score_again(halted)
    assert scored.status == "stopped"
    assert scored.pick is not None and scored.pick.step in (4, 8)
    (outcome,) = resume(halted.folder.parents[1], "halted", say=ignore)
    again = read_run(outcome.folder)
    assert (again.status, [step.step for step in again.steps]) == ("finished", list(range(1, 13)))
    assert [scores.step for scores in again.scores if not scores.fresh] == [0, 4, 8, 12]


def test_the_provenance_is_that_of_the_training_and_later_machines_have_their_own(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    halted = halt(overrides(*QUIET, "name=halted"), monkeypatch)
    root, here = halted.folder.parents[1], platform.python_version()
    trained = (halted.folder / "provenance.json").read_bytes()
    monkeypatch.setattr(platform, "python_version", lambda: "9.9.9")
    score_again(halted)
    resume(root, "halted", say=ignore)
    assert (halted.folder / "provenance.json").read_bytes() == trained
    later = [json.loads(path.read_text()) for path in sorted(halted.folder.glob("provenance-*.json"))]
    assert [facts["python"] for facts in later] == ["9.9.9"]  # the second session was on the same machine as the first
    assert f"python was {here}, is 9.9.9" in reproduce(root, "halted", say=ignore).changed


def stored(view: RunView, *, fresh: bool = False) -> dict[int, float]:
    """Scores by step, as the journal's newest entries have them."""
    return {scores.step: scores.score for scores in view.scores if scores.fresh is fresh}


def halving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring code that gives half of what it gave."""
    from lorasweep.evaluate import score

    plain = score.score

    def halved(*args: Any, **options: Any) -> Scores:
        found = plain(*args, **options)
        return replace(found, score=found.score / 2)

    monkeypatch.setattr(score, "score", halved)


def test_what_is_picked_is_what_is_stored_even_if_only_the_scores_themselves_changed(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train(overrides(*QUIET))
    halving(monkeypatch)
    after = score_again(before)
    assert stored(after) == pytest.approx({step: score / 2 for step, score in stored(before).items()})
    assert after.pick is not None and after.pick.step is not None
    assert stored(after, fresh=True)[after.pick.step] == after.pick.score


def test_the_same_scores_are_not_stored_twice(overrides: Overrides) -> None:
    before = train(overrides(*QUIET))
    once = [entry.seq for entry in read(before.folder) if entry.kind in ("sample", "scores")]
    after = score_again(before)
    assert [entry.seq for entry in read(before.folder) if entry.kind in ("sample", "scores")] == once
    assert (stored(after), after.pick) == (stored(before), before.pick)


def test_scores_of_another_version_of_the_scoring_code_stand_beside_the_old_ones(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train(overrides(*QUIET))
    monkeypatch.setattr("lorasweep.run.evaluator.SCORING", 99)
    halving(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(RunRecorder, "finish", lambda _: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            score_again(before)
    cut_short = read_run(before.folder)
    assert (stored(cut_short), cut_short.pick) == (stored(before), before.pick)  # one unit, until there is a pick
    after = score_again(before)
    assert stored(after) == pytest.approx({step: score / 2 for step, score in stored(before).items()})
    by_signature: dict[str, set[int]] = {}
    for entry in read(before.folder):
        if entry.kind == "scores" and not entry.payload["scores"]["fresh"]:
            by_signature.setdefault(entry.payload["signature"], set()).add(entry.payload["scores"]["step"])
    assert list(by_signature.values()) == [{0, 4, 8, 12}, {0, 4, 8, 12}]
    assert [entry.payload["value"] for entry in read(before.folder) if entry.kind == "tag"][-1] in by_signature
