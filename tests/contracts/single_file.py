"""Tiny diffusers folders as the one-file checkpoints that people share: in the original code's names, LDM, SGM or BFL.

Written from those codes' own module trees (CompVis ``ldm``, Stability ``sgm``, ``open_clip``, Black Forest Labs
``flux``) and from what ComfyUI saves, and not from the package's tables of names: it is what those are held against.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

State = dict[str, Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
PREFIXES = {
    "sd15": {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": "cond_stage_model.transformer.text_model.",
    },
    "sdxl": {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": "conditioner.embedders.0.transformer.text_model.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    "flux": {
        "transformer": "model.diffusion_model.",
        "vae": "vae.",
        "text_encoder": "text_encoders.clip_l.transformer.text_model.",
        "text_encoder_2": "text_encoders.t5xxl.transformer.",
    },
}
BESIDE = {
    "sd15": ("alphas_cumprod", "betas", "model_ema.decay", "cond_stage_model.transformer.text_model.embeddings.ids"),
    "sdxl": ("denoiser.sigmas", "conditioner.embedders.1.model.logit_scale", "model_ema.num_updates"),
    "flux": ("text_encoders.t5xxl.logit_scale", "text_encoders.clip_l.logit_scale"),
}
"""What real files hold besides weights."""


def write_single_file(
    kind: str,
    folder: Path,
    path: Path,
    *,
    parts: tuple[str, ...] | None = None,
    dtype: torch.dtype | None = None,
    extra: Mapping[str, Tensor] | None = None,
    bare: bool = False,
) -> Path:
    """One checkpoint file of what ``folder`` holds.

    Args:
        parts: which parts; None writes all.
        dtype: of all weights; None keeps fp32.
        extra: more tensors, ``v_pred`` say.
        bare: without a prefix, as Black Forest Labs share their transformer alone.
    """
    whole: State = {key: torch.zeros(3) for key in BESIDE[kind]} if not bare else {}
    for part, prefix in PREFIXES[kind].items():
        if parts is None or part in parts:
            state = original_state(kind, part, folder / part)
            whole |= {("" if bare else prefix) + key: tensor for key, tensor in state.items()}
    whole |= dict(extra or {})
    save_file({key: t.to(dtype or t.dtype).contiguous().clone() for key, t in whole.items()}, path)
    return path


def original_state(kind: str, part: str, folder: Path) -> State:
    """The weights of one part under the original code's names."""
    state: State = {}
    for file in folder.glob("*.safetensors"):
        state |= load_file(file)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return renamed(kind, part, state, config)


def renamed(kind: str, part: str, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> State:
    """One part's weights, from diffusers' and transformers' names to the original code's."""
    if part == "unet":
        return {_named(key, _unet(key, state, config["layers_per_block"])): t for key, t in state.items()}
    if part == "transformer":
        return _bfl(state)
    if part == "vae":
        return _vae(state, len(config["block_out_channels"]))
    bare = {key.removeprefix("text_model."): tensor for key, tensor in state.items()}
    if part == "text_encoder_2" and kind == "sdxl":
        return _open_clip(bare)
    return bare


def _named(key: str, module: str) -> str:
    return f"{module}.{key.rsplit('.', 1)[1]}"


def _unet(key: str, state: Mapping[str, Tensor], layers: int) -> str:
    """The module's place in LDM's flat lists: a level has ``layers`` blocks and a downsampler, or one block more."""
    module = key.rsplit(".", 1)[0]
    if module in UNET:
        return UNET[module]
    if found := re.fullmatch(r"mid_block\.(\w+)\.(\d)\.(.+)", module):
        place = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}[found[1], found[2]]
        return f"middle_block.{place}.{RESNET.get(found[3], found[3])}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", module)
    assert found is not None, key
    way, level, what, number, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if what == "downsamplers":
        return f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
    if what == "upsamplers":
        behind_attention = any(other.startswith(f"up_blocks.{level}.attentions.") for other in state)
        return f"output_blocks.{level * (layers + 1) + layers}.{2 if behind_attention else 1}.conv"
    block = f"input_blocks.{1 + level * (layers + 1) + number}"
    if way == "up":
        block = f"output_blocks.{level * (layers + 1) + number}"
    return f"{block}.1.{rest}" if what == "attentions" else f"{block}.0.{RESNET[rest]}"


