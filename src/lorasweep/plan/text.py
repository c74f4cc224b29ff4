"""A plan as a table for people."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from lorasweep.console import Say
from lorasweep.plan.announcements import say_sizes, sizes_in_words
from lorasweep.plan.duration import Duration, in_words
from lorasweep.plan.footprint import Footprint, gib
from lorasweep.plan.planning import Plan
from lorasweep.plan.schedule import Schedule

WITH_BITSANDBYTES = frozenset({"optim.name=adamw8bit", "hardware.base=nf4"})
"""Overrides of hints that need bitsandbytes, which a plain installation does not have."""


def print_plan(plan: Plan, say: Say) -> None:
    """Print a table, the sentence that says whether the run fits, and hints if it does not."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for what, says in rows_of(plan):
        table.add_row(what, says)
    console = Console()
    with console.capture() as caught:
        console.print(table)
    say(caught.get().rstrip())
    say_sizes(plan.schedule.buckets, say)
    say(plan.drawing)
    if plan.measuring:
        say(plan.measuring)
    say(plan.verdict)
    for number, hint in enumerate(plan.hints, 1):
        fits = ", which fits" if hint.fits else ""
        extra = _extra(hint.override in WITH_BITSANDBYTES)
        say(f"  {number}. {hint.override:<38} about {gib(hint.needs)}{fits}{extra}")


def _extra(needed: bool) -> str:
    """Return what must be installed, if bitsandbytes is needed and is not there."""
    from lorasweep.models.loading.frozen import has_bitsandbytes

    return "; needs lorasweep[lowvram]" if needed and not has_bitsandbytes() else ""


def rows_of(plan: Plan) -> list[tuple[str, str]]:
    """Return the rows of the table, each a head and its text."""
    schedule = plan.schedule
    others = f" and {schedule.regularisation} of others" if schedule.regularisation else ""
    sizes = sizes_in_words(schedule.buckets)
    return [
        ("photos", f"{schedule.photos} to train on{others} ({sizes}), {schedule.held_out} held out"),
        ("captions", f"{schedule.captions} different"),
        (
            "steps",
            f"{schedule.steps}, {schedule.epochs:.1f} epochs of {schedule.steps_per_epoch} "
            f"({_range(schedule.repeats)} repeats a photo)",
        ),
        ("checkpoints", f"{len(schedule.checkpoints)}: {_numbers(schedule.checkpoints)}"),
        ("drawn", f"{_drawn(schedule)}; {schedule.pictures} pictures in all, at most"),
        *_memory_rows(plan.memory, f"{plan.base}{_extra(plan.base_kept == 'nf4')}"),
        ("time", _time(plan.duration)),
        ("disk", f"{gib(sum(plan.disk.values()))} ({_parts(plan.disk)}); {gib(plan.free_disk)} are free"),
    ]


def _memory_rows(memory: Footprint, base: str) -> list[tuple[str, str]]:
    """Return peak memory, the phase that takes it, what it is made of, and how the base model is kept."""
    others = ", ".join(f"{phase} {gib(memory.tensors_of(phase))}" for phase in memory.phases if phase != memory.fullest)
    return [
        ("memory", f"{gib(memory.needs)} while {memory.fullest} ({others}), {gib(memory.overhead)} beside it"),
        ("", _parts(memory.phases[memory.fullest])),
        ("base model", base),
    ]


def _parts(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {gib(size)}" for name, size in parts.items() if size)


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _numbers(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps))


def _drawn(schedule: Schedule) -> str:
    finer = f" and {schedule.finer} more next to the pick" if schedule.finer else ""
    return f"{_numbers(schedule.drawn) or 'none'}{finer}"


def _time(duration: Duration | None) -> str:
    if duration is None:
        return "not known: no such card is here"
    parts = {name: getattr(duration, name) for name in ("encoding", "training", "drawing", "measuring")}
    words = ", ".join(f"{name} {in_words(seconds)}" for name, seconds in parts.items() if seconds)
    return (
        f"about {in_words(duration.total)} ({in_words(duration.low)} to {in_words(duration.high)}): {words}; "
        f"{duration.step:.2g} s a step, from {duration.source}"
    )
