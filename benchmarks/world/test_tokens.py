"""The byte-level tokenizer."""

import numpy as np
import pytest

pytest.importorskip("transformers")
from benchmarks.world.tokens import LENGTH, write_tokenizer
from lorasweep.portraits.people import caption, random_trigger, sample_scene


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def pieces(tokenizer, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)[1:-1]


def test_an_unseen_trigger_splits_into_known_pieces(tokenizer):
    assert pieces(tokenizer, "s1lv10") == ["s</w>", "1</w>", "l", "v</w>", "1</w>", "0</w>"]
    assert tokenizer.unk_token_id not in tokenizer("zq9x ü 漢 🙂").input_ids[1:-1]


def test_every_caption_word_is_one_piece(tokenizer):
    assert pieces(tokenizer, "a person, smiling") == ["a</w>", "person</w>", ",</w>", "smiling</w>"]


def test_every_caption_fits(tokenizer):
    rng = np.random.default_rng(0)
    texts = [caption(sample_scene(rng), trigger=random_trigger(rng), rng=rng) for _ in range(300)]
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= LENGTH


def test_different_words_get_different_tokens(tokenizer):
    words = ["red", "blue", "left", "right", "hat", "person"]
    assert len({tuple(tokenizer(word).input_ids) for word in words}) == len(words)
