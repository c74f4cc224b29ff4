"""What is no plain LoRA of the base model is refused in one sentence that names the key, and never half read."""

from pathlib import Path

import pytest
import torch
from contracts.full_size import shapes
from contracts.lora_keys import kohya, peft
from safetensors.torch import save, save_file
from torch import Tensor

from lorasweep.errors import UserError
from lorasweep.models.lora.file import read_adapter
from lorasweep.models.lora.layouts import from_tensors

PLAIN_Q = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
DEEP = "lora_unet_down_blocks_2_attentions_0_transformer_blocks_7"
KOHYA_Q = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
REFUSED = {
    "DoRA": ({f"{KOHYA_Q}.dora_scale": torch.ones(640, 1)}, r"holds lora_unet_.*dora_scale: it is DoRA"),
    "LoHa": ({f"{KOHYA_Q}.hada_w1_a": torch.ones(2, 2)}, r"hada_w1_a: it is LoHa"),
    "LoKr": ({f"{KOHYA_Q}.lokr_w1": torch.ones(2, 2)}, r"lokr_w1: it is LoKr"),
    "Tucker core": ({f"{KOHYA_Q}.lora_mid.weight": torch.ones(2, 2)}, r"lora_mid.weight: it is a LoCon with a Tucker"),
    "whole model": (
        {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(2, 2)},
        r"input_blocks\.0\.0\.weight: it is a weight of a whole model; only plain LoRA",
    ),
    "differences": ({f"{KOHYA_Q}.diff_b": torch.ones(2)}, r"diff_b: it is a full difference of weights"),
    "DoRA of PEFT": ({f"{PLAIN_Q}.lora_magnitude_vector": torch.ones(2)}, "lora_magnitude_vector: it is DoRA"),
    "DoRA of ai-toolkit": ({f"{KOHYA_Q}.magnitude": torch.ones(2)}, "magnitude: it is DoRA"),
    "biases": ({f"{PLAIN_Q}.lora_B.bias": torch.ones(2)}, r"lora_B\.bias: it is a LoRA with biases"),
    "embedding": ({"bundle_emb.anna.clip_l": torch.ones(2, 768)}, r"bundle_emb\.anna\.clip_l: it is an embedding"),
    "XLabs": (
        {"double_blocks.0.processor.qkv_lora1.down.weight": torch.ones(2, 2)},
        r"qkv_lora1\.down\.weight: it is XLabs' layout",
    ),
    "not a number": (
        {
            f"{KOHYA_Q}.lora_down.weight": torch.full((2, 640), torch.nan),
            f"{KOHYA_Q}.lora_up.weight": torch.ones(640, 2),
        },
        r"lora_down\.weight with values that are not finite: its training went wrong",
    ),
    "a vector": (
        {f"{KOHYA_Q}.lora_down.weight": torch.ones(640), f"{KOHYA_Q}.lora_up.weight": torch.ones(640, 2)},
        r"lora_down\.weight of shape \(640,\), which is no half of a LoRA",
    ),
    "no rank": (
        {f"{KOHYA_Q}.lora_down.weight": torch.ones(0, 640), f"{KOHYA_Q}.lora_up.weight": torch.ones(640, 0)},
        r"lora_down\.weight of shape \(0, 640\), which is no half",
    ),
    "alphas": (
        {**kohya(KOHYA_Q, 640, 640), f"{KOHYA_Q}.alpha": torch.ones(2)},
        r"alpha of shape \(2,\); an alpha must be one finite number",
    ),
    "SDXL by diffusers' names": (kohya(f"{DEEP}_attn2_to_k", 2048, 1280), "another family, sdxl"),
    "SD 2": (kohya(KOHYA_Q.replace("attn1_to_q", "attn2_to_k"), 1024, 640), "another family, sd2"),
    "unknown family": (peft("blocks.0.attn.qkv", 64, 64), r"no module for: is it a LoRA of another family\?"),
    "unknown end": ({f"{KOHYA_Q}.wonder": torch.ones(2, 2)}, r"wonder, which is no part of a LoRA"),
    "unknown module": (
        kohya("lora_unet_down_blocks_9_attn", 640, 640),
        r"down_blocks_9_attn.lora_down.weight, which the base",
    ),
    "lost half": ({f"{KOHYA_Q}.alpha": torch.tensor(1.0)}, r"holds .*alpha but lacks .*lora_down.weight"),
    "two spellings": (
        {**kohya(KOHYA_Q, 640, 640), **peft(PLAIN_Q, 640, 640)},
        r"holds one module twice, as lora_unet.* and as unet\.",
    ),
    "FLUX": (kohya("lora_unet_double_blocks_3_img_attn_proj", 3072, 3072), "a LoRA of another family, flux"),
    "SDXL": (kohya("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", 1280, 1280), "another family, sdxl"),
    "wrong width": (kohya(KOHYA_Q, 1280, 1280), "from 1280 to 1280 features.*has 640 to 640: is it a LoRA of another"),
    "unequal halves": (
        {f"{KOHYA_Q}.lora_down.weight": torch.ones(2, 640), f"{KOHYA_Q}.lora_up.weight": torch.ones(640, 3)},
        "at rank 2 and 3",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_whole_is_refused_in_one_sentence(name: str) -> None:
    tensors, sentence = REFUSED[name]
    with pytest.raises(UserError, match=sentence) as raised:
        from_tensors("anna.safetensors", "sd15", shapes("sd15"), tensors)
    assert str(raised.value).startswith("anna.safetensors ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["old.pt", "old.ckpt", "adapter_model.bin", "OLD.PTH"])
def test_a_pickle_is_not_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=rf"{name} is a pickle, which may run code; give a \.safetensors file"):
        read_adapter(tmp_path / name, "sd15", shapes("sd15"))


@pytest.mark.parametrize("start", [b"PK\x03\x04" + bytes(20), b"\x80\x04K\x01.", b"\x80\x02}q\x00"])
def test_a_pickle_under_another_name_is_not_opened(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "anna.safetensors").write_bytes(start)
    with pytest.raises(UserError, match=r"anna\.safetensors is a pickle, which may run code"):
        read_adapter(tmp_path / "anna.safetensors", "sd15", shapes("sd15"))


def test_a_header_as_long_as_a_pickle_begins_is_read(tmp_path: Path) -> None:
    """0x0480 bytes: the file begins with 80 04, as a pickle of protocol 4 does."""
    tensors = kohya(KOHYA_Q, 640, 640)
    length = next(n for n in range(2000) if len(save(tensors, {"x": "y" * n})) - sum_of(tensors) == 8 + 0x480)
    (tmp_path / "a.safetensors").write_bytes(save(tensors, {"x": "y" * length}))
    assert (tmp_path / "a.safetensors").read_bytes()[:2] == b"\x80\x04"
    assert list(read_adapter(tmp_path / "a.safetensors", "sd15", shapes("sd15"))) == [PLAIN_Q]


def sum_of(tensors: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize("data", [b"", b"nothing", bytes(8) + b"{}", (2**40).to_bytes(8, "little") + b"{}"])
def test_a_damaged_file_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "anna.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"anna\.safetensors is no readable safetensors file"):
        read_adapter(tmp_path / "anna.safetensors", "sd15", shapes("sd15"))


def test_a_file_without_tensors_is_named(tmp_path: Path) -> None:
    save_file({}, tmp_path / "anna.safetensors")
    with pytest.raises(UserError, match=r"anna\.safetensors holds no LoRA weights"):
        read_adapter(tmp_path / "anna.safetensors", "sd15", shapes("sd15"))
