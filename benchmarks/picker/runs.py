"""The trajectories as records: what was drawn, the oracle's readings, and smaller sheets taken from it."""

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.picker.packing import unpack, unpack_features
from benchmarks.world.oracle import soundness_of
from lorasweep.records import Evidence, Features, Floats, Prompt

DEFAULT_RANK = 16
"""Rank of a run that is called after its rate alone; others are called RATE/RANK."""
RATE = "rate"
PARTS = ("distance", "scene_match", "residual", "copy")
"""The fields of an oracle's reading that its quality is made of."""
DELTA = 0.05
"""A checkpoint is acceptable if its oracle quality is no further than this below the run's best."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One run of E checkpoints, N samples each."""

    person: int
    way: str
    """What is done wrong: a key of `ways.WAYS`, or RATE of those that differ in their rate alone."""
    rate: float
    rank: int
    steps: tuple[int, ...]
    evidence: Evidence
    """With all seeds."""
    sheets: tuple[Features, ...]
    """[E], in the evidence's order of prompts and seeds."""
    confirm: Floats
    """[E, N, D] vectors by the face network that no score uses; zero without a face."""
    confirm_evidence: Evidence
    """The evidence with faces as that network sees them."""
    validation: Floats
    """[E] loss on held-out photos at fixed noise."""
    dvar_stop: int | None
    """The step at which DVAR would have stopped."""
    read: Floats
    """[E, J] the truth: oracle quality of the samples that should show the subject in a photo, prompt-major."""
    base_quality: float
    parts: Mapping[str, Floats]
    """[E] what else the oracle tells, by the names of its fields: means over the same samples."""
    soundness: Floats
    """[E] the factor that its `residual` makes, mean over the same samples."""

    @functools.cached_property
    def quality(self) -> Floats:
        """Return [E] means of the oracle's readings."""
        return self.read.mean(axis=1)

    @functools.cached_property
    def acceptable(self) -> NDArray[np.bool_]:
        """Return [E] booleans."""
        return self.quality >= self.quality.max() - DELTA

    @property
    def best(self) -> int:
        return int(np.argmax(self.quality))

    @property
    def latest_acceptable(self) -> int:
        return int(np.flatnonzero(self.acceptable)[-1])

    def regret(self, place: int | None) -> float:
        """Return the regret of a pick; without one the user is left with the base model."""
        return float(self.quality.max() - (self.base_quality if place is None else self.quality[place]))


@dataclass(frozen=True, kw_only=True)
class Redraw:
    """A smaller sheet, as if only these samples had been drawn, and as many others on fresh seeds."""

    rows: NDArray[np.intp]
    """[P', S'] indices into the trajectory's samples."""
    fresh: NDArray[np.intp] | None
    """[P', S'] none of which is in `rows`; None if all samples are used."""

    def sheet(self, features: Features, *, fresh: bool = False) -> Features:
        rows = self.fresh if fresh and self.fresh is not None else self.rows
        return take(features, rows.ravel())

    def swapped(self) -> "Redraw":
        """Return the fresh samples as the sheet. Raise ValueError if there are none."""
        if self.fresh is None:
            raise ValueError("all pictures are in the sheet; none are left")
        return Redraw(rows=self.fresh, fresh=self.rows)

    def evidence(self, whole: Evidence, *, fresh: bool = False) -> Evidence:
        """Return the same photos with fewer prompts or seeds; seeds are renumbered, since each prompt has its own."""
        per_prompt = len(whole.seeds)
        prompts = self.rows[:, 0] // per_prompt
        return replace(
            whole,
            prompts=tuple(whole.prompts[place] for place in prompts),
            seeds=tuple(range(self.rows.shape[1])),
            texts=whole.texts[prompts],
            base=self.sheet(whole.base, fresh=fresh),
            spare=None if self.fresh is None else self.sheet(whole.base, fresh=not fresh),
        )


def redraw(prompts: int, seeds: int, pictures: int, rng: np.random.Generator) -> Redraw:
    """Draw `pictures` samples of prompts x seeds: every prompt if they suffice for one seed each, else some prompts."""
    per_prompt = max(1, pictures // prompts)
    chosen = np.arange(prompts) if pictures >= prompts else np.sort(rng.permutation(prompts)[:pictures])
    orders = np.stack([rng.permutation(seeds) for _ in chosen])
    first = chosen[:, None] * seeds
    enough = 2 * per_prompt <= seeds
    fresh = first + np.sort(orders[:, per_prompt : 2 * per_prompt], axis=1) if enough else None
    return Redraw(rows=first + np.sort(orders[:, :per_prompt], axis=1), fresh=fresh)


def take(features: Features, rows: NDArray[np.intp]) -> Features:
    """Return the samples in `rows`; keys stay, and columns that nobody filled stay empty."""
    columns = {part.name: getattr(features, part.name) for part in fields(Features) if part.name != "keys"}
    seen = {name: values for name, values in columns.items() if values is not None and len(values)}
    return replace(features, keys=tuple(features.keys[row] for row in rows), **{n: v[rows] for n, v in seen.items()})


def read_shards(folder: Path, people: Iterable[int]) -> list[Trajectory]:
    """Return all runs of these people whose shards exist."""
    files = [folder / f"person-{person}.json" for person in people]
    return [run for file in files if file.exists() for run in read_shard(json.loads(file.read_text(encoding="utf-8")))]


def read_shard(shard: dict[str, Any]) -> list[Trajectory]:
    """Return one person's runs."""
    prompts = tuple(Prompt(**prompt) for prompt in shard["prompts"])
    parts = {part: unpack_features(shard[part]) for part in ("train", "mirrored", "held_out", "base")}
    evidence = Evidence(prompts=prompts, seeds=tuple(shard["seeds"]), texts=unpack(shard["texts"]), **parts)  # pyright: ignore[reportArgumentType]
    judged = np.repeat([prompt.subject and prompt.photo and prompt.face for prompt in prompts], len(shard["seeds"]))
    base = unpack(shard["base_seen"]["quality"])
    confirm = {part: unpack(vectors) for part, vectors in shard["confirm"].items()}
    confirm["base"] = unpack(shard["base_seen"]["confirm"])
    seen_again = {part: replace(parts[part], face=vectors) for part, vectors in confirm.items()}
    return [
        Trajectory(
            person=shard["person"],
            way=shard.get("way", RATE),
            rate=shard["rate"] if "way" in shard else float(name.partition("/")[0]),
            rank=shard["rank"] if "way" in shard else int(name.partition("/")[2] or DEFAULT_RANK),
            steps=tuple(run["steps"]),
            evidence=evidence,
            sheets=_sheets(unpack_features(run["features"]), len(run["steps"])),
            confirm=_by_checkpoint(run, "confirm"),
            confirm_evidence=replace(evidence, **seen_again),
            validation=np.array(run["validation"]),
            dvar_stop=run["dvar_step"],
            read=_by_checkpoint(run, "quality")[:, judged],
            base_quality=float(base[judged].mean()),
            parts={part: _by_checkpoint(run, part)[:, judged].mean(axis=1) for part in PARTS},
            soundness=soundness_of(_by_checkpoint(run, "residual")[:, judged]).mean(axis=1),
        )
        for name, run in shard["runs"].items()
    ]


def _by_checkpoint(run: dict[str, Any], name: str) -> Floats:
    values = unpack(run["seen"][name])
    return values.reshape(len(run["steps"]), -1, *values.shape[1:])


def _sheets(features: Features, count: int) -> tuple[Features, ...]:
    size = len(features.keys) // count
    return tuple(take(features, np.arange(place * size, (place + 1) * size)) for place in range(count))
