import contextlib
import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

import lorasweep
from lorasweep import cli
from lorasweep.errors import ExitCode, RunFailedError, TryAgainError, UserError
from lorasweep.records import Pick
from lorasweep.run import training
from lorasweep.search import searching
from lorasweep.search.winner import SearchOutcome

MODULES = {name: cli.module_of(name) for name in cli.COMMANDS}
FUNCTIONS = {name: "import_settings" if name == "import" else name for name in cli.COMMANDS if name != "sweep"}


class App:
    """What commands call, noted; ``answers[name]`` is returned, or raised."""

    def __init__(self) -> None:
        self.calls, self.answers = [], {}

    def function(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            print(f"{name} talks")
            answer = self.answers.get(name)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call


@pytest.fixture
def app(monkeypatch):
    """Commands with a stand-in for the function that each is about."""
    fake = App()
    for name, function in FUNCTIONS.items():
        monkeypatch.setattr(MODULES[name], function, fake.function(name))
    monkeypatch.setattr(MODULES["train"], "Multirun", lambda run: contextlib.nullcontext(object()))
    monkeypatch.setattr(sys, "argv", ["lorasweep"])
    return fake


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder whose name has everything in it that Hydra's grammar knows."""
    folder = tmp_path / "my photos, of 'me' = ${x} [2]\\"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["resume", "last"], ("resume", (Path("mlruns"), "last"), {})),
        (["evaluate", "r", "--root", "x"], ("evaluate", (Path("x"), "r", []), {"config_dirs": []})),
        (
            ["evaluate", "my files", "--json", "preset=p", "references=a, b=c", "--config-dir", "d", "optim.lr=1"],
            (
                "evaluate",
                (Path("mlruns"), "my files", ["preset=p", "references=a, b=c", "optim.lr=1"]),
                {"config_dirs": ["d"]},
            ),
        ),
        (
            ["plan", "my photos", "preset=p", "--json", "optim.steps=9"],
            ("plan", ("my photos", ["preset=p", "optim.steps=9"]), {"config_dirs": []}),
        ),
        (
            ["caption", "my photos", "trigger=s1lv10", "--json", "prefix=s1lv10 man"],
            ("caption", ("my photos", ["trigger=s1lv10", "prefix=s1lv10 man"]), {}),
        ),
        (
            ["import", "k.json", "my photos", "--to", "preset/a.yaml", "--steps", "9", "--overwrite"],
            (
                "import",
                ("k.json", "my photos"),
                {"to": "preset/a.yaml", "like": None, "steps": 9, "overwrite": True},
            ),
        ),
        (["pick", "r", "--to", "d"], ("pick", (Path("mlruns"), "r", Path("d")), {"step": None, "why": None})),
        (["pick", "r"], ("pick", (Path("mlruns"), "r", None), {"step": None, "why": None})),
        (["pick", "r", "--step", "40"], ("pick", (Path("mlruns"), "r", None), {"step": 40, "why": None})),
        (["pick", "r", "--why"], ("pick", (Path("mlruns"), "r", None), {"step": None, "why": "neighbours"})),
        (["pick", "r", "--why", "0", "--json"], ("pick", (Path("mlruns"), "r", None), {"step": None, "why": 0})),
        (["extend", "r", "steps=40", "--step", "8"], ("extend", (Path("mlruns"), "r", 40, 8), {})),
        (["extend", "r", "40"], ("extend", (Path("mlruns"), "r", 40, None), {})),
        (
            ["export", "r", "format=diffusers", "--step", "8", "--audit"],
            ("export", (Path("mlruns"), "r", "diffusers"), {"to": None, "step": 8, "audit": True}),
        ),
        (["refit", "r"], ("refit", (Path("mlruns"), "r"), {})),
        (["report", "r"], ("report", (Path("mlruns"), "r"), {})),
        (["reproduce", "r", "--verify"], ("reproduce", (Path("mlruns"), "r", True), {})),
        (["ui", "--port", "5001"], ("ui", (Path("mlruns"), 5001), {})),
        (["sync"], ("sync", (Path("mlruns"),), {})),
        (["doctor"], ("doctor", (Path("mlruns"),), {})),
        (["demo", "--fast"], ("demo", (Path("mlruns"),), {"fast": True})),
    ],
)
def test_a_command_calls_one_function(app, words, call):
    app.answers[words[0]] = answer_of(words[0])
    assert cli.main(words) == 0
    assert app.calls == [call]


