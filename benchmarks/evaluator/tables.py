"""The evaluator's figures as tables: printed, and between the marks of docs/evaluator.md."""

from collections.abc import Sequence
from typing import Any

from benchmarks.evaluator.faults import FAULTS
from benchmarks.evaluator.figures import EXCEPTIONS, FACTORS, GOALS, RULES
from benchmarks.evaluator.people import ROOT
from benchmarks.evaluator.sheets import BLEND, GAMING, HONEST
from benchmarks.printing import fill_page, markdown_table, print_table
from lorasweep.records import COMPONENTS

PAGE = ROOT / "docs" / "evaluator.md"
MARKS = ("<!-- figures: python -m benchmarks.evaluator --replay --docs -->", "<!-- end of figures -->")
Table = tuple[str, Sequence[str], list[list[str]]]
TITLES = {"score": "our score", "cosine": "likeness to the photos", "clip_t": "CLIP-T", "sharpness": "sharpness"}


def tables(found: dict[str, Any]) -> list[Table]:
    """Return title, heads and rows of each."""
    return [
        dose_table(found),
        auc_table(found),
        curve_table(found),
        matrix_table(found),
        *anchor_tables(found),
        gaming_table(found["gaming"]),
    ]


def dose_table(found: dict[str, Any]) -> Table:
    grounds = tuple(found["dose"])
    rows = [
        [fault, *(_cell(found["dose"][ground].get(fault), GOALS["dose"]) for ground in grounds)] for fault in FAULTS
    ]
    return "Rank correlation with the dose (goal: 0.9 and more)", ("fault", *grounds), rows


def auc_table(found: dict[str, Any]) -> Table:
    grounds = tuple(found["auc"])
    rows = [[fault, *(_cell(found["auc"][ground].get(fault), GOALS["auc"]) for ground in grounds)] for fault in FAULTS]
    return "Told from honest sets of 8, AUC at dose 3 (goal: 0.95 and more)", ("fault", *grounds), rows


def curve_table(found: dict[str, Any]) -> Table:
    rows = [
        [f"{fault}, {ground}", *(f"{value:.2f}" for value in curve)]
        for ground in list(found["curves"])[2:]
        for fault, curve in found["curves"][ground].items()
    ]
    return "The responsible component by dose", ("fault", "0", "1", "2", "3", "4", "5"), rows


def matrix_table(found: dict[str, Any]) -> Table:
    rows = []
    for factor, losses in found["matrix"].items():
        own = losses[COMPONENTS.index(FACTORS[factor])]
        cells = []
        for name, loss in zip(COMPONENTS, losses, strict=True):
            named = (factor, name) in EXCEPTIONS
            missed = name != FACTORS[factor] and not named and abs(loss) >= GOALS["others"] * own
            mark = "*" if name == FACTORS[factor] else " (named)" if named else " missed" if missed else ""
            cells.append(f"{loss:.2f}{mark}")
        rows.append([factor, *cells])
    return "What each factor costs each component (* its own)", ("factor", *COMPONENTS), rows


def anchor_tables(found: dict[str, Any]) -> list[Table]:
    anchors, people = found["anchors"], found["people"]
    rows = []
    for sheet, name in (("own_scenes", "in their own scenes"), ("sheet", "in the sheet's scenes")):
        worst, mean = anchors["photos"][sheet]
        under, good = anchors["words"][sheet]
        rows += [
            [f"held-out photos {name}: lowest and mean score", f"{worst:.3f}, {mean:.3f}", "≥ 0.9"],
            [f"base samples {name}: highest score", f"{anchors['base'][sheet]:.3f}", f"< {GOALS['floor']}"],
            [
                f"called under and good {name}",
                f"{under} and {good} of {people}",
                f"{people} and {people}",
            ],
        ]
    mirror = anchors["mirrored"]
    rows += [
        ["largest loss of any base picture against itself", f"{anchors['null']:.3f}", f"≤ {GOALS['null']}"],
        ["identity at " + ", ".join(f"{s:g}" for s in BLEND) + " of somebody else", _row(anchors["blend"]), ""],
        ["largest rise on that way", f"{anchors['rise']:.3f}", f"≤ {GOALS['rise']}"],
        ["smallest fall over that way", f"{anchors['fall']:.3f}", f"≥ {GOALS['fall']}"],
        ["prompt where prompts are changed over", f"{anchors['swapped']:.3f}", f"≤ {GOALS['swapped']}"],
        [
            "identity lost by mirroring, the mole put back",
            f"{mirror['straight'] - mirror['mole_put_back']:.3f}",
            f"≤ {GOALS['mirrored']}",
        ],
        ["identity of mirrored photos, the mole on the wrong side", f"{mirror['plain']:.3f}", ""],
    ]
    copies = [
        [way, _cell(-left, -GOALS["copied"]).lstrip("-"), f"{anchors['kept'][way]:.3f}"]
        for way, left in anchors["copied"].items()
    ]
    return [
        ("Anchors", ("", "measured", "goal"), rows),
        ("Copies of training photos (goals: novelty 0.1 at most, identity 0.9)", ("", "novelty", "identity"), copies),
    ]


def gaming_table(found: dict[str, Any]) -> Table:
    """Return means; in brackets, for how many people the sheet ranks at or above an honest one."""
    rows = []
    for sheet in (*HONEST, *GAMING):
        cells = [f"{found['means'][sheet][rule]:.2f}" for rule in RULES]
        if sheet in GAMING:
            cells = [f"{cell} ({found['above'][rule][sheet]})" for cell, rule in zip(cells, RULES, strict=True)]
        rows.append([sheet if sheet in GAMING else f"honest: {sheet}", *cells])
    title = f"Pictures made to cheat (in brackets: outranks honest ones, of {found['people']} people)"
    return title, ("sheet", *(TITLES[rule] for rule in RULES)), rows


def _cell(value: float | None, goal: float) -> str:
    return "" if value is None else f"{value:.3f}" if value >= goal else f"{value:.3f} missed"


def _row(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def show(found: dict[str, Any]) -> None:
    """Print all tables and the missed goals."""
    for title, heads, rows in tables(found):
        print(title)
        print_table(heads, rows)
    print(f"{len(found['missed'])} goals missed")
    for line in found["missed"]:
        print(f"  {line}")
    print()


def write_page(found: dict[str, Any]) -> None:
    """Put the reported half's tables between the marks of docs/evaluator.md."""
    parts = [f"**{title}**\n\n{markdown_table(heads, rows)}" for title, heads, rows in tables(found)]
    missed = "\n".join(f"- {line}" for line in found["missed"]) or "None."
    parts.append(f"**Goals missed: {len(found['missed'])}**\n\n{missed}")
    fill_page(PAGE, MARKS, parts)
