"""Tiny captioners as real folders: a BLIP that knows what it will say, and a tagger that knows red, blue and white."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

SIDE = 32
WORDS = ("a", "picture", "of", "man", "woman", "standing", "sea", "forest", "coat", "bald", "smiling", "red", "blue")
TAGS = (
    ("general", 9),
    ("explicit", 9),
    ("blue_sky", 0),
    ("red_dress", 0),
    ("white_border", 0),
    ("^_^", 0),
    ("anna_(portraits)", 4),
)
"""Name and category, as in the tables of the WD taggers."""


def write_blip(folder: Path, *, likes: dict[str, float] | None = None, old: bool = True) -> Path:
    """A BLIP of random weights in the files that the hub has, or (not ``old``) those that transformers 5 saves.

    ``likes`` is added to the logit of a word before every word that it writes.
    """
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor
    from transformers.utils import logging

    folder.mkdir(parents=True, exist_ok=True)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "[DEC]"]
    tokenizer = BertTokenizer(vocab={name: row for row, name in enumerate(names)})
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"bos_token_id": len(names) - 1, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    torch.manual_seed(0)
    text |= {"vocab_size": len(names), "max_position_embeddings": 96, "encoder_hidden_size": 32}
    config = BlipConfig(
        text_config=shape | text,
        vision_config={**shape, "image_size": SIDE, "patch_size": 16},
        image_text_hidden_size=32,
        projection_dim=32,
    )
    model: Any = BlipForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:  # so that pictures make a difference
                weight.copy_(torch.randn_like(weight) * (1.0 if "crossattention" in name else 0.3))
        for word, much in (likes or {}).items():
            model.text_decoder.cls.predictions.bias[names.index(word)] += much
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    looking = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    BlipProcessor(looking, tokenizer).save_pretrained(folder)
    if old:
        (folder / "processor_config.json").unlink()
        (folder / "preprocessor_config.json").write_text(json.dumps(looking.to_dict()), encoding="utf-8")
        (folder / "vocab.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return folder


def write_tagger(folder: Path) -> Path:
    """A timm ViT without a block: its head sees the mean over patches of the first channel and of the third one."""
    folder.mkdir(parents=True, exist_ok=True)
    patch = torch.zeros(4, 3, 16, 16)
    for row, channel, sign in ((0, 0, 1), (1, 2, 1), (2, 0, -1), (3, 2, -1)):
        patch[row, channel] = sign / 256
    head = torch.zeros(len(TAGS), 4)
    head[2, :2] = torch.tensor([4.0, -4.0])  # the first channel, which is blue, more than the third
    head[3, :2] = torch.tensor([-4.0, 4.0])
    head[4, :2] = torch.tensor([4.0, 4.0])
    bias = torch.tensor([9.0, 9.0, -4.0, -4.0, -3.0, -0.4, 1.0])  # sigmoid: ^_^ at 0.40 and anna at 0.73, always
    state = {
        "pos_embed": torch.zeros(1, 4, 4),
        "patch_embed.proj.weight": patch,
        "patch_embed.proj.bias": torch.zeros(4),
    }
    state |= {"norm.weight": torch.ones(4), "norm.bias": torch.zeros(4), "head.weight": head, "head.bias": bias}
    save_file(state, folder / "model.safetensors")
    shape = {"img_size": SIDE, "embed_dim": 4, "depth": 0, "num_heads": 1, "class_token": False, "fc_norm": False}
    input_size, half = [3, SIDE, SIDE], [0.5, 0.5, 0.5]
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": len(TAGS),
        "global_pool": "avg",
        "model_args": shape | {"global_pool": "avg"},
        "pretrained_cfg": {"input_size": input_size, "mean": half, "std": half, "num_classes": len(TAGS)},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_tags(folder)
    return folder


def write_onnx_tagger(folder: Path) -> Path:
    """The same rules as ONNX: means over the picture of 0 to 255, NHWC, and a sigmoid at the end."""
    from onnx import TensorProto, helper, numpy_helper, save

    folder.mkdir(parents=True, exist_ok=True)
    head = np.zeros((3, len(TAGS)), dtype=np.float32)
    head[:, 2], head[:, 3], head[:, 4] = (8 / 255, 0, -8 / 255), (-8 / 255, 0, 8 / 255), (0, 8 / 255, 0)
    bias = np.array([9.0, 9.0, -4.0, -4.0, -3.0, -0.4, 1.0], dtype=np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "head"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", len(TAGS)])],
        [numpy_helper.from_array(head, "head"), numpy_helper.from_array(bias, "bias")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(made, str(folder / "model.onnx"))
    write_tags(folder)
    return folder


def write_tags(folder: Path) -> None:
    with (folder / "selected_tags.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("tag_id", "name", "category", "count"))
        rows.writerows((number, name, category, 1) for number, (name, category) in enumerate(TAGS))


def coloured(red: int, green: int, blue: int, *, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """[height, width, 3] of one colour."""
    return np.full((height, width, 3), (red, green, blue), dtype=np.uint8)
