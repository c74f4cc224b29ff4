"""Objectives: diffusers' noise schedules, and how often which noise level is trained, as in sd-scripts and FLUX.1."""

import math
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch.distributions import Normal

from lorasweep.config.schema import ModelConfig, OptimConfig, RunConfig
from lorasweep.errors import UserError
from lorasweep.models.families.unet import make_sampler, require_unet_run
from lorasweep.models.loading.sources import read_json, shipped_configs
from lorasweep.models.objective import Diffusion, log_shift, scheduler_config, shifted, spread

CPU = torch.device("cpu")
UNIFORMS = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
SHAPE = (4, 64, 64)
SHIPPED = {kind: read_json(shipped_configs(kind) / "scheduler" / "scheduler_config.json") for kind in ("sd15", "sdxl")}


def schedule(kind: str = "sdxl", **model: Any) -> Diffusion:
    return Diffusion.of(SHIPPED[kind], ModelConfig(**model), CPU)


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
    counts = torch.bincount(schedule().timesteps(uniforms), minlength=1000)
    assert counts.tolist() == [100] * 1000
    assert schedule().timesteps(torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64)).tolist() == [0, 999]


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
    found = Diffusion.of({**SHIPPED["sd15"], **own}, model, CPU)
    with pytest.raises(UserError, match=r"which is epsilon here: at pure noise .* it must be v_prediction\.$"):
        require_unet_run(RunConfig(preset="a", model=model), found)


@pytest.mark.parametrize(
    "asked", [{}, {"prediction": "epsilon"}, {"zero_terminal_snr": True, "prediction": "v_prediction"}]
)
def test_what_goes_together_is_not_refused(asked: dict[str, Any]) -> None:
    model = ModelConfig(**asked)
    require_unet_run(RunConfig(preset="a", model=model), schedule("sd15", **asked))


def places(kind: str, tokens: int = 1024, **optim: float) -> torch.Tensor:
    return spread(UNIFORMS, OptimConfig(timesteps=kind, **optim), (1, 2, 2 * tokens), "uniform")


def randn() -> torch.Tensor:
    """What sd-scripts' torch.randn would have drawn for these uniform numbers."""
    return Normal(0.0, 1.0).icdf(UNIFORMS)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.8])
def test_sigmoid_is_the_sigmoid_of_scaled_normal_numbers(scale: float) -> None:
    torch.testing.assert_close(places("sigmoid", sigmoid_scale=scale), torch.sigmoid(randn() * scale))


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_shift_moves_the_sigmoid(shift: float) -> None:
    t = torch.sigmoid(randn() * 1.2)
    expected = (t * shift) / (1 + (shift - 1) * t)
    torch.testing.assert_close(places("shift", timestep_shift=shift, sigmoid_scale=1.2), expected)


@pytest.mark.parametrize(("tokens", "mu"), [(256, 0.5), (4096, 1.15), (1024, 0.63), (2176, 0.825)])
def test_resolution_shift_is_that_of_flux(tokens: int, mu: float) -> None:
    assert log_shift(tokens) == pytest.approx(mu)
    t = torch.sigmoid(randn())
    expected = math.exp(mu) / (math.exp(mu) + (1 / t - 1) ** 1.0)
    torch.testing.assert_close(places("resolution_shift", tokens), expected)


def test_the_shift_of_a_picture_is_the_one_that_diffusers_draws_it_with() -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    for tokens in (64, 256, 1000, 4096, 9216):
        assert log_shift(tokens) == pytest.approx(calculate_shift(tokens, 256, 4096, 0.5, 1.15))


@pytest.mark.parametrize(
    ("kind", "tokens", "moved"),  # by how much the logit of a level is moved
    [
        ("sigmoid", 1024, 0.0),
        ("shift", 1024, math.log(3.0)),
        ("resolution_shift", 256, 0.5),
        ("resolution_shift", 4096, 1.15),
    ],
)
@pytest.mark.parametrize("scale", [0.7, 1.0])
def test_the_levels_are_spread_as_the_normal_distribution_says(
    kind: str, tokens: int, moved: float, scale: float
) -> None:
    found = places(kind, tokens, sigmoid_scale=scale)
    for level in (0.1, 0.3, 0.5, 0.7, 0.9):
        logit = math.log(level / (1 - level))
        expected = Normal(0.0, 1.0).cdf(torch.tensor((logit - moved) / scale, dtype=torch.float64))
        assert (found < level).double().mean().item() == pytest.approx(expected.item(), abs=2e-4)


def test_uniform_levels_are_uniform() -> None:
    assert torch.equal(places("uniform"), UNIFORMS)


@pytest.mark.parametrize("kind", ["uniform", "sigmoid", "shift", "resolution_shift"])
def test_more_of_the_number_is_more_noise_and_every_place_is_inside(kind: str) -> None:
    ends = torch.tensor([0.0, 1e-12, 0.5, 1 - 1e-12], dtype=torch.float64)
    found = spread(ends, OptimConfig(timesteps=kind), SHAPE, "uniform")
    assert (found.diff() >= 0).all()
    assert 0 <= found[0] < 0.03
    assert 0.99 < found[-1] < 1


@pytest.mark.parametrize("auto", ["uniform", "sigmoid"])
def test_auto_is_the_familys_own(auto: str) -> None:
    for optim in (None, OptimConfig()):
        expected = spread(UNIFORMS, OptimConfig(timesteps=auto), SHAPE, "?")
        assert torch.equal(spread(UNIFORMS, optim, SHAPE, auto), expected)


def test_a_shift_leaves_the_ends_and_can_be_undone() -> None:
    t = torch.linspace(0, 1, 11)
    assert shifted(t, 3.0)[[0, -1]].tolist() == [0, 1]
    torch.testing.assert_close(shifted(shifted(t, 3.0), 1 / 3.0), t)
