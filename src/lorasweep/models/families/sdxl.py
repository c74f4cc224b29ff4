"""Stable Diffusion XL and its fine-tunes (Pony, Illustrious, NoobAI): two CLIP text encoders, size and crop told."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from lorasweep.models.families import autoencoder
from lorasweep.models.families.clip_text import skipped_states, token_ids
from lorasweep.models.families.samplers import draw_latents
from lorasweep.models.families.unet import require_unet_run, unet_targets
from lorasweep.models.family import Place, Text
from lorasweep.models.loading.reading import read_part, read_tokenizer
from lorasweep.models.loading.skeletons import module_shapes
from lorasweep.models.loading.sources import find_source, whole_hash
from lorasweep.models.lora.adapting import autocast, carrying, fresh_adapter, text_targets
from lorasweep.models.lora.header import base_lines
from lorasweep.models.lora.layer import AdapterBank, LoraWeights
from lorasweep.models.objective import Diffusion

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, ModelConfig, OptimConfig, RunConfig, SampleConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SDXL:
    """One SDXL model in memory, with C adapters on it or none (see ``family.Family``)."""

    unet: nn.Module
    text_encoder: nn.Module
    """CLIP ViT-L."""
    text_encoder_2: nn.Module
    """OpenCLIP ViT-bigG with its projection."""
    vae: Any
    tokenizer: Any
    tokenizer_2: Any
    objective: Diffusion
    device: torch.device
    dtype: torch.dtype
    hashes: Mapping[str, str]
    slots: int = 1
    kind: str = "sdxl"

    @classmethod
    def load(cls, config: "ModelConfig", device: torch.device, dtype: torch.dtype, place: Place) -> Self:
        """Read what ``config.path`` names: frozen UNet and text encoders in ``dtype``, VAE in fp32.

        SDXL's own VAE overflows in fp16, which is why it never is.
        """
        source = find_source(config)
        return cls(
            unet=read_part(source, UNet2DConditionModel, "unet", dtype, place),
            text_encoder=read_part(source, CLIPTextModel, "text_encoder", dtype, place),
            text_encoder_2=read_part(source, CLIPTextModelWithProjection, "text_encoder_2", dtype, place),
            vae=read_part(source, AutoencoderKL, "vae", torch.float32, place),
            tokenizer=read_tokenizer(source, "tokenizer"),
            tokenizer_2=read_tokenizer(source, "tokenizer_2"),
            objective=Diffusion.of(source.scheduler(), config, device),
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
        return {"unet": self.unet, "text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}

    def refuse(self, run: "RunConfig") -> None:
        """Raise UserError where a run asks for what this family has not."""
        require_unet_run(run, self.objective)
        self.encode_prompts([""], run.sample.clip_skip)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """[channels, rows, columns] for a picture of so many pixels."""
        return autoencoder.latent_shape(self.vae, width, height)

    def encode_pictures(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] in [-1, 1] to mean and standard deviation of the latents, already scaled."""
        return autoencoder.encode(self.vae, pictures)

    def encode_prompts(self, texts: Sequence[str], clip_skip: int = 0) -> Text:
        """Prompts to ``states`` [N, tokens, both widths] and ``pooled`` [N, width of the second].

        SDXL reads the last layer but one; ``clip_skip`` leaves out so many more, as in diffusers.
        """
        states, pooled = [], None
        pairs = ((self.tokenizer, self.text_encoder), (self.tokenizer_2, self.text_encoder_2))
        with autocast(self.device, self.dtype):
            for tokenizer, encoder in pairs:
                answer = encoder(token_ids(tokenizer, texts).to(self.device), output_hidden_states=True)
                states.append(skipped_states(answer.hidden_states, clip_skip, unread=1).float())
                pooled = answer[0]
        assert pooled is not None
        return {"states": torch.cat(states, dim=-1), "pooled": pooled.float()}

    def training_text(self, text: Text, sizes: Sequence[Sequence[int]], guidance: Sequence[float]) -> Text:
        """Beside the prompt, ``sizes`` [N, 6] tells what the picture was before it was scaled and cropped."""
        return {**text, "sizes": torch.tensor(sizes, dtype=torch.float32, device=self.device)}

    def timesteps(
        self, uniforms: Tensor, optim: "OptimConfig | None" = None, shape: Sequence[int] = (4, 128, 128)
    ) -> Tensor:
        """[N] numbers in [0, 1) to [N] whole timesteps."""
        return self.objective.timesteps(uniforms, optim, shape)

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """See ``Diffusion.noised``."""
        return self.objective.noised(latents, noise, timesteps)

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """See ``Diffusion.target``."""
        return self.objective.target(latents, noise, timesteps)

    def loss_weights(self, timesteps: Tensor, gamma: float | None) -> Tensor:
        """See ``Diffusion.loss_weights``."""
        return self.objective.loss_weights(timesteps, gamma)

    def denoise(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """The UNet's answer in fp32; a text without ``sizes`` asks for a picture that was not scaled or cropped."""
        sizes = text["sizes"] if "sizes" in text else self._uncropped(latents)
        told = {"text_embeds": text["pooled"].to(self.dtype), "time_ids": sizes}
        with autocast(self.device, self.dtype):
            states = text["states"].to(self.dtype)
            answer = self.unet(latents.to(self.dtype), timesteps, states, added_cond_kwargs=told, return_dict=False)
        return answer[0].float()

    def _uncropped(self, latents: Tensor) -> Tensor:
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        height, width = latents.shape[-2] * factor, latents.shape[-1] * factor
        row = torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32, device=latents.device)
        return row.expand(len(latents), 6)

    @torch.no_grad()
    def draw(self, text: Text, negative: Text, noise: Tensor, look: "SampleConfig", seeds: Sequence[int]) -> Tensor:
        """[N, H, W, 3] uint8 pictures on the CPU; see ``samplers.draw_latents``."""
        latents = draw_latents(self, self.objective.config, text, negative, noise.to(self.device), look, seeds)
        return autoencoder.decode(self.vae, latents)

    def targets(self, lora: "LoraConfig") -> dict[str, list[str]]:
        """Component to ends of module names."""
        return {"unet": unet_targets(lora), **text_targets(lora, ["text_encoder", "text_encoder_2"])}

    def initial_adapter(self, lora: "LoraConfig", seed: int) -> dict[str, LoraWeights]:
        """What PEFT starts from at this seed, in the order of ``module_shapes``."""
        return fresh_adapter(self.components, self.targets(lora), lora, seed)

    def adapted(self, bank: AdapterBank, *, gradient_checkpointing: bool = False) -> Self:
        """The same frozen weights with the bank's adapters on them."""
        carriers = carrying(self.components, bank, checkpointed="unet" if gradient_checkpointing else None)
        return dataclasses.replace(self, **carriers, slots=bank.slots)

    def module_shapes(self) -> dict[str, tuple[int, ...]]:
        """Module to the shape of its weight, for every one that may carry an adapter."""
        return module_shapes(self.components)

    def file_metadata(self) -> dict[str, str]:
        """What a LoRA file's header says of this model."""
        return base_lines(self.kind, self.hashes.get("file", self.model_hash), self.objective.prediction)
