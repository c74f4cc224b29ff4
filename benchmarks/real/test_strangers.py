"""Aggregates over strangers, from vectors and landmarks that are made up here."""

import numpy as np
import pytest

from benchmarks.real import strangers


def test_both_groups_count_half_however_many_they_are():
    rng = np.random.default_rng(0)
    many, few = np.array([3.0, 0, 0]), np.array([-3.0, 2, 0])
    vectors = np.concatenate([many + 0.1 * rng.normal(size=(180, 3)), few + 0.1 * rng.normal(size=(40, 3))])
    np.testing.assert_allclose(strangers.balanced_mean(vectors), (many + few) / 2, atol=0.05)


def test_the_mean_shape_does_not_see_place_size_and_turn():
    rng = np.random.default_rng(1)
    plain = np.array([[-1, -1], [1, -1], [0, 0.2], [-0.8, 1], [0.8, 1]], dtype=np.float64)
    points = []
    for _ in range(50):
        angle = rng.uniform(-1, 1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points.append(rng.uniform(20, 90) * plain @ turn.T + rng.uniform(0, 300, 2))
    mean, placed = strangers.mean_shape(np.array(points))
    expected = plain - plain.mean(axis=0)
    np.testing.assert_allclose(mean, expected / np.linalg.norm(expected), atol=1e-9)
    np.testing.assert_allclose(placed, np.broadcast_to(mean, placed.shape), atol=1e-9)


def test_a_mean_over_few_people_is_not_made():
    with pytest.raises(ValueError, match="199 photos show one face; aggregates need 200 people"):
        strangers.aggregates(np.zeros((199, 128)), np.zeros((199, 5, 2)))


def test_what_ships_holds_no_row_a_person():
    rng = np.random.default_rng(2)
    points = np.array([[0, 0], [60, 0], [30, 40], [5, 80], [55, 80]]) + rng.normal(0, 3, (210, 5, 2))
    found = strangers.aggregates(rng.normal(size=(210, 128)), points)
    assert found.pop("count") == 210
    assert {name: np.shape(value) for name, value in found.items()} == {
        "mean": (128,),
        "shape": (5, 2),
        "shape_covariance": (10, 10),
    }
