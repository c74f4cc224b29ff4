"""The sentences of notes, vetoes, verdicts, picks and strengths. Everything here is read by people, nothing decides."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from lorasweep.evaluate.table import Rule, Table
from lorasweep.outcomes import NoteKind, RunVerdict, VerdictWord, VetoKind
from lorasweep.records import COMPONENTS, Note, Scores, StrengthRange, Veto

Kind = TypeVar("Kind", NoteKind, VetoKind)

NOTES = {
    NoteKind.STYLE: (
        "nothing measures how well a style is met (evaluate.subject is none), so there is no automatic pick: "
        "look at the sheet"
    ),
    NoteKind.FACE_NOT_ASKED: "{component} is not judged: no prompt asks for a photo of the subject's face",
    NoteKind.SUBJECT_NOT_ASKED: "identity is not judged: no prompt asks for a photo of the subject",
    NoteKind.PHOTO_NOT_ASKED: "artifacts are not judged: no prompt asks for a photo",
    NoteKind.FEW_FACES: "identity is not measurable: {count:g} photos show a face, {needed:g} are needed",
    NoteKind.FEW_PHOTOS: "identity is not measurable: there are {count:g} photos, {needed:g} are needed",
    NoteKind.STRANGERS_ALIKE: (
        "identity is not measurable: the photos are {ceiling:.2f} alike among themselves and {floor:.2f} alike to "
        "the base model's strangers, and a gap of {needed:.2g} is needed"
    ),
    NoteKind.IMAGES_ALIKE: (
        "identity is not measurable: the photos are {ceiling:.2f} alike among themselves and {floor:.2f} alike to "
        "what the base model draws, and a gap of {needed:.2g} ({errors:g} standard errors) is needed"
    ),
    NoteKind.ONE_TEXT: "prompt-following is not judged: the sheet has fewer than two different texts",
    NoteKind.BASE_IGNORES_TEXT: "prompt-following is not judged: the base model does not follow it itself",
    NoteKind.DAMAGED: "looks {fault}",
    NoteKind.FACES_NOT_SOUGHT: "geometry is not judged: no face was looked for",
    NoteKind.NOTHING_TO_COPY: "copying is not judged: it takes two training photos and a prompt with the subject",
    NoteKind.SEEDS_ALIKE: "pictures of one prompt hardly differ",
    NoteKind.PROMPTS_ALIKE: "pictures of different prompts hardly differ",
    NoteKind.NO_HELD_OUT: "no held-out photos: copying cannot be ruled out",
    NoteKind.NO_WITNESS: "likeness is not judged at {prompts}: {part:.0%} of the score has no witness there",
}
VETOES = {
    VetoKind.COPIES: "{share:.0%} of it is copied from training photos",
    VetoKind.NO_FACE: "{share:.0%} of its pictures show no face",
    VetoKind.DAMAGED: "damage took {share:.0%} of its pictures' soundness",
    VetoKind.DIVERGED: "training had diverged before it, to pictures that are {share:.0%} damage",
}
DECLINE = {
    "identity": "stops resembling the subject",
    "prompt": "ignores the prompt",
    "artifact": "shows damage: clay, mosaic, noise or burnt colours",
    "geometry": "deforms faces or loses them",
    "novelty": "copies training photos or repeats itself",
}
"""What an over-trained checkpoint does, by the component that fell."""


def note_text(note: Note) -> str:
    """Return the note without a capital or a full stop."""
    return NOTES[note.kind].format(**note.values)


def veto_text(veto: Veto) -> str:
    """Return the veto without a capital or a full stop, as in '40% of its pictures show no face'."""
    return VETOES[veto.kind].format(share=veto.share)


UNMEASURABLE = {NoteKind.FEW_FACES, NoteKind.FEW_PHOTOS, NoteKind.STRANGERS_ALIKE, NoteKind.IMAGES_ALIKE}
"""Notes that say why nobody can tell the subject by these photos."""
UNJUDGED = "Nothing could be judged."
UNCERTAIN = "Neither shown to be as good as the best one nor shown to be worse."
HARMLESS = "No harm is shown; how well the style is met, your eyes say."


def praise(table: Table, place: int) -> str:
    """Return why a checkpoint is good."""
    if place == table.best:
        return f"The best of the run at {table.means[place]:.2f}."
    return f"Within {table.rule.delta:g} of the best one, shown at {table.rule.confidence:.0%} confidence."


def blame(table: Table, place: int, word: VerdictWord, cause: str) -> str:
    """Return what is wrong with a checkpoint that is worse than the best one in the component ``cause``."""
    here, best = (table.components[row, COMPONENTS.index(cause)] for row in (place, table.best))
    if word is VerdictWord.UNDER and cause == "identity":
        return f"Still {1 - here:.0%} a generic person."
    return f"It {DECLINE[cause]} ({cause} {here:.2f}, at the best checkpoint {best:.2f})."


def incomparable(table: Table, place: int) -> str:
    """Return why a checkpoint does not compare: the components that others were judged on and it was not."""
    known = ~np.isnan(table.components)
    lacks = known[table.comparable].any(axis=0) & ~known[place] & (table.weights > 0)
    names = " and ".join(name for name, lacking in zip(COMPONENTS, lacks, strict=True) if lacking)
    return f"Its {names} could not be judged, so its score does not compare with the others'."


def ruled_out(veto: Veto) -> str:
    """Return the verdict on a checkpoint that is ruled out."""
    return f"Ruled out: {veto_text(veto)}."


def reason(table: Table, chosen: int, run_verdict: RunVerdict) -> str:
    """Return why the checkpoint at the place ``chosen`` was picked, or why none was."""
    match run_verdict:
        case RunVerdict.LOOK:
            style = capital(NOTES[NoteKind.STYLE])
            return f"{style}; 'lorasweep pick {table.judged[0].trial} --step N' takes one by hand."
        case RunVerdict.NOT_MEASURABLE:
            notes = [note for note in table.judged[table.best].notes if note.kind in UNMEASURABLE]
            return f"{capital(note_text(notes[0]))}." if notes else UNJUDGED
        case RunVerdict.NOTHING_USABLE:
            return _none_usable(table)
        case _:
            return _why_picked(table, chosen)


def _none_usable(table: Table) -> str:
    best, identity = table.judged[table.best], table.judged[table.best].components["identity"]
    why = f"scores {table.means[table.best]:.2f}, below {table.rule.floor:.2f}"
    if best.vetoes:
        why = f"is ruled out: {veto_text(best.vetoes[0])}"
    elif table.means[table.best] >= table.rule.floor and identity < table.rule.least_likeness:
        why = _somebody_else(identity, table.rule)
    return f"Even the best checkpoint, {best.step}, {why}."


def _somebody_else(identity: float, rule: Rule) -> str:
    least = f"{rule.least_likeness:.2f} (pick.least_likeness)"
    return f"shows somebody else: identity is {identity:.2f}, and {least} is needed"


def _why_picked(table: Table, chosen: int) -> str:
    step, best = table.judged[chosen].step, table.judged[table.best].step
    if chosen == table.best:
        return f"Checkpoint {step} scores best ({table.means[chosen]:.2f}){_why_no_other(table)}."
    order = "latest" if chosen > table.best else "earliest"
    return (
        f"Checkpoint {step} is the {order} one shown to be within {table.rule.delta:g} of the best, {best} "
        f"({table.means[chosen]:.2f} against {table.means[table.best]:.2f})."
    )


def _why_no_other(table: Table) -> str:
    ends = {"latest": ("later", len(table.judged) - 1), "earliest": ("earlier", 0)}
    side, end = ends.get(table.rule.prefer, ("", table.best))
    return "" if table.best == end else f", and no {side} one is shown to be within {table.rule.delta:g} of it"


def unsettled(steps: Sequence[int], pictures: int) -> str:
    """Return what more pictures would settle, '' if nothing; it follows a reason."""
    if not steps:
        return ""
    low, high = min(steps), max(steps)
    named = f"Checkpoint {low}" if low == high else f"Checkpoints {low} to {high}"
    return f" {named} may be as good: {pictures} pictures a checkpoint would show it (more sample.seeds)."


def below_floor(final: Scores, rule: Rule) -> str:
    """Return why nothing is picked although a finalist is sound."""
    return f"On fresh seeds checkpoint {final.step} scores {final.score:.2f}, below the floor of {rule.floor:.2f}."


def none_confirmed(chosen: Scores, rule: Rule) -> str:
    """Return why nothing is picked: fresh seeds rule out all finalists, ``chosen`` among them."""
    return f"On fresh seeds checkpoint {chosen.step} {_unsound(chosen, rule)}, and no other finalist is sound."


def gave_way(chosen: Scores, final: Scores, rule: Rule, *, sound: bool) -> str:
    """Return why fresh seeds replaced the chosen checkpoint by ``final``; ``sound`` is whether it could have stayed."""
    if not sound:
        return f"On fresh seeds {chosen.step} {_unsound(chosen, rule)}, so {final.step} it is: {final.score:.2f}."
    scores = f"{final.score:.2f} on fresh seeds against {chosen.score:.2f}"
    return f"Both sets of seeds together prefer {final.step} to {chosen.step} ({scores}), so {final.step} it is."


def _unsound(judged: Scores, rule: Rule) -> str:
    if judged.vetoes:
        return f"is ruled out ({veto_text(judged.vetoes[0])})"
    identity = judged.components["identity"]
    return _somebody_else(identity, rule) if identity < rule.least_likeness else "is not comparable"


def strength_advice(scores: Mapping[float, Scores], own: float, advised: float) -> str:
    """Return why a file is to be used at the strength ``advised``; '' if it was drawn at its own alone."""
    standing, there = scores[own], scores[advised]
    if advised != own and standing.vetoes:
        vetoed = f"At strength {own:g} it is ruled out ({veto_text(standing.vetoes[0])}), at {advised:g} it is not"
        return f"{vetoed} and scores {there.score:.2f}."
    if advised != own:
        return f"At strength {advised:g} it scores {there.score:.2f} against {standing.score:.2f} at {own:g}."
    return f"No other strength is shown to be better than {own:g}." if len(scores) > 1 else ""


def strength_range(reach: StrengthRange, scores: Mapping[float, Scores]) -> str:
    """Return between which strengths a file works, and what is wrong with the next ones."""
    works = f"from {reach.low:g} to {reach.high:g}" if reach.low < reach.high else f"at {reach.low:g} only"
    ends = ((reach.too_weak, reach.lost_below), (reach.too_strong, reach.lost_above))
    faults = [f"at {end:g} it {_fault(scores[end], lost)}" for end, lost in ends if end is not None]
    return f"It works {works}{''.join(f'; {fault}' for fault in faults)}."


def _fault(scores: Scores, lost: str) -> str:
    named = [note_text(note) for note in scores.notes if note.kind is NoteKind.DAMAGED]
    return named[0] if named and lost == "artifact" else DECLINE[lost]


def capital(text: str) -> str:
    """Return ``text`` with a capital, the rest as it is."""
    return text[:1].upper() + text[1:]


def read_notes(sentence: str) -> tuple[Note, ...]:
    """Return the notes in a sentence of version 0.1, whose journals hold sentences only.

    Raise ValueError if that version had no such sentence.
    """
    return tuple(Note(*_parse(part, NOTES)) for part in sentence.split("; "))


def read_veto(sentence: str) -> Veto:
    """Return the veto in a sentence of version 0.1. Raise ValueError if that version had no such sentence."""
    kind, values = _parse(sentence, VETOES)
    return Veto(kind, float(values["share"]))


def _parse(sentence: str, templates: Mapping[Kind, str]) -> tuple[Kind, dict[str, float | str]]:
    # The templates are read backwards, so what version 0.1 wrote must stay what they make; reword a new kind instead.
    for kind, template in templates.items():
        parts = re.split(r"\{(\w+)[^}]*\}", template)  # words and names of values in turn
        pattern = "".join(f"(?P<{part}>.+)" if n % 2 else re.escape(part) for n, part in enumerate(parts))
        if found := re.fullmatch(pattern, sentence):
            return kind, {name: _value(text) for name, text in found.groupdict().items()}
    raise ValueError(f"the journal holds the sentence {sentence!r}, which version 0.1 never wrote")


def _value(text: str) -> float | str:
    number = text.removesuffix("%")
    try:
        return float(number) / 100 if number != text else float(text)
    except ValueError:
        return text
