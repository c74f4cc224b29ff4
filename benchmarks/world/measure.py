"""Every promise of the drawn world's models beside what is measured. A quarter of an hour on one core.

    python -m benchmarks.world.measure [--json FILE] [--only PART ...]

Each figure is a pure function of the weights and fixed seeds. People and renders are fresh: none was trained on.
"""

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from benchmarks.statistics import rank_correlation
from benchmarks.world.build_faces import face_figures
from benchmarks.world.build_readers import accuracy
from benchmarks.world.build_scorer import ranked_first
from benchmarks.world.faults import FAULTS, STRENGTHS, blend, plant
from benchmarks.world.oracle import Oracle, load_oracle, oracle_signature
from benchmarks.world.readers import READERS, load_readers
from benchmarks.world.stages import fresh_renders
from lorasweep.portraits.manifest import WEIGHTS
from lorasweep.portraits.networks import load_face_network
from lorasweep.portraits.people import sample_identity
from lorasweep.portraits.render import render

READ = ("background", "shirt", "expression", "gaze", "accessory")
BASE_GOALS: dict[str, float] = dict(zip(READ, (0.95, 0.90, 0.85, 0.85, 0.80), strict=True))


@dataclass(frozen=True)
class Row:
    """One promise: met if the figure is at least the goal, or at most the goal if `at_most`. A row may promise
    nothing."""

    name: str
    figure: float
    goal: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """None if nothing was promised."""
        if self.goal is None:
            return None
        return self.figure <= self.goal if self.at_most else self.figure >= self.goal


def measure_readers(weights: Path, readers: Path) -> Iterator[Row]:
    """Yield the share of 1,000 fresh renders that are read right."""
    for name, share in accuracy(load_readers(readers), 1000).items():
        yield Row(f"readers.{name}", share, 0.99 if name in READ else None)


def measure_faces(weights: Path, name: str) -> Iterator[Row]:
    """Yield one face network's figures on 500 people it has never seen."""
    figures = face_figures(load_face_network(weights, name))
    yield Row(f"{name}.auc", figures["verification AUC"], 0.99)
    yield Row(f"{name}.landmark_pixels", figures["landmark error in pixels"], 0.75, at_most=True)
    yield Row(f"{name}.face_or_no_face", figures["face or no face right"], 0.99)
    yield Row(f"{name}.same_person", figures["similarity of a person to themselves"])
    yield Row(f"{name}.strangers", figures["similarity of strangers"])
    yield Row(f"{name}.own_mirror", figures["similarity of a person to their own mirrored pictures"])


def measure_scorer(weights: Path, readers: Path) -> Iterator[Row]:
    """Yield how often an image's own caption ranks first."""
    yield Row("scorer.first_of_32", ranked_first(weights / "scorer"), 0.80)
    yield Row("scorer.first_of_32_random_captions", ranked_first(weights / "scorer", plain=False))


def fault_curves(oracle: Oracle, count: int = 32, seed: int = 501) -> dict[str, list[float]]:
    """Return the oracle's mean quality over `count` renders: at strengths 0 to 5 of each fault, at six shares of
    another person."""
    pictures, subjects = fresh_renders(count, seed)
    curves = {}
    for name in FAULTS:
        means = []
        for strength in (0, *STRENGTHS):
            rngs = [np.random.default_rng([seed, place]) for place in range(count)]
            planted = [plant(name, part, strength, rng) for part, rng in zip(pictures, rngs, strict=True)]
            means.append(_mean_quality(oracle, planted, subjects))
        curves[name] = means
    others = [sample_identity(np.random.default_rng([seed, at, 1])) for at in range(count)]
    curves["blend"] = []
    for share in (0.0, 0.15, 0.3, 0.45, 0.75, 1.0):
        mixed = [
            np.asarray(render(blend(who, other, share), scene, 64, jitter))
            for (who, scene, jitter), other in zip(subjects, others, strict=True)
        ]
        curves["blend"].append(_mean_quality(oracle, mixed, subjects))
    return curves


