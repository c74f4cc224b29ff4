"""How a base model was trained: which noise levels, what the denoiser is shown, and what it should answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lorasweep.config.schema import ModelConfig, OptimConfig

SMALL, LARGE = (256, 0.5), (4096, 1.15)
"""Tokens of an image and the log of its shift: the ends of FLUX.1's line, which goes on beyond them."""
ANY_SHAPE = (16, 128, 128)
"""[c, h, w] of one image's latents; only ``resolution_shift`` asks for the size."""


@dataclass(frozen=True)
class Diffusion:
    """Diffusion in T steps, as Stable Diffusion 1.x and SDXL were trained."""

    config: Mapping[str, Any]
    """The configuration of the model's own scheduler, which samplers are made from too."""
    alphas: Tensor
    """[T] cumulative alphas: the share of the image's variance that is left, falling with the timestep."""

    @classmethod
    def of(cls, scheduler: Mapping[str, Any], model: "ModelConfig", device: torch.device) -> "Diffusion":
        """Return the noise schedule that a scheduler's configuration describes, with what the run says of it."""
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        config = scheduler_config(scheduler, model)
        training: Any = DDPMScheduler.from_config(dict(config))
        return cls(config, training.alphas_cumprod.to(device))

    @property
    def prediction(self) -> str:
        """epsilon or v_prediction."""
        return self.config["prediction_type"]

    def timesteps(
        self, uniforms: Tensor, optim: "OptimConfig | None" = None, shape: Sequence[int] = ANY_SHAPE
    ) -> Tensor:
        """Return [N] whole timesteps in [0, T) for [N] numbers in [0, 1).

        Args:
            uniforms: in [0, 1), float64.
            optim: which distribution; None and ``auto`` make all timesteps equally likely.
            shape: [c, h, w] of one image's latents.
        """
        places = spread(uniforms, optim, shape, "uniform")
        return (places * len(self.alphas)).long().clamp(max=len(self.alphas) - 1).to(self.alphas.device)

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the denoiser is shown, sqrt(a) * latents + sqrt(1 - a) * noise."""
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the noise, or the velocity sqrt(a) * noise - sqrt(1 - a) * latents."""
        if self.prediction == "epsilon":
            return noise
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents

    def loss_weights(self, timesteps: Tensor, gamma: float | None) -> Tensor:
        """Return [N] min-SNR weights; ones if ``gamma`` is None.

        min(snr, gamma) / snr for epsilon, / (snr + 1) for v-prediction (Hang et al. 2023, arXiv 2303.09556).
        """
        if gamma is None:
            return torch.ones_like(timesteps, dtype=torch.float32)
        alpha = self.alphas[timesteps]
        snr = alpha / (1 - alpha)
        if self.prediction == "epsilon":
            # with zero-terminal SNR the last timestep has snr = 0, where min(snr, gamma) / snr tends to 1
            return (gamma / snr.clamp(min=1e-8)).clamp(max=1)
        return snr.clamp(max=gamma) / (snr + 1)


@dataclass(frozen=True)
class Flow:
    """Flow matching on the straight line from latents (t = 0) to noise (t = 1), as FLUX.1 was trained."""

    config: Mapping[str, Any]
    """The configuration of the model's own scheduler."""
    device: torch.device
    prediction: str = "flow"

    @classmethod
    def of(cls, scheduler: Mapping[str, Any], model: "ModelConfig", device: torch.device) -> "Flow":
        """Return the flow that a scheduler's configuration describes; ``model`` has no say in it."""
        return cls(scheduler, device)

    def timesteps(
        self, uniforms: Tensor, optim: "OptimConfig | None" = None, shape: Sequence[int] = ANY_SHAPE
    ) -> Tensor:
        """Return [N] shares of noise in (0, 1) for [N] numbers in [0, 1); see ``Diffusion.timesteps``.

        None and ``auto`` take the sigmoid of a normal number, which prefers the middle.
        """
        return spread(uniforms, optim, shape, "sigmoid").float().to(self.device)

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return what the denoiser is shown, (1 - t) * latents + t * noise."""
        share = timesteps.view(-1, 1, 1, 1)
        return (1 - share) * latents + share * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the direction of the line, noise - latents."""
        return noise - latents

    def loss_weights(self, timesteps: Tensor, gamma: float | None) -> Tensor:
        """Return [N] ones: how often a timestep is drawn weighs it already."""
        return torch.ones_like(timesteps)


Objective = Diffusion | Flow


def scheduler_config(found: Mapping[str, Any], model: "ModelConfig") -> dict[str, Any]:
    """Return a model's own scheduler configuration with what the run says of prediction and terminal noise."""
    config = {"prediction_type": "epsilon", **found}
    if model.prediction != "auto":
        config["prediction_type"] = model.prediction
    if model.zero_terminal_snr is not None:
        config["rescale_betas_zero_snr"] = model.zero_terminal_snr
    if config.get("rescale_betas_zero_snr"):
        # the last timestep is pure noise; a sampler must start there (Lin et al. 2023, arXiv 2305.08891)
        config["timestep_spacing"] = "trailing"
        # SD 1.5's own sampler ignores the rescaling and would draw on the schedule as it was
        if config.get("_class_name") == "PNDMScheduler":
            config["_class_name"] = "DDIMScheduler"
    return config


def spread(uniforms: Tensor, optim: "OptimConfig | None", shape: Sequence[int], auto: str) -> Tensor:
    """Return [N] noise levels in [0, 1) for [N] numbers in [0, 1); 1 is pure noise.

    Args:
        optim: its ``timesteps``, ``sigmoid_scale`` and ``timestep_shift``; None means ``auto``.
        shape: [c, h, w] of one image's latents, for the shift that grows with the image.
        auto: what ``timesteps=auto`` means for this objective.

    Source: sd-scripts' ``timestep_sampling`` sigmoid, shift and flux_shift; Esser et al. 2024, arXiv 2403.03206.
    """
    kind = auto if optim is None or optim.timesteps == "auto" else optim.timesteps
    if kind == "uniform":
        return uniforms
    # the quantile function turns uniform numbers into normal ones: one random number a row, whatever the kind
    normal = torch.special.ndtri(uniforms.clamp(1e-6, 1 - 1e-6))
    levels = torch.sigmoid(normal * (optim.sigmoid_scale if optim else 1.0))
    if kind == "shift":
        return shifted(levels, optim.timestep_shift if optim else 1.0)
    return shifted(levels, math.exp(log_shift(tokens_of(shape)))) if kind == "resolution_shift" else levels


def shifted(levels: Tensor, shift: float) -> Tensor:
    """Return noise levels moved towards more noise if ``shift`` is above 1; 0 and 1 stay where they are."""
    return shift * levels / (1 + (shift - 1) * levels)


def tokens_of(shape: Sequence[int]) -> int:
    """Return how many 2 x 2 squares of latents an image of this shape [..., h, w] has; FLUX.1 reads one as a token."""
    return shape[-1] * shape[-2] // 4


def log_shift(tokens: int) -> float:
    """Return the log of the shift that FLUX.1 takes for an image of so many tokens."""
    slope = (LARGE[1] - SMALL[1]) / (LARGE[0] - SMALL[0])
    return SMALL[1] + slope * (tokens - SMALL[0])
