"""``lorasweep evaluate FOLDER``: files under the names and in the layouts of other trainers, on a tiny random model.

Nothing on this model has a face, so the sheet asks for none; the pick then rests on the other components.
"""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.tiny import SIDE, load_tiny, write_tiny_photos
from contracts.tiny_models import load_tiny_kind, write_tiny
from safetensors.torch import load_file, save_file

from lorasweep import cli
from lorasweep.commands.evaluate import evaluate as evaluate_command
from lorasweep.commands.pick import pick
from lorasweep.commands.resume import resume
from lorasweep.config.compose import as_override, load_run
from lorasweep.config.schema import LoraConfig
from lorasweep.errors import TryAgainError, UserError
from lorasweep.models.lora.file import read_lora, write_lora
from lorasweep.models.lora.initial import initial_adapter
from lorasweep.records import RunView
from lorasweep.report.page import render
from lorasweep.report.table import checkpoint_table
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together
from lorasweep.track.recall import read_run

PROMPTS = ("p1_plain", "p4_expression")
NO_FACES = [f"sample.prompts.{key}.face=false" for key in PROMPTS]
LEFT_OUT = [f"~sample.prompts.{key}" for key in ("p2_side", "p3_scene", "p5_accessory", "p6_sketch")]
LEFT_OUT += [f"~sample.prompts.{key}" for key in ("p7_outside", "p8_class")]
SHEET = [*NO_FACES, *LEFT_OUT, "sample.seeds=[0]", "sample.fresh_seeds=[1000]", "sample.steps=2", "sample.guidance=1"]

Build = Callable[[Path, Sequence[Path], Any], list[str]]


