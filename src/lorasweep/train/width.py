"""How many trials are worth training side by side: measured, since it depends on the model, the size and the device.

If one trial keeps the device busy, width brings nothing; if it does not, a cohort is several times as fast.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from lorasweep.records import Step
from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial

WORTH = 1.1
"""Trials' steps a second that the next width must bring, as a factor, to be taken."""
STEPS = 4
"""Taken at each width; the first is slow, since kernels are chosen and memory is allocated."""


def widths(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, … and ``most`` itself."""
    powers = [2**n for n in range(most.bit_length()) if 2**n < most]
    return (*powers, most)


def worth_taking(seconds: Mapping[int, float]) -> int:
    """Return the widest up to which each width brought ``WORTH`` times the steps a second of the one before.

    Args:
        seconds: width to seconds a step of all its trials; ascending.
    """
    taken = min(seconds)
    for width in sorted(seconds):
        if width / seconds[width] >= WORTH * taken / seconds[taken]:
            taken = width
        elif width > taken:
            break
    return taken


def measured_width(
    cohort: Cohort, trial: Trial, most: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[int, dict[int, float]]:
    """Return the width for trials like this one, and seconds a step by width, up to the first that brings nothing.

    Copies of the trial take a few steps at every width; nothing of them is kept.

    Raises:
        UserError: memory does not suffice for one.
    """
    seconds: dict[int, float] = {}
    for width in widths(most):
        took = _seconds(cohort, trial, width, clock)
        if took is None:  # out of memory
            break
        seconds[width] = took
        if worth_taking(seconds) < width:
            break
    return worth_taking(seconds), seconds


def _seconds(cohort: Cohort, trial: Trial, width: int, clock: Callable[[], float]) -> float | None:
    """Seconds of the fastest step of ``width`` copies; None if they do not fit."""
    ends: list[float] = []
    probe = Cohort(cohort.family, width)
    # those of the cohort that trains afterwards: nothing is encoded twice
    probe.latents, probe.texts = cohort.latents, cohort.texts

    def stepped(step: Step) -> None:
        if step.step > len(ends):
            ends.append(clock())
        ends[-1] = clock()

    with TemporaryDirectory(prefix="lorasweep-width-") as scratch:
        for number in range(width):
            probe.admit(_copy(trial, number, Path(scratch)))
        while probe.busy and len(ends) < STEPS and not probe.returned:
            probe.run_interval(stepped, lambda: len(ends) >= STEPS or bool(probe.returned))
    # the fastest, not the mean: another process may hold up a step, none can speed one up
    fastest = min((later - earlier for earlier, later in pairwise(ends)), default=None)
    return None if probe.returned else fastest


def _copy(trial: Trial, number: int, scratch: Path) -> Trial:
    """The trial's first steps, with no checkpoint on the way."""
    config = trial.config
    optim = replace(config.optim, steps=STEPS + 1, warmup_steps=0)
    config = replace(config, optim=optim, save=replace(config.save, every_steps=STEPS + 1, state_minutes=1e6))
    return Trial(f"width-{number}", config, trial.dataset, scratch / str(number))
