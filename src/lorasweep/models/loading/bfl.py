"""FLUX.1's transformer from Black Forest Labs' names, which checkpoint files have, to diffusers'."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lorasweep.models.lora.names import BFL_DOUBLE, BFL_ENDS, BFL_SINGLE

PREFIX = "model.diffusion_model."
"""In files that hold more than the transformer."""
BLOCKS = {"double": ("transformer_blocks", BFL_DOUBLE), "single": ("single_transformer_blocks", BFL_SINGLE)}
NORMS = {
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}


def to_diffusers(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under diffusers' names; layers that are one here become several, without a copy.

    diffusers' own converter knows one width only, and copies.

    Raises:
        KeyError: a name that FLUX.1 has not.
        RuntimeError: a layer that is no queries, keys and values.
    """
    state = {key.removeprefix(PREFIX): tensor for key, tensor in checkpoint.items()}
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name, end = key.rsplit(".", 1)
        match = re.fullmatch(r"(double|single)_blocks\.(\d+)\.(.+)", name)
        if match:
            blocks, table = BLOCKS[match[1]]
            block, inner = f"{blocks}.{match[2]}", match[3]
            if inner in NORMS:
                found[f"{block}.{NORMS[inner]}.weight"] = tensor
            else:
                rows = _rows(tensor, len(table[inner]), state[f"{name}.weight"].shape[1])
                found |= {
                    f"{block}.{part}.{end}": part_rows for part, part_rows in zip(table[inner], rows, strict=True)
                }
        elif name == "final_layer.adaLN_modulation.1":
            shift, scale = tensor.chunk(2)
            found[f"norm_out.linear.{end}"] = torch.cat([scale, shift])
        else:
            found[f"{BFL_ENDS[name]}.{end}"] = tensor
    return found


def _rows(whole: Tensor, parts: int, width: int) -> tuple[Tensor, ...]:
    """Queries, keys and values have ``width`` rows each; what is below them is the MLP's."""
    return (whole,) if parts == 1 else whole.split([width] * 3 + [len(whole) - 3 * width] * (parts - 3))
