"""The names and shapes of full-size LoRA files, word for word, and diffusers' own reading of them."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from diffusers.loaders.lora_pipeline import (
    FluxLoraLoaderMixin,
    StableDiffusionLoraLoaderMixin,
    StableDiffusionXLLoraLoaderMixin,
)
from torch import Tensor

from lorasweep.config.schema import LoraConfig
from lorasweep.models import FAMILIES
from lorasweep.models.cohort_lora import LoraWeights
from lorasweep.models.lora_layouts import from_tensors, to_diffusers, to_kohya
from lorasweep.models.lora_names import kohya_groups
from lorasweep.models.skeletons import module_shapes, skeleton

SHAPES = {  # name in a file: rows and columns of the change, from the layouts that sd-scripts writes
    "sd15": {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (320, 320),
        "lora_unet_down_blocks_0_attentions_0_proj_in": (320, 320, 1, 1),
        "lora_unet_down_blocks_2_attentions_1_transformer_blocks_0_ff_net_0_proj": (10240, 1280),
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k": (1280, 768),
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn1_to_out_0": (320, 320),
        "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_ff_net_2": (1280, 5120),
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj": (768, 768),
        "lora_te_text_model_encoder_layers_11_mlp_fc1": (3072, 768),
    },
    "sdxl": {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (640, 640),
        "lora_unet_input_blocks_4_1_proj_in": (640, 640),
        "lora_unet_input_blocks_8_1_transformer_blocks_9_ff_net_0_proj": (10240, 1280),
        "lora_unet_middle_block_1_transformer_blocks_3_attn2_to_v": (1280, 2048),
        "lora_unet_output_blocks_0_1_transformer_blocks_0_attn1_to_out_0": (1280, 1280),
        "lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_2": (640, 2560),
        "lora_te1_text_model_encoder_layers_11_self_attn_out_proj": (768, 768),
        "lora_te2_text_model_encoder_layers_31_mlp_fc2": (1280, 5120),
    },
    "flux": {
        "lora_unet_double_blocks_0_img_attn_qkv": (9216, 3072),
        "lora_unet_double_blocks_18_txt_attn_qkv": (9216, 3072),
        "lora_unet_double_blocks_0_img_attn_proj": (3072, 3072),
        "lora_unet_double_blocks_7_txt_mlp_0": (12288, 3072),
        "lora_unet_double_blocks_7_img_mlp_2": (3072, 12288),
        "lora_unet_double_blocks_0_img_mod_lin": (18432, 3072),
        "lora_unet_single_blocks_37_linear1": (21504, 3072),
        "lora_unet_single_blocks_0_linear2": (3072, 15360),
        "lora_unet_single_blocks_0_modulation_lin": (9216, 3072),
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (768, 768),
    },
}
COUNTS = {"sd15": {"lora_unet_": 192, "lora_te_": 72}, "sdxl": {"lora_unet_": 722, "lora_te1_": 72, "lora_te2_": 192}}
COUNTS["flux"] = {"lora_unet_": 304, "lora_te1_": 72}
CONVOLUTIONS = {
    "sd15": {
        "lora_unet_down_blocks_0_resnets_0_conv1": (320, 320, 3, 3),
        "lora_unet_down_blocks_0_downsamplers_0_conv": (320, 320, 3, 3),
        "lora_unet_up_blocks_1_resnets_0_time_emb_proj": (1280, 1280),
        "lora_unet_up_blocks_3_resnets_0_conv_shortcut": (320, 960, 1, 1),
    },
    "sdxl": {
        "lora_unet_input_blocks_1_0_in_layers_2": (320, 320, 3, 3),
        "lora_unet_input_blocks_3_0_op": (320, 320, 3, 3),
        "lora_unet_input_blocks_4_0_emb_layers_1": (640, 1280),
        "lora_unet_input_blocks_4_0_skip_connection": (640, 320, 1, 1),
        "lora_unet_middle_block_2_out_layers_3": (1280, 1280, 3, 3),
        "lora_unet_output_blocks_2_2_conv": (1280, 1280, 3, 3),
        "lora_unet_output_blocks_8_0_skip_connection": (320, 640, 1, 1),
    },
}


@cache
def shapes(kind: str) -> Mapping[str, tuple[int, ...]]:
    """Of the full-size model, from its configuration alone."""
    return module_shapes(skeleton(kind))


@cache
def adapter(kind: str, targets: str = "linear", rank: int = 2) -> Mapping[str, LoraWeights]:
    """A full-size adapter whose parts have an alpha that is not their rank."""
    chosen = FAMILIES[kind]().targets(None, LoraConfig(targets=targets, text_encoder=True))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)

    def weights(shape: tuple[int, ...]) -> LoraWeights:
        one = (1,) * (len(shape) - 2)
        down = torch.randn(rank, *shape[1:], generator=generator) / 8
        return LoraWeights(down, torch.randn(shape[0], rank, *one, generator=generator) / 8, rank / 4)

    def is_chosen(module: str) -> bool:
        component, path = module.split(".", 1)
        return path != "proj_out" and f".{path}".endswith(tuple(f".{end}" for end in chosen.get(component, ["-"])))

    return {module: weights(shape) for module, shape in shapes(kind).items() if is_chosen(module)}


def distance(first: LoraWeights, second: LoraWeights) -> float:
    """Frobenius norm of the difference of two changes, as a share of the first.

    ``|U D|^2 = tr(U'U DD')`` needs no matrix of the layer's own size, of which full-size models have gigabytes.
    """
    ups = [w.up.flatten(1).double() * (w.alpha / w.rank) for w in (first, second)]
    downs = [w.down.flatten(1).double() for w in (first, second)]

    def norm(up: Tensor, down: Tensor) -> float:
        return float(((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt())

    return norm(torch.cat([ups[0], -ups[1]], 1), torch.cat(downs)) / norm(ups[0], downs[0])


@pytest.mark.parametrize("kind", COUNTS)
def test_the_default_targets_are_kohyas_own_modules(kind: str) -> None:
    names = {key.split(".")[0] for key in to_kohya(kind, shapes(kind), adapter(kind))}
    assert {prefix: sum(name.startswith(prefix) for name in names) for prefix in COUNTS[kind]} == COUNTS[kind]
    assert len(names) == sum(COUNTS[kind].values())


@pytest.mark.parametrize("kind", COUNTS)
def test_names_and_shapes_are_those_that_sd_scripts_writes(kind: str) -> None:
    tensors = to_kohya(kind, shapes(kind), adapter(kind))
    for name, (out, into, *kernel) in SHAPES[kind].items():
        down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
        assert tuple(down.shape[1:]) == (into, *kernel), name
        assert (up.shape[0], *up.shape[2:]) == (out, *kernel), name
        assert tensors[f"{name}.alpha"].item() / down.shape[0] == 0.25, name


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_have_the_names_and_shapes_of_conv_dim(kind: str) -> None:
    groups = kohya_groups(kind, shapes(kind))
    for name, shape in CONVOLUTIONS[kind].items():
        (module,) = groups[name]
        assert shapes(kind)[module] == shape
        assert module in adapter(kind, "convolution")


@pytest.mark.parametrize("kind", COUNTS)
def test_no_two_modules_share_a_name(kind: str) -> None:
    held = [module for modules in kohya_groups(kind, shapes(kind)).values() for module in modules]
    assert len(held) == len(set(held))
    skipped = set(shapes(kind)) - set(held)
    assert skipped <= {"transformer.norm_out.linear"}


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
@pytest.mark.parametrize("kind", COUNTS)
def test_a_round_trip_keeps_the_change_of_every_layer(kind: str, layout: str) -> None:
    written = adapter(kind)
    tensors = to_kohya(kind, shapes(kind), written) if layout == "kohya" else to_diffusers(kind, written)
    again = from_tensors("file", kind, shapes(kind), tensors)
    assert list(again) == list(written)
    for module, weights in written.items():
        assert distance(weights, again[module]) <= 1e-6, module


LOADERS: dict[str, Any] = {
    "sd15": StableDiffusionLoraLoaderMixin,
    "sdxl": StableDiffusionXLLoraLoaderMixin,
    "flux": FluxLoraLoaderMixin,
}


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
@pytest.mark.parametrize("kind", COUNTS)
def test_diffusers_reads_every_key_of_a_full_size_file_as_the_same_change(kind: str, layout: str) -> None:
    written = adapter(kind)
    tensors = to_kohya(kind, shapes(kind), written) if layout == "kohya" else to_diffusers(kind, written)
    more: dict[str, Any] = {"unet_config": skeleton(kind)["unet"].config} if kind == "sdxl" else {}
    if kind == "flux":
        more["return_alphas"] = True
    copies = {key: tensor.clone() for key, tensor in tensors.items()}  # it scales some of them in place
    state, alphas = LOADERS[kind].lora_state_dict(copies, **more)
    theirs = read_by_peft(kind, state, alphas or {})
    assert set(theirs) == set(written)
    for module, weights in written.items():
        assert distance(weights, theirs[module]) <= 1e-6, module


def read_by_peft(kind: str, state: Mapping[str, Tensor], alphas: Mapping[str, float]) -> dict[str, LoraWeights]:
    """Module to weights of what diffusers hands on to PEFT, by diffusers' and PEFT's own renaming."""
    from diffusers.utils.state_dict_utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    found: dict[str, LoraWeights] = {}
    components = dict.fromkeys(module.split(".", 1)[0] for module in shapes(kind))
    for component in components:
        own = {k.removeprefix(f"{component}."): v for k, v in state.items() if k.startswith(f"{component}.")}
        if component.startswith("text_encoder"):
            own = convert_state_dict_to_peft(convert_state_dict_to_diffusers(own)) if own else own
        elif component == "unet":
            own = convert_unet_state_dict_to_peft(own)
        scales = {k.removeprefix(f"{component}."): v for k, v in alphas.items() if k.startswith(f"{component}.")}
        for key, down in own.items():
            if key.endswith(".lora_A.weight"):
                name = key.removesuffix(".lora_A.weight")
                up = own[f"{name}.lora_B.weight"]
                alpha = next((v for k, v in scales.items() if peft_name(k, component) == name), down.shape[0])
                module = name.removeprefix("text_model.") if f"{component}.{name}" not in shapes(kind) else name
                found[f"{component}.{module}"] = LoraWeights(down, up, float(alpha))
    return found


def peft_name(alpha_key: str, component: str) -> str:
    """diffusers keeps alphas under the older names of the modules they belong to."""
    name = alpha_key.removesuffix(".alpha").replace(".processor", "").removesuffix(".down.weight")
    for letter in ("q", "k", "v", "out"):
        old = f"to_{letter}_lora"
        new = f"{letter}_proj" if component.startswith("text") else "to_out.0" if letter == "out" else f"to_{letter}"
        name = name.replace(old, new)
    return name.removesuffix(".lora_linear_layer").removesuffix(".lora")
