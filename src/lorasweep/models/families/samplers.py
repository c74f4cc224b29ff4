"""From noise to latents: the sampling loop over diffusers' schedulers, with any number of adapters side by side."""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from torch import Tensor

from lorasweep.models.family import Family, Text

if TYPE_CHECKING:
    from lorasweep.config.schema import SampleConfig

SAMPLERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
}


def make_sampler(name: str, config: Mapping[str, Any]) -> Any:
    """A diffusers scheduler on the model's own noise schedule; ``auto`` is the model's own class."""
    kind = config.get("_class_name", "DDIMScheduler") if name == "auto" else SAMPLERS[name]
    # DDIM's own default is to clip, which is meant for pictures, not for latents
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
    """[N, c, h, w] unit noise to latents.

    Rows are slot-major. The guided and the unguided half of a slot go through the denoiser as one batch.

    Args:
        config: of the model's own scheduler.
        look: sampler, steps and guidance; guidance of 1 or below asks the denoiser once only.
        seeds: one a row, for samplers that add noise on the way.
    """
    sampler = make_sampler(look.sampler, config)
    sampler.set_timesteps(look.steps, device=family.device)
    guided = look.guidance > 1
    states = {key: _pair(negative[key], text[key], family.slots) for key in text} if guided else text
    extra = {}
    if "generator" in inspect.signature(sampler.step).parameters:
        extra["generator"] = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    latents = noise * sampler.init_noise_sigma
    for timestep in sampler.timesteps:
        shown = sampler.scale_model_input(latents, timestep)
        if guided:
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
