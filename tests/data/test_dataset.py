import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasweep.config.schema import DataConfig
from lorasweep.data.dataset import all_photos, full_caption, natural_order, read_dataset
from lorasweep.data.errors import UserError
from lorasweep.portraits.folder import write_person


@pytest.fixture
def person(tmp_path) -> Path:
    write_person(tmp_path, 7)
    return tmp_path / "photos"


def flat(path: Path, shade: int) -> None:
    Image.fromarray(np.full((24, 24, 3), shade, np.uint8)).save(path)


def names(photos) -> list[str]:
    return [photo.path.name for photo in photos]


def test_fifteen_photos_train_twelve_and_hold_out_three(person):
    data = read_dataset(DataConfig(path=str(person)))
    assert len(data.train) == 12
    assert len(data.held_out) == 3
    assert not set(names(data.train)) & set(names(data.held_out))
    assert data.repeats == 33
    first = data.train[0]
    assert (first.width, first.height) == (64, 64)
    assert first.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()


def test_below_held_out_from_all_photos_train(person):
    data = read_dataset(DataConfig(path=str(person), held_out_from=16))
    assert (len(data.train), data.held_out) == (15, ())
    assert data.repeats == 27


def test_a_folder_of_held_out_photos_replaces_the_share(person):
    data = read_dataset(DataConfig(path=str(person), held_out_path=str(person.parent / "held_out"), repeats=5))
    assert (len(data.train), len(data.held_out), data.repeats) == (15, 4, 5)


def test_many_photos_are_repeated_once(tmp_path):
    for number in range(5):
        flat(tmp_path / f"{number}.png", 40 * number)
    data = read_dataset(DataConfig(path=str(tmp_path)))
    assert data.repeats == 80
    assert all(photo.caption == "a photo of s1lv10 person" for photo in data.train)


def test_photos_come_in_natural_order(tmp_path):
    for name in ("p10.png", "p2.png", "P1.png"):
        flat(tmp_path / name, len(name))
    assert names(read_dataset(DataConfig(path=str(tmp_path))).train) == ["P1.png", "p2.png", "p10.png"]
    assert sorted(["10", "9", "a"], key=natural_order) == ["9", "10", "a"]


def test_captions_are_read_in_utf8_with_or_without_a_mark_and_get_the_trigger(tmp_path):
    for number, shade in enumerate((10, 90, 170)):
        flat(tmp_path / f"{number}.png", shade)
    (tmp_path / "0.txt").write_bytes("\ufeffÉlan,\n smiling\n".encode())
    (tmp_path / "1.caption").write_text("photo of S1LV10 person")
    (tmp_path / "2.txt").write_text("  \n")
    captions = [photo.caption for photo in read_dataset(DataConfig(path=str(tmp_path))).train]
    assert captions == ["s1lv10, Élan, smiling", "photo of S1LV10 person", "a photo of s1lv10 person"]


def test_a_longer_word_that_holds_the_trigger_is_not_the_trigger():
    assert full_caption("an ohwxy cat", "ohwx", "cat") == "ohwx, an ohwxy cat"


def test_the_fingerprint_follows_contents_and_captions_and_nothing_else(person, tmp_path):
    before = read_dataset(DataConfig(path=str(person))).fingerprint
    moved = person.rename(tmp_path / "elsewhere")
    os.utime(moved / "01.png", (0, 0))
    assert read_dataset(DataConfig(path=str(moved))).fingerprint == before
    (moved / "01.txt").write_text("s1lv10, another caption")
    assert read_dataset(DataConfig(path=str(moved))).fingerprint != before


def test_the_same_photos_are_held_out_under_other_names(person):
    before = {photo.sha256 for photo in read_dataset(DataConfig(path=str(person))).held_out}
    for number, path in enumerate(sorted(person.glob("*.png"), reverse=True)):
        path.rename(person / f"z{number}.png")
    for path in person.glob("*.txt"):
        path.unlink()
    assert {photo.sha256 for photo in read_dataset(DataConfig(path=str(person))).held_out} == before


def test_a_refit_trains_on_everything_in_order(person):
    whole = all_photos(read_dataset(DataConfig(path=str(person))))
    assert names(whole.train) == [f"{number:02d}.png" for number in range(1, 16)]
    assert whole.held_out == ()


def test_litter_and_subfolders_are_passed_over(person):
    (person / "._01.png").write_bytes(b"resource fork")
    (person / ".DS_Store").write_bytes(b"\0")
    (person / "Thumbs.db").write_bytes(b"\0")
    (person / "raw").mkdir()
    assert len(read_dataset(DataConfig(path=str(person))).train) == 12


def test_all_problems_are_told_at_once_one_sentence_a_line(person):
    (person / "01.png").write_bytes(b"")
    whole = (person / "02.png").read_bytes()
    (person / "02.png").write_bytes(whole[: len(whole) // 2])
    (person / "03.png").write_text("no picture")
    (person / "lonely.txt").write_text("a caption")
    (person / "04.txt").write_bytes(b"\xff\xfe\x00latin")
    (person / "new.heic").write_bytes(b"heic")
    with pytest.raises(UserError) as raised:
        read_dataset(DataConfig(path=str(person)))
    lines = str(raised.value).splitlines()
    for part in (
        "01.png is empty (0 bytes)",
        "02.png is truncated or damaged",
        "03.png is not a picture that can be read",
        "lonely.txt is a caption without its picture",
        "04.txt cannot be read as a caption",
        "new.heic is a picture of a kind that cannot be read",
    ):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 6
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize(("make", "says"), [(False, "does not exist"), (True, "holds no picture")])
def test_a_missing_and_an_empty_folder_each_get_one_sentence(tmp_path, make, says):
    folder = tmp_path / "photos"
    if make:
        folder.mkdir()
    with pytest.raises(UserError, match=says) as raised:
        read_dataset(DataConfig(path=str(folder)))
    assert str(raised.value).count("\n") == 0
    assert "data.path" in str(raised.value)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UserError, match="which is a file"):
        read_dataset(DataConfig(path=str(tmp_path / "a.png")))


def test_links_out_of_the_folder_are_refused_and_links_within_it_are_read(person, tmp_path):
    flat(tmp_path / "secret.png", 3)
    (person / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match=r"link.png is a symbolic link that leads out of"):
        read_dataset(DataConfig(path=str(person)))
    (person / "link.png").unlink()
    (person / "inside.png").symlink_to(person / "01.png")
    assert len(read_dataset(DataConfig(path=str(person), held_out=0)).train) == 16


def test_a_photo_may_not_both_train_and_judge(person):
    held_out = person.parent / "held_out"
    (held_out / "copy.png").write_bytes((person / "05.png").read_bytes())
    with pytest.raises(UserError, match=r"copy.png is the same picture as .*05.png"):
        read_dataset(DataConfig(path=str(person), held_out_path=str(held_out)))
