"""What a careful person would say of each checkpoint and of the run."""

import numpy as np

from lorasweep.evaluate import text
from lorasweep.evaluate.bootstrap import losses
from lorasweep.evaluate.table import IDENTITY, Table
from lorasweep.outcomes import NoteKind, RunVerdict, VerdictWord, VetoKind
from lorasweep.records import COMPONENTS, Verdict

CAUSES = {
    VetoKind.COPIES: "novelty",
    VetoKind.NO_FACE: "geometry",
    VetoKind.DAMAGED: "artifact",
    VetoKind.DIVERGED: "artifact",
}
"""The component that each veto comes from."""
NOT_ASKED = {NoteKind.FACE_NOT_ASKED, NoteKind.SUBJECT_NOT_ASKED}
"""Notes of a sheet that does not ask for the subject, so that identity is not missed."""
SURE = 0.9
"""Share of replicates that must agree before a checkpoint is called worse than the best."""
LEAST_EFFECT = 0.02
"""Smallest loss of score that is worth mentioning."""


def judge_checkpoints(table: Table) -> tuple[Verdict, ...]:
    """Return one verdict a checkpoint, in the table's order."""
    return tuple(_judge(table, place) for place in range(len(table.judged)))


def _judge(table: Table, place: int) -> Verdict:
    judged = table.judged[place]
    step, vetoes = judged.step, judged.vetoes
    if np.isnan(table.means[place]):
        return Verdict(step=step, word=VerdictWord.UNCERTAIN, cause="", text=text.UNJUDGED)
    if not table.comparable[place]:
        return Verdict(step=step, word=VerdictWord.UNCERTAIN, cause="", text=text.incomparable(table, place))
    if vetoes:
        cause, side = CAUSES[vetoes[0].kind], _side(table, place)
        return Verdict(step=step, word=side, cause=cause, text=text.ruled_out(vetoes[0]))
    if table.eligible[place] and _withheld(table):
        return Verdict(step=step, word=VerdictWord.UNCERTAIN, cause="", text=text.HARMLESS)
    if table.eligible[place]:
        return Verdict(step=step, word=VerdictWord.GOOD, cause="", text=text.praise(table, place))
    # "Worse" takes two things: replicates that agree, and a loss that anybody would care about.
    sure = float(np.mean(table.spread[:, place] < table.spread[:, table.best]))
    least = max(LEAST_EFFECT, table.rule.delta)
    if sure < SURE or table.means[table.best] - table.means[place] < least:
        return Verdict(step=step, word=VerdictWord.UNCERTAIN, cause="", text=text.UNCERTAIN)
    lost = losses(table.components[table.best], table.components[place], table.weights)
    cause, side = COMPONENTS[int(np.argmax(lost))], _side(table, place)
    return Verdict(step=step, word=side, cause=cause, text=text.blame(table, place, side, cause))


def _side(table: Table, place: int) -> VerdictWord:
    return VerdictWord.UNDER if place < table.best else VerdictWord.OVER


def judge_run(table: Table, any_allowed: bool) -> RunVerdict:
    """Return the verdict on the run; ``any_allowed`` is whether any checkpoint has no veto."""
    best, last = table.best, len(table.judged) - 1
    # In this order: what cannot be known comes before what is bad, and that before advice on the next run.
    if _withheld(table):
        return RunVerdict.LOOK
    if _identity_unknown(table) or np.isnan(table.means[best]):
        return RunVerdict.NOT_MEASURABLE
    if table.means[best] < table.rule.floor or not any_allowed:
        return RunVerdict.NOTHING_USABLE
    if best == last and last > 0 and _rises(table):
        return RunVerdict.TRAIN_LONGER
    # The first checkpoint is best and the next one already worse: the peak lies before what was saved.
    if best == 0 and last > 0 and table.comparable[1] and not table.eligible[1]:
        return RunVerdict.TOO_FAST
    return RunVerdict.FINE


def _withheld(table: Table) -> bool:
    return any(note.kind is NoteKind.STYLE for part in table.judged for note in part.notes)


def _identity_unknown(table: Table) -> bool:
    """Return whether identity was asked for and measured nowhere."""
    # A sheet that never asks for the subject's face is judged by the other components.
    asked = not any(note.kind in NOT_ASKED for part in table.judged for note in part.notes)
    return asked and table.weights[IDENTITY] > 0 and bool(np.isnan(table.components[:, IDENTITY]).all())


def _rises(table: Table) -> bool:
    """Return whether the last checkpoint is shown to be better than the one two comparable ones before it."""
    before = np.flatnonzero(table.comparable)[-3:][0]
    gain = table.spread[:, -1] - table.spread[:, before]
    return float(np.quantile(gain, 1 - SURE)) > 0 and float(gain.mean()) > LEAST_EFFECT
