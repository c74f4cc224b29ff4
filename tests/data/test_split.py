import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasweep.data.split import choose_held_out


def looks(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 192))


def hashes(count: int) -> list[str]:
    return [f"{(7 * number) % 101:03d}" for number in range(count)]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(12, 60), share=st.floats(0.05, 0.5), seed=st.integers(0, 99))
def test_about_the_share_and_never_less_than_two_nor_all(count, share, seed):
    held_out = choose_held_out(looks(count, seed), hashes(count), share)
    assert len(held_out) == max(2, round(share * count))
    assert held_out < set(range(count))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_order_of_the_files_does_not_matter(seed):
    signatures, names = looks(20, seed), hashes(20)
    order = np.random.default_rng(seed).permutation(20)
    before = choose_held_out(signatures, names, 0.2)
    after = choose_held_out(signatures[order], [names[row] for row in order], 0.2)
    assert {int(order[row]) for row in after} == set(before)


@pytest.mark.parametrize("seed", range(5))
def test_shots_of_one_burst_are_never_torn_apart(seed):
    signatures = looks(16, seed)
    signatures[10:14] = signatures[10] + np.random.default_rng(seed).normal(0, 0.01, (4, 192))
    held_out = choose_held_out(signatures, hashes(16), 0.25)
    assert len(held_out) == 4
    assert not held_out & {10, 11, 12, 13}


def test_the_choice_spreads_over_what_the_photos_look_like():
    signatures = np.concatenate([0.2 + 0.3 * looks(10), 0.6 + 0.3 * looks(10, 1)])
    held_out = choose_held_out(signatures, hashes(20), 0.2)
    assert sorted(row < 10 for row in held_out) == [False, False, True, True]


def test_photos_that_are_all_alike_still_leave_some_to_train():
    held_out = choose_held_out(np.full((12, 192), 0.5), hashes(12), 0.2)
    assert len(held_out) == 0
