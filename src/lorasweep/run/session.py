"""A session: the one place that opens base model, scorers and journal of a run, or of runs that share them."""

import shutil
from contextlib import ExitStack
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lorasweep.config.schema import RunConfig, told_by
from lorasweep.data.prompts import fill_prompts
from lorasweep.errors import UserError
from lorasweep.plan.planning import require_card
from lorasweep.run.entries import Entry
from lorasweep.run.evaluator import Evaluator, load_drawing_family, scorers_of
from lorasweep.run.recorder import RunRecorder
from lorasweep.track.run_folder import RunFolder, claim_name, new_run_name
from lorasweep.track.shipper import Shipper, shipper_of
from lorasweep.track.tracker import JournalTracker

if TYPE_CHECKING:
    from lorasweep.models.family import Family
    from lorasweep.vision.describe import Scorers


class Purpose(Enum):
    """What runs are opened for, and therefore how much is opened."""

    TRAIN = auto()
    """The base model to train on, the scorers and the journal."""
    SCORE = auto()
    """The base model to draw on, the scorers and the journal; whether the training ended stays as it is."""
    ANNOTATE = auto()
    """The journal alone."""


class Session:
    """What runs with one base model share, opened when it is first needed.

    Closing it releases the lock of every run and waits for MLflow.
    """

    def __init__(self, purpose: Purpose, run: RunConfig) -> None:
        """``run`` is any of the runs; it says which base model and which MLflow."""
        self.purpose = purpose
        self._run = run
        self._card_fits = False
        self._evaluators: dict[str, Evaluator] = {}
        self._scorers: dict[str, Scorers] = {}
        self._drawing_families: dict[str, Family] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    @cached_property
    def family(self) -> "Family":
        """The base model that is trained on, or in a session that only scores the one that is drawn on.

        Raise UserError if it cannot be loaded.
        """
        from lorasweep.models import load_family

        assert self.purpose is not Purpose.ANNOTATE, "a session that annotates has no model"
        if self._run.hardware.threads:
            import torch

            torch.set_num_threads(self._run.hardware.threads)
        if self.purpose is Purpose.SCORE:
            return load_drawing_family(self._run)
        return load_family(self._run.model, self._run.hardware)

    def require(self, entry: Entry) -> Evaluator | None:
        """Return the evaluator of a run; raise UserError, before the run is named, if this session cannot serve it."""
        if self.purpose is Purpose.TRAIN:
            self._require_trainable(entry)
        return self.evaluator_of(entry)

    def evaluator_of(self, entry: Entry) -> Evaluator | None:
        """Return one evaluator for all runs that would be scored alike; None for a run that is not scored."""
        run = entry.run
        if not run.evaluate.enabled:
            return None
        family = self._drawing_family(run)
        wanted = f"{run.evaluate}/{told_by(run)}"
        if wanted not in self._scorers:  # hundreds of megabytes: read once for all trials of a search
            self._scorers[wanted] = scorers_of(run, family)
        prompts = fill_prompts(run.sample, run.data)
        evaluator = Evaluator(run, family, entry.dataset, prompts, self._scorers[wanted])
        # the seed draws the intervals, and the root is where base images and descriptions are kept
        return self._evaluators.setdefault(f"{evaluator.signature}/{run.seed}/{run.track.root}", evaluator)

    def open(self, entry: Entry, parent: str = "") -> RunRecorder:
        """Open a run: name it if it has no name, take its lock, and record what it is made of.

        A new run that cannot be recorded, as on a full disk, leaves no folder. Raise HeldError if another process has
        the run open.
        """
        from lorasweep.run.provenance import run_meta
        from lorasweep.train.trial import Trial

        evaluator, run = self.evaluator_of(entry), entry.run
        if self.purpose is Purpose.SCORE and evaluator is None:
            raise UserError(f"{run.name} was trained with evaluate.enabled=false; start a run with it on.")
        folder = entry.folder or RunFolder(Path(run.track.root) / "runs" / _new_name(run))
        trained = self.family if self.purpose is Purpose.TRAIN else None
        with ExitStack() as undo:
            if entry.folder is None:
                undo.callback(shutil.rmtree, folder.path, ignore_errors=True)
            meta = run_meta(folder.name, entry, trained, evaluator, parent)
            tracker = self.journal(folder)
            undo.callback(tracker.close)  # before the folder goes: Windows removes no open file
            # scoring is all that a run over another trainer's files ever does: it begins and ends by it
            begins = self.purpose is Purpose.TRAIN or entry.foreign is not None
            (tracker.start if begins else tracker.score_again)(meta)
            undo.pop_all()
        trial = Trial(folder.name, run, entry.dataset, folder.path)
        return RunRecorder(trial, tracker, meta.prompts, evaluator, foreign=entry.foreign is not None, ends=begins)

    def journal(self, folder: RunFolder) -> JournalTracker:
        """Open the journal of a run, new or old, for writing; raise HeldError if another process has it open."""
        tracker = JournalTracker(folder.path, self._shipper)
        self._closing.callback(tracker.close)
        return tracker

    @cached_property
    def _shipper(self) -> Shipper | None:
        """What carries all journals of the session to MLflow: one thread and one connection."""
        shipper = shipper_of(self._run.track)
        if shipper is not None:
            self._closing.callback(shipper.stop)
        return shipper

    def _require_trainable(self, entry: Entry) -> None:
        from lorasweep.train.optimizers import require_optimizer
        from lorasweep.train.state import starting_adapter

        if not self._card_fits:  # before the model is loaded, which takes minutes; once, since the runs share its shape
            require_card(entry.run, entry.dataset)
            self._card_fits = True
        self.family.refuse(entry.run)
        require_optimizer(entry.run.optim)
        if entry.run.lora.init:
            starting_adapter(entry.run, self.family)

    def _drawing_family(self, run: RunConfig) -> "Family":
        other = run.evaluate.model
        if other is None or self.purpose is Purpose.SCORE:
            return self.family
        if other not in self._drawing_families:
            self._drawing_families[other] = load_drawing_family(run)
        return self._drawing_families[other]


def _new_name(run: RunConfig) -> str:
    root = Path(run.track.root)
    if run.name:
        return claim_name(run.name, root)
    return new_run_name(run.data.trigger, Path(run.model.path).stem, run.optim.lr, root)
