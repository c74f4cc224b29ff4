import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lorasweep.cli import main
from lorasweep.config.compose import from_plain, load_run, to_plain
from lorasweep.config.photos import DataConfig
from lorasweep.data.dataset import spread_repeats
from lorasweep.errors import UserError
from lorasweep.kohya.epochs import count_folder
from lorasweep.kohya.files import read_kohya
from lorasweep.kohya.importing import import_settings

LIST = Path(__file__).with_name("kohya_keys.txt")

# What the window holds for a portrait on SDXL; every other key of the tab is empty, zero or off.
PORTRAIT = {
    "LoRA_type": "Standard",
    "LyCORIS_preset": "full",
    "bucket_no_upscale": True,
    "bucket_reso_steps": 64,
    "cache_latents": True,
    "cache_latents_to_disk": True,
    "caption_extension": ".txt",
    "clip_skip": "1",
    "conv_alpha": 1,
    "conv_dim": 1,
    "discrete_flow_shift": 3,
    "enable_bucket": True,
    "epoch": 10,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": True,
    "guidance_scale": 3.5,
    "huggingface_token": "hf_secret",
    "keep_tokens": "0",
    "learning_rate": "0.0001",
    "loss_type": "l2",
    "lr_scheduler": "cosine",
    "lr_scheduler_num_cycles": "",
    "lr_scheduler_power": "",
    "lr_warmup": 10,
    "max_bucket_reso": 2048,
    "max_grad_norm": 1,
    "max_resolution": "1024,1024",
    "max_timestep": 1000,
    "max_token_length": "75",
    "max_train_epochs": "",
    "max_train_steps": 1500,
    "min_bucket_reso": 256,
    "mixed_precision": "bf16",
    "model_prediction_type": "sigma_scaled",
    "network_alpha": 46,
    "network_dim": 92,
    "noise_offset": 0.0357,
    "noise_offset_type": "Original",
    "optimizer": "AdamW8bit",
    "output_name": "khls v1.0",
    "pretrained_model_name_or_path": "C:/models/sd xl.safetensors",
    "prior_loss_weight": 1.0,
    "sdxl": True,
    "seed": "12345",
    "text_encoder_lr": 1e-5,
    "timestep_sampling": "sigma",
    "train_batch_size": 1,
    "train_blocks": "all",
    "train_data_dir": "C:\\photos\\khls woman",
    "unet_lr": 0.0001,
    "xformers": "xformers",
}
SCRIPT = {
    "network_module": "networks.lora",
    "network_dim": 32,
    "network_alpha": 16,
    "pretrained_model_name_or_path": "model.safetensors",
    "learning_rate": 1e-4,
    "max_train_steps": 800,
    "resolution": "512",
    "optimizer_type": "AdamW",
}


def tab():
    """All keys of the LoRA tab."""
    first = LIST.read_text(encoding="utf-8").split("# ")[1]
    return dict.fromkeys(first.splitlines()[1:], "")


def imported(tmp_path, values, name="k.json", folder=None, **options):
    """The import of settings."""
    file = tmp_path / name
    file.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    to = tmp_path / "conf" / "preset" / "mine.yaml"
    return import_settings(file, folder, to=to, overwrite=True, say=lambda _: None, **options)


def made_from(tmp_path, values, name="k.json", folder=None, **options):
    """The import of settings, and the run that is composed of the preset."""
    made = imported(tmp_path, values, name, folder, **options)
    missing = {"model.path": "none", "data.path": "none"}
    return made, load_run(["preset=mine"], config_dirs=[tmp_path / "conf"], when_missing=missing)


def gui(tmp_path, **changes):
    return made_from(tmp_path, {**tab(), **PORTRAIT, **changes})


def toml(values):
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def script(tmp_path, **changes):
    values = {key: value for key, value in {**SCRIPT, **changes}.items() if value is not None}
    return made_from(tmp_path, toml(values), "k.toml")


def lines_of(made):
    return {line.key: (line.kind, line.says) for line in made.lines}


