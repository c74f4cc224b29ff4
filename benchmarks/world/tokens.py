"""The tokenizer of the tiny pipeline: CLIP's byte-level BPE with merges learnt from this world's captions.

Every caption word is one token; any other word, such as the trigger `s1lv10`, splits into letters and digits that the
vocabulary always holds, so nothing is ever unknown.
"""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer

from lorasweep.portraits.people import caption, sample_scene

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77


def byte_letters() -> list[str]:
    """Return the 256 printable characters that stand for the bytes in GPT-2's and CLIP's vocabularies, in CLIP's
    order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(rest))]


def caption_words(rng: np.random.Generator, count: int = 3000) -> Counter[str]:
    """Return how often each word occurs in `count` captions."""
    words: Counter[str] = Counter()
    for _ in range(count):
        words.update(re.findall(r"[a-z]+|[^\sa-z]", caption(sample_scene(rng), rng=rng).lower()))
    return words


def learn_merges(words: Counter[str]) -> list[tuple[str, str]]:
    """Return byte-pair merges, commonest first, until every word is one token."""
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in sorted(words)}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        pieces = {word: _merge(parts, best) for word, parts in pieces.items()}


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def write_tokenizer(folder: Path, *, seed: int = 0) -> CLIPTokenizer:
    """Write vocab.json, merges.txt and the configuration to `folder`; return what loads from there."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn_merges(caption_words(np.random.default_rng(seed)))
    letters = byte_letters()
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *("".join(m) for m in merges),
        START,
        END,
    ]
    vocabulary = {token: place for place, token in enumerate(dict.fromkeys(tokens))}
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    specials = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "do_lower_case": True,
        **specials,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    (folder / "special_tokens_map.json").write_text(json.dumps(specials, indent=2))
    return CLIPTokenizer.from_pretrained(folder)
