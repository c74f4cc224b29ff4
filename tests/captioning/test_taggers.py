import importlib.util
import json
import shutil

import numpy as np
import pytest
from contracts.captioners import SIDE, coloured, write_onnx_tagger, write_tagger, write_tags

from lorasweep.captioning.taggers import OnnxTagger, Rules, Tag, TimmTagger, choose_tags, open_tagger, spelled, square
from lorasweep.errors import UserError

RED, BLUE, WHITE = coloured(255, 0, 0), coloured(0, 0, 255), coloured(255, 255, 255)
FACES = """
0_0 (o)_(o) +_+ +_- ._. <o>_<o> <|>_<|> =_= >_< 3_3 6_9 >_o @_@ ^_^ o_o u_u x_x |_| ||_||
""".split()  # noqa: SIM905
HAS_RUNTIME = all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnx"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copied")


def test_a_red_picture_is_tagged_red_and_a_blue_one_blue(folder):
    """The network reads its first channel as blue: RGB handed over as it is would swap the two."""
    assert TimmTagger(folder, Rules()).caption([RED, BLUE]) == ["red dress, ^_^", "blue sky, ^_^"]


def test_a_narrow_picture_is_padded_with_white(folder):
    narrow = coloured(255, 0, 0, width=SIDE // 2, height=SIDE)
    assert "white border" not in TimmTagger(folder, Rules()).caption([RED])[0]
    assert "white border" in TimmTagger(folder, Rules()).caption([narrow])[0]


@pytest.mark.parametrize(("width", "height"), [(10, 40), (40, 10), (7, 7), (300, 201)])
def test_the_whole_picture_lies_in_the_middle_of_a_white_square(width, height):
    made = square(coloured(200, 30, 10, width=width, height=height), 60)
    assert made.shape == (60, 60, 3)
    assert (made[30, 30] == (200, 30, 10)).all()
    if width != height:
        assert (made[0, 0] == 255).all()
        assert (made[-1, -1] == 255).all()
    share = (np.abs(made.astype(int) - (200, 30, 10)).max(axis=2) < 60).mean()
    assert share == pytest.approx(min(width, height) / max(width, height), abs=0.05)


def test_ratings_are_never_written_however_sure(folder):
    for caption in TimmTagger(folder, Rules(threshold=0, character_threshold=0)).caption([RED, WHITE]):
        assert "general" not in caption
        assert "explicit" not in caption


def test_characters_are_written_only_when_asked_for_and_last(folder):
    asked = TimmTagger(folder, Rules(character_threshold=0.7)).caption([RED])
    assert asked == ["red dress, ^_^, anna (portraits)"]
    assert TimmTagger(folder, Rules(character_threshold=0.85)).caption([RED]) == ["red dress, ^_^"]


def test_a_tag_is_written_from_its_threshold_up_likeliest_first():
    tags = [Tag("low", 0), Tag("high", 0), Tag("mid", 0), Tag("name", 4), Tag("rating", 9)]
    chances = np.array([0.35, 0.99, 0.5, 0.9, 1.0])
    assert choose_tags(chances, tags, Rules()) == "high, mid, low"
    assert choose_tags(chances, tags, Rules(threshold=0.36)) == "high, mid"
    assert choose_tags(chances, tags, Rules(threshold=1, character_threshold=0.85)) == "name"
    assert choose_tags(chances, tags, Rules(threshold=1)) == ""


@pytest.mark.parametrize("face", FACES)
def test_a_face_made_of_signs_keeps_its_underscore(face):
    assert spelled(face) == face


def test_underscores_become_spaces_and_brackets_stay_unless_asked():
    assert spelled("long_hair") == "long hair"
    assert spelled("saber_(fate)") == "saber (fate)"
    assert spelled("saber_(fate)", escape=True) == r"saber \(fate\)"
    assert spelled("1girl") == "1girl"


def test_the_settings_tell_what_decided_the_words(folder):
    tagger = TimmTagger(folder, Rules(threshold=0.5))
    assert dict(tagger.settings) == {"threshold": 0.5, "character_threshold": None, "escape": False}
    assert len(tagger.sha256) == 64
    assert tagger.caption([]) == []


@pytest.mark.parametrize("file", ["config.json", "selected_tags.csv"])
def test_a_folder_that_lacks_a_file_is_named_with_the_file(copied, file):
    (copied / file).unlink()
    with pytest.raises(UserError, match=rf"which lacks {file}; it must be a WD tagger folder"):
        open_tagger(copied, Rules())


def test_pickled_weights_are_refused_unread(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"whose weights are pytorch_model.bin, which is not read since it may run"):
        open_tagger(copied, Rules())


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "name,category\nx,first\n", "name,category\nx\n"])
def test_a_table_of_another_kind_is_one_sentence(copied, table):
    (copied / "selected_tags.csv").write_text(table)
    with pytest.raises(UserError, match="must be a table with the columns name and category"):
        open_tagger(copied, Rules())


def test_a_table_of_another_model_is_one_sentence(copied):
    with (copied / "selected_tags.csv").open("a") as file:
        file.write("9,one_more,0,1\n")
    with pytest.raises(UserError, match=r"which has 7 outputs, while its selected_tags.csv has 8 tags"):
        open_tagger(copied, Rules())


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "hf-hub:someone/else"},
        {"architecture": "no_such_network"},
        {"model_args": {"pretrained": True}},
        {"model_args": {"checkpoint_path": "evil.pth"}},
        {"model_args": {"depth": 1}},
    ],
)
def test_a_configuration_can_fetch_and_load_nothing_else(copied, change):
    config = json.loads((copied / "config.json").read_text())
    args = {**config["model_args"], **change.pop("model_args", {})}
    (copied / "config.json").write_text(json.dumps({**config, **change, "model_args": args}))
    with pytest.raises(UserError, match=r"^model is '.*copied', which cannot be read \("):
        open_tagger(copied, Rules())


@pytest.mark.skipif(HAS_RUNTIME, reason="onnxruntime is installed")
def test_onnx_without_its_runtime_says_what_to_install(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    write_tags(tmp_path)
    with pytest.raises(UserError, match=r"onnxruntime is not installed; run pip install onnxruntime, or give a folder"):
        open_tagger(tmp_path, Rules())


@pytest.mark.skipif(not HAS_RUNTIME, reason="needs onnxruntime and onnx")
def test_onnx_tags_red_and_blue_as_the_network_does(tmp_path):
    tagger = open_tagger(write_onnx_tagger(tmp_path), Rules())
    assert isinstance(tagger, OnnxTagger)
    assert tagger.caption([RED, BLUE]) == ["red dress, ^_^", "blue sky, ^_^"]
    assert "white border" in tagger.caption([coloured(255, 0, 0, width=SIDE // 2)])[0]


@pytest.mark.skipif(not HAS_RUNTIME, reason="needs onnxruntime and onnx")
def test_an_onnx_file_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no onnx")
    write_tags(tmp_path)
    with pytest.raises(UserError, match=r"which cannot be read \("):
        open_tagger(tmp_path, Rules())
