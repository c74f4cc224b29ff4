"""What a page shows of a run, worked out from its records. No file is opened here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorasweep.evaluate.table import hard_prompts
from lorasweep.evaluate.text import capital, note_text
from lorasweep.records import Floats, Prompt, RunView, SampleSet, Scores, Verdict


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One prompt at one checkpoint."""

    prompt: str
    pictures: tuple[Path, ...]
    """In seed order."""
    score: float
    """0 to 1; NaN if not judged."""
    parts: tuple[tuple[str, float], ...]
    """Each judged component's mean share over the seeds."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The base model, a checkpoint, or a glimpse between two of them."""

    step: int
    cells: tuple[Cell, ...]
    scores: Scores | None
    fresh: Scores | None
    """On fresh seeds; only finalists have them."""
    verdict: Verdict | None
    picked: bool
    runner_up: bool
    path: Path | None
    """The LoRA file; None for the base model."""
    file: str = ""
    """Name to show for that file."""
    foreign: bool = False
    """Whether another trainer made it; its name then says more than its step."""

    @property
    def glimpse(self) -> bool:
        """Return whether it was drawn between two checkpoints, to be looked at only."""
        return self.step > 0 and self.path is None and self.scores is None

    @property
    def label(self) -> str:
        """Return what to call the row."""
        return "base model" if self.step == 0 else self.file if self.foreign and self.file else f"step {self.step}"

    @property
    def word(self) -> str:
        """Return the verdict in one word, '' without one."""
        return "" if self.verdict is None else self.verdict.word


@dataclass(frozen=True)
class Band:
    """A stretch of steps with one verdict."""

    first: float
    last: float
    word: str


def varied(views: Sequence[RunView]) -> dict[str, tuple[str, ...]]:
    """Return each training key on which runs differ, with its value in each; rate and rank have their own columns."""
    told = ("optim.lr", "lora.rank", "lora.alpha")
    flat = [
        {
            f"{group}.{key}": value
            for group in ("optim", "lora", "data")
            for key, value in view.config.get(group, {}).items()
        }
        for view in views
    ]
    keys = sorted({key for run in flat for key in run} - set(told))
    found = {key: tuple(_short(run.get(key)) for run in flat) for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value)


def prompts_of(view: RunView) -> tuple[Prompt, ...]:
    """Return the columns of the sheet: the prompts that were drawn."""
    drawn = {sample.prompt for sheet in view.samples for sample in sheet.samples}
    return tuple(prompt for prompt in view.prompts if prompt.key in drawn)


def rows_of(view: RunView) -> tuple[Row, ...]:
    """Return the base model and every step that was saved, drawn or scored, in order."""
    sheets = {sheet.step: sheet for sheet in view.samples if not sheet.fresh}
    scores = {scores.step: scores for scores in view.scores if not scores.fresh}
    fresh = {scores.step: scores for scores in view.scores if scores.fresh}
    files = {checkpoint.step: checkpoint.path for checkpoint in view.checkpoints}
    verdicts = {verdict.step: verdict for verdict in view.pick.verdicts} if view.pick else {}
    return tuple(
        Row(
            step=step,
            cells=_cells(view, sheets.get(step), scores.get(step)),
            scores=scores.get(step),
            fresh=fresh.get(step),
            verdict=verdicts.get(step),
            picked=view.pick is not None and view.pick.step == step,
            runner_up=view.pick is not None and view.pick.runner_up == step,
            path=(path := files.get(step)),
            file=view.file_name(path) if path else "",
            foreign=view.source is not None,
        )
        for step in sorted({*sheets, *scores, *files})
    )


def good_range(view: RunView) -> str:
    """Return from which to which checkpoint a run is good, in a sentence; '' if no other than the pick is.

    An end is called most flexible or most alike only if its own scores say so.
    """
    if view.pick is None or view.pick.step not in view.pick.eligible or len(view.pick.eligible) < 2:
        return ""
    scores = {scores.step: scores.components for scores in view.scores if not scores.fresh}
    names = {row.step: row.label for row in rows_of(view)}
    first, last = view.pick.eligible[0], view.pick.eligible[-1]
    flexible = " (most flexible)" if scores[first]["prompt"] > scores[last]["prompt"] else ""
    alike = " (most alike)" if scores[last]["identity"] > scores[first]["identity"] else ""
    return f"Good from {names[first]}{flexible} to {names[last]}{alike}."


