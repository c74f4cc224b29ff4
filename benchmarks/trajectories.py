"""LoRA runs on drawn people from too cold to too hot, and what is to be seen on everything that their checkpoints draw.

This is the data of `benchmarks.picker`. For every checkpoint of every run it holds what the scorers saw in each of 32
pictures (never a score: rules may change, hours of training need not be repeated), and what the oracle, which knows who
the person is, says of each; so any evaluator and any rule can be judged against the truth.

    python -m benchmarks.trajectories --jobs 2       make what is missing: hours, one file a person, restartable
    python -m benchmarks.trajectories --people 601 --anew     one shard made again, beside the committed one

People of half A are for choosing rules and thresholds, those of half B for reporting.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.packing import pack, pack_features, unpack
from benchmarks.printing import machine, print_table, write_json

RESULTS = Path(__file__).parent / "results" / "trajectories"
SCRATCH = Path(".cache/trajectories")
HALVES = {"A": tuple(range(601, 607)), "B": tuple(range(607, 613))}
"""Seeds of people who were used for nothing else."""
RATES = (3e-4, 1e-3, 3e-3, 6e-3, 8e-3)
"""At a constant rate the first one is still learning at the end, the last one falls apart before the half. They and the
number of steps were chosen on person 101."""
SEEDS = (0, 1, 2, 3)
CHECKPOINTS = 12
ORACLE = ("quality", "distance", "scene_match", "residual", "copy")
"""What of an oracle's reading is kept."""
WORDS = (
    "preset=person_portraits",
    "optim.schedule=constant",
    f"save.count={CHECKPOINTS}",
    "optim.steps=480",
    f"sample.seeds={list(SEEDS)}",
    "sample.fresh_seeds=[1000]",
    "pick.strengths=[]",
    "track.mlflow=false",
    "hardware.threads=1",
)


def make_shard(person: int, target: Path, rates: Sequence[float] = RATES) -> dict[str, Any]:
    """Train one person at every rate, look at every picture, ask the oracle; kept in `target`."""
    from lorasweep.app.judge import Judge, load_drawing_family
    from lorasweep.app.running import dataset_of, train_together
    from lorasweep.config.compose import as_override, load_run
    from lorasweep.portraits.folder import write_person
    from lorasweep.track.recall import read_run

    root = SCRATCH / ingredients() / f"person-{person}"
    identity = write_person(root, person)
    there = [
        as_override("data.path", str(root / "photos")),
        as_override("data.held_out_path", str(root / "held_out")),
        as_override("track.root", str(root / "mlruns")),
    ]
    runs = [load_run([*WORDS, *there, f"optim.lr={rate}"]) for rate in rates]
    outcomes = train_together(runs)
    judge = Judge(runs[0], load_drawing_family(runs[0]), dataset_of(runs[0]), read_run(outcomes[0].folder).prompts)
    evidence = judge.evidence(fresh=False)
    look = Look(identity, root / "photos", judge)
    shard = {
        "person": person,
        "made_with": ingredients(),
        "machine": machine(),
        "prompts": [asdict(prompt) for prompt in judge.prompts],
        "seeds": list(runs[0].sample.seeds),
        "texts": pack(evidence.texts, unit=True),
        **{part: pack_features(getattr(evidence, part)) for part in ("train", "mirrored", "held_out", "base")},
        "base_seen": look.seen([sample.path for sample in look.base_samples()], evidence.base.keys),
        "confirm": look.confirmed_photos(),
        "runs": {f"{rate:g}": look.run(read_run(done.folder)) for rate, done in zip(rates, outcomes, strict=True)},
    }
    write_json(target, shard)
    return shard


