from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contracts.facts import face

from lorasweep.check.variety import (
    ALIKE,
    LEAST,
    LIGHTNESS,
    MOST_ALIKE,
    MOST_TURNED,
    check_set,
    distance,
    largest_group,
)

TEN = 10
ABOVE, AT = int(MOST_ALIKE * TEN) + 1, int(MOST_ALIKE * TEN)


def colours(number, regions=2):
    """Colours that are as far apart as two numbers, in a."""
    return np.tile([50.0, 10 * ALIKE * number, 0.0], regions)


def turned(*turns):
    return [face(f"{number}.png", turn=turn) for number, turn in enumerate(turns)]


def shown(part, alike, count=TEN):
    """Faces to all sides, the first ``alike`` of them with the same colours."""
    sides = (0.0, -2.0, 2.0)
    faces = [face(f"{row}.png", turn=sides[row % 3]) for row in range(count)]
    return [replace(one, **{part: colours(0 if row < alike else row)}) for row, one in enumerate(faces)]


@pytest.mark.parametrize(
    ("part", "kind", "says"),
    [
        ("background", "one_background", "are before the same background, which is learned with the subject"),
        ("outfit", "one_outfit", "show the same clothes, learned with the subject"),
    ],
)
def test_what_most_pictures_share_is_named_with_the_files_and_less_is_not(part, kind, says):
    assert check_set(shown(part, AT)) == []
    (finding,) = check_set(shown(part, ABOVE))
    assert (finding.kind, finding.level) == (kind, "warning")
    assert finding.paths == tuple(Path(f"{row}.png") for row in range(ABOVE))
    assert finding.text.startswith(f"{ABOVE} of {TEN} pictures {says}")


def test_of_few_pictures_nothing_is_said_and_those_without_a_face_do_not_count():
    few = [face(f"{row}.png", background=colours(0), outfit=colours(0)) for row in range(LEAST - 1)]
    nobody = [face(f"x{row}.png", count=0, turn=np.nan) for row in range(LEAST)]
    assert check_set([*few, *nobody]) == []
    findings = check_set([*few, *nobody, replace(few[0], path=Path("last.png"))])
    assert [finding.kind for finding in findings] == ["one_background", "one_outfit", "one_pose"]
    assert {len(finding.paths) for finding in findings} == {LEAST}
    assert all(finding.text.startswith(f"{LEAST} of {LEAST} ") for finding in findings)


@pytest.mark.parametrize(
    ("turn", "way"),
    [
        (0.9, "look into the camera"),
        (-1.1, "are turned to the left of the picture"),
        (1.1, "are turned to the right of the picture"),
    ],
)
def test_faces_that_all_look_one_way_are_named_and_a_mixture_is_not(turn, way):
    other = 5.0 if turn < 1 else -5.0
    count = 20
    most = int(MOST_TURNED * count)
    assert check_set(turned(*[turn] * most, *[other] * (count - most))) == []
    (finding,) = check_set(turned(*[other] * (count - most - 1), *[turn] * (most + 1)))
    assert (finding.kind, finding.level) == ("one_pose", "advice")
    assert finding.paths == tuple(Path(f"{row}.png") for row in range(count - most - 1, count))
    assert finding.text.startswith(f"{most + 1} of {count} faces {way}; the LoRA will draw little else")


def test_a_colour_counts_in_full_and_lightness_in_part():
    one = np.array([50.0, 0.0, 0.0])
    assert distance(one, np.array([50.0, 3.0, 4.0])) == 5.0
    assert distance(one, np.array([60.0, 0.0, 0.0])) == 10.0 * LIGHTNESS


def test_the_middle_of_the_regions_that_both_have_counts():
    unknown = [np.nan] * 3
    one = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 0], unknown]).ravel()
    other = np.array([[0.0, 0, 0], [0, 7, 0], unknown, [0, 99, 0]]).ravel()
    assert distance(one, other) == 3.5
    assert distance(np.full(6, np.nan), np.zeros(6)) == float("inf")


def test_a_group_is_who_is_alike_to_one_of_its_own():
    near = ALIKE * 0.9
    line = [np.array([0.0, near * place, 0.0]) for place in range(3)]  # the ends are alike to the middle alone
    far = [np.array([0.0, 500.0, 0.0]), np.full(3, np.nan)]
    assert largest_group([*line, *far]) == [0, 1, 2]
    assert largest_group([line[0], np.array([0.0, ALIKE, 0.0])]) == [0]
    assert largest_group([]) == []