def draw(folder, count, size, ending=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    start = len(list(folder.iterdir()))
    for number in range(start, start + count):
        Image.new("RGB", size, (number, 0, 0)).save(folder / f"{number}{ending}")


def test_every_key_of_the_lora_tab_gets_one_line(tmp_path):
    made = imported(tmp_path, {**tab(), **PORTRAIT})
    keys = [line.key for line in made.lines]
    assert len(keys) == len(set(keys))
    assert set(tab()) <= set(keys)
    assert {line.kind for line in made.lines} == {"carried", "off", "no effect"}
    assert [line.key for line in made.lines if line.kind in ("unknown", "lost")] == []


def test_a_portrait_on_sdxl_keeps_its_numbers(tmp_path):
    made, run = gui(tmp_path)
    assert (run.model.family, run.model.path, run.model.resolution) == ("sdxl", "C:/models/sd xl.safetensors", 1024)
    assert run.data.path == "C:\\photos\\khls woman"
    assert (run.lora.rank, run.lora.alpha, run.lora.targets, run.lora.text_encoder) == (92, 46.0, "linear", True)
    assert (run.optim.name, run.optim.lr, run.optim.text_encoder_lr) == ("adamw8bit", 1e-4, 1e-5)
    assert (run.optim.steps, run.optim.warmup_steps, run.optim.schedule) == (1500, 150, "cosine")
    assert (run.optim.noise_offset, run.optim.min_snr_gamma, run.seed) == (0.0357, None, 12345)
    assert (run.data.buckets, run.data.upscale, run.data.bucket_step) == ("kohya", False, 64)
    assert (run.data.caption_dropout, run.hardware.precision, run.hardware.cache) == (0.0, "bf16", "disk")
    assert made.effective_rate == 1e-4 * 46 / 92


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sdxl": False, "max_resolution": "512,650", "clip_skip": 2, "text_encoder_lr": "5e-05", "network_alpha": 64},
        {"optimizer": "Prodigy", "learning_rate": 1, "unet_lr": 1, "text_encoder_lr": 1, "lr_warmup": 0},
        {"optimizer": "Adafactor", "optimizer_args": "scale_parameter=False relative_step=False warmup_init=False"},
        {"LoRA_type": "Flux1", "sdxl": False, "flux1_checkbox": True, "text_encoder_lr": 0, "unet_lr": 3e-4},
        {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": "3", "min_snr_gamma": 5, "flip_aug": True},
    ],
)
def test_what_is_imported_is_logged_and_comes_back_with_the_same_numbers(tmp_path, changes):
    made, run = gui(tmp_path, **changes)
    back = from_plain(json.loads(json.dumps(to_plain(run))))
    assert back == run
    assert back.optim.lr == float(changes.get("unet_lr", 1e-4))
    assert made.effective_rate == back.optim.lr * back.lora.alpha / back.lora.rank


def test_the_same_settings_as_json_toml_and_command_line_make_the_same_run(tmp_path):
    _, from_gui = gui(tmp_path, text_encoder_lr=0)
    told = {
        "network_module": "networks.lora",
        "network_dim": 92,
        "network_alpha": 46,
        "pretrained_model_name_or_path": PORTRAIT["pretrained_model_name_or_path"],
        "train_data_dir": PORTRAIT["train_data_dir"],
        "resolution": "1024,1024",
        "unet_lr": 1e-4,
        "network_train_unet_only": True,
        "optimizer_type": "AdamW8bit",
        "lr_scheduler": "cosine",
        "lr_warmup_steps": 0.1,
        "max_train_steps": 1500,
        "noise_offset": 0.0357,
        "seed": 12345,
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "cache_latents_to_disk": True,
        "enable_bucket": True,
        "bucket_no_upscale": True,
        "max_bucket_reso": 2048,
        "train_batch_size": 1,
    }
    _, from_toml = made_from(
        tmp_path, toml({"sdxl_arguments": None}).replace("sdxl_arguments = null\n", "") + toml(told), "k.toml"
    )
    words = [f"--{key}" if value is True else f'--{key}="{value}"' for key, value in told.items()]
    command = "accelerate launch --num_processes 1 sdxl_train_network.py ^\r\n  " + " ^\r\n  ".join(words) + "\r\n"
    _, from_command = made_from(tmp_path, command, "train.bat")
    assert from_toml == from_gui
    assert from_command == from_gui


