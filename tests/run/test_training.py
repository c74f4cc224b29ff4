"""Runs from configuration to files, on a tiny random model of the real classes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lorasweep.check.text import short_warnings
from lorasweep.commands.reproduce import reproduce
from lorasweep.commands.resume import resume
from lorasweep.config.compose import load_run
from lorasweep.data import dataset, picture_facts
from lorasweep.errors import UserError
from lorasweep.run.entries import entries_of
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together
from lorasweep.track.journal import read
from lorasweep.track.recall import read_run
from lorasweep.train.checkpoint import list_checkpoints

Overrides = Callable[..., list[str]]
QUIET = "track.mlflow=false"


def ignore(_: str) -> None:
    """Says nothing."""


def hashes(outcome: Outcome) -> dict[int, str | None]:
    return {checkpoint.step: checkpoint.sha256 for checkpoint in list_checkpoints(outcome.folder, outcome.name)}


def test_a_run_leaves_its_checkpoints_and_a_journal_that_says_finished(overrides: Overrides) -> None:
    (outcome,) = train_together([load_run(overrides(QUIET))], say=ignore)
    view = read_run(outcome.folder)
    assert [checkpoint.step for checkpoint in view.checkpoints] == [4, 8, 12]
    assert [step.step for step in view.steps] == list(range(1, 13))
    assert view.status == "finished"
    (end,) = (entry.payload for entry in read(outcome.folder) if entry.kind == "end")
    assert end == {"status": "finished", "error": "", "widths": [1]}
    assert (outcome.folder / "report.html").exists()


def test_a_mistake_in_the_photos_is_told_before_a_run_is_named(overrides: Overrides, tmp_path: Path) -> None:
    (tmp_path / "photos" / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"0\.png"):
        train_together([load_run(overrides(QUIET))], say=ignore)
    assert not (tmp_path / "mlruns" / "runs").exists()


def test_warnings_of_the_photos_are_told_in_one_line_with_each_picture_decoded_once(
    overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    run = load_run(overrides(QUIET))
    (photos / "again.png").write_bytes((photos / "0.png").read_bytes())
    decoded: list[Path] = []
    plain = dataset.decode_stored
    for module in (dataset, picture_facts):
        monkeypatch.setattr(module, "decode_stored", lambda path, content: decoded.append(path) or plain(path, content))
    one, other = entries_of([run, load_run(overrides(QUIET, "optim.lr=1e-3"))])
    (line,) = short_warnings(one.run, one.facts)
    assert "duplicate 1" in line
    assert f"'lorasweep check {photos}'" in line
    assert one.dataset is other.dataset
    assert sorted(decoded) == sorted(path for path in photos.iterdir() if path.suffix == ".png")


def test_a_model_folder_without_a_unet_is_told_before_a_run_is_named(overrides: Overrides, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        train_together([load_run(overrides(QUIET, f"model.path={tmp_path / 'empty'}"))], say=ignore)
    assert not list((tmp_path / "mlruns").glob("runs/*"))


def test_trials_of_a_multirun_equal_their_solo_runs_closely(overrides: Overrides) -> None:
    rates = [f"optim.lr={rate}" for rate in (1e-4, 1e-3, 4e-3)]
    together = train_together([load_run(overrides(QUIET, rate)) for rate in rates], say=ignore)
    for rate, outcome in zip(rates, together, strict=True):
        (solo,) = train_together([load_run(overrides(QUIET, rate))], say=ignore)
        side_by_side = [step.loss for step in read_run(outcome.folder).steps]
        assert side_by_side == pytest.approx([step.loss for step in read_run(solo.folder).steps], abs=1e-5)


def test_a_hot_trial_fails_alone_and_keeps_its_good_checkpoints(overrides: Overrides) -> None:
    hot = overrides(QUIET, "optim.lr=1e30", "save.every_steps=1", "optim.max_grad_norm=0")
    good, bad = train_together([load_run(overrides(QUIET)), load_run(hot)], say=ignore)
    assert good.error is None
    assert isinstance(bad.error, UserError)
    assert "optim.lr" in str(bad.error)
    assert read_run(bad.folder).status == "failed"
    assert 1 in hashes(bad)
    assert sorted(hashes(good)) == [4, 8, 12]


def test_a_stopped_run_resumes_to_the_bytes_of_an_undisturbed_one(overrides: Overrides, tmp_path: Path) -> None:
    (whole,) = train_together([load_run(overrides(QUIET, "name=whole"))], say=ignore)
    run = load_run(overrides(QUIET, "name=halted"))
    with pytest.raises(SystemExit):
        _train_and_terminate_at(run, step=6)
    view = read_run(tmp_path / "mlruns" / "runs" / "halted")
    assert view.status == "stopped"
    assert len(view.steps) == 6
    (outcome,) = resume(tmp_path / "mlruns", "halted", say=ignore)
    assert list(hashes(outcome)) == list(hashes(whole))
    assert [step.loss for step in read_run(outcome.folder).steps] == [s.loss for s in read_run(whole.folder).steps]
    assert _tensors(outcome) == _tensors(whole)


def test_a_multirun_is_alive_while_it_trains_and_goes_on_by_its_own_name(
    overrides: Overrides, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, seen = tmp_path / "mlruns", []

    def look() -> None:
        seen.append(read_run(root / "runs" / "s1lv10-multirun-0001").status)

    runs = [load_run(overrides(QUIET, f"optim.lr={rate}")) for rate in (1e-4, 1e-3)]
    with pytest.raises(SystemExit):
        _train_and_terminate_at(*runs, step=6, meanwhile=look, say=print)
    assert seen == ["running", "running"]
    assert "'lorasweep resume s1lv10-multirun-0001' goes on" in capsys.readouterr().out
    parent = root / "runs" / "s1lv10-multirun-0001"
    assert read_run(parent).status == "stopped"
    outcomes = resume(root, parent.name, say=ignore)
    assert [sorted(hashes(outcome)) for outcome in outcomes] == [[4, 8, 12], [4, 8, 12]]
    assert read_run(parent).status == "finished"
    assert (parent / "comparison.html").exists()


def test_a_run_without_a_verdict_says_where_its_files_are(
    overrides: Overrides, capsys: pytest.CaptureFixture[str]
) -> None:
    (outcome,) = train_together([load_run(overrides(QUIET))])
    assert f"the files are in {outcome.folder / 'checkpoints'}" in capsys.readouterr().out


def test_a_run_that_died_after_its_last_step_is_finished_and_told_by_resume(
    overrides: Overrides, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (outcome,) = train_together([load_run(overrides(QUIET))], say=ignore)
    journal = outcome.folder / "journal.jsonl"
    *lines, end = journal.read_text().splitlines(keepends=True)
    assert '"kind":"end"' in end
    journal.write_text("".join(lines))
    resume(tmp_path / "mlruns", "last")
    assert f"the files are in {outcome.folder / 'checkpoints'}" in capsys.readouterr().out
    assert read_run(outcome.folder).status == "finished"


def _train_and_terminate_at(
    *runs: object, step: int, meanwhile: Callable[[], None] = lambda: None, say: Callable[[str], None] = ignore
) -> None:
    """Ask to stop, as SIGTERM does, once so many steps are in the journal."""
    from lorasweep.run.recorder import RunRecorder

    told, reached = RunRecorder.step_taken, []

    def counting(self: RunRecorder, taken: object, cohort: object) -> None:
        told(self, taken, cohort)  # type: ignore[arg-type]
        if taken.step == step:  # type: ignore[attr-defined]
            meanwhile()
            reached.append(taken)
            if len(reached) == len(runs):
                os.kill(os.getpid(), signal.SIGTERM)

    RunRecorder.step_taken = counting  # type: ignore[method-assign]
    try:
        train_together(list(runs), width=len(runs), say=say)  # type: ignore[arg-type]
    finally:
        RunRecorder.step_taken = told  # type: ignore[method-assign]


def _tensors(outcome: Outcome) -> bytes:
    from safetensors.torch import load_file, save

    last = list_checkpoints(outcome.folder, outcome.name)[-1]
    assert last.path is not None
    return save(load_file(last.path))


def test_a_finished_run_has_nothing_to_resume(overrides: Overrides, tmp_path: Path) -> None:
    train_together([load_run(overrides(QUIET, "name=done"))], say=ignore)
    with pytest.raises(UserError, match="nothing to resume"):
        resume(tmp_path / "mlruns", "last", say=ignore)


def test_reproduce_makes_the_same_files_again(overrides: Overrides, tmp_path: Path) -> None:
    train_together([load_run(overrides(QUIET))], say=ignore)
    result = reproduce(tmp_path / "mlruns", "last", True, say=ignore)
    assert result.first_step_apart is None
    assert result.verdict == "identical", result
    assert result.fine
