"""The tiny models assembled as an ordinary `StableDiffusionPipeline` folder, which the rest of lorasweep loads."""

import copy
import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from benchmarks.world.tokens import END, START

CONTEXT = 128


def new_unet() -> UNet2DConditionModel:
    """Return a UNet on 8×16×16 latents with cross-attention at every resolution."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128, 128),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=16,
        cross_attention_dim=CONTEXT,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a three-layer CLIP text model over the tokenizer's vocabulary."""
    vocabulary = tokenizer.get_vocab()
    start, end = vocabulary[START], vocabulary[END]
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=CONTEXT,
            intermediate_size=4 * CONTEXT,
            projection_dim=CONTEXT,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def new_scheduler() -> DDIMScheduler:
    """Return a scheduler with zero terminal signal-to-noise ratio, v-prediction and trailing timesteps: colours follow
    the prompt, not the noise."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def assemble(
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> StableDiffusionPipeline:
    """Return a pipeline without a safety checker."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=new_scheduler(),  # pyright: ignore[reportArgumentType]
        safety_checker=None,  # pyright: ignore[reportArgumentType]
        feature_extractor=None,  # pyright: ignore[reportArgumentType]
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_pipeline(pipeline: StableDiffusionPipeline, folder: Path, *, vocabulary: Path) -> None:
    """Write the folder with fp16 safetensors weights; `vocabulary` is the folder with vocab.json and merges.txt."""
    half = {
        name: copy.deepcopy(getattr(pipeline, name)).to("cpu", torch.float16)
        for name in ("vae", "unet", "text_encoder")
    }
    assemble(half["vae"], half["unet"], half["text_encoder"], pipeline.tokenizer).save_pretrained(
        folder, safe_serialization=True
    )
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).write_bytes((vocabulary / name).read_bytes())
    for path in folder.glob("*/config.json"):  # where a part was read from is nobody's business
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@torch.no_grad()
def draw(
    pipeline: StableDiffusionPipeline,
    prompts: list[str],
    *,
    seed: int = 0,
    steps: int = 16,
    guidance: float = 4.0,
    batch: int = 32,
) -> list:
    """Return one PIL image for each prompt; image i starts from noise of its own, seeded (seed, i)."""
    drawn = []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        seeds = [seed * 100_003 + start + place for place in range(len(part))]
        generators = [torch.Generator().manual_seed(value) for value in seeds]
        drawn += pipeline(
            part,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
            height=64,
            width=64,
        ).images  # pyright: ignore[reportAttributeAccessIssue]
    return drawn