def _mean_quality(oracle: Oracle, pictures: list[np.ndarray], subjects: list) -> float:
    readings = [oracle.judge(part, who, scene) for part, (who, scene, _) in zip(pictures, subjects, strict=True)]
    return float(np.mean([reading.quality for reading in readings]))


def measure_oracle(weights: Path, readers: Path) -> Iterator[Row]:
    """Yield whether the oracle orders faults by their dose, over the mean of 32 renders each."""
    for name, means in fault_curves(load_oracle(readers)).items():
        yield Row(f"oracle.{name}", rank_correlation(-np.array(means)), 0.95)


def measure_vae(weights: Path, readers: Path, count: int = 256) -> Iterator[Row]:
    """Yield the similarity of fresh people to their own images after the autoencoder."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from benchmarks.world.judge import reconstruct

    vae = AutoencoderKL.from_pretrained(weights / "pipeline" / "vae")
    pictures, _ = fresh_renders(count, 79)
    back = reconstruct(vae, pictures)
    for name in ("face", "face_confirm"):
        face = load_face_network(weights, name)
        before, after = face.describe(pictures).embedding, face.describe(back).embedding
        yield Row(f"vae.{name}_similarity", float((before * after).sum(1).mean()), 0.95 if name == "face" else None)


def measure_base(weights: Path, readers: Path, count: int = 256) -> Iterator[Row]:
    """Yield the share of the base model's images, one for each full caption, in which readers find what was asked
    for."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    from benchmarks.world.judge import judge_pipeline

    base = StableDiffusionPipeline.from_pretrained(weights / "pipeline", safety_checker=None, dtype=torch.float32)
    base.set_progress_bar_config(disable=True)
    for name, share in judge_pipeline(base, load_readers(readers), count=count).items():
        yield Row(f"base.{name}", share, BASE_GOALS.get(name))


PARTS: dict[str, tuple[tuple[str, ...], Callable[[Path, Path], Iterator[Row]]]] = {
    "readers": (("readers",), measure_readers),
    "face": (("face",), lambda weights, readers: measure_faces(weights, "face")),
    "face_confirm": (("face_confirm",), lambda weights, readers: measure_faces(weights, "face_confirm")),
    "scorer": (("scorer",), measure_scorer),
    "oracle": (("readers",), measure_oracle),
    "vae": (("pipeline", "face", "face_confirm"), measure_vae),
    "base": (("pipeline", "readers"), measure_base),
}
"""What is measured, the folders it needs, and how: from the shipped weights and from the readers."""


def measure(weights: Path, readers: Path, parts: list[str]) -> Iterator[Row]:
    """Yield the rows of the named parts of `PARTS`, in order; a part whose weights do not exist is left out."""
    for name in parts:
        needs, rows = PARTS[name]
        if all(((readers if need == "readers" else weights) / need).is_dir() for need in needs):
            yield from rows(weights, readers)


def versions() -> dict[str, str]:
    """Return the versions that the figures depend on."""
    packages = ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def main() -> None:
    """Print the table, and write it to `--json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.world.measure", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="measure only these parts")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="another folder of weights")
    parser.add_argument("--readers", type=Path, default=READERS, help="another folder of readers")
    options = parser.parse_args()
    rows = []
    for row in measure(options.weights, options.readers, options.only):
        goal = "" if row.goal is None else f"{'≤' if row.at_most else '≥'} {row.goal:g}"
        said = {None: "", True: "met", False: "MISSED"}[row.met]
        print(f"{row.name:42} {row.figure:8.4f}  {goal:8} {said}", flush=True)
        rows.append(row)
    if options.json:
        figures = {row.name: asdict(row) | {"met": row.met} for row in rows}
        facts = {"versions": versions(), "figures": figures, "oracle_signature": oracle_signature(options.readers)}
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
