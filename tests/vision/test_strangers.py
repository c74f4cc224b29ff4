import numpy as np

from lorasweep.vision.strangers import HEADS, PITCHES, YAWS, strangers, turned_shapes


def test_turned_shapes_are_the_same_every_time_and_a_few_people_a_direction():
    shapes = turned_shapes()
    assert shapes.shape == (len(YAWS) * len(PITCHES) * HEADS, 5, 2)
    np.testing.assert_array_equal(shapes, turned_shapes())


def test_heads_that_look_ahead_are_the_people_of_the_portraits():
    ahead = turned_shapes().reshape(len(YAWS), len(PITCHES), HEADS, 5, 2)[len(YAWS) // 2, len(PITCHES) // 2]
    spread = np.sqrt(np.diag(np.array(strangers()["shape_covariance"])).reshape(5, 2))
    assert (np.abs(ahead - strangers()["shape"]) < 3.5 * spread + 1e-6).all()


def test_a_nose_comes_before_the_eye_that_is_turned_away_and_a_chin_that_is_raised_shortens_the_face():
    shapes = turned_shapes().reshape(len(YAWS), len(PITCHES), HEADS, 5, 2).mean(axis=2)
    middle = len(PITCHES) // 2
    nose, eyes = shapes[:, middle, 2, 0], shapes[:, middle, :2, 0]
    assert nose[0] < eyes[0].min() or nose[0] > eyes[0].max()
    assert np.sign(nose[0] - eyes[0].mean()) == -np.sign(nose[-1] - eyes[-1].mean())
    height = shapes[len(YAWS) // 2, :, 3:, 1].mean(axis=1) - shapes[len(YAWS) // 2, :, :2, 1].mean(axis=1)
    assert height[middle] > height[0]
    assert height[middle] > height[-1]
