"""Ways to choose one of E checkpoints: ours, its relatives, and what people and papers do without it.

Every rule sees the same samples. It returns the index of a checkpoint, or None if it picks none.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.picker.runs import Redraw, Trajectory
from lorasweep.config.schema import PickConfig, WeightsConfig
from lorasweep.evaluate.bootstrap import combine, component_means, exponents, prompt_draws, replicate_scores
from lorasweep.evaluate.pick import choose, confirm, finalists, steady_score
from lorasweep.evaluate.score import score
from lorasweep.evaluate.shares import asked, has_face
from lorasweep.evaluate.table import smooth
from lorasweep.plan.budget import evenly_spread, finer_step
from lorasweep.records import Evidence, Features, Floats, Pick, Scores

TIED = 2.0
"""Standard errors within which the naive rule takes a later checkpoint to be as good as the best."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One run, one redraw of its samples, one set of weights and one face network."""

    run: Trajectory
    part: Redraw
    weights: Mapping[str, float]
    second_network: bool = False
    _fresh: dict[int, Scores] = field(default_factory=dict, init=False, compare=False)
    """Finalists that were scored again so far, by index."""

    def replaced(self, **changes: object) -> "Choice":
        """Return the same with other weights or the other face network."""
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]

    @functools.cached_property
    def evidence(self) -> Evidence:
        return self._evidence(fresh=False)

    @functools.cached_property
    def scores(self) -> list[Scores]:
        """Return scores of all checkpoints on the samples that were drawn."""
        return [self._scored(place, self.evidence, fresh=False) for place in range(len(self.run.steps))]

    @functools.cached_property
    def base(self) -> Scores:
        """Return the base model's scores on the same samples."""
        return self._score_of(self.evidence.base, 0, self.evidence, fresh=False)

    @functools.cached_property
    def own_score(self) -> Floats:
        """Return [E] scores."""
        return np.array([each.score for each in self.scores])

    @functools.cached_property
    def latest(self) -> Pick:
        """Return what is picked as shipped."""
        return self.picked(PickConfig())

    def picked(self, rule: PickConfig, places: Collection[int] | None = None) -> Pick:
        """Pick by our rule, with the finalists on fresh samples if any are left; ``places`` limits the checkpoints."""
        pick = self.standing(rule, places)
        if self.part.fresh is None:
            return pick
        again = [self._again(self.run.steps.index(step)) for step in finalists(pick)]
        pick = confirm(pick, [*self.scores, *again], rule)
        return replace(pick, steady=steady_score(pick, again))

    def standing(self, rule: PickConfig, places: Collection[int] | None = None) -> Pick:
        """Pick before the finalists are scored again."""
        rng = np.random.default_rng([self.run.person, round(1e6 * self.run.rate), 7])
        chosen = range(len(self.run.steps)) if places is None else sorted(places)
        return choose([self.scores[place] for place in chosen], rule, rng)

    def _again(self, place: int) -> Scores:
        if place not in self._fresh:
            self._fresh[place] = self._scored(place, self._evidence(fresh=True), fresh=True)
        return self._fresh[place]

    def _evidence(self, *, fresh: bool) -> Evidence:
        whole = self.run.confirm_evidence if self.second_network else self.run.evidence
        return self.part.evidence(whole, fresh=fresh)

    def _scored(self, place: int, evidence: Evidence, *, fresh: bool) -> Scores:
        features = self.run.sheets[place]
        if self.second_network:
            features = replace(features, face=self.run.confirm[place])
        return self._score_of(self.part.sheet(features, fresh=fresh), self.run.steps[place], evidence, fresh=fresh)

    def _score_of(self, sheet: Features, step: int, evidence: Evidence, *, fresh: bool) -> Scores:
        return score(
            sheet,
            evidence,
            self.weights,
            trial=f"{self.run.person}-{self.run.rate:g}",
            step=step,
            rng=np.random.default_rng([self.run.person, step]),
            fresh=fresh,
        )


def ours(choice: Choice) -> int | None:
    """Pick as shipped: the latest checkpoint that is shown to be within delta of the best, confirmed."""
    return _place(choice, choice.latest)


def ours_best(choice: Choice) -> int | None:
    """Pick with `pick.prefer=best`."""
    return _place(choice, choice.picked(PickConfig(prefer="best")))


def _place(choice: Choice, pick: Pick) -> int | None:
    return None if pick.step is None else choice.run.steps.index(pick.step)


