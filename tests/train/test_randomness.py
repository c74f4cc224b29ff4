"""Random numbers are functions of their place."""

import numpy as np
import torch

from lorasweep.train.randomness import initial_noise, normal, seed_for, stream


def test_a_place_has_the_same_numbers_whatever_was_drawn_before() -> None:
    first = normal(stream(1, "noise", epoch=2, step=3, item=4), (1000,))
    stream(1, "noise", epoch=2, step=3, item=3).random(10_000)
    assert torch.equal(first, normal(stream(1, "noise", epoch=2, step=3, item=4), (1000,)))


def test_every_part_of_the_place_matters() -> None:
    places = [
        stream(1, "noise", epoch=2, step=3, item=4),
        stream(2, "noise", epoch=2, step=3, item=4),
        stream(1, "posterior", epoch=2, step=3, item=4),
        stream(1, "noise", epoch=1, step=3, item=4),
        stream(1, "noise", epoch=2, step=2, item=4),
        stream(1, "noise", epoch=2, step=3, item=5),
    ]
    assert len({float(generator.random()) for generator in places}) == 6


def test_neighbouring_places_share_no_numbers() -> None:
    rows = np.stack([stream(0, "noise", step=5, item=item).standard_normal(4000) for item in range(8)])
    correlation = np.corrcoef(rows) - np.eye(8)
    assert np.abs(correlation).max() < 0.06
    assert len(np.unique(rows)) == rows.size


def test_the_numbers_stay_what_they_are() -> None:
    assert float(stream(0, "noise").random()) == 0.9878320865089129
    assert seed_for(0, "adapter") == 3343214650292059300


def test_initial_noise_belongs_to_prompt_and_seed() -> None:
    assert torch.equal(initial_noise("hat", 1, (4, 8, 8)), initial_noise("hat", 1, (4, 8, 8)))
    assert not torch.equal(initial_noise("hat", 1, (4, 8, 8)), initial_noise("hat", 2, (4, 8, 8)))
    assert not torch.equal(initial_noise("hat", 1, (4, 8, 8)), initial_noise("cap", 1, (4, 8, 8)))
    assert abs(float(initial_noise("hat", 1, (64, 64)).std()) - 1) < 0.05
