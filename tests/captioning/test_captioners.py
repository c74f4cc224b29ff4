import json
import shutil

import numpy as np
import pytest
import torch
from contracts.captioners import WORDS, coloured, write_blip, write_tagger
from contracts.hub import COMMIT, online, served

from lorasweep.captioning.blip import GENERATION, Blip
from lorasweep.captioning.captioners import DEFAULTS, CaptionerChoice
from lorasweep.captioning.writing import open_captioner
from lorasweep.data.hashes import file_sha256
from lorasweep.errors import TryAgainError, UserError

RED, BLUE = coloured(255, 0, 0), coloured(0, 0, 255)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="module")
def blip(folder):
    return Blip(folder)


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copied")


def noise(seed, side=40):
    return np.random.default_rng(seed).integers(0, 256, (side, side + seed, 3), dtype=np.uint8)


def test_blip_says_words_that_differ_by_picture_and_never_by_run(blip, folder):
    pictures = [RED, BLUE, noise(1), noise(2)]
    said = blip.caption(pictures)
    assert len(set(said)) > 1
    assert all(word in WORDS for caption in said for word in caption.split())
    assert said == blip.caption(pictures) == Blip(folder).caption(pictures)


def test_a_caption_does_not_depend_on_what_else_is_in_the_batch(blip):
    pictures = [RED, BLUE, noise(1), noise(2)]
    assert blip.caption(pictures) == [caption for picture in pictures for caption in blip.caption([picture])]


def test_no_picture_gets_no_caption(blip):
    assert blip.caption([]) == []


def test_the_prompt_is_cut_off_and_counts_towards_the_shortest_caption(tmp_path):
    """Five tokens at least: one that begins, 'a picture of' and one word, although this model wants to end at once."""
    shy = Blip(write_blip(tmp_path / "shy", likes={"[SEP]": 500, "man": 100}))
    assert shy.caption([RED]) == ["man"]


def test_a_caption_ends_at_75_tokens_with_the_prompt(tmp_path):
    chatty = Blip(write_blip(tmp_path / "chatty", likes={"bald": 500}))
    assert chatty.caption([RED]) == [" ".join(["bald"] * 71)]


def test_words_come_from_one_beam_and_no_dice_as_in_kohyas_window(blip):
    assert GENERATION["num_beams"] == 1
    assert (GENERATION["do_sample"], GENERATION["max_length"], GENERATION["min_length"]) == (False, 75, 5)
    assert blip.settings["prompt"] == "a picture of"


def test_the_captioner_is_known_by_the_hash_of_its_weights(blip, folder):
    assert blip.sha256 == file_sha256(folder / "model.safetensors")


def test_a_folders_own_generation_settings_change_nothing(blip, copied):
    dice = {"do_sample": True, "num_beams": 4, "temperature": 9.0, "max_new_tokens": 2}
    (copied / "generation_config.json").write_text(json.dumps(dice))
    assert Blip(copied).caption([RED, noise(1)]) == blip.caption([RED, noise(1)])


@pytest.mark.parametrize(
    "files", [["config.json"], ["preprocessor_config.json", "processor_config.json"], ["vocab.txt", "tokenizer.json"]]
)
def test_a_folder_that_lacks_a_file_is_named_with_the_file(copied, files):
    for file in files:
        (copied / file).unlink(missing_ok=True)
    missing = " or ".join(files)
    with pytest.raises(UserError, match=rf"model is '.*copied', which lacks {missing}; it must be a BLIP captioning"):
        Blip(copied)


def test_a_folder_saved_by_transformers_5_says_the_same(blip, tmp_path):
    new = write_blip(tmp_path / "new", old=False)
    assert not (new / "vocab.txt").exists()
    assert Blip(new).caption([RED, noise(1)]) == blip.caption([RED, noise(1)])


def test_pickled_weights_are_refused_unread(copied):
    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(b"\x80\x04boom")
    with pytest.raises(UserError, match=r"whose weights are pytorch_model.bin, which is not read since it may run"):
        Blip(copied)


def test_a_pickle_beside_the_safetensors_is_left_alone(blip, copied):
    (copied / "pytorch_model.bin").write_bytes(b"\x80\x04boom")
    assert Blip(copied).caption([RED]) == blip.caption([RED])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"model_type": "clip"}'),
        ("preprocessor_config.json", "["),
        ("model.safetensors", "no tensors"),
    ],
)
def test_a_damaged_folder_is_one_sentence(copied, file, content):
    (copied / file).write_text(content)
    with pytest.raises(
        UserError, match=r"^model is '.*copied', which cannot be read \(.*\); it must be a BLIP"
    ) as found:
        Blip(copied)
    assert "\n" not in str(found.value)


