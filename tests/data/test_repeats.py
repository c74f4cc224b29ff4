"""How often pictures are seen in an epoch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasweep.data.dataset import plain_repeats, spread_repeats


@pytest.mark.parametrize(("photos", "repeats"), [(1, 400), (12, 33), (15, 27), (400, 1), (1000, 1)])
def test_a_plain_folder_comes_to_about_400_pictures_an_epoch(photos, repeats):
    assert plain_repeats(photos) == repeats


def sd_scripts(repeats: list[int], total: int) -> list[int]:
    """The loop of ``library/train_util.py`` (48d368fa), lines 2169 to 2183, in our words."""
    registered: dict[int, int] = {}
    n, first = 0, True
    while n < total:
        for place, count in enumerate(repeats):
            if first:
                registered[place] = count
                n += count
            else:
                registered[place] += 1
                n += 1
            if n >= total:
                break
        first = False
    return [registered.get(place, 0) for place in range(len(repeats))]


@given(st.lists(st.just(1), min_size=1, max_size=30), st.integers(1, 200))
def test_pictures_of_others_are_spread_as_in_sd_scripts(repeats, total):
    assert list(spread_repeats(repeats, total)) == sd_scripts(repeats, total)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 400))
def test_they_add_up_to_the_subjects_exactly_and_differ_from_sd_scripts_in_the_last_one_only(repeats, total):
    spread, theirs = spread_repeats(repeats, total), sd_scripts(repeats, total)
    assert sum(spread) == total
    over = sum(theirs) - total
    assert sum(abs(ours - other) for ours, other in zip(spread, theirs, strict=True)) == over


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 400))
def test_where_the_total_may_be_passed_they_are_those_of_sd_scripts(repeats, total):
    assert list(spread_repeats(repeats, total, passing=True)) == sd_scripts(repeats, total)


def test_no_pictures_of_others_stay_none():
    assert spread_repeats([], 400) == ()
