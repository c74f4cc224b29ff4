from pathlib import Path

import pytest
from contracts.facts import picture

from lorasweep.check.pictures import (
    ENLARGED,
    FAR_ABOVE,
    NEARLY_ENOUGH,
    PHOTO_DETAIL,
    SOFT,
    check_pictures,
)
from lorasweep.data.buckets import Placement

SHORTEST, LONGEST = 256, 1024


def placed(bucket=(512, 512), scale=1.0):
    resized = round(1000 * scale)
    return Placement(size=(1000, 1000), bucket=bucket, resized=(resized, resized))


def found(facts, placement=None):
    return check_pictures([facts], [placement], SHORTEST, LONGEST)


def kinds(facts, placement=None):
    return [finding.kind for finding in found(facts, placement)]


def test_a_sound_picture_is_passed_in_silence():
    assert found(picture("a.png"), placed()) == []


@pytest.mark.parametrize(
    ("facts", "kind", "level", "says"),
    [
        ({"bits": 16}, "sixteen_bit", "warning", "a.png has 16 bits a channel; it is scaled to 8, other trainers may "),
        ({"mode": "CMYK"}, "cmyk", "warning", "a.png is in CMYK, for printing; its colours change a little "),
        ({"alpha": True}, "alpha", "warning", "a.png is transparent in part; gray is put behind it and learned"),
        ({"turned": True}, "rotated", "advice", "a.png is turned upright by its EXIF; we do that, other trainers "),
        ({"frames": 7}, "animated", "warning", "a.png has 7 frames; only the first is used."),
    ],
)
def test_what_is_odd_about_a_file_is_said(facts, kind, level, says):
    (finding,) = found(picture("a.png", **facts), placed())
    assert (finding.kind, finding.level, finding.paths) == (kind, level, (Path("a.png"),))
    assert finding.text.startswith(says)


@pytest.mark.parametrize("facts", [{"mode": "RGBA"}, {"mode": "P"}, {"mode": "L"}, {"bits": 1, "mode": "1"}])
def test_other_ways_to_store_a_picture_are_none_of_our_business(facts):
    assert kinds(picture("a.png", **facts), placed()) == []


def test_each_picture_is_told_by_itself_and_all_that_is_odd_about_it():
    pictures = [picture("a.png", bits=16, alpha=True), picture("b.png"), picture("c.png", frames=2)]
    findings = check_pictures(pictures, [placed()] * 3, SHORTEST, LONGEST)
    assert [(finding.paths, finding.kind) for finding in findings] == [
        ((Path("a.png"),), "sixteen_bit"),
        ((Path("a.png"),), "alpha"),
        ((Path("c.png"),), "animated"),
    ]


def test_a_side_below_the_shortest_is_small_whatever_becomes_of_it():
    assert kinds(picture("a.png", width=SHORTEST, height=2000)) == []
    (finding,) = found(picture("a.png", width=2000, height=SHORTEST - 1), placed(scale=9.0))
    assert finding.kind == "small"
    assert finding.text == (
        f"a.png has 2000 x {SHORTEST - 1} pixels; its shorter side needs {SHORTEST} or more, so find the original or "
        "leave it out."
    )


def test_a_picture_that_is_enlarged_visibly_is_told_with_where_to():
    assert kinds(picture("a.png"), placed(scale=ENLARGED)) == []
    (finding,) = found(picture("a.png", width=400, height=500), placed((576, 704), scale=ENLARGED + 0.3))
    assert finding.kind == "upscaled"
    assert finding.text == (
        f"a.png has 400 x 500 pixels and is enlarged {ENLARGED + 0.3:.1f} times to 576 x 704; find a larger original."
    )


def test_a_soft_picture_is_told_when_its_detail_is_not_enough_for_training():
    assert kinds(picture("a.png", detail=SOFT), placed()) == []
    (finding,) = found(picture("a.png", detail=SOFT - 0.01), placed())
    side = round(512 * (SOFT - 0.01) / PHOTO_DETAIL)
    assert finding.kind == "upscaled"
    assert finding.text == (
        f"a.png has 512 x 512 pixels but the detail of about {side} x {side}, as if it was enlarged; find the original."
    )


def test_a_soft_picture_that_is_brought_down_far_enough_has_lost_nothing():
    detail = SOFT - 0.01
    enough = NEARLY_ENOUGH * 512 * PHOTO_DETAIL / detail
    above, below = round(enough * 1.01), round(enough * 0.99)
    assert "upscaled" not in kinds(picture("a.png", width=above, height=above, detail=detail), placed())
    assert "upscaled" in kinds(picture("a.png", width=below, height=below, detail=detail), placed())


def test_a_picture_far_above_the_largest_bucket_is_worth_a_crop():
    bound = round(FAR_ABOVE * LONGEST)
    assert kinds(picture("a.png", width=bound, height=600), placed()) == []
    (finding,) = found(picture("a.png", width=bound + 1, height=600), placed((704, 320)))
    assert (finding.kind, finding.level) == ("large", "advice")
    assert finding.text == (
        f"a.png has {bound + 1} x 600 pixels and is brought down to 704 x 320; a crop around the subject keeps more of "
        "it."
    )


def test_a_picture_that_no_size_was_found_for_is_told_small_only():
    assert kinds(picture("a.png", width=9999, height=600, detail=0.1), None) == []
    assert kinds(picture("a.png", width=9999, height=SHORTEST - 1), None) == ["small"]
