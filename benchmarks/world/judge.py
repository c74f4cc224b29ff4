"""How good the drawn world's pipeline is: does it draw what the prompt says, and does the VAE keep what it is given?"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from benchmarks.world import corpus
from benchmarks.world.build_vae import to_tensor
from benchmarks.world.pipeline import draw
from benchmarks.world.readers import Readers
from lorasweep.portraits.people import Scene, caption, sample_scene

JUDGED = ("background", "shirt", "expression", "gaze", "accessory", "light", "framing")


def full_prompts(count: int, *, seed: int = 77) -> tuple[list[Scene], list[str]]:
    """Return `count` photo scenes and the captions that name everything in them."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, sketches=0.0) for _ in range(count)]
    return scenes, [caption(scene) for scene in scenes]


def obedience(readers: Readers, pictures: np.ndarray, scenes: list[Scene]) -> dict[str, float]:
    """Return the share in [0, 1] of uint8 [n, 64, 64, 3] images in which the readers find what was asked for.

    A missing accessory and ordinary light are not named in a caption, so they are not counted.
    """
    read = [reading.scene for reading in readers.read(pictures)]
    shares = {}
    for name in JUDGED:
        unnamed = {"accessory": "none", "light": "normal"}.get(name)
        pairs = [(asdict(asked)[name], asdict(seen)[name]) for asked, seen in zip(scenes, read, strict=True)]
        hits = [asked == seen for asked, seen in pairs if asked != unnamed]
        shares[name] = round(float(np.mean(hits)), 4)
    return shares


def judge_pipeline(
    pipeline: StableDiffusionPipeline, readers: Readers, *, count: int = 256, steps: int = 16, guidance: float = 4.0
) -> dict[str, float]:
    """Return `obedience` over `count` drawn images."""
    scenes, prompts = full_prompts(count)
    drawn = draw(pipeline, prompts, steps=steps, guidance=guidance)
    return obedience(readers, np.stack([np.asarray(picture) for picture in drawn]), scenes)


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: np.ndarray) -> np.ndarray:
    """Return [n, 64, 64, 3] uint8 images after the VAE."""
    parts = []
    for part in to_tensor(pictures).split(32):
        latents = vae.encode(part).latent_dist.mean  # pyright: ignore[reportAttributeAccessIssue]
        parts.append(vae.decode(latents).sample)  # pyright: ignore[reportAttributeAccessIssue]
    return ((torch.cat(parts) + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def fresh_pictures(cache: Path, count: int = 256) -> tuple[np.ndarray, list[Scene]]:
    """Return renders of people outside the training corpus, with their scenes."""
    pictures = corpus.pictures(cache, corpus.CHUNK, seed=9)[:count]
    return pictures, corpus.scenes(count, seed=9)
