"""Files of other trainers, their keys written out by hand, read as the adapters that they mean."""

import json
from pathlib import Path

import pytest
import torch
from contracts.full_size import shapes
from contracts.lora_keys import kohya, pair, peft, with_alpha
from safetensors.torch import save_file
from torch import Tensor

from lorasweep.errors import UserError
from lorasweep.models.lora.file import read_adapter
from lorasweep.models.lora.layouts import from_tensors
from lorasweep.models.lora.peft_config import ADAPTER_METADATA

UNET_Q = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
Q15 = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
CLIP_Q = "text_encoder.encoder.layers.0.self_attn.q_proj"
BIGG_Q = "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj"
T5_Q = "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"
FLUX_OUT = "transformer.transformer_blocks.3.attn.to_out.0"
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
        {UNET_Q: 0.5, CLIP_Q: 0.5, BIGG_Q: 0.5},
    ),
    "sd-scripts, FLUX with T5": (
        "flux",
        {
            **kohya("lora_unet_double_blocks_3_img_attn_proj", 3072, 3072),
            **kohya("lora_te3_encoder_block_0_layer_0_SelfAttention_q", 4096, 4096),
        },
        {FLUX_OUT: 0.5, T5_Q: 0.5},
    ),
    "OneTrainer LEGACY, SDXL by diffusers' names": (
        "sdxl",
        {
            **kohya("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", 640, 640),
            **kohya("lora_te2_text_projection", 1280, 1280),
        },
        {UNET_Q: 0.5, "text_encoder_2.text_projection": 0.5},
    ),
    "OneTrainer LEGACY, FLUX": (
        "flux",
        {
            **kohya("lora_transformer_transformer_blocks_3_attn_to_q", 3072, 3072),
            **kohya("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", 768, 768),
            **kohya("lora_te2_encoder_block_0_layer_0_SelfAttention_q", 4096, 4096),
        },
        {FLUX_Q: 0.5, CLIP_Q: 0.5, T5_Q: 0.5},
    ),
    "OneTrainer DIFFUSERS": ("sdxl", peft(f"unet.{Q15}.to_q", 640, 640), {UNET_Q: 1.0}),
    "OneTrainer ORIGINAL, SDXL": (
        "sdxl",
        with_alpha(peft("input_blocks.4.1.transformer_blocks.0.attn1.to_q", 640, 640)),
        {UNET_Q: 0.5},
    ),
    "OneTrainer ORIGINAL, FLUX": (
        "flux",
        with_alpha(peft("double_blocks.3.img_attn.proj", 3072, 3072)),
        {FLUX_OUT: 0.5},
    ),
    "OneTrainer COMFY, SDXL": (
        "sdxl",
        {
            **with_alpha(peft("diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q", 640, 640)),
            **peft("text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj", 768, 768),
            **peft("text_encoders.clip_g.transformer.text_model.encoder.layers.0.self_attn.q_proj", 1280, 1280),
        },
        {UNET_Q: 0.5, CLIP_Q: 1.0, BIGG_Q: 1.0},
    ),
    "OneTrainer INTERNAL": (
        "sdxl",
        {
            **kohya(f"unet.{Q15}.to_q", 640, 640),
            **kohya("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", 768, 768),
        },
        {UNET_Q: 0.5, CLIP_Q: 0.5},
    ),
    "a trainer on transformers without text_model": (
        "sdxl",
        {
            **kohya("lora_te1_encoder_layers_0_self_attn_q_proj", 768, 768),
            **peft("text_encoder_2.encoder.layers.0.self_attn.q_proj", 1280, 1280),
        },
        {CLIP_Q: 0.5, BIGG_Q: 1.0},
    ),
    "ai-toolkit, FLUX": ("flux", peft("transformer.transformer_blocks.3.attn.to_q", 3072, 3072), {FLUX_Q: 1.0}),
    "SimpleTuner, FLUX with alpha": (
        "flux",
        with_alpha(peft("transformer.transformer_blocks.3.attn.to_q", 3072, 3072)),
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
    "diffusers, without a component": (
        "flux",
        peft("single_transformer_blocks.3.proj_out", 15360, 3072),
        {"transformer.single_transformer_blocks.3.proj_out": 1.0},
    ),
    "PEFT, without a component": ("sd15", peft(f"base_model.model.{Q15}.to_q", 640, 640), {UNET_Q: 1.0}),
    "PEFT, behind a component": (
        "sd15",
        pair(
            f"unet.base_model.model.{Q15}.to_q.lora_A.default.weight",
            f"unet.base_model.model.{Q15}.to_q.lora_B.default.weight",
            640,
            640,
        ),
        {UNET_Q: 1.0},
    ),
    "ComfyUI, FLUX by BFL's names": (
        "flux",
        peft("diffusion_model.double_blocks.3.img_attn.proj", 3072, 3072),
        {FLUX_OUT: 1.0},
    ),
    "ComfyUI, SD 1.5 by LDM's names": (
        "sd15",
        peft("diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q", 640, 640),
        {UNET_Q: 1.0},
    ),
    "SimpleTuner COMFYUI, by diffusers' names": (
        "flux",
        with_alpha(peft("diffusion_model.transformer_blocks.3.attn.to_q", 3072, 3072)),
        {FLUX_Q: 0.5},
    ),
    "LyCORIS": ("sd15", kohya(f"lycoris_{Q15.replace('.', '_')}_to_q", 640, 640), {UNET_Q: 0.5}),
    "LyCORIS, FLUX": ("flux", kohya(f"lycoris_{BLOCK3}", 3072, 3072), {FLUX_Q: 0.5}),
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


BOTH = {**peft(f"unet.{Q15}.to_q", 640, 640), **peft(f"unet.{Q15}.to_k", 640, 640)}
SETTINGS = {  # of a header, and the alphas of to_q and to_k that PEFT would apply
    "one alpha": ({"unet.r": 2, "unet.lora_alpha": 8}, [8.0, 8.0]),
    "a pattern": ({"unet.r": 2, "unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_k": 1}}, [8.0, 1.0]),
    "a pattern that is anchored": (
        {"unet.lora_alpha": 8, "unet.alpha_pattern": {"^to_k": 3, f"^{Q15}.to_k": 1}},
        [8.0, 1.0],
    ),
    "of unet.save_lora_adapter": ({"r": 2, "lora_alpha": 6}, [6.0, 6.0]),
    "scaled by the root of the rank": ({"unet.r": 4, "unet.lora_alpha": 8, "unet.use_rslora": True}, [16.0, 16.0]),
    "of another component": ({"text_encoder.lora_alpha": 8}, [2.0, 2.0]),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_alpha_in_diffusers_header_counts(name: str, tmp_path: Path) -> None:
    settings, alphas = SETTINGS[name]
    save_file(BOTH, tmp_path / "a.safetensors", metadata={ADAPTER_METADATA: json.dumps(settings)})
    adapter = read_adapter(tmp_path / "a.safetensors", "sd15", shapes("sd15"))
    assert [weights.alpha for weights in adapter.values()] == alphas


def test_alpha_beside_a_file_of_pefts_own_counts(tmp_path: Path) -> None:
    for name in ("adapter_model", "other"):
        save_file(peft(f"base_model.model.{Q15}.to_q", 640, 640), tmp_path / f"{name}.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8}))
    (own,) = read_adapter(tmp_path / "adapter_model.safetensors", "sd15", shapes("sd15")).values()
    (other,) = read_adapter(tmp_path / "other.safetensors", "sd15", shapes("sd15")).values()
    assert (own.alpha, other.alpha) == (8.0, 2.0)


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    save_file(BOTH, tmp_path / "a.safetensors", metadata={ADAPTER_METADATA: "[1"})
    with pytest.raises(UserError, match=r"a\.safetensors has PEFT settings that cannot be read"):
        read_adapter(tmp_path / "a.safetensors", "sd15", shapes("sd15"))


def test_an_alpha_of_zero_is_the_rank_as_in_sd_scripts() -> None:
    (weights,) = from_tensors("f", "flux", shapes("flux"), kohya(f"lora_unet_{BLOCK3}", 3072, 3072, 0.0)).values()
    assert weights.alpha == 2.0
