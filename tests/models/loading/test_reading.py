"""A base model's parts in memory: the same from folder and file, whole, and with the vocabulary of CLIP's makers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.family import batch
from contracts.single_file import renamed, write_single_file
from contracts.tiny_models import load_tiny_kind
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import load_file, save_file

from lorasweep.errors import UserError
from lorasweep.models.autoencoder import encode
from lorasweep.models.family import Family, model_hash
from lorasweep.models.loading.reading import clip_vocabulary, from_bfl, read_tokenizer, skeleton
from lorasweep.models.loading.sources import Source, read_json, shipped_configs

Of = Callable[[str], Any]
KINDS = ("sd15", "sdxl", "flux")
PARTS = {
    "sd15": ("unet", "text_encoder", "vae"),
    "sdxl": ("unet", "text_encoder", "text_encoder_2", "vae"),
    "flux": ("transformer", "text_encoder", "text_encoder_2", "vae"),
}
DENOISER = {"sd15": "unet", "sdxl": "unet", "flux": "transformer"}


def answers(family: Family) -> list[torch.Tensor]:
    """What a model makes of one batch and one picture."""
    latents, timesteps, text = batch(family, 2)
    pictures = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return [*text.values(), family.denoise(latents, timesteps, text), *encode(family.vae, pictures)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_answers_bit_equal_to_its_folder(kind: str, family_of: Of, file_of: Of, model_of: Of) -> None:
    single = load_tiny_kind(kind, file_of(kind), config=str(model_of(kind)))
    for ours, theirs in zip(answers(single), answers(family_of(kind)), strict=True):
        assert torch.equal(ours, theirs)
    assert single.hashes.keys() == {"file"}
    assert model_hash(single) != model_hash(family_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_precision_file_is_read_at_the_precision_that_is_asked_for(
    kind: str, family_of: Of, model_of: Of, tmp_path: Path
) -> None:
    path = write_single_file(kind, model_of(kind), tmp_path / "half.safetensors", dtype=torch.float16)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        half = load_tiny_kind(kind, path, precision=precision, config=str(model_of(kind)))
        assert {p.dtype for part in half.components.values() for p in part.parameters()} == {dtype}
        assert {p.dtype for p in half.vae.parameters()} == {torch.float32}
        for ours, theirs in zip(answers(half), answers(family_of(kind)), strict=True):
            error = (ours - theirs).norm() / theirs.norm()
            assert error < (2e-3 if precision == "fp32" else 5e-2)


def test_the_bare_transformer_takes_the_rest_from_the_folder(family_of: Of, model_of: Of, tmp_path: Path) -> None:
    path = write_single_file("flux", model_of("flux"), tmp_path / "a.safetensors", parts=("transformer",), bare=True)
    bare = load_tiny_kind("flux", path, config=str(model_of("flux")))
    for ours, theirs in zip(answers(bare), answers(family_of("flux")), strict=True):
        assert torch.equal(ours, theirs)
    assert set(bare.hashes) == {"file", "text_encoder", "text_encoder_2", "vae"}


def test_a_flux_checkpoint_without_guidance_is_schnell(model_of: Of, file_of: Of, tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in load_file(file_of("flux")).items() if "guidance_in" not in key}
    save_file(state, tmp_path / "schnell.safetensors")
    schnell = load_tiny_kind("flux", tmp_path / "schnell.safetensors", config=str(model_of("flux")))
    latents, timesteps, text = batch(schnell, 1)
    told = schnell.training_text(text, [(32, 32, 0, 0, 32, 32)], [3.5])
    assert torch.equal(schnell.denoise(latents, timesteps, told), schnell.denoise(latents, timesteps, text))


def test_plain_fp8_weights_are_widened(model_of: Of, file_of: Of, tmp_path: Path) -> None:
    state = load_file(file_of("flux"))
    narrow = {key: t.to(torch.float8_e4m3fn) if "diffusion_model" in key else t for key, t in state.items()}
    save_file(narrow, tmp_path / "fp8.safetensors")
    family = load_tiny_kind("flux", tmp_path / "fp8.safetensors", config=str(model_of("flux")))
    expected = narrow["model.diffusion_model.img_in.weight"].float()
    assert torch.equal(family.transformer.x_embedder.weight, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_encoder_with_the_level_that_transformers_dropped_still_loads(
    kind: str, family_of: Of, model_of: Of, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_of(kind), tmp_path / "old"))
    file = folder / "text_encoder" / "model.safetensors"
    old = {f"text_model.{key}": tensor for key, tensor in load_file(file).items()}
    save_file({**old, "text_model.embeddings.position_ids": torch.arange(16)[None]}, file, metadata={"format": "pt"})
    ours, theirs = load_tiny_kind(kind, folder), family_of(kind)
    for name, tensor in theirs.encode_prompts(["a person", ""]).items():
        assert torch.equal(ours.encode_prompts(["a person", ""])[name], tensor)


@pytest.mark.parametrize(
    ("kind", "part", "key"),
    [
        ("sd15", "unet", "mid_block.attentions.0.norm.weight"),
        ("sd15", "vae", "decoder.mid_block.attentions.0.to_q.weight"),
        ("sd15", "text_encoder", "encoder.layers.1.mlp.fc1.weight"),
        ("sdxl", "text_encoder_2", "text_projection.weight"),
        ("flux", "transformer", "single_transformer_blocks.1.norm.linear.bias"),
        ("flux", "text_encoder_2", "encoder.block.1.layer.0.SelfAttention.k.weight"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "of another shape"])
def test_a_folder_with_a_weight_missing_or_misshapen_is_named(
    kind: str, part: str, key: str, damage: str, model_of: Of, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model_of(kind), tmp_path / "model"))
    (file,) = (folder / part).glob("*.safetensors")
    state = load_file(file)
    assert key in state
    state[key] = torch.zeros(3)
    if damage == "missing":
        del state[key]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"holds no whole {part}: .*{part}.*{key}.*\.$"):
        load_tiny_kind(kind, folder)


@pytest.mark.parametrize(
    ("kind", "part", "key", "named"),
    [
        ("sd15", "unet", "model.diffusion_model.middle_block.1.norm.weight", "mid_block.attentions.0.norm.weight"),
        ("sd15", "vae", "first_stage_model.encoder.mid.attn_1.q.weight", "encoder.mid_block.attentions.0.to_q.weight"),
        ("sdxl", "unet", "model.diffusion_model.label_emb.0.2.bias", "label_emb.0.2.bias"),
        (
            *("sdxl", "text_encoder_2", "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"),
            "text_model.encoder.layers.0.self_attn",
        ),
        ("flux", "transformer", "model.diffusion_model.double_blocks.1.img_attn.qkv.bias", "blocks.1.attn.to_"),
        ("flux", "text_encoder_2", "text_encoders.t5xxl.transformer.shared.weight", "shared.weight"),
    ],
)
def test_a_file_with_a_weight_missing_is_named(
    kind: str, part: str, key: str, named: str, model_of: Of, file_of: Of, tmp_path: Path
) -> None:
    state = load_file(file_of(kind))
    del state[key]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=rf"holds no whole {part}: .*a\.safetensors.*{named}"):
        load_tiny_kind(kind, tmp_path / "a.safetensors", config=str(model_of(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_size_than_its_configuration_is_told_which_weight(kind: str, file_of: Of) -> None:
    with pytest.raises(UserError, match=rf"holds no whole {DENOISER[kind]}: .* \(\d.*\) should be \(\d"):
        load_tiny_kind(kind, file_of(kind))


def test_a_weight_that_the_configuration_has_not_is_named(file_of: Of, model_of: Of, tmp_path: Path) -> None:
    key = "model.diffusion_model.double_blocks.7.img_attn.proj.weight"
    save_file(load_file(file_of("flux")) | {key: torch.zeros(16, 16)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"transformer_blocks.7.attn.to_out.0.weight \(16, 16\) is not known here"):
        load_tiny_kind("flux", tmp_path / "a.safetensors", config=str(model_of("flux")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_without_weights_in_safetensors_is_named(kind: str, model_of: Of, tmp_path: Path) -> None:
    for part in PARTS[kind]:
        folder = Path(shutil.copytree(model_of(kind), tmp_path / part))
        for file in (folder / part).glob("*.safetensors"):
            file.rename(file.with_suffix(".bin"))
        with pytest.raises(UserError, match=rf"holds no whole {part}: .*with safetensors weights"):
            load_tiny_kind(kind, folder)


MILLIONS = {
    ("sd15", "unet"): 859.52,
    ("sd15", "text_encoder"): 123.06,
    ("sdxl", "unet"): 2567.46,
    ("sdxl", "text_encoder"): 123.06,
    ("sdxl", "text_encoder_2"): 694.66,
    ("flux", "transformer"): 11901.41,
    ("flux", "text_encoder"): 123.06,
    ("flux", "text_encoder_2"): 4762.31,
}
"""As published: SD 1.5, SDXL, FLUX.1-dev, CLIP ViT-L, OpenCLIP bigG with its projection, the encoder of T5-XXL."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_configurations_are_those_of_the_full_size_models(kind: str) -> None:
    for part, module in skeleton(kind).items():
        count = sum(parameter.numel() for parameter in module.parameters())
        assert count / 1e6 == pytest.approx(MILLIONS[kind, part], abs=0.01), part
        assert all(parameter.is_meta for parameter in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_vae_has_the_published_size_and_scale(kind: str) -> None:
    from diffusers import AutoencoderKL

    config = AutoencoderKL.load_config(shipped_configs(kind) / "vae")
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(config)
    count = sum(parameter.numel() for parameter in vae.parameters()) / 1e6
    assert count == pytest.approx(83.82 if kind == "flux" else 83.65, abs=0.01)
    scale, shift = {"sd15": (0.18215, None), "sdxl": (0.13025, None), "flux": (0.3611, 0.1159)}[kind]
    assert (vae.config.scaling_factor, vae.config.get("shift_factor")) == (scale, shift)


@pytest.mark.parametrize("kind", KINDS)
def test_full_size_checkpoint_names_become_all_of_diffusers_names(kind: str) -> None:
    part = DENOISER[kind]
    config = read_json(shipped_configs(kind) / part / "config.json")
    expected = skeleton(kind)[part].state_dict()
    original = {f"model.diffusion_model.{k}": t for k, t in renamed(kind, part, expected, config).items()}
    back = from_bfl(original) if kind == "flux" else convert_ldm_unet_checkpoint(original, config)
    assert {name: tuple(t.shape) for name, t in back.items()} == {name: tuple(t.shape) for name, t in expected.items()}


PROMPTS = [
    "",
    "a photo of s1lv10 person",
    "A PHOTO of a (cat:1.2), [dog] -- masterpiece!!! best_quality",
    "score_9, score_8_up, 1girl, solo, looking_at_viewer, (red hair:1.3), \\(series\\)",
    "héllo wörld ñandú, Straße ÇA ŒUVRE İstanbul, привет γειά σου",
    "日本語のプロンプト, 한국어, 中文, مرحبا, שלום, ไทย",
    "emoji 😀👍🏽❤️ test",
    "it's don't we'll I'VE they're he'd",
    "word " * 200,
    "x" * 300,
    "a,b;c.d/e\\f|g~h`i^j*k&l%m$n#o@p!",
    "tabs\tand\nnewlines   and   spaces  ",
    "12345 3.14 2x4 4k 8K 1/2",
    "e\u0301 combining, \u00a0no break\u2003em space",
    "—dash– … ©®™ № ½ ² ⅷ",
    "___ !!!???... ((()))",
    "<lora:name:1> <tag>",
]


def shipped_tokenizers() -> dict[str, Any]:
    sources = {kind: Source(kind=kind, folder=shipped_configs(kind)) for kind in KINDS}
    pairs = [*((kind, "tokenizer") for kind in KINDS), ("sdxl", "tokenizer_2")]
    return {f"{kind}/{part}": read_tokenizer(sources[kind], part) for kind, part in pairs}


def test_clips_vocabulary_from_open_clip_gives_open_clips_own_ids() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    vocab, merges = clip_vocabulary()
    assert (len(vocab), len(merges)) == (49408, 48894)
    assert sorted(vocab.values()) == list(range(49408))
    assert [vocab[word] for word in ("!", "a</w>", "<|startoftext|>", "<|endoftext|>")] == [0, 320, 49406, 49407]
    reference = SimpleTokenizer()
    for name, tokenizer in shipped_tokenizers().items():
        pad = 0 if name == "sdxl/tokenizer_2" else 49407  # SDXL's second encoder was trained on zeros behind the end
        for prompt in PROMPTS:
            ids = tokenizer([prompt], padding="max_length", truncation=True).input_ids[0]
            theirs = reference([prompt])[0].tolist()
            end = theirs.index(49407) + 1
            assert ids == theirs[:end] + [pad] * (77 - end), (name, prompt)


def test_the_second_tokenizer_of_sdxl_pads_with_an_exclamation_mark_and_no_other_does() -> None:
    pads = {name: tokenizer.pad_token for name, tokenizer in shipped_tokenizers().items()}
    assert pads.pop("sdxl/tokenizer_2") == "!"
    assert set(pads.values()) == {"<|endoftext|>"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_needs_no_tokenizer_of_clip_beside_it(kind: str, file_of: Of, model_of: Of, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_of(kind), tmp_path / "config"))
    for part in ("tokenizer", "tokenizer_2")[: 2 if kind == "sdxl" else 1]:
        shutil.rmtree(folder / part)
    family = load_tiny_kind(kind, file_of(kind), config=str(folder))
    assert len(family.tokenizer) == 49408
    assert family.tokenizer(["a photo"]).input_ids == [[49406, 320, 1125, 49407]]


def test_a_t5_tokenizer_that_is_missing_is_asked_for(file_of: Of, model_of: Of, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_of("flux"), tmp_path / "config"))
    shutil.rmtree(folder / "tokenizer_2")
    with pytest.raises(UserError, match=r"which has no T5 tokenizer; name a diffusers folder with a tokenizer_2 in it"):
        load_tiny_kind("flux", file_of("flux"), config=str(folder))


@pytest.mark.parametrize("damage", ["vocab.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer_is_named(damage: str, model_of: Of, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_of("sd15"), tmp_path / "model"))
    (folder / "tokenizer" / damage).write_text("{")
    with pytest.raises(UserError, match=r"holds no whole tokenizer: .*tokenizer cannot be read"):
        load_tiny_kind("sd15", folder)


def test_words_of_the_tiny_tokenizers_reach_both_encoders(model_of: Of) -> None:
    settings = json.loads((model_of("flux") / "tokenizer_2" / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == 24
    family = load_tiny_kind("flux", model_of("flux"))
    first, second = (family.encode_prompts([words]) for words in ("a person", "a parson"))
    for name in ("states", "pooled"):
        assert not torch.allclose(first[name], second[name])
