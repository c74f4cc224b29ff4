"""``data.check_mirror``: whether a folder of drawn people's photos is looked through for mirrored ones."""

import dataclasses

import numpy as np
import pytest
from PIL import ImageOps

from lorasweep.check import variety
from lorasweep.check.inspection import findings_of
from lorasweep.config.compose import load_run
from lorasweep.portraits.people import sample_identity, sample_scene
from lorasweep.portraits.render import landmarks, render
from lorasweep.vision.face_finder import Found

SIDE = 256
TURNED = ("2.png", "6.png", "7.png")


class KnowingFinder:
    """Tells the landmarks that the renderer knows; a picture is recognised by its pixels."""

    unknown = ""

    def __init__(self):
        self.points = {}

    def find(self, picture):
        points = self.points[picture.tobytes()]
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        return Found(boxes=box[None], landmarks=points[None], identity=np.zeros((0, 0)), turn=0.0)


@pytest.fixture
def folder(tmp_path):
    """Ten photos of one person, of which three are mirrored, and who finds their faces."""
    finder, rng = KnowingFinder(), np.random.default_rng(11)
    who = sample_identity(rng)
    for number in range(10):
        scene = sample_scene(rng, sketches=0.0)
        picture, points = render(who, scene, SIDE, number), landmarks(who, scene, SIDE, number).astype(float)
        name = f"{number}.png"
        if name in TURNED:
            picture, points = ImageOps.mirror(picture), (points * (-1, 1) + (SIDE, 0))[[1, 0, 2, 4, 3]]
        picture.save(tmp_path / name)
        finder.points[np.asarray(picture).tobytes()] = points
    return tmp_path, finder


def said(folder, finder, *words):
    """Names of the pictures that are said to be mirrored; None where the check says nothing."""
    run = load_run(["preset=person_sd15", f"data.path={folder}", *words], when_missing={"model.path": ""})
    found = [each for each in findings_of(folder, run, finder) if each.kind == "mixed_mirror"]
    assert len(found) <= 1
    return tuple(path.name for path in found[0].paths) if found else None


def test_the_key_decides_and_unset_it_is_the_measured_reliability(folder, monkeypatch):
    assert said(*folder) == TURNED
    assert said(*folder, "data.check_mirror=true") == TURNED
    assert said(*folder, "data.check_mirror=false") is None
    unsure = dataclasses.replace(variety.MEASURED[8], auroc=0.7)
    monkeypatch.setitem(variety.MEASURED, 8, unsure)
    assert said(*folder) is None
    assert said(*folder, "data.check_mirror=true") == TURNED


def test_a_value_that_is_no_switch_is_refused(folder):
    with pytest.raises(Exception, match=r"check_mirror"):
        said(*folder, "data.check_mirror=sometimes")
