import pytest

from lorasweep.config.schema import DataConfig, PromptConfig, SampleConfig
from lorasweep.data.errors import UserError
from lorasweep.data.prompts import fill_prompts, without_trigger


def fill(**prompt) -> object:
    sample = SampleConfig(prompts={"one": PromptConfig(**prompt)})
    return fill_prompts(sample, DataConfig(path="x", trigger="ohwx", class_noun="man"))[0]


def test_trigger_and_class_noun_are_filled_in():
    prompt = fill(text="photo of {trigger} {class_noun}, smiling", negative="blurry {class_noun}", photo=False)
    assert prompt.text == "photo of ohwx man, smiling"
    assert prompt.negative == "blurry man"
    assert prompt.score_text == "photo of a man, smiling"
    assert (prompt.key, prompt.face, prompt.subject, prompt.photo) == ("one", True, True, False)


def test_a_given_score_text_is_kept():
    assert fill(text="{trigger}", score_text="a {class_noun}").score_text == "a man"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("photo of ohwx person", "photo of a person"),
        ("the ohwx artist, red hat", "the artist, red hat"),
        ("photo of ohwx artist", "photo of an artist"),
        ("ohwx, smiling", "smiling"),
        ("portrait, OHWX", "portrait"),
        ("ohwxy stays", "ohwxy stays"),
    ],
)
def test_the_trigger_leaves_plain_words_behind(text, plain):
    assert without_trigger(text, "ohwx") == plain


def test_prompts_keep_their_order():
    sample = SampleConfig(prompts={key: PromptConfig(text=key) for key in ("z", "a", "m")})
    assert [prompt.key for prompt in fill_prompts(sample, DataConfig(path="x"))] == ["z", "a", "m"]


@pytest.mark.parametrize("text", ["{person}", "{trigger", "{0}", "{trigger.__class__}"])
def test_an_unknown_placeholder_names_its_key(text):
    with pytest.raises(UserError, match=r"sample.prompts.one.text is .*only \{trigger\} and \{class_noun\}"):
        fill(text=text)


def test_an_empty_sheet_and_an_empty_text_are_refused():
    with pytest.raises(UserError, match=r"sample.prompts is empty"):
        fill_prompts(SampleConfig(), DataConfig(path="x"))
    with pytest.raises(UserError, match=r"sample.prompts.one.text is empty"):
        fill(text=" ")
