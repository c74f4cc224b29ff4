"""What a user can get wrong, through the command line: one sentence, an exit code, and nothing half-written."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from contracts.fixtures import tiny_overrides
from contracts.tiny import SIDE, write_tiny_photos
from PIL import Image
from safetensors.torch import save_file

from lorasweep import cli
from lorasweep.config.compose import as_override
from lorasweep.track.recall import read_run

Command = Callable[..., int]
Spoil = Callable[[Path], object]


def words_of(model_folder: Path, root: Path) -> list[str]:
    """What is typed after the photos."""
    words = [word for word in tiny_overrides(root.parent / "photos", model_folder, root) if "data.path" not in word]
    return [*words, "track.mlflow=false", "name=run"]


@pytest.fixture
def train(model_folder: Path, tmp_path: Path) -> Command:
    """``lorasweep train`` on five photos, in this process."""
    photos, words = write_tiny_photos(tmp_path / "photos"), words_of(model_folder, tmp_path / "mlruns")
    return lambda *more: cli.main(["train", str(photos), *words, *more])


@pytest.fixture(scope="module")
def undisturbed(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The checkpoint files of the run that nothing goes wrong in."""
    root = tmp_path_factory.mktemp("undisturbed")
    assert cli.main(["train", str(write_tiny_photos(root / "photos")), *words_of(model_folder, root / "mlruns")]) == 0
    files = checkpoints(root / "mlruns")
    assert len(files) == 3
    return files


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on stderr."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


PHOTOS: dict[str, tuple[Spoil, str]] = {
    "empty folder": (empty, "photos', which holds no picture"),
    "missing folder": (shutil.rmtree, "photos' does not exist"),
    "unreadable": (lambda at: (at / "0.png").write_text("hello"), "0.png is not a picture that can be read"),
    "without a byte": (lambda at: (at / "0.png").write_bytes(b""), "0.png is empty (0 bytes)"),
    "truncated": (lambda at: truncate(at / "0.png"), "0.png is truncated or damaged"),
    "huge": (lambda at: Image.new("1", (9000, 9000)).save(at / "0.png"), "0.png has 81 megapixels; at most 64"),
    "caption alone": (lambda at: (at / "9.txt").write_text("a"), "9.txt is a caption without its picture"),
}


@pytest.mark.parametrize("spoil", PHOTOS)
def test_photos_that_cannot_be_used_are_named(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str
) -> None:
    PHOTOS[spoil][0](tmp_path / "photos")
    assert train() == 2
    assert PHOTOS[spoil][1] in told(capsys)
    assert not (tmp_path / "mlruns").exists()


def test_a_16_bit_picture_is_trained_on_with_its_tones(train: Command, tmp_path: Path) -> None:
    tones = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    Image.fromarray(tones).save(tmp_path / "photos" / "0.png")
    assert train("optim.steps=2") == 0


MODELS: dict[str, tuple[Spoil, str]] = {
    "no unet": (lambda at: shutil.rmtree(at / "unet"), "a model folder without a UNet; it needs a folder unet"),
    "empty unet": (lambda at: empty(at / "unet"), "model.path holds no whole unet: "),
    "cut unet": (lambda at: truncate(at / "unet" / "diffusion_pytorch_model.safetensors"), "holds no whole unet: "),
    "no index": (lambda at: (at / "model_index.json").unlink(), "which holds no model_index.json"),
    "broken index": (lambda at: (at / "model_index.json").write_text("{"), "model_index.json cannot be read"),
    "missing": (shutil.rmtree, "which is no folder or file here; give a diffusers folder"),
}


