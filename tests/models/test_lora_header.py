"""A file's header tells readers what they need and strangers nothing of the user."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.tiny import tiny_run
from safetensors.torch import save_file

from lorasweep.data.errors import UserError
from lorasweep.data.records import Dataset
from lorasweep.models.lora_header import audit, read_header
from lorasweep.train.checkpoint import TrainingState, save_checkpoint
from lorasweep.train.trial import Trial


def header_of_a_checkpoint(family: Any, dataset: Dataset, model: Path, at: Path, metadata: str) -> dict[str, str]:
    run = tiny_run(model)
    run = replace(run, save=replace(run.save, metadata=metadata))
    trial = Trial("anna-0001", run, dataset, at)
    state = TrainingState(step=10, adapter=family.initial_adapter(run.lora, 0))
    path = save_checkpoint(trial, family, state).path
    assert path is not None
    return read_header(path)


def test_a_private_header_has_no_path_photo_or_caption(
    family: Any, dataset: Dataset, model_folder: Path, tmp_path: Path
) -> None:
    header = header_of_a_checkpoint(family, dataset, model_folder, tmp_path, "private")
    text = json.dumps(header)
    for photo in dataset.train:
        assert photo.path.name not in text
        assert photo.caption not in text
    assert dataset.path.name not in text
    assert str(tmp_path) not in text
    assert "ss_tag_frequency" not in header
    telling = {key for key, _, tells in audit(header) if tells}
    assert telling == {"ss_output_name", "modelspec.title", "lorasweep.run", "modelspec.trigger_phrase"}


def test_a_full_header_counts_the_clauses_of_captions_as_kohya_does(
    family: Any, dataset: Dataset, model_folder: Path, tmp_path: Path
) -> None:
    header = header_of_a_checkpoint(family, dataset, model_folder, tmp_path, "full")
    counts = json.loads(header["ss_tag_frequency"])[dataset.path.name]
    assert counts["red"] == len(dataset.train)
    assert counts["scene 1"] == 1
    assert json.loads(header["ss_dataset_dirs"]) == {dataset.path.name: {"n_repeats": 2, "img_count": 5}}


def test_the_header_has_every_line_that_readers_ask_for(
    family: Any, dataset: Dataset, model_folder: Path, tmp_path: Path
) -> None:
    header = header_of_a_checkpoint(family, dataset, model_folder, tmp_path, "private")
    kohya = {"ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha"}
    kohya |= {"ss_network_args", "ss_output_name", "ss_seed", "ss_epoch", "ss_steps", "ss_session_id"}
    kohya |= {"ss_new_sd_model_hash", "sshs_model_hash", "sshs_legacy_hash"}
    spec = {"sai_model_spec", "architecture", "implementation", "title", "resolution", "hash_sha256"}
    assert kohya | {f"modelspec.{key}" for key in spec} <= set(header)
    assert header["modelspec.hash_sha256"] == f"0x{header['sshs_model_hash']}"
    assert header["lorasweep.effective_lr"] == "0.0005"


def test_the_audit_finds_paths_and_captions_in_anybodys_file(tmp_path: Path) -> None:
    lines = {
        "ss_tag_frequency": '{"10_anna": {"in bed": 3}}',
        "ss_note": "from /data/photos/anna",
        "ss_windows": "C:\\Users\\anna",
        "ss_lr": "1e-4",
    }
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata=lines)
    found = {key: tells for key, _, tells in audit(read_header(tmp_path / "a.safetensors"))}
    assert found["ss_tag_frequency"].startswith("the words of your captions")
    assert found["ss_note"] == found["ss_windows"] == "a path on your machine"
    assert found["ss_lr"] == ""
    assert list(found)[-1] == "ss_lr"


def test_a_file_without_a_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=r"a\.safetensors is no readable safetensors file"):
        read_header(tmp_path / "a.safetensors")
