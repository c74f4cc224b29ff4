"""An adapter as the tensors of a LoRA file, and back, in the layouts that trainers and programs use.

The change of a weight is up @ down * alpha / rank in all of them; they differ in names, in whether alpha is written,
and in which layers are one.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorasweep.errors import UserError
from lorasweep.models.lora.keys import ALPHA, DOWN, UP, other_half, split_key
from lorasweep.models.lora.layer import Adapter, LoraWeights, Shapes
from lorasweep.models.lora.names import aliases, guess, is_swapped, kohya_groups, text_path


def to_kohya(kind: str, shapes: Shapes, adapter: Adapter) -> dict[str, Tensor]:
    """Return three tensors a name: down, up and alpha; FLUX's layers that are one in BFL's code become one.

    Raises:
        UserError: the adapter changes a module that has no name in this layout.
    """
    groups = kohya_groups(kind, shapes)
    lost = set(adapter).difference(*groups.values())
    if lost:
        raise UserError(f"The adapter changes {min(lost)}, which Kohya's layout has no name for in a {kind} model.")
    tensors: dict[str, Tensor] = {}
    for name, modules in groups.items():
        if any(module in adapter for module in modules):
            whole = adapter[modules[0]] if len(modules) == 1 else fuse(shapes, modules, adapter)
            up = _swapped(whole.up) if is_swapped(name) else whole.up
            tensors[f"{name}.{DOWN}"] = whole.down.contiguous()
            tensors[f"{name}.{UP}"] = up.contiguous()
            tensors[f"{name}.{ALPHA}"] = torch.tensor(float(whole.alpha))
    return tensors


def _swapped(up: Tensor) -> Tensor:
    return torch.cat(up.chunk(2)[::-1])


def fuse(shapes: Shapes, modules: Sequence[str], adapter: Adapter) -> LoraWeights:
    """Return adapters of layers that are one in the file as one: downs stacked, ups on the diagonal."""
    present = [adapter[module] for module in modules if module in adapter]
    rank, scale = sum(part.rank for part in present), present[0].alpha / present[0].rank
    up = present[0].up.new_zeros(sum(shapes[module][0] for module in modules), rank)
    row = column = 0
    for module in modules:
        if module in adapter:
            part = adapter[module]
            # readers scale the whole by one alpha / rank: what a part's own scale differs from it goes into its up
            up[row : row + shapes[module][0], column : column + part.rank] = part.up * (part.alpha / part.rank / scale)
            column += part.rank
        row += shapes[module][0]
    return LoraWeights(torch.cat([part.down for part in present]), up, scale * rank)


def split(shapes: Shapes, modules: Sequence[str], whole: LoraWeights) -> dict[str, LoraWeights]:
    """Return the parts of what ``fuse`` made, or of a layer that was trained as one.

    Each part keeps the ranks that reach its rows; a part that no rank reaches is left out.
    """
    rows = whole.up.split([shapes[module][0] for module in modules])
    kept = [part.ne(0).any(dim=0).nonzero().flatten() for part in rows]
    if not whole.up.any():  # as before the first step: no rank says whose it is
        ranks = torch.arange(whole.rank)
        kept = list(ranks.chunk(len(modules)) if whole.rank % len(modules) == 0 else [ranks] * len(modules))
    return {
        module: LoraWeights(whole.down[own], part[:, own].contiguous(), whole.alpha * len(own) / whole.rank)
        for module, part, own in zip(modules, rows, kept, strict=True)
        if len(own)
    }


def to_diffusers(kind: str, adapter: Adapter) -> dict[str, Tensor]:
    """Return tensors by diffusers' and PEFT's names, alpha / rank multiplied into up."""
    # alpha has a place in the header only, which ComfyUI and older diffusers do not read: at a scale of 1 all agree
    tensors: dict[str, Tensor] = {}
    for module, weights in adapter.items():
        component, path = module.split(".", 1)
        name = f"{component}.{text_path(component, kind, path) if component.startswith('text_encoder') else path}"
        tensors[f"{name}.lora_A.weight"] = weights.down.contiguous()
        tensors[f"{name}.lora_B.weight"] = (weights.up * (weights.alpha / weights.rank)).contiguous()
    return tensors


def from_tensors(
    name: str, kind: str, shapes: Shapes, tensors: Mapping[str, Tensor], alphas: Mapping[str, float] | None = None
) -> dict[str, LoraWeights]:
    """Return the adapter that a file's tensors describe, of any layout and trainer, in the order of ``shapes``.

    Args:
        name: of the file, for sentences about it.
        alphas: by module, from a header, for files whose tensors have none.

    Raises:
        UserError: a key that is no module of this base model, half a module, a module twice, or another method.
    """
    known = aliases(kind, shapes)
    parts: dict[str, dict[str, str]] = {}
    stems: dict[tuple[str, ...], str] = {}
    for key in tensors:
        stem, part = split_key(name, key)
        if stem not in known:
            raise UserError(f"{name} holds {key}, which the base model has no module for{guess(tensors, kind)}")
        twin = parts.setdefault(stem, {}).setdefault(part, key)
        first = stems.setdefault(known[stem], stem)
        if twin != key or first != stem:
            other = twin if twin != key else next(iter(parts[first].values()))
            raise UserError(f"{name} holds one module twice, as {other} and as {key}; it must have it once.")
    adapter: dict[str, LoraWeights] = {}
    for stem, keys in parts.items():
        modules = known[stem]
        whole = _whole(name, kind, modules, keys, shapes, tensors, alphas or {})
        if is_swapped(stem):
            whole = whole._replace(up=_swapped(whole.up))
        first, *others = modules
        for module, weights in (split(shapes, modules, whole) if others else {first: whole}).items():
            if module in adapter:
                raise UserError(f"{name} changes {module} twice, alone and as a part of another layer.")
            adapter[module] = weights
    return {module: adapter[module] for module in shapes if module in adapter}


def _whole(
    name: str,
    kind: str,
    modules: Sequence[str],
    keys: Mapping[str, str],
    shapes: Shapes,
    tensors: Mapping[str, Tensor],
    alphas: Mapping[str, float],
) -> LoraWeights:
    """One name's down, up and alpha, checked against the base model's layer."""
    for part, other in ((DOWN, UP), (UP, DOWN)):
        if part not in keys:
            key = keys.get(other, next(iter(keys.values())))
            raise UserError(f"{name} holds {key} but lacks {other_half(key) or f'the {part} that belongs to it'}.")
    down, up = (_half(name, keys[part], tensors[keys[part]]) for part in (DOWN, UP))
    rank, shape = len(down), shapes[modules[0]]
    out, into = sum(shapes[module][0] for module in modules), torch.Size(shape[1:])
    if down[0].numel() != into.numel() or len(up) != out or up[0].numel() != rank:
        raise UserError(
            f"{name} changes {split_key(name, keys[DOWN]).stem} from {down[0].numel()} to {len(up)} features at rank "
            f"{rank} and {up[0].numel()}, but the base model's has {into.numel()} to {out}"
            f"{guess(tensors, kind, same=': is it a LoRA of another base model?')}"
        )
    # a file without alpha means alpha = rank: A1111, ComfyUI and diffusers all apply it at scale 1
    alpha = _number(name, keys[ALPHA], tensors[keys[ALPHA]]) if ALPHA in keys else alphas.get(modules[0], float(rank))
    up_shape = (out, rank) if len(shape) == 2 else (out, rank, 1, 1)
    return LoraWeights(down.reshape(rank, *into), up.reshape(up_shape), alpha or float(rank))  # sd-scripts: 0 is rank


def _half(name: str, key: str, tensor: Tensor) -> Tensor:
    """One of the two matrices in fp32."""
    if tensor.dim() < 2 or not tensor.numel():
        raise UserError(f"{name} holds {key} of shape {tuple(tensor.shape)}, which is no half of a LoRA.")
    if not tensor.isfinite().all():
        raise UserError(f"{name} holds {key} with values that are not finite: its training went wrong.")
    return tensor.float()


def _number(name: str, key: str, tensor: Tensor) -> float:
    if tensor.numel() != 1 or not tensor.isfinite().all():
        raise UserError(f"{name} holds {key} of shape {tuple(tensor.shape)}; an alpha must be one finite number.")
    return float(tensor)
