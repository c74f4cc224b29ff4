"""The FLUX family: flow matching, guidance told, and pictures as diffusers draws them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts import family as contract
from contracts.single_file import write_single_file
from contracts.tiny_models import load_tiny_kind
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import T5EncoderModel

from lorasweep.config.schema import HardwareConfig, LoraConfig, ModelConfig, OptimConfig, RunConfig, SampleConfig
from lorasweep.errors import UserError
from lorasweep.models import load_family
from lorasweep.models.autoencoder import encode, latent_shape
from lorasweep.models.families.flux import image_ids, packed, unpacked
from lorasweep.models.loading.frozen import repeated_layers
from lorasweep.models.lora.initial import initial_adapter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def flux(family_of: Callable[[str], Any]) -> Any:
    return family_of("flux")


@pytest.fixture(scope="module")
def pipeline(model_of: Callable[[str], Path]) -> Any:
    found = FluxPipeline.from_pretrained(model_of("flux"), local_files_only=True)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.fixture(scope="module")
def schnell_folder(model_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as schnell is: told no guidance, with no shift; its tokenizer has room for 512 tokens."""
    folder = shutil.copytree(model_of("flux"), tmp_path_factory.mktemp("schnell") / "schnell")
    dev = FluxTransformer2DModel.from_pretrained(folder / "transformer")
    transformer = FluxTransformer2DModel.from_config({**dev.config, "guidance_embeds": False})
    transformer.load_state_dict(dev.state_dict(), strict=False)
    shutil.rmtree(folder / "transformer")
    transformer.save_pretrained(folder / "transformer")
    FlowMatchEulerDiscreteScheduler(shift=1.0).save_pretrained(folder / "scheduler")
    roomy(folder)
    return folder


def roomy(folder: Path) -> Path:
    """Let T5's tokenizer make 512 tokens, as the real one does."""
    path = folder / "tokenizer_2" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 512}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "rule",
    [
        contract.base_is_untouched_by_adapters,
        contract.fresh_adapter_changes_nothing,
        contract.slots_do_not_see_each_other,
    ],
)
@pytest.mark.parametrize("targets", ["attention", "linear"])
def test_it_holds_to_the_contract_of_families(flux: Any, rule: Any, targets: str) -> None:
    rule(flux, LoraConfig(rank=4, alpha=2.0, targets=targets, text_encoder=True))


def test_its_target_and_what_it_shows_span_latents_and_noise(flux: Any) -> None:
    contract.perfect_answer_has_no_loss_and_finds_the_latents(flux)


@pytest.mark.parametrize("sampler", ["auto", "euler"])
def test_the_same_noise_draws_the_same_picture(flux: Any, sampler: str) -> None:
    contract.same_noise_draws_same_picture(flux, SampleConfig(sampler=sampler, steps=3, guidance=3.5))


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 32)])
def test_its_drawing_is_what_the_diffusers_pipeline_draws(
    flux: Any, pipeline: Any, guidance: float, width: int, height: int
) -> None:
    shape = latent_shape(flux.vae, width, height)
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(5))
    theirs = pipeline(
        ["a person", "a dog"],
        latents=packed(noise),
        num_inference_steps=5,
        guidance_scale=guidance,
        width=width,
        height=height,
        max_sequence_length=24,
        output_type="pt",
    ).images
    text, negative = flux.encode_prompts(["a person", "a dog"]), flux.encode_prompts(["blurry", "blurry"])
    ours = flux.draw(text, negative, noise, SampleConfig(steps=5, guidance=guidance), [0, 1])
    assert ours.shape == (2, height, width, 3)
    assert (ours.permute(0, 3, 1, 2).float() - theirs * 255).abs().max() <= 1.0


@pytest.mark.parametrize("way", ["folder", "file"])
def test_schnell_is_read_and_drawn_as_the_reference_does(
    schnell_folder: Path, model_of: Callable[[str], Path], tmp_path: Path, way: str
) -> None:
    path, config = schnell_folder, None
    if way == "file":  # what the file lacks may come from dev's folder: it has the same text encoders
        path = write_single_file("flux", schnell_folder, tmp_path / "schnell.safetensors", parts=["transformer"])
        config = str(roomy(shutil.copytree(model_of("flux"), tmp_path / "dev")))
    ours = load_tiny_kind("flux", path, config=config)
    pipeline = FluxPipeline.from_pretrained(schnell_folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    states, _, _ = pipeline.encode_prompt("a person", None, max_sequence_length=256)
    text = ours.encode_prompts(["a person"])
    assert text["states"].shape == (1, 256, 32)
    torch.testing.assert_close(text["states"], states)
    noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(5))
    size = {"width": 64, "height": 64, "max_sequence_length": 256}
    theirs = pipeline("a person", latents=packed(noise), num_inference_steps=4, output_type="pt", **size).images
    drawn = ours.draw(text, text, noise, SampleConfig(steps=4, guidance=3.5), [0])
    assert (drawn.permute(0, 3, 1, 2).float() - theirs * 255).abs().max() <= 1.0


