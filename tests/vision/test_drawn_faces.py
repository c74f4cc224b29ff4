"""Faces of drawn people in pictures of any size: who is there, where, and turned to which side."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lorasweep.portraits.people import Scene, sample_identity
from lorasweep.portraits.render import face_box, render
from lorasweep.vision import drawn_faces
from lorasweep.vision.describe import shipped_weights

SIDE = 256


@pytest.fixture(scope="module")
def finder():
    return drawn_faces.DrawnFaces(shipped_weights())


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(8)
    return [sample_identity(rng) for _ in range(3)]


def drawn(person, side=SIDE, seed=1, **scene):
    """The pixels of a photo."""
    return np.asarray(render(person, Scene(**scene), side, seed))


def test_one_person_is_one_face_where_it_was_drawn(finder, people):
    for person in people:
        found = finder.find(drawn(person))
        assert len(found.boxes) == 1
        ears_to_chin = face_box(person, Scene(), SIDE, 1)
        assert drawn_faces._shared(found.boxes[0], ears_to_chin) > 0.8
        np.testing.assert_allclose(np.linalg.norm(found.identity, axis=1), 1, atol=1e-5)


def test_two_people_side_by_side_are_two_faces(finder, people):
    both = np.concatenate([drawn(people[0]), drawn(people[1], seed=2)], axis=1)
    found = finder.find(both)
    assert len(found.boxes) == 2
    middles = sorted(found.boxes[:, [0, 2]].mean(axis=1))
    np.testing.assert_allclose(middles, [SIDE / 2, 1.5 * SIDE], atol=0.08 * SIDE)


def test_a_wall_is_nobody(finder):
    found = finder.find(np.full((200, 300, 3), 120, np.uint8))
    assert found.boxes.shape == (0, 4)
    assert np.isnan(found.turn)


def test_a_face_far_away_is_found_and_small(finder, people):
    far = Image.new("RGB", (512, 512), (52, 98, 214))
    far.paste(render(people[0], Scene(), 128, 1), (300, 320))
    found = finder.find(np.asarray(far))
    assert len(found.boxes) == 1
    left, top, right, bottom = found.boxes[0]
    assert 300 <= left < right <= 430
    assert 320 <= top < bottom <= 450


@pytest.mark.parametrize(("gaze", "sign"), [("left", -1), ("right", 1)])
def test_a_head_is_turned_to_the_side_of_the_picture_that_it_looks_to(finder, people, gaze, sign):
    assert [sign * finder.find(drawn(person, gaze=gaze)).turn > 1 for person in people] == [True] * 3
    assert [abs(finder.find(drawn(person, gaze="camera")).turn) <= 1 for person in people] == [True] * 3


def test_around_a_certain_face_nothing_smaller_is_looked_for(finder, people, monkeypatch):
    def looked_at():
        count = 0
        describe = type(finder._network).describe

        def counting(network, views):
            nonlocal count
            count += len(views)
            return describe(network, views)

        with monkeypatch.context() as patch:
            patch.setattr(type(finder._network), "describe", counting)
            boxes = finder.find(drawn(people[0])).boxes
        return count, boxes

    few, boxes = looked_at()
    monkeypatch.setattr(drawn_faces, "CERTAIN", 2.0)
    all_of_them, same = looked_at()
    assert few < all_of_them / 2
    np.testing.assert_allclose(boxes, same, atol=1)


def test_how_much_of_the_smaller_box_is_in_both():
    boxes = np.array([[0.0, 0, 4, 4], [2, 2, 4, 4], [5, 5, 6, 6]])
    assert drawn_faces._shared(boxes, np.array([0.0, 0, 2, 3])).tolist() == [1, 0, 0]
    assert drawn_faces._shared(boxes[0], np.array([2.0, 0, 10, 4])) == 0.5


def test_a_second_face_counts_where_the_other_network_sees_one_too(people):
    both = np.concatenate([drawn(people[0]), drawn(people[1], seed=2)], axis=1)
    finder = drawn_faces.DrawnFaces(shipped_weights())
    assert len(finder.find(both).boxes) == 2

    class Doubtful:
        """Takes the first of several for a face and no other."""

        def describe(self, pictures):
            return SimpleNamespace(face_probability=np.array([1.0] + [0.1] * (len(pictures) - 1)))

    finder._second = Doubtful()
    assert len(finder.find(both).boxes) == 1
