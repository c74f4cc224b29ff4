import json
from pathlib import Path

import numpy as np
import pytest
from contracts.captioners import coloured, write_blip, write_tagger
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorasweep import cli
from lorasweep.captioning import writing
from lorasweep.captioning.settings import WORDS, settings_of
from lorasweep.captioning.writing import caption, with_trigger
from lorasweep.config.photos import DataConfig
from lorasweep.data.captions import full_caption
from lorasweep.errors import UserError

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return write_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    return write_blip(tmp_path_factory.mktemp("blip"), likes={"[SEP]": 500, "man": 100})


@pytest.fixture
def photos(tmp_path):
    return painted(tmp_path / "my photos = {1}", {"a.png": RED, "b.png": BLUE, "c.png": RED})


def painted(folder, colours):
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in colours.items():
        Image.fromarray(coloured(*colour)).save(folder / name)
    return folder


def told(folder):
    captions = [path for path in sorted(folder.iterdir()) if path.suffix not in (".png", ".jpg")]
    return {path.name: path.read_text(encoding="utf-8") for path in captions}


def words(model, *more, kind="tagger"):
    return ["trigger=s1lv10", f"with={kind}", f"model={model}", "device=cpu", *more]


def quiet(line):
    """Says nothing."""


def test_every_picture_without_a_caption_gets_one_and_nothing_else_is_left_behind(photos, tagger):
    (photos / "c.txt").write_text("s1lv10, my own words")
    done = caption(photos, words(tagger), say=quiet)
    assert told(photos) == {
        "a.txt": "s1lv10, red dress, ^_^\n",
        "b.txt": "s1lv10, blue sky, ^_^\n",
        "c.txt": "s1lv10, my own words",
    }
    assert (done.written, done.kept) == ((photos / "a.txt", photos / "b.txt"), 1)
    assert done.author.model == str(tagger)
    assert done.author.settings["threshold"] == 0.35


def test_blip_is_what_writes_unless_a_tagger_is_asked_for(photos, blip):
    caption(photos, ["trigger=s1lv10", f"model={blip}", "device=cpu", "prefix=s1lv10 man"], say=quiet)
    assert set(told(photos).values()) == {"s1lv10 man, man\n"}


def test_the_second_time_nothing_is_written_and_no_model_is_opened(photos, tagger, monkeypatch):
    caption(photos, words(tagger), say=quiet)
    before = told(photos)
    monkeypatch.setattr(writing, "open_captioner", None)
    lines = []
    done = caption(photos, words(tagger), say=lines.append)
    assert (done.written, done.kept, done.author) == ((), 3, None)
    assert "overwrite=true writes them again" in lines[0]
    assert told(photos) == before


def test_captions_are_written_again_only_when_asked_to_into_the_file_that_is_read(photos, tagger):
    (photos / "a.caption").write_text("s1lv10, old")
    caption(photos, words(tagger), say=quiet)
    assert told(photos)["a.caption"] == "s1lv10, old"
    assert "a.txt" not in told(photos)
    caption(photos, words(tagger, "overwrite=true"), say=quiet)
    assert told(photos)["a.caption"] == "s1lv10, red dress, ^_^\n"
    assert "a.txt" not in told(photos)


def test_the_ending_may_be_the_other_one(photos, tagger):
    caption(photos, words(tagger, "ending=.caption"), say=quiet)
    assert sorted(told(photos)) == ["a.caption", "b.caption", "c.caption"]


def test_kohyas_folders_are_captioned_and_give_the_trigger(tmp_path, tagger):
    painted(tmp_path / "img" / "10_ohwx man", {"a.png": RED})
    painted(tmp_path / "img" / "3_ohwx man suit", {"a.png": BLUE})
    said = [word for word in words(tagger) if not word.startswith("trigger=")]
    done = caption(tmp_path / "img", said, say=quiet)
    assert done.trigger == "ohwx"
    assert (tmp_path / "img" / "10_ohwx man" / "a.txt").read_text() == "ohwx, red dress, ^_^\n"
    assert (tmp_path / "img" / "3_ohwx man suit" / "a.txt").read_text() == "ohwx, blue sky, ^_^\n"


