import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lorasweep.errors import UserError
from lorasweep.vision.clip import Clip

pytestmark = pytest.mark.slow  # importing open_clip takes seconds

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import open_clip

    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("clip")
    mean = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": mean}))
    model = open_clip.CLIP(TINY["embed_dim"], TINY["vision_cfg"], TINY["text_cfg"])
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, place / "open_clip_model.safetensors"
    )
    return place


def test_a_local_folder_gives_unit_vectors_of_pictures_and_words(folder):
    clip = Clip(f"local-dir:{folder}")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (40, 60, 3)).astype(np.uint8) for _ in range(3)]
    seen, said = clip.pictures(pictures), clip.texts(["a red hat", "a blue hat"])
    assert (seen.shape, said.shape) == ((3, 16), (2, 16))
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1)
    assert said[0] @ said[1] < 0.9999
    np.testing.assert_allclose(clip.pictures(pictures[1:]), seen[1:], atol=1e-6)
    assert len(clip.sha256) == 64


def test_the_folders_hash_follows_its_weights(folder):
    before = Clip(f"local-dir:{folder}").sha256
    (folder / "note.txt").write_text("changed")
    assert Clip(f"local-dir:{folder}").sha256 != before
    (folder / "note.txt").unlink()


def test_what_cannot_be_loaded_gets_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"evaluate.clip is 'local-dir:.*', which cannot be loaded"):
        Clip(f"local-dir:{tmp_path}")
    with pytest.raises(
        UserError, match=r"evaluate.clip_weights is null; ViT-B-32 needs a pretrained tag or a local file"
    ):
        Clip("ViT-B-32")
    with pytest.raises(
        UserError, match=r"neither a local file nor a pretrained tag of ViT-B-32; its tags are .*openai"
    ):
        Clip("ViT-B-32", "no_such_tag")
    with pytest.raises(UserError, match=r"which cannot be loaded|neither a local file nor a pretrained tag"):
        Clip("no-such-model", "openai")
