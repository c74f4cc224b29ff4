"""What the families with a UNet share: which layers get an adapter, what they refuse, and how they are sampled."""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lorasweep.errors import UserError
from lorasweep.models.family import Family, Text
from lorasweep.models.objective import Diffusion

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig, SampleConfig

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
LINEAR = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
CONVOLUTION = [
    *(*LINEAR, "conv1", "conv2", "conv_shortcut", "time_emb_proj"),
    *("downsamplers.0.conv", "upsamplers.0.conv"),
]
"""As sd-scripts' ``conv_dim`` adds them: everything in residual blocks and samplers, not the first and last layer."""
UNET_TARGETS = {"attention": ATTENTION, "linear": LINEAR, "convolution": CONVOLUTION}
"""``lora.targets`` to the ends of the names of the modules that get an adapter."""
SAMPLERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
}


def require_unet_run(run: "RunConfig", objective: Diffusion) -> None:
    """Raise UserError if a run asks for what a UNet cannot do."""
    asked = run.model.zero_terminal_snr or run.model.prediction == "epsilon"
    if asked and objective.prediction == "epsilon" and objective.config.get("rescale_betas_zero_snr"):
        raise UserError(
            f"model.zero_terminal_snr is {run.model.zero_terminal_snr} and model.prediction {run.model.prediction}, "
            "which is epsilon here: at pure noise there is no noise to predict, so that it must be v_prediction."
        )


def make_sampler(name: str, config: Mapping[str, Any]) -> Any:
    """Return a diffusers scheduler on the model's own noise schedule; ``auto`` is the model's own class."""
    import diffusers  # seconds, and only drawing needs it

    kind = config.get("_class_name", "DDIMScheduler") if name == "auto" else SAMPLERS[name]
    # DDIM's own default is to clip, which is meant for images, not for latents
    return getattr(diffusers, kind).from_config({"clip_sample": False, **config})


def draw_latents(
    family: Family,
    config: Mapping[str, Any],
    text: Text,
    negative: Text,
    noise: Tensor,
    look: "SampleConfig",
    seeds: Sequence[int],
) -> Tensor:
    """Return [N, c, h, w] latents from unit noise of that shape, slot-major.

    Args:
        config: of the model's own scheduler.
        look: sampler, steps and guidance; guidance of 1 or below asks the denoiser once a step only.
        seeds: one a row, for samplers that add noise on the way.
    """
    sampler = make_sampler(look.sampler, config)
    sampler.set_timesteps(look.steps, device=family.device)
    guided = look.guidance > 1
    states = {key: _pair(negative[key], text[key], family.slots) for key in text} if guided else text
    extra = {}
    if "generator" in inspect.signature(sampler.step).parameters:
        # on the CPU, so that an image depends neither on the device nor on the rows beside it
        extra["generator"] = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    latents = noise * sampler.init_noise_sigma
    for timestep in sampler.timesteps:
        shown = sampler.scale_model_input(latents, timestep)
        if guided:  # both halves as one batch
            shown = _pair(shown, shown, family.slots)
        answer = family.denoise(shown, timestep.expand(len(shown)), states)
        if guided:
            without, with_text = _unpair(answer, family.slots)
            answer = without + look.guidance * (with_text - without)
        latents = sampler.step(answer, timestep, latents, **extra).prev_sample
    return latents


def _pair(first: Tensor, second: Tensor, slots: int) -> Tensor:
    """Two slot-major batches to one: slot 0's first rows, slot 0's second rows, slot 1's first rows, ..."""
    halves = [part.reshape(slots, -1, *part.shape[1:]) for part in (first, second)]
    return torch.cat(halves, dim=1).flatten(0, 1)


def _unpair(both: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    first, second = both.reshape(slots, -1, *both.shape[1:]).chunk(2, dim=1)
    return first.flatten(0, 1), second.flatten(0, 1)
