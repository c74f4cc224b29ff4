"""A tiny DINOv2 of random weights as a real folder: what the hub has, at 28 pixels a side."""

import json
from pathlib import Path
from typing import Any

SIDE, WIDTH = 28, 32


def write_dino(folder: Path, *, registers: bool = False) -> Path:
    """config.json, preprocessor_config.json and model.safetensors, written by the real classes."""
    import torch
    from transformers import (
        BitImageProcessor,
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )
    from transformers.utils import logging

    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    shape |= {"image_size": SIDE, "patch_size": 14, "initializer_range": 0.2}
    model: Any = (
        Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**shape))
        if registers
        else Dinov2Model(Dinov2Config(**shape))
    )
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    looking = {"do_resize": True, "size": {"shortest_edge": 32}, "resample": 3, "do_center_crop": True}
    looking |= {"crop_size": {"height": SIDE, "width": SIDE}, "do_rescale": True, "rescale_factor": 1 / 255}
    looking |= {"do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    settings = {**BitImageProcessor(**looking).to_dict(), "image_processor_type": "BitImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
