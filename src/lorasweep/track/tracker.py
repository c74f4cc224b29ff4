"""The seam between a run and its memory: what happens goes into the journal, and from there to MLflow."""

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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
from lorasweep.track.flatten import flatten
from lorasweep.track.journal import Journal, read
from lorasweep.track.run_folder import RunFolder, running, write_json
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
    overrides: tuple[str, ...] = ()
    parent: str = ""
    """Name of the multirun that it belongs to; its run folder lies beside this one."""
    source: Path | None = None
    """The folder of files that another trainer made, of a run that only judges them."""
    multirun: bool = False
    """Whether this is such a parent: no steps, only children."""


class Tracker(Protocol):
    """Remembers one run. No method waits for a server; only ``end`` waits, and only for seconds."""

    def start(self, meta: RunMeta) -> None:
        """The run begins, or goes on after a crash."""
        ...

    def step(self, step: Step) -> None:
        """An optimiser step was taken."""
        ...

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """A LoRA file is whole on disk."""
        ...

    def samples(self, samples: SampleSet, prompts: Sequence[Prompt]) -> None:
        """A sheet was drawn."""
        ...

    def scores(self, scores: Scores) -> None:
        """A checkpoint was judged."""
        ...

    def validation(self, found: Validation, base: Validation) -> None:
        """A checkpoint's losses on fixed noise were measured; ``base`` are the base model's."""
        ...

    def fixed_batch(self, found: FixedBatch) -> None:
        """DVAR's batch was measured."""
        ...

    def strength(self, found: AtStrength) -> None:
        """A finalist was drawn and judged at another strength."""
        ...

    def pick(self, pick: Pick) -> None:
        """A checkpoint was chosen; a later choice replaces an earlier one."""
        ...

    def note(self, text: str) -> None:
        """A sentence for the reader of the report."""
        ...

    def flush(self) -> None:
        """Everything told so far is on the disk; called before a training state is saved."""
        ...

    def end(self, status: str, error: str = "") -> str:
        """How it went: finished, failed or stopped. Returns a sentence where something is undelivered yet, else ''."""
        ...


class NullTracker:
    """Forgets everything."""

    def start(self, meta: RunMeta) -> None: ...
    def step(self, step: Step) -> None: ...
    def checkpoint(self, checkpoint: Checkpoint) -> None: ...
    def samples(self, samples: SampleSet, prompts: Sequence[Prompt]) -> None: ...
    def scores(self, scores: Scores) -> None: ...
    def validation(self, found: Validation, base: Validation) -> None: ...
    def fixed_batch(self, found: FixedBatch) -> None: ...
    def strength(self, found: AtStrength) -> None: ...
    def pick(self, pick: Pick) -> None: ...
    def note(self, text: str) -> None: ...
    def flush(self) -> None: ...

    def end(self, status: str, error: str = "") -> str:
        return ""


