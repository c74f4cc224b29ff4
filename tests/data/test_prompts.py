import pytest

from lorasweep.config.schema import DataConfig, PromptConfig, SampleConfig
from lorasweep.data.prompts import fill_prompts, without_trigger
from lorasweep.errors import UserError


def fill(**prompt) -> object:
    sample = SampleConfig(prompts={"one": PromptConfig(**prompt)})
    return fill_prompts(sample, DataConfig(path="x", trigger="ohwx", class_noun="man"))[0]


def test_trigger_and_class_noun_are_filled_in():
    prompt = fill(text="photo of {trigger} {class_noun}, smiling", negative="blurry {class_noun}", photo=False)
    assert prompt.text == "photo of ohwx man, smiling"
    assert prompt.negative == "blurry man"
    assert prompt.score_text == "photo of a man, smiling"
    assert (prompt.key, prompt.face, prompt.subject, prompt.photo) == ("one", True, True, False)


def test_a_face_that_is_meant_to_be_small_is_not_asked_to_be_told():
    assert [fill(text="x", face=face).face for face in (True, "small", False)] == [True, False, False]
    with pytest.raises(UserError, match=r"^sample\.prompts\.one\.face is tiny; it must be true, false or small\."):
        fill(text="x", face="tiny")


def test_a_given_score_text_is_kept():
    assert fill(text="{trigger}", score_text="a {class_noun}").score_text == "a man"


def test_quality_tags_come_before_every_text_and_no_scorer_reads_them():
    prompts = {"plain": PromptConfig(text="{trigger}, smiling"), "given": PromptConfig(text="x", score_text="a face")}
    sample = SampleConfig(prompts=prompts, prefix="score_9, best {class_noun}, ")
    filled = fill_prompts(sample, DataConfig(path="x", trigger="ohwx", class_noun="man"))
    assert [prompt.text for prompt in filled] == ["score_9, best man, ohwx, smiling", "score_9, best man, x"]
    assert [prompt.score_text for prompt in filled] == ["smiling", "a face"]


def test_a_prompt_without_a_negative_takes_the_sheets():
    prompts = {"none": PromptConfig(text="x"), "own": PromptConfig(text="x", negative="colour")}
    sample = SampleConfig(prompts=prompts, negative="ugly {class_noun}")
    filled = fill_prompts(sample, DataConfig(path="x", class_noun="man"))
    assert [prompt.negative for prompt in filled] == ["ugly man", "colour"]


@pytest.mark.parametrize("key", ["prefix", "negative"])
def test_an_unknown_placeholder_of_the_whole_sheet_names_its_key(key):
    sample = SampleConfig(**{"prompts": {"one": PromptConfig(text="x")}, key: "{person}"})
    with pytest.raises(UserError, match=rf"^sample\.{key} is .*only \{{trigger\}}"):
        fill_prompts(sample, DataConfig(path="x"))


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
