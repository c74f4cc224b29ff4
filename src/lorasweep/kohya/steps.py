"""How many steps Kohya trains: given, counted by its GUI, or counted by sd-scripts.

The GUI divides the number of images by those of a step and rounds up once (``kohya_gui/lora_gui.py: train_model``).
sd-scripts counts the batches of every bucket, short last ones included, and rounds up in every epoch
(``train_network.py``).
"""

import math
from dataclasses import dataclass

from lorasweep.errors import UserError
from lorasweep.kohya.draft import Draft, Status, plain
from lorasweep.kohya.keys import as_number

FEWEST = 6
"""Checkpoints that a pick needs; Kohya's own spacing is not taken over if it makes fewer."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A folder of photos as Kohya counts it."""

    pictures: int
    """Images with repeats, as the GUI counts them: no .bmp, no regularisation images."""
    batches: int
    """Batches of an epoch, as sd-scripts makes them: of regularisation images too."""


@dataclass(frozen=True, kw_only=True)
class Length:
    """Which setting says how many steps there are, and in which unit."""

    steps: int | None = None
    """The steps, if they are given outright."""
    name: str = "max_train_steps"
    """The setting that counts."""
    epochs: int = 0
    by_gui: bool = False
    """Whether the GUI turns epochs into steps, or sd-scripts."""


def length_of(draft: Draft, gui: bool) -> Length:
    """Return which of ``max_train_epochs``, ``max_train_steps`` and ``epoch`` counts."""
    epochs = draft.whole("max_train_epochs")
    if epochs > 0:
        return Length(name="max_train_epochs", epochs=epochs)
    given = "max_train_steps" in draft.said and draft.text("max_train_steps") != ""
    steps = as_number(draft.said["max_train_steps"].value) if given else None
    # a GUI's file without max_train_steps is older than that field, and the GUI counted epochs then
    if gui and not steps and not draft.text("dataset_config"):
        return Length(name="epoch", epochs=max(1, draft.whole("epoch")), by_gui=True)
    return Length(steps=draft.whole("max_train_steps") or int(draft.defaults["max_train_steps"]))


def steps_of(draft: Draft, length: Length, counts: Counts | None) -> int:
    """Return the optimiser steps in all; ``counts`` is needed unless they are given outright."""
    if length.steps is not None:
        return length.steps
    assert counts is not None  # ``counts_of`` has raised if it was needed and could not be had
    batch, parts = draft.sets["optim.batch_size"], draft.sets["optim.gradient_accumulation"]
    if length.by_gui:
        # the GUI doubles its steps for regularisation images, however many there are
        factor = 2 if draft.sets.get("data.regularisation_path") else 1
        # multiplied in the GUI's own order, since floating-point rounding decides on the last step
        return math.ceil(counts.pictures / batch / parts * length.epochs * factor)
    return length.epochs * epoch_of(counts, parts)


def epoch_of(counts: Counts, parts: int) -> int:
    """Return the optimiser steps after which sd-scripts ends an epoch."""
    return math.ceil(counts.batches / parts)


def carry_steps(draft: Draft, length: Length, steps: int, counts: Counts | None) -> None:
    """Carry the steps, and what is counted in them: warm-up, decay, checkpoints."""
    if steps < 1:
        raise UserError(f"{draft.name_of(length.name)} comes to {steps} steps; there must be one at least")
    how = (
        "" if length.steps else f"{length.epochs} epochs, as {'the GUI' if length.by_gui else 'sd-scripts'} counts them"
    )
    draft.carry(length.name, "optim.steps", steps, how)
    for name in ("epoch", "max_train_epochs", "max_train_steps"):
        if name != length.name:
            draft.note(name, Status.INERT, f"{draft.name_of(length.name)} counts")
    warmup = _part(draft, "lr_warmup_steps", steps)
    draft.carry(
        "lr_warmup_steps", "optim.warmup_steps", warmup, "sd-scripts' first step has a rate of 0" if warmup else ""
    )
    if warmup and draft.text("lr_scheduler") == "constant":
        draft.near("lr_warmup_steps", "optim.warmup_steps", warmup, "sd-scripts refuses a warm-up with constant")
    if draft.sets["optim.schedule"] == "wsd":
        draft.carry("lr_decay_steps", "optim.decay_fraction", _part(draft, "lr_decay_steps", steps) / steps)
    _carry_checkpoints(draft, steps, counts)


def _part(draft: Draft, name: str, steps: int) -> int:
    """Return a number of steps that may be written as a share of all steps: with a point, or in percent."""
    value = draft.value(name)
    text = str(value if value is not None else 0).strip()
    share = as_number(text.removesuffix("%"))
    if share is None or share < 0:
        raise UserError(f"{draft.name_of(name)} is {value!r}; it must be a number of steps, or a share below 1")
    if text.endswith("%"):
        share /= 100
    elif share >= 1 and not isinstance(value, float):
        return int(share)
    if share > 1:
        raise UserError(f"{draft.name_of(name)} is {value!r}, which sd-scripts reads as a share; write {int(share)}")
    return int(share * steps)


def _carry_checkpoints(draft: Draft, steps: int, counts: Counts | None) -> None:
    every, epochs = draft.whole("save_every_n_steps"), draft.whole("save_every_n_epochs")
    names = [name for name, value in (("save_every_n_steps", every), ("save_every_n_epochs", epochs)) if value > 0]
    if not names:
        return
    name = names[0]
    if not every and counts is not None:
        every = epochs * epoch_of(counts, draft.sets["optim.gradient_accumulation"])
    if not every:
        draft.note(name, Status.NEAR, "12 checkpoints are spread evenly: without the photos an epoch is not known")
    elif math.ceil(steps / every) < FEWEST:  # a pick needs more to choose from
        few = math.ceil(steps / every)
        draft.note(name, Status.NEAR, f"12 checkpoints are spread evenly: {few} would be too few to pick from")
    else:
        draft.carry(name, "save.every_steps", every)
    for other in names[1:]:
        draft.note(other, Status.INERT, f"{name} counts ({plain(every)} steps)")
