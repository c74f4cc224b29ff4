"""The stopwatch of the overhead benchmark, and what it makes of a search's calls."""

import threading
import time
from types import SimpleNamespace

import pytest

from benchmarks.speed.overhead import CHECKPOINTS, JOURNAL, STATES, STEPS, Stopwatch, figures, gaps


def rooms() -> SimpleNamespace:
    """A function that calls another."""
    room = SimpleNamespace(inner=lambda: time.sleep(0.02))
    room.outer = lambda: (time.sleep(0.01), room.inner(), room.inner())
    return room


def test_time_in_a_watched_function_that_another_calls_counts_once():
    room, watch = rooms(), Stopwatch()
    watch.watch(room, "outer", "outer")
    watch.watch(room, "inner", "inner")
    with watch:
        room.outer()
    room.inner()  # no longer watched
    assert [label for label, _, _ in watch.calls] == ["inner", "inner", "outer"]
    start, end = watch.calls[-1][1:]
    assert watch.seconds["inner"] >= 0.04
    assert sum(watch.seconds.values()) == pytest.approx(end - start)


def test_calls_of_other_threads_are_not_the_training_threads_time():
    room, watch = rooms(), Stopwatch()
    watch.watch(room, "inner", "inner")
    with watch:
        other = threading.Thread(target=room.inner)
        other.start()
        other.join()
    assert not watch.calls


def test_a_start_lasts_from_the_end_of_one_trial_to_the_first_step_of_the_next():
    calls = [(STEPS, 0.0, 1.0), ("end", 1.0, 2.0), (JOURNAL, 2.1, 2.2), (STEPS, 2.5, 3.0), (STEPS, 3.0, 4.0)]
    calls += [("end", 4.0, 5.0), (STEPS, 5.25, 6.0), ("end", 6.0, 7.0)]
    assert gaps(calls) == [0.5, 0.25]


def test_the_share_is_of_the_steps_and_leaves_the_delivery_thread_out():
    spent = {STEPS: 100.0, JOURNAL: 0.5, CHECKPOINTS: 0.25, STATES: 0.25, "in the background": 50.0}
    assert figures({"tracking": spent, "starts": [0.1, 0.9, 0.2]}) == {
        "tracking_share": 0.01,
        "trial_start_seconds": 0.2,
    }