class JournalTracker:
    """Writes the run's journal and lets ``shipper``, if there is one, deliver it to MLflow in the background.

    Holds the run's lock from construction to ``end`` or ``close``; UserError where another process holds it. Steps
    that a resume takes again are recognised and not written twice.
    """

    def __init__(self, folder: Path, shipper: Shipper | None = None) -> None:
        self.run = RunFolder(folder).prepare()
        self._held = ExitStack()
        self._held.enter_context(running(self.run))
        self._journal = Journal(folder)
        self._closed = False
        self._shipper = shipper
        starts = [entry.payload for entry in read(folder) if entry.kind == "start"]
        self._uid = starts[0]["uid"] if starts else uuid.uuid4().hex
        self._signature = starts[-1]["evaluation_signature"] if starts else ""
        if shipper is not None and starts:
            shipper.add(folder)

    def start(self, meta: RunMeta) -> None:
        self._signature = meta.evaluation_signature
        hashes = {"config.json": self.run.save_config(meta.config)}  # a run that has begun can be resumed from it
        hashes["provenance.json"] = write_json(self.run.provenance, meta.provenance)
        self._journal.write("start", _start_to_json(meta, self._uid))
        for name, sha256 in hashes.items():
            self._journal.write("artifact", {"path": name, "sha256": sha256}, key=f"{name} {sha256}")
        self._journal.write("params", flatten(meta.config))
        if self._shipper is not None:
            self._shipper.add(self.run.path)

    def step(self, step: Step) -> None:
        self._journal.write("step", codec.step_to_json(step), key=str(step.step))

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        self._journal.write("checkpoint", codec.checkpoint_to_json(checkpoint, self.run.path), key=str(checkpoint.step))
        self._nudge()

    def samples(self, samples: SampleSet, prompts: Sequence[Prompt]) -> None:
        order = [prompt.key for prompt in prompts]
        payload = {**codec.samples_to_json(samples, self.run.path), "prompts": order}
        self._journal.write("sample", payload, key=self._judged(samples.step, samples.fresh))
        self._nudge()

    def scores(self, scores: Scores) -> None:
        payload = {"signature": self._signature, "scores": codec.scores_to_json(scores)}
        self._journal.write("scores", payload, key=self._judged(scores.step, scores.fresh))
        self._nudge()

    def validation(self, found: Validation, base: Validation) -> None:
        self._journal.write("validation", codec.validation_to_json(found, base), key=str(found.step))
        self._nudge()

    def fixed_batch(self, found: FixedBatch) -> None:
        self._journal.write("fixed_batch", codec.fixed_batch_to_json(found), key=str(found.step))

    def strength(self, found: AtStrength) -> None:
        payload = {"signature": self._signature, **codec.at_strength_to_json(found, self.run.path)}
        key = f"{self._judged(found.scores.step, found.scores.fresh)} {found.strength:g}"
        self._journal.write("strength", payload, key=key)

    def pick(self, pick: Pick) -> None:
        self._journal.write("pick", codec.pick_to_json(pick))
        self._nudge()

    def note(self, text: str) -> None:
        self._journal.write("note", {"text": text}, key=text[:200])

    def tag(self, name: str, value: str) -> None:
        """A word that MLflow shows beside the run, as ``lorasweep.<name>``."""
        self._journal.write("tag", {"name": f"lorasweep.{name}", "value": value})

    def artifact(self, path: Path, sha256: str = "") -> None:
        """A file of the run's folder that MLflow should hold too."""
        relative = codec.path_to_json(path, self.run.path)
        self._journal.write("artifact", {"path": relative, "sha256": sha256}, key=f"{relative} {sha256}".strip())

    def flush(self) -> None:
        self._journal.sync()

    def end(self, status: str, error: str = "") -> str:
        self._journal.write("end", {"status": status, "error": error})
        return self.close()

    def close(self) -> str:
        """Let go without a word on how the run ended, as after scoring an old one; returns what ``end`` returns.

        A second call does nothing.
        """
        if self._closed:
            return ""
        self._closed = True
        with self._held:  # the lock goes back even where the disk is full
            self._journal.close()
            return "" if self._shipper is None else self._shipper.drain(self.run.path)

    def _nudge(self) -> None:
        if self._shipper is not None:
            self._shipper.nudge()

    def _judged(self, step: int, fresh: bool) -> str:
        """The same pictures under another evaluation signature are another thing, which is written again."""
        return f"{step}{' fresh' if fresh else ''} {self._signature}".strip()


def _start_to_json(meta: RunMeta, uid: str) -> JsonDict:
    return {
        "name": meta.name,
        "uid": uid,
        "parent": meta.parent,
        "multirun": meta.multirun,
        "source": None if meta.source is None else str(meta.source),
        "run_signature": meta.run_signature,
        "evaluation_signature": meta.evaluation_signature,
        "overrides": list(meta.overrides),
        "prompts": codec.prompts_to_json(meta.prompts),
        "dataset": None if meta.dataset is None else codec.dataset_to_json(meta.dataset),
    }
