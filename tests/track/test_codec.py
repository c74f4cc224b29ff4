import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from track.story import PROMPTS, Story

from lorasweep.records import Checkpoint, Note, NoteKind, RunVerdict, VerdictWord, Veto, VetoKind
from lorasweep.track import codec
from lorasweep.track.journal import encode

NOTES = (Note(NoteKind.FEW_FACES, {"count": 3, "needed": 5}), Note(NoteKind.NO_HELD_OUT))
VETOES = (Veto(VetoKind.COPIES, 1 / 3),)


def through_json(payload: object) -> dict:
    return json.loads(json.dumps(encode(payload), allow_nan=False))


def test_every_record_comes_back_as_it_was(story: Story) -> None:
    folder = story.folder
    step, checkpoint, sheet, pick = story.step(3), story.checkpoint(3), story.samples(3), story.pick()
    assert codec.step_from_json(through_json(codec.step_to_json(step))) == step
    assert codec.checkpoint_from_json(through_json(codec.checkpoint_to_json(checkpoint, folder)), folder) == checkpoint
    assert codec.samples_from_json(through_json(codec.samples_to_json(sheet, folder)), folder) == sheet
    assert codec.pick_from_json(through_json(codec.pick_to_json(pick))) == pick
    assert codec.prompts_from_json(json.loads(json.dumps(codec.prompts_to_json(PROMPTS)))) == PROMPTS
    dataset = story.meta().dataset
    assert dataset is not None
    photo = replace(dataset.train[0], mask=folder / "me-masklabel.png", mask_sha256="cd", repeats=7)
    for one in (dataset, replace(dataset, train=(photo,), regularisation=(replace(photo, mask=None),))):
        assert codec.dataset_from_json(through_json(codec.dataset_to_json(one))) == one


def test_a_run_from_before_each_photo_had_its_own_repeats_can_still_be_read(story: Story) -> None:
    dataset = story.meta().dataset
    assert dataset is not None
    stored = through_json(codec.dataset_to_json(dataset))
    del stored["regularisation"]
    for name in ("repeats", "mask", "mask_sha256"):
        del stored["train"][0][name]
    back = codec.dataset_from_json({**stored, "repeats": 33})
    assert back == replace(dataset, train=(replace(dataset.train[0], repeats=1),))


def test_scores_come_back_bit_for_bit_with_their_gaps(story: Story) -> None:
    scores = replace(story.scores(3), notes=NOTES, vetoes=VETOES, weights={"identity": 0.1})
    back = codec.scores_from_json(through_json(codec.scores_to_json(scores)))
    assert back.by_prompt.tobytes() == scores.by_prompt.tobytes()
    assert back.by_prompt.shape == (2, 2, 3)
    assert np.isnan(back.components["geometry"])
    assert (back.score, back.low, back.notes, back.vetoes, back.weights) == (
        0.3,
        0.15,
        NOTES,
        VETOES,
        {"identity": 0.1},
    )
    assert list(back.components) == ["identity", "prompt", "geometry"]


def test_facts_are_kept_as_codes_and_the_sentences_of_version_0_1_are_still_read(story: Story) -> None:
    stored = through_json(codec.scores_to_json(replace(story.scores(3), notes=NOTES, vetoes=VETOES)))
    assert stored["notes"] == [{"kind": "few_faces", "count": 3, "needed": 5}, {"kind": "no_held_out"}]
    assert stored["vetoes"] == [{"kind": "copies", "share": 1 / 3}]
    notes = ["identity is not measurable: 3 photos show a face, 5 are needed"]
    notes += ["no held-out photos: copying cannot be ruled out"]
    old = {**stored, "notes": notes, "vetoes": ["33% of it is copied from training photos"]}
    back = codec.scores_from_json(old)
    assert (back.notes, back.vetoes) == (NOTES, (Veto(VetoKind.COPIES, 0.33),))


def test_verdicts_come_back_as_facts_and_are_kept_as_words(story: Story) -> None:
    stored = through_json(codec.pick_to_json(story.pick()))
    assert (stored["run_verdict"], stored["verdicts"][0]["word"]) == ("fine", "good")
    back = codec.pick_from_json(stored)
    assert back.run_verdict is RunVerdict.FINE
    assert back.verdicts[0].word is VerdictWord.GOOD


def test_losses_on_fixed_noise_come_back_and_no_held_out_photo_is_nan(story: Story) -> None:
    batch, found = story.fixed_batch(3), replace(story.validation(3), held_out=float("nan"))
    assert codec.fixed_batch_from_json(through_json(codec.fixed_batch_to_json(batch))) == batch
    back = codec.validation_from_json(through_json(codec.validation_to_json(found, found)))
    assert np.isnan(back.held_out)
    assert (back.trial, back.step, back.train) == (found.trial, found.step, found.train)


def test_a_loss_that_became_nan_comes_back_as_nan(story: Story) -> None:
    back = codec.step_from_json(through_json(codec.step_to_json(replace(story.step(1), loss=float("nan")))))
    assert np.isnan(back.loss)


def test_a_moved_run_finds_its_files_and_a_file_elsewhere_stays_elsewhere(story: Story, tmp_path: Path) -> None:
    payload = codec.checkpoint_to_json(story.checkpoint(3), story.folder)
    assert payload["path"] == "checkpoints/step-000003.safetensors"
    moved = codec.checkpoint_from_json(payload, tmp_path / "elsewhere")
    assert moved.path == tmp_path / "elsewhere" / "checkpoints" / "step-000003.safetensors"
    outside = Checkpoint(trial="t", step=0, epoch=0, path=tmp_path / "other.safetensors", sha256=None)
    assert codec.checkpoint_from_json(codec.checkpoint_to_json(outside, story.folder), story.folder) == outside
