import json
import shlex
from pathlib import Path

import pytest
from PIL import Image

from lorasweep.cli import main
from lorasweep.config.compose import load_run
from lorasweep.errors import UserError
from lorasweep.kohya.dataset_file import OF_DATASETS, OF_SUBSETS, ONLY_OF_SUBSETS
from lorasweep.kohya.importing import import_settings
from lorasweep.kohya.keys import is_known

SCRIPT = {
    "network_module": "networks.lora",
    "network_dim": 32,
    "network_alpha": 16,
    "pretrained_model_name_or_path": "model.safetensors",
    "learning_rate": 1e-4,
    "optimizer_type": "AdamW",
}


def told(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {told(part)}" for key, part in value.items()) + "}"
    return json.dumps(value)


def toml(table):
    return "".join(f"{key} = {told(value)}\n" for key, value in table.items())


def dataset(*parts, **general):
    """The text of a dataset file; a part is its settings and the settings of its folders."""
    text = "[general]\n" + toml(general)
    for settings, subsets in parts:
        text += "[[datasets]]\n" + toml(settings)
        text += "".join("[[datasets.subsets]]\n" + toml(subset) for subset in subsets)
    return text


def imported(tmp_path, text, folder=None, steps=None, **arguments):
    """The import of settings that name a dataset file, its lines, and the run that is composed of the preset."""
    (tmp_path / "data.toml").write_text(text, encoding="utf-8")
    values = {**SCRIPT, "max_train_steps": 800, "dataset_config": "data.toml", **arguments}
    values = {key: value for key, value in values.items() if value is not None}
    (tmp_path / "k.toml").write_text(toml(values), encoding="utf-8")
    return read(tmp_path, "k.toml", folder, steps)


def read(tmp_path, name, folder=None, steps=None, like=None):
    to = tmp_path / "conf" / "preset" / "mine.yaml"
    made = import_settings(tmp_path / name, folder, to=to, steps=steps, like=like, overwrite=True, say=lambda _: None)
    missing = {"model.path": "none", "data.path": "none"}
    run = load_run(["preset=mine"], config_dirs=[tmp_path / "conf"], when_missing=missing)
    return made, {line.key: (line.kind, line.says) for line in made.lines}, run


def draw(folder, count, size):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (number, 0, 0)).save(folder / f"{size[0]}-{number}.png")
    return str(folder)


def test_every_key_that_a_dataset_file_may_hold_has_its_place():
    listed = (Path(__file__).with_name("kohya_keys.txt")).read_text(encoding="utf-8")
    names = listed.split("keys of a dataset file\n")[1].splitlines()
    assert set(names) == OF_DATASETS | OF_SUBSETS | ONLY_OF_SUBSETS
    assert [name for name in names if not is_known(name)] == []


def test_one_folder_keeps_its_repeats_its_words_and_its_size(tmp_path):
    subset = {"image_dir": "photos/hoge", "class_tokens": "hoge girl", "num_repeats": 12, "keep_tokens": 2}
    settings = {"resolution": 768, "batch_size": 4, "enable_bucket": True, "max_bucket_reso": 1536}
    _, lines, run = imported(tmp_path, dataset((settings, [subset]), shuffle_caption=True, caption_extension=".txt"))
    assert (run.data.path, run.data.repeats, run.data.trigger, run.data.class_noun) == (
        "photos/hoge",
        12,
        "hoge",
        "girl",
    )
    assert (run.model.resolution, run.optim.batch_size, run.optim.steps) == (768, 4, 800)
    assert (run.data.buckets, run.data.bucket_max, run.data.upscale) == ("kohya", 1536, True)
    assert (run.data.shuffle_captions, run.data.keep_clauses) == (True, 2)
    assert lines["dataset 1 batch_size"] == ("carried", "optim.batch_size=4")
    assert lines["dataset 1 subset 1 num_repeats"] == ("carried", "data.repeats=12")
    assert lines["general shuffle_caption"] == ("carried", "data.shuffle_captions=true")
    assert lines["dataset_config"] == ("carried", "read: 1 dataset, 1 folder")


