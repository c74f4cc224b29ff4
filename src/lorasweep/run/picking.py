"""Picking a run's checkpoint and strength, and what is to be said of the picked one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lorasweep.check.variety import MIXED, reliability
from lorasweep.config.schema import PickConfig, RunConfig, told_by
from lorasweep.data.orientation import orientation
from lorasweep.data.pictures import load_pixels
from lorasweep.plan.budget import finer_step
from lorasweep.records import Pick, Prompt, SampleSet, Scores

if TYPE_CHECKING:
    from lorasweep.vision.embedder import Embedder


class ScoreStep(Protocol):
    """Draws a checkpoint, scores the sheet and records both."""

    def __call__(self, step: int, *, fresh: bool = False, strength: float | None = None) -> Scores:
        """Return the scores on standing or fresh seeds; without ``strength`` at the run's own."""
        ...


def pick_checkpoint(
    config: RunConfig, scores: dict[int, Scores], saved: Sequence[int], finer: int, score: ScoreStep
) -> Pick:
    """Return the pick: chosen on the standing seeds, confirmed on fresh ones, with the strength to use it at.

    Args:
        scores: on the standing seeds, by step; what is scored here on those seeds is added.
        saved: steps of all checkpoints, in order.
        finer: how many checkpoints next to the pick may be scored that ``evaluate.budget`` left out.
    """
    from lorasweep.evaluate.pick import confirm, finalists, steady_score

    pick = _choose(config, scores)
    for _ in range(finer):
        step = finer_step(pick, scores, saved)
        if step is None:
            break
        scores[step] = score(step)
        pick = _choose(config, scores)
    # a maximum over checkpoints flatters its own score; seeds that nothing was chosen on do not
    fresh = [score(step, fresh=True) for step in finalists(pick)]
    pick = confirm(pick, [*scores.values(), *fresh], pick_rule(config))
    pick = _with_strength(config, pick, {found.step: found for found in fresh}, score)
    return replace(pick, steady=steady_score(pick, fresh))


def pick_rule(config: RunConfig) -> PickConfig:
    """Return ``config.pick`` as far as the subject can meet it: whole images are too unlike for a least likeness."""
    return config.pick if told_by(config) == "face" else replace(config.pick, least_likeness=0.0)


def _choose(config: RunConfig, scores: Mapping[int, Scores]) -> Pick:
    from lorasweep.evaluate.pick import choose

    standing = [scores[step] for step in sorted(scores)]
    return choose(standing, pick_rule(config), np.random.default_rng(config.seed))


def _with_strength(config: RunConfig, pick: Pick, fresh: Mapping[int, Scores], score: ScoreStep) -> Pick:
    """Score the pick at ``pick.strengths``; return it with the one to use it at, and those between which it works."""
    from lorasweep.evaluate.strength import with_strength

    own = config.sample.strength
    pick = replace(pick, strength=own)
    if pick.step is None:
        return pick
    others = [strength for strength in config.pick.strengths if strength != own]
    scores = {strength: score(pick.step, fresh=True, strength=strength) for strength in others}
    scores[own] = fresh[pick.step]
    return with_strength(pick, scores, own, pick_rule(config), np.random.default_rng(config.seed))


def mixed_sides(sheets: Sequence[SampleSet], prompts: Sequence[Prompt], faces: "Embedder | None") -> str:
    """Return one sentence if some images of a checkpoint look mirrored beside the others; '' if nothing can be said.

    Photos that are partly mirrored teach a subject both ways round. A face network cannot see it, since to it a face
    and its mirror image are one person; friends of the subject do. This picks nothing.
    """
    from lorasweep.vision.face_facts import aligned_faces

    if faces is None or not sheets:
        return ""
    # two people, a drawing or a hidden face have no side that the subject's marks could be told by
    alone = {p.key for p in prompts if p.subject and p.photo and p.face and p.people == 1}
    paths = [sample.path for sheet in sheets for sample in sheet.samples if sample.prompt in alone]
    crops = aligned_faces([load_pixels(path) for path in paths], faces)
    if reliability(len(crops)) is None:  # fewer than `python -m benchmarks.check.orientation` ever measured
        return ""
    seen = orientation(crops)
    if seen.score <= MIXED or not seen.mirrored:
        return ""
    others = len(seen.mirrored)
    return (
        f"Step {sheets[0].step} draws a mark on one cheek in {len(crops) - others} pictures and on the other in "
        f"{others}: left and right are mixed, as mirrored photos among others teach it ('lorasweep check' finds them). "
        "Likeness cannot see this."
    )
