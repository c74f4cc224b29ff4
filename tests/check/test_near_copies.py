"""A copy that was trimmed and one that was taken anew: what the colours of the nearest trim tell apart."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lorasweep.check.copies import LOOK, LOOK_COLOUR, NEAR, NEAR_COLOUR, copies_of
from lorasweep.data.picture_facts import facts_of

SIDE = 16
"""Of a thumbnail."""


@pytest.fixture
def facts(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return facts_of(tmp_path / "a.png", b"", Image.fromarray(pixels))


def other(facts, bits, difference, trim=0):
    """As ``facts``, but one trim has so many other bits and so much brighter a thumbnail; nothing else is near."""
    hashes = ~facts.hashes
    hashes[trim] = facts.hashes[0]
    hashes[trim, :bits] ^= True
    thumbnails = 255 - facts.thumbnails
    thumbnails[trim] = facts.thumbnails[0] + np.uint8(round(255 * difference))
    return replace(facts, hashes=hashes, thumbnails=thumbnails)


@pytest.mark.parametrize(
    ("bits", "difference", "copied"),
    [
        (0, NEAR_COLOUR - 0.01, True),
        (NEAR, NEAR_COLOUR - 0.01, True),
        (NEAR, NEAR_COLOUR + 0.01, False),
        (LOOK, LOOK_COLOUR - 0.01, True),
        (LOOK, LOOK_COLOUR + 0.01, False),
        (LOOK + 1, 0.0, False),
    ],
)
@pytest.mark.parametrize("trim", [0, 2])
def test_hashes_that_are_farther_need_nearer_colours(facts, bits, difference, copied, trim):
    dark = replace(facts, thumbnails=facts.thumbnails // 2)
    assert copies_of([dark, other(dark, bits, difference, trim)]) == ([(1, 0, False)] if copied else [])


def test_of_the_trims_that_are_near_the_one_with_the_nearest_colours_counts(facts):
    dark = replace(facts, thumbnails=facts.thumbnails // 2)
    copy = other(dark, 4, 0.0, trim=1)
    copy.hashes[0] = dark.hashes[0]  # nearer by its bits, in quite other colours
    assert copies_of([dark, copy]) == [(1, 0, False)]
