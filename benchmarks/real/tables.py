"""The tables of the real runs: what the score and the rule, as they are now, make of the committed numbers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.printing import print_table
from benchmarks.real.grids import STRENGTHS
from benchmarks.real.runs import STEPS, Label, RealRun, RealRuns
from benchmarks.statistics import auroc
from lorasweep.config.schema import PickConfig, WeightsConfig
from lorasweep.evaluate.pick import choose
from lorasweep.evaluate.score import score
from lorasweep.records import COMPONENTS, Floats, Pick, Scores

DIVERGED = "NOinf-15"
ALARM = 0.5
"""A picture's share of geometry below which its face is called deformed."""
WAXY, SOUND = (1.3, 1.4, 1.5), (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Strengths at which the face's skin is waxy, and at which nothing ails it."""
SHOWN = ("identity", "artifact", "geometry", "novelty")
"""Components that are printed; prompt has no weights here."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One run under the present score and rule."""

    run: RealRun
    scores: tuple[Scores, ...]
    pick: Pick

    def component(self, name: str) -> Floats:
        """Return [E] values."""
        return np.array([each.components[name] for each in self.scores])

    def shares(self, name: str) -> Floats:
        """Return [E, N] each picture's share."""
        return np.stack([each.by_prompt[..., COMPONENTS.index(name)].ravel() for each in self.scores])


def judge(run: RealRun) -> Judged:
    """Return scores and pick; no finalist is drawn again, since there are no other pictures."""
    evidence, weights = run.evidence, vars(WeightsConfig())
    scores = tuple(
        score(sheet, evidence, weights, trial=run.name, step=step, rng=np.random.default_rng(step))
        for step, sheet in zip(STEPS, run.sheets, strict=True)
    )
    return Judged(run=run, scores=scores, pick=choose(scores, PickConfig(), np.random.default_rng(7)))


def last(_: Judged) -> int:
    """Take what a trainer leaves."""
    return STEPS[-1]


def most_alike(judged: Judged) -> int:
    """Take the largest mean cosine to the photos; a picture without a face has none."""
    mean = np.nan_to_num(judged.run.seen.likeness).reshape(len(STEPS), -1).mean(axis=1)
    return STEPS[int(np.argmax(mean))]


RULES: dict[str, Callable[[Judged], int | None]] = {
    "lorasweep": lambda judged: judged.pick.step,
    "highest score": lambda judged: STEPS[int(np.nanargmax([each.score for each in judged.scores]))],
    "raw likeness": most_alike,
    "always the last": last,
}


def outcome(label: Label, step: int | None) -> str:
    """Return good, over, under or none: what the labeller said of the checkpoint that was picked."""
    if step is None:
        return "none"
    if step == label.pick:  # one run has no checkpoint that is good, and its last is what one would take
        return "good"
    return {"G": "good", "o": "over", "O": "over", "u": "under", "U": "under"}[label.words[step - 1]]


def totals(judged: Sequence[Judged], rule: Callable[[Judged], int | None]) -> dict[str, int]:
    """Return counts over the labelled runs: those with a checkpoint worth taking, and those with none."""
    known = [(each.run.label, rule(each)) for each in judged if each.run.label]
    usable = [(label, step) for label, step in known if label.pick]
    plain = [(label, step) for label, step in usable if "p" not in label.why]
    said = [outcome(label, step) for label, step in usable]
    return {
        "of": len(usable),
        **{word: said.count(word) for word in ("good", "over", "under", "none")},
        "within_one": sum(_near(label, step) for label, step in usable),
        "without_p_of": len(plain),
        "without_p_good": [outcome(label, step) for label, step in plain].count("good"),
        "without_p_within_one": sum(_near(label, step) for label, step in plain),
        "none_of": len(known) - len(usable),
        "none_right": sum(step is None for label, step in known if not label.pick),
    }


def _near(label: Label, step: int | None) -> bool:
    return step is not None and abs(step - label.pick) <= 1


def figures(found: RealRuns, judged: Sequence[Judged]) -> dict[str, float | None]:
    """Return what has a goal, under names that stay."""
    counts = totals(judged, RULES["lorasweep"])
    diverged = [each.pick.step for each in judged if each.run.name == DIVERGED]
    artifact = {name: _of(judged, "artifact", chosen) for name, chosen in KINDS_OF_CHECKPOINT.items()}
    waxy, sound = (strengths(found, wanted)["artifact"] for wanted in (WAXY, SOUND))
    faces, alarms = geometry_alarms(judged)
    return {
        **{f"real_{name}": value for name, value in counts.items()},
        "real_diverged_picked": float(any(step is not None for step in diverged)) if diverged else None,
        "real_artifact_on_gross_highest": _number(artifact["gross"], np.max),
        "real_artifact_on_gross_at_most_0_7": _share(artifact["gross"] <= 0.7),
        "real_artifact_on_artifacts_at_most_0_7": _share(artifact["artifacts"] <= 0.7),
        "real_artifact_on_good_at_least_0_9": _share(artifact["good"] >= 0.9),
        "real_artifact_on_good_lowest": _number(artifact["good"], np.min),
        "real_artifact_order": _auc(artifact),
        "real_artifact_on_waxy_highest": _number(waxy, np.max),
        "real_artifact_on_sound_strengths_lowest": _number(sound, np.min),
        "real_clean_faces": faces,
        "real_geometry_false_alarms": alarms,
    }


KINDS_OF_CHECKPOINT: dict[str, Callable[[str, str], bool]] = {
    "gross": lambda word, why: (word, why) == ("O", "a"),
    "artifacts": lambda word, why: why == "a",
    "prompt lost": lambda word, why: why == "p",
    "under-trained": lambda word, why: word in "Uu" and why == "i",
    "good": lambda word, why: word == "G",
}
"""Kinds of checkpoints by the labeller's two letters."""


def _of(judged: Sequence[Judged], component: str, chosen: Callable[[str, str], bool]) -> Floats:
    """Return the component at every labelled checkpoint of a kind."""
    values = [
        value
        for each in judged
        if each.run.label
        for value, *letters in zip(each.component(component), each.run.label.words, each.run.label.why, strict=True)
        if chosen(*letters)
    ]
    return np.array(values)


def _auc(artifact: dict[str, Floats]) -> float | None:
    """Return how often a good checkpoint's artifact is above a grossly damaged one's; a tie counts half."""
    gross, good = artifact["gross"], artifact["good"]
    return round(auroc(good, gross), 4) if len(gross) and len(good) else None


def _number(values: Floats, summary: Callable[[Floats], Any]) -> float | None:
    return round(float(summary(values)), 4) if len(values) else None


def _share(true: np.ndarray) -> float | None:
    return round(float(true.mean()), 4) if len(true) else None


def geometry_alarms(judged: Iterable[Judged]) -> tuple[int, int]:
    """Return faces in labelled checkpoints whose faces nothing ails, and how many of them are called deformed.

    Faces beyond doubt only: nothing is said of checkpoints whose ``why`` is an artifact or geometry.
    """
    faces = alarms = 0
    for each in judged:
        clean = [letter not in "ag" for letter in each.run.label.why] if each.run.label else []
        if clean:
            shown = each.run.seen.count.reshape(len(STEPS), -1)[clean] > 0
            faces += int(shown.sum())
            alarms += int((shown & (each.shares("geometry")[clean] < ALARM)).sum())
    return faces, alarms


def strengths(found: RealRuns, wanted: Iterable[float] = STRENGTHS[1:]) -> dict[str, Floats]:
    """Return components by name of the pictures at these strengths, each a sheet of one against the one at 0."""
    rows = []
    for strength in wanted:
        sheet, evidence = found.at_strength(STRENGTHS.index(strength))
        judged = score(sheet, evidence, vars(WeightsConfig()), trial="", step=1, rng=np.random.default_rng(0))
        rows.append(judged.components)
    return {name: np.array([row[name] for row in rows]) for name in COMPONENTS}


def show(found: RealRuns, *, runs: bool = True) -> dict[str, float | None]:
    """Print everything; return the figures."""
    judged = [judge(run) for run in found.runs]
    if runs:
        _show_runs(judged)
    rows = []
    for name, rule in RULES.items():
        each = totals(judged, rule)
        plain = f"{each['without_p_good']} / {each['without_p_within_one']} of {each['without_p_of']}"
        none = f"{each['none_right']} of {each['none_of']}"
        counts = [each[word] for word in ("of", "good", "over", "under", "none", "within_one")]
        rows.append([name, *counts, plain, none])
    heads = ["rule", "of", "good", "over", "under", "none", "within one", "without p: good / within one", "none right"]
    print_table(heads, rows)
    _show_kinds(judged)
    _show_strengths(found)
    known = figures(found, judged)
    print_table(["figure", "measured"], [[name, value] for name, value in known.items()])
    return known


def _show_runs(judged: Sequence[Judged]) -> None:
    for each in judged:
        label = each.run.label
        said = f"labelled {label.pick or 'none'}" if label else "not labelled"
        print(f"{each.run.name}: {said}, picked {each.pick.step or 'none'} ({each.pick.run_verdict})")
        if not label:
            continue
        for name, letters in (("label", label.words), ("why", label.why)):
            print(f"  {name:<9} " + "  ".join(f"{letter:<4}" for letter in letters).rstrip())
        for name in SHOWN:
            print(f"  {name:<9} " + "  ".join(f"{value:.2f}" for value in each.component(name)))
        print(f"  {'score':<9} " + "  ".join(f"{part.score:.2f}" for part in each.scores))
        vetoes = {part.step: [str(veto.kind) for veto in part.vetoes] for part in each.scores if part.vetoes}
        if vetoes:
            print(f"  vetoes {vetoes}")
    print()


def _show_kinds(judged: Sequence[Judged]) -> None:
    rows = []
    for name, chosen in KINDS_OF_CHECKPOINT.items():
        for component in ("artifact", "geometry"):
            values = _of(judged, component, chosen)
            values = values[~np.isnan(values)]
            if len(values):
                spread = [f"{value:.3f}" for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1])]
                rows.append([name, component, len(values), *spread])
    print_table(["checkpoints", "component", "count", "lowest", "5 %", "median", "95 %", "highest"], rows)


def _show_strengths(found: RealRuns) -> None:
    seen = strengths(found)
    rows = [[name, *(f"{value:.2f}" for value in seen[name])] for name in SHOWN if not np.isnan(seen[name]).all()]
    print_table(["strength", *(f"{strength:g}" for strength in STRENGTHS[1:])], rows)
