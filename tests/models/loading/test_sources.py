"""Where a base model comes from, folder, file or hub; what is none is told in one sentence before anything is read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.family import stirred
from contracts.hub import COMMIT, online, served
from contracts.single_file import BESIDE, write_single_file
from contracts.tiny_models import load_tiny_kind
from safetensors.torch import load_file, save_file

from lorasweep.config.schema import LoraConfig, ModelConfig
from lorasweep.errors import TryAgainError, UserError
from lorasweep.models.family import model_hash
from lorasweep.models.loading.sources import Source, find_source, shipped_configs
from lorasweep.models.lora.file import write_lora
from lorasweep.models.lora.initial import initial_adapter

Of = Callable[[str], Any]
KINDS = ("sd15", "sdxl", "flux")
PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "flux": "FluxPipeline"}


def refusal(kind: str, path: Path | str, **model: Any) -> str:
    """The one sentence that a model is refused with."""
    with pytest.raises(UserError) as caught:
        find_source(ModelConfig(family=kind, path=str(path), **model))
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert ". " not in sentence
    assert "\n" not in sentence
    return sentence


def found(kind: str, path: Path | str, **model: Any) -> Source:
    return find_source(ModelConfig(family=kind, path=str(path), **model))


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_the_model_and_a_file_finds_in_the_folder_what_it_lacks(
    kind: str, model_of: Of, file_of: Of
) -> None:
    whole = found(kind, model_of(kind))
    assert (whole.folder, whole.file) == (model_of(kind), None)
    single = found(kind, file_of(kind), config=str(model_of(kind)))
    assert single.file == file_of(kind)
    for part in ("vae", "text_encoder"):
        assert single.in_file(part)
    assert set(single.hashes()) == {"file"}
    assert set(whole.hashes()) == {path.parent.name for path in model_of(kind).glob("*/*.safetensors")}


def test_the_hash_of_a_part_follows_its_weights(model_of: Of, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_of("sdxl"), tmp_path / "model"))
    before = found("sdxl", folder).hashes()
    assert before == found("sdxl", model_of("sdxl")).hashes()
    state = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    name = next(iter(state))
    save_file(state | {name: state[name] + 1}, folder / "vae" / "diffusion_pytorch_model.safetensors")
    after = found("sdxl", folder).hashes()
    assert {part for part in before if before[part] != after[part]} == {"vae"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_model_of_another_family_is_told_by_its_name(kind: str, other: str, model_of: Of, file_of: Of) -> None:
    if kind == other:
        return
    assert f"which holds {other}; model.family={kind} accepts" in refusal(kind, file_of(other))
    assert f"a {PIPELINES[other]}; model.family={kind} accepts a {PIPELINES[kind]}" in refusal(kind, model_of(other))
    config = refusal(kind, file_of(kind), config=str(model_of(other)))
    assert config.startswith(f"model.config is '{model_of(other)}', a {PIPELINES[other]}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_a_lora_is_no_base_model(kind: str, layout: str, family_of: Of, tmp_path: Path) -> None:
    family = family_of(kind)
    adapter = stirred(initial_adapter(family, LoraConfig(rank=2, text_encoder=True), 0), 0)
    write_lora(tmp_path / "lora.safetensors", adapter, family, {}, layout=layout)
    assert "which holds a LoRA, no base model" in refusal(kind, tmp_path / "lora.safetensors")


@pytest.mark.parametrize("ending", ["ckpt", "pt", "pth", "bin"])
def test_a_pickle_is_never_opened(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{ending}"
    path.write_bytes(b"\x80\x04.")
    assert "a pickle, which may run code; convert it to .safetensors first" in refusal("sd15", path)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (
            ("cond_stage_model.model.ln_final.weight", "model.diffusion_model.input_blocks.0.0.weight"),
            "Stable Diffusion 2",
        ),
        (("model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight",), "no checkpoint that is known here"),
        (("encoder.conv_in.weight", "decoder.conv_in.weight"), "no checkpoint that is known here"),
        (("down_blocks.0.resnets.0.conv1.weight",), "no checkpoint that is known here"),
    ],
)
def test_a_checkpoint_of_another_kind_is_named(keys: tuple[str, ...], what: str, tmp_path: Path) -> None:
    save_file({key: torch.zeros(2) for key in keys}, tmp_path / "a.safetensors")
    assert f"which holds {what}; model.family=sd15 accepts" in refusal("sd15", tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "sign", ["scaled_fp8", "model.diffusion_model.img_in.scale_weight", "model.diffusion_model.img_in.comfy_quant"]
)
def test_weights_that_mean_nothing_without_their_scales_are_refused(
    sign: str, file_of: Of, model_of: Of, tmp_path: Path
) -> None:
    save_file(load_file(file_of("flux")) | {sign: torch.ones(1)}, tmp_path / "a.safetensors")
    sentence = refusal("flux", tmp_path / "a.safetensors", config=str(model_of("flux")))
    assert "scaled to fp8 or quantised; give the fp16, bf16 or plain fp8 checkpoint" in sentence


@pytest.mark.parametrize("size", [0, 5, 1000, -1000])
def test_a_file_that_was_cut_off_is_named(size: int, file_of: Of, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(file_of("sd15").read_bytes()[:size])
    assert "no readable safetensors file" in refusal("sd15", tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("kind", "part"),
    [(kind, part) for kind in KINDS for part in ("vae", "text_encoder", "text_encoder_2")[: 2 + (kind != "sd15")]],
)
def test_a_part_comes_from_the_config_folder_or_is_named(
    kind: str, part: str, file_of: Of, model_of: Of, tmp_path: Path
) -> None:
    denoiser = "transformer" if kind == "flux" else "unet"
    others = {denoiser, "vae", "text_encoder", "text_encoder_2"} - {part}
    path = write_single_file(kind, model_of(kind), tmp_path / "part.safetensors", parts=tuple(others))
    save_file({key: tensor for key, tensor in load_file(path).items() if key not in BESIDE[kind]}, path)
    sentence = refusal(kind, path)
    assert sentence.endswith(f"which holds no {part}; name a diffusers folder that has one with model.config.")
    source = found(kind, path, config=str(model_of(kind)))
    assert set(source.hashes()) == {"file", part}
    (tmp_path / "some" / part).mkdir(parents=True)
    for file in (model_of(kind) / part).iterdir():  # a folder that has this part alone is enough
        shutil.copy(file, tmp_path / "some" / part)
    partial = found(kind, path, config=str(tmp_path / "some"))
    assert partial.hashes() == source.hashes()
    assert partial.place(part) == tmp_path / "some" / part
    assert partial.place("scheduler") == shipped_configs(kind) / "scheduler"
    assert partial.scheduler()["_class_name"]


def test_the_bare_transformer_that_its_makers_share_is_known(model_of: Of, tmp_path: Path) -> None:
    path = write_single_file("flux", model_of("flux"), tmp_path / "a.safetensors", parts=("transformer",), bare=True)
    assert "which holds no text_encoder;" in refusal("flux", path)
    source = found("flux", path, config=str(model_of("flux")))
    assert len(source.in_file("transformer")) == len(load_file(path))
    assert not source.in_file("vae")


@pytest.mark.parametrize(
    ("keys", "prediction", "rescaled"),
    [((), "epsilon", False), (("v_pred",), "v_prediction", False), (("v_pred", "ztsnr"), "v_prediction", True)],
)
def test_a_file_says_by_a_key_what_it_predicts(
    keys: tuple[str, ...], prediction: str, rescaled: bool, model_of: Of, tmp_path: Path
) -> None:
    extra = {key: torch.zeros(0) for key in keys}
    path = write_single_file("sdxl", model_of("sdxl"), tmp_path / "a.safetensors", extra=extra)
    config = found("sdxl", path, config=str(model_of("sdxl"))).scheduler()
    assert config.get("prediction_type", "epsilon") == prediction
    assert bool(config.get("rescale_betas_zero_snr")) == rescaled


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_without_a_part_is_named(kind: str, model_of: Of, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_of(kind), tmp_path / "model"))
    for part in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        shutil.move(folder / part, tmp_path / "away")
        assert f"a model folder without a {'UNet' if part == 'unet' else part}" in refusal(kind, folder)
        shutil.move(tmp_path / "away", folder / part)
    (folder / "model_index.json").write_text("{")
    assert "model_index.json cannot be read" in refusal(kind, folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "KolorsPipeline"}))
    assert f"a KolorsPipeline; model.family={kind} accepts" in refusal(kind, folder)
    (folder / "model_index.json").unlink()
    assert "which holds no model_index.json" in refusal(kind, folder)


@pytest.mark.parametrize("name", ["nowhere", "no/such/place", "models/a.safetensors/", "../up", "C:/models/a.ckpt"])
def test_a_name_that_is_nothing_says_what_would_be(name: str) -> None:
    assert "a .safetensors checkpoint, a hub id owner/name, or the word portraits" in refusal("sd15", name)


def test_a_hub_id_needs_a_pinned_revision(file_of: Of) -> None:
    assert "if it is a hub id, pin it with model.revision=COMMIT" in refusal("sd15", "org/tiny")
    assert refusal("sd15", file_of("sd15"), config="org/tiny").startswith("model.config is 'org/tiny', which is no")


def in_cache(folder: Path, cache: Path) -> Path:
    """The folder as the hub's cache would hold it."""
    snapshot = cache / "models--org--tiny" / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    return snapshot