def evenly(choice: Choice, coarse: int, finer: int = 0) -> int | None:
    """Ours if fewer checkpoints are drawn."""
    steps = choice.run.steps
    places = set(evenly_spread(len(steps), coarse))
    for _ in range(finer):
        pick = choice.standing(PickConfig(), places)
        step = finer_step(pick, [steps[place] for place in places], steps)
        places |= set() if step is None else {steps.index(step)}
    return _place(choice, choice.picked(PickConfig(), places))


def last(choice: Choice) -> int:
    """Pick what a trainer leaves under the plain name."""
    return len(choice.run.steps) - 1


def middle(choice: Choice) -> int:
    """Pick the middle checkpoint."""
    return len(choice.run.steps) // 2


def raw_identity(choice: Choice) -> int:
    """Pick the largest mean cosine of the drawn faces to the training photos, as most scripts that score a LoRA do."""
    references = choice.run.evidence.train
    center = references.face[has_face(references)].mean(axis=0)
    rows = asked(choice.evidence, face=True)
    return int(np.argmax([float((sheet.face @ center)[rows].mean()) for sheet in _sheets(choice)]))


def clip_text(choice: Choice) -> int:
    """Pick the largest mean cosine to the prompt's own text."""
    own = np.repeat(choice.evidence.texts, len(choice.evidence.seeds), axis=0)
    return int(np.argmax([float((sheet.image * own).sum(axis=1).mean()) for sheet in _sheets(choice)]))


def validation_loss(choice: Choice) -> int:
    """Pick the smallest loss on held-out photos at fixed noise and timesteps."""
    return int(np.argmin(choice.run.validation))


def dvar(choice: Choice) -> int:
    """Pick the first checkpoint after DVAR (Voronov et al. 2023) would have stopped; the last one if it would not."""
    stop = choice.run.dvar_stop
    late = [place for place, step in enumerate(choice.run.steps) if stop is not None and step >= stop]
    return late[0] if late else last(choice)


def own_argmax(choice: Choice) -> int:
    """Pick the best score."""
    return int(np.argmax(choice.own_score))


def own_smoothed(choice: Choice) -> int:
    """Pick the best score after averaging with both neighbours."""
    return int(np.argmax(_smoothed(choice)))


def tied(choice: Choice) -> int:
    """Pick the latest checkpoint whose paired difference to the best is below two standard errors."""
    shares = np.stack([each.by_prompt for each in choice.scores])
    weights = exponents(tuple(choice.scores[0].components), choice.weights)
    draws = prompt_draws(shares.shape[1], shares.shape[2], 500, np.random.default_rng(0))
    spread = replicate_scores(shares, weights, draws)
    best = int(np.argmax(choice.own_score))
    behind = spread[:, [best]] - spread
    reach = behind.mean(axis=0) < TIED * behind.std(axis=0)
    reach[best] = True
    return int(np.flatnonzero(reach)[-1])


def _smoothed(choice: Choice) -> Floats:
    shares = smooth(np.stack([each.by_prompt for each in choice.scores]), choice.run.steps)
    return combine(component_means(shares), exponents(tuple(choice.scores[0].components), choice.weights))


def _sheets(choice: Choice) -> list:
    return [choice.part.sheet(sheet) for sheet in choice.run.sheets]


OURS, OURS_BEST = "lorasweep", "lorasweep, prefer=best"
RULES: dict[str, Callable[[Choice], int | None]] = {
    OURS: ours,
    OURS_BEST: ours_best,
    "last": last,
    "middle": middle,
    "argmax raw identity": raw_identity,
    "argmax CLIP": clip_text,
    "min validation loss": validation_loss,
    "DVAR": dvar,
    "tied at 2 SE": tied,
    "argmax score": own_argmax,
    "smoothed argmax score": own_smoothed,
}
BUDGETS: dict[str, Callable[[Choice], int | None]] = {
    "8 of 12, evenly": functools.partial(evenly, coarse=8),
    "6 of 12, then 2 next to the pick": functools.partial(evenly, coarse=6, finer=2),
    "6 of 12, evenly": functools.partial(evenly, coarse=6),
    "4 of 12, then 2 next to the pick": functools.partial(evenly, coarse=4, finer=2),
}
"""Ours where fewer checkpoints are drawn."""
WEIGHTS = vars(WeightsConfig())
