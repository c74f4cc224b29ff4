"""Which pictures a step sees: a pure function of (seed, epoch)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lorasweep.train.randomness import stream

Bucket = tuple[int, int]
"""Width and height in pixels of the pictures of a batch."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of one optimiser step, all of one size."""

    bucket: Bucket
    items: tuple[int, ...]


def bucket_sequence(buckets: Mapping[Bucket, tuple[int, ...]], repeats: Sequence[int], rows: int) -> tuple[Bucket, ...]:
    """The sizes of an epoch's steps: the same in every epoch and for every seed, each size spread evenly.

    Args:
        buckets: picture size to the indices of its photos.
        repeats: how often each photo is seen in an epoch, by its index.
        rows: pictures a step: batch size times gradient accumulation.
    """
    places = []
    for bucket, items in buckets.items():
        count = -(-sum(repeats[item] for item in items) // rows)
        places += [((i + 0.5) / count, bucket) for i in range(count)]
    return tuple(bucket for _, bucket in sorted(places))


def epoch_batches(
    buckets: Mapping[Bucket, tuple[int, ...]], repeats: Sequence[int], rows: int, seed: int, epoch: int
) -> tuple[Pictures, ...]:
    """The steps of one epoch.

    Every pass over a bucket shows each of its photos that has repeats left once, in an order of its own. The last
    step of a bucket is filled up from the front of the epoch's first pass, so that all steps have ``rows`` pictures.
    """
    queues = {bucket: _shuffled(bucket, items, repeats, rows, seed, epoch) for bucket, items in buckets.items()}
    batches = []
    for bucket in bucket_sequence(buckets, repeats, rows):
        queue = queues[bucket]
        batches.append(Pictures(bucket, tuple(queue[:rows])))
        del queue[:rows]
    return tuple(batches)


def _shuffled(
    bucket: Bucket, items: tuple[int, ...], repeats: Sequence[int], rows: int, seed: int, epoch: int
) -> list[int]:
    generator = stream(seed, f"order/{bucket[0]}x{bucket[1]}", epoch=epoch)
    queue: list[int] = []
    for number in range(max(repeats[item] for item in items)):
        left = [item for item in items if repeats[item] > number]
        queue += [left[i] for i in generator.permutation(len(left))]
    missing = -len(queue) % rows
    return (queue * (2 + missing // max(1, len(queue))))[: len(queue) + missing]
