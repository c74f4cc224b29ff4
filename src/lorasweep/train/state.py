"""A trial's full state: what it starts from, and what it goes on from after a stop or a crash, bit-equal.

``state/step-000100/state.json`` is written after ``tensors.safetensors``, whose sha256 it holds; a state without it,
or with another sha256, does not exist. It holds no clock time: the same training makes the same bytes.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load
from torch import Tensor

from lorasweep.data.atomic import sweep_temporaries, write_atomically
from lorasweep.errors import UserError
from lorasweep.models.family import Family, model_hash
from lorasweep.models.lora.file import init_file, read_lora
from lorasweep.models.lora.header import safetensors_bytes
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import Adapter, LoraWeights, module_shapes, part_of
from lorasweep.train.randomness import seed_for
from lorasweep.train.trial import Trial

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig

log = logging.getLogger(__name__)

FIRST_LOSS_SCALE = 2.0**16
"""Of fp16 training, as in torch's GradScaler."""


@dataclass
class TrainingState:
    """All that a trial needs to go on, whatever its neighbours do."""

    step: int
    """Optimiser steps taken."""
    adapter: Adapter
    optimizer_tensors: dict[str, Tensor] = field(default_factory=dict)
    optimizer_numbers: dict[str, Any] = field(default_factory=dict)
    loss_scale: float = 1.0
    good_steps: int = 0
    """Steps since the loss scale last changed."""
    widths: set[int] = field(default_factory=set)
    """Cohort widths that the trial was trained at; results are bit-equal if these are equal."""


def fresh_state(trial: Trial, family: Family) -> TrainingState:
    """Return the state before the first step."""
    half = trial.config.hardware.precision == "fp16"
    adapter = starting_adapter(trial.config, family)
    return TrainingState(step=0, adapter=adapter, loss_scale=FIRST_LOSS_SCALE if half else 1.0)


def starting_adapter(config: "RunConfig", family: Family) -> Adapter:
    """Return the adapter at step 0: ``lora.init``, or PEFT's fresh one as a function of the seed.

    Raises:
        UserError: the file is none of this base model, or changes a text encoder that is not to be trained.
    """
    if config.lora.init is None:
        return initial_adapter(family, config.lora, seed_for(config.seed, "adapter"))
    adapter = read_lora(init_file(config.lora.init), family)
    if not config.lora.text_encoder and any(part_of(name) == "text" for name in adapter):
        raise UserError(
            f"lora.init is {config.lora.init!r}, which changes the text encoder too; train it on with "
            "lora.text_encoder=true."
        )
    return adapter


def mean_scale(adapter: Adapter) -> float:
    """Return the mean of alpha / rank over the modules, which makes learning rates comparable between trainers."""
    return sum(weights.alpha / weights.rank for weights in adapter.values()) / len(adapter)


def save_state(trial: Trial, family: Family, state: TrainingState) -> Path:
    """Write the full state and drop all but the newest ``save.states_kept``; return its folder."""
    folder = trial.folder / "state" / f"step-{state.step:06d}"
    tensors = {f"optimizer/{key}": value.contiguous() for key, value in state.optimizer_tensors.items()}
    for name, weights in state.adapter.items():
        tensors |= {f"down/{name}": weights.down.contiguous(), f"up/{name}": weights.up.contiguous()}
        # by module, since a file that training started from may have an alpha of its own for each
        tensors[f"alpha/{name}"] = torch.tensor(weights.alpha, dtype=torch.float64)
    data = safetensors_bytes(tensors, {})
    write_atomically(folder / "tensors.safetensors", data)
    facts = {
        "step": state.step,
        "sha256": hashlib.sha256(data).hexdigest(),
        "fits": _fits(trial, family),
        "optimizer": state.optimizer_numbers,
        "loss_scale": state.loss_scale,
        "good_steps": state.good_steps,
        "widths": sorted(state.widths),
    }
    write_atomically(folder / "state.json", json.dumps(facts, indent=1).encode())
    for old in _state_folders(trial.folder)[trial.config.save.states_kept :]:
        (old / "state.json").unlink(missing_ok=True)  # first, so that half a removal is no state
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _fits(trial: Trial, family: Family) -> dict[str, Any]:
    """What must be the same for a state to go on as if nothing had happened."""
    # not the learning rate, the schedule or the steps: a run may be extended
    config = trial.config
    return {
        "seed": config.seed,
        "lora.rank": config.lora.rank,
        "lora.alpha": config.lora.alpha,
        "lora.targets": config.lora.targets,
        "lora.text_encoder": config.lora.text_encoder,
        "lora.init": config.lora.init,
        "optim.name": config.optim.name,
        "optim.batch_size": config.optim.batch_size,
        "optim.gradient_accumulation": config.optim.gradient_accumulation,
        "model.path": model_hash(family),
        "data.path": trial.dataset.fingerprint,
    }


def _state_folders(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted((folder / "state").glob("step-*"), reverse=True)


def widths_met(folder: Path) -> tuple[int, ...]:
    """Return the cohort widths that a run was trained at over all its sessions, ascending.

    Empty if the run's folder holds no state, as before the first checkpoint.
    """
    for state in _state_folders(folder):
        facts = _read_facts(state)
        if facts is not None:
            return tuple(facts["widths"])
    return ()


def _read_facts(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def load_state(trial: Trial, family: Family) -> TrainingState | None:
    """Return the newest state that is whole, or None. Leftovers of a killed process are swept away first.

    Raises:
        UserError: the state belongs to another configuration.
    """
    # the run's lock is held: nobody else writes in these folders
    for folder in (trial.folder / "checkpoints", *_state_folders(trial.folder)):
        sweep_temporaries(folder)
    for folder in _state_folders(trial.folder):
        state = _read_state(trial, family, folder)
        if state is not None:
            return state
    return None


def _read_state(trial: Trial, family: Family, folder: Path) -> TrainingState | None:
    facts = _read_facts(folder)
    try:
        data = (folder / "tensors.safetensors").read_bytes()
    except OSError:
        data = None
    if facts is None or data is None:
        log.warning("%s was not written to the end; going back to the state before it.", folder)
        return None
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        log.warning("%s is not what was written; going back to the state before it.", folder)
        return None
    _require_fit(facts["fits"], _fits(trial, family), folder)
    tensors = load(data)
    names = [key.removeprefix("down/") for key in tensors if key.startswith("down/")]
    found = {
        name: LoraWeights(tensors[f"down/{name}"], tensors[f"up/{name}"], float(tensors[f"alpha/{name}"]))
        for name in names
    }
    order = [name for name in module_shapes(family.components) if name in found]  # safetensors has an order of its own
    return TrainingState(
        step=facts["step"],
        adapter={name: found[name] for name in order},
        optimizer_tensors={
            key.removeprefix("optimizer/"): value for key, value in tensors.items() if key.startswith("optimizer/")
        },
        optimizer_numbers=facts["optimizer"],
        loss_scale=facts["loss_scale"],
        good_steps=facts["good_steps"],
        widths=set(facts["widths"]),
    )


def _require_fit(saved: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    for key, value in now.items():
        if saved.get(key) != value:
            raise UserError(
                f"{folder} was saved with {key}={saved.get(key)!r}, but the run now has {value!r}; "
                "resume with the run's own configuration or start a new run."
            )