@pytest.mark.parametrize("spoil", MODELS)
def test_a_base_model_that_cannot_be_used_is_named(
    train: Command, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str
) -> None:
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    MODELS[spoil][0](model)
    assert train(as_override("model.path", str(model))) == 2
    assert MODELS[spoil][1] in told(capsys)
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optim.lrr=1", "optim.lrr is not a key of a run; did you mean optim.lr?"),
        ("optim.lr=fast", "optim.lr is 'fast'; it must be a number"),
        ("optim.lr=0", "optim.lr is 0.0; it must be a number above zero"),
        ("optim.lr=-1e-4", "optim.lr is -0.0001; it must be a number above zero"),
        ("sample.clip_skip=9", "sample.clip_skip is 9; the text encoder has 2 layers."),
        ("hardware.device=quantum", "hardware.device is 'quantum'; it must be auto, cpu, cuda or cuda:N."),
        ("name=../x", "name is '../x'; it must be made of letters, digits, dots, dashes and underscores"),
    ],
)
def test_a_wrong_key_or_value_is_named_and_no_run_begins(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, sentence: str
) -> None:
    assert train(override) == 2
    assert told(capsys) == f"lorasweep: {sentence}"
    assert not list((tmp_path / "mlruns").glob("runs/*"))


def test_a_mistake_in_a_multirun_leaves_no_parent_behind(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for launcher in ("basic", "cohort"):
        words = ("name=null", "optim.lr=1e-4,1e-3", "-m", f"hydra/launcher={launcher}")
        assert train("sample.clip_skip=9", *words) == 2
        assert "sample.clip_skip is 9" in told(capsys), launcher
    assert not list((tmp_path / "mlruns").glob("runs/*"))


def test_a_loss_that_becomes_nan_fails_the_run_and_keeps_its_good_checkpoints(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("optim.lr=1e30", "optim.max_grad_norm=0", "save.every_steps=1") == 1
    assert "loss became nan at step 2; lower optim.lr (now 1e+30)." in told(capsys)
    view = read_run(tmp_path / "mlruns" / "runs" / "run")
    assert view.status == "failed"
    assert [checkpoint.step for checkpoint in view.checkpoints] == [1]


def test_a_lora_of_another_family_is_named(train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one way in that there is so far: somebody put it in the place of a run's own, manifest and all."""
    assert train("evaluate.enabled=true", "sample.seeds=[0]", "sample.fresh_seeds=[1]", "sample.steps=2") == 3
    folder = tmp_path / "mlruns" / "runs" / "run"
    own = sorted((folder / "checkpoints").glob("*.safetensors"))[0]
    stranger = {f"lora_transformer_x.{part}": torch.zeros(4, 4) for part in ("lora_down.weight", "lora_up.weight")}
    before = hashlib.sha256(own.read_bytes()).hexdigest()
    save_file(stranger, own)
    manifest = folder / "checkpoints" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before, hashlib.sha256(own.read_bytes()).hexdigest()))
    shutil.rmtree(folder / "samples")
    capsys.readouterr()
    assert cli.main(["evaluate", "run", "--root", str(tmp_path / "mlruns")]) == 2
    assert f"{own.name} holds lora_transformer_x.lora_" in (sentence := told(capsys))
    assert "which the base model has no module for: is it a LoRA of another family?" in sentence


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_a_disk_that_is_full_from_the_beginning_leaves_no_run(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    filled_after(last, monkeypatch)
    assert train() == 75
    assert "The disk is full: " in told(capsys)
    assert not list((tmp_path / "mlruns").glob("runs/*"))


@pytest.mark.parametrize("last", [12, 14, 16, 18, 20, 22])
def test_a_disk_that_fills_up_keeps_what_is_whole_and_the_run_goes_on_to_the_same_bytes(
    train: Command,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    last: int,
) -> None:
    with monkeypatch.context() as patched:
        filled_after(last, patched)
        assert train() == 75
    assert "The disk is full: " in told(capsys)
    assert not list(tmp_path.rglob("*.tmp"))
    assert cli.main(["resume", "last", "--root", str(tmp_path / "mlruns")]) == 0
    assert checkpoints(tmp_path / "mlruns") == undisturbed


def checkpoints(root: Path) -> dict[str, bytes]:
    """The checkpoint files of the run."""
    return {path.name: path.read_bytes() for path in root.glob("runs/run/checkpoints/*.safetensors")}


def filled_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room on the disk after so many writes were made to last."""
    real, left = os.fsync, iter(range(calls))

    def fsync(handle: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