class Look:
    """Who looks at the pictures of one person's runs: scorers, the second face network, the oracle."""

    def __init__(self, identity: Any, photos: Path, judge: Any) -> None:
        from lorasweep.portraits.oracle import asked_in, load_oracle
        from lorasweep.vision.describe import shipped_weights
        from lorasweep.vision.faces import PortraitFaces

        self.identity, self.judge = identity, judge
        self._oracle = load_oracle()
        self._confirm = PortraitFaces(shipped_weights(), "face_confirm")
        self._training = [_pixels(path) for path in sorted(photos.glob("*.png"))]
        self._asked = {prompt.key: asked_in(prompt.text) for prompt in judge.prompts if prompt.subject}

    def base_samples(self) -> list[Any]:
        """Of the base model, on the standing seeds."""
        judge = self.judge
        folder = Path(judge.run.track.root) / "base" / "standing" / judge.signature
        return list(judge.base_sheet("base", folder).samples)

    def run(self, view: Any) -> dict[str, Any]:
        """One run: its steps, and what was seen in all of its pictures, checkpoint after checkpoint."""
        from lorasweep.vision.describe import describe_files

        sheets = [sheet for sheet in view.samples if sheet.step > 0 and not sheet.fresh]
        samples = [sample for sheet in sheets for sample in sheet.samples]
        keys = [f"{sample.prompt}/{sample.seed}" for sample in samples]
        paths = [sample.path for sample in samples]
        size = self.judge.run.model.resolution
        losses = {each.step: each for each in view.validation}
        return {
            "steps": [sheet.step for sheet in sheets],
            "validation": [round(losses[sheet.step].held_out, 6) for sheet in sheets],
            "fixed_batch": [[each.step, round(each.loss, 6)] for each in view.fixed_batch],
            "dvar_step": view.dvar_step,
            "features": pack_features(describe_files(paths, self.judge.scorers, keys, size=(size, size))),
            "seen": self.seen(paths, keys),
        }

    def seen(self, paths: Sequence[Path], keys: Sequence[str]) -> dict[str, Any]:
        """By everyone who is not part of a score. The oracle is asked about pictures that should show the subject."""
        readings = [self._judged(path, key.split("/")[0]) for path, key in zip(paths, keys, strict=True)]
        columns = {name: [getattr(each, name) if each else np.nan for each in readings] for name in ORACLE}
        return {
            **{name: pack(np.array(values)) for name, values in columns.items()},
            "confirm": self.confirmed(paths),
        }

    def confirmed(self, paths: Sequence[Path]) -> dict[str, Any]:
        """[N, D] vectors of the face network that was trained apart; zero without a face."""
        return pack(self._confirm.look([_pixels(path) for path in paths]).vectors, unit=True)

    def confirmed_photos(self) -> dict[str, Any]:
        """The same of the subject's photos."""
        train = [_pixels(photo.path) for photo in self.judge.dataset.train]
        held_out = [_pixels(photo.path) for photo in self.judge.dataset.held_out]
        mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in train]
        parts = {"train": train, "mirrored": mirrored, "held_out": held_out}
        return {part: pack(self._confirm.look(pictures).vectors, unit=True) for part, pictures in parts.items()}

    def _judged(self, path: Path, prompt: str) -> Any:
        if prompt not in self._asked:
            return None
        return self._oracle.judge(_pixels(path), self.identity, self._asked[prompt], self._training)


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))


def ingredients() -> str:
    """Short hash of what the pictures depend on: models, oracle, configuration, rates."""
    from lorasweep.config.compose import load_run
    from lorasweep.portraits.manifest import NAME, WEIGHTS
    from lorasweep.portraits.oracle import oracle_signature

    hashes = json.loads((WEIGHTS / NAME).read_text(encoding="utf-8"))
    models = {name: sha256 for name, sha256 in hashes.items() if name.endswith(".safetensors")}
    run = load_run([*WORDS, "data.path=photos"])
    texts = {key: prompt.text for key, prompt in run.sample.prompts.items()}
    drawn = [texts, run.sample.guidance, run.sample.sampler, run.sample.steps, run.seed]
    trained = [run.lora.rank, run.lora.alpha, run.lora.targets, run.optim.batch_size, run.optim.weight_decay]
    facts = [models, oracle_signature(), WORDS, RATES, drawn, trained]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def shard(person: int, *, anew: bool = False) -> dict[str, Any]:
    """One person's runs: the committed ones where they were made with what is here now, else made and kept."""
    name = f"person-{person}.json"
    committed, kept = RESULTS / name, SCRATCH / ingredients() / name
    for file in (kept,) if anew else (committed, kept):
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if found.get("made_with") == ingredients():
            return found
    return make_shard(person, kept)


def compare(made: dict[str, Any], committed: dict[str, Any]) -> list[list[object]]:
    """By rate: the largest difference of the oracle's mean quality at a checkpoint, and of the run's best one."""
    rows: list[list[object]] = []
    for rate in made["runs"]:
        one, other = (np.nanmean(_quality(each["runs"][rate]), axis=1) for each in (made, committed))
        rows.append([made["person"], rate, f"{np.abs(one - other).max():.4f}", f"{one.max() - other.max():+.4f}"])
    return rows


def _quality(run: dict[str, Any]) -> np.ndarray:
    return unpack(run["seen"]["quality"]).reshape(len(run["steps"]), -1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[*HALVES["A"], *HALVES["B"]])
    parser.add_argument("--jobs", type=int, default=1, help="people trained at the same time, one thread each")
    parser.add_argument("--anew", action="store_true", help="make what is committed again, beside it")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        for made in pool.map(partial(shard, anew=chosen.anew), chosen.people):
            committed = RESULTS / f"person-{made['person']}.json"
            if not chosen.anew:
                write_json(committed, made)
            elif committed.exists():
                rows = compare(made, json.loads(committed.read_text(encoding="utf-8")))
                print_table(["person", "rate", "largest difference", "of the best"], rows)


if __name__ == "__main__":
    main()
