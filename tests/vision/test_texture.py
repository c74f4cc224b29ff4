import numpy as np
import pytest

from benchmarks.world.faults import plant
from lorasweep.portraits.people import sample_identity, sample_scene
from lorasweep.portraits.render import render
from lorasweep.records import TEXTURE
from lorasweep.vision.texture import NAMES, texture


def portraits(count: int, size: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [
        np.asarray(render(sample_identity(rng), sample_scene(rng, sketches=0), size, number)) for number in range(count)
    ]


def column(name: str, pictures: list[np.ndarray]) -> np.ndarray:
    return np.array([texture(picture)[NAMES.index(name)] for picture in pictures])


RESPONSIBLE = [
    ("clay", "flat_fraction", 1),
    ("blur", "high_energy", -1),
    ("blur", "mid_energy", -1),
    ("posterise", "histogram_entropy", -1),
    ("mosaic", "block_peak", 1),
    ("burn", "saturation", 1),
    ("burn", "clipped", 1),
    ("noise", "local_std", 1),
    ("noise", "grain", 1),
]


@pytest.mark.parametrize(("fault", "name", "sign"), RESPONSIBLE)
def test_the_responsible_column_rises_with_the_dose(fault, name, sign):
    clean = portraits(6)
    rng = np.random.default_rng(0)
    means = [float(column(name, [plant(fault, picture, dose, rng) for picture in clean]).mean()) for dose in range(6)]
    steps = np.diff(means) * sign
    assert steps[0] > 0, means
    assert (steps > 0).sum() >= 4, means
    assert sign * (means[-1] - means[0]) == max(sign * (np.array(means) - means[0])), means


@pytest.mark.parametrize(("fault", "name", "sign"), [row for row in RESPONSIBLE if row[0] != "clay"])
def test_the_responsible_column_works_at_512_pixels_too(fault, name, sign):
    clean = portraits(2, 512)
    worse = [plant(fault, picture, 4, np.random.default_rng(0)) for picture in clean]
    assert (sign * (column(name, worse) - column(name, clean)) > 0).all()


def test_blocking_is_seams_every_eighth_pixel_and_nothing_else():
    rng = np.random.default_rng(3)
    cells = np.kron(rng.integers(60, 200, (8, 8, 3)), np.ones((8, 8, 1)))
    seams = [column("blocking", [np.roll(cells, shift, axis=(0, 1)).astype(np.uint8)])[0] for shift in (0, 4)]
    assert seams[0] == pytest.approx(np.log(7), abs=0.1)  # a jump, and half of it before and behind, of eight columns
    assert seams[1] < 0
    noise = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert abs(column("blocking", [noise])[0]) < 0.1


def test_a_flat_picture_has_numbers_too():
    flat = texture(np.full((64, 64, 3), 90, np.uint8))
    assert np.isfinite(flat).all()
    assert flat[NAMES.index("flat_fraction")] == 1
    assert flat[NAMES.index("histogram_entropy")] == 0
    assert NAMES == TEXTURE


def test_brightness_of_the_colours_is_measured_exactly():
    half = np.zeros((32, 32, 3), np.uint8)
    half[:16] = (255, 0, 0)
    seen = dict(zip(NAMES, texture(half), strict=True))
    assert seen["saturation"] == pytest.approx(0.5)
    assert seen["clipped"] == 1
    assert seen["contrast"] == pytest.approx(0.299 / 2)
