import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from track.story import PROMPTS, Story

from lorasweep.outcomes import NoteKind, RunVerdict, VerdictWord, VetoKind
from lorasweep.records import (
    Checkpoint,
    Dataset,
    FixedBatch,
    Note,
    Pick,
    Prompt,
    SampleSet,
    Scores,
    Step,
    Validation,
    Veto,
)
from lorasweep.track.codec import from_json, to_json, validation_to_json
from lorasweep.track.journal import read

NOTES = (Note(NoteKind.FEW_FACES, {"count": 3, "needed": 5}), Note(NoteKind.NO_HELD_OUT))
VETOES = (Veto(VetoKind.COPIES, 1 / 3),)


STORED = Path(__file__).parents[1] / "fixtures" / "lorasweep-0.1" / "mlruns" / "runs"
KINDS = {"step": Step, "checkpoint": Checkpoint, "sample": SampleSet, "scores": Scores, "pick": Pick}
WHERE = Path("anywhere")


def through_json(record: object, folder: Path = WHERE) -> dict:
    return json.loads(json.dumps(to_json(record, folder), allow_nan=False))


ADDED = ("strengths", "open_steps", "settled_by")
"""What later versions write down besides."""


@pytest.mark.parametrize("name", ["anna", "bella"])
def test_what_version_0_1_wrote_is_written_again_byte_for_byte(name: str) -> None:
    folder, seen = STORED / name, set()
    for entry in read(folder):
        stored = entry.payload["scores"] if entry.kind == "scores" else entry.payload
        if entry.kind in KINDS:
            seen.add(entry.kind)
            again = to_json(from_json(KINDS[entry.kind], stored, folder), folder)
            # prompts are no part of a sheet; notes and vetoes were sentences then and are facts now
            kept = {key: stored[key] for key in ("notes", "vetoes", "prompts") if key in stored}
            added = {key: again.pop(key) for key in ADDED if key in again and key not in stored}
            assert not any(added.values())
            assert json.dumps({**again, **kept}) == json.dumps(stored)
        if entry.kind == "start":
            prompts = from_json(tuple[Prompt, ...], stored["prompts"], folder)
            dataset = from_json(Dataset, stored["dataset"], folder)
            assert json.dumps(to_json((prompts, dataset), folder)) == json.dumps([stored["prompts"], stored["dataset"]])
    assert seen >= {"step", "checkpoint", "sample", "scores"}


def test_every_record_comes_back_as_it_was(story: Story) -> None:
    folder = story.folder
    step, checkpoint, sheet, pick = story.step(3), story.checkpoint(3), story.samples(3), story.pick()
    for record in (step, checkpoint, sheet, pick):
        assert from_json(type(record), through_json(record, folder), folder) == record
    assert from_json(tuple[Prompt, ...], through_json(PROMPTS), WHERE) == PROMPTS
    dataset = story.meta().dataset
    assert dataset is not None
    photo = replace(dataset.train[0], mask=folder / "me-masklabel.png", mask_sha256="cd", repeats=7)
    for one in (dataset, replace(dataset, train=(photo,), regularisation=(replace(photo, mask=None),))):
        assert from_json(Dataset, through_json(one), WHERE) == one


def test_a_run_from_before_each_photo_had_its_own_repeats_can_still_be_read(story: Story) -> None:
    dataset = story.meta().dataset
    assert dataset is not None
    stored = through_json(dataset)
    del stored["regularisation"]
    for name in ("repeats", "mask", "mask_sha256"):
        del stored["train"][0][name]
    back = from_json(Dataset, {**stored, "repeats": 33}, WHERE)
    assert back == replace(dataset, train=(replace(dataset.train[0], repeats=1),))


def test_scores_come_back_bit_for_bit_with_their_gaps(story: Story) -> None:
    scores = replace(story.scores(3), notes=NOTES, vetoes=VETOES, weights={"identity": 0.1})
    back = from_json(Scores, through_json(scores), WHERE)
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
    stored = through_json(replace(story.scores(3), notes=NOTES, vetoes=VETOES))
    assert stored["notes"] == [{"kind": "few_faces", "count": 3, "needed": 5}, {"kind": "no_held_out"}]
    assert stored["vetoes"] == [{"kind": "copies", "share": 1 / 3}]
    notes = ["identity is not measurable: 3 photos show a face, 5 are needed"]
    notes += ["no held-out photos: copying cannot be ruled out"]
    old = {**stored, "notes": notes, "vetoes": ["33% of it is copied from training photos"]}
    back = from_json(Scores, old, WHERE)
    assert (back.notes, back.vetoes) == (NOTES, (Veto(VetoKind.COPIES, 0.33),))


def test_verdicts_come_back_as_facts_and_are_kept_as_words(story: Story) -> None:
    stored = through_json(story.pick())
    assert (stored["run_verdict"], stored["verdicts"][0]["word"]) == ("fine", "good")
    back = from_json(Pick, stored, WHERE)
    assert back.run_verdict is RunVerdict.FINE
    assert back.verdicts[0].word is VerdictWord.GOOD


def test_losses_on_fixed_noise_come_back_and_no_held_out_photo_is_nan(story: Story) -> None:
    batch, found = story.fixed_batch(3), replace(story.validation(3), held_out=float("nan"))
    assert from_json(FixedBatch, through_json(batch), WHERE) == batch
    back = from_json(Validation, json.loads(json.dumps(validation_to_json(found, found, WHERE))), WHERE)
    assert np.isnan(back.held_out)
    assert (back.trial, back.step, back.train) == (found.trial, found.step, found.train)


def test_a_loss_that_became_nan_comes_back_as_nan(story: Story) -> None:
    back = from_json(Step, through_json(replace(story.step(1), loss=float("nan"))), WHERE)
    assert np.isnan(back.loss)


def test_a_moved_run_finds_its_files_and_a_file_elsewhere_stays_elsewhere(story: Story, tmp_path: Path) -> None:
    payload = to_json(story.checkpoint(3), story.folder)
    assert payload["path"] == "checkpoints/step-000003.safetensors"
    moved = from_json(Checkpoint, payload, tmp_path / "elsewhere")
    assert moved.path == tmp_path / "elsewhere" / "checkpoints" / "step-000003.safetensors"
    outside = Checkpoint(trial="t", step=0, epoch=0, path=tmp_path / "other.safetensors", sha256=None)
    assert from_json(Checkpoint, to_json(outside, story.folder), story.folder) == outside
