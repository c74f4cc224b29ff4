import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasweep.config.schema import DataConfig
from lorasweep.data.dataset import all_photos, fingerprint, judging_fingerprint, read_dataset
from lorasweep.data.picture_facts import read_facts
from lorasweep.errors import UserError
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
    assert {photo.repeats for photo in (*data.train, *data.held_out)} == {33}
    first = data.train[0]
    assert (first.width, first.height) == (64, 64)
    assert first.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()


def test_below_held_out_from_all_photos_train(person):
    data = read_dataset(DataConfig(path=str(person), held_out_from=16))
    assert (len(data.train), data.held_out) == (15, ())
    assert {photo.repeats for photo in data.train} == {27}


def test_a_folder_of_held_out_photos_replaces_the_share(person):
    data = read_dataset(DataConfig(path=str(person), held_out_path=str(person.parent / "held_out"), repeats=5))
    assert (len(data.train), len(data.held_out)) == (15, 4)
    assert {photo.repeats for photo in (*data.train, *data.held_out)} == {5}


def test_facts_of_the_subjects_photos_are_those_that_a_check_reads(person):
    facts = []
    data = read_dataset(DataConfig(path=str(person), held_out_path=str(person.parent / "held_out")), facts)
    assert [each.path for each in facts] == [photo.path for photo in data.train]
    for each in facts:
        alone, _ = read_facts(each.path)
        assert (each.width, each.height, each.detail) == (alone.width, alone.height, alone.detail)
        assert (each.hashes == alone.hashes).all()
        assert (each.thumbnails == alone.thumbnails).all()


def test_many_photos_are_repeated_once(tmp_path):
    for number in range(5):
        flat(tmp_path / f"{number}.png", 40 * number)
    data = read_dataset(DataConfig(path=str(tmp_path)))
    assert {photo.repeats for photo in data.train} == {80}
    assert all(photo.caption == "a photo of s1lv10 person" for photo in data.train)


def test_photos_come_in_natural_order(tmp_path):
    for name in ("p10.png", "p2.png", "P1.png"):
        flat(tmp_path / name, len(name))
    assert names(read_dataset(DataConfig(path=str(tmp_path))).train) == ["P1.png", "p2.png", "p10.png"]


def test_captions_are_read_in_utf8_with_or_without_a_mark_and_get_the_trigger(tmp_path):
    for number, shade in enumerate((10, 90, 170)):
        flat(tmp_path / f"{number}.png", shade)
    (tmp_path / "0.txt").write_bytes("\ufeffÉlan,\n smiling\n".encode())
    (tmp_path / "1.caption").write_text("photo of S1LV10 person")
    (tmp_path / "2.txt").write_text("  \n")
    captions = [photo.caption for photo in read_dataset(DataConfig(path=str(tmp_path))).train]
    assert captions == ["s1lv10, Élan, smiling", "photo of S1LV10 person", "a photo of s1lv10 person"]


def test_the_fingerprint_follows_contents_and_captions_and_not_where_they_lie(person, tmp_path):
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


def test_the_fingerprint_follows_repeats_masks_roles_and_regularisation(person):
    data = read_dataset(DataConfig(path=str(person)))
    first, *rest = data.train
    changed = [
        fingerprint((replace(first, repeats=34), *rest), data.held_out),
        fingerprint((replace(first, mask_sha256="m"), *rest), data.held_out),
        fingerprint((replace(first, caption="c"), *rest), data.held_out),
        fingerprint((replace(first, sha256="s"), *rest), data.held_out),
        fingerprint(rest, (*data.held_out, first)),
        fingerprint(data.train, data.held_out, (first,)),
        fingerprint((*rest, first), data.held_out),
    ]
    assert fingerprint(data.train, data.held_out) == data.fingerprint
    assert len({data.fingerprint, *changed}) == 8


