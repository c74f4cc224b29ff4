from pathlib import Path

import pytest

from lorasweep.config.explain import keys
from lorasweep.kohya.keys import BECOMES, CANNOT, NO_EFFECT, is_known, is_off

LIST = (Path(__file__).parent / "kohya_keys.txt").read_text(encoding="utf-8")
NAMES = [line for line in LIST.splitlines() if not line.startswith("#")]


def test_every_setting_of_kohyas_lora_tab_and_of_sd_scripts_has_its_place():
    assert len(NAMES) > 500
    assert [name for name in NAMES if not is_known(name)] == []


def test_no_setting_has_two_places():
    tables = [set(BECOMES), set(NO_EFFECT), set(CANNOT)]
    assert sum(map(len, tables)) == len(set.union(*tables))


def test_what_a_setting_becomes_is_a_key_of_a_run():
    known = {*keys(), "model.family", "sample.prompts", "seed", "preset"}
    words = [word for text in BECOMES.values() for word in text.replace(",", " ").split() if "." in word.strip(".")]
    assert [word for word in words if word not in known and not word.startswith(".")] == []
    assert len(words) > 60


@pytest.mark.parametrize(
    ("value", "off", "expected"),
    [
        ("", "", True),
        (0, "", True),
        ("0.0", "", True),
        (False, "", True),
        ("False", "", True),
        (None, "", True),
        ([], "", True),
        (1000, "1000", True),
        ("1000.0", "1000", True),
        ("all", "all", True),
        (999, "1000", False),
        (True, "", False),
        ("abc", "", False),
        (["a"], "", False),
        (1, "", False),
    ],
)
def test_a_setting_is_off_when_it_asks_for_nothing(value, off, expected):
    assert is_off(value, off) is expected