def test_a_command_of_many_lines_is_read_as_its_shell_would(tmp_path):
    text = """#!/bin/bash
# pip install things --quiet
cd sd-scripts
accelerate launch --num_cpu_threads_per_process 1 "./flux_train_network.py" \\
  --pretrained_model_name_or_path "/models/flux 1/dev.safetensors" --network_module=networks.lora_flux \\
  --network_dim 16 --network_alpha 16 --learning_rate 1e-4 --text_encoder_lr 0 --max_train_steps 1000 \\
  --optimizer_type adamw8bit --optimizer_args weight_decay=0.05 betas=0.9,0.99 \\
  --timestep_sampling flux_shift --model_prediction_type raw --guidance_scale 1.0 --resolution 768
"""
    made, run = made_from(tmp_path, text, "train.sh")
    assert (run.model.family, run.model.path) == ("flux", "/models/flux 1/dev.safetensors")
    assert (run.optim.timesteps, run.optim.guidance, run.model.resolution) == ("resolution_shift", 1.0, 768)
    assert (run.optim.weight_decay, run.optim.betas, run.lora.text_encoder) == (0.05, [0.9, 0.99], False)
    assert "lost" not in {line.kind for line in made.lines}


def test_a_command_counts_above_the_config_file_that_it_names(tmp_path):
    (tmp_path / "settings.toml").write_text("[network]\n" + toml(SCRIPT))
    command = "python train_network.py --config_file settings.toml --network_alpha 8"
    _, run = made_from(tmp_path, command, "train.sh")
    assert (run.lora.rank, run.lora.alpha, run.optim.steps) == (32, 8.0, 800)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"learning_rate": 3e-4, "unet_lr": 1e-4, "text_encoder_lr": 5e-5}, (1e-4, True, 5e-5)),
        ({"learning_rate": 3e-4, "unet_lr": "0.0001", "text_encoder_lr": "0"}, (1e-4, False, None)),
        ({"learning_rate": 3e-4, "unet_lr": 0, "text_encoder_lr": 0}, (3e-4, True, 3e-4)),
        ({"learning_rate": "3e-4", "unet_lr": "", "text_encoder_lr": ""}, (3e-4, True, 3e-4)),
    ],
)
def test_the_window_lets_a_rate_of_zero_leave_a_part_out_or_both_learn_alike(tmp_path, rates, expected):
    _, run = gui(tmp_path, **rates)
    assert (run.optim.lr, run.lora.text_encoder, run.optim.text_encoder_lr) == expected


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, (1e-4, True, 1e-4)),
        ({"unet_lr": 2e-4}, (2e-4, True, 1e-4)),
        ({"unet_lr": 2e-4, "text_encoder_lr": [5e-5, 1e-5]}, (2e-4, True, 5e-5)),
        ({"text_encoder_lr": 0}, (1e-4, False, None)),
        ({"text_encoder_lr": 5e-5, "network_train_unet_only": True}, (1e-4, False, None)),
        ({"learning_rate": None}, (2e-6, True, 2e-6)),
    ],
)
def test_sd_scripts_put_unet_lr_above_learning_rate_and_train_the_text_encoder_unless_told(tmp_path, rates, expected):
    _, run = script(tmp_path, **rates)
    assert (run.optim.lr, run.lora.text_encoder, run.optim.text_encoder_lr) == expected