def test_missing_weights_are_not_made_up(copied):
    from safetensors.torch import load_file, save_file

    state = load_file(copied / "model.safetensors")
    gone = next(name for name in state if name.endswith("attention.self.query.weight"))
    save_file({name: tensor for name, tensor in state.items() if name != gone}, copied / "model.safetensors")
    with pytest.raises(UserError, match=r"query\.weight is missing or has another shape"):
        Blip(copied)


def test_the_choice_falls_back_on_a_pinned_model_of_its_kind():
    for kind, (model, revision) in DEFAULTS.items():
        chosen = CaptionerChoice(kind=kind).pinned()
        assert (chosen.model, chosen.revision) == (model, revision)
        assert len(revision) == 40
        assert CaptionerChoice(kind=kind, model=model).pinned().revision == revision
    assert CaptionerChoice(model="own/model").pinned().revision is None


def test_a_model_that_is_nowhere_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"^model is '/no/such/folder', which is no folder here; give one, or a hub id"):
        open_captioner(CaptionerChoice(model="/no/such/folder"))


def test_kohyas_own_pickle_is_named_with_what_to_take_instead(tmp_path):
    file = tmp_path / "model_large_caption.pth"
    file.write_bytes(b"\x80\x04boom")
    with pytest.raises(UserError, match=r"a pickle, which may run code; .* such as Salesforce/blip-image-captioning"):
        open_captioner(CaptionerChoice(model=str(file)))


def test_a_hub_id_without_a_commit_is_refused():
    with pytest.raises(UserError, match=r"^model is 'own/model', .*pin it with revision=COMMIT"):
        open_captioner(CaptionerChoice(model="own/model"))


@pytest.mark.parametrize("kind", ["blip", "tagger"])
def test_a_hub_id_while_offline_is_refused_unless_it_is_in_the_cache(kind, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"which is not in the hub's cache on this machine; go online once"):
        open_captioner(CaptionerChoice(kind=kind))


def test_a_captioner_comes_from_the_hub_at_its_commit_and_then_from_the_cache(blip, copied, tmp_path, monkeypatch):
    (copied / "pytorch_model.bin").write_bytes(b"\x80\x04boom")
    choice = CaptionerChoice(model="org/tiny", revision=COMMIT)
    with served(copied) as hub:
        online(monkeypatch, hub.address, tmp_path / "cache")
        assert open_captioner(choice).caption([RED]) == blip.caption([RED])
        assert not any(path.endswith(".bin") for path in hub.asked)
    with pytest.raises(TryAgainError):
        open_captioner(CaptionerChoice(model="org/other", revision=COMMIT))
    offline = CaptionerChoice(model="org/tiny", revision=COMMIT, offline=True)
    assert open_captioner(offline).caption([RED]) == blip.caption([RED])


def test_a_tagger_from_the_hub_fetches_its_table_and_no_onnx(tmp_path, monkeypatch):
    folder = write_tagger(tmp_path / "tagger")
    (folder / "model.onnx").write_bytes(b"large")
    with served(folder) as hub:
        online(monkeypatch, hub.address, tmp_path / "cache")
        tagger = open_captioner(CaptionerChoice(kind="tagger", model="org/tiny", revision=COMMIT))
        assert tagger.caption([RED]) == ["red dress, ^_^"]
        assert not any(path.endswith(".onnx") for path in hub.asked)


def test_a_tagger_that_the_hub_has_as_onnx_only_is_fetched_as_that(tmp_path, monkeypatch):
    folder = write_tagger(tmp_path / "tagger")
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").write_bytes(b"no onnx")
    with served(folder) as hub:
        online(monkeypatch, hub.address, tmp_path / "cache")
        with pytest.raises(UserError, match="onnx"):
            open_captioner(CaptionerChoice(kind="tagger", model="org/tiny", revision=COMMIT))
        assert any(path.endswith("model.onnx") for path in hub.asked)


def test_writing_captions_keeps_no_gradients(blip):
    with torch.enable_grad():
        blip.caption([RED])
    assert not any(weight.requires_grad for weight in blip._model.parameters())
