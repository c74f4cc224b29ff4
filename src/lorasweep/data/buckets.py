"""Which size each picture is trained at, and what is cut off it: arithmetic on widths and heights only.

Steps have pictures of one size, a bucket. ``square`` has one bucket. ``kohya`` chooses as sd-scripts does
(``library/model_util.py: make_bucket_resolutions``, ``library/train_util.py: BucketManager.select_bucket``), held to
it by ``tests/data/sd_scripts_buckets.json``. ``aspect`` chooses from the same sizes what cuts off least, so that a
picture and the same one turned by 90 degrees fare alike.
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
"""What ``data.bucket_min``, ``bucket_max`` and ``bucket_step`` are at most where they are not set."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How one picture gets to the size of its bucket: scaled, then cut evenly on both sides."""

    size: Size
    """The picture as it is on disk."""
    bucket: Size
    """The picture as it is trained on."""
    resized: Size
    """After scaling and before cutting; nowhere smaller than ``bucket``."""
    fitted: bool = False
    """Scaled and cut in one go, at fractions of a pixel, as squares always were (``pictures.cover``)."""

    @property
    def corner(self) -> Size:
        """Left and top of what is kept, in pixels of ``resized``."""
        return (self.resized[0] - self.bucket[0]) // 2, (self.resized[1] - self.bucket[1]) // 2

    @property
    def scale(self) -> float:
        """Above 1 the picture is enlarged."""
        return max(self.resized) / max(self.size)

    @property
    def cut(self) -> float:
        """Share of the picture's area that is cut off. 0 to 1."""
        return 1 - (self.bucket[0] * self.bucket[1]) / (self.resized[0] * self.resized[1])


@dataclass(frozen=True, kw_only=True)
class BucketRow:
    """One size and what becomes of its pictures in an epoch."""

    bucket: Size
    pictures: int
    shown: int
    """Pictures an epoch: repeats counted."""
    steps: int
    filled: int
    """Pictures that are shown once more than asked, so that the last step is full."""
    largest_cut: float
    """Share of the area that the worst placed picture loses. 0 to 1."""
    largest_scale: float
    """Of the picture that is enlarged most; below 1 all are made smaller."""


@dataclass(frozen=True, kw_only=True)
class BucketRule:
    """How sizes are chosen, every number settled."""

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
        """The buckets there are, sorted, where pictures may be enlarged: the largest of each width and height."""
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
    """The rule that ``data`` asks for; shortest sides are rounded down to steps and longest up, as in sd-scripts.

    Args:
        side: ``model.resolution``.
        unit: pixels that must divide every side of a picture that the base model is shown.

    Raises:
        UserError: the numbers contradict each other or the base model.
    """
    step = data.bucket_step or max(unit, min(STEP, side // 4) // unit * unit)
    shortest = data.bucket_min or max(step, min(SHORTEST, side // 2))
    longest = data.bucket_max or min(LONGEST, 4 * side)
    if data.buckets != "square":
        _require_step(step, side, unit)
        if data.upscale:  # else neither is used
            _require_sides(shortest, longest, step, side)
    return BucketRule(
        kind=data.buckets,
        side=side,
        upscale=data.upscale,
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
    """How each picture gets to its bucket, in order.

    Args:
        sizes: of the pictures on disk.
        names: of the pictures, for errors.

    Raises:
        UserError: a picture that may not be enlarged is smaller than a step of the sizes.
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
    """None where the picture is too small for any bucket that it need not be enlarged for."""
    if rule.kind == "square":
        return square_placement(size, rule.side)
    if rule.upscale:
        chosen = _nearest_ratio(size, buckets) if rule.kind == "kohya" else _least_cut(size, buckets)
        return Placement(size=size, bucket=chosen, resized=_covering(size, chosen))
    return _kohya_unenlarged(size, rule) if rule.kind == "kohya" else _least_cut_unenlarged(size, rule)


def square_placement(size: Size, side: int) -> Placement:
    """A picture cut to a square of ``side`` pixels."""
    width, height = size
    scale = max(side / width, side / height)
    resized = side + round(width * scale - side), side + round(height * scale - side)
    return Placement(size=size, bucket=(side, side), resized=resized, fitted=True)


def _nearest_ratio(size: Size, buckets: Sequence[Size]) -> Size:
    """Kohya's choice: by the difference of width / height, which is no measure of what is cut off a tall picture."""
    ratio = size[0] / size[1]
    return min(buckets, key=lambda bucket: abs(bucket[0] / bucket[1] - ratio))


def _least_cut(size: Size, buckets: Sequence[Size]) -> Size:
    """Ours: the bucket that keeps most of the picture; of several, the largest."""

    def loss(bucket: Size) -> tuple[Fraction, int]:
        across, down = size[0] * bucket[1], size[1] * bucket[0]
        return -Fraction(min(across, down), max(across, down)), -bucket[0] * bucket[1]

    return min(buckets, key=loss)


def _covering(size: Size, bucket: Size) -> Size:
    """The picture scaled until it covers the bucket, with sd-scripts' own arithmetic."""
    width, height = size
    wide = width / height > bucket[0] / bucket[1]
    scale = bucket[1] / height if wide else bucket[0] / width
    return int(width * scale + 0.5), int(height * scale + 0.5)


def _kohya_unenlarged(size: Size, rule: BucketRule) -> Placement | None:
    """sd-scripts' ``bucket_no_upscale``: a picture with too many pixels shrinks, then sides are cut to whole steps."""
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
    """``length`` rounded, then down to whole steps."""
    return int(length + 0.5) // step * step


def _least_cut_unenlarged(size: Size, rule: BucketRule) -> Placement | None:
    """Ours: of the picture with its width, or its height, brought down to whole steps, what cuts off less."""
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
    """What becomes of the pictures in an epoch, one row a size, sorted by size.

    Args:
        repeats: how often each picture is seen in an epoch.
        rows: pictures a step.
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
    """Optimiser steps an epoch: more than pictures / rows where there are many sizes."""
    return sum(row.steps for row in table)
