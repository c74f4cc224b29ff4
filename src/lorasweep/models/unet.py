"""What the two families with a UNet share: Stable Diffusion 1.x and SDXL."""

from typing import TYPE_CHECKING

from lorasweep.data.errors import UserError

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


def require_unet_run(run: "RunConfig") -> None:
    """Raise UserError where a run asks for what a UNet cannot do."""
    if run.model.zero_terminal_snr and run.model.prediction == "epsilon":
        raise UserError(
            "model.zero_terminal_snr=true with model.prediction=epsilon: at pure noise there is no noise to predict; "
            "use v_prediction."
        )
