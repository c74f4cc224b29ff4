"""LoRA files: whole, repeatable, refused where they do not fit, and understood by diffusers."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.family import batch, stirred
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lorasweep.config.schema import LoraConfig
from lorasweep.errors import UserError
from lorasweep.models.lora.file import read_lora, write_lora
from lorasweep.models.lora.header import safetensors_bytes
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import AdapterBank, adapted

LORA = LoraConfig(rank=4, alpha=2.0, targets="linear")


@pytest.fixture
def adapter(family: Any) -> Any:
    return stirred(initial_adapter(family, LORA, 0), 0)


def test_what_is_written_is_read_back(family: Any, adapter: Any, tmp_path: Path) -> None:
    write_lora(tmp_path / "a.safetensors", adapter, family, {})
    again = read_lora(tmp_path / "a.safetensors", family)
    assert list(again) == list(adapter)
    for name, weights in adapter.items():
        assert torch.equal(again[name].down, weights.down)
        assert torch.equal(again[name].up, weights.up)
        assert again[name].alpha == 2.0


def test_keys_are_kohyas_with_alpha_and_text_model_spelled_out(family: Any, tmp_path: Path) -> None:
    both = initial_adapter(family, LoraConfig(rank=4, alpha=2.0, text_encoder=True), 0)
    write_lora(tmp_path / "a.safetensors", both, family, {})
    tensors = load_file(tmp_path / "a.safetensors")
    prefix = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert tensors[f"{prefix}.lora_down.weight"].shape == (4, 16)
    assert tensors[f"{prefix}.lora_up.weight"].shape == (16, 4)
    assert tensors[f"{prefix}.alpha"].item() == 2.0
    assert "lora_te_text_model_encoder_layers_1_self_attn_q_proj.lora_down.weight" in tensors
    assert len(tensors) == 3 * len(both)


def test_the_header_tells_readers_what_it_is(family: Any, adapter: Any, tmp_path: Path) -> None:
    write_lora(tmp_path / "a.safetensors", adapter, family, {"ss_output_name": "anna", "lorasweep.step": "7"})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        header = file.metadata()
    expected = {
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_output_name": "anna",
        "lorasweep.step": "7",
        "modelspec.architecture": "stable-diffusion-v1/lora",
    }
    assert expected.items() <= header.items()
    assert len(header["sshs_model_hash"]) == 64
    assert len(header["sshs_legacy_hash"]) == 8


def test_the_tensor_hash_does_not_depend_on_the_header(family: Any, adapter: Any, tmp_path: Path) -> None:
    hashes = []
    for name in ("anna", "bert"):
        write_lora(tmp_path / name, adapter, family, {"ss_output_name": name})
        with safe_open(tmp_path / name, framework="pt") as file:
            hashes.append(file.metadata()["sshs_model_hash"])
    assert hashes[0] == hashes[1]


def test_the_same_tensors_make_the_same_bytes_in_every_process() -> None:
    code = (
        "import torch, hashlib; from lorasweep.models.lora.header import safetensors_bytes;"
        "print(hashlib.sha256(safetensors_bytes({'a': torch.ones(3)}, {c: c for c in 'qwertzuiop'})).hexdigest())"
    )
    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    runs = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    data = safetensors_bytes({"a": torch.ones(3)}, {c: c for c in "qwertzuiop"})
    assert list(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]) == sorted("qwertzuiop")


def test_diffusers_loads_the_file_and_gives_the_same_answer(
    family: Any, adapter: Any, model_folder: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    path = tmp_path / "a.safetensors"
    write_lora(path, adapter, family, {})
    pipeline = StableDiffusionPipeline.from_pretrained(model_folder, safety_checker=None, local_files_only=True)
    pipeline.load_lora_weights(str(path))
    latents, timesteps, text = batch(family, 2)
    ours = adapted(family, AdapterBank([read_lora(path, family)])).denoise(latents, timesteps, text)
    theirs = pipeline.unet(latents, timesteps, text["states"], return_dict=False)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours - family.denoise(latents, timesteps, text)).abs().max() > 1e-3


def test_diffusers_loads_the_text_encoders_part_too(family: Any, model_folder: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    lora = LoraConfig(rank=4, alpha=2.0, targets="linear", text_encoder=True)
    both = stirred(initial_adapter(family, lora, 0), 0)
    write_lora(tmp_path / "a.safetensors", both, family, {})
    pipeline = StableDiffusionPipeline.from_pretrained(model_folder, safety_checker=None, local_files_only=True)
    pipeline.load_lora_weights(str(tmp_path / "a.safetensors"))
    ids = family.tokenizer(["a person"], padding="max_length", return_tensors="pt").input_ids
    ours = adapted(family, AdapterBank([both])).encode_prompts(["a person"])["states"]
    torch.testing.assert_close(ours, pipeline.text_encoder(ids)[0], atol=1e-5, rtol=1e-5)
    assert (ours - family.encode_prompts(["a person"])["states"]).abs().max() > 1e-2


def test_a_file_without_alpha_is_applied_at_scale_one(family: Any, adapter: Any, tmp_path: Path) -> None:
    write_lora(tmp_path / "a.safetensors", adapter, family, {})
    tensors = {k: v for k, v in load_file(tmp_path / "a.safetensors").items() if not k.endswith(".alpha")}
    save_file(tensors, tmp_path / "b.safetensors")
    again = read_lora(tmp_path / "b.safetensors", family)
    assert {weights.alpha for weights in again.values()} == {4.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (4, 16)}, "double_blocks_0.*another family"),
        (
            {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight": (7, 4)},
            "attn1_to_q from 16 to 7 features.*16 to 16",
        ),
        (
            {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight": None},
            "lacks .*attn1_to_q.lora_up.weight",
        ),
        (
            {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight": None},
            "lacks .*attn1_to_q.lora_down.weight",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_its_key_named(
    family: Any, adapter: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_lora(tmp_path / "a.safetensors", adapter, family, {})
    tensors = load_file(tmp_path / "a.safetensors")
    for key, shape in change.items():
        tensors.pop(key, None)
        if shape:
            tensors[key] = torch.zeros(shape)
    save_file(tensors, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=message):
        read_lora(tmp_path / "b.safetensors", family)


def test_a_broken_file_is_named(family: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"broken.safetensors is no readable safetensors file"):
        read_lora(tmp_path / "broken.safetensors", family)


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(
    family: Any, adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    write_lora(path, adapter, family, {})
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"The disk is full: .*a.safetensors could not be written"):
        write_lora(path, adapter, family, {"x": "y"})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
