"""A LoRA learns: with every linear layer of a tiny model it overfits one picture, and what is drawn moves to it.

A random base cannot be told to draw by its attention alone unless the layers that stay frozen let enough through: the
denoisers here are wide for what they look at. They predict v (SD 1.5, SDXL) or a flow: a model of epsilon is as
good at the loss, but what is left of it is multiplied by up to 15 in the first steps of drawing.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.tiny import SIDE, tiny_dataset, tiny_run, write_tiny_photos
from contracts.tiny_models import load_tiny_kind, write_tiny
from torch import Tensor

from lorasweep.config.schema import SampleConfig
from lorasweep.data.pictures import load_pixels
from lorasweep.models.autoencoder import decode, encode
from lorasweep.models.lora.file import read_lora
from lorasweep.models.lora.layer import AdapterBank, adapted
from lorasweep.records import Dataset
from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial

UNET = {
    "block_out_channels": (64, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "transformer_layers_per_block": 1,
    "attention_head_dim": 16,
    "norm_num_groups": 8,
}
FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "num_attention_heads": 8,
    "attention_head_dim": 16,
    "axes_dims_rope": (4, 4, 8),
}
STEPS = {"sd15": 280, "sdxl": 220, "flux": 150}
ROWS = 64


def learner(kind: str, folder: Path) -> Any:
    """A tiny model with a wider denoiser; FLUX's latents have 4 channels, so that a token has 16 numbers and not 64."""
    from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel

    write_tiny(kind, folder)
    changes: dict[str, Any] = {"vae": (AutoencoderKL, {"latent_channels": 4})}
    if kind == "flux":
        changes["transformer"] = (FluxTransformer2DModel, FLUX)
    else:
        changes["unet"] = (UNet2DConditionModel, UNET)
    torch.manual_seed(0)
    for part, (made, changed) in changes.items():
        config = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
        made.from_config({**config, **changed}).save_pretrained(folder / part)
    asked = {} if kind == "flux" else {"prediction": "v_prediction", "zero_terminal_snr": True}
    return load_tiny_kind(kind, folder, **asked)


def settle(vae: Any, picture: Tensor) -> None:
    """Make the random encoder as sure of itself as a trained one, and its latents of unit size."""
    last, half = vae.quant_conv or vae.encoder.conv_out, vae.config.latent_channels
    with torch.no_grad():
        mean = vae.encode(picture).latent_dist.mean
        middle = mean.mean((0, 2, 3), keepdim=True)
        size = (mean - middle).std() * vae.config.scaling_factor
        last.weight[:half] /= size
        last.bias[:half] = (last.bias[:half] - middle.flatten()) / size
        last.weight[half:], last.bias[half:] = 0, -10


@dataclasses.dataclass(frozen=True)
class Sitting:
    """One picture, and noise and timesteps that no training step sees."""

    caption: str
    latents: Tensor
    noise: Tensor
    timesteps: Tensor

    @classmethod
    def of(cls, family: Any, dataset: Dataset, optim: Any) -> "Sitting":
        photo = dataset.train[0]
        picture = torch.tensor(load_pixels(photo.path, SIDE, SIDE)).permute(2, 0, 1)[None].float() / 127.5 - 1
        settle(family.vae, picture)
        mean, _ = encode(family.vae, picture)
        noise = torch.randn(ROWS, *mean.shape[1:], generator=torch.Generator().manual_seed(99))
        uniforms = (torch.arange(ROWS, dtype=torch.float64) + 0.5) / ROWS
        return cls(photo.caption, mean, noise, family.objective.timesteps(uniforms, optim, mean.shape[1:]))

    @torch.no_grad()
    def loss(self, family: Any) -> float:
        latents = self.latents.expand(ROWS, -1, -1, -1)
        text = family.encode_prompts([self.caption] * ROWS)
        told = family.training_text(text, [(SIDE, SIDE, 0, 0, SIDE, SIDE)] * ROWS, [1.0] * ROWS)
        answer = family.denoise(family.objective.noised(latents, self.noise, self.timesteps), self.timesteps, told)
        return (answer - family.objective.target(latents, self.noise, self.timesteps)).square().mean().item()

    def distance(self, family: Any) -> float:
        """Root mean square, in levels of 255, from what is drawn to the picture as the autoencoder shows it."""
        noise = torch.randn(4, *self.latents.shape[1:], generator=torch.Generator().manual_seed(3))
        text, negative = (family.encode_prompts([words] * 4) for words in (self.caption, ""))
        drawn = family.draw(text, negative, noise, SampleConfig(steps=20, guidance=1.0), [0, 1, 2, 3])
        goal = decode(family.vae, self.latents)
        return (drawn.float() - goal.float()).square().mean().sqrt().item()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flux"])
def test_a_lora_on_all_linear_layers_overfits_one_picture(kind: str, tmp_path: Path) -> None:
    family = learner(kind, tmp_path / "model")
    dataset = tiny_dataset(write_tiny_photos(tmp_path / "photos", 1), repeats=200)
    rank = 32 if kind == "flux" else 64
    run = tiny_run(
        tmp_path / "model",
        lora={"rank": rank, "alpha": float(rank), "targets": "linear"},
        count=1,
        steps=STEPS[kind],
        lr=6e-3,
        batch_size=8,
        schedule="cosine",
        timesteps="sigmoid",
    )
    run.model.family, run.data.caption_dropout = kind, 0.0
    sitting = Sitting.of(family, dataset, run.optim)
    before = sitting.loss(family), sitting.distance(family)
    cohort = Cohort(family, 1)
    cohort.admit(Trial("anna", run, dataset, tmp_path / "run"))
    (checkpoint,) = cohort.run_interval(lambda step: None)
    learnt = adapted(family, AdapterBank([read_lora(checkpoint.path, family)]))
    after = sitting.loss(learnt), sitting.distance(learnt)
    print(f"{kind}: loss {before[0]:.3f} to {after[0]:.3f}, distance {before[1]:.1f} to {after[1]:.1f}")
    assert after[0] <= 0.1 * before[0]
    assert after[1] <= 0.5 * before[1]