def test_alpha_is_one_where_nothing_says_it_and_the_rank_only_where_sd_scripts_are_told_zero(tmp_path):
    assert script(tmp_path, network_alpha=None)[1].lora.alpha == 1
    assert script(tmp_path, network_alpha=0)[1].lora.alpha == 32
    assert gui(tmp_path, network_alpha=0)[1].lora.alpha == 1  # the window hands no zero on
    bare = {key: value for key, value in PORTRAIT.items() if not key.startswith("network_")}
    run = made_from(tmp_path, {**bare, "LoRA_type": "Standard"})[1]
    assert (run.lora.rank, run.lora.alpha) == (8, 1)


def test_a_gradient_bound_of_zero_is_none_for_sd_scripts_and_its_default_from_the_window(tmp_path):
    assert script(tmp_path, max_grad_norm=0)[1].optim.max_grad_norm == 0
    assert gui(tmp_path, max_grad_norm=0)[1].optim.max_grad_norm == 1


@pytest.mark.parametrize(
    ("told", "steps"),
    [({"lr_warmup_steps": 0.1}, 80), ({"lr_warmup_steps": 100}, 100), ({"lr_warmup_steps": "5%"}, 40), ({}, 0)],
)
def test_a_warm_up_is_a_number_of_steps_or_a_share_of_them(tmp_path, told, steps):
    assert script(tmp_path, lr_scheduler="cosine", **told)[1].optim.warmup_steps == steps


def test_steps_of_the_window_stand_above_percents(tmp_path):
    assert gui(tmp_path, lr_warmup=10, lr_warmup_steps=33.0)[1].optim.warmup_steps == 33
    assert gui(tmp_path, lr_warmup="7")[1].optim.warmup_steps == 105


def test_the_window_divides_all_pictures_and_rounds_up_once(tmp_path):
    draw(tmp_path / "img" / "7_ohwx man", 5, (512, 512))
    draw(tmp_path / "img" / "7_ohwx man", 4, (640, 512))
    draw(tmp_path / "img" / "7_ohwx man", 1, (512, 512), ".bmp")  # sd-scripts reads it, the window does not count it
    draw(tmp_path / "img" / "notes", 3, (64, 64))
    told = {"train_data_dir": str(tmp_path / "img"), "max_train_steps": "", "epoch": 3}
    told |= {"train_batch_size": 4, "gradient_accumulation_steps": 3, "max_resolution": "512"}
    made, run = gui(tmp_path, **told)
    assert run.optim.steps == 16  # 63 / 4 / 3 * 3 = 15.75
    assert lines_of(made)["epoch"] == ("carried", "optim.steps=16 (3 epochs, as the GUI counts them)")


def test_epochs_of_sd_scripts_have_whole_batches_of_every_bucket(tmp_path):
    draw(tmp_path / "img" / "7_ohwx man", 5, (512, 512))
    draw(tmp_path / "img" / "7_ohwx man", 4, (640, 512))
    told = {"train_data_dir": str(tmp_path / "img"), "max_train_epochs": 3, "max_resolution": "512,512"}
    told |= {
        "train_batch_size": 4,
        "gradient_accumulation_steps": 3,
        "save_every_n_epochs": 1,
        "bucket_no_upscale": False,
    }
    made, run = gui(tmp_path, **told)
    # 35 and 28 pictures: 9 + 7 batches, 16 / 3 rounded up in each of 3 epochs
    assert run.optim.steps == 18
    assert (run.data.trigger, run.data.class_noun) == ("ohwx", "man")
    assert lines_of(made)["save_every_n_epochs"][1].startswith("12 checkpoints are spread evenly: 3 would be too few")
    many = gui(tmp_path, **{**told, "max_train_epochs": 10})[1]
    assert (many.optim.steps, many.save.every_steps) == (60, 6)
    square = gui(tmp_path, **{**told, "enable_bucket": False})[1]
    assert square.optim.steps == 18  # one bucket: 63 pictures, 16 batches
    assert square.data.buckets == "square"


