"""A file's header tells readers what they need and strangers nothing of the user."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.tiny import tiny_run
from safetensors.torch import save, save_file

from lorasweep.errors import UserError
from lorasweep.models.lora.header import audit, diffusers_header, kohya_hashes, kohya_header, read_header
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import LoraWeights
from lorasweep.models.lora.peft_config import adapter_metadata
from lorasweep.records import Dataset
from lorasweep.train.checkpoint import save_checkpoint
from lorasweep.train.state import TrainingState
from lorasweep.train.trial import Trial


def checkpoint(family: Any, dataset: Dataset, model: Path, at: Path, metadata: str) -> Path:
    run = tiny_run(model)
    run = replace(run, save=replace(run.save, metadata=metadata))
    trial = Trial("anna-0001", run, dataset, at)
    state = TrainingState(step=10, adapter=initial_adapter(family, run.lora, 0))
    path = save_checkpoint(trial, family, state).path
    assert path is not None
    return path


def test_a_private_header_has_no_path_photo_or_caption(
    family: Any, dataset: Dataset, model_folder: Path, tmp_path: Path
) -> None:
    path = checkpoint(family, dataset, model_folder, tmp_path, "private")
    header = read_header(path)
    text = json.dumps(header)
    for photo in dataset.train:
        assert photo.path.name not in text
        assert photo.caption not in text
    assert dataset.path.name not in text
    assert str(tmp_path) not in text
    assert "ss_tag_frequency" not in header
    telling = {key for key, _, tells in audit(path) if tells}
    assert telling == {"ss_output_name", "modelspec.title", "lorasweep.run", "modelspec.trigger_phrase"}


def test_a_full_header_counts_the_clauses_of_captions_as_kohya_does(
    family: Any, dataset: Dataset, model_folder: Path, tmp_path: Path
) -> None:
    header = read_header(checkpoint(family, dataset, model_folder, tmp_path, "full"))
    counts = json.loads(header["ss_tag_frequency"])[dataset.path.name]
    assert counts["red"] == len(dataset.train)
    assert counts["scene 1"] == 1
    assert json.loads(header["ss_dataset_dirs"]) == {dataset.path.name: {"n_repeats": 2, "img_count": 5}}


def test_the_header_has_every_line_that_readers_ask_for(
    family: Any, dataset: Dataset, model_folder: Path, tmp_path: Path
) -> None:
    header = read_header(checkpoint(family, dataset, model_folder, tmp_path, "private"))
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
        "ss_json": json.dumps({"dir": "D:\\anna"}),
        "ot_note": "write to anna@example.org",
        "ot_config": "{}",
        "ss_url": "https://huggingface.co/a/b",
        "ss_lr": "1e-4",
    }
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata=lines)
    found = {key: tells for key, _, tells in audit(tmp_path / "a.safetensors")}
    assert found["ss_tag_frequency"].startswith("the words of your captions")
    assert found["ss_note"] == found["ss_windows"] == "a path on your machine"
    assert found["ss_json"] == "a path on your machine"
    assert found["ot_note"] == "an e-mail address"
    assert found["ot_config"].startswith("OneTrainer's whole configuration")
    assert [key for key, tells in found.items() if not tells] == list(found)[-2:] == ["ss_lr", "ss_url"]


def test_a_file_without_a_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=r"a\.safetensors is no readable safetensors file"):
        read_header(tmp_path / "a.safetensors")


def layer(rank: int, alpha: float, kernel: int = 0) -> LoraWeights:
    shape = (rank, 4, kernel, kernel) if kernel else (rank, 4)
    return LoraWeights(torch.ones(shape), torch.ones((4, rank, 1, 1) if kernel else (4, rank)), alpha)


@pytest.mark.parametrize(
    ("kind", "adapter", "expected"),
    [
        ("flux", {"a": layer(4, 2.0)}, {"ss_network_module": "networks.lora_flux", "ss_base_model_version": "flux1"}),
        ("sdxl", {"a": layer(4, 2.0), "b": layer(4, 2.0)}, {"ss_network_dim": "4", "ss_network_alpha": "2.0"}),
        ("sdxl", {"a": layer(4, 2.0), "b": layer(8, 2.0)}, {"ss_network_dim": "Dynamic", "ss_network_alpha": "2.0"}),
        ("sd15", {"a": layer(4, 2.0)}, {"ss_network_args": "{}", "ss_network_module": "networks.lora"}),
        (
            "sd15",
            {"a": layer(4, 2.0), "b": layer(4, 2.0, kernel=3)},
            {"ss_network_args": '{"conv_dim": "4", "conv_alpha": "2.0"}'},
        ),
    ],
)
def test_the_network_is_told_in_sd_scripts_words(
    kind: str, adapter: dict[str, LoraWeights], expected: dict[str, str]
) -> None:
    header = kohya_header(kind, adapter, {}, {})
    assert expected.items() <= header.items()


def test_diffusers_layout_keeps_the_lines_of_the_run_and_none_of_kohyas_network() -> None:
    adapter = {"unet.a.to_q": layer(4, 2.0), "text_encoder_2.text_model.b": layer(2, 2.0)}
    given = {"lorasweep.step": "7", "ss_seed": "1", "ss_network_alpha": "2.0", "sshs_model_hash": "of another file"}
    header = diffusers_header(adapter, {"x": torch.ones(2)}, given)
    assert (header["lorasweep.step"], header["ss_seed"], header["format"]) == ("7", "1", "pt")
    assert "ss_network_alpha" not in header
    assert header["sshs_model_hash"] == hashlib.sha256(torch.ones(2).numpy().tobytes()).hexdigest()
    settings = json.loads(header["lora_adapter_metadata"])
    assert settings["unet.r"] == settings["unet.lora_alpha"] == 4
    assert settings["text_encoder_2.target_modules"] == ["b"]


def test_unequal_ranks_are_told_module_by_module() -> None:
    adapter = {"transformer.a": layer(4, 1.0), "transformer.b": layer(4, 1.0), "transformer.proj_out": layer(8, 1.0)}
    settings = json.loads(adapter_metadata(adapter)["lora_adapter_metadata"])
    assert settings["transformer.r"] == 4
    # anchored: proj_out is also the end of the names of other layers
    assert settings["transformer.rank_pattern"] == settings["transformer.alpha_pattern"] == {"^proj_out": 8}


def test_both_hashes_are_sd_scripts_own() -> None:
    """``addnet_hash_safetensors`` and ``addnet_hash_legacy``: of what is behind the header, and 64 KiB at 1 MiB."""
    tensors = {"a": torch.arange(400_000, dtype=torch.float32)}
    hashes = kohya_hashes(tensors, {"ss_seed": "1"})
    file = save(tensors, {"ss_seed": "1"})
    assert hashes["sshs_model_hash"] == hashlib.sha256(tensors["a"].numpy().tobytes()).hexdigest()
    assert hashes["sshs_legacy_hash"] == hashlib.sha256(file[0x100000:0x110000]).hexdigest()[:8]
