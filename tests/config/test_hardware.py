"""``hardware=auto`` takes the settings that are meant for the card of this machine; what the user says wins."""

import sys
from types import SimpleNamespace

import pytest
import yaml

from lorasweep.config import compose
from lorasweep.config.card import LEAST, SMALLEST, Card, find_card, group_for, precision_for
from lorasweep.config.compose import conf_dir, from_plain, hydra_entry, load_run, to_plain
from lorasweep.errors import UserError

WORDS = ["preset=person_sd15", "data.path=photos", "model.path=base"]
CARDS = [
    ("NVIDIA H100 80GB HBM3", 79.2, (9, 0), "datacenter", "bf16"),
    ("NVIDIA A100-SXM4-40GB", 39.4, (8, 0), "datacenter", "bf16"),
    ("NVIDIA GeForce RTX 5090", 31.4, (12, 0), "24gb", "bf16"),
    ("NVIDIA GeForce RTX 4090", 23.6, (8, 9), "24gb", "bf16"),
    ("NVIDIA GeForce RTX 3090", 23.7, (8, 6), "24gb", "bf16"),
    ("NVIDIA L4", 22.0, (8, 9), "24gb", "bf16"),
    ("NVIDIA GeForce RTX 4060 Ti", 15.6, (8, 9), "16gb", "bf16"),
    ("Tesla V100-SXM2-16GB", 15.8, (7, 0), "16gb", "fp16"),
    ("Tesla T4", 14.6, (7, 5), "12gb", "fp16"),
    ("NVIDIA GeForce RTX 3060", 11.8, (8, 6), "12gb", "bf16"),
    ("NVIDIA GeForce RTX 2080 Ti", 10.8, (7, 5), "10gb", "fp16"),
    ("NVIDIA GeForce RTX 3080", 9.8, (8, 6), "10gb", "bf16"),
    ("NVIDIA GeForce RTX 4060", 7.6, (8, 9), "8gb", "bf16"),
    ("NVIDIA GeForce GTX 1660", 5.8, (7, 5), "8gb", "fp16"),
]


@pytest.fixture
def machine_with(monkeypatch):
    """Puts a card into this machine, or none."""

    def put(card):
        monkeypatch.setattr(compose, "find_card", lambda device: None if device == "cpu" else card)

    return put


@pytest.mark.parametrize(("name", "memory_gb", "capability", "group", "precision"), CARDS, ids=[c[0] for c in CARDS])
def test_a_card_gets_its_group_and_the_precision_that_it_has(name, memory_gb, capability, group, precision):
    card = Card(name=name, memory_gb=memory_gb, capability=capability)
    assert group_for(card) == group
    assert precision_for("auto", "cuda", card) == precision


def test_precision_without_a_card():
    assert group_for(None) == "cpu"
    assert precision_for("auto", "auto", None) == "fp32"
    assert precision_for("auto", "cpu", Card(name="any", memory_gb=80, capability=(9, 0))) == "fp32"
    assert precision_for("auto", "cuda", None) == "bf16"  # planned for a card that is not here
    assert precision_for("fp16", "cpu", None) == "fp16"


def test_a_group_may_use_less_than_its_smallest_card_has():
    for group, least in {**LEAST, SMALLEST: 7.5}.items():
        bound = yaml.safe_load((conf_dir() / "hardware" / f"{group}.yaml").read_text()).get("memory_gb", 0)
        assert bound <= least - 0.5, group


@pytest.mark.parametrize("group", [*LEAST, SMALLEST])
def test_auto_is_the_group_of_the_card_with_plain_values(machine_with, group):
    machine_with(Card(name="any", memory_gb=LEAST.get(group, 7.5), capability=(8, 6)))
    run = load_run(WORDS)
    assert run == load_run([*WORDS, f"hardware={group}"])
    assert run.hardware.precision == "bf16"
    assert from_plain(to_plain(run)) == run


def test_without_a_card_auto_is_cpu(machine_with):
    machine_with(None)
    assert load_run(WORDS) == load_run([*WORDS, "hardware=cpu"])


def test_what_the_user_says_wins_over_the_card(machine_with):
    machine_with(Card(name="any", memory_gb=11.8, capability=(8, 6)))
    hardware = load_run([*WORDS, "hardware.precision=fp16", "hardware.memory_gb=6"]).hardware
    assert (hardware.precision, hardware.memory_gb, hardware.unload_encoders) == ("fp16", 6, True)
    assert load_run([*WORDS, "hardware=cpu"]).hardware.device == "cpu"
    assert load_run(["preset=person_portraits", "data.path=photos"]).hardware.device == "cpu"  # its own word


def test_a_stored_run_keeps_its_precision_on_another_card(machine_with):
    machine_with(Card(name="any", memory_gb=10.8, capability=(7, 5)))
    stored = to_plain(load_run(WORDS))
    assert stored["hardware"]["precision"] == "fp16"
    machine_with(Card(name="any", memory_gb=79, capability=(9, 0)))
    assert to_plain(from_plain(stored)) == stored


def test_multirun_and_cfg_job_know_the_card(machine_with, tmp_path, monkeypatch, capsys):
    machine_with(Card(name="any", memory_gb=11.8, capability=(8, 6)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lorasweep"])
    seen = []
    train = hydra_entry(lambda run: seen.append(run) or SimpleNamespace(score=0.0))
    train([*WORDS, "hardware=auto,cpu", "-m"])
    assert [run.hardware.memory_gb for run in seen] == [11, None]
    train([*WORDS, "--cfg", "job"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert "${" not in str(printed)
    assert from_plain(printed) == load_run(WORDS)


def test_tab_completion_does_not_ask_the_card(monkeypatch):
    def never(device):
        raise AssertionError("asked")

    monkeypatch.setattr(compose, "group_for", never)
    monkeypatch.setenv("COMP_LINE", "lorasweep train preset=person_sd15 optim.")
    assert load_run(WORDS).hardware.device == "cpu"


def test_this_machine_answers():
    assert find_card("cpu") is None
    card = find_card("auto")
    assert card is None or card.memory_gb > 1
    assert find_card("cuda:99") is None


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("hardware.precision=fp8", "hardware.precision is 'fp8'; it must be one of auto, fp32, bf16, fp16"),
        ("hardware.base=int8", "hardware.base is 'int8'; it must be one of auto, full, fp8, nf4"),
        ("hardware.cache=ram", "hardware.cache is 'ram'; it must be one of memory, disk"),
        ("hardware.memory_gb=0", "hardware.memory_gb is 0.0; it must be a number above zero"),
        ("hardware.offload=1.5", "hardware.offload is 1.5; it must be between 0 and 1"),
        ("hardware=9gb", "hardware is '9gb'; did you mean"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(override, sentence):
    with pytest.raises(UserError, match="^" + sentence.replace(".", r"\.").replace("'", "'")):
        load_run([*WORDS, override])