def test_a_folder_stands_above_its_dataset_and_that_above_general_and_all_above_the_arguments(tmp_path):
    subset = {"image_dir": "a", "caption_prefix": "of the folder", "flip_aug": False}
    settings = {"caption_prefix": "of the dataset", "caption_dropout_rate": 0.2, "resolution": 640}
    general = {"caption_prefix": "general", "caption_dropout_rate": 0.1, "flip_aug": True, "batch_size": 3}
    arguments = {"train_batch_size": 8, "keep_tokens": 4, "shuffle_caption": True, "train_data_dir": "elsewhere"}
    _, lines, run = imported(tmp_path, dataset((settings, [subset]), **general), **arguments)
    assert (run.data.caption_prefix, run.data.caption_dropout, run.data.flip) == ("of the folder", 0.2, False)
    assert (run.optim.batch_size, run.data.keep_clauses, run.data.path) == (3, 4, "a")
    nearer = ("no effect", "what stands nearer to the pictures counts")
    for key in ("dataset 1 caption_prefix", "general caption_prefix", "general flip_aug", "train_batch_size"):
        assert lines[key] == nearer, key
    assert lines["train_data_dir"] == ("no effect", "not read beside a dataset file")


def test_two_folders_make_as_many_steps_as_sd_scripts(tmp_path):
    first, second = draw(tmp_path / "a", 5, (512, 512)), draw(tmp_path / "b", 4, (640, 512))
    draw(tmp_path / "b", 1, (512, 512))
    subsets = [{"image_dir": first, "num_repeats": 7, "class_tokens": "hoge girl"}]
    subsets += [{"image_dir": second, "num_repeats": 3, "class_tokens": "hoge girl"}]
    text = dataset(({"resolution": 512, "batch_size": 4, "enable_bucket": True}, subsets))
    arguments = {"max_train_steps": None, "max_train_epochs": 3, "train_batch_size": 9}
    _, lines, run = imported(tmp_path, text, **arguments, gradient_accumulation_steps=2)
    # square 35 + 3 pictures: 10 batches of 4; wide 12: 3 batches; 13 / 2 rounded up in each of 3 epochs
    assert (run.optim.steps, run.optim.batch_size) == (21, 4)
    assert lines["max_train_epochs"] == ("carried", "optim.steps=21 (3 epochs, as sd-scripts counts them)")
    assert lines["dataset 1 subset 2 image_dir"][0] == "lost"
    assert "call it '3_hoge girl', in one folder with the others" in lines["dataset 1 subset 2 image_dir"][1]
    assert lines["dataset 1 subset 1 num_repeats"] == ("lost", "stands in the folder's name: '7_hoge girl'")
    one_bucket = text.replace("enable_bucket = true", "enable_bucket = false")
    assert imported(tmp_path, one_bucket, **arguments)[2].optim.steps == 39  # 50 pictures: 13 batches


def test_folders_called_as_kohya_calls_them_are_one_folder_here(tmp_path):
    inner = [draw(tmp_path / "img" / name, 2, (512, 512)) for name in ("7_hoge girl", "3_hoge girl")]
    subsets = [{"image_dir": inner[0], "num_repeats": 7}, {"image_dir": inner[1], "num_repeats": 3}]
    made, lines, run = imported(tmp_path, dataset(({"resolution": 512}, subsets)))
    assert (run.data.path, run.data.repeats, run.data.trigger) == (str(tmp_path / "img"), None, "hoge")
    assert lines["dataset 1 subset 2 num_repeats"] == ("carried", "the folder's name says it")
    assert "lost" not in {line.kind for line in made.lines}
    subsets[1]["num_repeats"] = 4  # sd-scripts does not read the name
    assert imported(tmp_path, dataset(({"resolution": 512}, subsets)))[1]["dataset 1 subset 1 image_dir"][0] == "lost"


def test_another_folder_beside_those_of_the_file_is_not_trained_on_unasked(tmp_path):
    inner = [draw(tmp_path / "img" / name, 2, (512, 512)) for name in ("7_hoge girl", "3_hoge girl", "9_hoge girl")]
    subsets = [{"image_dir": path, "num_repeats": count} for path, count in zip(inner[:2], (7, 3), strict=True)]
    _, lines, _ = imported(tmp_path, dataset(({"resolution": 512}, subsets)))
    assert lines["dataset 1 subset 1 image_dir"][0] == "lost"


def test_a_folder_that_is_named_takes_the_place_of_the_files(tmp_path):
    here = draw(tmp_path / "here", 6, (512, 512))
    subset = {"image_dir": "C:\\gone", "num_repeats": 5, "class_tokens": "hoge"}
    text = dataset(({"resolution": 512, "batch_size": 4}, [subset]))
    epochs = {"max_train_steps": None, "max_train_epochs": 2}
    with pytest.raises(UserError, match=r"not here \(C:\\gone\); name the folder after the settings, or say --steps"):
        imported(tmp_path, text, **epochs)
    _, _, run = imported(tmp_path, text, here, **epochs)
    assert (run.data.path, run.data.repeats, run.optim.steps) == (here, 5, 16)  # 30 pictures: 8 batches
    assert imported(tmp_path, text, steps=70, **epochs)[2].optim.steps == 70


