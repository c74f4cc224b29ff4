"""One checkpoint's score: five components, their weighted geometric mean, and its interval."""

from collections.abc import Callable, Mapping

import numpy as np

from lorasweep.evaluate.artifact import artifact
from lorasweep.evaluate.bootstrap import combine, component_means, exponents, prompt_draws, replicate_scores
from lorasweep.evaluate.geometry import geometry
from lorasweep.evaluate.identity import identity
from lorasweep.evaluate.novelty import novelty
from lorasweep.evaluate.prompt import prompt
from lorasweep.evaluate.shares import Judged
from lorasweep.evaluate.table import IDENTITY
from lorasweep.outcomes import NoteKind
from lorasweep.records import COMPONENTS, Evidence, Features, Floats, Note, Scores

JUDGES: dict[str, Callable[[Features, Evidence], Judged]] = {
    "identity": identity,
    "prompt": prompt,
    "artifact": artifact,
    "geometry": geometry,
    "novelty": novelty,
}
SCORING = 5
"""Version of the code that makes scores, from descriptions of images to the mean; part of the evaluation signature.

Raise it with every change that alters a score: scores of two versions are in two units. Version 1 wrote no number.
"""
REPLICATES = 1000
INTERVAL = 0.90
"""Coverage of ``Scores.low`` to ``Scores.high``."""


def score(
    features: Features,
    evidence: Evidence,
    weights: Mapping[str, float],
    *,
    trial: str,
    step: int,
    rng: np.random.Generator,
    fresh: bool = False,
) -> Scores:
    """Return the scores of one sheet, low = bad.

    Args:
        features: of P x S images, prompt-major, with the keys of ``evidence.base``: same prompts, same seeds.
        weights: exponents by component, such as ``vars(config.evaluate.weights)``.
        rng: of the bootstrap over prompts that makes the interval.
        fresh: whether the sheet was drawn from the finalists' seeds.

    Raises:
        UserError: if all weights are zero.
        ValueError: if the images are not those of the base model's sheet.
    """
    _check(features, evidence)
    exact = exponents(COMPONENTS, weights)
    judged = {name: JUDGES[name](features, evidence) for name in COMPONENTS}
    sheet = (len(evidence.prompts), len(evidence.seeds), len(COMPONENTS))
    shares = np.stack([judged[name].shares for name in COMPONENTS], axis=1).reshape(sheet)
    components = component_means(shares)
    draws = prompt_draws(len(evidence.prompts), len(evidence.seeds), REPLICATES, rng)
    spread = replicate_scores(shares[None], exact, draws)[:, 0]
    # Geometric, so that one component cannot buy back another: a perfect likeness that ignores the prompt scores low.
    # Its logarithm is a sum, so weight x log(component) says exactly what a checkpoint lost and where.
    total = float(combine(components, exact))
    low, high = np.quantile(spread, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return Scores(
        trial=trial,
        step=step,
        components=dict(zip(COMPONENTS, components.tolist(), strict=True)),
        score=total,
        low=float(low),
        high=float(high),
        by_prompt=shares,
        weights=dict(zip(COMPONENTS, exact.tolist(), strict=True)),
        notes=(*(note for part in judged.values() for note in part.notes), *_without_witness(shares, evidence, exact)),
        vetoes=tuple(part.veto for part in judged.values() if part.veto),
        fresh=fresh,
    )


def _without_witness(shares: Floats, evidence: Evidence, weights: Floats) -> tuple[Note, ...]:
    """Return a note on the prompts with the subject at which nobody can tell whose face is drawn, if there are any."""
    asks = np.array([prompt.subject and prompt.photo for prompt in evidence.prompts])
    untold = np.isnan(shares[..., IDENTITY]).mean(axis=1) * asks
    if not untold.any() or np.isnan(shares[..., IDENTITY]).all():  # a component that was judged nowhere says so itself
        return ()
    names = ", ".join(prompt.key for prompt, share in zip(evidence.prompts, untold, strict=True) if share > 0)
    part = float(weights[IDENTITY] * untold.sum() / asks.sum())
    return (Note(NoteKind.NO_WITNESS, {"prompts": names, "part": part}),)


def _check(features: Features, evidence: Evidence) -> None:
    count = len(evidence.prompts) * len(evidence.seeds)
    if len(features.keys) != count:
        raise ValueError(f"a sheet of {len(features.keys)} images was given; prompts x seeds makes {count}")
    if features.keys != evidence.base.keys:
        raise ValueError("the images are not those of the base model's sheet; prompts and seeds must be the same")