def answer_of(command):
    """What the function of a command returns if all went well."""
    if command in ("resume", "demo"):
        return [Ended()]
    if command in ("evaluate", "extend", "refit"):
        return Ended()
    fine = types.SimpleNamespace(fine=True, fits=True, pick=picked(4))
    return {"doctor": (Found("disk", True, "40 GiB free"),), "ui": 0}.get(command, fine)


def test_every_command_is_a_module_with_the_same_two_functions():
    for name, module in MODULES.items():
        wanted = {"words"} if name in cli.OF_HYDRA else {"options"}
        assert set(inspect.signature(module.main).parameters) == wanted, name
        assert name in cli.OF_HYDRA or list(inspect.signature(module.add_arguments).parameters) == ["parser"]
    folder = Path(lorasweep.__file__).parent / "commands"
    shared = {"__init__", "photos", "runs"}
    assert {path.stem for path in folder.glob("*.py")} - shared == {
        module.__name__.rpartition(".")[2] for module in MODULES.values()
    }


def test_every_call_fits_the_function_that_it_is_for():
    shapes = {
        **dict.fromkeys(("resume", "refit", "report"), (("root", "run"), {})),
        "evaluate": (("root", "run", ["preset=p"]), {"config_dirs": []}),
        **{
            "pick": (("root", "run", None), {"step": 4, "why": None}),
            "reproduce": (("root", "run", False), {}),
            "ui": (("root", 5000), {}),
        },
        "plan": (("photos", ["preset=p"]), {"config_dirs": []}),
        "caption": (("photos", ["trigger=s1lv10"]), {}),
        "check": (("photos", ["preset=p"]), {"config_dirs": [], "sheet": None, "fix": None}),
        "import": (("k.json", None), {"to": None, "like": None, "steps": None, "overwrite": False}),
        "extend": (("root", "run", 40, None), {}),
        "export": (("root", "run", "kohya"), {"to": None, "step": None, "audit": False}),
        **{"sync": (("root",), {}), "doctor": (("root",), {}), "demo": (("root",), {"fast": False})},
        "train": (("run", "parent"), {}),
    }
    assert set(shapes) == set(FUNCTIONS)
    for name, (args, kwargs) in shapes.items():
        inspect.signature(getattr(MODULES[name], FUNCTIONS[name])).bind(*args, **kwargs)


def test_train_hands_over_the_folder_untouched_and_the_overrides(app, photos):
    app.answers["train"] = Ended(pick=picked(4), score=0.8)
    assert cli.main(["train", photos.name, "preset=person_portraits", "optim.lr=3e-4"]) == 0
    ((name, (run,), _),) = app.calls
    assert name == "train"
    assert run.data.path == str(photos)
    assert run.optim.lr == 3e-4


def test_a_multirun_trains_each_value(app, photos):
    app.answers["train"] = Ended(pick=picked(4), score=0.8)
    assert cli.main(["train", str(photos), "-m", "preset=person_portraits", "optim.lr=3e-4,1e-3"]) == 0
    assert [(run.data.path, run.optim.lr) for _, (run, _), _ in app.calls] == [(str(photos), 3e-4), (str(photos), 1e-3)]


def test_the_runs_of_a_multirun_get_one_parent_and_a_run_alone_gets_none(app, photos):
    app.answers["train"] = Ended(pick=picked(4), score=0.8)
    assert cli.main(["train", str(photos), "-m", "preset=person_portraits", "optim.lr=3e-4,1e-3"]) == 0
    (_, first), (_, second) = (args for _, args, _ in app.calls)
    assert first is second is not None
    app.calls.clear()
    assert cli.main(["train", str(photos), "preset=person_portraits"]) == 0
    assert [len(args) for _, args, _ in app.calls] == [1]


