"""FLUX.1 (dev and schnell): flow matching with a transformer that reads T5's states and CLIP's pooled vector."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from transformers import CLIPTextModel, T5EncoderModel

from lorasweep.errors import UserError
from lorasweep.models.families import autoencoder
from lorasweep.models.families.clip_text import token_ids
from lorasweep.models.family import Place, Text
from lorasweep.models.loading.reading import read_part, read_tokenizer
from lorasweep.models.loading.skeletons import module_shapes
from lorasweep.models.loading.sources import find_source, whole_hash
from lorasweep.models.lora.adapting import autocast, carrying, fresh_adapter, text_targets
from lorasweep.models.lora.header import base_lines
from lorasweep.models.lora.layer import AdapterBank, LoraWeights
from lorasweep.models.objective import Flow, log_shift, tokens_of

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, ModelConfig, OptimConfig, RunConfig, SampleConfig

ATTENTION = [
    *("to_q", "to_k", "to_v", "to_out.0"),
    *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
]
LINEAR = [
    *(*ATTENTION, "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp", "proj_out"),
    *("norm1.linear", "norm1_context.linear", "norm.linear"),
]
"""Every linear layer of the blocks: Kohya's own set. The transformer's last layer is called proj_out too."""
T5_TOKENS = 512
LATENT_TOKENS = 2
"""Rows and columns of latents that make one token of the transformer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flux:
    """One FLUX.1 model in memory, with C adapters on it or none (see ``family.Family``)."""

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

    @classmethod
    def load(cls, config: "ModelConfig", device: torch.device, dtype: torch.dtype, place: Place) -> Self:
        """Read what ``config.path`` names: frozen transformer and text encoders in ``dtype``, VAE in fp32."""
        source = find_source(config)
        return cls(
            transformer=read_part(source, FluxTransformer2DModel, "transformer", dtype, place),
            text_encoder=read_part(source, CLIPTextModel, "text_encoder", dtype, place),
            text_encoder_2=read_part(source, T5EncoderModel, "text_encoder_2", dtype, place),
            vae=read_part(source, AutoencoderKL, "vae", torch.float32, place),
            tokenizer=read_tokenizer(source, "tokenizer"),
            tokenizer_2=read_tokenizer(source, "tokenizer_2"),
            objective=Flow.of(source.scheduler(), config, device),
            device=device,
            dtype=dtype,
            hashes=source.hashes(),
        )

    @property
    def model_hash(self) -> str:
        """sha256 over the weights of all parts."""
        return whole_hash(self.hashes)

    @property
    def components(self) -> dict[str, nn.Module]:
        """What may carry adapters, by the name that begins an adapter's module names."""
        encoders = {"text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}
        return {"transformer": self.transformer, **encoders}

    def refuse(self, run: "RunConfig") -> None:
        """Raise UserError where a run asks for what this family has not."""
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

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """[channels, rows, columns] for a picture of so many pixels."""
        return autoencoder.latent_shape(self.vae, width, height)

    def encode_pictures(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] in [-1, 1] to mean and standard deviation of the latents, shifted and scaled."""
        return autoencoder.encode(self.vae, pictures)

    def encode_prompts(self, texts: Sequence[str], clip_skip: int = 0) -> Text:
        """Prompts to ``states`` [N, tokens, T5's width] and ``pooled`` [N, CLIP's width]."""
        clip_ids = token_ids(self.tokenizer, texts).to(self.device)
        t5_ids = token_ids(self.tokenizer_2, texts, T5_TOKENS).to(self.device)
        with autocast(self.device, self.dtype):
            pooled = self.text_encoder(clip_ids).pooler_output
            return {"states": self.text_encoder_2(t5_ids)[0].float(), "pooled": pooled.float()}

    def training_text(self, text: Text, sizes: Sequence[Sequence[int]], guidance: Sequence[float]) -> Text:
        """Beside the prompt, the distilled ``guidance`` [N]."""
        return {**text, "guidance": torch.tensor(guidance, dtype=torch.float32, device=self.device)}

    def timesteps(
        self, uniforms: Tensor, optim: "OptimConfig | None" = None, shape: Sequence[int] = (16, 128, 128)
    ) -> Tensor:
        """[N] numbers in [0, 1) to [N] shares of noise in (0, 1)."""
        return self.objective.timesteps(uniforms, optim, shape)

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The straight way from latents (t = 0) to noise (t = 1)."""
        return self.objective.noised(latents, noise, timesteps)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The direction of that way, noise - latents."""
        return self.objective.target(latents, noise, timesteps)

    def loss_weights(self, timesteps: Tensor, gamma: float | None) -> Tensor:
        """Ones: how often a timestep is seen weighs it already."""
        return self.objective.loss_weights(timesteps, gamma)

    def denoise(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """The transformer's answer in fp32."""
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
                img_ids=picture_ids(rows // LATENT_TOKENS, columns // LATENT_TOKENS, latents.device),
                txt_ids=torch.zeros(text["states"].shape[1], 3, device=latents.device),
                return_dict=False,
            )[0]
        return unpacked(answer.float(), rows, columns)

    @torch.no_grad()
    def draw(self, text: Text, negative: Text, noise: Tensor, look: "SampleConfig", seeds: Sequence[int]) -> Tensor:
        """[N, H, W, 3] uint8 pictures on the CPU. Guidance is told, not made of two answers; ``negative`` is unread."""
        scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(dict(self.objective.config))
        sigmas = torch.linspace(1, 1 / look.steps, look.steps).tolist()
        moved = {"mu": log_shift(tokens_of(noise.shape))} if scheduler.config.use_dynamic_shifting else {}
        scheduler.set_timesteps(sigmas=sigmas, device=self.device, **moved)
        latents = noise.to(self.device)
        told = {**text, "guidance": torch.full((len(latents),), float(look.guidance), device=self.device)}
        for timestep in scheduler.timesteps:
            answer = self.denoise(latents, (timestep / 1000).expand(len(latents)), told)
            latents = scheduler.step(answer, timestep, latents, return_dict=False)[0]
        return autoencoder.decode(self.vae, latents)

    def targets(self, lora: "LoraConfig") -> dict[str, list[str]]:
        """Component to ends of module names; T5 is never trained."""
        ends = ATTENTION if lora.targets == "attention" else LINEAR
        return {"transformer": ends, **text_targets(lora, ["text_encoder"])}

    def initial_adapter(self, lora: "LoraConfig", seed: int) -> dict[str, LoraWeights]:
        """What PEFT starts from at this seed, in the order of ``module_shapes``."""
        adapter = fresh_adapter(self.components, self.targets(lora), lora, seed)
        adapter.pop("transformer.proj_out", None)  # the last layer, which trainers leave alone
        return adapter

    def adapted(self, bank: AdapterBank, *, gradient_checkpointing: bool = False) -> Self:
        """The same frozen weights with the bank's adapters on them."""
        carriers = carrying(self.components, bank, checkpointed="transformer" if gradient_checkpointing else None)
        return dataclasses.replace(self, **carriers, slots=bank.slots)

    def module_shapes(self) -> dict[str, tuple[int, ...]]:
        """Module to the shape of its weight, for every one that may carry an adapter."""
        return module_shapes(self.components)

    def file_metadata(self) -> dict[str, str]:
        """What a LoRA file's header says of this model."""
        return base_lines(self.kind, self.hashes.get("file", self.model_hash))


def packed(latents: Tensor) -> Tensor:
    """[N, c, h, w] to [N, h/2 * w/2, 4c]: every 2 x 2 latents are one token."""
    count, channels, rows, columns = latents.shape
    squares = latents.view(count, channels, rows // 2, 2, columns // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return squares.reshape(count, (rows // 2) * (columns // 2), channels * 4)


def unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of ``packed``."""
    count, _, width = tokens.shape
    squares = tokens.view(count, rows // 2, columns // 2, width // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(count, width // 4, rows, columns)


def picture_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    """[rows * columns, 3] where each token stands; the first column is for what FLUX.1 does not use."""
    ids = torch.zeros(rows, columns, 3, device=device)
    ids[..., 1] = torch.arange(rows, device=device)[:, None]
    ids[..., 2] = torch.arange(columns, device=device)
    return ids.view(-1, 3)
