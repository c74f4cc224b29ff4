"""FLUX.1 (dev and schnell): flow matching with a transformer that reads T5's states and CLIP's pooled vector."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lorasweep.errors import UserError
from lorasweep.models.autoencoder import decode
from lorasweep.models.families.clip_text import token_ids
from lorasweep.models.family import Text
from lorasweep.models.lora.initial import text_targets
from lorasweep.models.lora.layer import autocast
from lorasweep.models.objective import Flow, log_shift, tokens_of

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, RunConfig, SampleConfig

ATTENTION = [
    *("to_q", "to_k", "to_v", "to_out.0"),
    *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
]
LINEAR = [
    *(*ATTENTION, "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp", "proj_out"),
    *("norm1.linear", "norm1_context.linear", "norm.linear"),
]
"""Every linear layer of the blocks: Kohya's own set."""
T5_TOKENS = {True: 512, False: 256}
"""By whether guidance is told: dev's and schnell's, as in sd-scripts and BFL's own code."""
LATENT_TOKENS = 2
"""Rows and columns of latents that make one token of the transformer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flux:
    """One FLUX.1 model in memory (see ``family.Family``)."""

    trained_by: ClassVar[type[Flow]] = Flow
    transformer: Any
    text_encoder: nn.Module
    """CLIP ViT-L, of which only the pooled vector is read."""
    text_encoder_2: nn.Module
    """T5."""
    vae: Any
    tokenizer: Any
    tokenizer_2: Any
    objective: Flow
    device: torch.device
    dtype: torch.dtype
    hashes: Mapping[str, str]
    slots: int = 1
    kind: str = "flux"

    @property
    def components(self) -> dict[str, nn.Module]:
        """What may carry adapters, the denoiser first."""
        encoders = {"text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}
        return {"transformer": self.transformer, **encoders}

    def refuse(self, run: "RunConfig") -> None:
        """Raise UserError if a run asks for what this model cannot do."""
        if run.lora.targets == "convolution":
            raise UserError("lora.targets is 'convolution', but FLUX has no convolutions; use attention or linear.")
        if run.optim.min_snr_gamma is not None:
            raise UserError(
                f"optim.min_snr_gamma is {run.optim.min_snr_gamma:g}, but flow matching has no such weights; for FLUX "
                "it must be null."
            )
        if run.sample.sampler not in ("auto", "euler"):
            raise UserError(f"sample.sampler is {run.sample.sampler!r}; FLUX is drawn with auto or euler.")
        if run.sample.clip_skip:
            raise UserError(
                f"sample.clip_skip is {run.sample.clip_skip}; for FLUX, which reads CLIP's last layer, it must be 0."
            )
        if run.model.prediction != "auto" or run.model.zero_terminal_snr is not None:
            raise UserError("FLUX predicts a flow: model.prediction must be auto and model.zero_terminal_snr null.")
        sides = {"model.resolution": run.model.resolution, "sample.width": run.sample.width}
        for key, side in {**sides, "sample.height": run.sample.height}.items():
            if side and side % (8 * LATENT_TOKENS):
                raise UserError(f"{key} is {side}; for FLUX it must be a number of pixels that 16 divides.")

    def encode_prompts(self, texts: Sequence[str], clip_skip: int = 0) -> Text:
        """Return ``states`` [N, tokens, T5's width] and ``pooled`` [N, CLIP's width]."""
        clip_ids = token_ids(self.tokenizer, texts).to(self.device)
        t5_ids = token_ids(self.tokenizer_2, texts, T5_TOKENS[self.transformer.config.guidance_embeds]).to(self.device)
        with autocast(self.device, self.dtype):
            pooled = self.text_encoder(clip_ids).pooler_output
        # beside an fp16 transformer T5 computes in fp32 (see ``reading.in_range``)
        with autocast(self.device, torch.float32 if self.dtype == torch.float16 else self.dtype):
            states = self.text_encoder_2(t5_ids)[0]
        return {"states": states.float(), "pooled": pooled.float()}

    def training_text(self, text: Text, sizes: Sequence[Sequence[int]], guidance: Sequence[float]) -> Text:
        """Return the text with the distilled ``guidance`` [N]."""
        return {**text, "guidance": torch.tensor(guidance, dtype=torch.float32, device=self.device)}

    def denoise(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """Return the transformer's answer in fp32; a text without ``guidance`` is told 1."""
        rows, columns = latents.shape[-2:]
        distilled = self.transformer.config.guidance_embeds  # dev is, schnell is not
        guidance = text.get("guidance", torch.ones(len(latents), device=latents.device)) if distilled else None
        with autocast(self.device, self.dtype):
            answer = self.transformer(
                hidden_states=packed(latents).to(self.dtype),
                encoder_hidden_states=text["states"].to(self.dtype),
                pooled_projections=text["pooled"].to(self.dtype),
                timestep=timesteps,
                guidance=guidance,
                img_ids=image_ids(rows // LATENT_TOKENS, columns // LATENT_TOKENS, latents.device),
                txt_ids=torch.zeros(text["states"].shape[1], 3, device=latents.device),
                return_dict=False,
            )[0]
        return unpacked(answer.float(), rows, columns)

    @torch.no_grad()
    def draw(self, text: Text, negative: Text, noise: Tensor, look: "SampleConfig", seeds: Sequence[int]) -> Tensor:
        """Return [N, H, W, 3] uint8 images on the CPU; ``negative`` is not read."""
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(dict(self.objective.config))
        sigmas = torch.linspace(1, 1 / look.steps, look.steps).tolist()
        moved = {"mu": log_shift(tokens_of(noise.shape))} if scheduler.config.use_dynamic_shifting else {}
        scheduler.set_timesteps(sigmas=sigmas, device=self.device, **moved)
        latents = noise.to(self.device)
        # guidance is distilled into the model: it is told, not made of two answers
        told = {**text, "guidance": torch.full((len(latents),), float(look.guidance), device=self.device)}
        for timestep in scheduler.timesteps:
            answer = self.denoise(latents, (timestep / 1000).expand(len(latents)), told)
            latents = scheduler.step(answer, timestep, latents, return_dict=False)[0]
        return decode(self.vae, latents)

    @staticmethod
    def targets(lora: "LoraConfig") -> dict[str, list[str]]:
        """Return component to the ends of module names that get an adapter; T5 is never trained."""
        ends = ATTENTION if lora.targets == "attention" else LINEAR
        return {"transformer": ends, **text_targets(lora, ["text_encoder"])}


def packed(latents: Tensor) -> Tensor:
    """Return [N, h/2 * w/2, 4c] tokens, one for every 2 x 2 latents of [N, c, h, w]."""
    count, channels, rows, columns = latents.shape
    squares = latents.view(count, channels, rows // 2, 2, columns // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(count, (rows // 2) * (columns // 2), channels * 4)


def unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Return [N, c, rows, columns] latents: the inverse of ``packed``."""
    count, _, width = tokens.shape
    squares = tokens.view(count, rows // 2, columns // 2, width // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(count, width // 4, rows, columns)


def image_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return [rows * columns, 3] with the row and the column of each token; FLUX.1 does not use the first number."""
    ids = torch.zeros(rows, columns, 3, device=device)
    ids[..., 1] = torch.arange(rows, device=device)[:, None]
    ids[..., 2] = torch.arange(columns, device=device)
    return ids.view(-1, 3)
