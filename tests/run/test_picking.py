"""Left and right in a checkpoint's pictures: drawn people stand in for what a LoRA drew."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageOps

from lorasweep.data.pictures import Pixels
from lorasweep.portraits.people import sample_identity, sample_scene
from lorasweep.portraits.render import landmarks, render
from lorasweep.records import Prompt, Sample, SampleSet
from lorasweep.run.picking import mixed_sides
from lorasweep.vision.embedder import Seen

SIDE, PICTURES = 256, 10
MIRRORED = (1, 4, 8)


def prompt(key: str, **changes: object) -> Prompt:
    facts = {"text": key, "negative": "", "score_text": key, "face": True, "subject": True, "photo": True}
    return Prompt(key=key, **{**facts, **changes})  # pyright: ignore[reportArgumentType]


class KnownFaces:
    """Knows where the renderer put the face; ``several`` are pictures in which it sees a second one."""

    sha256 = "known"

    def __init__(self, points: list[np.ndarray], several: int = 0) -> None:
        self.points, self.several = points, several

    def look(self, pictures: Sequence[Pixels]) -> Seen:
        some = len(pictures)
        count = np.where(np.arange(some) < self.several, 2, 1)
        nothing = np.zeros((some, 4))
        return Seen(vectors=nothing, count=count, boxes=nothing, landmarks=np.array(self.points[:some]))


def drawn(folder: Path, mirrored: tuple[int, ...], key: str = "plain") -> tuple[SampleSet, list[np.ndarray]]:
    """A sheet of one person and the landmarks, as shares of the sides."""
    who = sample_identity(np.random.default_rng([7, 1]))
    samples, points = [], []
    for number in range(PICTURES):
        scene = sample_scene(np.random.default_rng([7, 1, number]), sketches=0.0)
        picture, marks = render(who, scene, SIDE, number), landmarks(who, scene, SIDE, number) / SIDE
        if number in mirrored:
            picture, marks = ImageOps.mirror(picture), ([1, 0] + marks * [-1, 1])[[1, 0, 2, 4, 3]]
        path = folder / f"{key}-{number}.png"
        picture.save(path)
        samples.append(Sample(prompt=key, seed=number, path=path, sha256=""))
        points.append(marks)
    return SampleSet(trial="anna", step=300, samples=tuple(samples)), points


def test_pictures_on_both_sides_are_counted_and_the_reader_is_told_where_that_comes_from(tmp_path: Path) -> None:
    sheet, points = drawn(tmp_path, MIRRORED)
    said = mixed_sides([sheet], [prompt("plain")], KnownFaces(points))
    assert said.startswith("Step 300 draws a mark on one cheek in 7 pictures and on the other in 3: left and right are")
    assert "lorasweep check" in said


def test_of_pictures_that_are_all_one_way_round_nothing_is_said(tmp_path: Path) -> None:
    sheet, points = drawn(tmp_path, ())
    assert mixed_sides([sheet], [prompt("plain")], KnownFaces(points)) == ""


@pytest.mark.parametrize("changes", [{"subject": False}, {"photo": False}, {"face": False}, {"people": 2}])
def test_only_photos_of_the_subject_alone_are_judged(changes: dict[str, object], tmp_path: Path) -> None:
    sheet, points = drawn(tmp_path, MIRRORED)
    assert mixed_sides([sheet], [prompt("plain", **changes)], KnownFaces(points)) == ""


def test_of_fewer_faces_than_were_ever_measured_nothing_is_said(tmp_path: Path) -> None:
    sheet, points = drawn(tmp_path, MIRRORED)
    assert mixed_sides([sheet], [prompt("plain")], KnownFaces(points, several=3)) == ""
    assert mixed_sides([sheet], [prompt("plain")], None) == ""
