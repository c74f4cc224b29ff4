"""Every family goes all the way: photos to checkpoints, pictures, scores, a pick, an export, and on from there."""

import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch

from lorasweep.commands.export import export
from lorasweep.commands.extend import extend
from lorasweep.config.compose import as_override, from_plain, load_run
from lorasweep.errors import UserError
from lorasweep.models import load_family
from lorasweep.models.lora.file import read_lora
from lorasweep.portraits.folder import write_person
from lorasweep.run.recorder import Outcome
from lorasweep.run.training import train_together
from lorasweep.track.recall import read_run

KINDS = ("sd15", "sdxl", "flux")
Unjudged = Callable[[str], tuple[Path, Outcome]]


def ignore(_: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of a person, and held-out ones; drawn once."""
    folder = tmp_path_factory.mktemp("drawn") / "person"
    write_person(folder, 3)
    return folder


@pytest.fixture(autouse=True)
def _own_person(person: Path, tmp_path: Path) -> None:
    shutil.copytree(person, tmp_path / "person")


@pytest.fixture(scope="module")
def unjudged(person: Path, model_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Unjudged:
    """Trains a family once without judging it; the folder of its runs, and what became of it, to be read only."""

    @cache
    def trained(kind: str) -> tuple[Path, Outcome]:
        at = tmp_path_factory.mktemp(kind)
        shutil.copytree(person, at / "person")
        return at / "mlruns", run(kind, model_of(kind), at, "evaluate.enabled=false", "lora.alpha=1")

    return trained


def typed(kind: str, model: Path, at: Path, *more: str) -> list[str]:
    """What a user would type: four steps, two checkpoints, a sheet of eight pictures."""
    clip_skip = [] if kind == "flux" else ["sample.clip_skip=0"]
    return [
        *("preset=person_portraits", f"model.family={kind}", "model.resolution=32"),
        as_override("model.path", str(model)),
        as_override("data.path", str(at / "person" / "photos")),
        as_override("data.held_out_path", str(at / "person" / "held_out")),
        as_override("track.root", str(at / "mlruns")),
        *("lora.rank=2", "lora.text_encoder=true", "optim.steps=4", "optim.batch_size=2", "save.count=2"),
        *("sample.seeds=[0]", "sample.fresh_seeds=[1000]", "sample.steps=2", "track.mlflow=false"),
        *("hardware.threads=1", *clip_skip, *more),
    ]


def run(kind: str, model: Path, at: Path, *more: str) -> Outcome:
    (outcome,) = train_together([load_run(typed(kind, model, at, *more))], say=ignore)
    return outcome


@pytest.mark.parametrize("source", ["folder", "single file"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_family_trains_draws_scores_picks_and_goes_on(
    kind: str, source: str, model_of: Callable[[str], Path], file_of: Callable[[str], Path], tmp_path: Path
) -> None:
    if source == "folder":
        outcome = run(kind, model_of(kind), tmp_path)
    else:
        outcome = run(kind, file_of(kind), tmp_path, as_override("model.config", str(model_of(kind))))
    view = read_run(outcome.folder)
    assert view.status == "finished"
    assert [scores.step for scores in view.scores if not scores.fresh] == [0, 2, 4]
    assert len([sample for sheet in view.samples if sheet.step == 4 for sample in sheet.samples]) >= 8
    assert outcome.pick is not None
    assert outcome.pick.reason
    longer = extend(tmp_path / "mlruns", outcome.name, 2, say=ignore)
    assert _starts_where_it_ended(longer, outcome)


def _starts_where_it_ended(longer: Outcome, outcome: Outcome) -> bool:
    """After two small steps the weights are near those of the checkpoint that was gone on from, and not the same."""
    config = from_plain(read_run(longer.folder).config)
    family = load_family(config.model, config.hardware)
    files = [read_run(each.folder).checkpoints[-1].path for each in (outcome, longer)]
    assert files[0] is not None
    assert files[1] is not None
    before, after = (read_lora(path, family) for path in files)  # type: ignore[arg-type]
    assert list(before) == list(after)
    apart = [float((after[name].down - before[name].down).norm() / before[name].down.norm()) for name in before]
    assert max(apart) > 1e-6
    return torch.tensor(apart).mean() < 0.2


def test_extending_says_which_checkpoints_there_are(unjudged: Unjudged) -> None:
    root, outcome = unjudged("sd15")
    with pytest.raises(UserError, match=r"has no checkpoint at step 3; it has 2, 4\."):
        extend(root, outcome.name, 2, 3, say=ignore)


@pytest.mark.parametrize(
    ("kind", "override", "sentence"),
    [
        ("flux", "lora.targets=convolution", "lora.targets is 'convolution', but FLUX has no convolutions"),
        ("flux", "optim.min_snr_gamma=5", "optim.min_snr_gamma is 5"),
        ("flux", "sample.sampler=ddim", "sample.sampler is 'ddim'"),
        ("flux", "model.resolution=40", "model.resolution is 40"),
        ("sdxl", "lora.init=nowhere.safetensors", "lora.init is 'nowhere.safetensors', which is no file"),
        ("sdxl", "sample.clip_skip=9", "sample.clip_skip"),
    ],
)
def test_what_a_family_cannot_do_is_told_before_a_run_is_named(
    kind: str, override: str, sentence: str, model_of: Callable[[str], Path], tmp_path: Path
) -> None:
    words: Sequence[str] = typed(kind, model_of(kind), tmp_path, override)
    with pytest.raises(UserError, match=sentence):
        train_together([load_run(words)], say=ignore)
    assert not list((tmp_path / "mlruns").glob("runs/*"))


def test_a_lora_of_another_family_is_no_start(
    unjudged: Unjudged, model_of: Callable[[str], Path], tmp_path: Path
) -> None:
    _, outcome = unjudged("sdxl")
    file = read_run(outcome.folder).checkpoints[-1].path
    words = typed("sd15", model_of("sd15"), tmp_path, as_override("lora.init", str(file)))
    with pytest.raises(UserError, match="a LoRA of another family, sdxl"):
        train_together([load_run(words)], say=ignore)


def test_a_text_encoder_in_the_file_to_start_from_must_be_trained_on(
    unjudged: Unjudged, model_of: Callable[[str], Path], tmp_path: Path
) -> None:
    _, outcome = unjudged("sd15")
    file = read_run(outcome.folder).checkpoints[-1].path
    start = as_override("lora.init", str(file))
    with pytest.raises(UserError, match=r"changes the text encoder too; train it on with lora\.text_encoder=true"):
        run("sd15", model_of("sd15"), tmp_path, start, "lora.text_encoder=false")


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_for_diffusers_changes_the_same_weights(
    kind: str, unjudged: Unjudged, capsys: pytest.CaptureFixture[str]
) -> None:
    root, outcome = unjudged(kind)
    path = export(root, outcome.name, "diffusers", step=4, audit=True)
    config = from_plain(read_run(outcome.folder).config)
    family = load_family(config.model, config.hardware)
    source = read_run(outcome.folder).checkpoints[-1].path
    assert source is not None
    written, exported = read_lora(source, family), read_lora(path, family)
    assert list(written) == list(exported)
    for name, weights in written.items():
        assert exported[name].alpha == exported[name].rank
        torch.testing.assert_close(
            exported[name].up.flatten(1) @ exported[name].down.flatten(1),
            weights.up.flatten(1) @ weights.down.flatten(1) * (weights.alpha / weights.rank),
        )
    assert "4 tell a stranger something of you" in capsys.readouterr().out


def test_an_export_asks_which_checkpoint_where_none_was_picked(unjudged: Unjudged, tmp_path: Path) -> None:
    root, outcome = unjudged("sd15")
    with pytest.raises(UserError, match="has no picked checkpoint; name one with --step"):
        export(root, outcome.name)
    with pytest.raises(UserError, match=r"format='a1111'; it must be one of kohya, diffusers"):
        export(root, outcome.name, "a1111")
    file = export(root, outcome.name, step=2, to=tmp_path / "comfy")
    assert file.parent == tmp_path / "comfy"
    assert file.read_bytes() == (outcome.folder / "checkpoints" / file.name).read_bytes()
