"""A random Stable Diffusion folder so small that a training step takes milliseconds, and photos to train it on."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorasweep.config.schema import (
    DataConfig,
    HardwareConfig,
    LoraConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SaveConfig,
)
from lorasweep.records import Dataset, Photo

SIDE = 32


def byte_letters() -> list[str]:
    """The 256 characters that stand for bytes in CLIP's vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(rest))]


def write_tokenizer(folder: Path) -> None:
    """A CLIP tokenizer with one token a letter."""
    folder.mkdir(parents=True)
    letters = byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings = {"model_max_length": 16, "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def write_tiny_sd(folder: Path) -> Path:
    """A StableDiffusionPipeline folder with random weights: 32-pixel pictures, 8x8x4 latents, v-prediction."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    write_tokenizer(folder / "tokenizer")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    unet.save_pretrained(folder / "unet")
    text = CLIPTextConfig(
        vocab_size=514,
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=SIDE,
    )
    vae.save_pretrained(folder / "vae")
    scheduler = DDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def load_tiny(folder: Path) -> Any:
    """The tiny model in memory, in fp32 on the CPU."""
    from lorasweep.models import load_family

    return load_family(ModelConfig(path=str(folder), resolution=SIDE), HardwareConfig(device="cpu"))


def write_tiny_photos(folder: Path, count: int = 5) -> Path:
    """Smooth random pictures with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"s1lv10 person, scene {number}, red", encoding="utf-8")
    return folder


def tiny_dataset(folder: Path, *, repeats: int = 2) -> Dataset:
    """The photos that ``write_tiny_photos`` left in a folder."""
    photos = tuple(
        Photo(
            path=path,
            caption=path.with_suffix(".txt").read_text(encoding="utf-8"),
            width=SIDE,
            height=SIDE,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            repeats=repeats,
        )
        for path in sorted(folder.glob("*.png"))
    )
    return Dataset(
        path=folder,
        train=photos,
        held_out=(),
        trigger="s1lv10",
        class_noun="person",
        fingerprint="tiny",
    )


def tiny_run(
    model: Path, *, lora: dict[str, Any] | None = None, count: int = 2, seed: int = 0, **optim: Any
) -> RunConfig:
    """A run of 20 steps of two pictures at rank 4, checkpoints at half time and at the end."""
    return RunConfig(
        preset="tiny",
        seed=seed,
        model=ModelConfig(path=str(model), resolution=SIDE),
        hardware=HardwareConfig(device="cpu"),
        data=DataConfig(path="photos"),
        lora=LoraConfig(**{"rank": 4, "alpha": 2.0, **(lora or {})}),
        optim=OptimConfig(**{"lr": 1e-3, "steps": 20, "batch_size": 2, **optim}),
        save=SaveConfig(count=count),
    )