def test_regularisation_pictures_double_the_windows_steps_and_fill_sd_scripts_epochs(tmp_path):
    draw(tmp_path / "img" / "5_ohwx man", 4, (512, 512))
    draw(tmp_path / "reg" / "1_man", 3, (512, 512))
    told = {"train_data_dir": str(tmp_path / "img"), "reg_data_dir": str(tmp_path / "reg"), "prior_loss_weight": 0.5}
    _, run = gui(tmp_path, **told, max_train_steps=0, epoch=2, max_resolution="512,512")
    assert run.optim.steps == 80  # 20 pictures * 2 epochs * 2
    assert (run.data.regularisation_path, run.data.regularisation_weight) == (str(tmp_path / "reg"), 0.5)
    _, counted = gui(tmp_path, **told, max_train_epochs=2, train_batch_size=3, max_resolution="512,512")
    assert counted.optim.steps == 28  # 20 + 20 pictures: 14 batches of 3


@pytest.mark.parametrize(
    ("repeats", "total", "expected"),
    [((1, 1, 1), 20, (7, 7, 6)), ((10, 10, 10), 15, (10, 10, 0)), ((2, 2), 4, (2, 2)), ((), 4, ())],
)
def test_regularisation_pictures_are_repeated_as_sd_scripts_do(repeats, total, expected):
    assert spread_repeats(repeats, total, passing=True) == expected


def test_pictures_turned_by_their_camera_are_counted_as_they_lie_in_the_file(tmp_path):
    folder = tmp_path / "img" / "1_ohwx"
    draw(folder, 2, (768, 512), ".jpg")
    turned = Image.new("RGB", (768, 512))
    exif = turned.getexif()
    exif[274] = 6
    turned.save(folder / "9.jpg", exif=exif)
    counts = count_folder(DataConfig(path=str(tmp_path / "img"), buckets="kohya"), 512, batch=3)
    assert (counts.pictures, counts.batches) == (3, 1)


def test_epochs_without_the_photos_are_asked_for_in_one_sentence(tmp_path):
    sentence = "epoch is 10, and how many steps that is depends on the photos, which are not here (C:"
    with pytest.raises(UserError, match="--steps N") as raised:
        gui(tmp_path, max_train_steps=0)
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)
    _, run = made_from(tmp_path, {**PORTRAIT, "max_train_steps": 0}, steps=700)
    assert run.optim.steps == 700
    draw(tmp_path / "here" / "3_ohwx man", 4, (300, 300))
    _, counted = made_from(tmp_path, {**PORTRAIT, "max_train_steps": 0}, folder=tmp_path / "here")
    assert (counted.optim.steps, counted.data.path) == (120, str(tmp_path / "here"))


