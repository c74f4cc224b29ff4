"""The noise schedule: what is shown, what is asked for and how it is drawn from, as in diffusers' schedulers."""

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from lorasweep.config.schema import ModelConfig, RunConfig
from lorasweep.errors import UserError
from lorasweep.models.families.noise import NoiseSchedule, scheduler_config
from lorasweep.models.families.samplers import make_sampler
from lorasweep.models.families.unet import require_unet_run
from lorasweep.models.loading.sources import read_json, shipped_configs

CPU = torch.device("cpu")
SHIPPED = {kind: read_json(shipped_configs(kind) / "scheduler" / "scheduler_config.json") for kind in ("sd15", "sdxl")}


def schedule(kind: str = "sdxl", **model: Any) -> NoiseSchedule:
    return NoiseSchedule.of(scheduler_config(SHIPPED[kind], ModelConfig(**model)), CPU)


def drawn(rows: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(rows, 4, 4, 4, generator=generator) for _ in range(2))
    return latents, noise, torch.tensor([0, 10, 400, 700, 998, 999])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_what_is_shown_and_asked_for_is_diffusers_own(prediction: str, rescaled: bool) -> None:
    ours = schedule(prediction=prediction, zero_terminal_snr=rescaled)
    settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    theirs = DDPMScheduler(**settings, rescale_betas_zero_snr=rescaled)
    latents, noise, timesteps = drawn()
    torch.testing.assert_close(ours.noised(latents, noise, timesteps), theirs.add_noise(latents, noise, timesteps))
    velocity = theirs.get_velocity(latents, noise, timesteps)
    torch.testing.assert_close(ours.target(latents, noise, timesteps), noise if prediction == "epsilon" else velocity)


def test_zero_terminal_snr_ends_in_noise_alone_and_asks_for_the_picture() -> None:
    latents, noise, timesteps = drawn()
    ours = schedule(prediction="v_prediction", zero_terminal_snr=True)
    assert ours.alphas[-1] == 0
    assert torch.equal(ours.noised(latents, noise, timesteps)[-1], noise[-1])
    assert torch.equal(ours.target(latents, noise, timesteps)[-1], -latents[-1])
    torch.testing.assert_close(ours.alphas[0], schedule().alphas[0])
    assert schedule(prediction="v_prediction").alphas[-1] > 0.004


def test_a_model_is_what_it_says_unless_the_run_says_otherwise() -> None:
    own = {**SHIPPED["sdxl"], "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    kept = scheduler_config(own, ModelConfig())
    assert (kept["prediction_type"], kept["timestep_spacing"]) == ("v_prediction", "trailing")
    changed = scheduler_config(own, ModelConfig(prediction="epsilon", zero_terminal_snr=False))
    assert (changed["prediction_type"], changed["rescale_betas_zero_snr"]) == ("epsilon", False)
    assert scheduler_config({"_class_name": "DDIMScheduler"}, ModelConfig())["prediction_type"] == "epsilon"


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize("sampler", ["auto", "ddim", "euler", "euler_a", "dpmpp_2m"])
def test_zero_terminal_snr_is_drawn_from_the_schedule_that_was_trained(kind: str, sampler: str) -> None:
    config = schedule(kind, prediction="v_prediction", zero_terminal_snr=True).config
    plain = make_sampler(sampler, SHIPPED[kind])
    rescaled = make_sampler(sampler, config)
    assert rescaled.alphas_cumprod[-1] < 1e-6 < plain.alphas_cumprod[-1]
    rescaled.set_timesteps(10)
    assert rescaled.timesteps[0] == 999
    assert rescaled.config.prediction_type == "v_prediction"


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_no_sampler_clips_latents(kind: str) -> None:
    for sampler in ("auto", "ddim", "euler", "euler_a", "dpmpp_2m"):
        assert not make_sampler(sampler, SHIPPED[kind]).config.get("clip_sample")
    sampler = make_sampler("ddim", SHIPPED[kind])
    sampler.set_timesteps(2)
    latents = torch.full((1, 4, 2, 2), 3.0)
    assert sampler.step(torch.zeros_like(latents), sampler.timesteps[0], latents).pred_original_sample.max() > 3


def test_whole_timesteps_are_equally_likely() -> None:
    uniforms = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    counts = torch.bincount(schedule().timesteps(uniforms, None, 1024), minlength=1000)
    assert counts.tolist() == [100] * 1000
    assert schedule().timesteps(torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64), None, 1024).tolist() == [0, 999]


@pytest.mark.parametrize(
    ("own", "asked"),
    [
        ({}, {"zero_terminal_snr": True}),  # the model is epsilon itself
        ({}, {"zero_terminal_snr": True, "prediction": "epsilon"}),
        ({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, {"prediction": "epsilon"}),
    ],
)
def test_noise_alone_has_no_noise_to_predict(own: dict[str, Any], asked: dict[str, Any]) -> None:
    model = ModelConfig(**asked)
    found = NoiseSchedule.of(scheduler_config({**SHIPPED["sd15"], **own}, model), CPU)
    with pytest.raises(UserError, match=r"which is epsilon here: at pure noise .* it must be v_prediction\.$"):
        require_unet_run(RunConfig(preset="a", model=model), found)


@pytest.mark.parametrize(
    "asked", [{}, {"prediction": "epsilon"}, {"zero_terminal_snr": True, "prediction": "v_prediction"}]
)
def test_what_goes_together_is_not_refused(asked: dict[str, Any]) -> None:
    model = ModelConfig(**asked)
    require_unet_run(RunConfig(preset="a", model=model), schedule("sd15", **asked))
