"""Stable Diffusion XL and its fine-tunes (Pony, Illustrious, NoobAI): two CLIP text encoders, size and crop told."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lorasweep.models.autoencoder import decode
from lorasweep.models.families.clip_text import skipped_states, token_ids
from lorasweep.models.families.unet import UNET_TARGETS, draw_latents, require_unet_run
from lorasweep.models.family import Text
from lorasweep.models.lora.initial import text_targets
from lorasweep.models.lora.layer import autocast
from lorasweep.models.objective import Diffusion

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, RunConfig, SampleConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SDXL:
    """One SDXL model in memory (see ``family.Family``)."""

    trained_by: ClassVar[type[Diffusion]] = Diffusion
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

    @property
    def components(self) -> dict[str, nn.Module]:
        """What may carry adapters, the denoiser first."""
        return {"unet": self.unet, "text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}

    def refuse(self, run: "RunConfig") -> None:
        """Raise UserError if a run asks for what this model cannot do."""
        require_unet_run(run, self.objective)
        self.encode_prompts([""], run.sample.clip_skip)  # says so if there are fewer layers than are to be skipped

    def encode_prompts(self, texts: Sequence[str], clip_skip: int = 0) -> Text:
        """Return ``states`` [N, tokens, both widths] and ``pooled`` [N, width of the second].

        Args:
            clip_skip: layers that are left out besides the last, as in diffusers.
        """
        states, pooled = [], None
        pairs = ((self.tokenizer, self.text_encoder), (self.tokenizer_2, self.text_encoder_2))
        with autocast(self.device, self.dtype):
            for tokenizer, encoder in pairs:
                answer = encoder(token_ids(tokenizer, texts).to(self.device), output_hidden_states=True)
                # SDXL reads the last layer but one of both encoders, without the last normalisation
                states.append(skipped_states(answer.hidden_states, clip_skip, unread=1).float())
                pooled = answer[0]
        assert pooled is not None
        return {"states": torch.cat(states, dim=-1), "pooled": pooled.float()}

    def training_text(self, text: Text, sizes: Sequence[Sequence[int]], guidance: Sequence[float]) -> Text:
        """Return the text with ``sizes`` [N, 6]: what the image was before it was scaled and cropped."""
        return {**text, "sizes": torch.tensor(sizes, dtype=torch.float32, device=self.device)}

    def denoise(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """Return the UNet's answer in fp32; a text without ``sizes`` asks for an image that is whole and unscaled."""
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
        """Return [N, H, W, 3] uint8 images on the CPU; see ``unet.draw_latents``."""
        latents = draw_latents(self, self.objective.config, text, negative, noise.to(self.device), look, seeds)
        return decode(self.vae, latents)

    @staticmethod
    def targets(lora: "LoraConfig") -> dict[str, list[str]]:
        """Return component to the ends of module names that get an adapter."""
        return {"unet": UNET_TARGETS[lora.targets], **text_targets(lora, ["text_encoder", "text_encoder_2"])}
