"""The shipped networks on renders that they were not trained on."""

import numpy as np
import pytest
import torch

from benchmarks.world.build_faces import area_under_curve, contrast, face_figures, make_album
from benchmarks.world.build_readers import accuracy
from benchmarks.world.build_scorer import ranked_first
from benchmarks.world.readers import load_readers, pose_from, pose_numbers
from benchmarks.world.stages import fresh_renders
from lorasweep.portraits.manifest import WEIGHTS
from lorasweep.portraits.networks import load_face_network, to_input
from lorasweep.portraits.render import pose_of


@pytest.fixture(scope="module")
def face():
    return load_face_network(WEIGHTS)


def test_readers_name_background_shirt_and_expression_of_fresh_renders():
    shares = accuracy(load_readers(), 200, seed=4242)
    assert shares["background"] >= 0.99
    assert shares["shirt"] >= 0.98
    assert shares["expression"] >= 0.98


@pytest.mark.parametrize("name", ["face", "face_confirm"])
def test_unseen_people_are_told_apart_and_their_landmarks_found(name):
    figures = face_figures(load_face_network(WEIGHTS, name), people=40, scenes=4, seed=4243)
    assert figures["verification AUC"] >= 0.985
    assert figures["landmark error in pixels"] <= 0.8
    assert figures["face or no face right"] >= 0.97


def test_the_two_face_networks_are_different_networks():
    pictures, _ = fresh_renders(2, 4244)
    one, other = (load_face_network(WEIGHTS, name).describe(pictures).embedding for name in ("face", "face_confirm"))
    assert np.abs(one - other).max() > 0.1


def test_embeddings_have_length_one_whatever_the_picture_is(face):
    pictures = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    assert np.linalg.norm(face.describe(pictures).embedding, axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_a_larger_picture_is_described_like_its_64_pixel_self(face):
    from PIL import Image

    pictures, _ = fresh_renders(4, 4245)
    large = np.stack([np.asarray(Image.fromarray(part).resize((192, 192), 2)) for part in pictures])
    small, big = face.describe(pictures), face.describe(large)
    assert (small.embedding * big.embedding).sum(1).min() > 0.9
    assert np.abs(small.landmarks - big.landmarks).max() < 0.03


def test_no_pictures_give_no_descriptions(face):
    assert face.describe(np.zeros((0, 64, 64, 3), np.uint8)).embedding.shape == (0, 64)


def test_pictures_that_are_no_bytes_are_refused():
    with pytest.raises(ValueError, match=r"float64 \(1, 64, 64, 3\), expected uint8"):
        to_input(np.zeros((1, 64, 64, 3)))


def test_a_pose_survives_being_written_as_numbers():
    _, subjects = fresh_renders(20, 4246)
    for _, scene, jitter in subjects:
        pose = pose_of(scene, jitter)
        numbers = pose_numbers(scene, pose)
        again = pose_from(scene, numbers)
        assert np.abs(numbers).max() <= 1 + 1e-6
        assert again.center == pytest.approx(pose.center, abs=1e-6)
        assert again.matrix == pytest.approx(pose.matrix, abs=1e-6)
        assert again.gain == pytest.approx(pose.gain, abs=1e-6)


def test_the_scorer_finds_the_caption_of_most_fresh_renders():
    assert ranked_first(WEIGHTS / "scorer", count=128, seed=4247) >= 0.8


def test_contrast_is_least_where_one_person_s_pictures_agree():
    apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    mixed = apart[[0, 2, 1, 3]]
    assert contrast(apart, 2, 0.1) == pytest.approx(0.0, abs=1e-3)
    assert contrast(mixed, 2, 0.1) > 5


def test_area_under_curve_counts_ties_half():
    assert area_under_curve(np.array([0.9, 0.5]), np.array([0.5, 0.1])) == pytest.approx(0.875)


def test_an_album_is_a_function_of_its_seed():
    one, same, other = make_album(2, 2, 5), make_album(2, 2, 5), make_album(2, 2, 6)
    assert np.array_equal(one.pictures, same.pictures)
    assert not np.array_equal(one.pictures, other.pictures)
    assert np.abs(one.points).max() <= 1