def test_dev_is_read_with_twice_the_tokens_of_schnell_and_neither_uses_what_was_kept_of_the_other_way(
    schnell_folder: Path, model_of: Callable[[str], Path], tmp_path: Path
) -> None:
    dev = load_tiny_kind("flux", roomy(shutil.copytree(model_of("flux"), tmp_path / "dev")))
    assert dev.encode_prompts(["a person"])["states"].shape == (1, 512, 32)
    assert "t5" not in dev.hashes
    assert load_tiny_kind("flux", schnell_folder).hashes["t5"] == "256 tokens"  # caches of older versions had 512


@pytest.mark.parametrize("way", ["folder", "file"])
@pytest.mark.parametrize("unload", [False, True])
def test_t5_does_not_leave_the_range_of_fp16(
    model_of: Callable[[str], Path], tmp_path: Path, way: str, unload: bool
) -> None:
    folder = shutil.copytree(model_of("flux"), tmp_path / "loud")
    encoder = T5EncoderModel.from_pretrained(folder / "text_encoder_2")
    for (
        block
    ) in encoder.encoder.block:  # sums beyond fp16's range, as in the real one; the last normalisation tames them
        for layer in (block.layer[1].DenseReluDense.wi_0, block.layer[1].DenseReluDense.wi_1):
            layer.weight.data *= 400
    encoder.save_pretrained(folder / "text_encoder_2")
    path = write_single_file("flux", folder, tmp_path / "loud.safetensors") if way == "file" else folder
    model = ModelConfig(family="flux", path=str(path), config=str(folder), resolution=32)
    whole, half = (
        load_family(model, HardwareConfig(device="cpu", precision=precision, unload_encoders=unload))
        for precision in ("fp32", "fp16")
    )
    expected, found = (family.encode_prompts(["a person", ""])["states"] for family in (whole, half))
    assert expected.isfinite().all()
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
    matrices = [layer.weight for name, layer in repeated_layers(half.components["text_encoder_2"]).items()]
    assert {matrix.dtype for matrix in matrices} == {torch.float16, torch.float32}  # the memory of fp16, but for wo


