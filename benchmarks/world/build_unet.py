"""Stage "unet": the denoiser and its text encoder, trained together from scratch on captioned renders."""

import copy
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.world import corpus, pipeline
from benchmarks.world.build_vae import latent_moments, to_tensor
from benchmarks.world.training import (
    Curve,
    average_gradients,
    join_workers,
    load_state,
    pick_device,
    rate,
    save_state,
    set_rate,
)
from lorasweep.portraits.people import (
    ACCESSORIES,
    BACKGROUNDS,
    EXPRESSIONS,
    GAZES,
    LIGHTS,
    SHIRTS,
    WORDS,
    Scene,
    caption,
    random_trigger,
)


@dataclass(frozen=True)
class UNetPlan:
    """How long and how hard to train."""

    steps: int = 5_500
    batch: int = 16
    pictures: int = 20_000
    peak: float = 1e-3
    seed: int = 3
    unconditional: float = 0.1
    """Share of captions left empty, for guidance."""
    triggers: float = 0.3
    """Share of captions with a meaningless word, so that the base model ignores a trigger it has not learnt."""
    lean: float = 0.65
    """Below 1, timesteps lean towards noise, where the prompt decides; below t = 200 little but latent noise is
    learnt."""
    ema: float = 0.9985


def encode_corpus(cache: Path, vae: AutoencoderKL, pictures: np.ndarray) -> np.ndarray:
    """Return [n, 16, 16, 16] float16: mean and standard deviation of every image's latents, kept in `cache`."""
    path = cache / f"latents-{len(pictures)}.npy"
    if not path.exists():
        whole = np.empty((len(pictures), 16, 16, 16), np.float16)
        with torch.no_grad(), torch.autocast(vae.device.type, torch.bfloat16):
            for start in range(0, len(pictures), 50):
                mean, log_variance = latent_moments(vae, to_tensor(pictures[start : start + 50]).to(vae.device))
                both = torch.cat([mean, (0.5 * log_variance).exp()], 1)
                whole[start : start + 50] = both.float().cpu().numpy()
        np.save(path, whole)
    return np.load(path, mmap_mode="r")


def caption_of(scene: Scene, rng: np.random.Generator, plan: UNetPlan) -> str:
    """Return a random caption for training: empty, with a meaningless trigger, or plain."""
    if rng.random() < plan.unconditional:
        return ""
    return caption(scene, trigger=random_trigger(rng) if rng.random() < plan.triggers else None, rng=rng)


NAMED = {
    "background": BACKGROUNDS,
    "shirt": SHIRTS,
    "expression": EXPRESSIONS,
    "gaze": GAZES,
    "light": LIGHTS,
    "accessory": ACCESSORIES,
}


def named_in(text: str, scene: Scene) -> list[int]:
    """Return for each of `NAMED` the number of the scene's word, or -1 if the caption does not say it."""
    found = []
    for name, words in NAMED.items():
        word = str(getattr(scene, name))
        forms = [f"{word} {name}"] if name in ("background", "shirt") else WORDS.get(word, ("\n",))
        found.append(words.index(word) if any(form in text for form in forms) else -1)
    return found


