import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasweep.data.caption_lint import INVENTED, least_tokens, lint_captions, repeated_words
from lorasweep.data.findings import KINDS


def found(*texts, trigger="s1lv10", **more):
    return lint_captions({Path(f"{number}.txt"): text for number, text in enumerate(texts)}, trigger, **more)


def kinds(*texts, **more):
    return [finding.kind for finding in found(*texts, **more)]


def test_a_good_caption_is_passed_in_silence():
    assert found("s1lv10, a man in a blue coat by the sea") == []


@pytest.mark.parametrize("text", ["S1LV10 man", "a photo of s1lv10.", "(s1lv10:1.1), smiling"])
def test_the_trigger_counts_wherever_it_is_a_word(text):
    assert kinds(text) == []


def test_a_caption_without_the_trigger_is_named_with_the_cure():
    (finding,) = found("a man in a coat")
    assert (finding.kind, finding.level, finding.paths) == ("trigger_missing", "warning", (Path("0.txt"),))
    assert finding.text == (
        "0.txt has no trigger 's1lv10'; lorasweep puts it in front when it trains, other trainers do not: "
        "write 's1lv10, ' before the text."
    )


def test_a_trigger_in_the_middle_of_a_word_is_told_from_none():
    (finding,) = found("photo of mys1lv10man")
    assert finding.kind == "trigger_inside_word"
    assert "only inside of 'mys1lv10man'" in finding.text


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_caption_gets_that_finding_alone(text):
    assert kinds(text) == ["caption_empty"]


@pytest.mark.parametrize("phrase", INVENTED)
def test_every_phrase_that_blip_is_said_to_invent_is_reported(phrase):
    (finding, *_) = [line for line in found(f"s1lv10, {phrase.capitalize()} there") if line.kind == "invented_phrase"]
    assert repr(phrase) in finding.text
    assert "look at the picture" in finding.text


def test_phrases_are_whole_words_and_the_callers_own():
    assert kinds("s1lv10, holding a cell phonebook") == []
    assert kinds("s1lv10, with a hat", phrases=["with a hat"]) == ["invented_phrase"]
    assert kinds("s1lv10, arafed man", phrases=[]) == []


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("a man who is bald bald bald", "bald bald bald"),
        ("a man in a suit in a suit", "in a suit in a suit"),
        ("red hair, red hair", "red hair red hair"),
        ("a very very big dog", None),
        ("bora bora, bora bora", "bora bora bora"),
        ("1girl, solo, long_hair", None),
        ("", None),
    ],
)
def test_a_stutter_is_a_word_thrice_or_a_phrase_twice(text, again):
    assert repeated_words(text) == again
    assert ("repeated_words" in kinds(f"s1lv10 {text}")) == (again is not None)


def test_a_caption_that_surely_is_too_long_for_clip_is_advice():
    words = ["".join(pair) for pair in itertools.product("abcdefghij", repeat=2)]
    assert kinds("s1lv10, " + " ".join(words[:69])) == []  # the trigger and its comma are s, 1, lv, 1, 0 and ","
    (finding,) = found("s1lv10, " + " ".join(words[:70]))
    assert (finding.kind, finding.level) == ("long_caption", "advice")
    assert "76 CLIP tokens or more" in finding.text


def test_the_bound_on_tokens_is_never_above_what_clip_counts():
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.tokenizer.SimpleTokenizer()

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="aäz 19_,.'’!?-(){}é:", max_size=60))
    def holds(text):
        assert least_tokens(text) <= len(tokenizer.encode(text))

    holds()
    assert least_tokens("a man, standing") == len(tokenizer.encode("a man, standing")) == 4


def test_one_text_on_too_many_pictures_is_one_finding():
    (finding,) = found("s1lv10 man", "S1lv10  man", "s1lv10 by the sea", "s1lv10 in bed", "s1lv10 at home")
    assert finding.kind == "same_caption"
    assert finding.paths == (Path("0.txt"), Path("1.txt"))
    assert "2 of 5 captions are all 's1lv10 man'" in finding.text


def test_what_all_captions_say_of_the_subject_is_advice():
    places = ("the sea", "the forest", "home", "work", "a lake")
    (finding,) = found(*(f"s1lv10 man, a man with a gray beard at {place}" for place in places))
    assert (finding.kind, finding.level, finding.paths) == ("one_descriptor", "advice", ())
    assert "All 5 captions say 'gray', 'beard'" in finding.text


def test_a_short_prefix_that_was_put_there_on_purpose_describes_nothing():
    places = ("the sea", "the forest", "home", "work", "a lake")
    assert found(*(f"s1lv10 plush toy, at {place}" for place in places)) == []


def test_four_captions_are_too_few_to_have_a_habit():
    assert found(*["s1lv10 with a gray beard"] * 4) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8), st.text(min_size=1, max_size=8))
def test_any_text_whatsoever_gets_findings_of_known_kinds(texts, trigger):
    assert all(finding.kind in KINDS and finding.text for finding in found(*texts, trigger=trigger))
