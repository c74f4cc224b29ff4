"""LoRA runs on drawn people, trained and drawn up to the latents; `benchmarks.picker.looks` decodes and reads them.

A card makes this part fast: all runs of all people are one cohort there, since they share a base. Sixty runs took three
minutes, the oracle's reading of their 23,040 samples most of an hour on two cores; seventeen processes on the card were
slower than one cohort. Latents are kept in 8 bits, small enough to be carried elsewhere: decoded samples then differ by
0.13 of 256 grey levels on average and 2 at most, the oracle's quality of a checkpoint by less than 0.003.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.printing import machine
from benchmarks.signatures import model_hashes, signature
from lorasweep.portraits.folder import write_person

if TYPE_CHECKING:
    from lorasweep.portraits.people import Identity

SCRATCH = Path(".cache/trajectories")
SIDE_BY_SIDE = {"cuda": 128, "cpu": 8}
"""Runs that are trained as one cohort."""
TOGETHER = {"cuda": 48, "cpu": 2}
"""Checkpoints that are drawn in the same batches."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of each person, and what is drawn of them."""

    name: str
    words: tuple[str, ...]
    """Overrides that all runs share."""
    runs: Mapping[str, tuple[str, ...]]
    """Name of a run to its own overrides."""
    read_seeds: tuple[int, ...]
    """Seeds whose samples the oracle reads."""
    write: "Callable[[Path, int], Identity]" = write_person
    """Writes photos to train on and photos held out of the person of a seed into a folder; returns that person."""
    taught: str = ""
    """Hash of what `write` writes, if it is not `write_person`."""
    label: str = "person"
    """What the shards are called before the person."""

    def config(self, name: str, photos: Path = Path("photos"), device: str = "cpu") -> Any:
        """Return the run of this name over a person's photos."""
        from lorasweep.config.compose import as_override, load_run

        places = {"data.path": photos, "data.held_out_path": photos.with_name("held_out")}
        there = [as_override(key, str(path)) for key, path in places.items()]
        return load_run([*self.words, *there, f"hardware.device={device}", *self.runs[name]])

    @property
    def first(self) -> str:
        """Return the name of a run that stands for all: they differ in nothing that a sample's look depends on."""
        return next(iter(self.runs))

    def ingredients(self) -> str:
        """Return a short hash of what the samples depend on except the device: models, oracle, configuration."""
        from benchmarks.world.oracle import oracle_signature

        run = self.config(self.first)
        texts = {key: prompt.text for key, prompt in run.sample.prompts.items()}
        drawn = [texts, run.sample.guidance, run.sample.sampler, run.sample.steps, run.seed]
        trained = [run.lora.rank, run.lora.alpha, run.lora.targets, run.optim.batch_size, run.optim.weight_decay]
        facts = {
            "words": self.words,
            "runs": {**self.runs},
            "read": self.read_seeds,
            "drawn": drawn,
            "trained": trained,
        }
        facts |= {"taught": self.taught} if self.taught else {}  # the old shards are signed without it
        return signature({"models": model_hashes(), "oracle": oracle_signature(), **facts})

    @property
    def root(self) -> Path:
        """Return the folder where all of it is made."""
        return SCRATCH / f"{self.name}-{self.ingredients()}"

    def photos(self, person: int) -> Path:
        """Return the folder of the photos that a person's runs are trained on; the held-out ones lie beside it."""
        return self.root / f"person-{person}" / "photos"

    def shard(self, person: int) -> str:
        """Return the file name of a person's shard."""
        return f"{self.label}-{person}.json"

    def latents(self, person: int) -> Path:
        """Return the file that `sample` leaves."""
        return self.root / f"latents-{person}.npz"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def sample(plan: Plan, people: Sequence[int]) -> None:
    """Train all runs of some people side by side, draw every checkpoint and the base model, keep latents and losses."""
    from lorasweep.models import load_family
    from lorasweep.run.entries import dataset_of
    from lorasweep.train.cohort import Cohort
    from lorasweep.train.trial import Trial
    from lorasweep.train.validation import FixedLoss

    trials: dict[str, Trial] = {}
    for person in people:
        photos = plan.photos(person)
        plan.write(photos.parent, person)
        for name in plan.runs:
            run = plan.config(name, photos, _device())
            place = photos.parent / "runs" / name.replace("/", "-")
            shutil.rmtree(place, ignore_errors=True)  # half a run whose losses went with the process that watched them
            trials[f"{person} {name}"] = Trial(f"{person} {name}", run, dataset_of(run), place)
    first = next(iter(trials.values())).config
    family = load_family(first.model, first.hardware)
    whole = Cohort(family, 1)  # never trains: it holds the latents and texts that all share
    loss = FixedLoss(family, whole.latents, whole.texts)
    checkpoints: list[Any] = []
    watched: dict[str, list[tuple[int, float]]] = {}
    names, width = list(trials), SIDE_BY_SIDE[family.device.type]
    for start in range(0, len(names), width):
        some = {name: trials[name] for name in names[start : start + width]}
        cohort = Cohort(family, len(some))
        cohort.latents, cohort.texts = whole.latents, whole.texts
        found, seen = _train(cohort, some, loss)
        checkpoints += found
        watched |= seen
    latents, validation = _draw(family, checkpoints, trials, loss)
    base = _latents(family, 1, first, whole.texts)[0]
    for person in people:
        arrays, losses = {}, {}
        for name in plan.runs:
            mine = [each for each in checkpoints if each.trial == f"{person} {name}"]
            arrays[name] = np.concatenate([latents[each.trial, each.step] for each in mine])
            losses[name] = {
                "steps": [each.step for each in mine],
                "validation": [round(validation[each.trial, each.step], 6) for each in mine],
                "fixed_batch": watched[f"{person} {name}"],
            }
        facts = json.dumps({"losses": losses, "machine": machine() | {"device": _card()}})
        kept = {name: part for run, values in {"base": base, **arrays}.items() for name, part in rounded(run, values)}
        np.savez_compressed(plan.latents(person), facts=np.array(facts), **kept)  # pyright: ignore[reportArgumentType]


