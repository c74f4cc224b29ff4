"""The exit code of several runs: a multirun's, whichever launcher runs it, and a search's."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from contracts.judged import DROPPED
from contracts.tiny import write_tiny_photos

from lorasweep import cli
from lorasweep.commands import train as train_command
from lorasweep.errors import ExitCode, RunFailedError, TryAgainError, UserError
from lorasweep.records import Pick
from lorasweep.run import training
from lorasweep.run.recorder import Outcome
from lorasweep.search import searching
from lorasweep.search.winner import SearchOutcome
from lorasweep.track.run_folder import all_runs, parent_of

WORDS = ("preset=person_portraits", "track.mlflow=false")
NAN = float("nan")


def ended(step: int | None, error: Exception | None = None) -> Outcome:
    pick = Pick(
        trial="r",
        step=step,
        best_step=4,
        runner_up=None,
        eligible=(),
        score=NAN,
        confidence=NAN,
        verdicts=(),
        run_verdict="fine" if step else "no usable checkpoint",
        reason="",
    )
    status = "finished" if error is None else "failed"
    return Outcome(name="r", folder=Path("r"), status=status, pick=pick, score=NAN, error=error)


FINE, NOTHING = ended(4), ended(None)
FAILED, FULL = RunFailedError("loss became nan"), TryAgainError("the disk is full")
WRONG = UserError("sample.clip_skip is 9")


@pytest.fixture
def multirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``lorasweep train DIR -m`` over as many rates as there are words."""
    photos = write_tiny_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    rates = itertools.count(1)

    def run(count: int, *more: str) -> int:
        values = ",".join(f"{next(rates)}e-4" for _ in range(count))
        return cli.main(["train", str(photos), *WORDS, f"optim.lr={values}", "-m", *more])

    return run


@pytest.mark.parametrize(
    ("jobs", "code"),
    [
        ([FINE, FINE], ExitCode.FINE),
        ([NOTHING, FINE], ExitCode.NO_CHECKPOINT),
        ([FINE, NOTHING], ExitCode.NO_CHECKPOINT),
        ([FAILED, NOTHING], ExitCode.FAILED),
        ([FULL, NOTHING, FINE], ExitCode.TRY_AGAIN),
        ([FULL, FAILED], ExitCode.FAILED),
        ([WRONG, FAILED, FULL], ExitCode.FAILED),
        ([FULL, WRONG], ExitCode.USAGE),
    ],
)
def test_a_multirun_one_after_the_other_ends_as_its_worst_job(
    multirun: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    jobs: list[Outcome | Exception],
    code: ExitCode,
) -> None:
    left = iter(jobs)

    def train(*_: object) -> Outcome:
        job = next(left)
        if isinstance(job, Exception):
            raise job
        return job

    monkeypatch.setattr(train_command, "train", train)
    assert multirun(len(jobs)) == code
    told = capsys.readouterr().err.splitlines()
    assert len(told) == any(isinstance(job, Exception) for job in jobs)


@pytest.mark.parametrize(
    ("jobs", "code"),
    [
        ([FINE, FINE], ExitCode.FINE),
        ([NOTHING, FINE], ExitCode.NO_CHECKPOINT),
        ([FINE, NOTHING], ExitCode.NO_CHECKPOINT),
        ([NOTHING, ended(None, FAILED), FINE], ExitCode.FAILED),
    ],
)
@pytest.mark.parametrize("batches", [[], ["hydra.sweeper.max_batch_size=1"]])
def test_a_multirun_side_by_side_ends_as_its_worst_job(
    multirun: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    jobs: list[Outcome],
    code: ExitCode,
    batches: list[str],
) -> None:
    left = iter(jobs)
    monkeypatch.setattr(training, "train_together", lambda runs, width: [next(left) for _ in runs])
    assert multirun(len(jobs), "hydra/launcher=cohort", *batches) == code


def found(best: str) -> SearchOutcome:
    return SearchOutcome(study="s", trials=2, best=best, params={}, step=None, strength=1.0, score=NAN, file=None)


@pytest.mark.parametrize(("best", "code"), [("s-0001", ExitCode.FINE), ("", ExitCode.NO_CHECKPOINT)])
@pytest.mark.parametrize("launcher", ["cohort", "submitit_local"])
def test_a_search_ends_as_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: str, code: ExitCode, launcher: str
) -> None:
    photos = write_tiny_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for name in ("search", "search_elsewhere"):
        monkeypatch.setattr(searching, name, lambda *_, **__: found(best))
    if launcher != "cohort":
        pytest.importorskip("submitit")
    assert cli.main(["sweep", "lr", str(photos), *WORDS, f"hydra/launcher={launcher}"]) == code


@pytest.mark.parametrize(("error", "code"), [(FAILED, 1), (WRONG, 2), (FULL, 75)])
def test_a_search_that_cannot_go_on_ends_as_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: UserError, code: int
) -> None:
    def search(*_: object, **__: object) -> SearchOutcome:
        raise error

    photos = write_tiny_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(searching, "search", search)
    assert cli.main(["sweep", "lr", str(photos), *WORDS]) == code


def test_a_real_search_that_finds_nothing_to_use_says_so(
    overrides: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny model draws noise, so that none of its checkpoints is usable."""
    sheet = ("sample.seeds=[0]", "sample.fresh_seeds=[1]", "sample.steps=2", *(f"~sample.prompts.{p}" for p in DROPPED))
    short = ("optim.steps=2", "save.count=1", *sheet)
    words = overrides("track.mlflow=false", "evaluate.enabled=true", *short, "trials=2", "sampler=random")
    words = [word for word in words if not word.startswith("data.path")]
    assert cli.main(["sweep", "lr", str(tmp_path / "photos"), *words]) == ExitCode.NO_CHECKPOINT
    assert "none of 2 trials has a checkpoint to use" in capsys.readouterr().out


@pytest.mark.slow
def test_a_job_that_fails_in_a_process_of_its_own_is_heard_of(
    overrides: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    words = [word for word in overrides("track.mlflow=false", "optim.steps=2") if not word.startswith("data.path")]
    hot = ("optim.lr=1e30,1e-4", "optim.max_grad_norm=0", "-m", "hydra/launcher=submitit_local")
    assert cli.main(["train", str(tmp_path / "photos"), *words, *hot]) == ExitCode.FAILED
    assert "loss became nan at step 2" in capsys.readouterr().err
    assert [parent_of(run) for run in all_runs(tmp_path / "mlruns")] == ["", ""]  # neither made a parent that none ends
