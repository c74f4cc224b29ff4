"""Buckets: which size each photo is trained at, and what is cut off it. Arithmetic on widths and heights only.

All images of a step have one size, a bucket. ``square`` has one bucket. ``kohya`` chooses as sd-scripts does
(``library/model_util.py: make_bucket_resolutions``, ``library/train_util.py: BucketManager.select_bucket``), held to
it by ``tests/data/sd_scripts_buckets.json``. ``aspect`` chooses from the same sizes the one that cuts off least, so
that a photo and the same one turned by 90 degrees fare alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from lorasweep.errors import UserError

if TYPE_CHECKING:
    from lorasweep.config.photos import DataConfig

Size = tuple[int, int]
"""Width and height in pixels."""
SHORTEST, LONGEST, STEP = 256, 2048, 64
"""What ``data.bucket_min``, ``bucket_max`` and ``bucket_step`` are at most if they are not set. Pixels."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How one photo gets to the size of its bucket: scaled, then cut evenly on both sides."""

    size: Size
    """Of the photo on disk."""
    bucket: Size
    """Of the image that is trained on."""
    resized: Size
    """After scaling and before cutting; nowhere smaller than ``bucket``."""
    fitted: bool = False
    """Whether it is scaled and cut in one go, at fractions of a pixel, as squares always were (``pictures.cover``)."""

    @property
    def corner(self) -> Size:
        """Left and top of what is kept, in pixels of ``resized``."""
        return (self.resized[0] - self.bucket[0]) // 2, (self.resized[1] - self.bucket[1]) // 2

    @property
    def scale(self) -> float:
        """By how much the photo is scaled; above 1 it is enlarged."""
        return max(self.resized) / max(self.size)

    @property
    def cut(self) -> float:
        """Share of the photo's area that is cut off. 0 to 1."""
        return 1 - (self.bucket[0] * self.bucket[1]) / (self.resized[0] * self.resized[1])


@dataclass(frozen=True, kw_only=True)
class BucketRow:
    """One bucket and what becomes of its photos in an epoch."""

    bucket: Size
    pictures: int
    shown: int
    """Images an epoch: repeats counted."""
    steps: int
    filled: int
    """Images that are shown once more than asked, so that the last step is full."""
    largest_cut: float
    """Share of the area that the worst placed photo loses. 0 to 1."""
    largest_scale: float
    """Of the photo that is enlarged most; below 1 all are made smaller."""