@pytest.mark.parametrize(
    ("changes", "key", "kind", "says"),
    [
        ({"LoRA_type": "LyCORIS/LoHa"}, "LoRA_type", "lost", "loha is not trained here; a plain LoRA"),
        ({"LoRA_type": "LyCORIS/LoCon", "conv_dim": 92, "conv_alpha": 46}, "LoRA_type", "near", "lora.targets=convol"),
        ({"LoRA_type": "Kohya LoCon", "conv_dim": 92, "conv_alpha": 46}, "conv_dim", "carried", "lora.targets=convol"),
        (
            {"LoRA_type": "Kohya LoCon", "conv_dim": 8},
            "conv_dim",
            "near",
            "lora.targets=convolution: convolutions have",
        ),
        ({"optimizer": "Lion"}, "optimizer", "lost", "Lion is not here"),
        (
            {"optimizer_args": "weight_decay=0.1 d_coef=2"},
            "optimizer_args",
            "near",
            "optim.weight_decay=0.1; left out: d_",
        ),
        (
            {"optimizer": "DAdaptAdam", "unet_lr": 1, "text_encoder_lr": 1},
            "optimizer",
            "near",
            "optim.name=prodigy: DAdap",
        ),
        (
            {"optimizer": "Prodigy", "unet_lr": 1, "text_encoder_lr": 1},
            "optimizer",
            "near",
            "optim.name=prodigy: here al",
        ),
        ({"save_every_n_epochs": 1}, "save_every_n_epochs", "near", "12 checkpoints are spread evenly"),
        ({"lr_scheduler": "inverse_sqrt"}, "lr_scheduler", "lost", "inverse_sqrt is not here"),
        ({"lr_scheduler": "polynomial", "lr_scheduler_power": "1"}, "lr_scheduler", "near", "optim.schedule=linear"),
        ({"scale_weight_norms": 1}, "scale_weight_norms", "lost", "weights are not rescaled"),
        ({"caption_extension": ".cap"}, "caption_extension", "lost", "captions must end in .txt or .caption"),
        ({"shuffle_caption": True}, "keep_tokens", "near", "data.keep_clauses=1: the trigger stays in front"),
        ({"masked_loss": True}, "masked_loss", "no effect", "without alpha_mask"),
        ({"max_token_length": 225}, "max_token_length", "lost", "captions are read up to 75 tokens"),
        ({"num_processes": 2}, "num_processes", "lost", "one process trains"),
        ({"vae": "v.safetensors"}, "vae", "lost", "name a diffusers folder"),
        ({"block_dims": "1,2"}, "block_dims", "lost", "rates and ranks by block"),
        ({"network_dropout": 0.1}, "network_dropout", "near", "lora.dropout=0.1"),
        ({"invented": 3}, "invented", "unknown", "no setting of Kohya's"),
        ({"noise_offset_type": "Multires"}, "noise_offset", "no effect", "read with noise_offset_type=Orig"),
        ({"clip_skip": 2}, "clip_skip", "no effect", "sd-scripts does not use it for SDXL"),
        ({"clip_skip": 2, "sdxl": False}, "clip_skip", "carried", "sample.clip_skip=1"),
        ({"additional_parameters": "--zero_terminal_snr"}, "additional_parameters --zero_terminal_snr", "", ""),
    ],
)
def test_what_became_of_a_key_is_said(tmp_path, changes, key, kind, says):
    made = imported(tmp_path, {**tab(), **PORTRAIT, **changes})
    key, kind = key.replace("--", ""), kind or "carried"
    assert lines_of(made)[key][0] == kind
    assert lines_of(made)[key][1].startswith(says)


def test_v_prediction_from_additional_parameters_reaches_the_run(tmp_path):
    _, run = gui(tmp_path, v_parameterization=True, additional_parameters='--zero_terminal_snr --min_snr_gamma "5"')
    assert (run.model.prediction, run.model.zero_terminal_snr, run.optim.min_snr_gamma) == ("v_prediction", True, 5.0)


def test_masks_are_read_where_sd_scripts_read_them(tmp_path):
    assert script(tmp_path, alpha_mask=True)[1].data.masks == "alpha"
    _, run = script(tmp_path, masked_loss=True, conditioning_data_dir="masks")
    assert (run.data.masks, run.data.masks_path) == ("files", "masks")


def test_flux_takes_no_noise_offset_and_no_min_snr_since_sd_scripts_take_none(tmp_path):
    flux = {"LoRA_type": "Flux1", "sdxl": False, "flux1_checkbox": True, "text_encoder_lr": 0, "min_snr_gamma": 7}
    made, run = gui(tmp_path, **flux, timestep_sampling="sigmoid", model_prediction_type="raw", guidance_scale=1)
    assert (run.optim.noise_offset, run.optim.min_snr_gamma) == (0.0, None)
    assert lines_of(made)["min_snr_gamma"] == ("no effect", "sd-scripts does not use it for FLUX")
    assert (run.optim.timesteps, run.optim.guidance, run.model.prediction) == ("sigmoid", 1.0, "auto")
    made, run = gui(tmp_path, **flux)
    assert (run.optim.timesteps, run.optim.timestep_shift, run.optim.guidance) == ("shift", 3.0, 3.5)
    assert lines_of(made)["timestep_sampling"][0] == "near"
    assert lines_of(made)["model_prediction_type"][0] == "lost"


