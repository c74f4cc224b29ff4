"""The tiny pipeline's classes, its folder, and the programs that train it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from benchmarks.world import build_unet, build_vae, pipeline, tokens, training  # noqa: E402
from lorasweep.portraits.people import Scene  # noqa: E402


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return tmp_path_factory.mktemp("vocabulary")


@pytest.fixture(scope="module")
def whole(vocabulary):
    """A pipeline with random weights."""
    torch.manual_seed(0)
    tokenizer = tokens.write_tokenizer(vocabulary)
    denoiser = build_unet.Denoiser(tokenizer)
    return pipeline.assemble(build_vae.new_vae().eval(), denoiser.unet, denoiser.text_encoder, tokenizer)


def test_a_saved_pipeline_is_half_precision_and_loads_as_stable_diffusion(whole, vocabulary, tmp_path):
    pipeline.save_pipeline(whole, tmp_path / "p", vocabulary=vocabulary)
    assert {path.name for path in (tmp_path / "p" / "tokenizer").iterdir()} >= {"vocab.json", "merges.txt"}
    assert not list((tmp_path / "p").rglob("*.bin"))
    assert not any("_name_or_path" in path.read_text() for path in (tmp_path / "p").glob("*/config.json"))
    assert sum(path.stat().st_size for path in (tmp_path / "p").rglob("*")) < 22e6
    loaded = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "p", torch_dtype=torch.float32)
    assert loaded.scheduler.config.prediction_type == "v_prediction"
    assert loaded.scheduler.config.rescale_betas_zero_snr
    assert loaded.scheduler.config.timestep_spacing == "trailing"
    loaded.set_progress_bar_config(disable=True)
    one, two = pipeline.draw(loaded, ["a photo of a person"] * 2, steps=1)
    assert one.size == (64, 64)
    assert (np.asarray(one) != np.asarray(two)).any()


def test_the_last_time_holds_no_signal():
    scheduler = pipeline.new_scheduler()
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(0, abs=1e-7)


def test_whitening_changes_no_picture_and_gives_unit_latents():
    torch.manual_seed(1)
    vae = build_vae.new_vae().eval()
    pictures = torch.rand(8, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = vae.decode(build_vae.latent_moments(vae, pictures)[0]).sample
        build_vae.whiten(vae, pictures)
        mean, _ = build_vae.latent_moments(vae, pictures)
        after = vae.decode(mean).sample
    assert torch.allclose(before, after, atol=1e-3)
    assert mean.mean((0, 2, 3)).abs().max() < 1e-3
    assert (mean.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_a_training_batch_is_a_function_of_seed_and_step(whole):
    latents = np.random.default_rng(0).random((6, 16, 16, 16)).astype(np.float16)
    plan = build_unet.UNetPlan(batch=4)
    scenes = [Scene()] * 6
    first = build_unet.batch_of(3, plan, latents, scenes, whole.tokenizer)
    again = build_unet.batch_of(3, plan, latents, scenes, whole.tokenizer)
    other = build_unet.batch_of(4, plan, latents, scenes, whole.tokenizer)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[3].shape == (4, 77)
    assert first[2].tolist() == sorted(first[2].tolist())


def test_state_that_was_saved_comes_back(tmp_path):
    assert training.load_state(tmp_path / "none.pt") is None
    training.save_state(tmp_path / "a" / "state.pt", {"weights": torch.ones(2), "step": 3})
    state = training.load_state(tmp_path / "a" / "state.pt")
    assert state is not None
    assert state["step"] == 3
    assert not (tmp_path / "a" / "state.part").exists()


def test_the_learning_rate_warms_up_and_comes_down():
    rates = [training.rate(step, 1000, 1.0, warmup=100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.03