def rounded(run: str, latents: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return [N, c, h, w] as integers and the unit of each channel of each sample."""
    unit = (np.abs(latents).max(axis=(2, 3), keepdims=True) / 127).astype(np.float16)
    return [(run, np.round(latents / np.maximum(unit, 1e-6)).astype(np.int8)), (f"{run} unit", unit)]


def _card() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _train(cohort: Any, trials: Mapping[str, Any], loss: Any) -> tuple[list[Any], dict[str, list[tuple[int, float]]]]:
    """Return all checkpoints, and for each trial the losses that DVAR watches, by step."""
    from lorasweep.plan.budget import FIXED_BATCH, fixed_batch_every
    from lorasweep.records import Checkpoint
    from lorasweep.train.validation import fixed_rows

    rows = {name: fixed_rows(trial, trial.dataset.train, FIXED_BATCH) for name, trial in trials.items()}
    config = next(iter(trials.values())).config
    watched = {name: [(0, round(loss({}, rows[name], config), 6))] for name in trials}
    taken = 0

    def after_step() -> bool:
        nonlocal taken
        taken += 1
        if taken % fixed_batch_every(config) == 0 and cohort.trials:
            # one forward pass of the family that carries all slots measures them all
            found = loss.side_by_side(
                cohort._trained, [rows[name] for name in cohort.trials], config, trained=config.lora.text_encoder
            )
            for name, value in zip(cohort.trials, found, strict=True):
                watched[name].append((taken, round(value, 6)))
        return False

    for trial in trials.values():
        cohort.admit(trial)
    checkpoints: list[Any] = []
    while cohort.busy:
        events = cohort.run_interval(lambda _: None, after_step)
        checkpoints += [event for event in events if isinstance(event, Checkpoint)]
    return checkpoints, watched


def _draw(
    family: Any, checkpoints: Sequence[Any], trials: Mapping[str, Any], loss: Any
) -> tuple[dict[tuple[str, int], np.ndarray], dict[tuple[str, int], float]]:
    """Return latents of each checkpoint's sheet, prompt-major, and its loss on the held-out photos."""
    from lorasweep.models.lora.file import read_lora
    from lorasweep.models.lora.layer import AdapterBank, adapted
    from lorasweep.plan.budget import VALIDATION_ROWS
    from lorasweep.train.cache import TextCache
    from lorasweep.train.validation import fixed_rows

    config, together = next(iter(trials.values())).config, TOGETHER[family.device.type]
    texts = None if config.lora.text_encoder else TextCache(family)
    held_out = {name: fixed_rows(each, each.dataset.held_out, VALIDATION_ROWS) for name, each in trials.items()}
    latents, validation = {}, {}
    for start in range(0, len(checkpoints), together):
        some = checkpoints[start : start + together]
        keys = [(each.trial, each.step) for each in some]
        bank = AdapterBank([read_lora(each.path, family) for each in some], family.device)
        carrier = adapted(family, bank)
        losses = loss.side_by_side(
            carrier, [held_out[each.trial] for each in some], config, trained=config.lora.text_encoder
        )
        validation |= dict(zip(keys, losses, strict=True))
        latents |= dict(zip(keys, _latents(carrier, len(some), config, texts), strict=True))
    return latents, validation


def _latents(carrier: Any, slots: int, run: Any, texts: Any) -> list[np.ndarray]:
    """Return one [N, c, h, w] per slot, as `train.sample` does; the carrier encodes prompts if `texts` is None."""
    import torch

    from lorasweep.models.families.unet import draw_latents
    from lorasweep.train.sample import drawing_inputs

    sheet = sheet_of(run)
    chunks: list[Any] = []
    for start in range(0, len(sheet.cells), run.sample.batch_size):
        cells = sheet.cells[start : start + run.sample.batch_size]
        with torch.no_grad():
            text, negative, noise, look, seeds = drawing_inputs(carrier, cells, sheet, texts, slots)
            noise = noise.to(carrier.device)
            made = draw_latents(carrier, carrier.objective.config, text, negative, noise, look, seeds)
        chunks.append(made.view(slots, len(cells), *made.shape[1:]).cpu())
    return list(torch.cat(chunks, dim=1).numpy())


def identity_of(person: int) -> "Identity":
    """Return who the person of a seed is: the one that `write_person` draws."""
    from lorasweep.portraits.people import sample_identity

    return sample_identity(np.random.default_rng([20261, person]))


def sheet_of(run: Any) -> Any:
    """Return the run's own sheet, without fresh seeds."""
    from lorasweep.data.prompts import fill_prompts
    from lorasweep.train.sample import Sheet

    return Sheet.of(run, fill_prompts(run.sample, run.data))
