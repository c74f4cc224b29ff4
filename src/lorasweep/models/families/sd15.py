"""Stable Diffusion 1.x and everything of its type: one CLIP text encoder and a UNet."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lorasweep.models.autoencoder import decode
from lorasweep.models.families.clip_text import final_norm, skipped_states, token_ids
from lorasweep.models.families.unet import UNET_TARGETS, draw_latents, require_unet_run
from lorasweep.models.family import Text
from lorasweep.models.lora.initial import text_targets
from lorasweep.models.lora.layer import autocast
from lorasweep.models.objective import Diffusion

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, RunConfig, SampleConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SD15:
    """One Stable Diffusion 1.x model in memory (see ``family.Family``)."""

    trained_by: ClassVar[type[Diffusion]] = Diffusion
    unet: nn.Module
    text_encoder: nn.Module
    vae: Any
    tokenizer: Any
    objective: Diffusion
    device: torch.device
    dtype: torch.dtype
    hashes: Mapping[str, str]
    slots: int = 1
    kind: str = "sd15"

    @property
    def components(self) -> dict[str, nn.Module]:
        """What may carry adapters, the denoiser first."""
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    def refuse(self, run: "RunConfig") -> None:
        """Raise UserError if a run asks for what this model cannot do."""
        require_unet_run(run, self.objective)
        self.encode_prompts([""], run.sample.clip_skip)  # says so if there are fewer layers than are to be skipped

    def encode_prompts(self, texts: Sequence[str], clip_skip: int = 0) -> Text:
        """Return ``states`` [N, tokens, width].

        Args:
            clip_skip: layers that are left out at the end, as in diffusers.
        """
        ids = token_ids(self.tokenizer, texts).to(self.device)
        with autocast(self.device, self.dtype):
            if clip_skip == 0:
                return {"states": self.text_encoder(ids)[0].float()}
            layers = self.text_encoder(ids, output_hidden_states=True).hidden_states
            skipped = skipped_states(layers, clip_skip)
            return {"states": final_norm(self.text_encoder)(skipped).float()}

    def training_text(self, text: Text, sizes: Sequence[Sequence[int]], guidance: Sequence[float]) -> Text:
        """Return the text as it is: this model is told nothing but the prompt."""
        return text

    def denoise(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """Return the UNet's answer in fp32."""
        with autocast(self.device, self.dtype):
            states = text["states"].to(self.dtype)
            return self.unet(latents.to(self.dtype), timesteps, states, return_dict=False)[0].float()

    @torch.no_grad()
    def draw(self, text: Text, negative: Text, noise: Tensor, look: "SampleConfig", seeds: Sequence[int]) -> Tensor:
        """Return [N, H, W, 3] uint8 images on the CPU; see ``unet.draw_latents``."""
        latents = draw_latents(self, self.objective.config, text, negative, noise.to(self.device), look, seeds)
        return decode(self.vae, latents)

    @staticmethod
    def targets(lora: "LoraConfig") -> dict[str, list[str]]:
        """Return component to the ends of module names that get an adapter."""
        return {"unet": UNET_TARGETS[lora.targets], **text_targets(lora, ["text_encoder"])}
