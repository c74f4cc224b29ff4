"""A base model's parts from disk into memory: frozen, in their precision, with nothing missing."""

import gzip
import importlib.util
import re
from collections.abc import Callable, Mapping
from functools import partial
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer
from transformers.utils import logging as transformers_logging

from lorasweep.errors import UserError
from lorasweep.models.family import Place
from lorasweep.models.loading.frozen import in_fp32, without_bitsandbytes
from lorasweep.models.loading.sources import WEIGHTS, Source, read_json, shipped_configs
from lorasweep.models.lora.names import BFL_DOUBLE, BFL_ENDS, BFL_SINGLE

with without_bitsandbytes():
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
        create_diffusers_clip_model_from_ldm,
        create_diffusers_t5_model_from_checkpoint,
    )
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.utils import logging as diffusers_logging

VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")
CLIP_MERGES = 49152 - 256 - 2
"""How many merges of byte pairs made CLIP's vocabulary of 49,408 words; the file holds more."""
DAMAGE = (UserError, OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, SafetensorError)
"""What diffusers, transformers and the converters raise at a part that is damaged or another model's."""
CACHE_LINE = 64
"""Bytes; torch begins every tensor that it allocates at a multiple of it."""
BFL_PREFIX = "model.diffusion_model."
"""How keys begin in files that hold more than the transformer."""
BFL_BLOCKS = {"double": ("transformer_blocks", BFL_DOUBLE), "single": ("single_transformer_blocks", BFL_SINGLE)}
BFL_NORMS = {
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}


def part_kinds(family: str) -> dict[str, Any]:
    """Return part of a model to the class that holds its weights."""
    return {
        "unet": UNet2DConditionModel,
        "transformer": FluxTransformer2DModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel if family == "flux" else CLIPTextModelWithProjection,
        "vae": AutoencoderKL,
    }


def part_dtype(part: str, dtype: torch.dtype) -> torch.dtype:
    """Return the precision of a part of a model that computes in ``dtype``."""
    return torch.float32 if part == "vae" else dtype  # SDXL's overflows in fp16


def tokenizers(family: str) -> list[str]:
    """Return the names of a family's tokenizers, in the order of its text encoders."""
    return [part.replace("text_encoder", "tokenizer") for part in WEIGHTS[family] if part.startswith("text_encoder")]


def read_parts(source: Source, dtype: torch.dtype, place: Place) -> dict[str, Any]:
    """Return all parts of a model and its tokenizers, by name.

    Args:
        place: puts each part on the device, or where else it is kept, as soon as it is read.

    Raises:
        UserError: see ``read_part`` and ``read_tokenizer``.
    """
    kinds = part_kinds(source.kind)
    parts = {
        part: read_part(source, kinds[part], part, part_dtype(part, dtype), place) for part in WEIGHTS[source.kind]
    }
    return parts | {part: read_tokenizer(source, part) for part in tokenizers(source.kind)}


def skeleton(family: str, place: Callable[[str], Path] | None = None) -> dict[str, nn.Module]:
    """Return the parts of a model that may carry adapters, from their configurations.

    They lie on the meta device: names, shapes and settings without weights.

    Args:
        place: the folder of a part's configuration (``Source.place``); None is the family's well-known full size.
    """
    folder_of = place or shipped_configs(family).joinpath
    with torch.device("meta"):
        parts = (part for part in WEIGHTS[family] if part != "vae")
        return {part: from_configuration(part_kinds(family)[part], folder_of(part)) for part in parts}


def from_configuration(kind: Any, folder: Path, changes: Mapping[str, Any] | None = None) -> nn.Module:
    """Return a part as its configuration describes it, on the device and in the precision that are torch's default.

    Args:
        changes: to the configuration (see ``changes_of``).
    """
    if hasattr(kind, "load_config"):  # diffusers
        return kind.from_config({**kind.load_config(folder), **(changes or {})})
    config = kind.config_class.from_pretrained(folder)
    # a model inside a model is made in the precision that the file was saved in
    config.dtype = torch.get_default_dtype()
    return kind(config)


