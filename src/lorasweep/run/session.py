"""A base model with its scorers and the way to MLflow, open for runs that share them."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lorasweep.config.compose import to_plain
from lorasweep.config.schema import RunConfig
from lorasweep.config.signature import run_signature
from lorasweep.config.subject import told_by
from lorasweep.data.prompts import fill_prompts
from lorasweep.plan.planning import require_card
from lorasweep.run.entries import Entry
from lorasweep.run.evaluator import Judge, load_drawing_family, scorers_of
from lorasweep.run.recorder import LiveRun
from lorasweep.track.run_folder import RunFolder, claim_name, new_run_name

if TYPE_CHECKING:
    from lorasweep.models.families.family import Family
    from lorasweep.vision.describe import Scorers


class Workshop:
    """Where runs on one base model are opened. Closing it lets go of every run's lock and waits for MLflow."""

    def __init__(self, first: Entry) -> None:
        """``first`` says which base model it is; UserError where it cannot be loaded or cannot fit the card."""
        from lorasweep.models import load_family
        from lorasweep.track.shipper import shipper_of

        run = first.run
        if run.hardware.threads:
            import torch

            torch.set_num_threads(run.hardware.threads)
        require_card(run, first.dataset)
        self.family = load_family(run.model, run.hardware)
        self._judges: dict[str, Judge] = {}
        self._scorers: dict[str, Scorers] = {}
        self._drawn_on: dict[str | None, Family] = {None: self.family}
        self._closing = ExitStack()
        self._shipper = shipper_of(run.track)
        if self._shipper is not None:
            self._closing.callback(self._shipper.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def require(self, entry: Entry) -> Judge | None:
        """The judge of a run that this model can train; UserError, before the run is named, where it cannot."""
        from lorasweep.train.optimizers import require_optimizer
        from lorasweep.train.state import starting_adapter

        self.family.refuse(entry.run)
        require_optimizer(entry.run.optim)
        if entry.run.lora.init:
            starting_adapter(entry.run, self.family)
        return self.judge_of(entry)

    def judge_of(self, entry: Entry) -> Judge | None:
        """One judge for all runs that would be judged alike, so that base sheets and photos are looked at once."""
        run = entry.run
        if not run.evaluate.enabled:
            return None
        if run.evaluate.model not in self._drawn_on:
            self._drawn_on[run.evaluate.model] = load_drawing_family(run)
        family = self._drawn_on[run.evaluate.model]
        asked = f"{run.evaluate}/{told_by(run)}"
        if asked not in self._scorers:  # hundreds of megabytes: read once for all trials of a search
            self._scorers[asked] = scorers_of(run, family)
        prompts = fill_prompts(run.sample, run.data)
        judge = Judge(run, family, entry.dataset, prompts, self._scorers[asked])
        return self._judges.setdefault(f"{judge.signature}/{run.seed}/{run.track.root}", judge)

    def open(self, entry: Entry, parent: str = "") -> LiveRun:
        """Name the run if it has no name, take its lock, and write down what it is made of.

        A new run that cannot be written down, as on a full disk, leaves no folder.
        """
        from lorasweep.run.provenance import origin
        from lorasweep.track.tracker import JournalTracker, RunMeta
        from lorasweep.train.trial import Trial

        judge, run, root = self.judge_of(entry), entry.run, Path(entry.run.track.root)
        folder = entry.folder or RunFolder(root / "runs" / _name(run, root))
        prompts = fill_prompts(run.sample, run.data) if run.sample.prompts else ()
        signature = run_signature(run, entry.dataset.fingerprint)
        meta = RunMeta(
            name=folder.name,
            config=to_plain(run),
            dataset=entry.dataset,
            prompts=prompts,
            run_signature=signature,
            evaluation_signature=judge.signature if judge else "",
            provenance=origin(run, entry.dataset, self.family, judge, signature),
            parent=parent,
        )
        with ExitStack() as undo:
            if entry.folder is None:
                undo.callback(shutil.rmtree, folder.path, ignore_errors=True)
            tracker = JournalTracker(folder.path, self._shipper)
            undo.callback(tracker.close)
            tracker.start(meta)
            undo.pop_all()
        self._closing.callback(tracker.close)
        return LiveRun(Trial(folder.name, run, entry.dataset, folder.path), self.family, tracker, prompts, judge)


def _name(run: RunConfig, root: Path) -> str:
    if run.name:
        return claim_name(run.name, root)
    base = Path(run.model.path).stem
    return new_run_name(run.data.trigger, base, run.optim.lr, root)
