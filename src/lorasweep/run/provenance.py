"""What a run's result depends on: its configuration, the weights that it reads, and the machine that it runs on."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.config.compose import to_plain
from lorasweep.config.signature import run_signature
from lorasweep.data.hashes import file_sha256
from lorasweep.data.prompts import fill_prompts
from lorasweep.records import JsonDict
from lorasweep.run.entries import Entry
from lorasweep.track.tracker import RunMeta

if TYPE_CHECKING:
    from lorasweep.models.family import Family
    from lorasweep.run.evaluator import Evaluator

TRAINED_ELSEWHERE = ("lora", "optim", "save")
"""Groups of the configuration that say how to train; a run that only scores files does not store them."""


def run_meta(
    name: str, entry: Entry, trained: "Family | None", evaluator: "Evaluator | None", parent: str = ""
) -> RunMeta:
    """Return what is known of a run before its first step.

    Args:
        trained: the base model that the LoRA is trained on; None if the run only draws and scores.
        evaluator: None if the run scores nothing.
    """
    run, foreign = entry.run, entry.foreign
    config, photos = to_plain(run), entry.dataset.fingerprint
    if foreign is not None:
        config = {key: value for key, value in config.items() if key not in TRAINED_ELSEWHERE}
        # what was trained is files, not a recipe: they stand in the signature where the recipe does not
        files = json.dumps(foreign.facts["files"], sort_keys=True)
        photos = f"{photos}/{hashlib.sha256(files.encode()).hexdigest()}"
    signatures = {"run": run_signature(run, photos), "evaluation": evaluator.signature if evaluator else ""}
    facts = _provenance(entry, config, trained, evaluator, signatures)
    return RunMeta(
        name=name,
        config=config,
        dataset=entry.dataset,
        prompts=fill_prompts(run.sample, run.data) if run.sample.prompts else (),
        run_signature=signatures["run"],
        evaluation_signature=signatures["evaluation"],
        provenance=facts if foreign is None else {**facts, "evaluated": foreign.facts},
        parent=parent,
        source=None if foreign is None else foreign.folder,
    )


def _provenance(
    entry: Entry,
    config: JsonDict,
    trained: "Family | None",
    evaluator: "Evaluator | None",
    signatures: dict[str, str],
) -> JsonDict:
    """Return hashes of models, scorers and photos, versions, threads, device and both signatures."""
    import torch

    from lorasweep.track.provenance import provenance
    from lorasweep.track.run_folder import json_bytes

    family = trained or (evaluator and evaluator.family)
    assert family is not None
    facts = provenance(
        dataset=entry.dataset,
        config_sha256=hashlib.sha256(json_bytes(config)).hexdigest(),
        signatures=signatures,
        machine={
            "device": str(family.device),
            "precision": entry.run.hardware.precision,
            "threads": torch.get_num_threads(),
        },
    )
    run, init = entry.run, entry.run.lora.init
    drawn_on = evaluator.family if evaluator and run.evaluate.model else None
    # without evaluate.model one base serves both ends, and is called by the one name whoever opened it
    model = trained or (None if drawn_on else family)
    facts["weights"] = {
        **({"model": _model_facts(run.model.path, model)} if model else {}),
        **({"drawn_on": _model_facts(str(run.evaluate.model), drawn_on)} if drawn_on else {}),
        **({"init": {"name": Path(init).name, "sha256": file_sha256(Path(init).expanduser())}} if init else {}),
        **({name: {"sha256": sha} for name, sha in evaluator.scorers.weights_sha256.items()} if evaluator else {}),
    }
    return facts


def _model_facts(path: str, family: "Family") -> JsonDict:
    from lorasweep.models.family import model_hash

    return {"name": Path(path).name, "sha256": model_hash(family), "parts": dict(family.hashes)}
