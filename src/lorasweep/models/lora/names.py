"""What other programs call families and the modules of a base model in a LoRA file.

Kohya's names are the ones that ComfyUI, A1111, Forge and diffusers all read: SD 1.x by diffusers' names, SDXL by those
of Stability's own code (SGM), FLUX by Black Forest Labs' (BFL), whose layers are several of diffusers' in one. Sources:
sd-scripts ``networks/lora.py``, ``networks/lora_flux.py``, ``library/sdxl_original_unet.py``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor

Groups = dict[str, tuple[str, ...]]
"""A name in a file to the modules whose rows it holds, one below the other; nearly always one module."""

ARCHITECTURES = {"sd15": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base", "flux": "flux-1-dev"}
"""modelspec's words for the families."""
BASE_MODELS = {"sd15": "sd_v1", "sdxl": "sdxl_base_v1-0", "flux": "flux1"}
"""sd-scripts' words for the families, by which A1111 takes a file for SDXL."""
NETWORK_MODULES = {"sd15": "networks.lora", "sdxl": "networks.lora", "flux": "networks.lora_flux"}
"""sd-scripts' modules that train such files and read them."""
TEXT_PREFIXES = {
    "sd15": {"text_encoder": "lora_te_"},
    "sdxl": {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"},
    "flux": {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te3_"},
}

SGM_PARTS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
SGM_ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
BFL_DOUBLE = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
}
BFL_SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
BFL_ENDS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
FLUX_SIGNS = ("double_blocks", "single_blocks", "single_transformer_blocks", "lora_te3_")
SDXL_SIGNS = ("lora_te2_", "text_encoder_2.", "input_blocks", "output_blocks", "add_embedding", "label_emb")
UNET_SIGNS = ("down_blocks", "up_blocks", "mid_block", "lora_te_")
CROSS_ATTENTION = re.compile(r"attn2[._](processor\.)?to_k(_lora)?\.(lora_down|lora_A|lora\.down|down)\b")
TEXT_WIDTHS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
"""Width of the text that a UNet's cross attention reads to the family."""


def kohya_groups(kind: str, modules: Iterable[str]) -> Groups:
    """Return Kohya's name for each of a base model's modules."""
    groups: Groups = {}
    for component, names in _by_component(modules).items():
        if component in TEXT_PREFIXES[kind]:
            plain = {text_path(component, kind, name): (name,) for name in names}
            prefix = TEXT_PREFIXES[kind][component]
        else:
            # Kohya trains SD 1.x on diffusers' own UNet
            plain = {name: (name,) for name in names} if kind == "sd15" else original_groups(kind, names)
            prefix = "lora_unet_"
        for path, parts in plain.items():
            # a dot and an underscore of the path look alike here, so that names are compared and never taken apart
            groups[prefix + path.replace(".", "_")] = tuple(f"{component}.{part}" for part in parts)
    return groups


def original_groups(kind: str, names: Iterable[str]) -> Groups:
    """Return a denoiser's module paths in the original code to those in diffusers'; SD 1.x and SDXL share a code."""
    paths = frozenset(names)
    if kind == "flux":
        return _bfl_groups(paths)
    resnets = (re.match(r"down_blocks\.\d+\.resnets\.(\d+)", path) for path in paths)
    depth = 1 + max((int(match[1]) for match in resnets if match), default=0)
    return {sgm_path(path, depth, paths): (path,) for path in names}


def is_swapped(name: str) -> bool:
    """Return whether an original name is that of a layer whose upper and lower half diffusers has swapped."""
    return "final_layer" in name and "adaLN_modulation" in name


def sgm_path(path: str, depth: int, paths: frozenset[str]) -> str:
    """Return a path in diffusers' UNet as Stability's code has it.

    Args:
        depth: how many residual blocks a level has.
        paths: all of the UNet's.
    """
    if path in SGM_ENDS:
        return SGM_ENDS[path]
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", path):
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{_inner(match[3])}"
    match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path)
    if match is None:
        return path
    way, level, part, number, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if part == "downsamplers":
        return f"input_blocks.{(level + 1) * (depth + 1)}.0.op"
    if part == "upsamplers":  # behind the last attention of its level, if there is any
        place = 2 if any(name.startswith(f"up_blocks.{level}.attentions.") for name in paths) else 1
        return f"output_blocks.{level * (depth + 1) + depth}.{place}.conv"
    block = (
        f"input_blocks.{1 + level * (depth + 1) + number}"
        if way == "down"
        else (f"output_blocks.{level * (depth + 1) + number}")
    )
    return f"{block}.{int(part == 'attentions')}.{_inner(rest)}"


def _inner(rest: str) -> str:
    return SGM_PARTS.get(rest, rest)


