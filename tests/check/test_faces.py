from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contracts.facts import face

from lorasweep.check.faces import (
    BLUR_PIXELS,
    BLURRED,
    FEW,
    LEAST_SPREAD,
    OUTLIER,
    SAME_PERSON,
    SMALL_FACE,
    check_faces,
    is_blurred,
    other_people,
)

SIDE = 512


def kinds(*faces, resolution=SIDE):
    return [(str(finding.paths[0]), finding.kind) for finding in check_faces(faces, resolution)]


def at(cosine):
    """A unit vector that has this cosine to the one that all sound faces have."""
    return np.array([[cosine, np.sqrt(1 - cosine**2), 0.0]])


def crowd(count):
    return [face(f"{number}.png") for number in range(count)]


def test_a_sharp_large_face_is_passed_in_silence():
    assert kinds(*crowd(FEW)) == []


def test_a_picture_without_a_face_is_named_and_nothing_else_is_said_of_it():
    nobody = face("a.png", count=0, box=np.full(4, np.nan), blur=np.nan, pixels=np.nan, identity=np.zeros((0, 0)))
    (finding,) = check_faces([nobody], SIDE)
    assert (finding.kind, finding.level, finding.paths) == ("no_face", "warning", (Path("a.png"),))
    assert finding.text.startswith("a.png shows no face that could be found; ")


def test_several_faces_are_counted():
    (finding,) = check_faces([face("a.png"), face("b.png", count=3)], SIDE)
    assert (finding.kind, finding.paths) == ("several_faces", (Path("b.png"),))
    assert finding.text == "b.png shows 3 faces; crop it to the one that is to be learned."


def test_a_face_is_small_as_a_share_of_its_picture_and_its_pixels_are_those_of_training():
    assert kinds(face("a.png", side=SMALL_FACE * 512 - 1)) == [("a.png", "small_face")]
    assert kinds(face("a.png", side=SMALL_FACE * 512 + 1)) == []
    (finding,) = check_faces([face("a.png", side=SMALL_FACE * 1000 / 2, width=2000, height=500)], 1024)
    pixels = round(SMALL_FACE / 2 * 1024)
    assert finding.text == f"a.png has a face of {pixels} pixels when trained at 1024; crop it closer to the face."


def test_a_face_is_blurred_past_what_its_own_pixels_explain():
    for pixels in (50.0, 160.0):
        bound = BLURRED + BLUR_PIXELS / pixels
        assert not is_blurred(face("a.png", blur=bound - 1e-4, pixels=pixels))
        assert is_blurred(face("a.png", blur=bound + 1e-4, pixels=pixels))
    (finding,) = check_faces([face("a.png", blur=0.25)], SIDE)
    assert finding.kind == "blurred_face"
    assert finding.text == "a.png has a blurred face: its sharpest edges are 25.0% of it wide; find a sharper picture."


def test_a_small_face_is_not_called_blurred_as_well():
    assert kinds(face("a.png", side=SMALL_FACE * 256, blur=0.5)) == [("a.png", "small_face")]


def test_a_stranger_is_named_beside_enough_others():
    stranger = face("x.png", identity=at(0.0))
    assert other_people([*crowd(FEW - 1), stranger]) == {FEW - 1}
    assert other_people([*crowd(FEW - 2), stranger]) == frozenset()
    (finding,) = check_faces([stranger, *crowd(FEW)], SIDE)
    assert (finding.kind, finding.paths) == ("other_person", (Path("x.png"),))
    assert finding.text == "x.png looks like another person than the others show; take it out if it is."


def test_who_is_as_like_as_one_person_can_be_is_no_stranger():
    assert other_people([*crowd(FEW), face("x.png", identity=at(SAME_PERSON + 0.01))]) == frozenset()
    assert other_people([*crowd(FEW), face("x.png", identity=at(SAME_PERSON - 0.01))]) == {FEW}


def test_where_all_are_unlike_each_other_nobody_is_the_stranger():
    alike = SAME_PERSON - 0.1
    angles = np.sqrt(alike)
    people = np.eye(FEW + 1) * np.sqrt(1 - alike)
    faces = [
        replace(one, identity=np.concatenate([[angles], own])[None])
        for one, own in zip(crowd(FEW + 1), people, strict=True)
    ]
    assert other_people(faces) == frozenset()
    assert alike > OUTLIER * LEAST_SPREAD, "a stranger to all of them has 0 and stands out"
    apart = replace(faces[0], identity=np.concatenate([[0.0], np.zeros(FEW), [1.0]])[None])
    assert other_people([apart, *faces[1:]]) == {0}


def test_a_picture_of_several_people_or_of_none_that_can_be_told_is_not_judged():
    several = face("x.png", count=2, identity=at(0.0))
    unknown = face("y.png", identity=np.zeros((0, 0)))
    assert other_people([*crowd(FEW), several, unknown]) == frozenset()
    assert other_people([*crowd(FEW - 1), several]) == frozenset()


def test_the_view_of_a_face_that_is_most_alike_counts():
    once = face("x.png", identity=np.concatenate([at(0.0), at(0.0), at(0.0), at(1.0)]))
    others = [replace(one, identity=np.repeat(one.identity, 4, axis=0)) for one in crowd(FEW)]
    assert other_people([*others, once]) == frozenset()
    assert other_people([*others, replace(once, identity=np.repeat(at(0.0), 4, axis=0))]) == {FEW}


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_face_is_no_error(count):
    assert kinds(*crowd(count)) == []
