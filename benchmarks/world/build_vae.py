# diffusers annotates its tuples as of one element and its layers' biases as optional.
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalOperand=false, reportOperatorIssue=false, reportArgumentType=false
"""Stage "vae": an AutoencoderKL that turns 64×64 images into 8×16×16 latents and loses no mouth, mole or gaze."""

from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch.nn import functional

from benchmarks.world import corpus
from benchmarks.world.training import Curve, load_state, pick_device, rate, save_state, set_rate


def new_vae() -> AutoencoderKL:
    """Return a model of 2.6 M weights: few channels at 64×64, where they cost most, more at 16×16.

    Residual branches start at zero and latents nearly without noise, which lowers the loss after 150 steps by 40 %.
    """
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        for name, module in vae.named_modules():
            if name.endswith("conv2") and isinstance(module, torch.nn.Conv2d):
                module.weight.zero_()
                torch.nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
        vae.quant_conv.weight[8:] = 0
        vae.quant_conv.bias[8:] = -5.0
    return vae


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Return [n, h, w, 3] uint8 as [n, 3, h, w] float in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(drawn: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return L1 on pixels plus L1 on differences of neighbours at two distances, which keeps edges and small features.

    Pixels at edges count more: a portrait is mostly plain background.
    """
    error = drawn - true
    spread = functional.avg_pool2d((true - functional.avg_pool2d(true, 5, 1, 2)).abs(), 3, 1, 1)
    weight = 1 + 6 * spread.mean(1, keepdim=True)
    loss = (weight * error.abs()).mean()
    for reach in (1, 2):
        across = error[..., reach:] - error[..., :-reach]
        down = error[..., reach:, :] - error[..., :-reach, :]
        loss = loss + 0.5 * (across.abs().mean() + down.abs().mean())
    return loss


def latent_moments(vae: AutoencoderKL, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and log variance of the latents, each [n, 8, 16, 16]."""
    latent = vae.encode(pictures).latent_dist  # pyright: ignore[reportAttributeAccessIssue]
    return latent.mean, latent.logvar


def train_vae(cache: Path, *, steps: int = 2600, batch: int = 8, peak: float = 1e-3, seed: int = 2) -> AutoencoderKL:
    """Train, or continue from the state in `cache`; return the finished model with whitened latents."""
    device = pick_device()
    torch.manual_seed(seed)
    vae = new_vae().to(device)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=1e-4)
    pictures = corpus.pictures(cache)
    curve, start = Curve(), 0
    state = load_state(cache / "vae.pt")
    if state:
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        curve.rows, start = state["curve"], state["step"]
    for step in range(start, steps):
        set_rate(optimizer, rate(step, steps, peak))
        rng = np.random.default_rng([seed, step])
        true = to_tensor(pictures[np.sort(rng.integers(len(pictures), size=batch))]).to(device)
        losses = vae_step(vae, optimizer, true, torch.Generator().manual_seed(step))
        curve.add(step, **losses)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            state = {"vae": vae.state_dict(), "optimizer": optimizer.state_dict()}
            save_state(cache / "vae.pt", state | {"curve": curve.rows, "step": step + 1})
    whiten(vae, to_tensor(pictures[:1024]).to(device))
    return vae.eval()


def vae_step(
    vae: AutoencoderKL,
    optimizer: torch.optim.Optimizer,
    true: torch.Tensor,
    generator: torch.Generator,
) -> dict[str, float]:
    """Take one training step on [n, 3, 64, 64] images; return the parts of its loss."""
    with torch.autocast(true.device.type, torch.bfloat16):
        mean, log_variance = latent_moments(vae, true)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        latents = mean.float() + (0.5 * log_variance.float()).exp() * noise
        drawn = vae.decode(latents).sample  # pyright: ignore[reportAttributeAccessIssue]
    mean, log_variance = mean.float(), log_variance.float()
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    fit = reconstruction_loss(drawn.float(), true)
    optimizer.zero_grad(set_to_none=True)
    (fit + 2e-4 * divergence).backward()
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    pixel = (drawn.float() - true).abs().mean()
    return {"loss": fit.item(), "l1": pixel.item(), "kl": divergence.item()}


@torch.no_grad()
def whiten(vae: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Fold each latent channel's mean and standard deviation into the two 1×1 convolutions around the latents.

    Afterwards every channel has mean 0 and deviation 1 over the [n, 3, 64, 64] `pictures`, and the scaling factor is 1.
    """
    means = torch.cat([latent_moments(vae, part)[0] for part in pictures.split(64)])
    shift, scale = means.mean((0, 2, 3)), means.std((0, 2, 3))
    before, after = vae.quant_conv, vae.post_quant_conv
    channels = len(shift)
    after.bias += after.weight[:, :, 0, 0] @ shift
    after.weight *= scale[None, :, None, None]
    before.weight[:channels] /= scale[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - shift) / scale
    before.bias[channels:] -= 2 * scale.log()
    vae.register_to_config(scaling_factor=1.0)
