from pathlib import Path

import numpy as np
import pytest
from contracts.facts import picture

from lorasweep.check.copies import LOOK, LOOK_COLOUR, NEAR, NEAR_COLOUR, check_copies, copies_of


def flipped(hashes, bits, trim=0):
    """The hashes with ``bits`` of the first turned over, and all others far from anything."""
    changed = hashes.copy()
    changed[trim, :bits] ^= True
    return changed


def shifted(thumbnails, share):
    """The thumbnails with every channel moved by ``share`` of the whole range, none of them cut off at its end."""
    step = round(share * 255)
    return np.where(thumbnails < 128, thumbnails + step, thumbnails - step).astype(np.uint8)


def pair(bits=0, colour=0.0, **facts):
    """A picture, and one that differs from it by so many bits and so much colour."""
    one, other = picture("a.png", seed=1), picture("b.png", seed=2)
    hashes = other.hashes.copy()
    hashes[0] = flipped(one.hashes, bits)[0]
    thumbnails = other.thumbnails.copy()
    thumbnails[0] = shifted(one.thumbnails[0], colour)
    return one, picture("b.png", seed=2, **{"hashes": hashes, "thumbnails": thumbnails, **facts})


def test_a_picture_that_is_there_twice_names_the_first_and_says_what_to_do():
    (finding,) = check_copies(pair())
    assert (finding.kind, finding.level, finding.paths) == ("duplicate", "warning", (Path("b.png"), Path("a.png")))
    assert finding.text == "b.png shows the same as a.png; keep the better one, or it counts double."


def test_other_pictures_are_passed_in_silence():
    assert check_copies([picture(f"{seed}.png", seed=seed) for seed in range(12)]) == []
    assert check_copies([picture("a.png")]) == []
    assert check_copies([]) == []


@pytest.mark.parametrize(
    ("bits", "colour", "copied"),
    [
        (NEAR, NEAR_COLOUR - 0.01, True),
        (NEAR, NEAR_COLOUR + 0.01, False),
        (NEAR + 1, LOOK_COLOUR - 0.01, True),
        (NEAR + 1, LOOK_COLOUR + 0.01, False),
        (LOOK, LOOK_COLOUR - 0.01, True),
        (LOOK + 1, 0.0, False),
    ],
)
def test_the_fewer_bits_are_alike_the_closer_the_colours_must_be(bits, colour, copied):
    assert bool(check_copies(pair(bits, colour))) is copied


def test_a_mirrored_copy_is_told_from_a_plain_one():
    one = picture("a.png", seed=1)
    other = picture("b.png", seed=2)
    hashes, thumbnails = other.hashes.copy(), other.thumbnails.copy()
    hashes[0], thumbnails[0] = one.mirror_hashes[0], one.thumbnails[0, :, ::-1]
    (finding,) = check_copies([one, picture("b.png", seed=2, hashes=hashes, thumbnails=thumbnails)])
    assert (finding.kind, finding.paths) == ("mirrored_duplicate", (Path("b.png"), Path("a.png")))
    assert finding.text.startswith("b.png is a.png mirrored; nobody's face is symmetric")


@pytest.mark.parametrize("trim", [1, 2])
def test_a_copy_whose_edge_was_cut_off_is_found_by_the_trims_of_either(trim):
    one, other = picture("a.png", seed=1), picture("b.png", seed=2)
    hashes, thumbnails = other.hashes.copy(), other.thumbnails.copy()
    hashes[0], thumbnails[0] = one.hashes[trim], one.thumbnails[trim]
    cut = picture("b.png", seed=2, hashes=hashes, thumbnails=thumbnails)
    assert copies_of([one, cut]) == [(1, 0, False)]
    assert copies_of([cut, one]) == [(1, 0, False)]


def test_the_copy_of_a_copy_names_the_first():
    one, two = pair(bits=2, colour=0.02)
    three = picture("c.png", seed=3, hashes=two.hashes, thumbnails=two.thumbnails)
    far = picture("d.png", seed=4)
    assert copies_of([one, far, two, three]) == [(2, 0, False), (3, 0, False)]
    assert [finding.paths for finding in check_copies([one, far, two, three])] == [
        (Path("b.png"), Path("a.png")),
        (Path("c.png"), Path("a.png")),
    ]