class Denoiser(torch.nn.Module):
    """Text encoder and UNet as one module to optimise and to average."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder: CLIPTextModel = pipeline.new_text_encoder(tokenizer)
        self.unet: UNet2DConditionModel = pipeline.new_unet()
        self.unet.set_attn_processor(AttnProcessor())  # on a CPU a quarter faster than the fused kernel's backward

        sizes = {name: len(words) for name, words in NAMED.items()}
        self.heads = torch.nn.ModuleDict(
            {name: torch.nn.Linear(pipeline.CONTEXT, size) for name, size in sizes.items()}
        )

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Return v for noisy latents [n, 8, 16, 16] at integer timesteps [n] under encoded captions [n, 77, 128]."""
        return self.unet(noisy, times, encoder_hidden_states=context).sample

    def understanding_loss(self, context: torch.Tensor, ids: torch.Tensor, named: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of what the padding of encoded captions [n, 77, 128] says against their words [n,
        6].

        Attention starts out nearly uniform, and most of 77 tokens are padding, which sees the whole caption. So the
        UNet can use a word as soon as the padding tells it; without this loss only colours were followed after 5,800
        steps.
        """
        padding = (ids == ids[:, -1:]).float().unsqueeze(2)
        summary = (context * padding).sum(1) / padding.sum(1)
        losses = [
            functional.cross_entropy(head(summary), named[:, place], ignore_index=-1, reduction="sum")
            for place, head in enumerate(self.heads.values())
        ]
        return torch.stack(losses).sum() / (named >= 0).sum().clamp(min=1)


def batch_of(
    step: int, plan: UNetPlan, latents: np.ndarray, scenes: list[Scene], tokenizer: CLIPTokenizer
) -> tuple[torch.Tensor, ...]:
    """Return one step's clean latents, noise, timesteps, caption ids and the words they name, a function of (seed,
    step).

    Timesteps are stratified over the batch, which makes the loss of one step far less noisy.
    """
    rng = np.random.default_rng([plan.seed, step])
    picks = rng.integers(len(latents), size=plan.batch)
    mean, deviation = torch.from_numpy(latents[picks].astype(np.float32)).chunk(2, dim=1)
    generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
    clean = mean + deviation * torch.randn(mean.shape, generator=generator)
    noise = torch.randn(mean.shape, generator=generator)
    strata = (torch.arange(plan.batch) + torch.rand(plan.batch, generator=generator)) / plan.batch
    texts = [caption_of(scenes[pick], rng, plan) for pick in picks]
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    named = torch.tensor([named_in(text, scenes[pick]) for text, pick in zip(texts, picks, strict=True)])
    return clean, noise, (strata**plan.lean * 1000).long().clamp(0, 999), ids, named


def denoising_loss(
    model: Denoiser, scheduler: DDIMScheduler, batch: Iterable[torch.Tensor], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean squared error of v. With zero terminal signal the last timestep asks for the image from the
    caption alone."""
    clean, noise, times, ids, named = (part.to(device) for part in batch)
    noisy = scheduler.add_noise(clean, noise, times)  # pyright: ignore[reportArgumentType]
    target = scheduler.get_velocity(clean, noise, times)  # pyright: ignore[reportArgumentType]
    with torch.autocast(device.type, torch.bfloat16):
        context = model.text_encoder(ids).last_hidden_state
        guess = model(noisy, times, context)
    understood = model.understanding_loss(context.float(), ids, named)
    denoised = ((guess.float() - target).square() * focus(device)).mean()
    return denoised + 0.1 * understood, understood.detach()


def focus(device: torch.device) -> torch.Tensor:
    """Return [16, 16] weights of places in the latents, mean 1: eyes and mouth are few but carry expression and gaze.

    A weight that is the same for all images leaves the optimum at each place unchanged.
    """
    across, down = torch.arange(16, device=device) - 7.5, torch.arange(16, device=device) - 8.0
    bump = torch.exp(-(across**2) / 18)[None, :] * torch.exp(-(down**2) / 22)[:, None]
    weight = 1 + 5 * bump
    return weight / weight.mean()


@torch.no_grad()
def follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Move the running average of the weights towards the model."""
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def train_unet(cache: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer, plan: UNetPlan) -> Denoiser:
    """Train, or continue from the state in `cache`; return the averaged weights.

    A loadable pipeline of the weights so far is written to `cache`/pipeline_latest every few minutes.
    """
    device, (rank, workers) = pick_device(), join_workers()
    torch.manual_seed(plan.seed)
    model = Denoiser(tokenizer).to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    curve, start = Curve(every=100), 0
    state = load_state(cache / "unet.pt")
    if state:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        curve.rows, start = state["curve"], state["step"]
    latents = encode_corpus(cache, vae, corpus.pictures(cache)[: plan.pictures])
    scenes, scheduler = corpus.scenes(len(latents)), pipeline.new_scheduler()
    saved = time.monotonic()
    for step in range(start, plan.steps):
        set_rate(optimizer, rate(step, plan.steps, plan.peak, warmup=300))
        batch = [part[rank::workers] for part in batch_of(step, plan, latents, scenes, tokenizer)]
        loss, understood = denoising_loss(model, scheduler, batch, device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(model, workers)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        follow(average, model, min(plan.ema, (step + 1) / (step + 10)))
        if rank > 0:
            continue
        curve.add(step, loss=loss.item(), understood=understood.item(), norm=float(norm))
        if time.monotonic() - saved > 240 or step + 1 == plan.steps:
            parts = {"model": model, "average": average, "optimizer": optimizer}
            state = {name: part.state_dict() for name, part in parts.items()}
            save_state(cache / "unet.pt", state | {"curve": curve.rows, "step": step + 1})
            whole = pipeline.assemble(vae, average.unet, average.text_encoder, tokenizer)
            pipeline.save_pipeline(whole, cache / "pipeline_latest", vocabulary=cache / "tokenizer")
            saved = time.monotonic()
    return average.eval()
