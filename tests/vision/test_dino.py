import json
import shutil

import numpy as np
import pytest
import torch
from contracts.dinos import SIDE, WIDTH, write_dino
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Dinov2Model

from lorasweep.errors import UserError
from lorasweep.vision import dino
from lorasweep.vision.dino import Dino
from lorasweep.vision.embedder import checked_sha256

MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dino(tmp_path_factory.mktemp("dino") / "tiny")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)) for _ in range(5)]
    return [np.asarray(each.resize((64, 48), Image.Resampling.BICUBIC)) for each in coarse]


def test_the_vector_is_the_class_token_behind_the_layer_norm_of_the_cut_and_scaled_picture(folder, pictures):
    (vector,) = Dino(str(folder)).pictures(pictures[:1])
    small = Image.fromarray(pictures[0]).resize((42, 32), Image.Resampling.BICUBIC)
    cut = np.asarray(small.crop((7, 2, 7 + SIDE, 2 + SIDE)), dtype=np.float64) / 255
    given = torch.tensor(((cut - MEAN) / SPREAD).transpose(2, 0, 1)[None], dtype=torch.float32)
    with torch.no_grad():
        token = Dinov2Model.from_pretrained(folder).eval()(given).last_hidden_state[0, 0].double().numpy()
    assert float(vector @ token / np.linalg.norm(token)) > 0.995  # resizing with and without torch differs a little


def test_vectors_are_of_length_one_and_do_not_depend_on_the_batch(folder, pictures, monkeypatch):
    eye = Dino(str(folder))
    seen = eye.pictures(pictures)
    assert seen.shape == (5, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1)
    assert float((seen[:1] @ seen[1:].T).max()) < 0.999
    monkeypatch.setattr(dino, "BATCH", 2)
    np.testing.assert_allclose(eye.pictures(pictures), seen, atol=1e-6)
    assert eye.pictures([]).shape == (0, WIDTH)


def test_the_kind_with_registers_is_read_too(tmp_path, pictures):
    assert Dino(str(write_dino(tmp_path / "registers", registers=True))).pictures(pictures).shape == (5, WIDTH)


def test_the_hash_covers_the_weights_and_how_pictures_are_cut(folder, copy):
    before = Dino(str(folder)).sha256
    assert Dino(str(copy)).sha256 == before
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps({**settings, "image_mean": [0.5, 0.5, 0.5]}))
    assert Dino(str(copy)).sha256 != before


def test_the_expected_hash_is_that_of_the_weights_file(folder):
    published = checked_sha256(folder / "model.safetensors", None, "evaluate.image_weights")
    assert Dino(str(folder), sha256=published).sha256 == Dino(str(folder)).sha256
    with pytest.raises(UserError, match=r"evaluate.image_weights_sha256 says 00ff"):
        Dino(str(folder), sha256="00ff")


def without_weights(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")


def of_another_class(copy):
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**settings, "model_type": "vit"}))


def cut_short(copy):
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[:-100])


def lacking_a_layer(copy):
    state = load_file(copy / "model.safetensors")
    state.pop("layernorm.weight")
    save_file(state, copy / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (without_weights, "which lacks model.safetensors"),
        (of_another_class, "its model_type is vit"),
        (cut_short, "cannot be read"),
        (lacking_a_layer, "layernorm.weight is missing or has another shape"),
    ],
)
def test_a_folder_that_holds_no_whole_dinov2_gets_one_sentence(copy, spoil, why):
    spoil(copy)
    with pytest.raises(UserError, match=why) as told:
        Dino(str(copy))
    assert "evaluate.image_weights is" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_hub_id_must_be_pinned_and_a_name_that_is_none_is_told(tmp_path):
    with pytest.raises(UserError, match=r"'who/else'; pin a hub id with evaluate.image_revision=COMMIT"):
        Dino("who/else")
    with pytest.raises(UserError, match="which is no folder here"):
        Dino(str(tmp_path / "nowhere"))


def test_without_the_hub_the_network_that_is_there_anyway_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"facebook/dinov2-base.*evaluate.image=clip needs no weights of its own"):
        Dino()
