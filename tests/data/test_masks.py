"""Where the loss counts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasweep.config.schema import DataConfig
from lorasweep.data.buckets import Placement, square_placement
from lorasweep.data.dataset import read_dataset
from lorasweep.data.masks import load_mask, mask_of_alpha, mask_of_file, mask_weights, require_some
from lorasweep.data.pictures import placed
from lorasweep.errors import UserError


def photo(path: Path, shade: int, size: tuple[int, int] = (32, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 90, 20)).save(path)
    return path


def mask(path: Path, size: tuple[int, int] = (32, 24), white: tuple[int, ...] = (0, 0, 16, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", size, 0)
    picture.paste(255, white)
    picture.save(path)
    return path


def read(folder: Path, **changes):
    return read_dataset(DataConfig(path=str(folder), **changes))


def told(folder: Path, **changes) -> list[str]:
    with pytest.raises(UserError) as raised:
        read(folder, **changes)
    return str(raised.value).splitlines()


def test_a_mask_lies_beside_its_photo_and_is_no_photo(tmp_path):
    photo(tmp_path / "a.jpg", 10)
    beside = mask(tmp_path / "a-masklabel.png")
    photo(tmp_path / "a-condlabel.png", 3)
    (found,) = read(tmp_path, masks="files").train
    assert (found.mask, found.path.name) == (beside, "a.jpg")
    (without,) = read(tmp_path).train
    assert (without.mask, without.mask_sha256) == (None, "")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "10_ohwx man/a.png", "a-masklabel.png"])
def test_masks_may_lie_in_a_folder_of_their_own(tmp_path, name):
    photo(tmp_path / "photos" / "10_ohwx man" / "a.jpg", 10)
    beside = mask(tmp_path / "masks" / name)
    found = read(tmp_path / "photos", masks="files", masks_path=str(tmp_path / "masks")).train[0]
    assert found.mask == beside


def test_every_problem_with_masks_is_told_at_once(tmp_path):
    for number, name in enumerate(("lacks", "black", "shape", "cut", "fine")):
        photo(tmp_path / f"{name}.png", 40 * number)
        if name != "lacks":
            mask(tmp_path / f"{name}-masklabel.png")
    mask(tmp_path / "black-masklabel.png", white=(0, 0, 0, 0))
    mask(tmp_path / "shape-masklabel.png", size=(24, 32))
    mask(tmp_path / "fine-masklabel.png", size=(16, 12), white=(3, 3, 9, 9))
    mask(tmp_path / "alone-masklabel.png")
    whole = (tmp_path / "cut-masklabel.png").read_bytes()
    (tmp_path / "cut-masklabel.png").write_bytes(whole[: len(whole) // 2])
    lines = told(tmp_path, masks="files")
    for part in (
        "lacks.png has no mask; data.masks=files needs NAME-masklabel.png beside it.",
        "black-masklabel.png leaves nothing to train on: its mask is black",
        "shape-masklabel.png is a mask of 24 x 32 pixels for a photo of 32 x 24",
        "alone-masklabel.png is a mask without its photo",
        "cut-masklabel.png is truncated or damaged",
    ):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 5


def test_a_transparent_picture_leaves_nothing_to_train_on_with_alpha_only(tmp_path):
    Image.new("RGBA", (16, 16), (200, 0, 0, 0)).save(tmp_path / "a.png")
    assert (
        "a.png leaves nothing to train on: its mask is black (or it is transparent)" in told(tmp_path, masks="alpha")[0]
    )
    assert len(read(tmp_path).train) == 1


def test_a_folder_of_masks_without_the_word_for_them_is_a_contradiction(tmp_path):
    photo(tmp_path / "photos" / "a.png", 10)
    assert told(tmp_path / "photos", masks_path="x") == [
        "data.masks_path is 'x', but data.masks is 'off'; set data.masks=files."
    ]
    assert told(tmp_path / "photos", masks_path="x", masks="files") == [
        "data.masks_path is 'x', which is no folder; it must be a folder of masks."
    ]


def test_the_fingerprint_follows_what_a_mask_shows(tmp_path):
    photo(tmp_path / "a.png", 10)
    marks = [read(tmp_path).fingerprint]
    for white in ((0, 0, 16, 24), (0, 0, 8, 24)):
        mask(tmp_path / "a-masklabel.png", white=white)
        marks.append(read(tmp_path, masks="files").fingerprint)
    assert len(set(marks)) == 3


def test_a_mask_is_gray_and_black_where_it_is_transparent(tmp_path):
    picture = Image.new("LA", (4, 4), (255, 0))
    picture.paste((255, 255), (0, 0, 2, 4))
    picture.save(tmp_path / "m.png")
    found = np.asarray(mask_of_file(tmp_path / "m.png", (tmp_path / "m.png").read_bytes()))
    assert found[0].tolist() == [255, 255, 0, 0]
    assert np.asarray(mask_of_alpha(picture))[0].tolist() == [255, 255, 0, 0]
    assert np.asarray(mask_of_alpha(Image.new("RGB", (2, 1), "red"))).tolist() == [[255, 255]]


def test_a_mask_that_was_edited_after_it_was_read_is_refused(tmp_path):
    photo(tmp_path / "a.png", 10)
    beside = mask(tmp_path / "a-masklabel.png")
    (found,) = read(tmp_path, masks="files").train
    assert np.asarray(load_mask(found, "files"))[0, 15:17].tolist() == [255, 0]
    mask(beside, white=(0, 0, 8, 24))
    with pytest.raises(UserError, match=r"a-masklabel.png was changed after the run began"):
        load_mask(found, "files")


def test_latents_count_by_the_share_of_them_that_is_white(tmp_path):
    picture = Image.new("L", (32, 32), 0)
    picture.paste(255, (0, 0, 18, 32))
    weights = mask_weights(picture, square_placement((32, 32), 32), 4, 4, 0.0)
    assert weights.tolist() == [[1, 1, 0.25, 0]] * 4
    assert mask_weights(picture, square_placement((32, 32), 32), 4, 4, 0.2)[0].tolist() == pytest.approx(
        [1, 1, 0.4, 0.2]
    )


@pytest.mark.parametrize(
    "placement",
    [
        square_placement((300, 200), 64),
        square_placement((200, 300), 64),
        Placement(size=(300, 200), bucket=(64, 48), resized=(72, 48)),
        Placement(size=(200, 300), bucket=(64, 96), resized=(64, 96)),
        Placement(size=(100, 50), bucket=(64, 32), resized=(80, 40)),
    ],
)
@pytest.mark.parametrize("shrink", [1, 2])
def test_a_mask_is_cut_as_its_photo_is(placement, shrink):
    """A white square in a photo, and the mask of that square, meet in the latents."""
    width, height = placement.size
    box = (width // 3, height // 4, width // 3 + width // 4, height // 4 + height // 3)
    picture = Image.new("L", placement.size, 0)
    picture.paste(255, box)
    shown = np.asarray(placed(picture, placement), dtype=float)
    across, down = placement.bucket[0] // 8, placement.bucket[1] // 8
    expected = shown.reshape(down, 8, across, 8).mean(axis=(1, 3)) / 255
    small = picture.resize((width // shrink, height // shrink), Image.Resampling.BOX)
    assert np.abs(mask_weights(small, placement, across, down, 0.0) - expected).max() < 0.13
    assert 0.02 < expected.mean() < 0.5


def test_a_mask_that_the_crop_takes_away_is_named(tmp_path):
    photo(tmp_path / "a.png", 10, size=(64, 16))
    mask(tmp_path / "a-masklabel.png", size=(64, 16), white=(0, 0, 8, 16))
    (found,) = read(tmp_path, masks="files").train
    square = square_placement((64, 16), 16)
    weights = mask_weights(load_mask(found, "files"), square, 2, 2, 0.0)
    with pytest.raises(UserError, match=r"a-masklabel.png is black in all that is left of the photo at 16 x 16 pixels"):
        require_some(weights, found, square)
