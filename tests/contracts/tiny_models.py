"""Random models of the real SDXL and FLUX classes, so small that a training step takes milliseconds."""

import json
import shutil
from pathlib import Path
from typing import Any

from contracts.tiny import SIDE, byte_letters, write_tiny_sd, write_tokenizer

from lorasweep.config.schema import HardwareConfig, ModelConfig

PARTS = {
    "StableDiffusionXLPipeline": {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "force_zeros_for_empty_prompt": False,
    },
    "FluxPipeline": {
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    },
}


def write_tiny(kind: str, folder: Path) -> Path:
    """A tiny model folder of a family."""
    return {"sd15": write_tiny_sd, "sdxl": write_tiny_sdxl, "flux": write_tiny_flux}[kind](folder)


def load_tiny_kind(kind: str, path: Path, *, precision: str = "fp32", **model: Any) -> Any:
    """A tiny model in memory, on the CPU."""
    from lorasweep.models import load_family

    config = ModelConfig(family=kind, path=str(path), resolution=SIDE, **model)
    return load_family(config, HardwareConfig(device="cpu", precision=precision))


def text_config(**changes: Any) -> Any:
    """CLIP's text encoder, 24 wide."""
    from transformers import CLIPTextConfig

    plain = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    return CLIPTextConfig(**{"vocab_size": 514, "max_position_embeddings": 16, **plain, **ids, **changes})


def write_tiny_sdxl(folder: Path) -> Path:
    """A StableDiffusionXLPipeline folder: 32-pixel pictures, 4x8x8 latents, epsilon, three levels as the real one."""
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    write_tokenizer(folder / "tokenizer")
    shutil.copytree(folder / "tokenizer", folder / "tokenizer_2")
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 32),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 1, 2],
        attention_head_dim=[1, 2, 4],
        cross_attention_dim=24 + 32,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    CLIPTextModel(text_config()).save_pretrained(folder / "text_encoder")
    second = text_config(hidden_size=32, intermediate_size=64, projection_dim=16, hidden_act="gelu")
    CLIPTextModelWithProjection(second).save_pretrained(folder / "text_encoder_2")
    AutoencoderKL(
        block_out_channels=(4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=SIDE,
        scaling_factor=0.13025,
        force_upcast=False,
    ).save_pretrained(folder / "vae")
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    ).save_pretrained(folder / "scheduler")
    return _index(folder, "StableDiffusionXLPipeline")


def write_tiny_flux(folder: Path) -> Path:
    """A FluxPipeline folder: 32-pixel pictures, 16x8x8 latents, two double and two single blocks, guidance told."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(0)
    write_tokenizer(folder / "tokenizer")
    write_t5_tokenizer(folder / "tokenizer_2")
    FluxTransformer2DModel(
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=24,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    ).save_pretrained(folder / "transformer")
    CLIPTextModel(text_config()).save_pretrained(folder / "text_encoder")
    T5EncoderModel(
        T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu")
    ).save_pretrained(folder / "text_encoder_2")
    AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True).save_pretrained(folder / "scheduler")
    return _index(folder, "FluxPipeline")


def write_t5_tokenizer(folder: Path) -> None:
    """A T5 tokenizer with one token a letter."""
    from transformers import T5TokenizerFast

    letters = byte_letters()
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), *((letter, -3.0) for letter in letters)]
    T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=24).save_pretrained(folder)


def _index(folder: Path, pipeline: str) -> Path:
    index = {"_class_name": pipeline, "_diffusers_version": "0.42.1", **PARTS[pipeline]}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder
