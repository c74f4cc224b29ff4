"""The evaluator: scorers, and everything that a subject's samples are compared with."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorasweep.config.schema import RunConfig, told_by
from lorasweep.config.signature import evaluation_signature
from lorasweep.data.dataset import judging_fingerprint
from lorasweep.evaluate.score import SCORING
from lorasweep.records import Checkpoint, Dataset, Evidence, Features, Prompt, SampleSet, Scores

if TYPE_CHECKING:
    from lorasweep.models.family import Family
    from lorasweep.train.cache import TextCache
    from lorasweep.train.sample import Sheet
    from lorasweep.vision.describe import Scorers


def load_drawing_family(run: RunConfig) -> "Family":
    """Return the base model that samples are drawn on: ``evaluate.model``, or ``model.path`` if that is not set.

    Raise UserError if there is no such model, or if it cannot do what the run asks.
    """
    from lorasweep.models import load_family

    other = run.evaluate.model
    # a revision names a commit of model.path's repository and means nothing to another one
    family = load_family(replace(run.model, path=other, revision=None) if other else run.model, run.hardware)
    family.refuse(run)
    return family


def scorers_of(run: RunConfig, family: "Family") -> "Scorers":
    """Return the scorers that a run asks for, on its base model's device; raise UserError if weights are missing."""
    from lorasweep.vision.describe import open_scorers

    return open_scorers(run.evaluate, str(family.device), told_by(run))


class Evaluator:
    """Draws and scores sheets of all trials that share base model, photos and prompts.

    The photos and the base model's images are described when the first sheet is scored, and once only.
    """

    def __init__(
        self, run: RunConfig, family: "Family", dataset: Dataset, prompts: tuple[Prompt, ...], scorers: "Scorers"
    ) -> None:
        from lorasweep.models.family import model_hash

        self.run = run
        self.dataset = dataset
        self.prompts = prompts
        self.family = family
        self.scorers = scorers
        photos = judging_fingerprint(dataset)
        self.signature = evaluation_signature(run, SCORING, self.scorers.weights_sha256, photos, model_hash(family))
        self._root = Path(run.track.root)
        self._evidence: dict[bool, Evidence] = {}

    def score(self, sheet: SampleSet, features: Path) -> Scores:
        """Return the scores of one sheet; ``features`` is the folder that keeps what its images were described as."""
        from lorasweep.evaluate.score import score

        return score(
            self._describe([sample.path for sample in sheet.samples], _keys(sheet), features),
            self.evidence(fresh=sheet.fresh),
            vars(self.run.evaluate.weights),
            trial=sheet.trial,
            step=sheet.step,
            # of the step alone, so that the order in which checkpoints are scored changes no interval
            rng=np.random.default_rng([self.run.seed, sheet.step]),
            fresh=sheet.fresh,
        )

    def evidence(self, *, fresh: bool) -> Evidence:
        """Return what sheets on the standing or on the fresh seeds are compared with; described once."""
        if fresh not in self._evidence:
            self._evidence[fresh] = Evidence(
                prompts=self.prompts,
                seeds=tuple(self.run.sample.fresh_seeds if fresh else self.run.sample.seeds),
                texts=self._texts,
                base=self._base[fresh],
                # the finalists' seeds are drawn on the base model in any case; drawn now, they tell what chance changes
                spare=self._base[not fresh],
                shapes=self._shapes,
                told_by=told_by(self.run),
                **self._photos,
            )
        return self._evidence[fresh]

    def sheet(self, *, fresh: bool = False, strength: float | None = None) -> "Sheet":
        """Return what is drawn at every checkpoint, or with ``fresh`` of the finalists; None is the run's strength."""
        from lorasweep.train.sample import Sheet

        sheet = Sheet.of(self.run, self.prompts, fresh=fresh)
        return sheet if strength is None else replace(sheet, look=replace(sheet.look, strength=strength))

    def draw(
        self,
        checkpoints: Sequence[Checkpoint],
        folders: Sequence[Path],
        *,
        fresh: bool = False,
        strength: float | None = None,
    ) -> list[SampleSet]:
        """Draw sheets of checkpoints, of one run or several, in the same batches; images that exist are kept."""
        from lorasweep.train.sample import draw_checkpoints

        sheet = self.sheet(fresh=fresh, strength=strength)
        return draw_checkpoints(self.family, checkpoints, sheet, folders, self._root / "base", self._embeddings)

    def base_sheet(self, trial: str, folder: Path, *, fresh: bool = False) -> SampleSet:
        """Draw the base model's sheet into ``folder``; runs whose base images are the same share the files."""
        base = Checkpoint(trial=trial, step=0, epoch=0.0, path=None, sha256=None)
        return self.draw([base], [folder], fresh=fresh)[0]

    @property
    def shared_features(self) -> Path:
        """Where descriptions of photos and of the base model's images are kept for all runs."""
        return self._root / "features"

    @cached_property
    def _embeddings(self) -> "TextCache":
        from lorasweep.train.cache import TextCache, cache_folder

        return TextCache(self.family, cache_folder(self.run))

    @cached_property
    def _texts(self) -> np.ndarray:
        from lorasweep.vision.describe import describe_texts

        return describe_texts([prompt.score_text for prompt in self.prompts], self.scorers)

    @cached_property
    def _base(self) -> dict[bool, Features]:
        """Return what is seen in the base model's images on the standing (False) and on the fresh seeds (True)."""
        seen: dict[bool, Features] = {}
        for fresh, place in ((False, "standing"), (True, "fresh")):
            # a folder of its own a signature: what one evaluation compares with never moves under another
            sheet = self.base_sheet("base", self._root / "base" / place / self.signature, fresh=fresh)
            seen[fresh] = self._describe([each.path for each in sheet.samples], _keys(sheet), self.shared_features)
        return seen

    @cached_property
    def _shapes(self) -> np.ndarray | None:
        from lorasweep.vision.strangers import turned_shapes

        return None if self.run.evaluate.face == "portraits" else turned_shapes()  # drawn faces have other shapes

    @cached_property
    def _photos(self) -> dict[str, Features]:
        train = [photo.path for photo in self.dataset.train]
        held_out = [photo.path for photo in self.dataset.held_out]
        names = [path.name for path in train]
        return {
            "train": self._describe(train, names, self.shared_features),
            # a mirrored copy of a photo is a copy, which novelty must see
            "mirrored": self._describe(train, names, self.shared_features, mirrored=True),
            "held_out": self._describe(held_out, [path.name for path in held_out], self.shared_features),
        }

    def _describe(self, paths: Sequence[Path], keys: Sequence[str], cache: Path, *, mirrored: bool = False) -> Features:
        from lorasweep.vision.describe import describe_files

        # photos are described at the samples' size: texture and face sizes of two sizes do not compare
        size = self.run.model.resolution
        width, height = self.run.sample.width or size, self.run.sample.height or size
        return describe_files(paths, self.scorers, keys, size=(width, height), mirrored=mirrored, cache=cache)


def _keys(sheet: SampleSet) -> list[str]:
    return [f"{sample.prompt}/{sample.seed}" for sample in sheet.samples]