def test_the_cohort_launcher_is_handed_all_values_at_once(app, photos, monkeypatch):
    def together(runs, width):
        app.calls.append(("train_together", [run.optim.lr for run in runs], width))
        return [Ended(pick=picked(4), score=0.5) for _ in runs]

    monkeypatch.setattr(training, "train_together", together)
    words = ["preset=person_portraits", "optim.lr=3e-4,1e-3", "-m", "hydra/launcher=cohort", "hydra.launcher.width=2"]
    assert cli.main(["train", str(photos), *words]) == 0
    assert app.calls == [("train_together", [3e-4, 1e-3], 2)]


def test_sweep_is_short_for_a_multirun_with_our_sweeper(app, photos, monkeypatch):
    def search(plan, compose, words, worker):
        app.calls.append((plan, compose([*words, "optim.lr=2e-3"]), worker))
        return searched()

    monkeypatch.setattr(searching, "search", search)
    words = ["preset=person_portraits", "trials=5", "sampler=random", "width=3", "study=mine", "lora.rank=4,8"]
    assert cli.main(["sweep", "lr", str(photos), *words]) == 0
    ((plan, run, worker),) = app.calls
    assert (plan.name, plan.trials, plan.sampler, plan.width, plan.study) == ("lr", 5, "random", 3, "mine")
    assert sorted(plan.space) == ["lora.rank", "optim.lr"]
    assert plan.base == ["optim.schedule=constant"]
    assert (run.data.path, run.optim.lr, run.optim.steps, worker) == (str(photos), 2e-3, 500, False)


def test_a_launcher_that_starts_processes_gets_workers(app, photos, monkeypatch):
    def elsewhere(plan, compose, words, launch):
        app.calls.append((plan.workers, plan.width, [word for word in words if "=" in word]))
        return searched()

    monkeypatch.setattr(searching, "search_elsewhere", elsewhere)
    words = ["preset=person_portraits", "hydra/launcher=submitit_local", "workers=3", "width=2"]
    pytest.importorskip("submitit")
    assert cli.main(["sweep", "lr", str(photos), *words]) == 0
    ((workers, width, told),) = app.calls
    assert (workers, width) == (3, 2)
    assert "preset=person_portraits" in told


