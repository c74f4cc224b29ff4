"""Layers that are one in FLUX's files and several in diffusers' model."""

import pytest
import torch
from contracts.full_size import distance, random_weights, shapes

from lorasweep.errors import UserError
from lorasweep.models.lora.layer import LoraWeights
from lorasweep.models.lora.layouts import from_tensors, fuse, split, to_diffusers, to_kohya

BLOCK = "transformer.single_transformer_blocks.0"
LINEAR1 = [f"{BLOCK}.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
SMALL = {"a": (6, 4), "b": (3, 4), "c": (5, 4)}


def test_alpha_grows_with_the_rank_so_that_the_strength_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = [f"transformer.transformer_blocks.0.attn.to_{letter}" for letter in "qkv"]
    adapter = {module: random_weights((3072, 3072), 4, generator, scale=0.25) for module in qkv}
    tensors = to_kohya("flux", shapes("flux"), adapter)
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == {
        f"{name}.lora_down.weight": (12, 3072),
        f"{name}.lora_up.weight": (9216, 12),
        f"{name}.alpha": (),
    }
    assert tensors[f"{name}.alpha"].item() == 3.0
    up = tensors[f"{name}.lora_up.weight"]
    assert torch.equal(up[3072:6144, 4:8], adapter[qkv[1]].up)
    assert not up[3072:6144, :4].any()


def test_a_layer_that_was_trained_as_one_is_taken_apart_without_a_change() -> None:
    name = "lora_unet_single_blocks_0_linear1"
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 3072, generator=generator), torch.randn(21504, 4, generator=generator)
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(2.0)}
    adapter = from_tensors("f", "flux", shapes("flux"), tensors)
    assert set(adapter) == set(LINEAR1)
    parts = [adapter[module] for module in LINEAR1]
    rows = torch.cat([part.up @ part.down[:, :8] * (part.alpha / part.rank) for part in parts])
    torch.testing.assert_close(rows, up @ down[:, :8] * 0.5)


def test_parts_of_unequal_rank_and_scale_survive_being_one() -> None:
    generator = torch.Generator().manual_seed(1)

    def weights(out: int, rank: int, alpha: float) -> LoraWeights:
        return LoraWeights(
            torch.randn(rank, 4, generator=generator), torch.randn(out, rank, generator=generator), alpha
        )

    parts = {"a": weights(6, 2, 1.0), "c": weights(5, 3, 6.0)}
    again = split(SMALL, list(SMALL), fuse(SMALL, list(SMALL), parts))
    assert {name: w.rank for name, w in again.items()} == {"a": 2, "c": 3}
    for name, part in parts.items():
        change = again[name].up @ again[name].down * (again[name].alpha / again[name].rank)
        torch.testing.assert_close(change, part.up @ part.down * (part.alpha / part.rank), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("present", [LINEAR1, LINEAR1[:3], LINEAR1[1:2]])
def test_each_part_comes_back_at_its_own_rank_and_absent_ones_stay_absent(present: list[str]) -> None:
    generator = torch.Generator().manual_seed(2)
    adapter = {module: random_weights(shapes("flux")[module], 3, generator) for module in present}
    again = from_tensors("f", "flux", shapes("flux"), to_kohya("flux", shapes("flux"), adapter))
    assert set(again) == set(present)
    for module, weights in adapter.items():
        assert again[module].rank == 3
        assert distance(weights, again[module]) <= 1e-6


def test_an_adapter_before_its_first_step_keeps_its_parts_and_ranks() -> None:
    adapter = {name: LoraWeights(torch.randn(2, 4), torch.zeros(shape[0], 2), 1.0) for name, shape in SMALL.items()}
    again = split(SMALL, list(SMALL), fuse(SMALL, list(SMALL), adapter))
    for name, weights in adapter.items():
        assert torch.equal(again[name].down, weights.down)
        assert again[name].alpha == 1.0


def test_the_last_modulation_has_its_halves_swapped_in_the_original_code() -> None:
    module, original = "transformer.norm_out.linear", "lora_unet_final_layer_adaLN_modulation_1"
    weights = random_weights(shapes("flux")[module], 2, torch.Generator().manual_seed(3))
    tensors = to_kohya("flux", shapes("flux"), {module: weights})
    assert torch.equal(tensors[f"{original}.lora_up.weight"][:3072], weights.up[3072:])
    plain = to_diffusers("flux", {module: weights})
    assert torch.equal(plain["transformer.norm_out.linear.lora_A.weight"], weights.down)
    for file in (tensors, plain):
        (again,) = from_tensors("f", "flux", shapes("flux"), file).values()
        assert distance(weights, again) <= 1e-6


def test_a_module_that_the_layout_has_no_name_for_is_not_left_out_silently() -> None:
    stranger = {"unet.conv_9": random_weights((8, 8), 2, torch.Generator())}
    with pytest.raises(UserError, match=r"changes unet\.conv_9, which Kohya's layout has no name for in a flux model"):
        to_kohya("flux", shapes("flux"), stranger)


def test_a_part_beside_its_whole_is_refused() -> None:
    generator = torch.Generator().manual_seed(4)
    adapter = {module: random_weights(shapes("flux")[module], 2, generator) for module in LINEAR1}
    both = to_kohya("flux", shapes("flux"), adapter) | to_diffusers("flux", {LINEAR1[0]: adapter[LINEAR1[0]]})
    with pytest.raises(UserError, match=r"f changes .*attn\.to_q twice, alone and as a part of another layer"):
        from_tensors("f", "flux", shapes("flux"), both)
