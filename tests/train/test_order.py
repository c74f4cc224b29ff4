"""The order of pictures."""

import hashlib
import json
from collections import Counter
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from lorasweep.train.trial import bucket_sequence, epoch_batches

SQUARE, WIDE = (64, 64), (96, 48)
TWICE = [2] * 10


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 7), st.integers(0, 99), st.integers(0, 9))
def test_an_epoch_shows_every_photo_as_often_as_asked_and_fills_up_with_few(
    photos: int, repeats: int, rows: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches({SQUARE: tuple(range(photos))}, [repeats] * photos, rows, seed, epoch)
    counts = Counter(item for batch in batches for item in batch.items)
    assert all(len(batch.items) == rows for batch in batches)
    assert len(batches) == -(-photos * repeats // rows)
    assert set(counts) == set(range(photos))
    assert sum(counts.values()) - photos * repeats == -photos * repeats % rows
    assert min(counts.values()) >= repeats


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    buckets = {SQUARE: tuple(range(10))}
    assert epoch_batches(buckets, TWICE, 2, 0, 3) == epoch_batches(buckets, TWICE, 2, 0, 3)
    assert epoch_batches(buckets, TWICE, 2, 0, 3) != epoch_batches(buckets, TWICE, 2, 0, 4)
    assert epoch_batches(buckets, TWICE, 2, 0, 3) != epoch_batches(buckets, TWICE, 2, 1, 3)


def test_a_photo_comes_again_only_after_all_the_others() -> None:
    batches = epoch_batches({SQUARE: tuple(range(7))}, [3] * 7, 7, 5, 0)
    assert all(sorted(batch.items) == list(range(7)) for batch in batches)


def test_equal_repeats_in_one_size_come_in_the_order_that_runs_were_trained_in_before_there_were_others() -> None:
    batches = epoch_batches({SQUARE: tuple(range(5))}, [2] * 5, 3, 7, 1)
    assert [batch.items for batch in batches] == [(2, 0, 1), (4, 3, 0), (3, 1, 2), (4, 2, 0)]
    digest = hashlib.sha256()
    for photos, repeats, rows, seed, epoch in product((1, 2, 5, 13), (1, 2, 31), (1, 3, 4, 8), (0, 7), (0, 3)):
        batches = epoch_batches({SQUARE: tuple(range(photos))}, [repeats] * photos, rows, seed, epoch)
        digest.update(json.dumps([batch.items for batch in batches]).encode())
    # of the same epochs, made by the code of commit 1ff7db9
    assert digest.hexdigest() == "89ecc7de187fd67e741c5d8f75c757ebbab9cff1aaa334235d71d4566fac4602"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9).filter(any), st.integers(1, 4), st.integers(0, 99))
def test_each_photo_has_repeats_of_its_own_and_every_pass_shows_those_that_have_some_left(
    repeats: list[int], rows: int, seed: int
) -> None:
    batches = epoch_batches({SQUARE: tuple(range(len(repeats)))}, repeats, rows, seed, 0)
    shown = [item for batch in batches for item in batch.items][: sum(repeats)]
    assert Counter(shown) == Counter({item: count for item, count in enumerate(repeats) if count})
    for number in range(max(repeats)):
        left = {item for item, count in enumerate(repeats) if count > number}
        assert set(shown[: len(left)]) == left
        del shown[: len(left)]


def test_sizes_follow_one_sequence_whatever_the_seed() -> None:
    buckets = {SQUARE: tuple(range(6)), WIDE: (6, 7)}
    sequence = bucket_sequence(buckets, TWICE, 2)
    assert Counter(sequence) == {SQUARE: 6, WIDE: 2}
    for seed, epoch in ((0, 0), (1, 0), (0, 1)):
        batches = epoch_batches(buckets, TWICE, 2, seed, epoch)
        assert tuple(batch.bucket for batch in batches) == sequence
        assert all(set(batch.items) <= set(buckets[batch.bucket]) for batch in batches)
    assert sequence.index(WIDE) < 4  # spread, not at the end
