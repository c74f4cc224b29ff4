"""Signatures of committed results are over values: noise leaves them as they are, another answer does not."""

import json

import pytest

from benchmarks import signatures
from benchmarks.check import measure, orientation
from benchmarks.evaluator import faults
from benchmarks.picker import trajectories
from benchmarks.probes import probes
from benchmarks.search import table
from benchmarks.signatures import signature, steady


def test_noise_gives_back_what_is_committed_and_a_change_does_not():
    committed = [[0.1234, 0.5], [0.0, 1.0]]
    assert steady([[0.123401, 0.499999], [-1e-6, 1.0]], committed) == committed
    assert steady([[0.1334, 0.5], [0.0, 1.0]], committed) == [[0.133, 0.5], [0.0, 1.0]]
    assert steady([0.12345], committed) == [0.123]


def test_a_signature_does_not_depend_on_the_order_of_its_facts():
    assert signature({"a": 1, "b": (2, 3)}) == signature({"b": [2, 3], "a": 1}) != signature({"a": 1, "b": (2, 4)})


def test_models_are_named_by_what_they_are_and_the_oracles_readers_are_none():
    assert set(signatures.model_hashes()) == {"face", "face_confirm", "scorer", "text_encoder", "unet", "vae"}


def test_pixels_count_one_by_one():
    picture = orientation.draw(0, 0).resize((8, 8))
    before = signatures.pixels_hash([picture])
    picture.putpixel((3, 3), (1, 2, 3))
    assert signatures.pixels_hash([picture]) != before


def test_the_committed_answers_are_those_of_this_code():
    """Whoever changes an answer runs `python -m benchmarks.probes`, raises a VERSION if the change goes further than
    what is asked, and measures again."""
    committed = json.loads(signatures.ANSWERS.read_text(encoding="utf-8"))
    found = {name: signatures.answers(name, values, within) for name, (values, within) in probes().items()}
    assert found == committed


def test_what_the_check_says_of_the_small_sets():
    assert measure.probe() == {
        "clean": [[], []],
        "duplicate": [
            ["copy of 7445"],
            [["duplicate", ["7445", "copy of 7445"]], ["same_caption", ["7445", "copy of 7445"]]],
        ],
        "truncated": [
            ["2023-05-14 12.33.1792", "2023-05-14 12.33.9464"],
            [["truncated", ["2023-05-14 12.33.1792"]], ["truncated", ["2023-05-14 12.33.9464"]]],
        ],
        "caption_orphan": [["IMG_0001"], [["caption_orphan", ["IMG_0001"]]]],
    }


@pytest.mark.parametrize(
    ("file", "made_with"),
    [
        (measure.RESULTS, measure.ingredients),
        (orientation.RESULTS, orientation.judged_by),
        (trajectories.RESULTS / "person-601.json", trajectories.PLAN.ingredients),
        (table.RESULTS / "person-621.json", table.PLAN.ingredients),
    ],
)
def test_committed_results_were_made_with_what_is_here(file, made_with):
    assert json.loads(file.read_text(encoding="utf-8"))["made_with"] == made_with()


def test_another_fault_is_another_answer(monkeypatch):
    from benchmarks.evaluator import measure

    before = measure.made_with()
    fault = faults.FAULTS["blur"]
    monkeypatch.setitem(faults.FAULTS, "blur", lambda picture, dose, rng: fault(picture, min(dose + 1, 5), rng))
    assert measure.made_with.__wrapped__() != before
