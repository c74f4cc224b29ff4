"""Weights are what the manifest says, or they are not loaded."""

import json
import shutil

import pytest

from lorasweep.errors import UserError
from lorasweep.portraits.manifest import NAME, WEIGHTS, make_manifest, verify
from lorasweep.portraits.networks import load_network


@pytest.fixture
def copied(tmp_path):
    """A face network alone, with a manifest of their own."""
    shutil.copytree(WEIGHTS / "face", tmp_path / "face")
    make_manifest(tmp_path)
    return tmp_path


def test_the_shipped_weights_are_what_their_manifest_says():
    verify()


def test_the_manifest_lists_the_weights_of_every_network():
    listed = json.loads((WEIGHTS / NAME).read_text(encoding="utf-8"))
    for name in ("face", "face_confirm"):
        assert f"{name}/model.safetensors" in listed
    assert "scorer/open_clip_model.safetensors" in listed


def test_an_altered_weight_file_is_refused(copied):
    weights = copied / "face" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match=r"face/model\.safetensors is not the file that MANIFEST\.json lists"):
        load_network(copied, "face")


def test_a_missing_file_is_refused(copied):
    (copied / "face" / "config.json").unlink()
    with pytest.raises(UserError, match=r"face/config\.json"):
        verify(copied, "face")


def test_a_file_that_the_manifest_does_not_know_is_refused(copied):
    (copied / "face" / "more.safetensors").write_bytes(b"?")
    with pytest.raises(UserError, match=r"more\.safetensors"):
        verify(copied)


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist; python -m benchmarks\.world\.build"):
        verify(tmp_path, "nowhere")


def test_one_altered_network_does_not_keep_another_from_loading(copied):
    (copied / "other").mkdir()
    (copied / "other" / "model.safetensors").write_bytes(b"?")
    assert load_network(copied, "face").config.hidden == 384
