"""Which size each picture is trained at."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorasweep.config.photos import DataConfig
from lorasweep.data.buckets import (
    BucketRule,
    Placement,
    bucket_rule,
    bucket_table,
    place_pictures,
    square_placement,
    steps_an_epoch,
)
from lorasweep.data.pictures import cover, placed
from lorasweep.errors import UserError

SD_SCRIPTS = json.loads(Path(__file__).with_name("sd_scripts_buckets.json").read_text())["sets"]


def config(**changes) -> DataConfig:
    return DataConfig(path="photos", **changes)


def placements(sizes, side=1024, **changes):
    return place_pictures(sizes, bucket_rule(config(**changes), side))


def test_kohya_is_what_sd_scripts_does_with_two_hundred_sets_of_sizes() -> None:
    assert len(SD_SCRIPTS) == 200
    assert {one["upscale"] for one in SD_SCRIPTS} == {True, False}
    assert {one["target"] for one in SD_SCRIPTS} == {512, 768, 1024}
    for number, one in enumerate(SD_SCRIPTS):
        limits = {"bucket_min": one["min"], "bucket_max": one["max"], "bucket_step": one["step"]}
        rule = bucket_rule(config(buckets="kohya", upscale=one["upscale"], **limits), one["target"])
        *sizes, repeats = zip(*one["pictures"], strict=True)
        found = place_pictures(list(zip(*sizes, strict=True)), rule)
        assert [[*each.bucket, *each.resized] for each in found] == one["placed"], number
        assert steps_an_epoch(bucket_table(found, repeats, one["batch"])) == one["steps"], number


@pytest.mark.parametrize(("side", "limits", "count"), [(512, (256, 1024), 17), (768, (256, 2048), 41)])
def test_there_are_as_many_sizes_as_in_sd_scripts_and_none_has_more_pixels_than_the_square(side, limits, count) -> None:
    rule = bucket_rule(config(bucket_min=limits[0], bucket_max=limits[1]), side)
    assert len(rule.sizes) == count
    assert max(width * height for width, height in rule.sizes) == side**2


SIZES = st.tuples(st.integers(64, 5000), st.integers(64, 5000)).filter(lambda size: max(size) <= 3 * min(size))


@given(SIZES, st.sampled_from((512, 768, 1024)))
def test_aspect_cuts_off_as_little_as_any_size_there_is(size, side) -> None:
    rule = bucket_rule(config(), side)
    (found,) = place_pictures([size], rule)
    kept = {bucket: min(size[0] * bucket[1], size[1] * bucket[0]) for bucket in rule.sizes}
    shares = {b: kept[b] / max(size[0] * b[1], size[1] * b[0]) for b in rule.sizes}
    assert shares[found.bucket] == max(shares.values())
    assert found.bucket[0] <= found.resized[0] and found.bucket[1] <= found.resized[1]


@given(SIZES, st.sampled_from((64, 512, 1024)), st.booleans())
def test_a_turned_picture_gets_the_turned_size(size, side, upscale) -> None:
    upright, turned = placements([size, size[::-1]], side, upscale=upscale)
    assert turned.bucket == upright.bucket[::-1]
    assert turned.resized == upright.resized[::-1]


def test_kohya_does_not_turn_the_size_with_the_picture_as_sd_scripts_does_not() -> None:
    sizes = [(3983, 3301), (3301, 3983)]
    assert [each.bucket for each in placements(sizes, buckets="kohya")] == [(1088, 960), (896, 1152)]
    assert [each.bucket for each in placements(sizes)] == [(1088, 960), (960, 1088)]


@given(SIZES, st.sampled_from(("aspect", "kohya")), st.sampled_from((64, 512, 1024)))
def test_nothing_is_enlarged_where_upscale_is_false(size, kind, side) -> None:
    (found,) = placements([size], side, buckets=kind, upscale=False)
    assert found.resized[0] <= size[0] and found.resized[1] <= size[1]
    assert found.scale <= 1
    assert all(length and length % bucket_rule(config(), side).step == 0 for length in found.bucket)


def test_a_small_picture_is_shrunk_to_whole_steps_where_kohya_cuts_a_third_of_it_off() -> None:
    (ours,) = placements([(319, 319)], upscale=False)
    (kohyas,) = placements([(319, 319)], buckets="kohya", upscale=False)
    assert (ours.bucket, ours.resized, ours.cut) == ((256, 256), (256, 256), 0.0)
    assert (kohyas.bucket, kohyas.resized, round(kohyas.cut, 2)) == ((256, 256), (319, 319), 0.36)


@pytest.mark.parametrize("kind", ["aspect", "kohya"])
def test_a_picture_smaller_than_a_step_is_named_where_it_may_not_be_enlarged(kind) -> None:
    rule = bucket_rule(config(buckets=kind, upscale=False), 512)
    with pytest.raises(UserError, match=r"^strip\.png has 4000 x 20 pixels, of which no bucket with sides of at l"):
        place_pictures([(600, 600), (4000, 20)], rule, ["whole.png", "strip.png"])
    with pytest.raises(UserError, match=r"^picture 1 has 50 x 50 pixels"):
        place_pictures([(50, 50)], rule)


@pytest.mark.parametrize(
    ("side", "unit", "expected"),
    [(64, 8, (32, 256, 16)), (512, 8, (256, 2048, 64)), (32, 16, (16, 128, 16)), (72, 8, (32, 288, 16))],
)
def test_what_is_not_set_follows_the_models_resolution(side, unit, expected) -> None:
    rule = bucket_rule(config(), side, unit)
    assert (rule.shortest, rule.longest, rule.step) == expected
    assert all(length % unit == 0 for size in rule.sizes for length in size)


@pytest.mark.parametrize(
    ("changes", "unit", "says"),
    [
        ({"bucket_min": 600}, 8, "data.bucket_min is 600; it must be at most model.resolution=512."),
        ({"bucket_max": 400}, 8, "data.bucket_max is 400; it must be at least model.resolution=512."),
        ({"bucket_min": 512, "bucket_max": 500}, 8, "data.bucket_min is 512; it must be at most data.bucket_max=500."),
        ({"bucket_min": 32}, 8, "data.bucket_min is 32; it must be at least data.bucket_step=64."),
        (
            {"bucket_step": 24},
            16,
            "data.bucket_step is 24; for this model.family it must be a number of pixels that 16 divides.",
        ),
        ({"bucket_step": 1024}, 8, "data.bucket_step is 1024; it must be at most model.resolution=512."),
    ],
)
def test_nonsense_is_one_sentence_with_key_value_and_what_would_do(changes, unit, says) -> None:
    with pytest.raises(UserError) as caught:
        bucket_rule(config(**changes), 512, unit)
    assert str(caught.value) == says
    bucket_rule(config(buckets="square", **changes), 512, unit)  # there they mean nothing


def test_bounds_mean_nothing_where_pictures_are_not_enlarged() -> None:
    assert bucket_rule(config(upscale=False, bucket_min=600, bucket_max=400), 512).step == 64


def test_the_table_counts_short_steps_by_size() -> None:
    found = placements([(1024, 1024), (1024, 1024), (800, 1200)], bucket_min=256, bucket_max=2048)
    table = bucket_table(found, [3, 2, 3], 4)
    assert [(row.bucket, row.pictures, row.shown, row.steps, row.filled) for row in table] == [
        ((832, 1216), 1, 3, 1, 1),
        ((1024, 1024), 2, 5, 2, 3),
    ]
    assert steps_an_epoch(table) == 3
    assert table[0].largest_scale == pytest.approx(1.04)
    assert 0.02 < table[0].largest_cut < 0.03


PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 101, 3), dtype=np.uint8))


@given(st.integers(20, 200), st.integers(20, 200), st.sampled_from((32, 64)))
def test_a_square_is_cut_bit_for_bit_as_before_there_were_buckets(width, height, side) -> None:
    picture = PICTURE.resize((width, height))
    found = placed(picture, square_placement((width, height), side))
    assert np.array_equal(np.asarray(found), np.asarray(cover(picture, side, side)))


def test_a_square_photo_is_the_same_in_every_kind_of_bucket() -> None:
    picture = PICTURE.resize((200, 200))
    kinds = [placements([(200, 200)], 64, buckets=kind)[0] for kind in ("square", "aspect", "kohya")]
    pixels = [np.asarray(placed(picture, each)) for each in kinds]
    assert all(np.array_equal(pixels[0], other) for other in pixels)


def test_pixels_are_scaled_as_a_whole_and_then_cut_in_the_middle() -> None:
    placement = Placement(size=(101, 61), bucket=(64, 40), resized=(69, 42))
    assert placement.corner == (2, 1)
    scaled = np.asarray(PICTURE.resize((69, 42), Image.Resampling.LANCZOS))
    assert np.array_equal(np.asarray(placed(PICTURE, placement)), scaled[1:41, 2:66])
    untouched = Placement(size=(101, 61), bucket=(96, 32), resized=(101, 61))
    assert np.array_equal(np.asarray(placed(PICTURE, untouched)), np.asarray(PICTURE)[14:46, 2:98])


def test_a_rule_knows_nothing_of_the_order_of_pictures() -> None:
    rule = BucketRule(kind="aspect", side=512, upscale=True, shortest=256, longest=1024, step=64)
    sizes = [(300, 500), (900, 300), (512, 512)]
    assert place_pictures(sizes, rule)[::-1] == place_pictures(sizes[::-1], rule)
    assert dataclasses.replace(rule, kind="square").sizes == ((512, 512),)
