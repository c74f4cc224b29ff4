"""What the score sees of what the oracle sees, checkpoint by checkpoint: damage, its cause, and how sure that is.

`of_redraw` looks at one redraw of a run, `pooled` keeps shares and counts over all of them, `on_noise` looks at a sheet
of coloured noise. `benchmarks.picker.tables` makes figures of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.picker.looks import scorers
from benchmarks.picker.rules import Choice
from benchmarks.picker.runs import Trajectory, redraw
from benchmarks.world.oracle import CONSTANTS
from lorasweep.evaluate.artifact import artifact
from lorasweep.evaluate.score import score
from lorasweep.records import COMPONENTS, Features, Floats
from lorasweep.vision.describe import describe

NOISE = Path(__file__).parents[2] / "tests" / "fixtures" / "noise"
"""`sheet.png`, a grid of the demo's prompts by two seeds, all noise; `base.png`, the base model's by four."""
FELL = 0.1
"""A run is damaged if its soundness falls by this much after its best."""
APART = 0.05
"""Checkpoints whose soundness is closer than this need not be ordered."""
COLLAPSED = 0.1
"""Soundness below which all is lost, and an order of little worth."""
DAMAGED, SOUND = 0.7, 0.9
"""Artifact at a damaged checkpoint is to be no more than the first, at a sound one no less than the second."""
GONE = 0.1
"""Share of what the best checkpoint had below which a part of the quality is called lost."""
STAND_INS = ("the base model, same seeds", "the base model, other seeds", "the run's first checkpoint")
FAINT = 1e-3
"""Keeps logarithms finite."""


def of_redraw(choice: Choice) -> dict[str, Any]:
    """Return verdicts, intervals and artifact components of all checkpoints."""
    verdicts = [verdict for verdict in choice.latest.verdicts if verdict.step > 0]
    return {
        "words": [verdict.word for verdict in verdicts],
        "causes": [verdict.cause for verdict in verdicts],
        "intervals": [(each.low, each.high) for each in choice.scores],
        "artifact": [each.components["artifact"] for each in choice.scores],
    }


def pooled(seen: Sequence[Mapping[str, Any]], run: Trajectory, whole: Sequence[float]) -> dict[str, Any]:
    """Return what is kept of all redraws of a run at one size; ``whole`` are the scores of all samples."""
    truth, fallen = true_words(run), true_causes(run)
    verdicts: dict[str, int] = {}
    causes: dict[str, int] = {}
    for each in seen:
        for true, word, cause, fell in zip(truth, each["words"], each["causes"], fallen, strict=True):
            _count(verdicts, f"{true}/{word}")
            if true == word == "over":
                named = "artifact" if cause == "geometry" else cause
                _count(causes, f"{named if named in fell else fell[0]}/{named}")
    low, high = np.moveaxis(np.array([each["intervals"] for each in seen]), 2, 0)
    covered = (low <= np.array(whole)) & (np.array(whole) <= high)
    return {
        "verdicts": verdicts,
        "causes": causes,
        "covered": _round(covered.mean()),
        **_damage(np.array([each["artifact"] for each in seen]), run.soundness),
    }


def _damage(artifact: Floats, soundness: Floats) -> dict[str, Any]:
    """Return what the artifact components [redraws, E] tell of the soundness [E]."""
    broken = soundness < soundness.max() / 2
    intact = soundness >= soundness.max() - APART
    found: dict[str, Any] = {
        "artifact": [_round(value) for value in artifact.mean(axis=0)],
        "caught": [int((artifact[:, broken] <= DAMAGED).sum()), int(artifact[:, broken].size)],
        "kept": [int((artifact[:, intact] >= SOUND).sum()), int(artifact[:, intact].size)],
    }
    if soundness.max() - soundness[int(np.argmax(soundness)) :].min() >= FELL:
        for name, looked in (("order", soundness >= 0), ("order_before", soundness >= COLLAPSED)):
            shares = [ordered(each[looked], soundness[looked]) for each in artifact]
            found[name] = None if np.isnan(shares).all() else _round(np.mean(shares))
    return found


def by_stand_in(run: Trajectory, redraws: int, size: int) -> dict[str, dict[str, Any]]:
    """Return what the artifact component sees, by what its sheets are compared with: the base model's images of the
    same seeds alone, of other seeds alone, or the run's first checkpoint. Other trainers' samples come so."""
    prompts, seeds = len(run.evidence.prompts), len(run.evidence.seeds)
    found: dict[str, list[list[float]]] = {name: [] for name in STAND_INS}
    rng = np.random.default_rng([run.person, round(1e6 * run.rate), size, 2])
    for _ in range(redraws):
        part = redraw(prompts, seeds, size, rng)
        if part.fresh is None:
            return {}
        sheets = [part.sheet(features) for features in run.sheets]
        known = replace(part.evidence(run.evidence), spare=None)
        other = replace(known, base=part.evidence(run.evidence, fresh=True).base)
        first = replace(known, base=sheets[0])
        for name, evidence in zip(STAND_INS, (known, other, first), strict=True):
            values = [float(np.clip(artifact(sheet, evidence).shares.mean(), 0, 1)) for sheet in sheets]
            found[name].append(values)
    return {name: _damage(np.array(values), run.soundness) for name, values in found.items()}


def ordered(values: Floats, truth: Floats) -> float:
    """Return the share of pairs at least APART in truth that the values order alike, ties half; NaN without a pair."""
    one, two = np.triu_indices(len(truth), 1)
    far = np.abs(truth[one] - truth[two]) >= APART
    alike = np.sign(values[one] - values[two]) * np.sign(truth[one] - truth[two])
    return float((alike[far] + 1).mean() / 2) if far.any() else float("nan")


def true_words(run: Trajectory) -> list[str]:
    """Return for each checkpoint what somebody who knows the truth would say."""
    side = ["under" if place < run.best else "over" for place in range(len(run.steps))]
    return ["good" if fine else word for fine, word in zip(run.acceptable, side, strict=True)]


def true_causes(run: Trajectory) -> list[tuple[str, ...]]:
    """Return for each checkpoint what fell since the run's best: the component whose part of the oracle's quality fell
    most, and after it those of which next to nothing is left."""
    # Of a destroyed sheet neither likeness nor soundness is left. Which of the two fell farther then says only which of
    # them the best checkpoint had more of, and nobody who looks at noise would call one of the two wrong.
    k, seen = CONSTANTS, run.parts
    likeness = (k.stranger - seen["distance"]) / (k.stranger - k.same)
    parts = {
        "identity": (likeness, k.likeness_power),
        "prompt": (seen["scene_match"], k.scene_power),
        "artifact": (run.soundness, k.soundness_power),
        "novelty": (1 - seen["copy"] / 2, 1.0),
    }
    left = {name: values.clip(FAINT, 1) for name, (values, _) in parts.items()}
    falls = {name: -parts[name][1] * np.log(values / values[run.best]) for name, values in left.items()}
    return [_fallen({n: float(f[e]) for n, f in falls.items()}, {n: float(v[e] / v[run.best]) for n, v in left.items()})
            for e in range(len(run.steps))]  # fmt: skip


def _fallen(falls: Mapping[str, float], left: Mapping[str, float]) -> tuple[str, ...]:
    first = max(falls, key=lambda name: falls[name])
    return (first, *(name for name, share in left.items() if share <= GONE and name != first))


def on_noise(run: Trajectory, folder: Path = NOISE) -> float:
    """Return the largest artifact component of any prompt on a sheet of noise, 0 to 1; NaN without the images.

    ``run`` lends its photos: what a photo looks like excuses no noise.
    """
    if not (folder / "sheet.png").exists():
        return float("nan")
    prompts = len(run.evidence.prompts)
    drawn, base = (_cells(folder / f"{name}.png", prompts) for name in ("sheet", "base"))
    seeds = drawn.shape[1]
    evidence = replace(
        run.evidence, seeds=tuple(range(seeds)), base=_seen(base[:, :seeds]), spare=_seen(base[:, seeds:])
    )
    found = score(_seen(drawn), evidence, {"artifact": 1.0}, trial="noise", step=1, rng=np.random.default_rng(0))
    return _round(found.by_prompt[..., COMPONENTS.index("artifact")].mean(axis=1).max())


def _cells(path: Path, prompts: int) -> NDArray[np.uint8]:
    """Return [P, S, h, h, 3] the images of a grid of prompts by seeds."""
    grid = np.asarray(Image.open(path).convert("RGB"))
    side = len(grid) // prompts
    return grid.reshape(prompts, side, -1, side, 3).swapaxes(1, 2)


def _seen(cells: NDArray[np.uint8]) -> Features:
    pictures = list(cells.reshape(-1, *cells.shape[2:]))
    return describe(pictures, scorers(), [str(place) for place in range(len(pictures))])


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _round(value: Any) -> float:
    return round(float(value), 4)
