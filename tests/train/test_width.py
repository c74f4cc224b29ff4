"""How many trials are trained side by side."""

from typing import Any

import pytest
from contracts.tiny import tiny_run

from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial
from lorasweep.train.width import measured_width, widths, worth_taking


def test_widths_double_up_to_as_many_as_there_are():
    assert [widths(most) for most in (1, 2, 3, 6, 8)] == [(1,), (1, 2), (1, 2, 3), (1, 2, 4, 6), (1, 2, 4, 8)]


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}, 8),
        ({1: 1.0, 2: 2.0}, 1),
        ({1: 1.0, 2: 1.9}, 1),
        ({1: 1.0, 2: 1.5, 4: 3.0}, 2),
        ({1: 1.0, 2: 1.5, 4: 3.0, 8: 3.0}, 2),
        ({1: 1.0}, 1),
    ],
)
def test_a_width_is_taken_as_long_as_each_brings_a_tenth_more(seconds, taken):
    assert worth_taking(seconds) == taken


class Clock:
    """Every step of C trials takes ``base + C * each`` seconds."""

    def __init__(self, monkeypatch, each: float) -> None:
        self.now, self.each = 0.0, each
        plain = Cohort._step

        def step(cohort: Cohort, on_step: Any) -> Any:
            self.now += 1.0 + each * len(cohort.trials)
            return plain(cohort, on_step)

        monkeypatch.setattr(Cohort, "_step", step)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def trial(model_folder, dataset, tmp_path) -> Trial:
    return Trial("anna", tiny_run(model_folder, steps=4), dataset, tmp_path / "anna")


@pytest.mark.parametrize(("each", "taken", "tried"), [(0.0, 8, [1, 2, 4, 8]), (100.0, 1, [1, 2])])
def test_it_is_measured_until_the_next_brings_nothing_and_leaves_no_trace(
    family, trial, monkeypatch, each, taken, tried
):
    cohort = Cohort(family, 1)
    width, seconds = measured_width(cohort, trial, 8, Clock(monkeypatch, each))
    assert (width, list(seconds)) == (taken, tried)
    assert seconds[1] == pytest.approx(1.0 + each)
    assert not trial.folder.exists()
    assert not cohort.busy