def test_the_folders_that_one_is_told_to_make_count_as_those_of_the_file(tmp_path):
    subsets = [{"image_dir": f"/gone/{name}", "num_repeats": 3 + 4 * (name == "a")} for name in ("a", "b")]
    text = dataset(({"resolution": 512, "batch_size": 4}, subsets), class_tokens="hoge girl")
    for name, count in (("7_hoge girl", 5), ("3_hoge girl", 4)):
        draw(tmp_path / "img" / name, count, (512, 512))
    epochs = {"max_train_steps": None, "max_train_epochs": 1}
    _, lines, run = imported(tmp_path, text, str(tmp_path / "img"), **epochs)
    assert (run.optim.steps, run.data.path, run.data.repeats) == (12, str(tmp_path / "img"), None)  # 47 pictures
    assert lines["general class_tokens"][0] == "near"


def test_regularisation_fills_an_epoch_as_in_sd_scripts(tmp_path):
    subject, others = draw(tmp_path / "a", 4, (512, 512)), draw(tmp_path / "reg", 3, (512, 512))
    subsets = [{"image_dir": subject, "num_repeats": 5}]
    subsets += [{"image_dir": others, "is_reg": True, "class_tokens": "girl", "num_repeats": 2}]
    text = dataset(({"resolution": 512, "batch_size": 3}, subsets))
    arguments = {"max_train_steps": None, "max_train_epochs": 2, "prior_loss_weight": 0.5}
    _, lines, run = imported(tmp_path, text, **arguments)
    assert (run.data.regularisation_path, run.data.regularisation_weight) == (others, 0.5)
    assert (run.data.path, run.data.repeats, run.optim.steps) == (subject, 5, 28)  # 20 + 20 pictures: 14 batches
    assert lines["dataset 1 subset 2 is_reg"] == ("carried", f"data.regularisation_path={others}")
    assert lines["dataset 1 subset 2 num_repeats"][0] == "near"
    assert lines["dataset_config"] == ("carried", "read: 1 dataset, 1 folder, 1 of regularisation")


def test_the_same_folder_at_three_sizes_is_shown_as_often_and_trained_at_the_largest(tmp_path):
    folder = draw(tmp_path / "a", 3, (1100, 1100))
    parts = [({"resolution": side, "batch_size": 2}, [{"image_dir": folder, "num_repeats": 2}]) for side in (512, 768)]
    parts += [({"resolution": [1024, 1024], "batch_size": 1}, [{"image_dir": folder, "num_repeats": 2}] * 2)]
    epochs = {"max_train_steps": None, "max_train_epochs": 1}
    _, lines, run = imported(tmp_path, dataset(*parts), **epochs)
    assert (run.model.resolution, run.optim.batch_size, run.data.repeats) == (1024, 1, 6)
    assert run.optim.steps == 3 + 3 + 6  # a folder that a dataset names twice counts once
    assert lines["dataset 1 resolution"] == ("lost", "a run has one for all pictures: 1024")
    assert lines["dataset 2 batch_size"] == ("lost", "a run has one for all pictures: 1")
    assert lines["dataset 3 resolution"] == ("carried", "model.resolution=1024")


def test_validation_takes_its_share_from_an_epoch(tmp_path):
    folder = draw(tmp_path / "a", 10, (512, 512))
    text = dataset(({"resolution": 512, "validation_split": 0.25}, [{"image_dir": folder}]))
    epochs = {"max_train_steps": None, "max_train_epochs": 1}
    assert imported(tmp_path, text, **epochs)[2].optim.steps == 8  # 7.5 rounded up


def test_folders_that_differ_in_a_setting_of_the_whole_run_are_named(tmp_path):
    subsets = [{"image_dir": "a", "keep_tokens": 2, "flip_aug": True}, {"image_dir": "b", "keep_tokens": 3}]
    subsets += [{"image_dir": "c", "keep_tokens": 2}]
    _, lines, run = imported(tmp_path, dataset(({"resolution": 512}, subsets), flip_aug=False))
    assert (run.data.keep_clauses, run.data.flip) == (2, True)
    assert lines["dataset 1 subset 1 keep_tokens"][0] == "carried"
    assert lines["dataset 1 subset 2 keep_tokens"] == ("lost", "a run has one for all pictures: 2")
    assert lines["dataset 1 subset 3 keep_tokens"] == ("carried", "as dataset 1 subset 1 keep_tokens")
    assert lines["general flip_aug"] == ("lost", "a run has one for all pictures: true")


