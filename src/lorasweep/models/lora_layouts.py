"""An adapter as the tensors of a LoRA file, and back, in the layouts that trainers and programs use.

The change of a weight is up @ down * alpha / rank in all of them; they differ in names, in whether alpha is written,
and in which layers are one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lorasweep.data.errors import UserError
from lorasweep.models.cohort_lora import Adapter, LoraWeights
from lorasweep.models.lora_names import aliases, kohya_groups, text_path

Shapes = Mapping[str, tuple[int, ...]]
"""Module to the shape of its weight (see ``family.Family.module_shapes``)."""

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
ENDS = {
    ".lora_down.weight": DOWN,
    ".lora_up.weight": UP,
    ".lora_A.weight": DOWN,
    ".lora_B.weight": UP,
    ".lora_A.default.weight": DOWN,
    ".lora_B.default.weight": UP,
    ".lora.down.weight": DOWN,
    ".lora.up.weight": UP,
    ".lora_linear_layer.down.weight": DOWN,
    ".lora_linear_layer.up.weight": UP,
    ".lora.alpha": ALPHA,
    ".alpha": ALPHA,
}
"""How the keys of one module end."""
PROCESSOR = re.compile(r"(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight")
"""diffusers before its use of PEFT."""
OTHER_METHODS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "a LoCon with a Tucker core",
    "oft_": "OFT",
    "diff": "full differences of weights",
    "lora_C": "LoRA-FA or VeRA",
}


def to_kohya(kind: str, shapes: Shapes, adapter: Adapter) -> dict[str, Tensor]:
    """Three tensors a name: down, up and alpha; FLUX's layers that are one in BFL's code become one."""
    tensors: dict[str, Tensor] = {}
    for name, modules in kohya_groups(kind, shapes).items():
        if any(module in adapter for module in modules):
            fused = adapter[modules[0]] if len(modules) == 1 else fuse(shapes, modules, adapter)
            tensors[f"{name}.{DOWN}"] = fused.down.contiguous()
            tensors[f"{name}.{UP}"] = fused.up.contiguous()
            tensors[f"{name}.{ALPHA}"] = torch.tensor(float(fused.alpha))
    return tensors


def fuse(shapes: Shapes, modules: Sequence[str], adapter: Adapter) -> LoraWeights:
    """Adapters of layers that are one in the file: downs stacked, ups on the diagonal, alpha grown with the rank.

    Readers scale by alpha / rank, so the alpha of the whole is that of a part times the number of parts; where the
    parts' own scales differ, the difference goes into their ups.
    """
    present = [module for module in modules if module in adapter]
    ranks = [adapter[module].rank for module in present]
    scales = [adapter[module].alpha / adapter[module].rank for module in present]
    up = torch.zeros(sum(shapes[module][0] for module in modules), sum(ranks), dtype=adapter[present[0]].up.dtype)
    row = column = 0
    for module in modules:
        if module in adapter:
            part = adapter[module]
            ratio = part.alpha / part.rank / scales[0]
            up[row : row + shapes[module][0], column : column + part.rank] = part.up * ratio
            column += part.rank
        row += shapes[module][0]
    return LoraWeights(torch.cat([adapter[module].down for module in present]), up, scales[0] * sum(ranks))


def split(shapes: Shapes, modules: Sequence[str], whole: LoraWeights) -> dict[str, LoraWeights]:
    """The inverse of ``fuse``, and of a layer that was trained as one: each part keeps the ranks that reach its rows.

    A part that no rank reaches is left out, unless that is all of them.
    """
    found: dict[str, LoraWeights] = {}
    row = 0
    for module in modules:
        rows = whole.up[row : row + shapes[module][0]]
        row += shapes[module][0]
        kept = rows.ne(0).any(dim=0).nonzero().flatten()
        if kept.numel():
            alpha = whole.alpha * len(kept) / whole.rank
            found[module] = LoraWeights(whole.down[kept].contiguous(), rows[:, kept].contiguous(), alpha)
    return found or {modules[0]: LoraWeights(whole.down, whole.up[: shapes[modules[0]][0]], whole.alpha)}


def to_diffusers(kind: str, adapter: Adapter) -> dict[str, Tensor]:
    """diffusers' and PEFT's names, alpha / rank multiplied into up.

    The layout has no place for alpha but the header, which ComfyUI and older versions of diffusers do not read: with a
    scale of 1 all agree.
    """
    tensors: dict[str, Tensor] = {}
    for module, weights in adapter.items():
        component, path = module.split(".", 1)
        name = f"{component}.{text_path(component, kind, path) if component.startswith('text_encoder') else path}"
        tensors[f"{name}.lora_A.weight"] = weights.down.contiguous()
        tensors[f"{name}.lora_B.weight"] = (weights.up * (weights.alpha / weights.rank)).contiguous()
    return tensors


class _Key(NamedTuple):
    stem: str
    part: str


def from_tensors(
    name: str, kind: str, shapes: Shapes, tensors: Mapping[str, Tensor], alphas: Mapping[str, float] | None = None
) -> dict[str, LoraWeights]:
    """The adapter that a file's tensors describe, in the order of ``shapes``; any layout, any trainer.

    Args:
        name: of the file, for sentences about it.
        alphas: by module, from a header that has them where the tensors have not.

    Raises:
        UserError: a key that is no module of this base model, half a module, a module twice, or another method.
    """
    known = aliases(kind, shapes)
    parts: dict[tuple[str, ...], dict[str, tuple[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        stem, part = _split_key(name, key)
        modules = known.get(stem)
        if modules is None:
            raise UserError(f"{name} holds {key}, which the base model has no module for{_guess(tensors, kind)}")
        twin = parts.setdefault(modules, {}).setdefault(part, (key, tensor))
        if twin[0] != key:
            raise UserError(f"{name} holds one module twice, as {twin[0]} and as {key}; it must have it once.")
    adapter: dict[str, LoraWeights] = {}
    for modules, found in parts.items():
        whole = _whole(name, modules, found, shapes, alphas or {})
        first, *others = modules
        for module, weights in (split(shapes, modules, whole) if others else {first: whole}).items():
            if module in adapter:
                raise UserError(f"{name} changes {module} twice, alone and as a part of {found[DOWN][0]}.")
            adapter[module] = weights
    return {module: adapter[module] for module in shapes if module in adapter}


def _split_key(name: str, key: str) -> _Key:
    for end, part in ENDS.items():
        if key.endswith(end):
            return _Key(key.removesuffix(end), part)
    if match := PROCESSOR.fullmatch(key):
        path, letter, way = match[1], match[2], match[3]
        clip = "self_attn" in path
        layer = f"{letter}_proj" if clip else "to_out.0" if letter == "out" else f"to_{letter}"
        return _Key(f"{path}.{layer}", DOWN if way == "down" else UP)
    method = next((method for sign, method in OTHER_METHODS.items() if f".{sign}" in key), None)
    if method:
        raise UserError(f"{name} holds {key}: it is {method}; only plain LoRA and LoCon files can be read.")
    raise UserError(f"{name} holds {key}, which is no part of a LoRA that is known here.")


def _whole(
    name: str,
    modules: Sequence[str],
    found: Mapping[str, tuple[str, Tensor]],
    shapes: Shapes,
    alphas: Mapping[str, float],
) -> LoraWeights:
    """One name's down, up and alpha, checked against the base model's layer."""
    for part, other in ((DOWN, UP), (UP, DOWN)):
        if part not in found:
            key = found.get(other, next(iter(found.values())))[0]
            twin = key.replace(other, part)
            raise UserError(f"{name} holds {key} but lacks {twin if twin != key else f'its other half, {part}'}.")
    (down_key, down), (_, up) = found[DOWN], found[UP]
    # a file without alpha means alpha = rank: A1111, ComfyUI and diffusers all apply it at scale 1
    alpha = float(found[ALPHA][1]) if ALPHA in found else alphas.get(modules[0], float(down.shape[0]))
    shape = shapes[modules[0]]
    out, into = sum(shapes[module][0] for module in modules), tuple(shape[1:])
    into_found = down[0].numel()
    if into_found != _size(into) or up.shape[0] != out or up[0].numel() != down.shape[0]:
        raise UserError(
            f"{name} changes {down_key.split('.lora')[0]} from {into_found} to {up.shape[0]} features at rank "
            f"{down.shape[0]} and {up[0].numel()}, but the base model's has {_size(into)} to {out}: is it a LoRA of "
            "another family?"
        )
    rank = down.shape[0]
    up_shape = (out, rank) if len(shape) == 2 else (out, rank, 1, 1)
    return LoraWeights(down.float().reshape(rank, *into), up.float().reshape(up_shape), alpha)


def _size(shape: Sequence[int]) -> int:
    return torch.Size(shape).numel()


def _guess(keys: Mapping[str, Tensor], kind: str) -> str:
    """The end of a sentence about a key that fits nowhere: which family the whole file looks like."""
    text = " ".join(keys)
    if "double_blocks" in text or "single_transformer_blocks" in text or "single_blocks" in text:
        looks = "flux"
    elif any(sign in text for sign in ("lora_te2_", "text_encoder_2", "input_blocks", "add_embedding")):
        looks = "sdxl"
    else:
        looks = "sd15" if "down_blocks" in text else kind
    return "." if looks == kind else f": it is a LoRA of another family, {looks}."
