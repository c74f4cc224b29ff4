"""``lorasweep plan``: what a run will be and cost, before it is trained and without its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.config.card import planned_device
from lorasweep.config.schema import RunConfig
from lorasweep.data.dataset import all_photos, read_dataset
from lorasweep.plan.budget import announcement, measuring_cost, measuring_words
from lorasweep.plan.duration import Amounts, Duration, Speed, estimate, measure, remembered_pace
from lorasweep.plan.footprint import GIB, Footprint, Hint, advice, footprint, gib, require_room
from lorasweep.plan.photo_notes import photo_notes
from lorasweep.plan.schedule import Schedule, disk_of, free_disk_at, schedule_of
from lorasweep.records import Dataset

if TYPE_CHECKING:
    import torch

    from lorasweep.plan.counting import Counting, Counts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run before it begins."""

    notes: tuple[str, ...]
    """What the user may not expect of the photos."""
    schedule: Schedule
    drawing: str
    """What judging costs, as the run itself will say it."""
    measuring: str
    """What losses on fixed noise cost, '' where none are measured."""
    base: str
    """How the base model is kept (full, fp8 or nf4) and computed, in words."""
    memory: Footprint
    peak: int
    """Bytes of the card, or of memory on a CPU."""
    fullest: str
    """The phase that takes them: encoding, training or drawing."""
    room: int | None
    """Bytes that tensors may take; None where this machine cannot say."""
    duration: Duration | None
    """None where the device is not here."""
    disk: dict[str, int]
    """Bytes by what they hold."""
    free_disk: int
    hints: tuple[Hint, ...]
    """What to change until it fits."""
    fits: bool
    verdict: str


def plan_of(run: RunConfig) -> Plan:
    """The plan of a run that is composed already."""
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
    """The memory that a run on these photos takes."""
    photos = (*dataset.train, *dataset.regularisation)
    texts = {photo.caption for photo in photos} | {""}
    prompts = {word for prompt in run.sample.prompts.values() for word in (prompt.text, prompt.negative)}
    captions = len(texts) + (len(prompts) if run.evaluate.enabled else 0)
    counts = counting(run, width)
    encoded = len(photos) * (1 + run.data.flip)
    return footprint(run, counts, width=width, photos=encoded, captions=captions, device=device)


def free_memory(run: RunConfig, device: str) -> int | None:
    """Bytes that tensors may take: what is free, and no more than ``hardware.memory_gb``; None where nobody knows."""
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
    """About how long it takes; None where the card that it is planned for is not in this machine."""
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
    captions = schedule.captions + 1
    amounts = Amounts(photos=encoded, captions=captions, pictures=schedule.pictures, measured=measured)
    return estimate(run, counts, amounts, speed, pace)


def verdict(need: Footprint, room: int | None, hints: Sequence[Hint], disk: int, free_disk: int) -> str:
    """One sentence: whether it fits, and if not, what to change."""
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


def require_card(run: RunConfig, dataset: Dataset) -> None:
    """Raise UserError where a run cannot fit into what is free of its card; on a CPU nothing is asked."""
    from lorasweep.plan.counting import Counting

    if planned_device(run.hardware.device) == "cuda":
        free = free_memory(run, "cuda")
        counting = Counting(run.model, run.hardware.precision, "cuda")
        if free is not None:
            require_room(footprint_of(run, counting, dataset, "cuda"), free)
