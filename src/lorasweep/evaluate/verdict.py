"""What a careful human would say of each checkpoint and of the run, in plain words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorasweep.evaluate.bootstrap import FLOOR
from lorasweep.evaluate.identity import NO_PICK
from lorasweep.records import COMPONENTS, Bools, Floats, Scores, Verdict

if TYPE_CHECKING:
    from lorasweep.evaluate.pick import Rule

IDENTITY = COMPONENTS.index("identity")
DECLINE = {
    "identity": "stops resembling the subject",
    "prompt": "ignores the prompt",
    "artifact": "shows damage: clay, mosaic, noise or burnt colours",
    "geometry": "deforms faces or loses them",
    "novelty": "copies training photos or repeats itself",
}
WITHHELD = "look at the sheet"
"""The verdict on a run whose likeness nothing measures, as with a style; no checkpoint is picked."""
SURE = 0.9
"""Share of replicates that must agree before a checkpoint is called worse than the best."""
LEAST_EFFECT = 0.02
"""Loss of score that is worth a word."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """E checkpoints side by side, smoothed."""

    judged: tuple[Scores, ...]
    components: Floats
    """[E, C]"""
    weights: Floats
    """[C]"""
    means: Floats
    """[E] scores."""
    spread: Floats
    """[B, E] scores in each bootstrap replicate."""
    best: int
    eligible: Bools
    """[E]"""
    rule_delta: float
    confidence: float


def judge_checkpoints(table: Table) -> tuple[Verdict, ...]:
    """One verdict a checkpoint, in order: under, good, over or uncertain, the component to blame, and a sentence."""
    return tuple(_judge(table, place) for place in range(len(table.judged)))


def _judge(table: Table, place: int) -> Verdict:
    step, losses = table.judged[place].step, _losses(table, place)
    if np.isnan(table.means[place]):
        return Verdict(step=step, word="uncertain", cause="", text="Nothing could be judged.")
    if table.judged[place].vetoes:
        cause = "novelty" if "copied" in table.judged[place].vetoes[0] else "geometry"
        text = f"Ruled out: {table.judged[place].vetoes[0]}."
        return Verdict(step=step, word=_side(table, place), cause=cause, text=text)
    if table.eligible[place] and _withheld(table):
        text = "No harm is shown; how well the style is met, your eyes say."
        return Verdict(step=step, word="uncertain", cause="", text=text)
    if table.eligible[place]:
        return Verdict(step=step, word="good", cause="", text=_praise(table, place))
    sure = float(np.mean(table.spread[:, place] < table.spread[:, table.best]))
    if sure < SURE or table.means[table.best] - table.means[place] < LEAST_EFFECT:
        text = "Neither shown to be as good as the best one nor shown to be worse."
        return Verdict(step=step, word="uncertain", cause="", text=text)
    cause = COMPONENTS[int(np.argmax(losses))]
    word = _side(table, place)
    return Verdict(step=step, word=word, cause=cause, text=_blame(table, place, word, cause))


def _side(table: Table, place: int) -> str:
    return "under" if place < table.best else "over"


def _losses(table: Table, place: int) -> Floats:
    """[C] what each component takes from log(score), compared with the best checkpoint; NaN counts as nothing."""
    values = np.log(np.maximum(np.nan_to_num(table.components[[table.best, place]], nan=1.0), FLOOR))
    return table.weights * (values[0] - values[1])


def _praise(table: Table, place: int) -> str:
    if place == table.best:
        return f"The best of the run at {table.means[place]:.2f}."
    return f"Within {table.rule_delta:g} of the best one, shown at {table.confidence:.0%} confidence."


def _blame(table: Table, place: int, word: str, cause: str) -> str:
    here, best = (table.components[row, COMPONENTS.index(cause)] for row in (place, table.best))
    if word == "under" and cause == "identity":
        return f"Still {1 - here:.0%} a generic person."
    verb = DECLINE[cause]
    return f"It {verb} ({cause} {here:.2f}, at the best checkpoint {best:.2f})."


def judge_run(table: Table, floor: float, any_allowed: bool) -> str:
    """fine, train longer, learning rate too high or save more often, no usable checkpoint, not measurable; WITHHELD."""
    if _withheld(table):
        return WITHHELD
    if _identity_unknown(table) or np.isnan(table.means[table.best]):
        return "not measurable"
    if table.means[table.best] < floor or not any_allowed:
        return "no usable checkpoint"
    last = len(table.judged) - 1
    if table.best == last and last > 0 and _rises(table):
        return "train longer"
    if table.best == 0 and last > 0 and not table.eligible[1]:
        return "learning rate too high or save more often"
    return "fine"


def _withheld(table: Table) -> bool:
    return any(NO_PICK in part.notes for part in table.judged)


def _identity_unknown(table: Table) -> bool:
    """Asked for, and nowhere measurable; a sheet without faces is judged by the other components."""
    asked = not any("no prompt asks" in note for part in table.judged for note in part.notes)
    return asked and table.weights[IDENTITY] > 0 and bool(np.isnan(table.components[:, IDENTITY]).all())


def _rises(table: Table) -> bool:
    """Whether the last checkpoint is shown to be better than the one two before it."""
    before = max(0, len(table.judged) - 3)
    gain = table.spread[:, -1] - table.spread[:, before]
    return float(np.quantile(gain, 1 - SURE)) > 0 and float(gain.mean()) > LEAST_EFFECT


def reason(table: Table, chosen: int, run_verdict: str, rule: "Rule") -> str:
    """Why this checkpoint, for people."""
    best = table.judged[table.best].step
    if run_verdict == WITHHELD:
        hand = f"'lorasweep pick {table.judged[0].trial} --step N' takes one by hand"
        return f"{NO_PICK[:1].upper()}{NO_PICK[1:]}; {hand}."
    if run_verdict == "not measurable":
        notes = [note for note in table.judged[table.best].notes if "measurable" in note]
        return f"{notes[0][:1].upper()}{notes[0][1:]}." if notes else "Nothing could be judged."
    if run_verdict == "no usable checkpoint":
        why = f"scores {table.means[table.best]:.2f}, below {rule.floor:.2f}"
        if table.judged[table.best].vetoes:
            why = f"is ruled out: {table.judged[table.best].vetoes[0]}"
        return f"Even the best checkpoint, {best}, {why}."
    step = table.judged[chosen].step
    if chosen == table.best:
        return f"Checkpoint {step} scores best ({table.means[chosen]:.2f}){_why_no_other(table, rule)}."
    order = "latest" if chosen > table.best else "earliest"
    return (
        f"Checkpoint {step} is the {order} one shown to be within {rule.delta:g} of the best, {best} "
        f"({table.means[chosen]:.2f} against {table.means[table.best]:.2f})."
    )


def _why_no_other(table: Table, rule: "Rule") -> str:
    if rule.prefer == "best":
        return ""
    side = "later" if rule.prefer == "latest" else "earlier"
    alone = table.best in (0 if side == "earlier" else len(table.judged) - 1,)
    return "" if alone else f", and no {side} one is shown to be within {rule.delta:g} of it"
