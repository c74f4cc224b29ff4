"""Which checkpoints of a run are worth comparing, and what sets them apart. No file is opened here."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorasweep.errors import UserError
from lorasweep.evaluate.explain import Explanation, Moved, explain, step_name
from lorasweep.evaluate.table import with_diverged
from lorasweep.records import RunView, Scores
from lorasweep.report.charts import draw_bars
from lorasweep.report.view import prompts_of

MOST_PICTURES = 4
"""Images beside one explanation on the page."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One explanation as the page shows it."""

    found: Explanation
    bars: str
    """An ``<svg>``."""
    pictures: tuple["Pair", ...]
    near: bool
    """Whether it is shown unfolded: what training changed, the pick's neighbours, and the other candidates."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One prompt and seed at both checkpoints, by the ids of the images on the page."""

    component: str
    moved: Moved
    here: str
    other: str


def picture_id(step: int, column: int, row: int) -> str:
    """Return the id of an image on the page, by step, place of its prompt in the sheet and place of its seed."""
    return f"p{step}-{column}-{row}"


def cards_of(view: RunView) -> tuple[Card, ...]:
    """Return every explanation of the run; bars of checkpoints against the pick share one scale."""
    found = why_all(view)
    columns = {prompt.key: place for place, prompt in enumerate(prompts_of(view))}
    # Against the base model everything moves by far more, which would flatten all other bars.
    reach = {base: _reach([each for each in found if (each.against == 0) == base]) for base in (True, False)}
    near = _near(view)
    return tuple(
        Card(
            found=each,
            bars=draw_bars(each.contributions, reach[each.against == 0]),
            pictures=tuple(_pair(view, each, part, moved, columns) for part, moved in most_moved(each)),
            near=each.against == 0 or each.step in near,
        )
        for each in found
    )


def _reach(found: Sequence[Explanation]) -> tuple[float, float]:
    changes = [part.change for each in found for part in each.contributions]
    return -min([0.0, *changes]), max([0.0, *changes])


def _near(view: RunView) -> set[int | None]:
    """Return the pick's neighbours, the highest score, the runner-up and the last checkpoint."""
    steps, center = sorted(step for step in _judged(view) if step > 0), _center(view)
    place = steps.index(center) if center else 0
    others = {view.pick.best_step, view.pick.runner_up} if view.pick else set[int | None]()
    return {*others, *steps[max(0, place - 1) : place + 2], *steps[-1:]}


def _pair(view: RunView, found: Explanation, component: str, moved: Moved, columns: dict[str, int]) -> Pair:
    seeds = _seeds(view, _judged(view)[found.step])
    place = columns.get(moved.prompt, 0), seeds.index(moved.seed)
    here, other = picture_id(found.step, *place), picture_id(found.against, *place)
    return Pair(component=component, moved=moved, here=here, other=other)


def why_picked(view: RunView) -> tuple[Explanation, ...]:
    """Return what training changed up to the pick, then the pick's two neighbours against it.

    Without a pick the highest score stands in for it. Return () if nothing was judged.
    """
    center = _center(view)
    if center is None:
        return ()
    steps = sorted(step for step in _judged(view) if step > 0)
    place = steps.index(center)
    neighbours = [*steps[max(0, place - 1) : place], *steps[place + 1 : place + 2]]
    return _against(view, [(center, 0), *((step, center) for step in neighbours)])


def why_not(view: RunView, step: int) -> tuple[Explanation, ...]:
    """Return what training changed up to ``step``, then that checkpoint against the pick.

    Raise UserError if the step was not judged.
    """
    center, judged = _center(view), _judged(view)
    if center is None or step == center:
        return why_picked(view)
    if step == 0:
        return _against(view, [(center, 0)])
    if step not in judged:
        known = ", ".join(str(each) for each in judged if each > 0)
        raise UserError(f"--why was told {step}, which is no judged checkpoint of {view.name}; it has {known}.")
    return _against(view, [(step, 0), (step, center)])


def why_all(view: RunView) -> tuple[Explanation, ...]:
    """Return what training changed up to the pick, then every other judged checkpoint against it, by step."""
    center = _center(view)
    if center is None:
        return ()
    return _against(view, [(center, 0), *((step, center) for step in _judged(view) if step not in (0, center))])


def most_moved(found: Explanation) -> tuple[tuple[str, Moved], ...]:
    """Return the images that moved the score most, each once, with the component in which it did."""
    moved = [(part.component, picture) for part in found.contributions for picture in part.pictures]
    best: dict[tuple[str, int], tuple[str, Moved]] = {}
    for component, picture in sorted(moved, key=lambda each: -abs(each[1].effect)):
        best.setdefault((picture.prompt, picture.seed), (component, picture))
    return tuple(list(best.values())[:MOST_PICTURES])


def _center(view: RunView) -> int | None:
    judged = _judged(view)
    # Without a usable checkpoint the best one is still what people ask about.
    chosen = None if view.pick is None else view.pick.step or view.pick.best_step
    return chosen if chosen in judged else None


def _judged(view: RunView) -> dict[int, Scores]:
    """Return the scores on the standing seeds that fit the run's prompts, by step."""
    fitting = [s for s in view.scores if not s.fresh and s.by_prompt.shape[:1] == (len(view.prompts),)]
    # That training had diverged is told by the order of checkpoints; no score holds it.
    return {scores.step: scores for scores in with_diverged(sorted(fitting, key=lambda scores: scores.step))}


def _against(view: RunView, pairs: Sequence[tuple[int, int]]) -> tuple[Explanation, ...]:
    """Return the explanations of pairs that were both judged; older runs did not judge the base model."""
    judged = _judged(view)
    names = {c.step: view.file_name(c.path) for c in view.checkpoints if c.path} if view.source else {}
    subject = str(view.config.get("data", {}).get("trigger") or "the subject")
    return tuple(
        explain(
            judged[step],
            judged[other],
            view.prompts,
            _seeds(view, judged[step]),
            subject=subject,
            name=lambda each: names.get(each, step_name(each)),
        )
        for step, other in pairs
        if step in judged and other in judged
    )


def _seeds(view: RunView, scores: Scores) -> tuple[int, ...]:
    sheet = next((sheet for sheet in view.samples if sheet.step == scores.step and not sheet.fresh), None)
    drawn = tuple(dict.fromkeys(sample.seed for sample in sheet.samples)) if sheet else ()
    count = scores.by_prompt.shape[1]
    return drawn if len(drawn) == count else tuple(range(count))