def test_masks_are_no_photos(photos, tagger):
    painted(photos, {"a-masklabel.png": RED})
    caption(photos, words(tagger), say=quiet)
    assert sorted(told(photos)) == ["a.txt", "b.txt", "c.txt"]


def test_what_is_wrong_with_the_captions_is_said_and_is_no_failure(photos, tagger):
    (photos / "c.txt").write_text("arafed man bald bald bald")
    lines = []
    done = caption(photos, words(tagger), say=lines.append)
    assert [finding.kind for finding in done.findings] == ["trigger_missing", "invented_phrase", "repeated_words"]
    assert [line.split(": ")[0] for line in lines if line.startswith(("warning: ", "advice: "))] == [
        *("warning", "advice", "warning"),
    ]


def test_all_bad_pictures_are_named_in_one_go_before_the_model_is_opened(photos, tagger, monkeypatch):
    (photos / "b.png").write_bytes(b"no picture")
    (photos / "c.png").write_bytes((photos / "a.png").read_bytes()[:60])
    painted(photos, {"a.jpg": RED})
    monkeypatch.setattr(writing, "open_captioner", None)
    with pytest.raises(UserError) as found:
        caption(photos, words(tagger), say=quiet)
    lines = str(found.value).splitlines()
    assert [line.split(" is ")[0].split(" would ")[0] for line in lines] == [
        str(photos / "a.txt"),
        str(photos / "b.png"),
        str(photos / "c.png"),
    ]
    assert "rename all but one of them" in lines[0]
    assert told(photos) == {}


def test_a_picture_that_has_a_caption_need_not_be_whole(photos, tagger):
    (photos / "b.png").write_bytes(b"no picture")
    (photos / "b.txt").write_text("s1lv10")
    assert len(caption(photos, words(tagger), say=quiet).written) == 2


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_pictures_is_one_sentence(tmp_path, tagger, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"^the folder of photos is '.*{name}', which"):
        caption(tmp_path / name, words(tagger), say=quiet)


def test_ctrl_c_leaves_whole_files_and_the_next_run_goes_on(photos, tagger, monkeypatch):
    real, calls = writing.open_captioner, []

    class Impatient:
        def __init__(self, choice):
            self.inner = real(choice)
            self.sha256, self.settings = self.inner.sha256, self.inner.settings

        def caption(self, pictures):
            calls.append(None)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return self.inner.caption(pictures)

    monkeypatch.setattr(writing, "open_captioner", Impatient)
    with pytest.raises(KeyboardInterrupt):
        caption(photos, words(tagger, "batch_size=1"), say=quiet)
    assert told(photos) == {"a.txt": "s1lv10, red dress, ^_^\n"}
    done = caption(photos, words(tagger, "batch_size=1"), say=quiet)
    assert (len(done.written), done.kept) == (2, 1)