@pytest.mark.parametrize("how", ["environment", "model.offline"])
def test_offline_only_the_cache_is_asked(
    how: str, model_of: Of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(model_of("sd15")) as hub:
        online(monkeypatch, hub.address, tmp_path)
        if how == "environment":
            monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        told = {"revision": COMMIT, "offline": how != "environment"}
        assert "not in the hub's cache on this machine; go online once" in refusal("sd15", "org/tiny", **told)
        snapshot = in_cache(model_of("sd15"), tmp_path)
        assert found("sd15", "org/tiny", **told).folder == snapshot
        assert hub.asked == []


def test_a_folder_is_fetched_once_at_its_revision_and_loads(
    model_of: Of, family_of: Of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(model_of("sd15"), tmp_path / "remote"))
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"twice the bytes for nothing")
    (folder / "all.safetensors").write_bytes(b"the same again")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    with served(folder) as hub:
        online(monkeypatch, hub.address, tmp_path / "cache")
        fetched = load_tiny_kind("sd15", Path("org/tiny"), revision="v1")
        assert model_hash(fetched) == model_hash(family_of("sd15"))
        source = found("sd15", "org/tiny", revision=COMMIT)
        names = {path.name for path in source.folder.rglob("*")}
        assert not names & {"all.safetensors", "diffusion_pytorch_model.bin"}
        assert not any("fp16" in name for name in names)
        hub.asked.clear()
        assert found("sd15", "org/tiny", revision=COMMIT) == source
        assert hub.asked == []
    assert found("sd15", "org/tiny", revision=COMMIT) == source  # nobody answers, and nobody need


@pytest.mark.parametrize(
    ("name", "revision", "why"),
    [("tiny", "v9", "Revision Not Found"), ("gone", COMMIT, "Repository Not Found"), ("gated", COMMIT, "gated repo")],
)
def test_what_the_hub_refuses_is_told(
    name: str, revision: str, why: str, model_of: Of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(model_of("sd15")) as hub:
        online(monkeypatch, hub.address, tmp_path)
        sentence = refusal("sd15", f"org/{name}", revision=revision)
    assert f"model.path is 'org/{name}', which the hub does not give out" in sentence
    assert why in sentence


@pytest.mark.parametrize(
    ("name", "why"), [("ill", "does not answer"), ("cut", "broke off"), ("dead", "does not answer")]
)
def test_a_hub_in_trouble_means_try_again(
    name: str, why: str, model_of: Of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(model_of("sd15")) as hub:
        online(monkeypatch, hub.address if name != "dead" else "http://127.0.0.1:9", tmp_path)
        with pytest.raises(TryAgainError, match=rf"The hub {why}.*org/{name}"):
            found("sd15", f"org/{name}", revision=COMMIT)
