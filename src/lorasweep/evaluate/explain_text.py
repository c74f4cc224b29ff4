"""The sentences of an explanation: how many images fail, in what way, and how many did so at the other checkpoint."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lorasweep.evaluate.text import capital, veto_text
from lorasweep.evaluate.verdict import LEAST_EFFECT
from lorasweep.outcomes import NoteKind
from lorasweep.records import Bools, Floats, Note, Prompt, Scores

UNRECOGNISED = 0.5
"""Half-way from the base model's strangers to the photos; below it a face is nearer to the strangers."""
DEFORMED = 0.5
"""Share that geometry gives to a face that is ``CLEARLY_DEFORMED``."""
IGNORED = 0.25
"""Share of the way from chance to what the base model makes of the same words. Not half: images of one prompt scatter,
and 'ignored' is a strong word."""
REPEATED = 0.5
"""Half-way from the first suspicion to a whole copy."""
MOST_PROMPTS = 2
"""Prompts named in one sentence; the others are counted."""
LONGEST = 70
"""Letters of a prompt that are quoted."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One component at two checkpoints, with all that its sentence needs."""

    component: str
    value: float
    before: float
    change: float
    """Part of log(score / score before)."""
    shares: Floats
    """[P, S]"""
    shares_before: Floats
    notes: tuple[Note, ...]
    notes_before: tuple[Note, ...]
    prompts: tuple[Prompt, ...]
    subject: str
    against: str
    """The other checkpoint, as in 'at step 300' or 'before training'."""
    later: bool
    """Whether the first one was trained longer."""


def sentence(told: Change) -> str:
    """Return what happened to one component, without a capital or a full stop."""
    if math.isnan(told.value):
        return f"{told.component} could not be judged here, but was {told.against}"
    if math.isnan(told.before):
        return f"{told.component} could not be judged {told.against}"
    return FAULTS[told.component](told) or _without_fault(told)


def summary(
    changes: Sequence[tuple[float, str]], asked: Scores, against: Scores, name: Callable[[int], str] = str
) -> str:
    """Return both scores, and the sentences of ``changes`` of log(score) by ``LEAST_EFFECT`` or more, largest first."""
    known = f"{capital(name(asked.step))} scores {_number(asked.score)}, {name(against.step)} {_number(against.score)}"
    moved = sorted((each for each in changes if abs(each[0]) >= LEAST_EFFECT), key=lambda each: -abs(each[0]))
    told = [text for _, text in moved] or [f"no component moves the score by {LEAST_EFFECT:.0%} or more"]
    return f"{known}: {'; '.join([*told, *(f'ruled out: {veto_text(veto)}' for veto in asked.vetoes)])}."


def own_words(prompt: Prompt, prompts: Sequence[Prompt]) -> str:
    """Return what only this prompt of the sheet asks for, cut to ``LONGEST`` letters: 'surprised, red background'."""
    # Prompts share most of their words ("a photo of …"); what tells them apart is what only one of them has.
    others = {part for other in prompts if other.key != prompt.key for part in _parts(other)}
    words = ", ".join([part for part in _parts(prompt) if part not in others] or _parts(prompt))
    return words if len(words) <= LONGEST else words[:LONGEST].rsplit(" ", 1)[0].rstrip(" ,") + " …"


def _parts(prompt: Prompt) -> list[str]:
    return [part.strip() for part in re.split(r"[,;]", prompt.score_text) if part.strip()]


def _identity(told: Change) -> str:
    now, before = told.shares < UNRECOGNISED, told.shares_before < UNRECOGNISED
    if now.any() and not before.any():
        word = "no longer" if told.later else "not yet"
        return f"{_of(now, told.shares)} {word} recognised as {told.subject}"
    if now.any():
        return f"{_of(now, told.shares)} not recognised as {told.subject}{_as_to(before, told)}"
    if before.any():
        return f"every picture is recognised as {told.subject} ({_count(before)} were not {told.against})"
    return ""


def _geometry(told: Change) -> str:
    # Exactly 0 is given to a missing face alone; the worst deformed one keeps a little.
    gone, before_gone = told.shares == 0, told.shares_before == 0
    bent, before_bent = (told.shares < DEFORMED) & ~gone, (told.shares_before < DEFORMED) & ~before_gone
    found: list[str] = []
    if bent.any():
        found.append(f"faces deform in {_among(bent, told.shares)}{_as_to(before_bent, told)}")
    if gone.any():
        found.append(f"no face is found in {_among(gone, told.shares)}{_as_to(before_gone, told)}")
    if not found and (before_bent | before_gone).any():
        found.append(f"no face is deformed or missing ({_count(before_bent | before_gone)} {told.against})")
    return _joined(found)


