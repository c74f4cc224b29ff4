"""The names and shapes of full-size LoRA files, word for word."""

import pytest
from contracts.full_size import SCALE, adapter, distance, shapes

from lorasweep.models.lora.layouts import from_tensors, to_diffusers, to_kohya
from lorasweep.models.lora.names import aliases, kohya_groups, spellings

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
        assert tensors[f"{name}.alpha"].item() / down.shape[0] == pytest.approx(SCALE), name


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_have_the_names_and_shapes_of_conv_dim(kind: str) -> None:
    groups = kohya_groups(kind, shapes(kind))
    for name, shape in CONVOLUTIONS[kind].items():
        (module,) = groups[name]
        assert shapes(kind)[module] == shape
        assert module in adapter(kind, "convolution")


FLUX_ENDS = {  # around the blocks; no default target, but OneTrainer trains them
    "lora_unet_img_in": "transformer.x_embedder",
    "lora_unet_txt_in": "transformer.context_embedder",
    "lora_unet_time_in_in_layer": "transformer.time_text_embed.timestep_embedder.linear_1",
    "lora_unet_vector_in_out_layer": "transformer.time_text_embed.text_embedder.linear_2",
    "lora_unet_guidance_in_in_layer": "transformer.time_text_embed.guidance_embedder.linear_1",
    "lora_unet_final_layer_linear": "transformer.proj_out",
    "lora_unet_final_layer_adaLN_modulation_1": "transformer.norm_out.linear",
}
SDXL_ENDS = {
    "lora_unet_input_blocks_0_0": "unet.conv_in",
    "lora_unet_out_2": "unet.conv_out",
    "lora_unet_time_embed_0": "unet.time_embedding.linear_1",
    "lora_unet_label_emb_0_2": "unet.add_embedding.linear_2",
    "lora_te2_text_projection": "text_encoder_2.text_projection",
}


@pytest.mark.parametrize(("kind", "names"), [("flux", FLUX_ENDS), ("sdxl", SDXL_ENDS)])
def test_what_lies_around_the_blocks_has_the_original_codes_names(kind: str, names: dict[str, str]) -> None:
    groups = kohya_groups(kind, shapes(kind))
    assert {name: groups[name] for name in names} == {name: (module,) for name, module in names.items()}


def test_t5_has_sd_scripts_168_modules() -> None:
    names = [name for name in kohya_groups("flux", shapes("flux")) if name.startswith("lora_te3_")]
    assert len(names) == 168
    assert names[0] == "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    assert "lora_te3_encoder_block_23_layer_1_DenseReluDense_wi_0" in names


@pytest.mark.parametrize("kind", COUNTS)
def test_every_module_has_one_name(kind: str) -> None:
    held = [module for modules in kohya_groups(kind, shapes(kind)).values() for module in modules]
    assert sorted(held) == sorted(shapes(kind))


@pytest.mark.parametrize("kind", COUNTS)
def test_no_spelling_stands_for_two_modules(kind: str) -> None:
    known = aliases(kind, shapes(kind))
    for spelling, modules in spellings(kind, list(shapes(kind))):
        assert known[spelling] == modules, spelling


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
@pytest.mark.parametrize("kind", COUNTS)
def test_a_round_trip_keeps_the_change_of_every_layer(kind: str, layout: str) -> None:
    written = adapter(kind)
    tensors = to_kohya(kind, shapes(kind), written) if layout == "kohya" else to_diffusers(kind, written)
    again = from_tensors("file", kind, shapes(kind), tensors)
    assert list(again) == list(written)
    for module, weights in written.items():
        assert distance(weights, again[module]) <= 1e-6, module
