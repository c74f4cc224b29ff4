"""What a run is made of, for its provenance: the weights that it reads and the machine that it runs on."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.config.schema import RunConfig
from lorasweep.data.hashes import file_sha256
from lorasweep.records import Dataset, JsonDict

if TYPE_CHECKING:
    from lorasweep.models.families.family import Family
    from lorasweep.run.evaluator import Judge


def origin(
    run: RunConfig,
    dataset: Dataset,
    family: "Family",
    judge: "Judge | None",
    signature: str,
    config: JsonDict | None = None,
) -> JsonDict:
    """Provenance of a run: hashes of model, scorers and photos, versions, threads, device, both signatures.

    ``config`` is what is stored of the run's configuration; None stands for all of it.
    """
    import torch

    from lorasweep.config.compose import to_plain
    from lorasweep.track.provenance import provenance
    from lorasweep.track.run_folder import json_bytes

    facts = provenance(
        dataset=dataset,
        config_sha256=hashlib.sha256(json_bytes(config or to_plain(run))).hexdigest(),
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
        **({"drawn_on": _drawn_on(run, judge.family)} if judge and run.evaluate.model else {}),
        **({"init": {"name": Path(init).name, "sha256": file_sha256(Path(init).expanduser())}} if init else {}),
        **({name: {"sha256": sha} for name, sha in judge.scorers.weights_sha256.items()} if judge else {}),
    }
    return facts


def _drawn_on(run: RunConfig, family: "Family") -> JsonDict:
    return {"name": Path(str(run.evaluate.model)).name, "sha256": family.model_hash, "parts": dict(family.hashes)}
