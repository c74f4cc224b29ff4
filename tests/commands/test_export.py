"""``lorasweep export``: a checkpoint in another program's layout, and what its header tells."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from lorasweep import cli
from lorasweep.commands.export import export
from lorasweep.config.compose import load_run
from lorasweep.models.lora.header import read_header
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together
from lorasweep.track.recall import read_run

Overrides = Callable[..., list[str]]
MODULE = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture
def outcome(overrides: Overrides) -> Outcome:
    (found,) = train_together([load_run(overrides("track.mlflow=false", "name=anna"))], say=lambda _: None)
    return found


def checkpoint(outcome: Outcome, step: int) -> Path:
    path = next(each.path for each in read_run(outcome.folder).checkpoints if each.step == step)
    assert path is not None
    return path


def test_kohyas_layout_is_the_checkpoint_itself(outcome: Outcome, tmp_path: Path) -> None:
    root = str(tmp_path / "mlruns")
    assert cli.main(["export", "anna", "--root", root, "--step", "8", "--to", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == "anna-000008.safetensors"
    assert file.read_bytes() == checkpoint(outcome, 8).read_bytes()


def test_diffusers_layout_has_the_scale_in_its_weights_and_keeps_the_runs_lines(
    outcome: Outcome, tmp_path: Path
) -> None:
    file = export(tmp_path / "mlruns", "anna", "diffusers", step=12)
    assert file == outcome.folder / "exported" / "anna-000012-diffusers.safetensors"
    ours, theirs = load_file(checkpoint(outcome, 12)), load_file(file)
    name = f"lora_unet_{MODULE.replace('.', '_')}"
    scale = ours[f"{name}.alpha"].item() / 4
    assert theirs[f"unet.{MODULE}.lora_A.weight"].equal(ours[f"{name}.lora_down.weight"])
    assert theirs[f"unet.{MODULE}.lora_B.weight"].equal(ours[f"{name}.lora_up.weight"] * scale)
    assert len(theirs) * 3 == len(ours) * 2
    header = read_header(file)
    assert (header["lorasweep.step"], header["ss_steps"]) == ("12", "12")
    assert header["modelspec.trigger_phrase"] == read_header(checkpoint(outcome, 12))["modelspec.trigger_phrase"]


def test_a_file_that_another_trainer_made_is_put_into_kohyas_layout(outcome: Outcome, tmp_path: Path) -> None:
    """As it lies in the folder of a run that scored another trainer's files."""
    own = checkpoint(outcome, 4)
    foreign = export(tmp_path / "mlruns", "anna", "diffusers", step=4)
    expected = load_file(own)
    save_file(load_file(foreign), own, metadata={"format": "pt", "ss_steps": "4"})
    _rewrite_manifest(outcome.folder, own)
    file = export(tmp_path / "mlruns", "anna", "kohya", step=4)
    found = load_file(file)
    assert found.keys() == expected.keys()
    name = f"lora_unet_{MODULE.replace('.', '_')}"
    assert found[f"{name}.alpha"].item() == 4.0
    header = read_header(file)
    assert header["ss_base_model_version"] == "sd_v1"
    assert header["ss_steps"] == "4"
    assert "format" not in header


def _rewrite_manifest(folder: Path, changed: Path) -> None:
    path = folder / "checkpoints" / "manifest.json"
    manifest = json.loads(path.read_text())
    for line in manifest["checkpoints"]:
        if line["file"] == changed.name:
            line["sha256"] = hashlib.sha256(changed.read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))


@pytest.mark.usefixtures("outcome")
def test_audit_prints_each_line_and_what_it_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["export", "anna", "--root", str(tmp_path / "mlruns"), "--step", "4", "--audit"]) == 0
    told = capsys.readouterr().out
    assert "anna-000004.safetensors has " in told
    assert "ss_output_name = anna   <- the name of the run" in told
    assert "ss_steps = 4\n" in told
    assert str(tmp_path) not in told.rsplit("\n", 2)[0]


@pytest.mark.usefixtures("outcome")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--step", "5"], "anna has no checkpoint at step 5; it has 4, 8, 12."),
        ([], "anna has no picked checkpoint; name one with --step."),
        (["format=onnx", "--step", "4"], "export was told format='onnx'; it must be one of kohya, diffusers."),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", "anna", *words, "--root", str(tmp_path / "mlruns")]) == 2
    assert sentence in capsys.readouterr().err