def _vae(state: Mapping[str, Tensor], levels: int) -> State:
    found: State = {}
    for key, tensor in state.items():
        name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", key)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        # the decoder's levels are counted from the picture, diffusers' from the latents
        name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "mid_block.attentions.0." in name:
            name = name.replace("mid_block.attentions.0.", "mid.attn_1.").replace("group_norm", "norm")
            name = re.sub(r"to_([qkv])\.", r"\1.", name).replace("to_out.0", "proj_out")
            if tensor.dim() == 2:  # a convolution of one pixel in the original
                tensor = tensor[:, :, None, None]
        found[name] = tensor
    return found


def _open_clip(state: Mapping[str, Tensor]) -> State:
    """open_clip keeps q, k and v in one matrix and multiplies by its projection from the right."""
    found: State = {}
    for key, tensor in state.items():
        if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key):
            place, inner, end = f"transformer.resblocks.{match[1]}", match[2], match[3]
            if inner == "self_attn.q_proj":
                others = [state[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
                found[f"{place}.attn.in_proj_{end}"] = torch.cat(others)
            names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj"}
            names |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
            if inner in names:
                found[f"{place}.{names[inner]}.{end}"] = tensor
        elif key == "text_projection.weight":
            found["text_projection"] = tensor.T
        elif key == "embeddings.position_embedding.weight":
            found["positional_embedding"] = tensor
        elif key == "embeddings.token_embedding.weight":
            found["token_embedding.weight"] = tensor
        else:
            found[key.replace("final_layer_norm", "ln_final")] = tensor
    return found


def _bfl(state: Mapping[str, Tensor]) -> State:
    """Black Forest Labs' transformer: queries, keys and values in one layer; of a single block the MLP's first too."""
    found: State = {}
    ends = {
        "img_in": "x_embedder",
        "txt_in": "context_embedder",
        "final_layer.linear": "proj_out",
        "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
        "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
        "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
        "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
        "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
        "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    }
    for name, module in ends.items():
        found |= _joined(state, name, [module])
    for end in ("weight", "bias"):  # (shift, scale) here, (scale, shift) in diffusers
        scale, shift = state[f"norm_out.linear.{end}"].chunk(2)
        found[f"final_layer.adaLN_modulation.1.{end}"] = torch.cat([shift, scale])
    for number in _numbers(state, "transformer_blocks"):
        block, name = f"transformer_blocks.{number}", f"double_blocks.{number}"
        for side, mlp, norm, qkv, out, norms in (
            ("img", "ff", "norm1", ("to_q", "to_k", "to_v"), "to_out.0", ("norm_q", "norm_k")),
            (
                *("txt", "ff_context", "norm1_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out"),
                ("norm_added_q", "norm_added_k"),
            ),
        ):
            found |= _joined(state, f"{name}.{side}_attn.qkv", [f"{block}.attn.{part}" for part in qkv])
            found |= _joined(state, f"{name}.{side}_attn.proj", [f"{block}.attn.{out}"])
            found |= _joined(state, f"{name}.{side}_mlp.0", [f"{block}.{mlp}.net.0.proj"])
            found |= _joined(state, f"{name}.{side}_mlp.2", [f"{block}.{mlp}.net.2"])
            found |= _joined(state, f"{name}.{side}_mod.lin", [f"{block}.{norm}.linear"])
            for original, part in zip(("query_norm", "key_norm"), norms, strict=True):
                found[f"{name}.{side}_attn.norm.{original}.scale"] = state[f"{block}.attn.{part}.weight"]
    for number in _numbers(state, "single_transformer_blocks"):
        block, name = f"single_transformer_blocks.{number}", f"single_blocks.{number}"
        first = [f"{block}.attn.to_q", f"{block}.attn.to_k", f"{block}.attn.to_v", f"{block}.proj_mlp"]
        found |= _joined(state, f"{name}.linear1", first)
        found |= _joined(state, f"{name}.linear2", [f"{block}.proj_out"])
        found |= _joined(state, f"{name}.modulation.lin", [f"{block}.norm.linear"])
        for original, part in (("query_norm", "norm_q"), ("key_norm", "norm_k")):
            found[f"{name}.norm.{original}.scale"] = state[f"{block}.attn.{part}.weight"]
    return found


def _joined(state: Mapping[str, Tensor], name: str, modules: list[str]) -> State:
    ends = [end for end in ("weight", "bias") if f"{modules[0]}.{end}" in state]
    return {f"{name}.{end}": torch.cat([state[f"{module}.{end}"] for module in modules]) for end in ends}


def _numbers(state: Mapping[str, Tensor], blocks: str) -> list[int]:
    found = (re.match(rf"{blocks}\.(\d+)\.", key) for key in state)
    return sorted({int(match[1]) for match in found if match})
