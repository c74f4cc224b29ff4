"""How often which noise level is trained: the formulas of sd-scripts and FLUX.1, by value and by distribution."""

import math

import pytest
import torch
from torch.distributions import Normal

from lorasweep.config.schema import OptimConfig
from lorasweep.models.families.timesteps import log_shift, shifted, spread

UNIFORMS = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000


def places(kind: str, tokens: int = 1024, **optim: float) -> torch.Tensor:
    return spread(UNIFORMS, OptimConfig(timesteps=kind, **optim), tokens, "uniform")


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
    found = spread(ends, OptimConfig(timesteps=kind), 1024, "uniform")
    assert (found.diff() >= 0).all()
    assert 0 <= found[0] < 0.03
    assert 0.99 < found[-1] < 1


@pytest.mark.parametrize("auto", ["uniform", "sigmoid"])
def test_auto_is_the_familys_own(auto: str) -> None:
    for optim in (None, OptimConfig()):
        expected = spread(UNIFORMS, OptimConfig(timesteps=auto), 1024, "?")
        assert torch.equal(spread(UNIFORMS, optim, 1024, auto), expected)


def test_a_shift_leaves_the_ends_and_can_be_undone() -> None:
    t = torch.linspace(0, 1, 11)
    assert shifted(t, 3.0)[[0, -1]].tolist() == [0, 1]
    torch.testing.assert_close(shifted(shifted(t, 3.0), 1 / 3.0), t)
