"""One run as it happens: each event goes into the journal, and from there to MLflow."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorasweep.records import (
    AtStrength,
    Checkpoint,
    Dataset,
    FixedBatch,
    JsonDict,
    Pick,
    Prompt,
    SampleSet,
    Scores,
    Step,
    Validation,
)
from lorasweep.track import codec
from lorasweep.track.journal import Journal
from lorasweep.track.mlflow_terms import flatten
from lorasweep.track.run_folder import RunFolder, json_bytes, running, write_json
from lorasweep.track.shipper import Shipper


@dataclass(frozen=True, kw_only=True)
class RunMeta:
    """What is known of a run before its first step."""

    name: str
    config: JsonDict
    """Resolved; plain values only."""
    dataset: Dataset | None = None
    prompts: tuple[Prompt, ...] = ()
    run_signature: str = ""
    evaluation_signature: str = ""
    provenance: JsonDict = field(default_factory=lambda: JsonDict())
    parent: str = ""
    """Name of the multirun that it belongs to; the two run folders are siblings."""
    source: Path | None = None
    """The folder of files that another trainer made, if the run only scores them."""
    multirun: bool = False
    """Whether this is such a parent, which has no steps, only children."""


class JournalTracker:
    """Writes a run's journal and lets ``shipper``, if there is one, deliver it to MLflow in the background.

    No method waits for a server but ``end`` and ``close``, and these only for seconds. The run's lock is held from
    construction to ``end`` or ``close``.
    """

    def __init__(self, folder: Path, shipper: Shipper | None = None) -> None:
        """Raise HeldError if another process writes the run, UserError if its journal is damaged."""
        self.run = RunFolder(folder).prepare()
        self._held = ExitStack()
        self._held.enter_context(running(self.run))
        self._journal = Journal(folder)
        self._closed = False
        self._shipper = shipper
        starts = self._journal.starts
        # MLflow's run is found by this: the same one after a crash, whatever folder it was moved to
        self._uid = starts[0]["uid"] if starts else uuid.uuid4().hex
        self._signature = starts[-1]["evaluation_signature"] if starts else ""
        if shipper is not None and starts:
            shipper.add(folder)

    def start(self, meta: RunMeta) -> None:
        """Record that the run begins, or goes on after a crash."""
        self._signature = meta.evaluation_signature
        # before the journal's first line: a run that has begun must be one that can be resumed
        hashes = {"config.json": self.run.save_config(meta.config), **self._save_provenance(meta.provenance)}
        self._journal.write("start", self._start_to_json(meta))
        self._artifacts(hashes)
        self._journal.write("params", flatten(meta.config))
        if self._shipper is not None:
            self._shipper.add(self.run.path)

    def score_again(self, meta: RunMeta) -> None:
        """Record that the checkpoints of a trained run are scored again; how its training went stays as it is."""
        self._artifacts(self._save_provenance(meta.provenance))
        if meta.evaluation_signature != self._signature:
            self.tag("evaluation_signature", meta.evaluation_signature)
        self._signature = meta.evaluation_signature

    def step(self, step: Step) -> None:
        """Record an optimiser step; one that a resume takes again is there already and is not written twice."""
        self._journal.write("step", self._json(step), key=str(step.step))

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Record that a LoRA file is whole on disk."""
        self._journal.write("checkpoint", self._json(checkpoint), key=str(checkpoint.step))
        self._nudge()

    def samples(self, samples: SampleSet, prompts: Sequence[Prompt]) -> None:
        """Record that a checkpoint's samples were drawn."""
        order = [prompt.key for prompt in prompts]
        payload = {**self._json(samples), "prompts": order}
        self._journal.write("sample", payload, key=self._judged(samples.step, samples.fresh))
        self._nudge()

    def scores(self, scores: Scores) -> None:
        """Record the scores of a checkpoint."""
        payload = {"signature": self._signature, "scores": self._json(scores)}
        self._journal.write("scores", payload, key=self._judged(scores.step, scores.fresh))
        self._nudge()

    def validation(self, found: Validation, base: Validation) -> None:
        """Record a checkpoint's losses on fixed noise; ``base`` are the base model's."""
        self._journal.write("validation", codec.validation_to_json(found, base, self.run.path), key=str(found.step))
        self._nudge()

    def fixed_batch(self, found: FixedBatch) -> None:
        """Record the loss of DVAR's batch."""
        self._journal.write("fixed_batch", self._json(found), key=str(found.step))

    def strength(self, found: AtStrength) -> None:
        """Record the samples and scores of a finalist at another strength."""
        payload = {"signature": self._signature, **self._json(found)}
        key = f"{self._judged(found.scores.step, found.scores.fresh)} {found.strength:g}"
        self._journal.write("strength", payload, key=key)

    def pick(self, pick: Pick) -> None:
        """Record the chosen checkpoint; a later choice replaces an earlier one."""
        self._journal.write("pick", self._json(pick))
        self._nudge()

    def note(self, text: str) -> None:
        """Record a sentence for the reader of the report."""
        self._journal.write("note", {"text": text}, key=text[:200])

    def tag(self, name: str, value: str) -> None:
        """Record a tag that MLflow shows beside the run, as ``lorasweep.<name>``."""
        self._journal.write("tag", {"name": f"lorasweep.{name}", "value": value})

    def flush(self) -> None:
        """Force everything recorded so far to the disk; call it before a training state is saved.

        A state must never know more than the journal: a resume from it would leave a gap there.
        """
        self._journal.sync()

    def end(self, status: str, error: str = "", widths: Sequence[int] = ()) -> str:
        """Record how the run went and let go of it.

        Args:
            status: finished, failed or stopped.
            widths: of the cohorts that it was trained in, over all its sessions; results are bit-equal if these are.

        Returns:
            A sentence if something is not delivered to MLflow yet, else ''.
        """
        met = {"widths": list(widths)} if widths else {}
        self._journal.write("end", {"status": status, "error": error, **met})
        return self.close()

    def close(self) -> str:
        """Let go without recording how the run ended, as after scoring an old one; return what ``end`` returns.

        A second call does nothing.
        """
        if self._closed:
            return ""
        self._closed = True
        with self._held:  # the lock goes back even if the disk is full
            self._journal.close()
            return "" if self._shipper is None else self._shipper.drain(self.run.path)

    def _save_provenance(self, facts: JsonDict) -> dict[str, str]:
        """Return the sha256 of the file that was written, by its name; {} if nothing is new."""
        saved = self.run.provenances
        if not self._journal.starts or not saved:
            return {self.run.provenance.name: write_json(self.run.provenance, facts)}
        # the first file is what the training was made with, and what a reproduction is compared with
        if saved[-1].read_bytes() == json_bytes(facts):
            return {}
        number = int(saved[-1].stem.rpartition("-")[2]) if len(saved) > 1 else 1
        path = self.run.path / f"provenance-{number + 1}.json"
        return {path.name: write_json(path, facts)}

    def _artifacts(self, hashes: Mapping[str, str]) -> None:
        for name, sha256 in hashes.items():
            self._journal.write("artifact", {"path": name, "sha256": sha256}, key=f"{name} {sha256}")

    def _nudge(self) -> None:
        if self._shipper is not None:
            self._shipper.nudge()

    def _judged(self, step: int, fresh: bool) -> str:
        """Return the key of a checkpoint's samples or scores.

        Scores under another evaluation signature are in another unit, so that they are written beside the old ones.
        """
        return f"{step}{' fresh' if fresh else ''} {self._signature}".strip()

    def _start_to_json(self, meta: RunMeta) -> JsonDict:
        return {
            "name": meta.name,
            "uid": self._uid,
            "parent": meta.parent,
            "multirun": meta.multirun,
            "source": None if meta.source is None else str(meta.source),
            "run_signature": meta.run_signature,
            "evaluation_signature": meta.evaluation_signature,
            "prompts": self._json(meta.prompts),
            "dataset": self._json(meta.dataset),
        }

    def _json(self, record: object) -> Any:
        return codec.to_json(record, self.run.path)