@pytest.fixture(scope="module")
def checkpoints(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three LoRA files of 4, 8 and 12 steps, trained by us, with nothing of ours in their headers."""
    root = tmp_path_factory.mktemp("trained")
    words = [
        *("preset=person_portraits", as_override("data.path", str(write_tiny_photos(root / "photos")))),
        *(as_override("model.path", str(model_folder)), as_override("track.root", str(root / "mlruns"))),
        *(f"model.resolution={SIDE}", "data.repeats=2", "lora.rank=4", "optim.batch_size=2", "optim.steps=12"),
        *("save.count=3", "evaluate.enabled=false", "track.mlflow=false", "hardware.threads=1"),
    ]
    (outcome,) = train_together([load_run(words)], say=lambda _: None)
    files = sorted((outcome.folder / "checkpoints").glob("*.safetensors"))
    for file in files:
        save_file(load_file(file), file)
    return files


def kohya(folder: Path, files: Sequence[Path], _: Any) -> list[str]:
    names = ["me-000001.safetensors", "me-000002.safetensors", "me.safetensors"]
    for epoch, (name, file) in enumerate(zip(names, files, strict=True), start=1):
        header = {"ss_epoch": str(epoch), "ss_steps": str(4 * epoch), "ss_tag_frequency": '{"1_s1lv10": {"red": 5}}'}
        save_file(load_file(file), folder / name, header)
    return names


def bare_kohya(folder: Path, files: Sequence[Path], _: Any) -> list[str]:
    names = ["me-000001.safetensors", "me-000002.safetensors", "me.safetensors"]
    for name, file in zip(names, files, strict=True):
        shutil.copy(file, folder / name)
    return names


def ai_toolkit(folder: Path, files: Sequence[Path], _: Any) -> list[str]:
    names = ["me_000000004.safetensors", "me_000000008.safetensors", "me.safetensors"]
    for step, name, file in zip((4, 8, 12), names, files, strict=True):
        save_file(load_file(file), folder / name, {"training_info": json.dumps({"step": step, "epoch": 1})})
    return names


def one_trainer(folder: Path, files: Sequence[Path], _: Any) -> list[str]:
    names = [f"2026-05-01_12-0{n}-00-save-{step}-{n}-0.safetensors" for n, step in enumerate((4, 8, 12))]
    for name, file in zip(names, files, strict=True):
        shutil.copy(file, folder / name)
    return names


def diffusers(folder: Path, files: Sequence[Path], family: Any) -> list[str]:
    """SimpleTuner leaves the same."""
    names = [f"checkpoint-{step}/pytorch_lora_weights.safetensors" for step in (4, 8)]
    names.append("pytorch_lora_weights.safetensors")
    for name, file in zip(names, files, strict=True):
        write_lora(folder / name, read_lora(file, family), family, {}, layout="diffusers")
    return names


TRAINERS: dict[str, tuple[Build, str, list[int]]] = {
    "kohya": (kohya, "step", [4, 8, 12]),
    "bare kohya": (bare_kohya, "epoch", [1, 2, 3]),
    "ai-toolkit": (ai_toolkit, "step", [4, 8, 12]),
    "OneTrainer": (one_trainer, "step", [4, 8, 12]),
    "diffusers": (diffusers, "step", [4, 8, 12]),
}


def words_of(model_folder: Path, root: Path) -> list[str]:
    references = write_tiny_photos(root / "me, again = 'new'")
    return [
        *("preset=person_portraits", f"model.path={model_folder}", f"references={references}"),
        *(f"model.resolution={SIDE}", "hardware.threads=1", "track.mlflow=false", *SHEET),
    ]


@pytest.fixture
def words(model_folder: Path, tmp_path: Path) -> list[str]:
    """What a user types after the folder: a preset, the base, references in a folder with a difficult name.

    Finalists are drawn at their own strength only: `evaluated` draws the others.
    """
    return [*words_of(model_folder, tmp_path), "pick.strengths=[]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out, of=kohya"
    made.mkdir()
    return made


@dataclass(frozen=True)
class Evaluated:
    """A folder of kohya's files that was evaluated with everything that a preset asks for."""

    folder: Path
    outcome: Outcome
    said: list[str]

    @property
    def root(self) -> Path:
        return self.folder.parent / "mlruns"


@pytest.fixture(scope="module")
def evaluated(checkpoints: list[Path], model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Evaluated once: tests that add a run of the same folder do so in a root of their own."""
    folder = tmp_path_factory.mktemp("evaluated") / "out, of=kohya"
    folder.mkdir()
    kohya(folder, checkpoints, None)
    return Evaluated(folder, *evaluate(folder, words_of(model_folder, folder.parent)))


def evaluate(folder: Path, words: Sequence[str], *more: str) -> tuple[Outcome, list[str]]:
    """The outcome, and what was said."""
    said: list[str] = []
    root = folder.parent / "mlruns"
    return evaluate_command(root, str(folder), [*words, *more], say=said.append), said


def view_of(outcome: Outcome) -> RunView:
    return read_run(outcome.folder)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_files_of_each_trainer_are_drawn_scored_and_picked_from_in_order(
    trainer: str, checkpoints: list[Path], model_folder: Path, folder: Path, words: list[str]
) -> None:
    build, unit, steps = TRAINERS[trainer]
    names = build(folder, checkpoints, load_tiny(model_folder))
    outcome, said = evaluate(folder, words)
    view = view_of(outcome)
    assert [each.step for each in view.checkpoints] == steps
    assert [view.file_name(each.path) for each in view.checkpoints if each.path] == names
    assert view.provenance["evaluated"]["unit"] == unit
    assert [scores.step for scores in view.scores if not scores.fresh] == [0, *steps]
    assert outcome.skipped == ()
    assert outcome.pick is not None and outcome.pick.step in steps
    chosen = names[steps.index(outcome.pick.step)]
    assert outcome.file == folder / chosen
    assert f"Use {chosen} at strength {outcome.pick.strength:g}." in said


@pytest.mark.parametrize("kind", ["sdxl", "flux"])
def test_files_of_other_families_in_both_layouts_are_scored_and_one_of_sd15_among_them_is_skipped(
    kind: str, checkpoints: list[Path], folder: Path, words: list[str]
) -> None:
    model = write_tiny(kind, folder.with_name("model"))
    family = load_tiny_kind(kind, model)
    for step, layout in ((100, "kohya"), (200, "diffusers"), (300, "kohya")):
        adapter = {
            name: weights._replace(up=torch.randn(weights.up.shape, generator=torch.Generator().manual_seed(step)) / 9)
            for name, weights in initial_adapter(family, LoraConfig(rank=2, targets="linear"), step).items()
        }
        write_lora(folder / f"me-step{step:08d}.safetensors", adapter, family, {}, layout=layout)
    shutil.copy(checkpoints[0], folder / "me-step00000400.safetensors")
    outcome, _ = evaluate(folder, without(words, "model.path="), f"model.path={model}", f"model.family={kind}")
    view = view_of(outcome)
    assert [scores.step for scores in view.scores if not scores.fresh] == [0, 100, 200, 300]
    sheets = [tuple(s.sha256 for s in sheet.samples) for sheet in view.samples if not sheet.fresh]
    assert len(set(sheets)) == 4
    assert outcome.pick is not None
    assert outcome.pick.step in (100, 200, 300)
    (skipped,) = outcome.skipped
    assert skipped.startswith("me-step00000400.safetensors is skipped: ") and "another family, sd15" in skipped


def test_each_file_is_drawn_from_itself_with_the_same_prompts_and_seeds(
    checkpoints: list[Path], model_folder: Path, folder: Path, words: list[str]
) -> None:
    """The same weights under other names and in another layout make the same pictures."""
    bare_kohya(folder, checkpoints, None)
    kohya_view = view_of(evaluate(folder, words)[0])
    other = folder.with_name("diffusers")
    other.mkdir()
    diffusers(other, checkpoints, load_tiny(model_folder))
    diffusers_view = view_of(evaluate(other, words)[0])
    drawn = [
        [[sample.sha256 for sample in sheet.samples] for sheet in view.samples if not sheet.fresh and sheet.step]
        for view in (kohya_view, diffusers_view)
    ]
    assert drawn[0] == drawn[1]
    assert len({tuple(sheet) for sheet in drawn[0]}) == 3


def spoil(folder: Path, names: Sequence[str]) -> None:
    """A corrupt file, one of another family, one that is there already, and one that is a pickle."""
    (folder / "me-000004.safetensors").write_bytes((folder / names[0]).read_bytes()[:3000])
    stranger = "lora_unet_double_blocks_0_img_attn_qkv"
    parts = {f"{stranger}.lora_down.weight": torch.zeros(4, 8), f"{stranger}.lora_up.weight": torch.zeros(24, 4)}
    save_file(parts, folder / "me-000005.safetensors")
    save_file(load_file(folder / names[1]), folder / "me-000006.safetensors", {"ss_epoch": "6"})
    (folder / "me.pt").write_bytes(b"")


def test_a_corrupt_a_foreign_and_a_doubled_file_are_named_and_skipped_and_the_exit_code_says_so(
    checkpoints: list[Path], folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = bare_kohya(folder, checkpoints, None)
    spoil(folder, names)
    root = ["--root", str(folder.parent / "mlruns")]
    assert cli.main(["evaluate", str(folder), *words, *root, "--json"]) == 4
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    corrupt, foreign, double = result["skipped"]
    assert corrupt.startswith("me-000004.safetensors is skipped: ") and "no readable safetensors file" in corrupt
    assert foreign.startswith("me-000005.safetensors is skipped: ") and "another family, flux" in foreign
    assert double == "me-000006.safetensors is skipped: it holds the same weights as me-000002.safetensors."
    assert all(line in shown.err for line in result["skipped"])
    assert result["file"] in [str(folder / name) for name in names]
    assert [each.step for each in read_run(Path(result["folder"])).checkpoints] == [1, 2, 3]


def test_pick_and_report_take_the_folder_and_the_run_looks_like_our_own_without_losses(
    evaluated: Evaluated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, outcome = evaluated.folder, evaluated.outcome
    root = ["--root", str(evaluated.root)]
    capsys.readouterr()
    assert cli.main(["pick", str(folder), "--to", str(tmp_path / "chosen"), *root]) == 0
    assert outcome.file is not None and outcome.pick is not None
    assert f"Use {outcome.file.name} at strength {outcome.pick.strength:g}." in capsys.readouterr().out
    assert (tmp_path / "chosen" / outcome.file.name).read_bytes() == outcome.file.read_bytes()
    assert cli.main(["report", str(folder), *root]) == 0
    page = (outcome.folder / "report.html").read_text()
    assert "Use me" in page and "<h2>Strengths</h2>" in page and "trained elsewhere, so there are no losses" in page
    words_of_the_page, _, _ = page.partition("<h2>Again</h2>")  # what follows holds any change of the checkout's code
    own_words = words_of_the_page.replace(outcome.pick.run_verdict, "")  # which may name the learning rate
    assert "Loss <span" not in page and "learning rate" not in own_words
    view = view_of(outcome)
    assert (view.steps, view.source, view.status) == ((), folder, "finished")
    assert not {"lora", "optim", "save"} & set(view.config)
    assert checkpoint_table(view).columns[0].header == "file"
    assert render(view).count("me-000002.safetensors") >= 2


def test_a_folder_that_was_not_evaluated_yet_has_no_pick(
    checkpoints: list[Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kohya(folder, checkpoints, None)
    assert cli.main(["pick", str(folder), "--root", str(folder.parent / "mlruns")]) == 2
    assert "was not evaluated yet" in capsys.readouterr().err


def test_the_pick_is_drawn_at_other_strengths_and_the_cost_is_said_before(
    evaluated: Evaluated, checkpoints: list[Path], folder: Path, words: list[str]
) -> None:
    view, pick = view_of(evaluated.outcome), evaluated.outcome.pick
    assert pick is not None
    others = {0.5, 0.65, 0.8, 1.15, 1.3}
    assert {(each.scores.step, each.strength) for each in view.strengths} == {(pick.step, each) for each in others}
    folders = {sample.path.parent.parent.name for each in view.strengths for sample in each.samples.samples}
    assert folders == {f"strength-{each:g}" for each in others}
    own = {s.sha256 for sheet in view.samples if sheet.fresh and sheet.step for s in sheet.samples}
    assert own.isdisjoint(s.sha256 for each in view.strengths for s in each.samples.samples)
    assert (
        "Drawing 2 pictures with each of 3 files and the base model, 8 in all, then at most 8 of the finalists on "
        "fresh seeds and 10 more of the pick at other strengths (pick.strengths)."
    ) in evaluated.said
    kohya(folder, checkpoints, None)
    quiet, said = evaluate(folder, words, "pick.strengths=[]", "sample.strength=0.8")
    assert view_of(quiet).strengths == ()
    assert quiet.pick is not None and quiet.pick.strength == 0.8
    assert not any("strengths" in line for line in said if line.startswith("Drawing"))


def test_another_base_can_be_drawn_on_than_the_one_that_was_trained_on(
    evaluated: Evaluated, checkpoints: list[Path], folder: Path, words: list[str], model_folder: Path, tmp_path: Path
) -> None:
    kohya(folder, checkpoints, None)
    tuned = Path(shutil.copytree(model_folder, tmp_path / "tuned"))
    weights = tuned / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: value * 1.1 for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    plain, moved = view_of(evaluated.outcome), view_of(evaluate(folder, words, f"evaluate.model={tuned}")[0])
    assert moved.name.startswith("s1lv10-tuned-files-")
    assert [s.sha256 for s in moved.samples[0].samples] != [s.sha256 for s in plain.samples[0].samples]
    assert set(plain.provenance["weights"]) == {"model", "face", "clip"}
    assert set(moved.provenance["weights"]) == {"drawn_on", "face", "clip"}
    assert moved.provenance["signatures"]["evaluation"] != plain.provenance["signatures"]["evaluation"]


def test_an_interrupted_evaluation_is_finished_by_resume_with_what_was_drawn_already(
    checkpoints: list[Path], folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_kohya(folder, checkpoints, None)
    spoil(folder, ["me-000001.safetensors", "me-000002.safetensors"])
    words = [*words, "pick.strengths=[0.7]"]
    whole, _ = evaluate(folder, words)
    root = folder.parent / "mlruns"
    with monkeypatch.context() as patched:
        patched.setattr("lorasweep.run.recorder.RunRecorder.score_checkpoint", stopping_after(1))
        with pytest.raises(KeyboardInterrupt):
            evaluate(folder, words, "name=halted")
    halted = read_run(root / "runs" / "halted")
    assert halted.status == "stopped"
    assert [scores.step for scores in halted.scores if not scores.fresh] == [0, 1]
    drawn = {path: path.stat().st_mtime_ns for path in (halted.folder / "samples").rglob("*.png")}
    assert drawn
    (outcome,) = resume(root, str(folder), say=lambda _: None)
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    again = view_of(outcome)
    assert again.status == "finished"
    assert list(outcome.skipped) == halted.provenance["evaluated"]["skipped"]
    assert len(outcome.skipped) == 3
    assert [scores.score for scores in again.scores] == [scores.score for scores in view_of(whole).scores]
    assert outcome.pick is not None and whole.pick is not None
    assert (outcome.pick.step, outcome.pick.strength) == (whole.pick.step, whole.pick.strength)


def stopping_after(calls: int) -> Callable[..., Any]:
    """Ctrl-C comes while the file after so many is looked at."""
    from lorasweep.run.recorder import RunRecorder

    score, left = RunRecorder.score_checkpoint, iter(range(calls - 1))

    def scoring(self: RunRecorder, *args: Any, **options: Any) -> Any:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGINT)
        return score(self, *args, **options)

    return scoring


def test_evaluate_with_the_runs_own_name_scores_the_folder_again(
    checkpoints: list[Path], folder: Path, words: list[str]
) -> None:
    kohya(folder, checkpoints, None)
    first, _ = evaluate(folder, words, "pick.strengths=[0.7]")
    root = folder.parent / "mlruns"
    again = evaluate_command(root, first.name, say=lambda _: None)
    assert again.name == first.name
    assert again.pick == first.pick
    with pytest.raises(UserError, match="overrides are for a folder"):
        evaluate_command(root, first.name, ["seed=1"], say=lambda _: None)


@pytest.mark.parametrize("command", ["refit", "reproduce", "extend"])
def test_what_was_trained_elsewhere_cannot_be_trained_on_as_a_run_of_ours(
    evaluated: Evaluated, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["steps=4"] if command == "extend" else []
    assert cli.main([command, "last", *more, "--root", str(evaluated.root)]) == 2
    assert f"there is no training to {command}" in capsys.readouterr().err


def without(words: Sequence[str], start: str) -> list[str]:
    return [word for word in words if not word.startswith(start)]


def test_the_photos_have_the_roles_that_they_were_given_for(
    evaluated: Evaluated, checkpoints: list[Path], folder: Path, words: list[str], tmp_path: Path
) -> None:
    kohya(folder, checkpoints, None)
    photos = write_tiny_photos(tmp_path / "trained on", count=19)  # so many that a run of our own would hold some out
    for path in photos.glob("[01234].*"):  # which are the references
        path.unlink()
    trained = f"data.path={photos}"
    alone = view_of(evaluated.outcome)
    assert (len(alone.train), len(alone.held_out)) == (0, 5)
    assert any("copying is not judged" in note for note in alone.notes)
    both = view_of(evaluate(folder, words, trained)[0])
    assert (len(both.train), len(both.held_out)) == (14, 5)
    assert not any("copying" in note for note in both.notes)
    only = view_of(evaluate(folder, without(words, "references="), trained)[0])
    assert (len(only.train), len(only.held_out)) == (14, 0)
    assert any("All photos were trained on" in note for note in only.notes)


BAD: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "nothing to judge by": (lambda words: without(words, "references="), "nothing to judge a likeness by"),
    "no folder": (lambda words: [*without(words, "references="), "references=/nowhere"], "references is '/nowhere'"),
    "few photos": (lambda words: [*words, "sample.prompts.p1_plain.face=true"], "There are 4 photos to judge by; 5"),
    "no preset": (lambda words: words[1:], "preset is not chosen"),
    "wrong key": (lambda words: [*words, "evaluate.modell=x"], "evaluate.modell is not a key of a run"),
    "not judged": (lambda words: [*words, "evaluate.enabled=false"], "evaluate.enabled is false"),
    "no base": (lambda words: [*words, "model.path=/nowhere"], "model.path is '/nowhere'"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_one_sentence_before_anything_is_drawn(
    mistake: str, checkpoints: list[Path], folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    kohya(folder, checkpoints, None)
    if mistake == "few photos":
        next(folder.parent.glob("me, again*/0.png")).unlink()
        next(folder.parent.glob("me, again*/0.txt")).unlink()
    spoilt, sentence = BAD[mistake]
    root = folder.parent / "mlruns"
    assert cli.main(["evaluate", str(folder), *spoilt(words), "--root", str(root)]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1 and sentence in shown[0]
    assert not list(root.glob("runs/*"))


@pytest.mark.parametrize(
    ("what", "overrides", "sentence"),
    [
        ("empty", [], "empty holds no .safetensors file"),
        ("a.safetensors", [], "a.safetensors is a file; give the folder"),
        ("nowhere", [], "There is no single run"),
        ("nowhere", ["preset=person_portraits"], "nowhere does not exist; give a folder of LoRA files"),
    ],
)
def test_what_is_no_folder_of_files_and_no_run_is_named(
    tmp_path: Path, what: str, overrides: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=sentence):
        evaluate_command(tmp_path / "mlruns", str(tmp_path / what), overrides)


def test_a_folder_without_one_good_file_names_each_of_them_and_no_run_begins(
    folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.safetensors").write_bytes(b"not one")
    assert cli.main(["evaluate", str(folder), *words, "--root", str(folder.parent / "mlruns")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "holds no file that can be scored" in first and "a.safetensors is skipped: " in second
    assert not list((folder.parent / "mlruns").glob("runs/*"))


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_disk_that_is_full_from_the_beginning_leaves_no_run(
    checkpoints: list[Path], folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    kohya(folder, checkpoints, None)
    real, left = os.fsync, iter(range(last))

    def fsync(handle: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(TryAgainError, match="The disk is full"):
        evaluate(folder, words)
    assert not [path for path in (folder.parent / "mlruns").glob("runs/*") if path.is_dir()]


def test_the_trigger_comes_from_the_header_unless_it_is_given_and_a_wrong_one_is_told(
    checkpoints: list[Path], folder: Path, words: list[str]
) -> None:
    header = {"modelspec.trigger_phrase": "zwx", "ss_tag_frequency": '{"1_zwx": {"zwx": 5}}'}
    save_file(load_file(checkpoints[0]), folder / "a.safetensors", header)
    named = view_of(evaluate(folder, words)[0])
    assert named.prompts[0].text.startswith("a photo of zwx person")
    given = view_of(evaluate(folder, words, "data.trigger=ohwx")[0])
    assert given.prompts[0].text.startswith("a photo of ohwx person")
    assert any("never hold the trigger 'ohwx'" in note for note in given.notes)
    assert not any("never hold" in note for note in named.notes)


@pytest.mark.slow
def test_a_drawn_persons_folder_is_judged_by_likeness_and_mlflow_holds_it_like_a_run_of_our_own(tmp_path: Path) -> None:
    """Trained by us on the portraits model, written in diffusers' layout, beside three files that are of no use."""
    from lorasweep.config.schema import HardwareConfig, ModelConfig
    from lorasweep.models import load_family
    from lorasweep.portraits.folder import write_person

    write_person(tmp_path, 520)
    trained, root = tmp_path / "trained", tmp_path / "mlruns"
    common = [f"data.path={tmp_path / 'photos'}", "hardware.threads=1"]
    words = ["preset=person_portraits", *common, "optim.steps=36", "save.count=3", "evaluate.enabled=false"]
    (run,) = train_together([load_run([*words, f"track.root={trained}", "track.mlflow=false"])], say=lambda _: None)
    files = sorted((run.folder / "checkpoints").glob("*.safetensors"))
    folder = tmp_path / "simple tuner"
    folder.mkdir()
    family = load_family(ModelConfig(path="portraits", resolution=64), HardwareConfig(device="cpu"))
    diffusers(folder, files, family)
    spoil(folder, ["checkpoint-4/pytorch_lora_weights.safetensors", "checkpoint-8/pytorch_lora_weights.safetensors"])
    short = ["sample.seeds=[0]", "sample.fresh_seeds=[1000]", "sample.steps=2", "pick.strengths=[0.85,1.0]"]
    short.append("pick.least_likeness=0.2")  # so few steps leave half a stranger
    references = f"references={tmp_path / 'held_out'}"
    outcome = evaluate_command(root, str(folder), ["preset=person_portraits", *common, *short, references])
    view = read_run(outcome.folder)
    standing = [scores for scores in view.scores if scores.step and not scores.fresh]
    identity = [scores.components["identity"] for scores in standing]
    assert min(identity) > 0.2  # 0 is the stranger that the base model draws
    assert len(outcome.skipped) == 3
    assert outcome.pick is not None and outcome.pick.step in (4, 8, 12)
    assert pick(root, str(folder)).file == outcome.file
    logged = mlflow_run(root, outcome.name)
    assert logged.info.status == "FINISHED"
    assert (logged.data.tags["lorasweep.kind"], logged.data.tags["lorasweep.picked"]) == (
        "evaluation",
        str(outcome.pick.step),
    )
    assert logged.data.metrics["picked/strength"] == outcome.pick.strength
    assert logged.data.metrics["eval/identity"] == pytest.approx(identity[-1])
    assert not [key for key in logged.data.metrics if key.startswith("train/")]
    assert not [key for key in logged.data.params if key.startswith(("optim.", "lora.", "save."))]
    assert logged.data.params["sample.steps"] == "2"
    assert len(logged.outputs.model_outputs) == 3


def mlflow_run(root: Path, name: str) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{(root / 'mlflow.db').absolute()}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "lorasweep"]
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`lorasweep.run` = '{name}'")
    return client.get_run(found.info.run_id)