def test_masks_of_a_folder_are_read_when_the_loss_is_masked(tmp_path):
    subset = {"image_dir": "a", "conditioning_data_dir": "masks"}
    _, _, run = imported(tmp_path, dataset(({}, [subset])), masked_loss=True)
    assert (run.data.masks, run.data.masks_path) == ("files", "masks")
    _, _, run = imported(tmp_path, dataset(({}, [{"image_dir": "a", "alpha_mask": True}])))
    assert run.data.masks == "alpha"


LOST = {
    "keep_tokens_separator": "|||",
    "secondary_separator": ";;;",
    "enable_wildcard": True,
    "color_aug": True,
    "face_crop_aug_range": [1.0, 3.0],
    "random_crop": True,
    "caption_suffix": ", x",
    "token_warmup_min": 2,
    "token_warmup_step": 100,
    "custom_attributes": {"a": 1},
    "caption_dropout_every_n_epochs": 2,
    "caption_tag_dropout_rate": 0.1,
    "caption_separator": ";",
    "network_multiplier": 0.5,
    "caption_extension": ".cap",
}


def test_no_key_of_a_dataset_file_is_dropped_in_silence(tmp_path):
    general = {key: value for key, value in LOST.items() if key != "custom_attributes"}
    subset = {"image_dir": "a", "metadata_file": "m.json", "custom_attributes": LOST["custom_attributes"]}
    text = dataset(({"cache_info": False, "invented": 1, "image_dir": "x"}, [subset]), **general, validation_seed=7)
    made, lines, _ = imported(tmp_path, text)
    lost = {key.rpartition(" ")[2] for key, (kind, _) in lines.items() if kind == "lost"}
    assert lost == {*LOST, "metadata_file", "image_dir"}
    assert lines["dataset 1 image_dir"] == ("lost", "sd-scripts does not take it in this place")
    assert lines["dataset 1 subset 1 image_dir"] == ("carried", "data.path=a")
    assert lines["dataset 1 invented"][0] == "unknown"
    assert lines["general validation_seed"][0] == "no effect"
    keys = [line.key for line in made.lines]
    assert len(keys) == len(set(keys))


def test_every_key_of_a_dataset_file_gets_one_line(tmp_path):
    everything = {name: LOST.get(name, 1) for name in OF_SUBSETS - {"class_tokens", "caption_prefix"}}
    everything |= {"class_tokens": "hoge girl", "caption_prefix": "p", "resize_interpolation": "area"}
    sizes = dict.fromkeys(OF_DATASETS, 1) | {"min_bucket_reso": 256, "max_bucket_reso": 1024, "bucket_reso_steps": 64}
    sizes |= {"resolution": 512, "resize_interpolation": "area", "enable_bucket": True, "validation_split": 0.1}
    subset = {**everything, "image_dir": "a", "is_reg": False, "alpha_mask": True, "conditioning_data_dir": "m"}
    text = dataset(({**sizes, **everything}, [subset]), **sizes, **{k: everything[k] for k in OF_SUBSETS - OF_DATASETS})
    made, lines, _ = imported(tmp_path, text)
    keys = [line.key for line in made.lines]
    assert len(keys) == len(set(keys))
    assert {key for key in lines if key.startswith("general ")} == {
        f"general {name}" for name in OF_DATASETS | OF_SUBSETS
    }
    assert {f"dataset 1 subset 1 {name}" for name in subset} <= set(lines)
    assert "unknown" not in {kind for kind, _ in lines.values()}


def test_several_subjects_are_told_apart(tmp_path):
    subsets = [{"image_dir": "a", "class_tokens": "hoge girl"}, {"image_dir": "b", "class_tokens": "fuga boy"}]
    _, lines, run = imported(tmp_path, dataset(({}, subsets)))
    assert lines["dataset 1 subset 1 class_tokens"] == (
        "lost",
        "a run teaches one subject, not 'fuga', 'hoge'; say data.trigger=WORD",
    )
    assert run.data.trigger == "s1lv10"


