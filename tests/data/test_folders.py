"""Kohya's folder names, and what lies where it should not."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasweep.config.schema import DataConfig
from lorasweep.data.dataset import read_dataset
from lorasweep.data.folders import kohya_name, names_of, natural_order, words_unsaid
from lorasweep.errors import UserError


def picture(path: Path, shade: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((24, 24, 3), shade, np.uint8)).save(path)
    return path


def problems(data: DataConfig) -> list[str]:
    with pytest.raises(UserError) as raised:
        read_dataset(data)
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("10_ohwx man", (10, "ohwx man")),
        ("1_man", (1, "man")),
        ("005_ohwx", (5, "ohwx")),
        ("3_my_token old man", (3, "my_token old man")),
        ("10_ohwx  man ", (10, "ohwx man")),
        ("0_ohwx man", None),
        ("2024_holiday", None),
        ("20240601_wedding", None),
        ("ohwx man", None),
        ("10 ohwx man", None),
        ("10_", None),
        ("-1_ohwx", None),
        ("1.5_ohwx", None),
        ("١٠_ohwx", None),
    ],
)
def test_a_name_is_kohyas_where_a_number_stands_before_the_first_underscore(name, found):
    assert kohya_name(name) == found


def test_each_folder_has_its_own_repeats_and_its_words_are_captions_where_there_are_none(tmp_path):
    picture(tmp_path / "10_ohwx man" / "a.png", 10)
    picture(tmp_path / "10_ohwx man" / "b.png", 60)
    (tmp_path / "10_ohwx man" / "b.txt").write_text("ohwx smiling")
    picture(tmp_path / "3_ohwx man close up" / "a.png", 120)
    data = read_dataset(DataConfig(path=str(tmp_path), trigger="ohwx", class_noun="man"))
    assert [(photo.path.name, photo.repeats, photo.caption) for photo in data.train] == [
        ("a.png", 3, "ohwx man close up"),
        ("a.png", 10, "ohwx man"),
        ("b.png", 10, "ohwx smiling"),
    ]
    everywhere = read_dataset(DataConfig(path=str(tmp_path), repeats=7))
    assert [photo.repeats for photo in everywhere.train] == [7, 7, 7]


def test_the_inner_folder_itself_may_be_named(tmp_path, monkeypatch):
    inner = picture(tmp_path / "12_ohwx woman" / "a.png").parent
    assert [photo.repeats for photo in read_dataset(DataConfig(path=str(inner))).train] == [12]
    assert names_of(inner) == ("ohwx", "woman")
    monkeypatch.chdir(inner)
    assert names_of(Path()) == ("ohwx", "woman")


def test_a_plain_folder_called_after_a_year_is_plain(tmp_path):
    folder = picture(tmp_path / "2024_holiday" / "a.png").parent
    assert names_of(folder) is None
    assert read_dataset(DataConfig(path=str(folder))).train[0].repeats == 400


def test_another_trigger_than_the_folders_takes_its_place_in_the_words(tmp_path):
    picture(tmp_path / "10_ohwx man" / "a.png")
    assert read_dataset(DataConfig(path=str(tmp_path), trigger="zwx")).train[0].caption == "zwx man"


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["10_ohwx man"], ("ohwx", "man")),
        (["10_ohwx old man", "5_ohwx old man"], ("ohwx", "old man")),
        (["10_ohwx man", "5_ohwx man in a hat"], ("ohwx", "")),
        (["10_ohwx"], ("ohwx", "")),
        (["10_ohwx, 1girl"], ("ohwx", "1girl")),
        ([".", "raw"], None),
        ([], None),
    ],
)
def test_the_first_word_of_the_folders_is_the_trigger_and_the_rest_the_class_noun(tmp_path, folders, names):
    for folder in folders:
        picture(tmp_path / "photos" / folder / "a.png")
    assert names_of(tmp_path / "photos") == names


def test_only_what_the_user_does_not_say_is_taken_from_the_folder(tmp_path):
    picture(tmp_path / "10_ohwx man" / "a.png")
    assert words_unsaid(tmp_path, ["optim.lr=1"]) == {"data.trigger": "ohwx", "data.class_noun": "man"}
    assert words_unsaid(tmp_path, ["data.trigger=zwx"]) == {"data.class_noun": "man"}
    assert words_unsaid(tmp_path, ["data.trigger=a,b", "++data.class_noun=x", "-m"]) == {}
    picture(tmp_path / "5_zwx woman" / "a.png")
    assert words_unsaid(tmp_path, ["data.trigger=both"]) == {}
    with pytest.raises(UserError, match=r"holds folders of 2 subjects, 'ohwx', 'zwx'; a run teaches one: .*data.trig"):
        words_unsaid(tmp_path, [])


def test_pictures_beside_kohyas_folders_get_a_sentence(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "10_ohwx man" / "a.png")
    (told,) = problems(DataConfig(path=str(tmp_path)))
    assert "holds pictures of its own beside '10_ohwx man'; move them into a folder called as that one is" in told


@pytest.mark.parametrize("plain", [True, False])
def test_a_subfolder_with_pictures_and_another_name_is_named_with_what_would_be_accepted(tmp_path, plain):
    if plain:
        picture(tmp_path / "a.png")
    picture(tmp_path / "raw" / "a.png")
    picture(tmp_path / "2024_trip" / "a.png")
    told = problems(DataConfig(path=str(tmp_path)))
    assert "2024_trip holds pictures, but it is not called as in '10_ohwx man': 1 to 999 repeats" in told[0]
    assert "raw holds pictures, but" in told[1]
    assert len(told) == 2


def test_hidden_empty_and_other_folders_are_passed_over(tmp_path):
    picture(tmp_path / "10_ohwx man" / "a.png", 10)
    picture(tmp_path / ".cache" / "a.png")
    picture(tmp_path / "__MACOSX" / "10_x" / "a.png")
    (tmp_path / "5_empty").mkdir()
    picture(tmp_path / "kept back" / "h.png", 200)
    data = read_dataset(DataConfig(path=str(tmp_path), held_out_path=str(tmp_path / "kept back")))
    assert [photo.path.name for photo in (*data.train, *data.held_out)] == ["a.png", "h.png"]


@pytest.mark.parametrize("folders", [("10_Ohwx man", "5_ohwx man"), ("10_ohwx man", "5_OHWX man close up")])
def test_two_tokens_that_differ_in_case_only_are_a_slip(tmp_path, folders):
    for number, folder in enumerate(folders):
        picture(tmp_path / folder / "a.png", 50 * number)
    (told,) = problems(DataConfig(path=str(tmp_path)))
    assert " says " in told
    assert told.endswith("; write them alike.")


def test_kohyas_project_folder_is_told_where_its_pictures_are(tmp_path):
    picture(tmp_path / "img" / "10_ohwx man" / "a.png")
    (tmp_path / "log").mkdir()
    (told,) = problems(DataConfig(path=str(tmp_path)))
    assert told.endswith(f"which holds no picture; did you mean '{tmp_path / 'img'}'?")


def test_a_linked_folder_outside_is_refused_and_one_within_is_read(tmp_path):
    outside = picture(tmp_path / "elsewhere" / "a.png").parent
    home = picture(tmp_path / "photos" / "10_ohwx man" / "b.png").parent.parent
    (home / "3_ohwx man").symlink_to(outside)
    (told,) = problems(DataConfig(path=str(home)))
    assert "3_ohwx man is a symbolic link that leads out of" in told
    (home / "3_ohwx man").unlink()
    picture(home / "3_ohwx man" / "c.png", 200)
    (home / "3_ohwx man" / "d.png").symlink_to(home / "10_ohwx man" / "b.png")
    assert len(read_dataset(DataConfig(path=str(home))).train) == 3


def test_numbers_in_names_are_counted():
    assert sorted(["10_x", "9_x", "a"], key=natural_order) == ["9_x", "10_x", "a"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_in_another_encoding_is_named(tmp_path):
    picture(tmp_path / "a.png")
    os.rename(os.fsencode(tmp_path / "a.png"), os.fsencode(tmp_path) + b"/caf\xe9.png")  # noqa: PTH104
    (line,) = problems(DataConfig(path=str(tmp_path)))
    assert line.endswith(
        "caf\N{REPLACEMENT CHARACTER}.png has a name that is not UTF-8, so that it cannot be written down; rename it."
    )
