"""What pictures are trained with."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lorasweep.config.schema import DataConfig
from lorasweep.data.captions import (
    full_caption,
    holds_word,
    loose_clauses,
    noun_beside,
    prefixed,
    read_caption,
    regularisation_caption,
    shuffled,
    subject_caption,
)
from lorasweep.errors import UserError

WORDS = st.text(st.sampled_from("aAbé ,.(1_-"), max_size=8)


def data(**changes) -> DataConfig:
    return DataConfig(**{"path": "photos", "trigger": "ohwx", "class_noun": "man", **changes})


def test_a_longer_word_that_holds_the_trigger_is_not_the_trigger():
    assert full_caption("an ohwxy man", data()) == "ohwx, an ohwxy man"
    assert full_caption("an OHWX man", data()) == "an OHWX man"


@example(prefix="_", trigger="_", caption="_1", words="")
@example(prefix="-", trigger="-", caption="-1", words="")
@given(WORDS, WORDS.filter(str.strip), WORDS, st.sampled_from(["", "ohwx man", "zwx cat"]))
def test_the_trigger_is_always_in(prefix, trigger, caption, words):
    made = full_caption(caption, data(caption_prefix=prefix, trigger=trigger.strip()), words)
    assert holds_word(made, trigger.strip())


@given(WORDS, WORDS)
def test_a_prefix_put_before_a_caption_twice_is_there_once(prefix, caption):
    once = prefixed(prefix, caption)
    assert prefixed(prefix, once) == once
    assert once.endswith(caption)


def test_a_prefix_is_a_whole_word_and_may_hold_the_trigger():
    assert prefixed("photo", "photograph of a man") == "photo, photograph of a man"
    assert prefixed("photo, ", "photo, a man") == "photo, a man"
    assert full_caption("smiling", data(caption_prefix="ohwx man")) == "ohwx man, smiling"
    assert full_caption("smiling", data(caption_prefix="masterpiece")) == "masterpiece, ohwx, smiling"


@pytest.mark.parametrize(
    ("class_noun", "folder_words", "caption"),
    [
        ("man", "", "a photo of ohwx man"),
        ("1girl", "", "ohwx, 1girl"),
        ("2girls", "", "ohwx, 2girls"),
        ("6+boys", "", "a photo of ohwx 6+boys"),
        ("style", "", "ohwx style"),
        ("ink wash Style", "", "ohwx ink wash Style"),
        ("character", "", "ohwx character"),
        ("man", "ohwx old man", "ohwx old man"),
        ("man", "zwx old man", "ohwx old man"),
        ("man", "zwx", "ohwx"),
        ("1girl", "ohwx, 1girl, solo", "ohwx, 1girl, solo"),
    ],
)
def test_a_picture_without_a_caption_is_called_what_its_sheet_calls_it(class_noun, folder_words, caption):
    assert subject_caption("ohwx", class_noun, folder_words) == caption


@pytest.mark.parametrize(
    ("caption", "words", "class_noun", "made"),
    [
        (None, "", "man", "a photo of man"),
        (None, "", "1girl", "1girl"),
        (None, "", "style", "style"),
        (None, "man", "person", "man"),
        ("a man in a hat", "man", "person", "a man in a hat"),
    ],
)
def test_a_regularisation_picture_never_gets_the_trigger(caption, words, class_noun, made):
    assert regularisation_caption(caption, data(class_noun=class_noun), words) == made
    assert regularisation_caption(caption, data(class_noun=class_noun, caption_prefix="ohwx"), words) == made
    best = regularisation_caption(caption, data(class_noun=class_noun, caption_prefix="best"), words)
    assert best == f"best, {made}"


@pytest.mark.parametrize(("keep", "made"), [(0, "d, c, b, a"), (1, "a, d, c, b"), (3, "a, b, c, d"), (9, "a, b, c, d")])
def test_shuffling_leaves_the_first_clauses_where_they_are(keep, made):
    loose = loose_clauses("a, b,c , d", keep)
    assert shuffled("a, b,c , d", keep, range(loose)[::-1]) == made


@pytest.mark.parametrize("content", ["\ufeffÉlan,\r\nsmiling\r\n".encode(), "Élan, smiling".encode()])
def test_a_mark_and_carriage_returns_are_left_out(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    assert read_caption(tmp_path / "a.txt") == "Élan, smiling"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a man".encode("utf-16"), "it is in UTF-16 ('Unicode' in Notepad); save it as UTF-8."),
        ("a man".encode("utf-16-be"), "it is in UTF-16"),
        ("Élan".encode("cp1252"), "byte 1 is not UTF-8 (perhaps it is Windows-1252 or Shift-JIS); save it as UTF-8."),
        ("a 猫".encode("shift-jis"), "byte 3 is not UTF-8"),
    ],
)
def test_another_encoding_is_named(tmp_path, content, says):
    path = Path(tmp_path / "a.txt")
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_caption(path)
    assert str(raised.value).startswith(f"{path} cannot be read as a caption: ")
    assert says in str(raised.value)


def test_a_prefix_that_is_there_already_stays_in_front_of_the_trigger_and_single():
    assert full_caption("masterpiece, smiling", data(caption_prefix="masterpiece")) == "masterpiece, ohwx, smiling"
    assert full_caption("masterpiece", data(caption_prefix="masterpiece")) == "masterpiece, ohwx"


@pytest.mark.parametrize(
    ("words", "usual", "expected"),
    [
        ("girl", "1girl", "1girl"),
        ("old woman", "1girl", "1girl"),
        ("Boy", "1girl", "1boy"),
        ("man", "1boy", "1boy"),
        ("fox", "1girl", "1girl"),
        ("1boy", "1girl", "1boy"),
        ("2girls, hat", "1girl", "2girls, hat"),
        ("girl", "person", "girl"),
        ("girl", "character", "girl"),
        ("girl", "", "girl"),
    ],
)
def test_a_folders_plain_word_does_not_take_the_place_of_a_tag(words, usual, expected):
    assert noun_beside(words, usual) == expected