def test_sample_prompts_are_drawn_beside_the_sheet_and_do_not_sway_the_pick(tmp_path):
    draw(tmp_path / "img" / "10_ohwx man", 2, (64, 64))
    text = (
        "# a note\nphoto of ohwx man --n blurry, ohwx --w 832 --h 1216 --d 42 --l 7 --s 20\n\na {red|blue} hat\nplain\n"
    )
    made, run = gui(tmp_path, train_data_dir=str(tmp_path / "img"), sample_prompts=text)
    sheet = run.sample.prompts
    assert [key for key in sheet if key.startswith("q")] == ["q1_kohya", "q2_kohya"]
    first = sheet["q1_kohya"]
    assert (first.text, first.negative) == ("photo of {trigger} man", "blurry, {trigger}")
    assert (first.face, first.photo, first.subject) == (False, False, True)
    assert len(sheet) == 11
    said = lines_of(made)
    assert said["sample_prompts"] == ("carried", "sample.prompts.q1_kohya to q2_kohya, drawn beside the sheet")
    assert said["sample_prompts …"][1].startswith("1 of 3 left out")
    assert said["sample_prompts --w"] == ("lost", "the sheet is drawn in one way; sample.width is how")
    assert run.sample.seeds == [0]


def test_a_file_of_prompts_is_read_where_sd_scripts_name_one(tmp_path):
    (tmp_path / "prompts.toml").write_text('[prompt]\nwidth = 512\n[[prompt.subset]]\nprompt = "a hat"\n')
    _, run = script(tmp_path, sample_prompts="prompts.toml")
    assert run.sample.prompts["q1_kohya"].text == "a hat"
    assert lines_of(script(tmp_path, sample_prompts="gone.txt")[0])["sample_prompts"] == (
        "lost",
        "the file is not here",
    )


SIGNS = st.sampled_from([*" ,='\"\\$()[]:#~+%*?{}\tä…☃", "${x}", "\\${x}", "\\\\", "C:\\", "🙂", "\u2028", "\x85"])
PATHS = st.lists(SIGNS | st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1).map("".join)
PATHS = PATHS.map(str.strip).filter(lambda text: text not in ("", "???"))


