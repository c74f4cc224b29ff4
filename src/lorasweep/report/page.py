"""A run, or several side by side, as one HTML page that needs no network and no other file."""

import base64
import functools
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lorasweep.data.atomic import write_atomically
from lorasweep.evaluate.text import veto_text
from lorasweep.outcomes import RunStatus, RunVerdict
from lorasweep.records import RunView, Scores
from lorasweep.report.charts import Chart, Line, Mark, draw, thinned
from lorasweep.report.images import contact_sheet, data_uri
from lorasweep.report.view import Row, bands, cautions, good_range, prompts_of, rows_of, smoothed, strengths_of, varied
from lorasweep.report.why import cards_of, picture_id

PAGE, SHEET, COMPARISON = "report.html", "contact_sheet.png", "comparison.html"
PHOTO_SIDE = 128
ROOM_FOR_WORDS = 3
"""Runs whose picks can all be named in one chart."""


def write_report(folder: Path, view: RunView) -> Path:
    """Write ``report.html``, and once the run is over ``contact_sheet.png``, atomically. Return the page's path."""
    # Compressing the sheet costs more than the whole page, which is rewritten at every checkpoint.
    sheet = None if view.status == RunStatus.RUNNING else contact_sheet(view)
    if sheet is not None:
        stream = io.BytesIO()
        sheet.save(stream, "PNG", compress_level=1)
        write_atomically(folder / SHEET, stream.getvalue())
    return _write_text(folder / PAGE, render(view))


def write_comparison(folder: Path, views: Sequence[RunView], title: str = "Comparison", lead: str = "") -> Path:
    """Write ``comparison.html`` of several runs, which begins with the sentence ``lead``. Return the page's path."""
    return _write_text(folder / COMPARISON, render_comparison(views, title, lead))


def render(view: RunView) -> str:
    """Return the page of one run."""
    rows = rows_of(view)
    picked = next((row for row in rows if row.picked), None)
    return _template(
        "run.html.j2",
        view=view,
        rows=rows,
        picked=picked,
        best_picture=_portrait(view, picked),
        prompts=prompts_of(view),
        labels={row.step: row.label for row in rows},
        good_range=good_range(view),
        cautions=cautions(view),
        strengths=strengths_of(view),
        at_strengths=[each for each in view.strengths if picked and each.scores.step == picked.step],
        seeds=max((len(cell.pictures) for row in rows for cell in row.cells), default=1),
        score_chart=draw(score_chart(rows)),
        component_chart=draw(component_chart(rows)),
        components=_component_names(rows),
        loss_chart=draw(loss_chart(view)),
        validation_chart=draw(validation_chart(view)),
        validation_words=validation_words(view),
        cards=cards_of(view),
        train=[(photo, data_uri(photo.path, PHOTO_SIDE)) for photo in view.train],
        held_out=[(photo, data_uri(photo.path, PHOTO_SIDE)) for photo in view.held_out],
        facts=_facts(view),
        config=json.dumps(view.config, indent=2, default=str, ensure_ascii=False),
        provenance=json.dumps(view.provenance, indent=2, default=str, ensure_ascii=False),
        total=view.config.get("optim", {}).get("steps"),
    )


def render_comparison(views: Sequence[RunView], title: str, lead: str = "") -> str:
    """Return the page of several runs, best pick first: score curves in one chart, every run's picked images."""
    runs = []
    for place, view in enumerate(views):
        rows = rows_of(view)
        picked = next((row for row in rows if row.picked), None)
        run = {"view": view, "rows": rows, "picked": picked, "place": place, "colour": place % 8, "facts": _facts(view)}
        runs.append(run)
    # By the steady score and not by the pick's own: see ``evaluate.pick.steady_score``.
    runs.sort(key=lambda run: -run["view"].pick.worth if run["view"].pick else 0.0)
    steps = sorted({row.step for run in runs for row in run["rows"] if row.step and row.scores})
    by_rate = sorted(runs, key=lambda run: float(run["facts"].get("learning rate", "nan")))
    scores = [row.scores.score for run in runs for row in run["rows"] if row.step and row.scores]
    known = [score for score in scores if math.isfinite(score)]
    return _template(
        "comparison.html.j2",
        title=title,
        lead=lead,
        runs=runs,
        varied=varied(views),
        by_rate=by_rate,
        steps=steps,
        reach=(min(known, default=0.0), max(known, default=1.0)),
        chart=draw(comparison_chart(runs)),
    )


def score_chart(rows: Sequence[Row]) -> Chart:
    """Return the score with its interval by step, verdicts as bands, the pick marked."""
    judged = _judged(rows)
    line = Line(
        name="score",
        xs=[scores.step for scores in judged],
        ys=[scores.score for scores in judged],
        low=[scores.low for scores in judged],
        high=[scores.high for scores in judged],
        colour=0,
    )
    marks = [Mark(x=row.step, y=row.scores.score, text="picked") for row in rows if row.picked and row.scores]
    return Chart(lines=[line], bands=bands(tuple(rows)), marks=marks, floor=0, ceiling=1, label="score by step")


def component_chart(rows: Sequence[Row]) -> Chart:
    """Return every component by step."""
    judged = _judged(rows)
    xs = [scores.step for scores in judged]
    lines = [
        Line(name=name, xs=xs, ys=[scores.components.get(name, math.nan) for scores in judged], colour=i)
        for i, name in enumerate(_component_names(rows), start=1)
    ]
    return Chart(lines=lines, floor=0, ceiling=1, label="components by step")