def changes_of(source: Source, part: str) -> dict[str, Any]:
    """Return what a model says of a part besides the part's configuration, which may be another model's."""
    return {"guidance_embeds": source.guidance_embeds} if part == "transformer" else {}


def in_range(part: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a part that computes in fp32 if fp16 is too small for it."""
    # T5's sums leave the range of fp16: they become inf, or are clipped, which changes the image. Refusing fp16 would
    # shut cards without bf16 out of FLUX, and weights in fp32 are 19 GB, so that the weights stay in fp16.
    return in_fp32(part) if dtype == torch.float16 and isinstance(part, T5EncoderModel) else part


def read_part(source: Source, kind: Any, part: str, dtype: torch.dtype, place: Place) -> Any:
    """Return one frozen part of the model, from the single file if that holds it, else from the folder.

    Raises:
        UserError: the part is damaged, does not fit its configuration, or lacks weights.
    """
    for library in (diffusers_logging, transformers_logging):  # what they would say is in our own sentence
        library.disable_progress_bar()
        library.set_verbosity(CRITICAL)
    keys = source.in_file(part)
    where = source.file if keys else source.place(part)
    try:
        module = _from_file(source, kind, part, keys, dtype) if keys else _from_folder(source, kind, part, dtype)
    except DAMAGE as error:
        why = re.split(r"\.\s|\n", str(error).strip())[0][:200].removesuffix(".")
        raise UserError(
            f"model.path holds no whole {part}: {where} cannot be read ({why}); "
            "it must be a diffusers folder with safetensors weights, or one whole checkpoint."
        ) from error
    missing = next((name for name, tensor in module.named_parameters() if tensor.is_meta), None)
    if missing:
        raise UserError(f"model.path holds no whole {part}: {where} lacks {missing}.")
    return _aligned(place(part, in_range(module.requires_grad_(False).eval(), dtype)))


def _aligned(module: nn.Module) -> nn.Module:
    """Return the module with its weights in CPU memory aligned to cache lines."""
    # Weights in a mapped file begin where its header ends. A kernel adds in another order there, so that a folder and a
    # single file of the same weights would train to other bits.
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % CACHE_LINE:
            tensor.data = tensor.data.clone()
    return module


def _from_folder(source: Source, kind: Any, part: str, dtype: torch.dtype) -> nn.Module:
    folder, reading = source.place(part), {"local_files_only": True, "use_safetensors": True}
    if kind.__module__.startswith("diffusers"):
        return kind.from_pretrained(folder, torch_dtype=dtype, **reading)
    reading |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    module, found = kind.from_pretrained(folder, dtype=dtype, **reading)
    # transformers puts random numbers where weights are missing, and says so in its log only
    for key in (*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])):
        raise ValueError(f"{key} is missing or has another shape")
    return module


def _from_file(source: Source, kind: Any, part: str, keys: list[str], dtype: torch.dtype) -> nn.Module:
    state = _tensors(source.file, keys, dtype)
    if part in CONVERTERS:
        return _converted(kind, source.place(part), state, CONVERTERS[part], changes_of(source, part))
    reading = {"config": str(source.place(part)), "torch_dtype": dtype, "local_files_only": True}
    if kind.__name__.startswith("CLIP"):
        return create_diffusers_clip_model_from_ldm(kind, state, **reading)
    module = create_diffusers_t5_model_from_checkpoint(kind, state, **reading)
    module.tie_weights()  # the file holds the embedding once, the module twice
    return module


def _converted(kind: Any, folder: Path, state: dict[str, Tensor], convert: Any, changes: dict[str, Any]) -> nn.Module:
    """Return what a part's configuration describes with a file's weights; those it lacks stay on the meta device."""
    config = kind.load_config(folder, local_files_only=True)
    config |= changes
    with torch.device("meta"):
        module = kind.from_config(config)
    expected, weights = module.state_dict(), convert(state, config)
    for name, tensor in weights.items():
        if name not in expected or tensor.shape != expected[name].shape:
            known = f"should be {tuple(expected[name].shape)}" if name in expected else "is not known here"
            raise ValueError(f"{name} {tuple(tensor.shape)} {known}")
    module.load_state_dict(weights, strict=False, assign=True)
    return module


def _tensors(path: Path | None, keys: list[str], dtype: torch.dtype) -> dict[str, Tensor]:
    assert path is not None
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key).to(dtype) for key in keys}


def from_bfl(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return FLUX.1's transformer under diffusers' names; layers that are one in BFL's files become several.

    Raises:
        KeyError: a name that FLUX.1 has not.
        RuntimeError: a layer that is no queries, keys and values.
    """
    # not diffusers' own converter, which knows one width only, and copies
    state = {key.removeprefix(BFL_PREFIX): tensor for key, tensor in checkpoint.items()}
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name, end = key.rsplit(".", 1)
        match = re.fullmatch(r"(double|single)_blocks\.(\d+)\.(.+)", name)
        if match:
            blocks, table = BFL_BLOCKS[match[1]]
            block, inner = f"{blocks}.{match[2]}", match[3]
            if inner in BFL_NORMS:
                found[f"{block}.{BFL_NORMS[inner]}.weight"] = tensor
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
    """Split a layer: queries, keys and values have ``width`` rows each, what is below them is the MLP's."""
    return (whole,) if parts == 1 else whole.split([width] * 3 + [len(whole) - 3 * width] * (parts - 3))


CONVERTERS: Mapping[str, Any] = {
    "unet": convert_ldm_unet_checkpoint,
    "vae": convert_ldm_vae_checkpoint,
    "transformer": lambda state, config: from_bfl(state),
}
"""Part to what renames a single file's weights as diffusers has them."""


def read_tokenizer(source: Source, part: str) -> Any:
    """Return the tokenizer of a folder; CLIP's may lack its vocabulary, which open_clip ships.

    Raises:
        UserError: T5's vocabulary is missing, of which no package holds a copy.
    """
    folder = source.place(part)
    is_t5 = source.kind == "flux" and part == "tokenizer_2"
    reader = T5Tokenizer if is_t5 else CLIPTokenizer
    if any((folder / name).is_file() for name in VOCABULARIES):
        return _read(partial(reader.from_pretrained, folder, local_files_only=True), folder)
    if is_t5:
        raise UserError(
            f"model.path is {str(source.file or source.folder)!r}, which has no T5 tokenizer; name a diffusers folder "
            "with a tokenizer_2 in it with model.config."
        )
    settings = read_json(folder / "tokenizer_config.json")
    vocab, merges = clip_vocabulary()
    words = {key: settings[key] for key in ("bos_token", "eos_token", "unk_token", "model_max_length")}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, **words)  # pyright: ignore[reportArgumentType]
    tokenizer.pad_token = settings["pad_token"]  # only now, or SDXL's "!" would be cut out of every word
    return tokenizer


def _read(read: Any, folder: Path) -> Any:
    try:
        return read()
    except Exception as error:  # what the tokenizers library raises has no class of its own
        raise UserError(f"model.path holds no whole tokenizer: {folder} cannot be read ({error}).") from error


def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, ...]]]:
    """Return CLIP's 49,408 words and its byte pair merges, from the copy inside open_clip, which is not imported."""
    found = importlib.util.find_spec("open_clip")
    assert found is not None
    assert found.origin is not None
    text = gzip.decompress((Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode("utf-8")
    merges = [tuple(line.split()) for line in text.split("\n")[1 : CLIP_MERGES + 1]]
    letters = byte_letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    return {word: place for place, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}, merges


def byte_letters() -> list[str]:
    """Return the 256 characters that stand for bytes in CLIP's vocabulary, printable ones first (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(256 - len(printable))]
