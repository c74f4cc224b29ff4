import json

import pytest
from PIL import Image

from lorasweep import cli
from lorasweep.commands.photos import folder_words
from lorasweep.kohya.importing import import_settings


@pytest.fixture
def asuna(tmp_path):
    folder = tmp_path / "10_asuna girl"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    return folder


def noun(folder, *overrides, **more):
    words = folder_words(folder, overrides, **more)
    return next((word.partition("=")[2].strip("'") for word in words if word.startswith("data.class_noun=")), None)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("character_pony", "1girl"), ("person_sdxl", "girl"), ("character_flux", "girl")],
)
def test_a_folder_called_girl_keeps_the_tag_of_presets_that_tag(asuna, preset, expected):
    assert noun(asuna, f"preset={preset}") == expected


def test_what_the_user_says_of_the_class_is_left_alone(asuna):
    assert noun(asuna, "preset=character_pony", "data.class_noun=girl") is None


def test_words_that_do_not_compose_by_themselves_are_none_of_its_business(asuna):
    assert noun(asuna) == "girl"
    assert noun(asuna, "preset=nonsense") == "girl"
    assert noun(asuna, "preset=character_pony,person_sdxl", "-m") == "girl"


@pytest.mark.parametrize("flag", [["--config-dir", "{}"], ["--config-dir={}"]])
def test_a_preset_of_the_users_own_is_found_where_the_command_line_says(asuna, tmp_path, flag):
    own = tmp_path / "own" / "preset" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\ndefaults:\n  - character_pony\n  - _self_\npreset: mine\n")
    assert noun(asuna, "preset=mine", *(word.format(tmp_path / "own") for word in flag)) == "1girl"
    assert noun(asuna, "preset=mine", config_dirs=[tmp_path / "own"]) == "1girl"


def test_the_sheet_of_a_drawn_character_asks_for_its_tag(asuna, capsys):
    assert cli.main(["train", str(asuna), "preset=character_pony", "model.path=x", "--cfg", "job"]) == 0
    said = capsys.readouterr().out
    assert "class_noun: 1girl" in said
    assert "trigger: asuna" in said


def test_an_imported_preset_of_a_drawn_character_keeps_the_tag(asuna, tmp_path):
    values = {"LoRA_type": "Standard", "sdxl": True, "unet_lr": 1e-4, "max_train_steps": 90}
    (tmp_path / "k.json").write_text(json.dumps({**values, "train_data_dir": str(asuna)}))
    to = tmp_path / "preset" / "a.yaml"
    made = import_settings(tmp_path / "k.json", to=to, like="character_pony", say=lambda _: None)
    assert 'class_noun: "1girl"' in to.read_text()
    assert "data.class_noun" not in made.train
