"""The Stable Diffusion 1.x family holds to the contract, and refuses what it is not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts import family as contract
from contracts.tiny import SIDE

from lorasweep.config.schema import HardwareConfig, LoraConfig, ModelConfig, SampleConfig
from lorasweep.errors import UserError
from lorasweep.models import load_family
from lorasweep.models.autoencoder import encode
from lorasweep.models.families.unet import SAMPLERS
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.models.lora.layer import AdapterBank, adapted

LORA = LoraConfig(rank=4, alpha=2.0, targets="linear")


@pytest.mark.parametrize(
    "rule",
    [
        contract.base_is_untouched_by_adapters,
        contract.fresh_adapter_changes_nothing,
        contract.slots_do_not_see_each_other,
    ],
)
def test_it_holds_to_the_contract_of_families(family: Any, rule: Any) -> None:
    rule(family, LORA)


@pytest.mark.parametrize("rule", [contract.base_is_untouched_by_adapters, contract.slots_do_not_see_each_other])
@pytest.mark.parametrize("targets", ["attention", "linear", "convolution"])
def test_it_holds_to_it_with_every_set_of_targets(family: Any, rule: Any, targets: str) -> None:
    rule(family, LoraConfig(rank=4, alpha=2.0, targets=targets, text_encoder=True))


def test_its_target_and_what_it_shows_span_latents_and_noise(family: Any) -> None:
    contract.perfect_answer_has_no_loss_and_finds_the_latents(family)


@pytest.mark.parametrize("sampler", ["auto", "ddim", "euler", "euler_a", "dpmpp_2m"])
def test_the_same_noise_draws_the_same_picture(family: Any, sampler: str) -> None:
    contract.same_noise_draws_same_picture(family, SampleConfig(sampler=sampler, steps=3, guidance=3.0))


@pytest.mark.parametrize("sampler", ["auto", "ddim", "euler", "dpmpp_2m"])
def test_its_drawing_is_what_the_diffusers_pipeline_draws(family: Any, model_folder: Path, sampler: str) -> None:
    import diffusers

    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        model_folder, safety_checker=None, local_files_only=True
    )
    if sampler != "auto":
        pipeline.scheduler = getattr(diffusers, SAMPLERS[sampler]).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    theirs = pipeline(
        "a person", latents=noise, num_inference_steps=5, guidance_scale=4.0, height=SIDE, width=SIDE, output_type="pt"
    ).images
    look = SampleConfig(sampler=sampler, steps=5, guidance=4.0)
    ours = family.draw(family.encode_prompts(["a person"]), family.encode_prompts([""]), noise, look, [0])
    assert (ours[0].permute(2, 0, 1).float() - theirs[0] * 255).abs().max() <= 1.0


def test_adapters_drawn_side_by_side_draw_what_each_draws_alone(family: Any) -> None:
    adapters = [contract.stirred(initial_adapter(family, LORA, seed), seed) for seed in range(2)]
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    text, negative = family.encode_prompts(["a", "b"]), family.encode_prompts(["", ""])
    look = SampleConfig(steps=3, guidance=3.0)
    both = adapted(family, AdapterBank(adapters)).draw(
        {k: v.repeat(2, 1, 1) for k, v in text.items()},
        {k: v.repeat(2, 1, 1) for k, v in negative.items()},
        noise.repeat(2, 1, 1, 1),
        look,
        [0, 1, 0, 1],
    )
    for slot, adapter in enumerate(adapters):
        alone = adapted(family, AdapterBank([adapter])).draw(text, negative, noise, look, [0, 1])
        assert (both[2 * slot : 2 * slot + 2].int() - alone.int()).abs().max() <= 1
    assert not torch.equal(both[:2], both[2:])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weights_are_those_of_the_paper(model_folder: Path, prediction: str) -> None:
    family: Any = load_family(ModelConfig(path=str(model_folder), prediction=prediction), HardwareConfig(device="cpu"))
    timesteps = torch.tensor([10, 500, 999])
    snr = family.objective.alphas[timesteps] / (1 - family.objective.alphas[timesteps])
    assert snr[0] > 5 > snr[1] > 0
    assert snr[2] == pytest.approx(0, abs=1e-6)  # zero-terminal
    weights = family.objective.loss_weights(timesteps, 5.0)
    share = 5 / snr[0] if prediction == "epsilon" else 5 / (snr[0] + 1)
    middle = 1.0 if prediction == "epsilon" else snr[1] / (snr[1] + 1)
    torch.testing.assert_close(weights, torch.tensor([share, middle, 1.0 if prediction == "epsilon" else 0.0]))
    assert family.objective.loss_weights(timesteps, None).tolist() == [1, 1, 1]


def test_clip_skip_leaves_out_the_last_layer(family: Any) -> None:
    whole, skipped = (family.encode_prompts(["a person"], skip)["states"] for skip in (0, 1))
    hidden = family.text_encoder(
        family.tokenizer(["a person"], padding="max_length", return_tensors="pt").input_ids, output_hidden_states=True
    ).hidden_states
    torch.testing.assert_close(skipped, family.text_encoder.final_layer_norm(hidden[-2]))
    assert not torch.allclose(whole, skipped)


def test_latents_are_scaled_mean_and_deviation_of_the_encoder(family: Any) -> None:
    pictures = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    mean, std = encode(family.vae, pictures)
    posterior = family.vae.encode(pictures).latent_dist
    torch.testing.assert_close(mean, posterior.mean * 0.18215)
    torch.testing.assert_close(std, posterior.std * 0.18215)


def _changed(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.path is '.*nowhere'.*no folder"):
        load_family(ModelConfig(path=str(tmp_path / "nowhere")), HardwareConfig(device="cpu"))


def test_a_folder_without_a_unet_is_named(model_folder: Path, tmp_path: Path) -> None:
    folder = _changed(model_folder, tmp_path / "model")
    shutil.rmtree(folder / "unet")
    with pytest.raises(UserError, match="without a UNet"):
        load_family(ModelConfig(path=str(folder)), HardwareConfig(device="cpu"))


def test_a_folder_of_another_pipeline_is_named(model_folder: Path, tmp_path: Path) -> None:
    folder = _changed(model_folder, tmp_path / "model")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(UserError, match=r"a StableDiffusionXLPipeline; .*sd15 accepts"):
        load_family(ModelConfig(path=str(folder)), HardwareConfig(device="cpu"))


def test_an_unknown_family_is_told_which_there_are(model_folder: Path) -> None:
    with pytest.raises(UserError, match=r"model.family is 'sd9'; it must be one of sd15"):
        load_family(ModelConfig(family="sd9", path=str(model_folder)), HardwareConfig(device="cpu"))