def _bfl_groups(paths: frozenset[str]) -> Groups:
    groups: Groups = {name: (path,) for name, path in BFL_ENDS.items() if path in paths}
    for block, original, table in (
        ("transformer_blocks", "double_blocks", BFL_DOUBLE),
        ("single_transformer_blocks", "single_blocks", BFL_SINGLE),
    ):
        numbers = {int(match[1]) for path in paths if (match := re.match(rf"{block}\.(\d+)\.", path))}
        for number in sorted(numbers):
            for name, parts in table.items():
                groups[f"{original}.{number}.{name}"] = tuple(f"{block}.{number}.{part}" for part in parts)
    return groups


def text_path(component: str, kind: str, path: str) -> str:
    """Return a text encoder's path with CLIP's level ``text_model``, which files have whatever transformers does."""
    is_t5 = kind == "flux" and component == "text_encoder_2"
    bare = path.removeprefix("text_model.")
    return path if is_t5 or bare == "text_projection" else f"text_model.{bare}"


def aliases(kind: str, modules: Iterable[str]) -> Groups:
    """Return every spelling that trainers give to a module or a group of them, without ends like ``.lora_down.weight``.

    Sources: diffusers ``loaders/lora_conversion_utils.py``, OneTrainer ``util/convert_lora_util.py``, SimpleTuner
    ``training/lora_format.py``, ai-toolkit ``toolkit/network_mixins.py``, and what LyCORIS and ComfyUI write.
    """
    return dict(spellings(kind, list(modules)))


def spellings(kind: str, modules: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the pairs of ``aliases``, some of them more than once."""
    yield from kohya_groups(kind, modules).items()
    for component, names in _by_component(modules).items():
        if component in TEXT_PREFIXES[kind]:
            for name in names:
                yield from ((word, (f"{component}.{name}",)) for word in _text_spellings(kind, component, name))
            continue
        for path, parts in original_groups(kind, names).items():
            group = tuple(f"{component}.{part}" for part in parts)
            yield from ((word, group) for word in _spellings(path))
        for name in names:
            own = (f"{component}.{name}", f"lora_{component}_{name.replace('.', '_')}")  # diffusers', OneTrainer's
            yield from ((word, (f"{component}.{name}",)) for word in (*_spellings(name), *own))


def _spellings(path: str) -> list[str]:
    """How trainers spell a denoiser's path of either code: Kohya's, LyCORIS' and ComfyUI's prefixes, or none."""
    flat = path.replace(".", "_")
    return [f"lora_unet_{flat}", f"lycoris_{flat}", f"diffusion_model.{path}", f"model.diffusion_model.{path}", path]


def _text_spellings(kind: str, component: str, name: str) -> list[str]:
    path = text_path(component, kind, name)
    first = component == "text_encoder"
    prefixes = ["lora_te_", "lora_te1_"] if first else ["lora_te2_", TEXT_PREFIXES[kind][component]]
    encoder = "clip_l" if first else "t5xxl" if kind == "flux" else "clip_g"
    # trainers on transformers from 5.6 on lose the level text_model, as diffusers#13984 tells
    paths = (path, path.removeprefix("text_model."))
    flat = [prefix + each.replace(".", "_") for prefix in prefixes for each in paths]
    return [
        *flat,
        *(f"{start}.{each}" for start in (component, f"text_encoders.{encoder}.transformer") for each in paths),
    ]


def _by_component(modules: Iterable[str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for module in modules:
        component, path = module.split(".", 1)
        found.setdefault(component, []).append(path)
    return found


def looks_like(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the family that a file's names and widths tell: sd15, sd2, sdxl or flux; None if they tell none."""
    names = " ".join(tensors)
    if any(sign in names for sign in FLUX_SIGNS):
        return "flux"
    widths = {tensor.shape[-1] for key, tensor in tensors.items() if CROSS_ATTENTION.search(key) and tensor.dim() == 2}
    if len(widths) == 1 and (family := TEXT_WIDTHS.get(widths.pop())):
        return family
    if any(sign in names for sign in SDXL_SIGNS) or re.search(r"transformer_blocks[._][1-9]", names):
        return "sdxl"
    return "sd15" if any(sign in names for sign in UNET_SIGNS) else None


def guess(tensors: Mapping[str, Tensor], kind: str, *, same: str = ".") -> str:
    """Return the end of a sentence about what does not fit a base model of ``kind``: what the file looks like.

    Args:
        same: the end if it looks like a file of that very family.
    """
    looks = looks_like(tensors)
    if looks is None:
        return ": is it a LoRA of another family?"
    return same if looks == kind else f": it is a LoRA of another family, {looks}."
