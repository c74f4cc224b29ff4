"""The SDXL family: two text encoders, sizes told, and pictures as diffusers draws them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts import family as contract
from contracts.tiny_models import load_tiny_kind

from lorasweep.config.schema import LoraConfig, ModelConfig, RunConfig, SampleConfig
from lorasweep.errors import UserError
from lorasweep.models.autoencoder import encode, latent_shape
from lorasweep.models.lora.header import base_lines
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import AdapterBank, adapted, module_shapes

TARGETS = ("attention", "linear", "convolution")
SIZES = [(768, 512, 0, 64, 32, 32), (32, 32, 0, 0, 32, 32)]


@pytest.fixture(scope="module")
def sdxl(family_of: Callable[[str], Any]) -> Any:
    return family_of("sdxl")


@pytest.fixture(scope="module")
def pipeline(model_of: Callable[[str], Path]) -> Any:
    from diffusers import StableDiffusionXLPipeline

    found = StableDiffusionXLPipeline.from_pretrained(model_of("sdxl"), local_files_only=True, add_watermarker=False)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.mark.parametrize(
    "rule",
    [
        contract.base_is_untouched_by_adapters,
        contract.fresh_adapter_changes_nothing,
        contract.slots_do_not_see_each_other,
    ],
)
@pytest.mark.parametrize("targets", TARGETS)
def test_it_holds_to_the_contract_of_families(sdxl: Any, rule: Any, targets: str) -> None:
    rule(sdxl, LoraConfig(rank=4, alpha=2.0, targets=targets, text_encoder=True))


def test_its_target_and_what_it_shows_span_latents_and_noise(sdxl: Any) -> None:
    contract.perfect_answer_has_no_loss_and_finds_the_latents(sdxl)


@pytest.mark.parametrize("sampler", ["auto", "ddim", "euler", "euler_a", "dpmpp_2m"])
def test_the_same_noise_draws_the_same_picture(sdxl: Any, sampler: str) -> None:
    contract.same_noise_draws_same_picture(sdxl, SampleConfig(sampler=sampler, steps=3, guidance=3.0))


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize(("width", "height"), [(32, 32), (48, 32)])
@pytest.mark.parametrize("clip_skip", [0, 1])
def test_its_drawing_is_what_the_diffusers_pipeline_draws(
    sdxl: Any, pipeline: Any, guidance: float, width: int, height: int, clip_skip: int
) -> None:
    shape = latent_shape(sdxl.vae, width, height)
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(5))
    theirs = pipeline(
        *("a person",),
        negative_prompt="blurry",
        latents=noise,
        num_inference_steps=5,
        guidance_scale=guidance,
        width=width,
        height=height,
        clip_skip=clip_skip or None,
        output_type="pt",
    ).images
    text, negative = sdxl.encode_prompts(["a person"], clip_skip), sdxl.encode_prompts(["blurry"])  # skips none there
    ours = sdxl.draw(text, negative, noise, SampleConfig(steps=5, guidance=guidance), [0])
    assert ours.shape == (1, height, width, 3)
    assert (ours[0].permute(2, 0, 1).float() - theirs[0] * 255).abs().max() <= 1.0


def test_prompts_become_what_the_pipeline_makes_of_them(sdxl: Any, pipeline: Any) -> None:
    for skip in (0, 1):
        states, _, pooled, _ = pipeline.encode_prompt(
            "a person", do_classifier_free_guidance=False, clip_skip=skip or None
        )
        ours = sdxl.encode_prompts(["a person"], skip)
        torch.testing.assert_close(ours["states"], states)
        torch.testing.assert_close(ours["pooled"], pooled)
    assert ours["states"].shape == (1, 16, 24 + 32)


def test_the_last_layer_but_one_is_read_of_both_encoders(sdxl: Any) -> None:
    ids = sdxl.tokenizer(["a person"], padding="max_length", return_tensors="pt").input_ids
    hidden = [e(ids, output_hidden_states=True).hidden_states for e in (sdxl.text_encoder, sdxl.text_encoder_2)]
    for skip in (0, 1):
        expected = torch.cat([layers[-2 - skip] for layers in hidden], dim=-1)
        torch.testing.assert_close(sdxl.encode_prompts(["a person"], skip)["states"], expected)


def test_the_sizes_told_are_diffusers_added_time_ids_and_change_the_answer(sdxl: Any, pipeline: Any) -> None:
    latents, timesteps, text = contract.batch(sdxl, 2)
    told = sdxl.training_text(text, SIZES, [1.0, 1.0])
    for row, (height, width, top, left, *target) in zip(told["sizes"], SIZES, strict=True):
        ids = pipeline._get_add_time_ids(
            (height, width), (top, left), tuple(target), torch.float32, text_encoder_projection_dim=16
        )
        assert torch.equal(row, ids[0])
    answer, plain = sdxl.denoise(latents, timesteps, told), sdxl.denoise(latents, timesteps, text)
    assert (answer[0] - plain[0]).abs().max() > 1e-4
    torch.testing.assert_close(answer[1], plain[1])  # not scaled and not cropped: what is taken where nothing is told
    expected = pipeline.unet(
        latents,
        timesteps,
        text["states"],
        added_cond_kwargs={"text_embeds": text["pooled"], "time_ids": told["sizes"]},
        return_dict=False,
    )[0]
    torch.testing.assert_close(answer, expected)


def test_latents_are_scaled_mean_and_deviation_of_the_encoder(sdxl: Any) -> None:
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    mean, std = encode(sdxl.vae, pictures)
    posterior = sdxl.vae.encode(pictures).latent_dist
    torch.testing.assert_close(mean, posterior.mean * 0.13025)
    torch.testing.assert_close(std, posterior.std * 0.13025)


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_adapters_on_either_text_encoder_change_the_answer(sdxl: Any, part: str) -> None:
    whole = contract.stirred(initial_adapter(sdxl, LoraConfig(rank=4, targets="linear", text_encoder=True), 0), 0)
    adapter = {name: weights for name, weights in whole.items() if name.startswith(f"{part}.")}
    assert adapter
    changed, plain = (
        adapted(sdxl, AdapterBank([adapter])).encode_prompts(["a person"]),
        sdxl.encode_prompts(["a person"]),
    )
    assert not torch.allclose(changed["states"], plain["states"], atol=1e-3)
    assert torch.allclose(changed["pooled"], plain["pooled"], atol=1e-5) == (part == "text_encoder")


def test_the_sets_of_targets_grow(sdxl: Any) -> None:
    names = [set(initial_adapter(sdxl, LoraConfig(rank=1, targets=targets), 0)) for targets in TARGETS]
    assert names[0] < names[1] < names[2]
    assert all(re.search(r"attn\d\.to_(q|k|v|out\.0)$", name) for name in names[0])
    shapes = module_shapes(sdxl.components)
    added = names[2] - names[1]
    assert {len(shapes[name]) for name in added} == {2, 4}
    ends = {re.sub(r".*\.(?=conv\d|conv_shortcut|time_emb_proj|(down|up)samplers)", "", name) for name in added}
    assert ends == {"conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_fine_tune_that_predicts_v_is_read_as_one(model_of: Callable[[str], Path], prediction: str) -> None:
    family = load_tiny_kind("sdxl", model_of("sdxl"), prediction=prediction, zero_terminal_snr=prediction != "epsilon")
    assert family.objective.prediction == prediction
    contract.perfect_answer_has_no_loss_and_finds_the_latents(family)
    contract.same_noise_draws_same_picture(family, SampleConfig(steps=3, guidance=3.0))
    assert base_lines(family)["modelspec.prediction_type"] == ("epsilon" if prediction == "epsilon" else "v")


def run(**changes: Any) -> RunConfig:
    return RunConfig(preset="tiny", **changes)


def test_it_refuses_what_it_cannot_do(sdxl: Any, model_of: Callable[[str], Path]) -> None:
    sdxl.refuse(run(lora=LoraConfig(targets="convolution"), sample=SampleConfig(clip_skip=1)))
    with pytest.raises(UserError, match=r"sample.clip_skip is \d; the text encoder has 1 layers"):
        sdxl.refuse(run(sample=SampleConfig(clip_skip=2)))
    model = ModelConfig(family="sdxl", zero_terminal_snr=True)
    rescaled = load_tiny_kind("sdxl", model_of("sdxl"), zero_terminal_snr=True)
    with pytest.raises(UserError, match="at pure noise there is no noise to predict"):
        rescaled.refuse(run(model=model))
