"""What a run is made of, for its provenance: the weights that it reads and the machine that it runs on."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.config.schema import RunConfig
from lorasweep.data.records import Dataset, JsonDict

if TYPE_CHECKING:
    from lorasweep.app.judge import Judge
    from lorasweep.models.family import Family


def origin(run: RunConfig, dataset: Dataset, family: "Family", judge: "Judge | None", signature: str) -> JsonDict:
    """Provenance of a run: hashes of model, scorers and photos, versions, threads, device, both signatures."""
    import torch

    from lorasweep.config.compose import to_plain
    from lorasweep.track.provenance import provenance
    from lorasweep.track.run_folder import json_bytes

    facts = provenance(
        weights={},
        dataset=dataset,
        config_sha256=hashlib.sha256(json_bytes(to_plain(run))).hexdigest(),
        signatures={"run": signature, "evaluation": judge.signature if judge else ""},
        machine={
            "device": str(family.device),
            "precision": run.hardware.precision,
            "threads": torch.get_num_threads(),
        },
    )
    init = run.lora.init
    facts["weights"] = {
        "model": {"name": Path(run.model.path).name, "sha256": family.model_hash, "parts": dict(family.hashes)},
        **({"init": {"name": Path(init).name, "sha256": _sha256(init)}} if init else {}),
        **({name: {"sha256": sha} for name, sha in judge.scorers.weights_sha256.items()} if judge else {}),
    }
    return facts


def _sha256(path: str) -> str:
    with Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
