"""Losses on fixed noise: evidence that is measured beside a training, and never changes it."""

import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from contracts.fixtures import tiny_overrides
from contracts.tiny import tiny_run, write_tiny_photos

from lorasweep.commands.resume import resume
from lorasweep.config.compose import as_override, load_run
from lorasweep.models.lora.file import weights_sha256
from lorasweep.plan.announcements import measuring_words
from lorasweep.plan.budget import FIXED_BATCH, fixed_batch_every, measuring_cost, training_cost
from lorasweep.records import RunView
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together
from lorasweep.track.journal import read
from lorasweep.track.recall import read_run

Overrides = Callable[..., list[str]]
QUIET = ("track.mlflow=false", "data.held_out_from=3", "data.held_out=0.4")
NONE_HELD_OUT = "data.held_out=0"
OFTEN = 2


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVAR's batch is measured at every other step, so that twelve steps have a curve."""
    monkeypatch.setattr("lorasweep.run.losses.fixed_batch_every", lambda _: OFTEN)


@pytest.fixture(scope="module")
def once(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunView]:
    """Trains with overrides once, to be read only."""
    root = tmp_path_factory.mktemp("once")
    words = tiny_overrides(write_tiny_photos(root / "photos"), model_folder, root / "mlruns")
    return cache(lambda *more: view_of([*words, *QUIET, *more]))


def train(*runs: list[str], **how: Any) -> list[Outcome]:
    return train_together([load_run(run) for run in runs], say=lambda _: None, **how)


def view_of(*runs: list[str], **how: Any) -> RunView:
    return read_run(train(*runs, **how)[0].folder)


def weights(view: RunView) -> dict[int, str]:
    return {each.step: weights_sha256(each.path) for each in view.checkpoints if each.path}


def curves(view: RunView) -> tuple[dict[int, tuple[float, float]], dict[int, float]]:
    validation = {found.step: (found.held_out, found.train) for found in view.validation}
    return validation, {found.step: found.loss for found in view.fixed_batch}


def test_a_run_with_losses_trains_to_the_bits_of_one_without(overrides: Overrides) -> None:
    """Dropout and Prodigy hold the most that a measurement could disturb."""
    shaky = ("lora.dropout=0.1", "optim.name=prodigy", "optim.lr=1")
    watched, plain = (
        view_of(overrides(*QUIET, *shaky, f"evaluate.validation={on}", f"name=run-{on}")) for on in ("true", "false")
    )
    assert sorted(found.step for found in watched.validation) == [0, 4, 8, 12]
    assert (plain.validation, plain.fixed_batch, plain.dvar_step) == ((), (), None)
    assert weights(watched) == weights(plain)
    assert [step.loss for step in watched.steps] == [step.loss for step in plain.steps]


def test_held_out_and_training_photos_are_measured_at_every_checkpoint_and_on_the_base_model(
    once: Callable[..., RunView],
) -> None:
    view = once("optim.lr=1e-2")
    assert (len(view.train), len(view.held_out)) == (3, 2)
    validation, batch = curves(view)
    assert sorted(validation) == [0, 4, 8, 12]
    assert sorted(batch) == [0, 2, 4, 6, 8, 10, 12]
    losses = [loss for pair in validation.values() for loss in pair] + list(batch.values())
    assert all(0 < loss < 10 for loss in losses)
    assert len(set(losses)) == len(losses)
    assert validation[12][1] < validation[0][1]  # it has learnt its photos


def test_without_held_out_photos_only_those_trained_on_are_measured(overrides: Overrides) -> None:
    view = view_of(overrides(*QUIET, NONE_HELD_OUT))
    validation, _ = curves(view)
    assert sorted(validation) == [0, 4, 8, 12]
    assert all(math.isnan(held_out) and train > 0 for held_out, train in validation.values())


def test_runs_side_by_side_are_measured_as_each_is_alone_and_from_one_base(
    overrides: Overrides, once: Callable[..., RunView]
) -> None:
    runs = [("optim.lr=1e-3", "lora.rank=6"), ("optim.lr=1e-2",)]
    together = [curves(read_run(outcome.folder)) for outcome in train(*(overrides(*QUIET, *run) for run in runs))]
    for run, (validation, batch) in zip(runs, together, strict=True):
        alone = curves(once(*run))
        for step, pair in alone[0].items():
            assert validation[step] == pytest.approx(pair, rel=1e-4)
        assert batch == pytest.approx(alone[1], rel=1e-4)
    assert together[0][0][0] == together[1][0][0]
    assert together[0][0][12] != together[1][0][12]


