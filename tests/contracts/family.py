"""What every family of base models must hold to; a family's own tests inherit nothing, they call these."""

from typing import Any

import torch

from lorasweep.config.schema import LoraConfig, SampleConfig
from lorasweep.models.autoencoder import latent_shape
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import AdapterBank, LoraWeights, adapted


def stirred(adapter: dict[str, LoraWeights], seed: int, size: float = 0.05) -> dict[str, LoraWeights]:
    """The same adapter with an up matrix that is not zero."""
    generator = torch.Generator().manual_seed(seed)
    return {name: w._replace(up=torch.randn(w.up.shape, generator=generator) * size) for name, w in adapter.items()}


def batch(family: Any, rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Latents, timesteps and text of some rows."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, *latent_shape(family.vae, 32, 32), generator=generator)
    timesteps = family.objective.timesteps(torch.rand(rows, generator=generator, dtype=torch.float64))
    return latents, timesteps, family.encode_prompts([f"a person {i}" for i in range(rows)])


def base_is_untouched_by_adapters(family: Any, lora: LoraConfig) -> None:
    """Putting adapters on gives a family of its own; the bare one answers as before."""
    latents, timesteps, text = batch(family, 2)
    before = family.denoise(latents, timesteps, text)
    bank = AdapterBank([stirred(initial_adapter(family, lora, 0), 0)])
    carrier = adapted(family, bank)
    assert not torch.allclose(carrier.denoise(latents, timesteps, text), before, atol=1e-4)
    assert torch.equal(family.denoise(latents, timesteps, text), before)


def fresh_adapter_changes_nothing(family: Any, lora: LoraConfig) -> None:
    """Up is zero at the start, so the answer is the base model's."""
    latents, timesteps, text = batch(family, 2)
    carrier = adapted(family, AdapterBank([initial_adapter(family, lora, 0)]))
    torch.testing.assert_close(carrier.denoise(latents, timesteps, text), family.denoise(latents, timesteps, text))


def slots_do_not_see_each_other(family: Any, lora: LoraConfig) -> None:
    """Three adapters side by side answer what each answers alone, to fp32 rounding."""
    adapters = [stirred(initial_adapter(family, lora, seed), seed) for seed in range(3)]
    latents, timesteps, text = batch(family, 6)
    together = adapted(family, AdapterBank(adapters)).denoise(latents, timesteps, text)
    for slot, adapter in enumerate(adapters):
        rows = slice(2 * slot, 2 * slot + 2)
        alone = adapted(family, AdapterBank([adapter]))
        own = alone.denoise(latents[rows], timesteps[rows], {key: value[rows] for key, value in text.items()})
        torch.testing.assert_close(together[rows], own, atol=1e-6, rtol=1e-5)


def perfect_answer_has_no_loss_and_finds_the_latents(family: Any) -> None:
    """At every timestep the target is a different linear view of (latents, noise) than what the denoiser is shown."""
    generator = torch.Generator().manual_seed(0)
    shape = (8, *latent_shape(family.vae, 32, 32))
    latents, noise = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    timesteps = family.objective.timesteps(torch.linspace(0.0, 0.9, 8, dtype=torch.float64))
    shown = family.objective.noised(latents, noise, timesteps)
    target = family.objective.target(latents, noise, timesteps)
    stacked = torch.stack([shown.flatten(1), target.flatten(1)], dim=1)
    truth = torch.stack([latents.flatten(1), noise.flatten(1)], dim=1)
    for row in range(8):  # the two views span latents and noise
        solution = torch.linalg.lstsq(stacked[row].T, truth[row].T).solution
        torch.testing.assert_close(stacked[row].T @ solution, truth[row].T, atol=1e-3, rtol=1e-3)


def same_noise_draws_same_picture(family: Any, look: SampleConfig) -> None:
    """Drawing is a function of its arguments."""
    noise = torch.randn(1, *latent_shape(family.vae, 32, 32), generator=torch.Generator().manual_seed(1))
    text, negative = family.encode_prompts(["a person"]), family.encode_prompts([""])
    first, second = (family.draw(text, negative, noise, look, [7]) for _ in range(2))
    assert first.dtype == torch.uint8
    assert first.shape[-1] == 3
    assert torch.equal(first, second)