def searched():
    fine = {"params": {}, "step": 4, "strength": 1.0, "score": 0.5, "file": None}
    return SearchOutcome(study="s", trials=5, best="run", **fine)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rate", "PHOTOS", "preset=person_portraits"], "the search is 'rate'; it must be a YAML file or one of"),
        (["lr", "nowhere", "preset=person_portraits"], "the folder of photos 'nowhere' does not exist"),
        (["lr", "PHOTOS", "preset=person_portraits", "trials=0"], "trials is 0; it must be a number above zero"),
        (["lr", "PHOTOS", "preset=person_portraits", "sampler=x"], "sampler is 'x'; it must be one of tpe, gp"),
        (["lr", "PHOTOS", "preset=person_portraits", "width=0"], "width is 0; it must be auto or a number"),
    ],
)
def test_a_wrong_search_is_one_sentence_and_exit_code_2(app, photos, capsys, words, sentence):
    assert cli.main(["sweep", *[str(photos) if word == "PHOTOS" else word for word in words]]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1


def test_cfg_job_trains_nothing(app, photos, capsys):
    assert cli.main(["train", str(photos), "preset=person_portraits", "--cfg", "job"]) == 0
    assert app.calls == []
    assert "family: sd15" in capsys.readouterr().out


def test_a_run_that_was_not_judged_is_fine_without_a_pick(app, photos):
    app.answers["train"] = Ended(pick=picked(None))
    assert cli.main(["train", str(photos), "preset=person_portraits"]) == 3
    app.answers["train"] = Ended()
    assert cli.main(["train", str(photos), "preset=person_portraits", "evaluate=off"]) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "nowhere", "preset=person_portraits"], "the folder of photos 'nowhere' does not exist"),
        (
            ["train", ".", "preset=person_portraits", "optim.lrr=1"],
            "optim.lrr is not a key of a run; did you mean optim.lr?",
        ),
        (["train", "."], "preset is not chosen; add preset=NAME"),
        (["train", ".", "preset=person_portraits", "optim.lr=0"], "optim.lr is 0.0; it must be a number above zero"),
        (["train", ".", "preset=person_portraits", "seed=1,2"], "'seed=1,2' holds several values; add -m"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(app, photos, capsys, words, sentence):
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("lorasweep: ")
    assert sentence in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert app.calls == []


def picked(step):
    return Pick(
        **{
            "trial": "r",
            "step": step,
            "best_step": 2,
            "runner_up": None,
            "eligible": (),
            "score": 0.5,
            "confidence": 0.9,
        },
        **{"verdicts": (), "run_verdict": "fine", "reason": "because"},
    )


@dataclass
class Found:
    what: str
    fine: bool
    says: str


@dataclass
class Ended:
    error: Exception | None = None
    pick: Pick | None = None
    skipped: tuple[str, ...] = ()
    status: str = "finished"
    score: float = float("nan")
    name: str = "run"
    folder: str = "x"


@dataclass
class Given:
    pick: Pick
    file: Path | None = None
    path: Path | None = None
    score: float = float("nan")


STYLE = dataclasses.replace(picked(None), run_verdict="look at the sheet")


@pytest.mark.parametrize(
    ("command", "answer", "code"),
    [
        ("pick", Given(picked(4)), 0),
        ("pick", Given(picked(None)), 3),
        ("resume", [Ended(None, picked(4)), Ended(ValueError("nan"))], 1),
        ("resume", [Ended(None, picked(None))], 3),
        ("refit", Ended(None), 0),
        ("resume", [Ended(None, STYLE)], 0),
        ("evaluate", Ended(None, STYLE, ("a is skipped",)), 4),
        ("pick", Given(STYLE), 3),
        ("evaluate", Ended(None, picked(4), ("a is skipped",)), 4),
        ("evaluate", Ended(None, picked(None), ("a is skipped",)), 3),
        ("plan", types.SimpleNamespace(fits=True), 0),
        ("plan", types.SimpleNamespace(fits=False), 2),
        ("evaluate", UserError("no photos"), 2),
        ("evaluate", FileNotFoundError(2, "No such file or directory", "a.png"), 2),
        ("evaluate", OSError(28, "No space left on device", "b.safetensors"), 75),
        ("evaluate", ConnectionRefusedError(111, "Connection refused"), 75),
        ("evaluate", PermissionError(13, "Permission denied", "c"), 1),
        ("resume", RunFailedError("the loss became NaN"), 1),
        ("resume", TryAgainError("the disk is full"), 75),
        ("resume", KeyboardInterrupt(), 130),
    ],
)
def test_the_exit_code_says_how_it_ended(app, command, answer, code, capsys):
    app.answers[command] = answer
    assert cli.main([command, "last"]) == code
    shown = capsys.readouterr().err
    assert shown.count("\n") == (1 if isinstance(answer, BaseException) else 0)
    assert "Traceback" not in shown


def test_sigterm_keeps_its_exit_code(app):
    app.answers["resume"] = SystemExit(143)
    with pytest.raises(SystemExit, match="143"):
        cli.main(["resume", "last"])


def test_doctor_prints_its_findings_and_fails_on_a_bad_one(app, capsys):
    app.answers["doctor"] = (Found("disk", True, "40 GiB free"), Found("store", False, "does not answer"))
    assert cli.main(["doctor"]) == 1
    assert "NOT FINE  store      does not answer" in capsys.readouterr().out


def test_json_alone_is_on_stdout_and_nan_is_null(app, capsys):
    app.answers["pick"] = Given(picked(4), path=Path("a/b"))
    assert cli.main(["pick", "last", "--json"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["path"], result["score"], result["pick"]["step"]) == (str(Path("a/b")), None, 4)
    assert "pick talks" in shown.err


@pytest.mark.parametrize(
    "bug",
    [ValueError("operands could not be broadcast\ntogether"), RuntimeError("size mismatch"), KeyError("step")],
)
def test_a_bug_is_one_sentence_with_its_traceback_in_a_file(app, monkeypatch, tmp_path, capsys, bug):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrst")
    app.answers["pick"] = bug
    bug.add_note("called with hf_abcdefghijklmnopqrst")
    assert cli.main(["pick", "last"]) == ExitCode.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    (file,) = tmp_path.glob("lorasweep-traceback-*.txt")
    assert line.endswith(f"please report it on the project's issue page with {file}")
    assert f"{type(bug).__name__}: {str(bug).splitlines()[0]}" in line
    text = file.read_text()
    assert "Traceback (most recent call last)" in text
    assert f"lorasweep {lorasweep.__version__}" in text
    assert "abcdefghijklmnopqrst" not in text


def test_a_bug_on_a_full_disk_prints_its_traceback(app, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    app.answers["pick"] = ValueError("shapes")
    assert cli.main(["pick", "last"]) == ExitCode.FAILED
    shown = capsys.readouterr().err
    assert "lorasweep: this is a fault of lorasweep (ValueError: shapes); please report it" in shown
    assert "Traceback (most recent call last)" in shown


def test_an_error_of_the_user_is_no_value_error_of_a_library():
    assert not issubclass(UserError, ValueError)


def test_a_traceback_can_be_had(app, monkeypatch):
    monkeypatch.setenv("LORASWEEP_TRACEBACK", "1")
    for error in (UserError("no run"), ValueError("shapes")):
        app.answers["pick"] = error
        with pytest.raises(type(error)):
            cli.main(["pick", "last"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lorasweep ", {"train", "demo", "pick"}),
        ("lorasweep train 'my photos' preset=person_p", {"preset=person_portraits"}),
        ("lorasweep train my\\ photos preset=person_portraits optim.l", {"optim.lr="}),
    ],
)
def test_tab_completes_commands_presets_and_keys(app, monkeypatch, capsys, line, expected):
    monkeypatch.setenv("COMP_LINE", line)
    assert cli.main(["-sc", "query=bash"]) == 0
    words = set(capsys.readouterr().out.split())
    assert expected <= words
    assert len(expected) == 3 or expected == words


def test_no_command_and_an_unknown_one_are_wrong_usage(capsys):
    for words in ([], ["trian"], ["train"], ["pick"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(words)
    assert "'trian'" in capsys.readouterr().err


def test_help_answers_at_once_and_imports_nothing_heavy():
    heavy = "import sys; from lorasweep import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    heavy += "print({name.split('.')[0] for name in sys.modules} & {'torch', 'hydra', 'mlflow', 'numpy', 'omegaconf'})"
    source = Path(lorasweep.__file__).parents[1]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", heavy],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.perf_counter() - start < 5, "it takes 0.1 s on an idle machine"
    assert done.stdout.endswith("set()\n")
    for command in cli.COMMANDS:
        assert f"\n    {command}" in done.stdout
    for code in (0, 1, 2, 3, 4, 75, 130):
        assert f"\n  {code} " in done.stdout


def test_the_readme_names_every_command_and_exit_code():
    text = Path(__file__).parents[2].joinpath("README.md").read_text()
    for command in cli.COMMANDS:
        assert f"lorasweep {command}" in text
    for code in set(ExitCode) - {ExitCode.TERMINATED}:
        assert f"| {code} |" in text
    assert f"{ExitCode.TERMINATED} by SIGTERM" in text


def test_the_console_script_is_main():
    try:
        scripts = importlib.metadata.distribution("lorasweep").entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("lorasweep is not installed here")
    assert {"lorasweep": "lorasweep.cli:main"}.items() <= {entry.name: entry.value for entry in scripts}.items()


@pytest.mark.parametrize("word", ["steps=", "steps=0", "steps=-3", "many"])
def test_extend_asks_for_a_number_of_steps(word, capsys):
    assert cli.main(["extend", "r", "--", word]) == ExitCode.USAGE
    assert f"extend was told '{word}'; say how many steps to go on for, as in steps=400" in capsys.readouterr().err


@pytest.mark.slow
def test_a_command_that_opens_models_repeats_no_librarys_complaint():
    script = "from lorasweep import cli\ncli.main(['pick', 'nothing'])\n"
    script += "from lorasweep.config.compose import load_run\nfrom lorasweep.models import load_family\n"
    script += "run = load_run(['preset=person_portraits', 'data.path=here'])\nload_family(run.model, run.hardware)\n"
    # its import takes a second, which nobody owes who packs no weights
    script += "import sys; print('bitsandbytes' in sys.modules)\n"
    source = Path(lorasweep.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "kernels" not in done.stderr
    assert done.stdout == "False\n"