def cautions(view: RunView) -> tuple[str, ...]:
    """Return what weakens the picked checkpoint's score, in sentences."""
    row = next((row for row in rows_of(view) if row.picked), None)
    judged = (row.fresh or row.scores) if row else None
    if judged is None:
        return ()
    noted = [f"{capital(note_text(note))}." for note in judged.notes]
    standing = [scores for scores in view.scores if scores.step > 0 and not scores.fresh]
    hard = hard_prompts(standing) if standing and "identity" in standing[0].components else []
    names = [prompt.key for prompt, low in zip(view.prompts, hard, strict=False) if low]
    if names:
        noted.append(
            f"Likeness is low at every checkpoint at {', '.join(names)}: it orders checkpoints there, and does not "
            "decide whether they show the subject."
        )
    return tuple(noted)


def strengths_of(view: RunView) -> dict[int, dict[float, Scores]]:
    """Return the fresh scores of finalists that were drawn at several strengths, by step and strength."""
    # The run's own strength was drawn with the other fresh sheets and stands among the scores.
    own = float(view.config.get("sample", {}).get("strength", 1.0))
    found: dict[int, dict[float, Scores]] = {}
    for each in view.strengths:
        found.setdefault(each.scores.step, {})[each.strength] = each.scores
    for scores in view.scores:
        if scores.fresh and scores.step in found:
            found[scores.step][own] = scores
    return {step: dict(sorted(found[step].items())) for step in sorted(found)}


def cell_score(shares: Floats, names: tuple[str, ...], weights: dict[str, float]) -> float:
    """Return the weighted geometric mean of the shares [C] that were judged, 0 to 1; NaN if none was.

    It ranks images within a page; a checkpoint's own score is made from means over all prompts.
    """
    judged = [(weights.get(name, 1.0), share) for name, share in zip(names, shares, strict=True) if np.isfinite(share)]
    total = sum(weight for weight, _ in judged)
    if total <= 0:
        return math.nan
    return math.exp(sum(weight * math.log(min(1.0, max(share, 1e-6))) for weight, share in judged) / total)


def bands(rows: tuple[Row, ...]) -> tuple[Band, ...]:
    """Return stretches of one verdict, each reaching half-way to its neighbours; equal neighbours are merged."""
    judged = [row for row in rows if row.step > 0 and row.word]
    found: list[Band] = []
    for i, row in enumerate(judged):
        first = row.step if i == 0 else (judged[i - 1].step + row.step) / 2
        last = row.step if i == len(judged) - 1 else (judged[i + 1].step + row.step) / 2
        if found and found[-1].word == row.word:
            found[-1] = Band(found[-1].first, last, row.word)
        else:
            found.append(Band(first, last, row.word))
    return tuple(found)


def smoothed(values: list[float], span: int) -> list[float]:
    """Return the exponential moving average over about ``span`` values, corrected for its start; NaN is skipped."""
    keep = 1 - 2 / (span + 1)
    mean, weight, out = 0.0, 0.0, []  # dividing by the weight takes out the pull of the zero it starts from
    for value in values:
        if math.isfinite(value):
            mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight if weight else math.nan)
    return out


def _cells(view: RunView, sheet: SampleSet | None, scores: Scores | None) -> tuple[Cell, ...]:
    pictures: dict[str, list[Path]] = {}
    for sample in sheet.samples if sheet else ():
        pictures.setdefault(sample.prompt, []).append(sample.path)
    shares = _shares(view, scores)
    weights = dict(scores.weights) if scores else {}
    cells = []
    for prompt in prompts_of(view):
        parts = shares.get(prompt.key, ())
        score = cell_score(np.array([value for _, value in parts]), tuple(name for name, _ in parts), weights)
        drawn = tuple(pictures.get(prompt.key, ()))
        cells.append(Cell(prompt=prompt.key, pictures=drawn, score=score, parts=parts))
    return tuple(cells)


def _shares(view: RunView, scores: Scores | None) -> dict[str, tuple[tuple[str, float], ...]]:
    """Return each component's mean share over the seeds, by prompt; {} if nothing was judged."""
    # Scores of a run whose prompts were changed since do not fit the sheet that is shown.
    if scores is None or scores.by_prompt.shape[:1] != (len(view.prompts),):
        return {}
    found = {}
    for prompt, table in zip(view.prompts, scores.by_prompt, strict=True):
        means = [_mean(column) for column in table.T]
        found[prompt.key] = tuple((n, m) for n, m in zip(scores.components, means, strict=True) if math.isfinite(m))
    return found


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan
