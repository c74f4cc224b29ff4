"""The pictures of docs/evaluator.md: what the planted faults look like, and what one person's runs drew.

    python -m benchmarks.pictures.evidence             all, some minutes; runs from what `--draw` and `ways` leave
    python -m benchmarks.pictures.evidence faults ways     only these

Numbers below an image are those of the committed results. The person is the first of half B, the faults are planted in
the first image of the first person of half B, so neither was chosen for its looks.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.evaluator.faults import DOSES, FAULTS, RESPONSIBLE, plant
from benchmarks.evaluator.figures import figures
from benchmarks.evaluator.measure import PEOPLE
from benchmarks.evaluator.measure import RESULTS as FAULT_RESULTS
from benchmarks.evaluator.people import Person
from benchmarks.picker.looks import decoded
from benchmarks.picker.measure import RESULTS_ANEW
from benchmarks.picker.rules import WEIGHTS, Choice
from benchmarks.picker.runs import DELTA, redraw
from benchmarks.picker.shards import sheet_of
from benchmarks.picker.trajectories import HALVES, PLAN
from benchmarks.picker.ways import HALVES as WAY_HALVES
from benchmarks.picker.ways import plan_of, read_ways
from lorasweep.config.schema import PickConfig
from lorasweep.data.pictures import Pixels

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
TILE, LEFT, TOP, BELOW, GAP = 80, 96, 24, 17, 6
INK, PAPER, PICKED, LATEST = "#20242b", "#ffffff", "#1f9d55", "#000000"

TOLD_BY = "p3_scene"
"""The prompt that is shown of the ways: another background and shirt than most photos have."""

Cell = tuple[Pixels, str, Sequence[str]]
"""An image, what stands below it, and the colours of its frames from the outside in."""


def grid(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]]) -> Image.Image:
    """Draw rows of images with a name before each row and a word below every image."""
    pitch = TILE + GAP
    sheet = Image.new("RGB", (LEFT + len(heads) * pitch, TOP + len(rows) * (pitch + BELOW)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, head in enumerate(heads):
        pen.text((LEFT + column * pitch + TILE / 2, TOP / 2), head, INK, font, anchor="mm")
    for line, (name, cells) in enumerate(rows):
        y = TOP + line * (pitch + BELOW)
        pen.text((8, y + TILE / 2), name, INK, font, anchor="lm")
        for column, (picture, word, frames) in enumerate(cells):
            x = LEFT + column * pitch
            sheet.paste(Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.BICUBIC), (x, y))
            for depth, colour in enumerate(frames):
                inset = 3 * depth
                pen.rectangle((x + inset, y + inset, x + TILE - 1 - inset, y + TILE - 1 - inset), None, colour, 3)
            pen.text((x + TILE / 2, y + TILE + BELOW / 2), word, INK, font, anchor="mm")
    return sheet


def faults_sheet() -> Image.Image:
    """Draw faults down, doses across; below, the mean of the responsible component in a run of half B."""
    records = json.loads(FAULT_RESULTS.read_text(encoding="utf-8"))["records"]
    curves = figures([record for record in records if record["half"] == "B"])["curves"]["run"]
    seed = PEOPLE["B"][0]
    honest = Person(seed).pictures()[:1]
    rows = []
    for name in FAULTS:
        planted = [plant(name, honest, dose, seed)[0] for dose in DOSES]
        cells = [(picture, f"{value:.2f}", ()) for picture, value in zip(planted, curves[name], strict=True)]
        rows.append((f"{name}\n({RESPONSIBLE[name]})", cells))
    return grid([f"dose {dose}" for dose in DOSES], rows)


def runs_sheet() -> Image.Image:
    """Draw rates down, checkpoints across, the first prompt and seed; below, the oracle's mean of the checkpoint."""
    person = HALVES["B"][0]
    if not PLAN.latents(person).exists():
        raise SystemExit(
            f"{PLAN.latents(person)} is not there; 'python -m benchmarks.picker.trajectories --draw' makes it."
        )
    outcomes = json.loads(RESULTS_ANEW.read_text(encoding="utf-8"))["runs"]
    size = len(sheet_of(PLAN.config(PLAN.first)).cells)
    base = decoded(PLAN, person, "base", slice(0, 1))[0]
    rows, steps = [], []
    for run in (each for each in outcomes if each["person"] == person):
        name, steps = f"{run['rate']:g}", run["steps"]
        drawn = decoded(PLAN, person, name, slice(0, size * len(steps), size))
        quality = run["quality"]
        latest = max(place for place, value in enumerate(quality) if value >= max(quality) - DELTA)
        cells: list[Cell] = [(base, f"{run['base_quality']:.2f}", ())]
        for place, picture in enumerate(drawn):
            frames = [PICKED] * (place == run["standing"]) + [LATEST] * (place == latest)
            cells.append((picture, f"{quality[place]:.2f}", frames))
        rows.append((f"rate {name}", cells))
    return grid(["base", *(f"step {step}" for step in steps)], rows)


def ways_sheet() -> Image.Image:
    """Draw ways to over-train down, checkpoints across, one prompt and seed; below, the oracle's mean.

    Steps differ from way to way, so that columns are checkpoints.
    """
    person = WAY_HALVES["B"][0]
    rows: list[tuple[str, list[Cell]]] = []
    for run in read_ways([person]):
        plan = plan_of(run.way)
        if not plan.latents(person).exists():
            raise SystemExit(
                f"{plan.latents(person)} is not there; 'python -m benchmarks.picker.ways --anew' makes it."
            )
        prompts, seeds = len(run.evidence.prompts), len(run.evidence.seeds)
        first = [prompt.key for prompt in run.evidence.prompts].index(TOLD_BY) * seeds
        base = decoded(plan, person, "base", slice(first, first + 1))[0]
        drawn = decoded(plan, person, run.way, slice(first, None, prompts * seeds))
        whole = Choice(run=run, part=redraw(prompts, seeds, prompts * seeds, np.random.default_rng(0)), weights=WEIGHTS)
        picked = whole.standing(PickConfig()).step
        cells: list[Cell] = [(base, f"{run.base_quality:.2f}", ())]
        for place, picture in enumerate(drawn):
            frames = [PICKED] * (run.steps[place] == picked) + [LATEST] * (place == run.latest_acceptable)
            cells.append((picture, f"{run.quality[place]:.2f}", frames))
        rows.append((f"{run.way.replace('_', ' ')}\n({run.steps[-1]} steps)", cells))
    return grid(["base", *(str(place) for place in range(1, len(rows[0][1])))], rows)


SHEETS = {"faults": faults_sheet, "runs": runs_sheet, "ways": ways_sheet}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=(*SHEETS, []), help="which pictures, all by default")
    parser.add_argument("--to", type=Path, default=FOLDER)
    chosen = parser.parse_args()
    for name in chosen.names or SHEETS:
        SHEETS[name]().save(chosen.to / f"{name}.webp", quality=90, method=6)


if __name__ == "__main__":
    main()
