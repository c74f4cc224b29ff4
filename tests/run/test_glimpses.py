"""Pictures between checkpoints, as ``sample.every_steps`` asks for them: to be looked at, and nothing else."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorasweep.commands.resume import resume
from lorasweep.config.compose import load_run
from lorasweep.models.lora.file import weights_sha256
from lorasweep.records import RunView
from lorasweep.report.page import render
from lorasweep.report.table import checkpoint_table
from lorasweep.report.view import rows_of
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together
from lorasweep.track.journal import read
from lorasweep.track.recall import read_run

Overrides = Callable[..., list[str]]
QUIET = ("track.mlflow=false", "sample.seeds=[0]", "sample.fresh_seeds=[1000]", "sample.steps=2")
JUDGED = ("evaluate.enabled=true", "evaluate.budget=null")
EVERY_FIVE = "sample.every_steps=5"


def train(overrides: list[str]) -> Outcome:
    """A run of 12 steps with checkpoints at 4, 8 and 12."""
    (outcome,) = train_together([load_run(overrides)], say=lambda _: None)
    return outcome


def weights(view: RunView) -> dict[int, str]:
    return {each.step: weights_sha256(each.path) for each in view.checkpoints if each.path}


def pictures(view: RunView) -> dict[tuple[int, str], str]:
    return {(sheet.step, sample.prompt): sample.sha256 for sheet in view.samples for sample in sheet.samples}


def test_a_run_with_glimpses_trains_to_the_bits_of_one_without(overrides: Overrides) -> None:
    plain, looked = (
        read_run(train(overrides(*QUIET, *more)).folder) for more in ([], [EVERY_FIVE, "sample.sampler=euler_a"])
    )
    assert [sheet.step for sheet in plain.samples] == []
    assert [sheet.step for sheet in looked.samples] == [5, 10]
    assert weights(looked) == weights(plain)
    assert sorted(weights(looked)) == [4, 8, 12]
    assert [step.loss for step in looked.steps] == [step.loss for step in plain.steps]


def test_a_checkpoint_is_drawn_once_and_a_glimpse_is_neither_scored_nor_picked(overrides: Overrides) -> None:
    outcome = train(overrides(*QUIET, *JUDGED, "sample.every_steps=2"))
    view = read_run(outcome.folder)
    drawn = Counter(e.payload["step"] for e in read(outcome.folder) if e.kind == "sample" and not e.payload["fresh"])
    assert drawn == dict.fromkeys((0, 2, 4, 6, 8, 10, 12), 1)
    assert [scores.step for scores in view.scores if not scores.fresh] == [0, 4, 8, 12]
    assert view.pick is not None
    assert {verdict.step for verdict in view.pick.verdicts} <= {0, 4, 8, 12}
    assert [row.step for row in rows_of(view) if row.glimpse] == [2, 6, 10]
    assert render(view).count("<div>between checkpoints</div>") == 3
    assert "<td>step 6</td>" not in render(view)
    assert "<td>step 8</td>" in render(view)
    assert checkpoint_table(view).row_count == 4  # the base model and three checkpoints


def test_a_run_that_dies_while_it_draws_a_glimpse_draws_it_when_it_goes_on(
    overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_state = "save.state_minutes=1e-9"  # so that a state is saved after every step
    more = (*QUIET, EVERY_FIVE, every_state, "sample.batch_size=3")
    whole = read_run(train(overrides(*more, "name=whole")).folder)
    with monkeypatch.context() as patched:
        patched.setattr("lorasweep.train.sample._draw_chunk", dying_at_call(5))  # in the second sheet of three batches
        with pytest.raises(RuntimeError, match="killed"):
            train(overrides(*more, "name=cut"))
    (outcome,) = resume(tmp_path / "mlruns", "cut", say=lambda _: None)
    cut = read_run(outcome.folder)
    assert pictures(cut) == pictures(whole)
    assert [sheet.step for sheet in cut.samples] == [5, 10]
    assert [step.loss for step in cut.steps] == [step.loss for step in whole.steps]


def dying_at_call(last: int) -> Callable[..., Any]:
    from lorasweep.train import sample

    calls, draw = iter(range(1, last + 1)), sample._draw_chunk

    def dying(*arguments: Any) -> Any:
        if next(calls) == last:
            raise RuntimeError("killed")
        return draw(*arguments)

    return dying
