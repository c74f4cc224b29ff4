"""The order of pictures."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lorasweep.train.order import bucket_sequence, epoch_batches

SQUARE, WIDE = (64, 64), (96, 48)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 7), st.integers(0, 99), st.integers(0, 9))
def test_an_epoch_shows_every_photo_as_often_as_asked_and_fills_up_with_few(
    photos: int, repeats: int, rows: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches({SQUARE: tuple(range(photos))}, repeats, rows, seed, epoch)
    counts = Counter(item for batch in batches for item in batch.items)
    assert all(len(batch.items) == rows for batch in batches)
    assert len(batches) == -(-photos * repeats // rows)
    assert set(counts) == set(range(photos))
    assert sum(counts.values()) - photos * repeats == -photos * repeats % rows
    assert min(counts.values()) >= repeats


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    buckets = {SQUARE: tuple(range(10))}
    assert epoch_batches(buckets, 2, 2, 0, 3) == epoch_batches(buckets, 2, 2, 0, 3)
    assert epoch_batches(buckets, 2, 2, 0, 3) != epoch_batches(buckets, 2, 2, 0, 4)
    assert epoch_batches(buckets, 2, 2, 0, 3) != epoch_batches(buckets, 2, 2, 1, 3)


def test_a_photo_comes_again_only_after_all_the_others() -> None:
    batches = epoch_batches({SQUARE: tuple(range(7))}, 3, 7, 5, 0)
    assert all(sorted(batch.items) == list(range(7)) for batch in batches)


def test_sizes_follow_one_sequence_whatever_the_seed() -> None:
    buckets = {SQUARE: tuple(range(6)), WIDE: (6, 7)}
    sequence = bucket_sequence(buckets, 2, 2)
    assert Counter(sequence) == {SQUARE: 6, WIDE: 2}
    for seed, epoch in ((0, 0), (1, 0), (0, 1)):
        batches = epoch_batches(buckets, 2, 2, seed, epoch)
        assert tuple(batch.bucket for batch in batches) == sequence
        assert all(set(batch.items) <= set(buckets[batch.bucket]) for batch in batches)
    assert sequence.index(WIDE) < 4  # spread, not at the end