@given(PATHS)
@settings(max_examples=12, deadline=None)
def test_any_path_is_data(tmp_path_factory, path):
    folder = tmp_path_factory.mktemp("paths")
    told = {"pretrained_model_name_or_path": path, "network_weights": path, "train_data_dir": path}
    _, run = made_from(folder, {**PORTRAIT, **told})
    assert (run.model.path, run.lora.init, run.data.path) == (path, path, path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("k.json", "{", "is not JSON (line 1"),
        ("k.json", "[1]", "holds a list; it must be settings by name"),
        ("k.json", '{"learning_rate_te": 1, "epoch": 1}', "holds no settings of a LoRA"),
        ("k.toml", "a = ", "is neither JSON nor TOML nor a command line"),
        ("k.sh", "accelerate launch train_db.py --network_dim 4", "calls train_db.py; it must call train_network.py"),
        ("k.sh", "train_network.py --network_dim 4\ntrain_network.py --network_dim 8", "holds 2 commands"),
        ("k.sh", "train_network.py --network_dim '4", "cannot be split into words"),
        ("k.sh", "train_network.py --network_dim 4 8", "--network_dim with the values '4 8'; it takes one"),
        ("k.sh", "train_network.py --config_file gone.toml", "names the config file 'gone.toml', which is not here"),
        ("k.json", "\0\0", "is no text of settings"),
        ("k.json", json.dumps({**PORTRAIT, "v2": True}), "v2 is True: Stable Diffusion 2; the base must be"),
        ("k.json", json.dumps({**PORTRAIT, "anima_checkbox": True}), "anima_checkbox is True: Anima"),
        ("k.json", json.dumps({**PORTRAIT, "network_dim": "many"}), "network_dim is 'many'; it must be a number"),
        ("k.json", json.dumps({**PORTRAIT, "network_dim": 8.5}), "network_dim is 8.5; it must be a whole number"),
        ("k.json", json.dumps({**PORTRAIT, "max_resolution": "big"}), "max_resolution is 'big'; it must be pixels"),
        ("k.json", json.dumps({**PORTRAIT, "unet_lr": 0}), "unet_lr trains the text encoder alone"),
        ("k.json", json.dumps({**PORTRAIT, "optimizer": "Prodigy"}), "optim.lr is 0.0001; with optim.name=prodigy"),
        ("k.toml", toml({**SCRIPT, "lr_warmup_steps": 100.0}), "lr_warmup_steps is 100.0, which sd-scripts reads as a"),
        ("k.json", json.dumps({**PORTRAIT, "pretrained_model_name_or_path": "???"}), "the text '???' means a missing"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(tmp_path, name, content, sentence, capsys):
    (tmp_path / name).write_text(content)
    assert main(["import", str(tmp_path / name), "--to", str(tmp_path / "preset" / "a.yaml")]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "preset").exists()


def test_settings_cannot_name_code_or_read_the_environment(tmp_path):
    _, run = gui(tmp_path, _target_="os.system", pretrained_model_name_or_path="${oc.env:HOME}", output_name="${x}")
    assert run.model.path == "${oc.env:HOME}"
    assert "_target_" not in (tmp_path / "conf" / "preset" / "mine.yaml").read_text()


def test_a_preset_is_never_overwritten_unasked_and_lies_where_it_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LORASWEEP_CONF", raising=False)
    Path("k.json").write_text(json.dumps(PORTRAIT))
    assert main(["import", "k.json"]) == 0
    written = Path("presets/preset/khls-v1-0.yaml")
    before = written.read_text()
    capsys.readouterr()
    assert main(["import", "k.json"]) == 2
    assert "is already there; name another with --to, or say --overwrite" in capsys.readouterr().err
    assert main(["import", "k.json", "--overwrite", "--steps", "70"]) == 0
    assert written.read_text() != before
    assert main(["import", "k.json", "--to", "mine.yaml"]) == 2
    assert "say --to preset/mine.yaml" in capsys.readouterr().err
    assert main(["import", "k.json", "--like", "person_flux"]) == 2
    assert "--like is 'person_flux', made for flux, but k.json trains sdxl" in capsys.readouterr().err
    assert main(["import", "k.json", "--like", "character_pony", "--to", "preset/pony.yaml"]) == 0
    assert load_run(["preset=pony"], config_dirs=["."]).sample.prefix.startswith("score_9")


def test_the_last_line_is_the_command_that_trains_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LORASWEEP_CONF", raising=False)
    draw(tmp_path / "my photos" / "10_ohwx man", 2, (64, 64))
    Path("k.json").write_text(json.dumps({**PORTRAIT, "train_data_dir": "my photos"}))
    assert main(["import", "k.json"]) == 0
    said = capsys.readouterr().out
    assert "hf_secret" not in said
    words = shlex.split(said.splitlines()[-1].removeprefix("train with it:"))
    assert words == ["lorasweep", "train", "my photos", "preset=khls-v1-0", "--config-dir", "presets"]
    assert main([*words[1:], "--cfg", "job"]) == 0
    assert "steps: 1500" in capsys.readouterr().out


def test_as_json_every_key_has_its_line_and_no_secret_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("k.json").write_text(json.dumps({**tab(), **PORTRAIT}))
    assert main(["import", "k.json", "--json", "--to", "preset/a.yaml"]) == 0
    told = capsys.readouterr().out
    made = json.loads(told)
    assert "hf_secret" not in told + Path("preset/a.yaml").read_text()
    assert set(tab()) <= {line["key"] for line in made["lines"]}
    assert made["effective_rate"] == 5e-5


def test_a_guessed_family_is_said(tmp_path):
    made, run = script(tmp_path, resolution="1024,1024")
    assert run.model.family == "sdxl"
    assert "guessed" in lines_of(made)["(script)"][1]
    assert read_kohya(tmp_path / "k.toml").script is None
