"""A sheet of coloured noise, as the demo draws it at step 100 of its hottest rate: no score may like it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasweep.config.compose import load_run
from lorasweep.data.prompts import fill_prompts
from lorasweep.evaluate.artifact import artifact
from lorasweep.outcomes import NoteKind
from lorasweep.portraits.folder import write_person
from lorasweep.records import TEXTURE, Evidence, Features
from lorasweep.vision.texture import texture

FIXTURES = Path(__file__).parents[1] / "fixtures" / "noise"
PERSON, SIDE = 7, 64


def seen(pictures) -> Features:
    """Texture alone: nothing else is asked by the component."""
    count = len(pictures)
    return Features(
        keys=tuple(str(place) for place in range(count)),
        face=np.zeros((count, 1)),
        face_count=np.ones(count, dtype=np.int64),
        face_size=np.full(count, 0.4),
        landmarks=np.full((count, 5, 2), np.nan),
        image=np.zeros((count, 1)),
        scene=np.zeros((count, 1)),
        texture=np.stack([texture(picture) for picture in pictures]) if count else np.zeros((0, len(TEXTURE))),
    )


def cells(name: str) -> np.ndarray:
    """[P, S, 64, 64, 3] the images of a grid of 8 prompts."""
    grid = np.asarray(Image.open(FIXTURES / f"{name}.png"))
    rows, columns = (length // SIDE for length in grid.shape[:2])
    return grid.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Evidence:
    folder = tmp_path_factory.mktemp("person")
    write_person(folder, PERSON)
    photos = {
        part: seen([np.asarray(Image.open(path)) for path in sorted((folder / name).glob("*.png"))])
        for part, name in (("train", "photos"), ("held_out", "held_out"))
    }
    run = load_run(["preset=person_portraits", "data.path=photos"])
    base = cells("base")
    return Evidence(
        prompts=fill_prompts(run.sample, run.data),
        seeds=(0, 1),
        texts=np.zeros((8, 1)),
        base=seen(base[:, :2].reshape(-1, SIDE, SIDE, 3)),
        spare=seen(base[:, 2:].reshape(-1, SIDE, SIDE, 3)),
        **photos,
    )


def test_a_sheet_of_noise_has_no_soundness_at_any_prompt(known):
    judged = artifact(seen(cells("sheet").reshape(-1, SIDE, SIDE, 3)), known)
    by_prompt = judged.shares.reshape(8, 2).mean(axis=1)
    assert by_prompt.max() <= 0.05, by_prompt
    (note,) = judged.notes
    assert (note.kind, note.values["fault"]) == (NoteKind.DAMAGED, "harsh or noisy")


def test_one_prompt_of_noise_among_sound_ones_is_seen_in_itself(known):
    """A sketch that has dissolved, above all: photos tell nothing of it."""
    for prompt in range(8):
        pictures = cells("base")[:, :2].copy()
        pictures[prompt] = cells("sheet")[prompt]
        shares = artifact(seen(pictures.reshape(-1, SIDE, SIDE, 3)), known).shares.reshape(8, 2)
        assert shares[prompt].max() <= 0.05, (prompt, shares[prompt])


def test_another_draw_of_the_base_model_is_sound(known):
    """Its own images from other seeds: chance alone."""
    sheet = seen(cells("base")[:, 2:].reshape(-1, SIDE, SIDE, 3))
    assert artifact(sheet, known).shares.min() > 0.9