def test_ctrl_c_in_the_middle_of_a_file_leaves_nothing_of_it(photos, tagger, monkeypatch):
    def interrupted(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr("lorasweep.data.atomic.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        caption(photos, words(tagger), say=quiet)
    assert told(photos) == {}


def test_batches_change_nothing(tmp_path, tagger):
    rng = np.random.default_rng(0)
    colours = {f"{number}.png": tuple(rng.integers(0, 256, 3)) for number in range(5)}
    for size in (1, 2, 8):
        caption(painted(tmp_path / str(size), colours), words(tagger, f"batch_size={size}"), say=quiet)
    assert told(tmp_path / "1") == told(tmp_path / "2") == told(tmp_path / "8")


TEXTS = st.text(alphabet="ab s1lv0,.-", max_size=20).map(lambda text: " ".join(text.split()))


@given(TEXTS, st.sampled_from(["", "s1lv10", "s1lv10 man", "photo of s1lv10", "photo"]))
def test_what_is_written_is_what_is_trained_on_and_never_gets_a_second_trigger(text, prefix):
    written = with_trigger(text, "s1lv10", prefix)
    assert "s1lv10" in written
    assert with_trigger(written, "s1lv10", prefix) == written
    data = DataConfig(path=".", trigger="s1lv10", caption_prefix=prefix)
    assert full_caption(written, data) == written


@pytest.mark.parametrize(
    ("text", "prefix", "written"),
    [
        ("a man by the sea", "", "s1lv10, a man by the sea"),
        ("a man by the sea", "s1lv10 man, ", "s1lv10 man, a man by the sea"),
        ("a man by the sea", "photo", "photo, s1lv10, a man by the sea"),
        ("s1lv10 by the sea", "", "s1lv10 by the sea"),
        ("", "", "s1lv10"),
        ("", "s1lv10 man", "s1lv10 man"),
    ],
)
def test_the_trigger_stands_in_front_once(text, prefix, written):
    assert with_trigger(text, "s1lv10", prefix) == written


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([], "trigger is not chosen; add trigger=WORD"),
        (["trigger="], "trigger is ''; it must be at least one word"),
        (["trigger= "], "trigger is ' '; it must be at least one word"),
        (["trigger=x", "with=gpt"], "with is 'gpt'; it must be blip or tagger"),
        (["trigger=x", "overwrite=maybe"], "overwrite is 'maybe'; it must be true or false"),
        (["trigger=x", "batch_size=0"], "batch_size is '0'; it must be a whole number above zero"),
        (["trigger=x", "with=tagger", "threshold=35"], "threshold is '35'; it must be a number between 0 and 1"),
        (["trigger=x", "threshold=0.5"], "threshold is 0.5, which is for with=tagger"),
        (["trigger=x", "ending=.json"], "ending is '.json'; it must be .txt or .caption"),
        (["trigger=x", "colour=red"], "caption was told 'colour=red'; it accepts trigger=, with=, model="),
        (["s1lv10"], "caption was told 's1lv10'; it accepts trigger="),
    ],
)
def test_a_bad_word_is_one_sentence(photos, said, sentence):
    with pytest.raises(UserError) as found:
        settings_of(said, photos)
    assert str(found.value).startswith(sentence)


def test_every_word_that_is_accepted_arrives(photos):
    values = {"trigger": "x", "with": "tagger", "model": "m", "revision": "r", "offline": "true", "prefix": "x y = z"}
    values |= {"ending": ".caption", "overwrite": "yes", "device": "cpu", "batch_size": "3", "threshold": "0.4"}
    values |= {"character_threshold": "0.8", "escape": "on"}
    assert set(values) == set(WORDS)
    settings = settings_of([f"{key}={value}" for key, value in values.items()], photos)
    choice = settings.choice
    assert (settings.trigger, settings.prefix, settings.ending) == ("x", "x y = z", ".caption")
    assert (settings.overwrite, settings.batch_size) == (True, 3)
    assert (choice.kind, choice.model, choice.revision, choice.offline) == ("tagger", "m", "r", True)
    assert (choice.device, choice.threshold, choice.character_threshold, choice.escape) == ("cpu", 0.4, 0.8, True)


def test_the_command_prints_what_it_wrote_as_json(photos, tagger, capsys):
    assert cli.main(["caption", str(photos), *words(tagger), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["written"] == [str(photos / name) for name in ("a.txt", "b.txt", "c.txt")]
    assert result["author"]["kind"] == "tagger"
    assert len(result["author"]["sha256"]) == 64
    assert Path(result["author"]["model"]) == tagger


def test_as_json_a_finding_has_its_level(photos, tagger, capsys):
    (photos / "c.txt").write_text("arafed man")
    assert cli.main(["caption", str(photos), *words(tagger), "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [(each["kind"], each["level"], each["paths"]) for each in findings] == [
        ("trigger_missing", "warning", [str(photos / "c.txt")]),
        ("invented_phrase", "advice", [str(photos / "c.txt")]),
    ]


def test_findings_leave_the_exit_code_fine_and_a_bad_word_does_not(photos, tagger, capsys):
    (photos / "c.txt").write_text("")
    assert cli.main(["caption", str(photos), *words(tagger)]) == 0
    assert "c.txt is empty" in capsys.readouterr().out
    assert cli.main(["caption", str(photos), "trigger="]) == 2
    assert capsys.readouterr().err == "lorasweep: trigger is ''; it must be at least one word.\n"


def test_a_card_that_is_not_there_is_one_sentence(photos, tagger):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(UserError, match=r"^device is 'cuda', but torch sees no CUDA device; use auto or cpu"):
        caption(photos, ["trigger=x", "with=tagger", f"model={tagger}", "device=cuda"], say=quiet)
