import json
from pathlib import Path

import pytest

from lorasweep.data.lora_folder import Progress, find_files, is_lora_folder, place, read_name, read_progress

KOHYA = ["s1lv10-000002", "s1lv10-000004", "s1lv10-000010", "s1lv10"]
KOHYA_STEPS = ["s1lv10-step00000250", "s1lv10-step00001000", "s1lv10-step00010000", "s1lv10"]
AI_TOOLKIT = ["s1lv10_000000250", "s1lv10_000000500", "s1lv10_000001000", "s1lv10"]
ONE_TRAINER = [
    "2026-05-01_12-00-00-save-500-10-0",
    "2026-05-01_12-20-00-save-1000-20-0",
    "2026-05-01_13-00-00-save-10000-200-0",
]
DIFFUSERS = ["checkpoint-500/pytorch_lora_weights", "checkpoint-1000/pytorch_lora_weights", "pytorch_lora_weights"]


def names(words: list[str]) -> list[str]:
    return [f"{word}.safetensors" for word in words]


def folder_of(folder: Path, words: list[str]) -> Path:
    for name in reversed(names(words)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def steps(words: list[str], headers: dict[str, dict[str, str]] | None = None) -> tuple[str, list[int], bool]:
    placed = place({name: (headers or {}).get(name.removesuffix(".safetensors"), {}) for name in names(words)})
    return placed.unit, [file.step for file in placed.files], placed.guessed


@pytest.mark.parametrize("words", [KOHYA, KOHYA_STEPS, AI_TOOLKIT, ONE_TRAINER, DIFFUSERS])
def test_files_come_in_the_order_of_training_and_the_one_without_a_number_last(
    tmp_path: Path, words: list[str]
) -> None:
    assert find_files(folder_of(tmp_path, words)) == names(words)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (KOHYA, ("epoch", [2, 4, 10, 16], True)),
        (KOHYA[:3], ("epoch", [2, 4, 10], False)),
        (KOHYA_STEPS, ("step", [250, 1000, 10000, 19000], True)),
        (AI_TOOLKIT, ("step", [250, 500, 1000, 1500], True)),
        (ONE_TRAINER, ("step", [500, 1000, 10000], False)),
        (DIFFUSERS, ("step", [500, 1000, 1500], True)),
        (["s1lv10-e000010", "s1lv10-e000020"], ("epoch", [10, 20], False)),
        (["epoch-000001", "epoch-000002", "last"], ("epoch", [1, 2, 3], True)),
        (["lora_1", "lora_2", "lora_10"], ("number", [1, 2, 10], False)),
        (["person_2-000004", "person_2"], ("epoch", [4, 8], True)),
        (["anna", "berta", "carla"], ("place", [1, 2, 3], False)),
        (["a-000002", "b-000002", "a", "b"], ("place", [1, 2, 3, 4], False)),
        (["s1lv10"], ("place", [1], False)),
    ],
)
def test_numbers_come_from_names_in_the_trainers_own_unit(words: list[str], found: tuple[str, list[int], bool]) -> None:
    assert steps(words) == found


def test_a_header_is_believed_before_a_name() -> None:
    headers = {word: {"ss_steps": str(100 * n), "ss_epoch": str(n)} for n, word in enumerate(KOHYA, start=1)}
    assert steps(KOHYA, headers) == ("step", [100, 200, 300, 400], False)
    renamed = {word: {"ss_steps": str(7 * n)} for n, word in enumerate(KOHYA_STEPS, start=1)}
    assert steps(KOHYA_STEPS, renamed) == ("step", [7, 14, 21, 28], False)
    placed = place({name: headers[name.removesuffix(".safetensors")] for name in names(KOHYA)})
    assert [file.epoch for file in placed.files] == [1, 2, 3, 4]


def test_the_last_ones_header_tells_how_far_it_came() -> None:
    info = {"training_info": json.dumps({"step": 1100, "epoch": 7})}
    assert steps(AI_TOOLKIT, {"s1lv10": info}) == ("step", [250, 500, 1000, 1100], False)


def test_steps_that_two_files_share_give_way_to_what_tells_them_apart() -> None:
    same = {word: {"ss_steps": "900"} for word in KOHYA}
    assert steps(KOHYA, same)[:2] == ("epoch", [2, 4, 10, 16])


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({}, Progress()),
        ({"ss_steps": "1200", "ss_epoch": "8"}, Progress(step=1200, epoch=8)),
        ({"lorasweep.step": "40", "ss_steps": "39"}, Progress(step=40)),
        ({"training_info": '{"step": 250, "epoch": 3}'}, Progress(step=250, epoch=3)),
        ({"training_info": "[1"}, Progress()),
        ({"training_info": "[1]", "ss_steps": "None", "ss_epoch": "0"}, Progress()),
    ],
)
def test_headers_of_each_trainer(header: dict[str, str], found: Progress) -> None:
    assert read_progress(header) == found


def test_a_name_without_a_number_says_nothing() -> None:
    assert read_name("person-v2.safetensors") == Progress()
    assert read_name("pytorch_lora_weights.safetensors") == Progress()


def test_states_hidden_files_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a-000001", "a-000001-state/model", "samples/x", ".a-000002", "checkpoint-5/optimizer"])
    folder_of(tmp_path, ["checkpoint-5/pytorch_lora_weights"])
    assert find_files(tmp_path) == names(["a-000001", "checkpoint-5/pytorch_lora_weights"])


def test_a_folder_whose_own_name_ends_in_a_number_changes_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "run-12", DIFFUSERS)
    assert find_files(folder) == names(DIFFUSERS)


def test_a_run_of_our_own_and_a_folder_without_files_are_no_lora_folder(tmp_path: Path) -> None:
    assert not is_lora_folder(tmp_path)
    assert not is_lora_folder(tmp_path / "nowhere")
    assert is_lora_folder(folder_of(tmp_path, ["a"]))
    (tmp_path / "journal.jsonl").write_text("")
    assert not is_lora_folder(tmp_path)
