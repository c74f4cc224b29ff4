"""Files of other trainers, their keys written out by hand, read as the adapters that they mean."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lorasweep.data.errors import UserError
from lorasweep.models.cohort_lora import LoraWeights
from lorasweep.models.lora_file import read_adapter
from lorasweep.models.lora_header import ADAPTER_METADATA
from lorasweep.models.lora_layouts import from_tensors, fuse, split
from lorasweep.models.skeletons import module_shapes, skeleton


@cache
def shapes(kind: str) -> Mapping[str, tuple[int, ...]]:
    """Of the full-size model."""
    return module_shapes(skeleton(kind))


def pair(down: str, up: str, into: int, out: int, rank: int = 2) -> dict[str, Tensor]:
    return {down: torch.full((rank, into), 0.5), up: torch.full((out, rank), 0.25)}


def kohya(name: str, into: int, out: int, alpha: float | None = 1.0) -> dict[str, Tensor]:
    both = pair(f"{name}.lora_down.weight", f"{name}.lora_up.weight", into, out)
    return both if alpha is None else {**both, f"{name}.alpha": torch.tensor(alpha)}


def peft(name: str, into: int, out: int) -> dict[str, Tensor]:
    return pair(f"{name}.lora_A.weight", f"{name}.lora_B.weight", into, out)


UNET_Q = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
Q15 = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
CLIP_Q = "text_encoder.encoder.layers.0.self_attn.q_proj"
FLUX_Q = "transformer.transformer_blocks.3.attn.to_q"
BLOCK3 = "transformer_blocks_3_attn_to_q"
FOREIGN: dict[str, tuple[str, dict[str, Tensor], dict[str, float]]] = {  # kind, tensors, module and alpha / rank
    "sd-scripts, SD 1.5": (
        "sd15",
        {
            **kohya("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", 640, 640),
            **kohya("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 768, 768),
        },
        {UNET_Q: 0.5, CLIP_Q: 0.5},
    ),
    "sd-scripts, SDXL": (
        "sdxl",
        {
            **kohya("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", 640, 640),
            **kohya("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", 768, 768),
            **kohya("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", 1280, 1280),
        },
        {UNET_Q: 0.5, CLIP_Q: 0.5, "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj": 0.5},
    ),
    "sd-scripts, FLUX with T5": (
        "flux",
        {
            **kohya("lora_unet_double_blocks_3_img_attn_proj", 3072, 3072),
            **kohya("lora_te3_encoder_block_0_layer_0_SelfAttention_q", 4096, 4096),
        },
        {
            "transformer.transformer_blocks.3.attn.to_out.0": 0.5,
            "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q": 0.5,
        },
    ),
    "OneTrainer, SDXL by diffusers' names": (
        "sdxl",
        kohya("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", 640, 640),
        {UNET_Q: 0.5},
    ),
    "OneTrainer, FLUX": (
        "flux",
        {
            **kohya("lora_transformer_transformer_blocks_3_attn_to_q", 3072, 3072),
            **kohya("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", 768, 768),
        },
        {FLUX_Q: 0.5, CLIP_Q: 0.5},
    ),
    "ai-toolkit, FLUX": ("flux", peft("transformer.transformer_blocks.3.attn.to_q", 3072, 3072), {FLUX_Q: 1.0}),
    "SimpleTuner, FLUX with alpha": (
        "flux",
        {**peft("transformer.transformer_blocks.3.attn.to_q", 3072, 3072), f"{FLUX_Q}.alpha": torch.tensor(1.0)},
        {FLUX_Q: 0.5},
    ),
    "diffusers, now": (
        "sd15",
        {
            **peft(f"unet.{Q15}.to_q", 640, 640),
            **peft("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", 768, 768),
        },
        {UNET_Q: 1.0, CLIP_Q: 1.0},
    ),
    "diffusers, with lora.down": (
        "sd15",
        pair(f"unet.{Q15}.to_q.lora.down.weight", f"unet.{Q15}.to_q.lora.up.weight", 640, 640),
        {UNET_Q: 1.0},
    ),
    "diffusers, with processors": (
        "sd15",
        {
            **pair(
                f"unet.{Q15}.processor.to_q_lora.down.weight", f"unet.{Q15}.processor.to_q_lora.up.weight", 640, 640
            ),
            **pair(f"{Q15}.processor.to_out_lora.down.weight", f"{Q15}.processor.to_out_lora.up.weight", 640, 640),
        },
        {UNET_Q: 1.0, f"unet.{Q15}.to_out.0": 1.0},
    ),
    "diffusers, text encoder with lora_linear_layer": (
        "sd15",
        pair(
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight",
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight",
            768,
            768,
        ),
        {CLIP_Q: 1.0},
    ),
    "PEFT, without a component": ("sd15", peft(f"base_model.model.{Q15}.to_q", 640, 640), {UNET_Q: 1.0}),
    "ComfyUI, FLUX by BFL's names": (
        "flux",
        peft("diffusion_model.double_blocks.3.img_attn.proj", 3072, 3072),
        {"transformer.transformer_blocks.3.attn.to_out.0": 1.0},
    ),
    "LyCORIS": ("sd15", kohya(f"lycoris_{Q15.replace('.', '_')}_to_q", 640, 640), {UNET_Q: 0.5}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_trainer_is_read_as_what_it_means(name: str, tmp_path: Path) -> None:
    kind, tensors, scales = FOREIGN[name]
    save_file(tensors, tmp_path / "foreign.safetensors")
    adapter = read_adapter(tmp_path / "foreign.safetensors", kind, shapes(kind))
    assert {module: weights.alpha / weights.rank for module, weights in adapter.items()} == scales
    assert all(weights.down.unique().tolist() == [0.5] for weights in adapter.values())
    assert all(weights.up.unique().tolist() == [0.25] for weights in adapter.values())


def test_a_convolution_of_kohyas_conv_dim_keeps_its_kernel(tmp_path: Path) -> None:
    name = "lora_unet_input_blocks_1_0_in_layers_2"
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 320, 3, 3), f"{name}.lora_up.weight": torch.ones(320, 2, 1, 1)}
    (module, weights), *_ = from_tensors("f", "sdxl", shapes("sdxl"), tensors).items()
    assert module == "unet.down_blocks.0.resnets.0.conv1"
    assert weights.down.shape == (2, 320, 3, 3)
    assert weights.up.shape == (320, 2, 1, 1)


def test_half_precision_is_read_as_fp32() -> None:
    tensors = {key: tensor.bfloat16() for key, tensor in FOREIGN["ai-toolkit, FLUX"][1].items()}
    (weights,) = from_tensors("f", "flux", shapes("flux"), tensors).values()
    assert weights.down.dtype == weights.up.dtype == torch.float32


def test_a_layer_that_was_trained_as_one_is_taken_apart_without_a_change() -> None:
    modules = [
        f"transformer.single_transformer_blocks.0.{part}"
        for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    ]
    name = "lora_unet_single_blocks_0_linear1"
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 3072, generator=generator), torch.randn(21504, 4, generator=generator)
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(2.0)}
    adapter = from_tensors("f", "flux", shapes("flux"), tensors)
    assert set(adapter) == set(modules)
    parts = [adapter[module] for module in modules]
    rows = torch.cat([part.up @ part.down[:, :8] * (part.alpha / part.rank) for part in parts])
    torch.testing.assert_close(rows, up @ down[:, :8] * 0.5)


def test_parts_of_unequal_rank_and_scale_survive_being_one() -> None:
    sizes = {"a": (6, 4), "b": (3, 4), "c": (5, 4)}
    generator = torch.Generator().manual_seed(1)

    def weights(out: int, rank: int, alpha: float) -> LoraWeights:
        return LoraWeights(
            torch.randn(rank, 4, generator=generator), torch.randn(out, rank, generator=generator), alpha
        )

    parts = {"a": weights(6, 2, 1.0), "c": weights(5, 3, 6.0)}
    again = split(sizes, list(sizes), fuse(sizes, list(sizes), parts))
    assert {name: w.rank for name, w in again.items()} == {"a": 2, "c": 3}
    for name, part in parts.items():
        change = again[name].up @ again[name].down * (again[name].alpha / again[name].rank)
        torch.testing.assert_close(change, part.up @ part.down * (part.alpha / part.rank), rtol=1e-6, atol=1e-6)


def test_alpha_in_diffusers_header_counts(tmp_path: Path) -> None:
    settings = {"unet.r": 2, "unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_k": 1}}
    tensors = {**peft(f"unet.{Q15}.to_q", 640, 640), **peft(f"unet.{Q15}.to_k", 640, 640)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={ADAPTER_METADATA: json.dumps(settings)})
    adapter = read_adapter(tmp_path / "a.safetensors", "sd15", shapes("sd15"))
    assert [weights.alpha for weights in adapter.values()] == [8.0, 1.0]


KOHYA_Q = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
REFUSED = {
    "DoRA": ({f"{KOHYA_Q}.dora_scale": torch.ones(640, 1)}, r"holds lora_unet_.*dora_scale: it is DoRA"),
    "LoHa": ({f"{KOHYA_Q}.hada_w1_a": torch.ones(2, 2)}, r"hada_w1_a: it is LoHa"),
    "LoKr": ({f"{KOHYA_Q}.lokr_w1": torch.ones(2, 2)}, r"lokr_w1: it is LoKr"),
    "Tucker core": ({f"{KOHYA_Q}.lora_mid.weight": torch.ones(2, 2)}, r"lora_mid.weight: it is a LoCon with a Tucker"),
    "unknown end": ({f"{KOHYA_Q}.wonder": torch.ones(2, 2)}, r"wonder, which is no part of a LoRA"),
    "unknown module": (
        kohya("lora_unet_down_blocks_9_attn", 640, 640),
        r"down_blocks_9_attn.lora_down.weight, which the base",
    ),
    "lost half": ({f"{KOHYA_Q}.alpha": torch.tensor(1.0)}, r"holds .*alpha but lacks .*lora_down.weight"),
    "two spellings": (
        {**kohya(KOHYA_Q, 640, 640), **peft(f"unet.{Q15}.to_q", 640, 640)},
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


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "old.pt").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UserError, match=r"old\.pt is a pickle, which may run code; give a \.safetensors file"):
        read_adapter(tmp_path / "old.pt", "sd15", shapes("sd15"))
