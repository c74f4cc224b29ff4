import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from track.story import PROMPTS, Story

from lorasweep.errors import UserError
from lorasweep.records import FixedBatch
from lorasweep.track.journal import read
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import RunFolder
from lorasweep.track.tracker import JournalTracker


def test_a_run_is_read_back_as_it_was_told(story: Story) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta(parent="sweep-0001"))
    story.tell(tracker)
    tracker.samples(story.samples(6, fresh=True), PROMPTS)
    tracker.scores(story.scores(6, fresh=True))
    tracker.strength(story.at_strength(6, 0.85))
    tracker.strength(story.at_strength(6, 0.7))
    for step in (0, 3, 6):
        tracker.fixed_batch(story.fixed_batch(step))
        tracker.validation(story.validation(step), story.validation(0))
    tracker.pick(story.pick())
    tracker.note("Mind the gap.")
    assert tracker.end("finished") == ""
    view = read_run(story.folder)
    assert (view.name, view.status, view.parent) == (story.folder.name, "finished", "sweep-0001")
    assert view.steps == tuple(story.step(n) for n in range(1, 7))
    assert view.checkpoints[1:] == (story.checkpoint(3), story.checkpoint(6))
    assert view.samples == (story.samples(0), story.samples(3), story.samples(6), story.samples(6, fresh=True))
    assert [(s.step, s.fresh) for s in view.scores] == [(3, False), (6, False), (6, True)]
    assert [(each.strength, each.samples) for each in view.strengths] == [
        (strength, story.samples(6, fresh=True)) for strength in (0.7, 0.85)
    ]
    assert [each.scores.score for each in view.strengths] == [0.6, 0.6]
    assert view.validation == tuple(story.validation(step) for step in (0, 3, 6))
    assert view.fixed_batch == tuple(story.fixed_batch(step) for step in (0, 3, 6))
    assert (view.pick, view.prompts, view.notes) == (story.pick(), PROMPTS, ("Mind the gap.",))
    assert view.config["optim"]["lr"] == 1e-3
    assert view.train[0].caption == "<b>me</b>"


def test_steps_that_a_resume_takes_again_are_journaled_once(story: Story) -> None:
    first = JournalTracker(story.folder)
    first.start(story.meta())
    story.tell(first, last=5)
    first.close()
    again = JournalTracker(story.folder)
    again.start(story.meta())
    story.tell(again, first=4)
    again.end("finished")
    view = read_run(story.folder)
    assert [step.step for step in view.steps] == [1, 2, 3, 4, 5, 6]
    assert [e.payload["uid"] for e in read(story.folder) if e.kind == "start"] == [first._uid] * 2


def test_losses_on_fixed_noise_are_journaled_once_a_step_and_their_stopping_point_is_read_back(story: Story) -> None:
    for _ in range(2):
        tracker = JournalTracker(story.folder)
        tracker.start(story.meta())
        for step in range(0, 1601, 64):
            tracker.fixed_batch(FixedBatch(trial="t", step=step, loss=0.1 + 0.1 * math.exp(-step / 300)))
        tracker.close()
    view = read_run(story.folder)
    assert [found.step for found in view.fixed_batch] == list(range(0, 1601, 64))
    # by hand: the first step at which the variance of the last 7 values is less than 0.4 of that of all
    losses = [found.loss for found in view.fixed_batch]
    small = [n for n in range(7, 27) if np.var(losses[n - 7 : n]) < 0.4 * np.var(losses[:n])]
    assert view.dvar_step == 64 * (small[0] - 1)


def test_a_journal_from_before_losses_were_measured_has_none(story: Story) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta())
    story.tell(tracker)
    tracker.end("finished")
    view = read_run(story.folder)
    assert (view.validation, view.fixed_batch, view.dvar_step) == ((), (), None)


def test_the_folder_of_another_trainer_is_remembered_on_this_machine(story: Story, tmp_path: Path) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta(source=tmp_path))
    tracker.end("finished")
    view = read_run(story.folder)
    assert view.source == tmp_path
    assert view.file_name(tmp_path / "checkpoint-5" / "lora.safetensors") == "checkpoint-5/lora.safetensors"
    assert view.file_name(tmp_path.parent / "lora.safetensors") == "lora.safetensors"
    assert str(tmp_path) not in (story.folder / "provenance.json").read_text()


def test_scores_under_another_signature_replace_the_old_ones_whole(story: Story) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta())
    story.tell(tracker)
    tracker.strength(story.at_strength(6, 0.7))
    tracker.end("finished")
    again = JournalTracker(story.folder)
    again.start(story.meta(evaluation_signature="other"))
    again.scores(story.scores(6))
    again.end("finished")
    assert [scores.step for scores in read_run(story.folder).scores] == [6]
    assert read_run(story.folder).strengths == ()


def test_a_run_that_has_begun_has_its_configuration_on_disk(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(run: RunFolder, config: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "save_config", dies)
    tracker = JournalTracker(story.folder)
    with pytest.raises(KeyboardInterrupt):
        tracker.start(story.meta())
    tracker.close()
    assert list(read(story.folder)) == []


def test_a_run_that_is_being_written_is_refused_to_a_second_tracker(story: Story) -> None:
    tracker = JournalTracker(story.folder)
    with pytest.raises(UserError, match="is being written by process"):
        JournalTracker(story.folder)
    tracker.close()
    JournalTracker(story.folder).close()


def test_a_run_whose_process_went_without_a_word_was_killed(story: Story) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta())
    assert read_run(story.folder).status == "running"
    tracker.close()
    assert read_run(story.folder).status == "killed"


def test_a_failed_run_keeps_its_reason(story: Story) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta())
    tracker.end("failed", "The loss became NaN at step 4.")
    view = read_run(story.folder)
    assert (view.status, view.error) == ("failed", "The loss became NaN at step 4.")


def test_a_folder_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        read_run(tmp_path)


def test_an_ordinary_user_pays_nothing_for_mlflow(story: Story) -> None:
    code = "import sys, lorasweep.track.tracker, lorasweep.track.recall\nprint({'mlflow', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": "src"}, check=True
    )
    assert done.stdout == "set()\n"
