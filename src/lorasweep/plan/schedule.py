"""How much of everything a run makes: steps, images, bytes on the disk."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.config.schema import RunConfig
from lorasweep.data.buckets import BucketRow, Size
from lorasweep.plan.budget import drawn_steps, finer_sheets, fresh_sheets, glimpsed_steps, strength_sheets
from lorasweep.plan.footprint import states_bytes
from lorasweep.records import Dataset

if TYPE_CHECKING:
    from lorasweep.plan.counting import Counts
    from lorasweep.train.trial import Trial

PNG_BYTES = 1.7
"""Bytes per pixel of a photographic image as PNG: 450 kB at 512 x 512. Drawn people take a third of that."""
HEADER_BYTES = 2**16
"""Bytes, at most, of names, shapes and metadata in a LoRA file or a training state."""
STRIP = 1536
"""Longest side, in pixels, of MLflow's image of a prompt: its seeds side by side, shrunk."""


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """One photo and how it is resized and cropped for training."""

    file: str
    size: Size
    """Width and height on disk."""
    bucket: Size
    resized: Size
    corner: Size
    """Left and top of the crop, in pixels of ``resized``."""
    scale: float
    """Factor of its sides; above 1 it is enlarged."""
    cut: float
    """Share of its area that is cut off, 0 to 1."""
    repeats: int
    """Times it is seen in an epoch."""
    regularisation: bool
    """Whether it shows others of the class, not the subject."""


def picture_rows(trial: "Trial") -> tuple[PictureRow, ...]:
    """Return a row for every photo of a run, in order, regularisation images last."""
    subject = len(trial.dataset.train)
    return tuple(
        PictureRow(
            file=photo.path.name,
            size=placed.size,
            bucket=placed.bucket,
            resized=placed.resized,
            corner=placed.corner,
            scale=placed.scale,
            cut=placed.cut,
            repeats=photo.repeats,
            regularisation=number >= subject,
        )
        for number, (photo, placed) in enumerate(zip(trial.pictures, trial.placements, strict=True))
    )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What a run does, in numbers."""

    photos: int
    """Photos of the subject that are trained on."""
    regularisation: int
    """Images of others of the class that are trained on too."""
    held_out: int
    repeats: tuple[int, ...]
    """How often photos of the subject are seen in an epoch: the different numbers, sorted."""
    captions: int
    """Different captions."""
    buckets: tuple[BucketRow, ...]
    """One row per size."""
    placements: tuple[PictureRow, ...]
    """One row per photo."""
    steps: int
    steps_per_epoch: int
    epochs: float
    checkpoints: tuple[int, ...]
    drawn: tuple[int, ...]
    """Checkpoints that are drawn and scored as they are saved; ``evaluate.budget`` may leave some out."""
    finer: int
    """How many of those left out are drawn at the end, next to the pick."""
    pictures: int
    """Images drawn in all, at most."""


def schedule_of(run: RunConfig, dataset: Dataset) -> Schedule:
    """Return steps, epochs and images of a run, without training it."""
    # by the functions that training itself uses, so that a plan cannot disagree with its run
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
    """Return how many images a run draws at most: checkpoints, base model, steps between, finalists on fresh seeds.

    Args:
        drawn: steps of the checkpoints that are drawn as they are saved.
    """
    from lorasweep.train.schedules import checkpoint_steps

    prompts, glimpsed = len(run.sample.prompts), len(glimpsed_steps(run, drawn))
    if not drawn:
        return glimpsed * prompts * len(run.sample.seeds)
    looked_at = len(drawn) + finer_sheets(run, len(checkpoint_steps(run)))
    standing = looked_at + glimpsed + 1
    fresh = fresh_sheets(run, looked_at) + strength_sheets(run)
    return prompts * (standing * len(run.sample.seeds) + fresh * len(run.sample.fresh_seeds))


def disk_of(run: RunConfig, counts: "Counts", schedule: Schedule) -> dict[str, int]:
    """Return the bytes that a run leaves on the disk, by what they hold."""
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
        # its LoRA files are hard links and take nothing; its images of a prompt are files of their own
        "MLflow": int(pictures * shrunk) if run.track.mlflow else 0,
        "caches": cached if run.hardware.cache == "disk" else 0,
    }


def free_disk_at(root: Path) -> int:
    """Return the free bytes of the disk on which ``root`` is, or would be made."""
    there = next(folder for folder in (root.resolve(), *root.resolve().parents) if folder.exists())
    return shutil.disk_usage(there).free
