import math
from dataclasses import replace

import pytest
from track.story import Story

from lorasweep.records import Pick
from lorasweep.track import mlflow_terms as terms
from lorasweep.track.codec import from_json, to_json, validation_to_json

START = {"name": "n", "uid": "u", "run_signature": "", "evaluation_signature": "", "dataset": None, "multirun": False}


def test_a_step_is_five_points_at_the_journals_own_time(story: Story) -> None:
    points = terms.step_points(to_json(story.step(3), story.folder), time=77)
    assert {point.key: point.value for point in points} == {
        "train/loss": 0.1 + 1 / 9,
        "train/lr": 1e-3,
        "train/effective_lr": 5e-4,
        "train/grad_norm": 3 / 7,
        "train/log10_lr": pytest.approx(-3),
    }
    assert {(point.time, point.step) for point in points} == {(77, 3)}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_is_not_sent_as_a_number_but_said_in_words(story: Story, word: str) -> None:
    payload = {**to_json(story.step(3), story.folder), "loss": word}
    assert "train/loss" not in {point.key for point in terms.step_points(payload, 0)}
    assert terms.not_finite(payload) == "loss at step 3"


def test_a_component_that_does_not_apply_has_no_point(story: Story) -> None:
    payload = {"scores": to_json(story.scores(6), story.folder)}
    keys = [point.key for point in terms.score_points(payload, 0)]
    assert keys == ["eval/score", "eval/low", "eval/high", "eval/identity", "eval/prompt"]


def test_scores_on_fresh_seeds_have_names_of_their_own(story: Story) -> None:
    payload = {"scores": to_json(story.scores(6, fresh=True), story.folder)}
    assert all(point.key.startswith("fresh/") for point in terms.score_points(payload, 0))


def test_a_run_that_only_scored_files_is_told_apart() -> None:
    kinds = [
        terms.start_tags({**START, "multirun": multirun, "source": source})["lorasweep.kind"]
        for multirun, source in ((False, None), (True, None), (False, "/files"))
    ]
    assert kinds == ["run", "multirun", "evaluation"]


@pytest.mark.parametrize(("kept", "tag"), [({}, None), ({"overrides": []}, None), ({"overrides": ["a=1"]}, "a=1")])
def test_overrides_are_told_of_older_runs_that_have_some(kept: dict[str, list[str]], tag: str | None) -> None:
    assert terms.start_tags({**START, **kept}).get("lorasweep.overrides") == tag


def test_losses_on_fixed_noise_are_sent_beside_their_ratio_to_the_base_models(story: Story) -> None:
    payload = validation_to_json(story.validation(6), story.validation(0), story.folder)
    points = {point.key: point.value for point in terms.validation_points(payload, 77)}
    assert points == {
        "validation/held_out": pytest.approx(0.7),
        "validation/held_out_vs_base": pytest.approx(1.4),
        "validation/train": pytest.approx(0.2),
        "validation/train_vs_base": pytest.approx(0.4),
    }
    (batch,) = terms.fixed_batch_points(to_json(story.fixed_batch(6), story.folder), 77)
    assert (batch.key, batch.value, batch.time, batch.step) == ("validation/fixed_batch", 1 / 9, 77, 6)


def test_without_held_out_photos_their_loss_has_no_point(story: Story) -> None:
    found = replace(story.validation(6), held_out=math.nan)
    points = terms.validation_points(validation_to_json(found, found, story.folder), 0)
    assert {point.key: point.value for point in points} == {
        "validation/train": pytest.approx(0.2),
        "validation/train_vs_base": 1.0,
    }


def test_the_pick_has_a_strength_and_an_older_one_had_full_strength(story: Story) -> None:
    payload = to_json(replace(story.pick(), strength=0.85), story.folder)
    assert {point.key: point.value for point in terms.pick_points(payload, 0)}["picked/strength"] == 0.85
    del payload["strength"]
    assert {point.key: point.value for point in terms.pick_points(payload, 0)}["picked/strength"] == 1.0
    assert from_json(Pick, payload, story.folder).strength == 1.0


def test_runs_can_be_compared_in_the_table_by_their_steady_score(story: Story) -> None:
    payload = to_json(replace(story.pick(), steady=0.7), story.folder)
    assert {point.key: point.value for point in terms.pick_points(payload, 0)}["picked/steady"] == 0.7
    del payload["steady"]
    assert "picked/steady" not in {point.key for point in terms.pick_points(payload, 0)}
    assert from_json(Pick, payload, story.folder).worth == story.pick().score


def test_no_pick_is_a_tag_and_no_point(story: Story) -> None:
    payload = {**to_json(story.pick(), story.folder), "step": None, "run_verdict": "train longer"}
    assert terms.pick_points(payload, 0) == []
    assert terms.pick_tags(payload)["lorasweep.picked"] == "none"
    assert terms.pick_tags(payload)["lorasweep.verdict"] == "train longer"


def test_a_configuration_is_flat_short_and_tells_the_rates_that_people_compare() -> None:
    flat = terms.flatten(
        {"optim": {"lr": 1e-3, "betas": [0.9, 0.999]}, "lora": {"rank": 8, "alpha": 4.0}, "x": "y" * 7000}
    )
    assert flat["optim.lr"] == "0.001"
    assert flat["optim.betas"] == "[0.9, 0.999]"
    assert len(flat["x"]) == 6000
    assert float(flat["log10_lr"]) == pytest.approx(math.log10(1e-3))
    assert float(flat["effective_lr"]) == pytest.approx(5e-4)


def test_prompts_are_one_parameter_and_odd_keys_are_made_fit() -> None:
    flat = terms.flatten({"sample": {"prompts": {"café": {"text": "a"}}}, "ünï": 1})
    assert flat == {"sample.prompts": '{"café": {"text": "a"}}', "_n_": "1"}


def test_a_prompts_key_becomes_one_that_mlflow_allows() -> None:
    assert terms.image_key("café/#1", fresh=False) == "caf___1"
    assert terms.image_key("hat", fresh=True) == "hat.fresh"
