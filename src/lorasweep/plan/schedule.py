"""How much of everything a run makes: steps, pictures, bytes on the disk."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.config.schema import RunConfig
from lorasweep.data.buckets import BucketRow
from lorasweep.plan.budget import drawn_steps, finer_sheets, fresh_sheets, glimpsed_steps, strength_sheets
from lorasweep.plan.footprint import states_bytes
from lorasweep.plan.sizes import PictureRow, picture_rows
from lorasweep.records import Dataset

if TYPE_CHECKING:
    from lorasweep.plan.counting import Counts

PNG_BYTES = 1.7
"""A pixel of a photographic picture as PNG: 450 kB at 512 x 512. Drawn people take a third of that."""
HEADER_BYTES = 2**16
"""Of a LoRA file or a training state, at most: names, shapes and metadata."""
STRIP = 1536
"""Longest side in pixels of what MLflow is shown of a prompt: its seeds side by side, a copy of its own."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What a run does, in numbers."""

    photos: int
    """Of the subject, trained on."""
    regularisation: int
    """Pictures of others of the class, trained on too."""
    held_out: int
    repeats: tuple[int, ...]
    """How often photos of the subject are seen in an epoch: the different numbers, sorted."""
    captions: int
    """Different ones."""
    buckets: tuple[BucketRow, ...]
    """One row a size."""
    placements: tuple[PictureRow, ...]
    """One row a picture."""
    steps: int
    steps_per_epoch: int
    epochs: float
    checkpoints: tuple[int, ...]
    drawn: tuple[int, ...]
    """Checkpoints that are drawn and scored as they come; ``evaluate.budget`` may leave some out."""
    finer: int
    """So many of those left out are drawn at the end, next to the pick."""
    pictures: int
    """Drawn in all, at most."""


def schedule_of(run: RunConfig, dataset: Dataset) -> Schedule:
    """Steps, epochs and pictures, by the very functions that training uses."""
    from lorasweep.train.schedules import checkpoint_steps
    from lorasweep.train.trial import Trial

    trial = Trial("plan", run, dataset, Path())
    steps = checkpoint_steps(run)
    drawn = drawn_steps(run, steps) if run.evaluate.enabled and run.sample.prompts else ()
    return Schedule(
        photos=len(dataset.train),
        regularisation=len(dataset.regularisation),
        held_out=len(dataset.held_out),
        repeats=tuple(sorted({photo.repeats for photo in dataset.train})),
        captions=len({photo.caption for photo in trial.pictures}),
        buckets=trial.table,
        placements=picture_rows(trial),
        steps=run.optim.steps,
        steps_per_epoch=trial.steps_per_epoch,
        epochs=run.optim.steps / trial.steps_per_epoch,
        checkpoints=steps,
        drawn=drawn,
        finer=finer_sheets(run, len(steps)) if drawn else 0,
        pictures=pictures_in_all(run, drawn),
    )


def pictures_in_all(run: RunConfig, drawn: Sequence[int]) -> int:
    """Pictures on standing and on fresh seeds, the base model's own and those between checkpoints included."""
    from lorasweep.train.schedules import checkpoint_steps

    prompts, glimpsed = len(run.sample.prompts), len(glimpsed_steps(run, drawn))
    if not drawn:
        return glimpsed * prompts * len(run.sample.seeds)
    looked_at = len(drawn) + finer_sheets(run, len(checkpoint_steps(run)))
    standing = looked_at + glimpsed + 1
    fresh = fresh_sheets(run, looked_at) + strength_sheets(run, looked_at)
    return prompts * (standing * len(run.sample.seeds) + fresh * len(run.sample.fresh_seeds))


def disk_of(run: RunConfig, counts: "Counts", schedule: Schedule) -> dict[str, int]:
    """Bytes that a run leaves. MLflow's copies of LoRA files are hard links, its strips of pictures are not."""
    from lorasweep.plan.counting import picture_size

    width, height = picture_size(run)
    state = 4 * counts.values + states_bytes(run, counts)
    encoded = (schedule.photos + schedule.regularisation) * (1 + run.data.flip)  # mirror images have their own latents
    cached = encoded * counts.latents + (schedule.captions + 1) * counts.text
    pictures = int(schedule.pictures * width * height * PNG_BYTES)
    row = width * len(run.sample.seeds)
    shrunk = min(1.0, STRIP / max(row, height)) ** 2
    return {
        "LoRA files": len(schedule.checkpoints) * (counts.file + HEADER_BYTES),
        "training states": min(run.save.states_kept, len(schedule.checkpoints)) * (state + HEADER_BYTES),
        "pictures": pictures,
        "MLflow": int(pictures * shrunk) if run.track.mlflow else 0,
        "caches": cached if run.hardware.cache == "disk" else 0,
    }


def free_disk_at(root: Path) -> int:
    """Bytes that are free where runs are kept."""
    there = next(folder for folder in (root.resolve(), *root.resolve().parents) if folder.exists())
    return shutil.disk_usage(there).free
