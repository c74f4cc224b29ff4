import math
import re

import optuna
import pytest

from lorasweep.config.search import DimensionConfig
from lorasweep.errors import UserError
from lorasweep.search.space import Dimension, as_words, resolve

LEAVES = {
    "optim.lr": 1e-4,
    "optim.steps": 500,
    "optim.text_encoder_lr": None,
    "lora.rank": 16,
    "lora.targets": "linear",
}
LEAVES |= {"optim.noise_offset": 0.0, "model.path": "x", "sample.steps": 25, "lora.text_encoder": False}


def one(key: str, fixed=None, **of) -> Dimension:
    (dimension,) = resolve({key: DimensionConfig(**of)}, LEAVES, fixed or {})
    return dimension


def test_a_range_around_the_runs_own_value_is_logarithmic():
    lr = one("optim.lr", around=10)
    assert (lr.kind, lr.log) == ("float", True)
    assert (lr.low, lr.high) == pytest.approx((1e-5, 1e-3))


def test_whole_numbers_stay_whole():
    steps = one("optim.steps", around=2)
    assert (steps.kind, steps.low, steps.high) == ("int", 250, 1000)
    assert (one("lora.rank", low=3.5, high=8.2).low, one("lora.rank", low=3.5, high=8.2).high) == (4, 8)


def test_a_key_without_a_value_takes_its_range_from_another():
    assert one("optim.text_encoder_lr", around=10, of="optim.lr").high == pytest.approx(1e-3)
    with pytest.raises(UserError, match=r"optim\.text_encoder_lr is searched in a range, but .* is None"):
        one("optim.text_encoder_lr", around=10)


def test_rates_and_steps_are_logarithmic_unless_it_is_said_otherwise():
    assert one("optim.lr", low=1e-5, high=1e-3).log
    assert not one("optim.lr", low=1e-5, high=1e-3, log=False).log
    assert not one("optim.noise_offset", low=0, high=0.1).log


@pytest.mark.parametrize(
    ("key", "of", "says"),
    [
        ("optim.lr", {"low": 1e-3, "high": 1e-3}, "optim.lr has the range 0.001 to 0.001; its lower end must be below"),
        ("optim.lr", {"low": 1e-3, "high": 1e-4}, "optim.lr has the range 0.001 to 0.0001; its lower end must be"),
        ("optim.lr", {"low": 0, "high": 1e-4}, "optim.lr has the range 0 to 0.0001 on a logarithmic scale; its lower"),
        ("optim.noise_offset", {"around": 2}, "optim.noise_offset has the range 0 to 0; its lower end must be below"),
        ("optim.lr", {"low": 1e-3}, "optim.lr has low=0.001 and high=None; it must have both"),
        ("lora.rank", {"choices": [4]}, "lora.rank has the choices [4]; it must have two different ones or more"),
        ("lora.rank", {"choices": [4, 4]}, "lora.rank has the choices [4, 4]; it must have two different ones"),
        ("optim.rate", {"around": 10}, "the space names optim.rate, which no run has; did you mean"),
        ("model.path", {"choices": ["a", "b"]}, "the space names model.path, under whose values scores cannot be"),
        ("sample.steps", {"low": 5, "high": 9}, "the space names sample.steps, under whose values scores cannot be"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_in_a_sentence(key, of, says):
    with pytest.raises(UserError, match=f"^{re.escape(says)}"):
        one(key, **of)


def test_a_key_that_is_fixed_is_not_searched():
    with pytest.raises(UserError, match=r"^the space names optim\.lr, which is fixed by 'optim\.lr=1e-4'; leave one"):
        one("optim.lr", {"optim.lr": "optim.lr=1e-4"}, around=10)


def test_all_mistakes_are_told_at_once():
    wrong = {"optim.rate": DimensionConfig(around=2), "optim.lr": DimensionConfig(low=1, high=0)}
    with pytest.raises(UserError) as error:
        resolve(wrong, LEAVES, {})
    assert len(str(error.value).splitlines()) == 2


def test_an_empty_space_says_how_to_fill_it():
    with pytest.raises(UserError, match="the space is empty; name a search, or give a key several values"):
        resolve({}, LEAVES, {})


def test_what_is_tried_has_no_more_digits_than_a_person_would_type():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    lr = one("optim.lr", around=10)
    values = [lr.suggest(study.ask()) for _ in range(20)]
    assert len(set(values)) == 20
    assert all(float(f"{value:.3g}") == value and lr.low * 0.99 <= value <= lr.high * 1.01 for value in values)


def test_a_grid_goes_from_end_to_end_in_equal_factors():
    grid = one("optim.lr", around=10, points=5).grid()
    assert (grid[0], grid[-1]) == pytest.approx((1e-5, 1e-3))
    assert [math.log10(value) for value in grid] == pytest.approx([-5, -4.5, -4, -3.5, -3])
    assert one("lora.rank", low=4, high=6, points=8).grid() == [4, 5, 6]
    assert one("lora.targets", choices=["linear", "attention"]).grid() == ["linear", "attention"]


def test_parameters_are_typed_as_overrides():
    params = {"optim.lr": 1.5e-5, "lora.rank": 4, "lora.text_encoder": True, "optim.text_encoder_lr": None}
    assert as_words(params) == [
        "optim.lr=1.5e-05",
        "lora.rank=4",
        "lora.text_encoder=true",
        "optim.text_encoder_lr=null",
    ]