@pytest.mark.parametrize(("call", "left"), [(2, 15), (9, 7), (14, 2)])
def test_a_run_that_dies_while_it_measures_has_the_same_curves_when_it_went_on(
    call: int,
    left: int,
    overrides: Overrides,
    once: Callable[..., RunView],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 15 measurements, two a checkpoint and one a batch, those that the journal holds are not made again."""
    whole, every_step = once(), "save.state_minutes=1e-9"  # when a state is saved
    with monkeypatch.context() as patched:
        patched.setattr("lorasweep.train.validation.FixedLoss.__call__", counted([], dying_at=call))
        with pytest.raises(RuntimeError, match="killed"):
            train(overrides(*QUIET, every_step, "name=cut"))
    calls: list[int] = []
    monkeypatch.setattr("lorasweep.train.validation.FixedLoss.__call__", counted(calls))
    (outcome,) = resume(tmp_path / "mlruns", "cut", say=lambda _: None)
    assert len(calls) == left
    cut = read_run(outcome.folder)
    assert curves(cut) == curves(whole)
    assert weights(cut) == weights(whole)
    kinds = Counter(entry.kind for entry in read(outcome.folder))
    assert (kinds["validation"], kinds["fixed_batch"]) == (4, 7)


def counted(calls: list[int], dying_at: int | None = None) -> Callable[..., Any]:
    """Measures, notes every call, and dies at one."""
    from lorasweep.train.validation import FixedLoss

    measure = FixedLoss.__call__

    def measuring(*arguments: Any) -> Any:
        calls.append(len(calls) + 1)
        if len(calls) == dying_at:
            raise RuntimeError("killed")
        return measure(*arguments)

    return measuring


def test_a_training_that_starts_from_a_file_starts_its_curve_there_and_is_compared_with_the_base(
    overrides: Overrides, once: Callable[..., RunView]
) -> None:
    first = once("optim.lr=1e-2")
    file = first.checkpoints[-1].path
    second = view_of(overrides(*QUIET, as_override("lora.init", str(file))))
    assert curves(second)[1][0] == curves(first)[1][12]
    assert curves(second)[0][0] == curves(first)[0][0]


def test_the_stopping_point_is_told_once_and_read_back(overrides: Overrides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorasweep.evaluate.dvar.WINDOW", 2 * OFTEN)
    view = view_of(overrides(*QUIET, "optim.lr=1e-2"))
    tags = [
        e.payload["value"] for e in read(view.folder) if e.kind == "tag" and e.payload["name"].endswith("dvar_step")
    ]
    assert view.dvar_step in (4, 6, 8, 10, 12)
    assert tags == [str(view.dvar_step)]


@pytest.mark.parametrize(("rows", "every"), [(1, 64), (4, 16), (64, 1), (128, 1)])
def test_dvars_batch_costs_three_in_a_hundred_of_training_at_most_unless_it_is_measured_at_every_step(
    rows: int, every: int, tmp_path: Path
) -> None:
    run = tiny_run(tmp_path, batch_size=rows, steps=6400)
    assert fixed_batch_every(run) == every
    assert FIXED_BATCH * (run.optim.steps // every) <= 0.03 * training_cost(run)


def test_the_cost_is_counted_with_the_base_model_and_both_kinds_of_photos(tmp_path: Path) -> None:
    run = tiny_run(tmp_path, batch_size=1, steps=1600)
    assert measuring_cost(run, 12, held_out=3) == 13 * 16 + 26 * 4
    assert measuring_cost(run, 12, held_out=0) == 13 * 8 + 26 * 4
    assert measuring_words(run, 12, 3) == (
        "Losses of held-out and training photos on fixed noise: about 9% of the cost of training."
    )
    run.evaluate.validation = False
    assert (measuring_cost(run, 12, 3), measuring_words(run, 12, 3)) == (0, "")