def test_only_pictures_and_the_split_change_what_scores_are_measured_by(person):
    data = read_dataset(DataConfig(path=str(person)))
    taught = tuple(replace(photo, caption="c", repeats=1, mask_sha256="m") for photo in data.train)
    same = replace(data, train=taught, regularisation=data.train[:1], fingerprint="f")
    assert judging_fingerprint(same) == judging_fingerprint(data)
    assert judging_fingerprint(all_photos(data)) != judging_fingerprint(data)
    assert judging_fingerprint(replace(data, train=data.train[1:])) != judging_fingerprint(data)


def others(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (20, 20), (3 * number, 100, 50)).save(folder / f"{number}.png")
    return folder


def test_pictures_of_others_are_seen_as_often_as_the_subject_and_never_held_out_or_judged_against(person, tmp_path):
    folder = others(tmp_path / "reg", 7)
    (folder / "0.txt").write_text("a person in a hat")
    data = read_dataset(DataConfig(path=str(person), regularisation_path=str(folder)))
    assert sum(photo.repeats for photo in data.regularisation) == 12 * 33
    assert [photo.repeats for photo in data.regularisation] == [57, 57, 57, 57, 56, 56, 56]
    assert [photo.caption for photo in data.regularisation[:2]] == ["a person in a hat", "a photo of person"]
    assert not {photo.path.parent for photo in (*data.train, *data.held_out)} & {folder}
    whole = all_photos(data)
    assert (
        sum(photo.repeats for photo in whole.regularisation) == sum(photo.repeats for photo in whole.train) == 15 * 33
    )


def test_regularisation_may_lie_in_kohyas_folders_and_of_too_many_the_last_are_left_out(person, tmp_path):
    others(tmp_path / "reg" / "2_person", 30)
    data = read_dataset(DataConfig(path=str(person), repeats=3, regularisation_path=str(tmp_path / "reg")))
    assert [photo.repeats for photo in data.regularisation] == [2] * 18
    assert {photo.caption for photo in data.regularisation} == {"person"}


def test_a_picture_of_the_subject_is_none_of_others_and_its_trigger_is_not_theirs(person, tmp_path):
    folder = others(tmp_path / "reg", 2)
    (folder / "0.txt").write_text("S1LV10 person")
    (folder / "copy.png").write_bytes((person / "05.png").read_bytes())
    with pytest.raises(UserError) as raised:
        read_dataset(DataConfig(path=str(person), regularisation_path=str(folder)))
    lines = str(raised.value).splitlines()
    assert "0.png is there to keep others of the class as they are, but its caption 'S1LV10 person' holds" in lines[0]
    assert lines[1].endswith("05.png; regularisation is done with pictures of others.")


def test_a_refit_in_kohyas_folders_keeps_every_photos_own_repeats(tmp_path):
    for number in range(12):
        folder = tmp_path / f"{number % 2 + 2}_ohwx man"
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8)).save(
            folder / f"{number}.png"
        )
    data = read_dataset(DataConfig(path=str(tmp_path)))
    assert len(data.held_out) == 2
    whole = all_photos(data)
    assert [photo.repeats for photo in whole.train] == [2, 3] * 6


def test_a_line_break_in_a_name_breaks_no_sentence_and_a_good_picture_of_such_a_name_is_read(tmp_path):
    folder = tmp_path / "a=b, {c}\nd"
    folder.mkdir()
    flat(folder / "x=1\n{y}, 'z'.png", 90)
    assert names(read_dataset(DataConfig(path=str(folder))).train) == ["x=1\n{y}, 'z'.png"]
    (folder / "bad\n.png").write_bytes(b"")
    (folder / "alone\n.txt").write_text("a")
    with pytest.raises(UserError) as raised:
        read_dataset(DataConfig(path=str(folder)))
    assert [r"alone\n.txt is a caption without" in line for line in str(raised.value).splitlines()] == [True, False]


def test_every_file_is_read_once(person, tmp_path, monkeypatch):
    folder = others(tmp_path / "reg", 3)
    read: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (read.append(self), whole(self))[1])
    read_dataset(DataConfig(path=str(person), regularisation_path=str(folder)))
    assert len(read) == len(set(read)) == 15 + 15 + 3
