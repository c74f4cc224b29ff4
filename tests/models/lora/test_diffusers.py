"""diffusers' own loader takes every file, whole, and changes every layer as we do."""

import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.family import batch, stirred
from contracts.full_size import adapter, distance, full_size_pipeline, shapes
from diffusers.utils import logging as diffusers_logging
from peft.tuners.lora import LoraLayer
from transformers.utils import logging as transformers_logging

from lorasweep.config.schema import LoraConfig
from lorasweep.models.lora.file import diffusers_bytes, kohya_bytes, lora_bytes, read_lora
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import AdapterBank, LoraWeights, adapted

LAYOUTS = ("kohya", "diffusers")
TINY = [("sd15", "diffusers"), ("sdxl", "kohya"), ("sdxl", "diffusers"), ("flux", "diffusers")]


@contextmanager
def nothing_said() -> Iterator[None]:
    """Neither diffusers nor transformers nor PEFT warns, as they do of keys that match nothing."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    libraries = (diffusers_logging, transformers_logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.WARNING)
        library.add_handler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)
            library.remove_handler(handler)
    said += [str(each.message) for each in caught if "peft" in each.filename or "diffusers" in each.filename]
    assert said == []


def loaded(pipeline: Any) -> dict[str, LoraWeights]:
    """What every layer of a pipeline was given, under our names."""
    found: dict[str, LoraWeights] = {}
    for component in ("unet", "transformer", "text_encoder", "text_encoder_2"):
        module = getattr(pipeline, component, None)
        for name, layer in module.named_modules() if module is not None else ():
            if isinstance(layer, LoraLayer):
                (key,) = layer.lora_A
                down, up = layer.lora_A[key].weight.detach(), layer.lora_B[key].weight.detach()
                found[f"{component}.{name}"] = LoraWeights(down, up, layer.scaling[key] * len(down))
    return found


FULL_SIZE = {
    "SD 1.5": ("sd15", "linear", 264),
    "SDXL with convolutions": ("sdxl", "convolution", 1052),
    "FLUX": ("flux", "linear", 566),
    "FLUX's attention": ("flux", "attention", 314),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_full_size_file_is_loaded_whole_and_changes_every_layer_the_same(
    name: str, layout: str, tmp_path: Path
) -> None:
    kind, targets, count = FULL_SIZE[name]
    written = adapter(kind, targets)
    data = kohya_bytes(written, kind, shapes(kind), {}) if layout == "kohya" else diffusers_bytes(written, kind, {})
    (tmp_path / "a.safetensors").write_bytes(data)
    pipeline = full_size_pipeline(kind)
    with nothing_said():
        pipeline.load_lora_weights(str(tmp_path / "a.safetensors"), low_cpu_mem_usage=True)
    theirs = loaded(pipeline)
    assert len(written) == count
    for module, weights in written.items():
        assert distance(weights, theirs.pop(module)) <= 1e-6, module
    # of a fused layer that is trained in part, diffusers gives the other part an adapter that changes nothing
    assert {module.rsplit(".", 1)[1] for module in theirs} <= {"proj_mlp"}
    assert not any(weights.up.any() for weights in theirs.values())


def test_sdxls_layers_with_convolutions_are_all_that_are_linear_and_more() -> None:
    linear = adapter("sdxl", "linear")
    assert len(linear) == 986
    assert set(linear) < set(adapter("sdxl", "convolution"))


@pytest.mark.parametrize(("kind", "layout"), TINY)
def test_a_loaded_pipeline_gives_our_answers(
    kind: str, layout: str, family_of: Callable[[str], Any], model_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Tiny models; the converter of diffusers for FLUX's fused layers knows the full size only."""
    from diffusers import DiffusionPipeline

    family = family_of(kind)
    lora = LoraConfig(rank=4, alpha=3.0, targets="linear", text_encoder=True)
    file = tmp_path / "a.safetensors"
    file.write_bytes(lora_bytes(stirred(initial_adapter(family, lora, 0), 0), family, {}, layout=layout))
    pipeline = DiffusionPipeline.from_pretrained(model_of(kind), local_files_only=True)
    with nothing_said():
        pipeline.load_lora_weights(str(file))
    theirs = dataclasses.replace(family, **{name: getattr(pipeline, name) for name in family.components})
    ours = adapted(family, AdapterBank([read_lora(file, family)]))
    latents, timesteps, text = batch(family, 2)
    assert (ours.denoise(latents, timesteps, text) - family.denoise(latents, timesteps, text)).abs().max() > 1e-3
    answers = [each.denoise(latents, timesteps, text) for each in (ours, theirs)]
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-4)
    for key, states in ours.encode_prompts(["a person"]).items():
        torch.testing.assert_close(states, theirs.encode_prompts(["a person"])[key], atol=1e-5, rtol=1e-4)