def test_prompts_become_what_the_pipeline_makes_of_them(flux: Any, pipeline: Any) -> None:
    states, pooled, _ = pipeline.encode_prompt("a person", None, max_sequence_length=24)
    ours = flux.encode_prompts(["a person"])
    torch.testing.assert_close(ours["states"], states)
    torch.testing.assert_close(ours["pooled"], pooled)


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (4, 10)])
def test_tokens_and_places_are_the_pipelines_and_can_be_undone(rows: int, columns: int) -> None:
    latents = torch.randn(2, 16, rows, columns)
    tokens = packed(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, 2, 16, rows, columns))
    assert torch.equal(unpacked(tokens, rows, columns), latents)
    assert torch.equal(FluxPipeline._unpack_latents(tokens, 8 * rows, 8 * columns, 8), latents)
    places = FluxPipeline._prepare_latent_image_ids(2, rows // 2, columns // 2, CPU, torch.float32)
    assert torch.equal(image_ids(rows // 2, columns // 2, CPU), places)


def test_the_guidance_is_told_and_changes_the_answer(flux: Any) -> None:
    latents, timesteps, text = contract.batch(flux, 2)
    sizes = [(32, 32, 0, 0, 32, 32)] * 2
    told = flux.training_text(text, sizes, [1.0, 3.5])
    assert told["guidance"].tolist() == [1.0, 3.5]
    answer, plain = flux.denoise(latents, timesteps, told), flux.denoise(latents, timesteps, text)
    torch.testing.assert_close(answer[0], plain[0])  # 1 is what is taken where nothing is told
    assert (answer[1] - plain[1]).abs().max() > 1e-4
    expected = flux.transformer(
        hidden_states=packed(latents),
        encoder_hidden_states=text["states"],
        pooled_projections=text["pooled"],
        timestep=timesteps,
        guidance=torch.tensor([1.0, 3.5]),
        img_ids=image_ids(2, 2, CPU),
        txt_ids=torch.zeros(24, 3),
        return_dict=False,
    )[0]
    torch.testing.assert_close(packed(answer), expected)


def test_it_goes_straight_from_the_picture_to_the_noise(flux: Any) -> None:
    latents, noise = torch.randn(3, 16, 4, 4), torch.randn(3, 16, 4, 4)
    shares = torch.tensor([0.0, 0.25, 1.0])
    shown = flux.objective.noised(latents, noise, shares)
    torch.testing.assert_close(shown[0], latents[0])
    torch.testing.assert_close(shown[1], 0.75 * latents[1] + 0.25 * noise[1])
    torch.testing.assert_close(shown[2], noise[2])
    target = flux.objective.target(latents, noise, shares)
    torch.testing.assert_close(shown - shares.view(-1, 1, 1, 1) * target, latents)
    assert flux.objective.loss_weights(shares, None).tolist() == [1, 1, 1]


def test_timesteps_are_sigmoid_unless_told_and_know_the_size_of_the_picture(flux: Any) -> None:
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    own = flux.objective.timesteps(uniforms)
    assert own.dtype == torch.float32
    assert torch.equal(own, flux.objective.timesteps(uniforms, OptimConfig(timesteps="sigmoid")))
    assert torch.equal(flux.objective.timesteps(uniforms, OptimConfig(timesteps="uniform")), uniforms.float())
    shifting = OptimConfig(timesteps="resolution_shift")
    small, large = (flux.objective.timesteps(uniforms, shifting, (16, side, side)) for side in (32, 128))
    for found, mu in ((small, 0.5), (large, 1.15)):  # 512 and 1024 pixels a side have 256 and 4096... tokens of 16
        torch.testing.assert_close(torch.logit(found) - torch.logit(own), torch.full((1000,), mu), atol=1e-3, rtol=0)


def test_latents_are_shifted_and_scaled(flux: Any) -> None:
    pictures = torch.rand(1, 3, 32, 32) * 2 - 1
    mean, std = encode(flux.vae, pictures)
    posterior = flux.vae.encode(pictures).latent_dist
    torch.testing.assert_close(mean, (posterior.mean - 0.1159) * 0.3611)
    torch.testing.assert_close(std, posterior.std * 0.3611)


def test_the_last_layer_is_left_alone_though_blocks_end_in_one_of_its_name(flux: Any) -> None:
    names = list(initial_adapter(flux, LoraConfig(rank=1, targets="linear"), 0))
    assert "transformer.proj_out" not in names
    assert "transformer.single_transformer_blocks.1.proj_out" in names
    assert not any("norm_out" in name or "embed" in name for name in names)
    per_double, per_single = 4 + 4 + 4 + 2, 3 + 2 + 1
    assert len(names) == 2 * per_double + 2 * per_single
    texts = [n for n in initial_adapter(flux, LoraConfig(rank=1, text_encoder=True), 0) if n.startswith("text")]
    assert len(texts) == 2 * 4
    assert not any(name.startswith("text_encoder_2") for name in texts)


def run(**changes: Any) -> RunConfig:
    return RunConfig(preset="tiny", **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lora": LoraConfig(targets="convolution")}, "lora.targets is 'convolution', but FLUX has no convolutions"),
        ({"optim": OptimConfig(min_snr_gamma=5)}, "optim.min_snr_gamma is 5, .* must be null"),
        ({"sample": SampleConfig(sampler="ddim")}, "sample.sampler is 'ddim'; FLUX is drawn with auto or euler"),
        ({"sample": SampleConfig(clip_skip=1)}, "sample.clip_skip is 1; .* must be 0"),
        ({"sample": SampleConfig(width=40)}, "sample.width is 40; .* 16 divides"),
        ({"sample": SampleConfig(height=24)}, "sample.height is 24; .* 16 divides"),
        ({"model": ModelConfig(resolution=1000)}, "model.resolution is 1000; .* 16 divides"),
        ({"model": ModelConfig(prediction="v_prediction")}, "FLUX predicts a flow: model.prediction must be auto"),
        ({"model": ModelConfig(zero_terminal_snr=True)}, "model.zero_terminal_snr null"),
    ],
)
def test_it_refuses_what_it_cannot_do(flux: Any, changes: dict[str, Any], sentence: str) -> None:
    flux.refuse(run())
    with pytest.raises(UserError, match=sentence) as caught:
        flux.refuse(run(**changes))
    assert ". " not in str(caught.value)
