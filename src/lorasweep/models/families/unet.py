"""What the two families with a UNet share: Stable Diffusion 1.x and SDXL."""

from typing import TYPE_CHECKING

from lorasweep.errors import UserError
from lorasweep.models.objective import Diffusion

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, RunConfig

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
LINEAR = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
CONVOLUTION = [
    *(*LINEAR, "conv1", "conv2", "conv_shortcut", "time_emb_proj"),
    *("downsamplers.0.conv", "upsamplers.0.conv"),
]
"""As sd-scripts' ``conv_dim`` adds them: everything in residual blocks and samplers, not the first and last layer."""
TARGETS = {"attention": ATTENTION, "linear": LINEAR, "convolution": CONVOLUTION}


def unet_targets(lora: "LoraConfig") -> list[str]:
    """Ends of the names of modules that get an adapter."""
    return TARGETS[lora.targets]


def require_unet_run(run: "RunConfig", objective: Diffusion) -> None:
    """Raise UserError where a run asks for what a UNet cannot do."""
    asked = run.model.zero_terminal_snr or run.model.prediction == "epsilon"
    if asked and objective.prediction == "epsilon" and objective.config.get("rescale_betas_zero_snr"):
        raise UserError(
            f"model.zero_terminal_snr is {run.model.zero_terminal_snr} and model.prediction {run.model.prediction}, "
            "which is epsilon here: at pure noise there is no noise to predict, so that it must be v_prediction."
        )