@dataclass(frozen=True, kw_only=True)
class BucketRule:
    """How buckets are chosen, every default filled in."""

    kind: str
    """square, aspect or kohya."""
    side: int
    """``model.resolution``: a bucket has no more pixels than this squared."""
    upscale: bool
    shortest: int
    longest: int
    step: int

    @property
    def sizes(self) -> tuple[Size, ...]:
        """All buckets, sorted, if photos may be enlarged: the largest of each width and of each height."""
        if self.kind == "square":
            return ((self.side, self.side),)
        area, step = self.side**2, self.step
        square = self.side // step * step
        found = {(square, square)}
        for width in range(self.shortest, self.longest + 1, step):
            height = min(self.longest, area // width // step * step)
            if height >= self.shortest:
                found |= {(width, height), (height, width)}
        return tuple(sorted(found))


def bucket_rule(data: "DataConfig", side: int, unit: int = 8) -> BucketRule:
    """Return the rule that ``data`` asks for.

    Args:
        side: ``model.resolution``.
        unit: pixels that must divide every side of an image that the base model is shown.

    Raises:
        UserError: the numbers contradict each other or the base model.
    """
    # half and quarter sides: small models, such as the drawn world's at 64 pixels, still get several buckets
    step = data.bucket_step or max(unit, min(STEP, side // 4) // unit * unit)
    shortest = data.bucket_min or max(step, min(SHORTEST, side // 2))
    longest = data.bucket_max or min(LONGEST, 4 * side)
    if data.buckets != "square":
        _require_step(step, side, unit)
        if data.upscale:  # without it neither is used, as in sd-scripts
            _require_sides(shortest, longest, step, side)
    return BucketRule(
        kind=data.buckets,
        side=side,
        upscale=data.upscale,
        # the shortest side is rounded down to steps and the longest up, as in sd-scripts
        shortest=shortest // step * step,
        longest=-(-longest // step) * step,
        step=step,
    )


def _require_step(step: int, side: int, unit: int) -> None:
    if step % unit:
        raise UserError(
            f"data.bucket_step is {step}; for this model.family it must be a number of pixels that {unit} divides."
        )
    if step > side:
        raise UserError(f"data.bucket_step is {step}; it must be at most model.resolution={side}.")


def _require_sides(shortest: int, longest: int, step: int, side: int) -> None:
    if shortest > longest:
        raise UserError(f"data.bucket_min is {shortest}; it must be at most data.bucket_max={longest}.")
    if shortest < step:
        raise UserError(f"data.bucket_min is {shortest}; it must be at least data.bucket_step={step}.")
    if shortest // step * step > side:
        raise UserError(f"data.bucket_min is {shortest}; it must be at most model.resolution={side}.")
    if -(-longest // step) * step < side:
        raise UserError(f"data.bucket_max is {longest}; it must be at least model.resolution={side}.")


def place_pictures(sizes: Sequence[Size], rule: BucketRule, names: Sequence[str] = ()) -> tuple[Placement, ...]:
    """Return how each photo gets to its bucket, in order.

    Args:
        sizes: of the photos on disk.
        names: of the photos, for errors.

    Raises:
        UserError: a photo that may not be enlarged is smaller than ``data.bucket_step``.
    """
    buckets = rule.sizes
    placed: list[Placement] = []
    for number, size in enumerate(sizes):
        found = _place(size, rule, buckets)
        if found is None:
            name = names[number] if names else f"picture {number + 1}"
            raise UserError(
                f"{name} has {size[0]} x {size[1]} pixels, of which no bucket with sides of at least {rule.step} "
                "can be cut without enlarging it; set data.upscale=true or leave the picture out."
            )
        placed.append(found)
    return tuple(placed)


def _place(size: Size, rule: BucketRule, buckets: Sequence[Size]) -> Placement | None:
    """Return None if the photo is too small for every bucket that it need not be enlarged for."""
    if rule.kind == "square":
        return square_placement(size, rule.side)
    if rule.upscale:
        chosen = _nearest_ratio(size, buckets) if rule.kind == "kohya" else _least_cut(size, buckets)
        return Placement(size=size, bucket=chosen, resized=_covering(size, chosen))
    return _kohya_unenlarged(size, rule) if rule.kind == "kohya" else _least_cut_unenlarged(size, rule)


def square_placement(size: Size, side: int) -> Placement:
    """Return the placement of a photo that is cut to a square of ``side`` pixels."""
    width, height = size
    scale = max(side / width, side / height)
    resized = side + round(width * scale - side), side + round(height * scale - side)
    return Placement(size=size, bucket=(side, side), resized=resized, fitted=True)


def _nearest_ratio(size: Size, buckets: Sequence[Size]) -> Size:
    # Kohya's choice goes by the difference of width / height, which says little of what is cut off a tall photo
    ratio = size[0] / size[1]
    return min(buckets, key=lambda bucket: abs(bucket[0] / bucket[1] - ratio))


def _least_cut(size: Size, buckets: Sequence[Size]) -> Size:
    """Return the bucket that keeps most of the photo; of several, the largest."""

    def loss(bucket: Size) -> tuple[Fraction, int]:
        # fractions, not floats: a photo and the same one turned must tie exactly
        across, down = size[0] * bucket[1], size[1] * bucket[0]
        return -Fraction(min(across, down), max(across, down)), -bucket[0] * bucket[1]

    return min(buckets, key=loss)


def _covering(size: Size, bucket: Size) -> Size:
    """Return the size of the photo scaled until it covers the bucket, by sd-scripts' own arithmetic."""
    width, height = size
    wide = width / height > bucket[0] / bucket[1]
    scale = bucket[1] / height if wide else bucket[0] / width
    return int(width * scale + 0.5), int(height * scale + 0.5)


def _kohya_unenlarged(size: Size, rule: BucketRule) -> Placement | None:
    """Place a photo as sd-scripts' ``bucket_no_upscale``: too large ones shrink, then sides are cut to whole steps."""
    if size[0] * size[1] <= rule.side**2:
        return _floored(size, size, rule.step)
    ratio = size[0] / size[1]
    width = math.sqrt(rule.side**2 * ratio)
    across, down = _steps(width, rule.step), _steps(rule.side**2 / width, rule.step)
    beside, above = _steps(across / ratio, rule.step), _steps(down * ratio, rule.step)
    if not (across and down and beside and above):
        return None
    if abs(across / beside - ratio) < abs(above / down - ratio):
        return _floored(size, (across, int(across / ratio + 0.5)), rule.step)
    return _floored(size, (int(down * ratio + 0.5), down), rule.step)


def _steps(length: float, step: int) -> int:
    """Return ``length`` rounded, then brought down to whole steps."""
    return int(length + 0.5) // step * step


def _least_cut_unenlarged(size: Size, rule: BucketRule) -> Placement | None:
    """Bring the photo's width, or its height, down to whole steps, whichever cuts off less."""
    width, height = size
    shrunk = min(1.0, math.sqrt(rule.side**2 / (width * height)))
    across, down = int(width * shrunk) // rule.step * rule.step, int(height * shrunk) // rule.step * rule.step
    if not across or not down:
        return None
    ways = [(across, int(height * across / width + 0.5)), (int(width * down / height + 0.5), down)]
    placed = [found for resized in ways if (found := _floored(size, resized, rule.step))]
    return min(placed, key=lambda found: (found.cut, -found.bucket[0] * found.bucket[1]), default=None)


def _floored(size: Size, resized: Size, step: int) -> Placement | None:
    bucket = resized[0] // step * step, resized[1] // step * step
    return Placement(size=size, bucket=bucket, resized=resized) if min(bucket) else None


def bucket_table(placements: Sequence[Placement], repeats: Sequence[int], rows: int) -> tuple[BucketRow, ...]:
    """Return what becomes of the photos in an epoch, one row a bucket, sorted by bucket.

    Args:
        repeats: how often each photo is seen in an epoch.
        rows: images a step.
    """
    buckets = {placed.bucket for placed in placements}
    members = {bucket: [n for n, placed in enumerate(placements) if placed.bucket == bucket] for bucket in buckets}
    table: list[BucketRow] = []
    for bucket, numbers in sorted(members.items()):
        shown = sum(repeats[number] for number in numbers)
        steps = -(-shown // rows)
        table.append(
            BucketRow(
                bucket=bucket,
                pictures=len(numbers),
                shown=shown,
                steps=steps,
                filled=steps * rows - shown,
                largest_cut=max(placements[number].cut for number in numbers),
                largest_scale=max(placements[number].scale for number in numbers),
            )
        )
    return tuple(table)


def steps_an_epoch(table: Sequence[BucketRow]) -> int:
    """Return the optimiser steps of an epoch: more than images / rows if there are many buckets."""
    return sum(row.steps for row in table)
