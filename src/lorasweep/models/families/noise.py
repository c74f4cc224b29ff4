"""The noise schedule of models that were trained by diffusion: Stable Diffusion 1.x and SDXL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lorasweep.models.families.timesteps import spread

if TYPE_CHECKING:
    from lorasweep.config.schema import ModelConfig, OptimConfig


@dataclass(frozen=True)
class NoiseSchedule:
    """What a noised picture is made of at each of T timesteps, and what the denoiser is asked for."""

    config: Mapping[str, Any]
    """The model's own scheduler configuration, which samplers are made from too."""
    alphas: Tensor
    """[T] cumulated alphas: the share of the picture's variance that is left."""

    @classmethod
    def of(cls, config: Mapping[str, Any], device: torch.device) -> "NoiseSchedule":
        """The schedule that a scheduler's configuration describes."""
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        training: Any = DDPMScheduler.from_config(dict(config))
        return cls(config, training.alphas_cumprod.to(device))

    @property
    def prediction(self) -> str:
        """epsilon or v_prediction."""
        return self.config["prediction_type"]

    def timesteps(self, uniforms: Tensor, optim: "OptimConfig | None", tokens: int) -> Tensor:
        """[N] numbers in [0, 1) to [N] whole timesteps; all are equally likely unless ``optim`` says otherwise."""
        places = spread(uniforms, optim, tokens, "uniform")
        return (places * len(self.alphas)).long().clamp(max=len(self.alphas) - 1).to(self.alphas.device)

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """sqrt(a) * latents + sqrt(1 - a) * noise."""
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, or the velocity sqrt(a) * noise - sqrt(1 - a) * latents."""
        if self.prediction == "epsilon":
            return noise
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents

    def loss_weights(self, timesteps: Tensor, gamma: float | None) -> Tensor:
        """min(snr, gamma) / snr for epsilon, / (snr + 1) for v-prediction; both are finite at zero-terminal SNR."""
        if gamma is None:
            return torch.ones_like(timesteps, dtype=torch.float32)
        alpha = self.alphas[timesteps]
        snr = alpha / (1 - alpha)
        if self.prediction == "epsilon":  # the limit of min(snr, gamma) / snr at snr = 0 is 1
            return (gamma / snr.clamp(min=1e-8)).clamp(max=1)
        return snr.clamp(max=gamma) / (snr + 1)


def scheduler_config(found: Mapping[str, Any], model: "ModelConfig") -> dict[str, Any]:
    """A model's own scheduler configuration with what the run says of prediction and terminal noise."""
    config = {"prediction_type": "epsilon", **found}
    if model.prediction != "auto":
        config["prediction_type"] = model.prediction
    if model.zero_terminal_snr is not None:
        config["rescale_betas_zero_snr"] = model.zero_terminal_snr
    if config.get("rescale_betas_zero_snr"):  # the last step is pure noise and must be drawn from (arXiv 2305.08891)
        config["timestep_spacing"] = "trailing"
        if config.get("_class_name") == "PNDMScheduler":  # SD 1.5's own would draw on the schedule as it was
            config["_class_name"] = "DDIMScheduler"
    return config