def loss_chart(view: RunView) -> Chart:
    """Return the loss of every step, thin, and its moving average."""
    xs, ys = [float(step.step) for step in view.steps], [step.loss for step in view.steps]
    calm = smoothed(ys, span=max(5, len(ys) // 25))
    lines = []
    for name, values, thin in (("loss", ys, True), ("moving average", calm, False)):
        kept_xs, kept_ys = thinned(xs, values)
        lines.append(Line(name=name, xs=kept_xs, ys=kept_ys, thin=thin, dots=False, colour=0))
    return Chart(lines=lines, label="loss by step")


def validation_chart(view: RunView) -> Chart:
    """Return losses on held-out and on training photos over the base model's; below 1 is better than it."""
    base = next((found for found in view.validation if found.step == 0), None)
    if base is None or len(view.validation) < 2:
        return Chart(lines=[])
    xs = [float(found.step) for found in view.validation]
    held_out = [_over(found.held_out, base.held_out) for found in view.validation]
    train = [_over(found.train, base.train) for found in view.validation]
    lines = [Line(name="held-out photos", xs=xs, ys=held_out, colour=1), Line(name="training photos", xs=xs, ys=train)]
    return Chart(lines=lines, label="loss on fixed noise over the base model's by step")


def validation_words(view: RunView) -> str:
    """Return what the losses on fixed noise mean, and where DVAR would have stopped; '' without any."""
    if not view.validation:
        return ""
    measured = any(math.isfinite(found.held_out) for found in view.validation)
    photos = "" if measured else " No photo was held out, so only training photos are measured."
    stop = f"have stopped at step {view.dvar_step}" if view.dvar_step is not None else "not have stopped so far"
    return (
        "The same photos, noise and timesteps at every checkpoint; 1 is the base model. A rise on held-out photos "
        f"hints at over-training. Evidence only: it does not pick.{photos} "
        f"DVAR, which stops once the loss of a fixed batch has come to rest, would {stop}."
    )


def _over(loss: float, base: float) -> float:
    return loss / base if base else math.nan


def comparison_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """Return one score curve a run with its pick marked, by its learning rate if there is room for words."""
    lines, marks = [], []
    for place, run in enumerate(runs):
        judged, picked = _judged(run["rows"]), run["picked"]
        xs, ys = [scores.step for scores in judged], [scores.score for scores in judged]
        lines.append(Line(name=run["view"].name, xs=xs, ys=ys, colour=run["colour"]))
        if picked is not None and picked.scores is not None:
            rate = run["facts"].get("learning rate", "?")
            text = f"lr {rate}" if place == 0 or len(runs) <= ROOM_FOR_WORDS else ""
            marks.append(Mark(x=picked.step, y=picked.scores.score, text=text))
    return Chart(lines=lines, marks=marks, floor=0, ceiling=1, label="score by step and run")


def _judged(rows: Sequence[Row]) -> list[Scores]:
    """Return the scores of trained checkpoints, by step."""
    return [row.scores for row in rows if row.scores is not None and row.step > 0]


def _component_names(rows: Sequence[Row]) -> list[str]:
    scores = next((row.scores for row in rows if row.scores is not None and row.scores.components), None)
    return list(scores.components) if scores else []


def _portrait(view: RunView, picked: Row | None) -> str:
    """Return the picked checkpoint's best photo of the subject, of another prompt if it drew none, else ''."""
    drawn = [cell for cell in picked.cells if cell.pictures] if picked else []
    if not drawn:
        return ""
    of_person = {prompt.key for prompt in view.prompts if prompt.subject and prompt.photo}
    best = max(drawn, key=lambda cell: (cell.prompt in of_person, cell.score if math.isfinite(cell.score) else -1.0))
    return data_uri(best.pictures[0])


def _facts(view: RunView) -> dict[str, str]:
    """Return the settings that people ask for first."""
    optim, lora = view.config.get("optim", {}), view.config.get("lora", {})
    data, model = view.config.get("data", {}), view.config.get("model", {})
    found = {
        "base model": Path(str(model["path"])).name if model.get("path") else None,
        "trigger": data.get("trigger"),
        "photos": f"{len(view.train)} + {len(view.held_out)} held out" if view.train else None,
        "learning rate": f"{optim['lr']:g}" if isinstance(optim.get("lr"), int | float) else None,
        "schedule": optim.get("schedule"),
        "optimiser": optim.get("name"),
        "rank / alpha": f"{lora['rank']} / {lora.get('alpha', lora['rank']):g}" if lora.get("rank") else None,
        "batch": optim.get("batch_size"),
        "steps": optim.get("steps"),
        "seed": view.config.get("seed"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


@functools.cache
def _environment() -> Environment:
    # Once a process: compiling the templates costs more than rendering a page.
    environment = Environment(
        loader=PackageLoader("lorasweep.report"),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name fails the test instead of leaving a gap on the page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = data_uri
    environment.filters["veto"] = veto_text
    environment.globals["RunStatus"] = RunStatus  # pyright: ignore[reportArgumentType]
    environment.globals["RunVerdict"] = RunVerdict  # pyright: ignore[reportArgumentType]
    environment.globals["picture_id"] = picture_id  # pyright: ignore[reportArgumentType]
    environment.filters["share"] = lambda value: f"{value:.2f}" if value is not None and math.isfinite(value) else "–"
    return environment


def _template(name: str, **values: Any) -> str:
    environment = _environment()
    script = environment.get_template("viewer.js").module.__str__()
    # Captions and prompts are the user's or a stranger's words: only the script with this hash may run on the page.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(name).render(script=script, script_hash=f"sha256-{digest}", **values)


def _write_text(path: Path, text: str) -> Path:
    write_atomically(path, text.encode())
    return path
