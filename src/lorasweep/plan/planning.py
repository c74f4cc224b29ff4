"""``lorasweep plan``: what a run will do and take, before it is trained and without its weights."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.config.card import planned_device
from lorasweep.config.schema import RunConfig
from lorasweep.data.dataset import all_photos, read_dataset
from lorasweep.plan.announcements import announcement, measuring_words, photo_notes
from lorasweep.plan.budget import measuring_cost
from lorasweep.plan.duration import Amounts, Duration, Speed, estimate, measure, remembered_pace
from lorasweep.plan.footprint import GIB, Footprint, Hint, Phase, advice, footprint, gib, require_room
from lorasweep.plan.schedule import Schedule, disk_of, free_disk_at, schedule_of
from lorasweep.records import Dataset

if TYPE_CHECKING:
    import torch

    from lorasweep.plan.counting import Counting, Counts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run before it begins; ``--json`` prints its fields."""

    notes: tuple[str, ...]
    """What the user may not expect of the photos."""
    schedule: Schedule
    drawing: str
    """What judging costs, as the run itself will say it."""
    measuring: str
    """What losses on fixed noise cost; '' if none are measured."""
    base: str
    """How the base model is kept and computed, in words."""
    base_kept: str
    """How its denoiser is kept: full, fp8 or nf4."""
    memory: Footprint
    peak: int
    """Bytes of the card, or of memory on a CPU."""
    fullest: Phase
    """The phase that takes them."""
    room: int | None
    """Bytes that tensors may take; None if this machine cannot say."""
    duration: Duration | None
    """None if the device is not in this machine."""
    disk: dict[str, int]
    """Bytes on the disk, by what they hold."""
    free_disk: int
    hints: tuple[Hint, ...]
    """What to change until it fits."""
    fits: bool
    verdict: str
    """One sentence: whether it fits, and if not, what to change."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python's collector from running."""
    # whenever more objects are made it looks through all that there are, of torch, of diffusers and of the model's
    # modules: a sixth of the time of a plan
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@uncollected()
def plan_of(run: RunConfig) -> Plan:
    """Return the plan of a run, from its configuration, its photos and this machine.

    Raises:
        UserError: bad photos, or ``model.path`` leads to no model of its family.
    """
    from lorasweep.plan.counting import Counting

    dataset = _dataset(run)
    device = planned_device(run.hardware.device)
    schedule = schedule_of(run, dataset)
    counting = Counting(run.model, run.hardware.precision, device)
    counts = counting(run)
    room = free_memory(run, device)
    need = footprint_of(run, counting, dataset, device)
    hints = () if room is None else advice(run, lambda other: footprint_of(other, counting, dataset, device), room)
    disk, free_disk = disk_of(run, counts, schedule), free_disk_at(Path(run.track.root))
    fits = (room is None or need.needs <= room) and sum(disk.values()) <= free_disk
    return Plan(
        notes=tuple(photo_notes(run, dataset)),
        schedule=schedule,
        drawing=announcement(run) if run.evaluate.enabled else "Nothing is drawn: evaluate.enabled is false.",
        measuring=measuring_words(run, len(schedule.checkpoints), schedule.held_out),
        base=f"kept {counts.base}, computed in {run.hardware.precision}",
        base_kept=counts.base,
        memory=need,
        peak=need.peak,
        fullest=need.fullest,
        room=room,
        duration=duration_of(run, counts, schedule, device),
        disk=disk,
        free_disk=free_disk,
        hints=hints,
        fits=fits,
        verdict=verdict(need, room, hints, sum(disk.values()), free_disk),
    )


def _dataset(run: RunConfig) -> Dataset:
    dataset = read_dataset(run.data)
    return all_photos(dataset) if run.data.train_on == "all" else dataset


def footprint_of(run: RunConfig, counting: "Counting", dataset: Dataset, device: str, width: int = 1) -> Footprint:
    """Return the memory of ``width`` such runs side by side on these photos."""
    photos = (*dataset.train, *dataset.regularisation)
    texts = {photo.caption for photo in photos} | {""}  # what a dropped caption becomes
    prompts = {word for prompt in run.sample.prompts.values() for word in (prompt.text, prompt.negative)}
    captions = len(texts) + (len(prompts) if run.evaluate.enabled else 0)
    counts = counting(run, width)
    encoded = len(photos) * (1 + run.data.flip)
    return footprint(run, counts, width=width, photos=encoded, captions=captions, device=device)


def free_memory(run: RunConfig, device: str) -> int | None:
    """Return the bytes that tensors may take: what is free, but no more than ``hardware.memory_gb``.

    None if a card is planned for that is not in this machine, and no bound is set.
    """
    import psutil
    import torch

    bound = None if run.hardware.memory_gb is None else int(run.hardware.memory_gb * GIB)
    if device == "cpu":
        return psutil.virtual_memory().available
    if not torch.cuda.is_available():
        return bound
    free, _ = torch.cuda.mem_get_info(_card(run))
    return free if bound is None else min(free, bound)


def _card(run: RunConfig) -> "torch.device":
    from lorasweep.models import device_of

    return device_of(run.hardware.device)


def duration_of(run: RunConfig, counts: "Counts", schedule: Schedule, device: str) -> Duration | None:
    """Return about how long a run takes; None if the card that it is planned for is not in this machine."""
    import torch

    from lorasweep.models import PRECISIONS

    if device == "cuda" and not torch.cuda.is_available():
        return None
    if run.hardware.threads:
        torch.set_num_threads(run.hardware.threads)
    speed: Speed = measure(_card(run), PRECISIONS[run.hardware.precision])
    pace = remembered_pace(Path(run.track.root), run, device, torch.get_num_threads())
    encoded = len(schedule.placements) * (1 + run.data.flip)
    measured = measuring_cost(run, len(schedule.checkpoints), schedule.held_out)
    captions = schedule.captions + 1  # the empty one too
    amounts = Amounts(photos=encoded, captions=captions, pictures=schedule.pictures, measured=measured)
    return estimate(run, counts, amounts, speed, pace)


def verdict(need: Footprint, room: int | None, hints: Sequence[Hint], disk: int, free_disk: int) -> str:
    """Return one sentence: whether a run fits, and if not, what to change.

    Args:
        room: bytes that tensors may take; None if nobody knows.
        disk: bytes that the run leaves on the disk.
    """
    takes = f"about {gib(need.needs)} while {need.fullest}"
    if disk > free_disk:
        return f"It does not fit: it leaves about {gib(disk)} on the disk, of which {gib(free_disk)} are free."
    if room is None:
        return f"It takes {takes}; no such card is here to compare with, and hardware.memory_gb=8 would name one."
    if need.needs <= room:
        return f"It fits: {takes}, and {gib(room)} may be used."
    if not hints or not hints[-1].fits:
        return f"It does not fit, whatever is changed: {takes}, and {gib(room)} may be used."
    enough = f"with {hints[0].override}" if len(hints) == 1 else f"with the {len(hints)} changes below"
    return f"It does not fit: {takes}, and {gib(room)} may be used; it fits {enough}."


@uncollected()
def require_card(run: RunConfig, dataset: Dataset) -> None:
    """Raise UserError if a run cannot fit into what is free on its card; a CPU's memory is not asked."""
    from lorasweep.plan.counting import Counting

    if planned_device(run.hardware.device) == "cuda":
        free = free_memory(run, "cuda")
        counting = Counting(run.model, run.hardware.precision, "cuda")
        if free is not None:
            require_room(footprint_of(run, counting, dataset, "cuda"), free)