def test_words_of_the_file_stand_above_those_of_a_folders_name(tmp_path):
    folder = draw(tmp_path / "5_cat", 2, (64, 64))
    made, _, run = imported(tmp_path, dataset(({}, [{"image_dir": folder, "class_tokens": "hoge girl"}])))
    assert (run.data.trigger, run.data.repeats) == ("hoge", 1)
    words = shlex.split(made.train)
    assert words[2:4] == [folder, "preset=mine"]
    assert "data.trigger='hoge'" in words


def test_a_dataset_file_by_itself_makes_a_preset_of_the_photos_alone(tmp_path, capsys):
    text = dataset(({"resolution": 1024, "batch_size": 2}, [{"image_dir": "a", "num_repeats": 3}]), flip_aug=True)
    (tmp_path / "data.toml").write_text(text)
    made, lines, run = read(tmp_path, "data.toml")
    base = load_run(["preset=person_sdxl"], when_missing={"model.path": "none", "data.path": "none"})
    assert (made.base, made.effective_rate, run.optim.batch_size) == ("person_sdxl", None, 2)
    assert (run.data.path, run.data.repeats, run.data.flip, run.model.resolution) == ("a", 3, True, 1024)
    assert (run.lora, run.optim.lr, run.optim.steps) == (base.lora, base.optim.lr, base.optim.steps)
    assert lines["general flip_aug"] == ("carried", "data.flip=true")
    assert read(tmp_path, "data.toml", steps=90, like="person_flux")[2].optim.steps == 90
    (tmp_path / "data.json").write_text(json.dumps({"datasets": [{"subsets": [{"image_dir": "a"}]}]}))
    assert read(tmp_path, "data.json")[2].data.path == "a"
    assert main(["import", str(tmp_path / "data.toml"), "--to", str(tmp_path / "preset" / "a.yaml")]) == 0
    assert "says nothing of rank, rates and steps; they are those of person_sdxl" in capsys.readouterr().out


def test_the_window_hands_its_fields_on_beside_a_dataset_file(tmp_path):
    (tmp_path / "data.toml").write_text(dataset(({"batch_size": 2, "resolution": 768}, [{"image_dir": "a"}])))
    values = {"LoRA_type": "Standard", "sdxl": True, "unet_lr": 1e-4, "train_batch_size": 5, "max_train_steps": 300}
    values |= {"dataset_config": "data.toml", "max_resolution": "1024,1024", "train_data_dir": "b", "flip_aug": True}
    (tmp_path / "k.json").write_text(json.dumps(values))
    _, lines, run = read(tmp_path, "k.json")
    assert (run.optim.batch_size, run.model.resolution, run.data.path, run.data.flip) == (2, 768, "a", True)
    assert (run.data.buckets, run.optim.steps) == ("kohya", 300)
    assert lines["max_resolution"] == ("no effect", "what stands nearer to the pictures counts")
    assert lines["flip_aug"] == ("carried", "data.flip=true")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("gone.toml", None, "names the dataset file 'gone.toml', which is not here; put it beside k.toml"),
        ("data.yaml", "a: 1", "dataset_config is 'data.yaml'; it must end in .toml or .json"),
        ("data.toml", "a = ", "data.toml is no dataset file; it must be TOML with datasets in it"),
        ("data.toml", "a = 1", "data.toml has no datasets; it must have [[datasets]] and in each of them"),
        ("data.toml", "[[datasets]]\nresolution = 512", "data.toml has no dataset 1 subsets"),
        ("data.toml", "[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2", "subset 1 of"),
        ("data.toml", "general = 1\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'", "it must be a table"),
        (
            "data.toml",
            "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\nnum_repeats = 'x'",
            "dataset 1 subset 1 num_repeats is 'x'; it must be a number",
        ),
        (
            "data.toml",
            "[[datasets]]\nresolution = 'big'\n[[datasets.subsets]]\nimage_dir = 'a'",
            "dataset 1 resolution is 'big'; it must be pixels",
        ),
        (
            "data.json",
            json.dumps({"datasets": [{"resolution": ["a", None], "subsets": [{"image_dir": "a"}]}]}),
            "it must be pixels",
        ),
    ],
)
def test_a_bad_dataset_file_is_refused_in_one_sentence(tmp_path, name, content, sentence, capsys):
    if content is not None:
        (tmp_path / name).write_text(content)
    (tmp_path / "k.toml").write_text(toml({**SCRIPT, "dataset_config": name}))
    assert main(["import", str(tmp_path / "k.toml"), "--to", str(tmp_path / "preset" / "a.yaml")]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1