def _prompt(told: Change) -> str:
    now, before = told.shares < IGNORED, told.shares_before < IGNORED
    fall = np.nan_to_num(told.shares_before - told.shares).sum(axis=1)
    worst = sorted(np.flatnonzero(now.any(axis=1)).tolist(), key=lambda p: (-int(now[p].sum()), -float(fall[p])))
    if not worst:
        return f"every prompt is followed ({_count(before)} ignored {told.against})" if before.any() else ""
    named = [_ignored(told, place, now[place], before[place]) for place in worst[:MOST_PROMPTS]]
    rest = len(worst) - len(named)
    more = [f"{rest} more prompt{'s are' if rest > 1 else ' is'} ignored at times"] if rest else []
    return _joined([*named, *more])


def _ignored(told: Change, place: int, now: Bools, before: Bools) -> str:
    prompt, seeds = told.prompts[place], told.shares.shape[1]
    often = "" if seeds == 1 else f" in {_among(now, told.shares[place])}"
    words = f"prompt {prompt.key} ('{own_words(prompt, told.prompts)}')"
    if not prompt.subject:
        return f"{words} draws {told.subject}, whom it does not name, or is ignored{often}{_as_to(before, told)}"
    if prompt.people > 1:
        return f"{words} draws {told.subject} twice or is ignored{often}{_as_to(before, told)}"
    return f"{words} is ignored{often}{_as_to(before, told)}"


def _artifact(told: Change) -> str:
    now, before = _look(told.notes), _look(told.notes_before)
    if now and now == before:
        return f"the sheet looks {now}, {'less' if told.value > told.before else 'more'} than {told.against}"
    if now:
        return f"the sheet looks {now}"
    return f"the sheet no longer looks {before}" if before and told.later else _not_yet(before)


def _not_yet(fault: str) -> str:
    return f"the sheet does not look {fault} yet" if fault else ""


def _novelty(told: Change) -> str:
    now, before = _alike(told.notes), _alike(told.notes_before)
    if now:
        return f"pictures of {now} hardly differ from each other"
    repeated, repeated_before = told.shares < REPEATED, told.shares_before < REPEATED
    if repeated.any():
        verb = "repeats" if repeated.sum() == 1 else "repeat"
        return f"{_among(repeated, told.shares)} {verb} a training photo{_as_to(repeated_before, told)}"
    if before:
        return f"pictures of {before} differ more than {told.against}"
    known = _count(repeated_before)
    return f"no picture repeats a training photo ({known} {told.against})" if known else ""


FAULTS: Mapping[str, Callable[[Change], str]] = {
    "identity": _identity,
    "prompt": _prompt,
    "artifact": _artifact,
    "geometry": _geometry,
    "novelty": _novelty,
}


def _without_fault(told: Change) -> str:
    what = "prompt-following" if told.component == "prompt" else told.component
    if abs(told.change) < LEAST_EFFECT:
        return f"{what} hardly moves ({told.value:.2f}, {told.before:.2f} {told.against})"
    verb = "falls" if told.change < 0 else "rises"
    return f"{what} {verb} from {told.before:.2f} to {told.value:.2f}, though no picture fails outright"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _look(notes: Sequence[Note]) -> str:
    return next((str(note.values["fault"]) for note in notes if note.kind is NoteKind.DAMAGED), "")


ALIKE = {NoteKind.SEEDS_ALIKE: "one prompt", NoteKind.PROMPTS_ALIKE: "different prompts"}
"""Which pictures hardly differ, by the note that says so."""


def _alike(notes: Sequence[Note]) -> str:
    return next((ALIKE[note.kind] for note in notes if note.kind in ALIKE), "")


def _count(failed: Bools) -> int:
    return int(failed.sum())


def _among(failed: Bools, shares: Floats) -> str:
    judged = int((~np.isnan(shares)).sum())
    return f"{_count(failed)} of {judged} picture{'' if judged == 1 else 's'}"


def _of(failed: Bools, shares: Floats) -> str:
    return f"{_among(failed, shares)} {'is' if failed.sum() == 1 else 'are'}"


def _as_to(before: Bools, told: Change) -> str:
    return f" ({_count(before) or 'none'} {told.against})"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "nothing"
