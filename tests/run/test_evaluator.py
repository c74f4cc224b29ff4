"""What a run of our own is judged on: finalists at other strengths, and another base than the one trained on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from contracts.judged import JUDGED
from safetensors.torch import load_file, save_file

from lorasweep.commands.pick import pick
from lorasweep.config.compose import as_override, load_run
from lorasweep.data.prompts import fill_prompts
from lorasweep.errors import UserError
from lorasweep.records import RunView
from lorasweep.run.entries import dataset_of
from lorasweep.run.evaluator import Evaluator, load_drawing_family, scorers_of
from lorasweep.run.training import train_together
from lorasweep.track.recall import read_run

Overrides = Callable[..., list[str]]


def train(overrides: list[str]) -> tuple[RunView, list[str]]:
    """A judged run of 12 steps with checkpoints at 4, 8 and 12, and what was said."""
    said: list[str] = []
    (outcome,) = train_together([load_run(overrides)], say=said.append)
    return read_run(outcome.folder), said


def test_likeness_is_to_photos_that_were_not_trained_on(overrides: Overrides, tmp_path: Path) -> None:
    """Held-out photos that were the training ones would praise whoever copies them."""
    kept_back = tmp_path / "kept-back"
    kept_back.mkdir()
    for number in (3, 4):
        (tmp_path / "photos" / f"{number}.txt").unlink()
        (tmp_path / "photos" / f"{number}.png").rename(kept_back / f"{number}.png")
    run = load_run(overrides(*JUDGED, as_override("data.held_out_path", str(kept_back))))
    family = load_drawing_family(run)
    prompts = fill_prompts(run.sample, run.data)
    evaluator = Evaluator(run, family, dataset_of(run), prompts, scorers_of(run, family))
    evidence = evaluator.evidence(fresh=False)
    assert (evidence.train.keys, evidence.held_out.keys) == (("0.png", "1.png", "2.png"), ("3.png", "4.png"))
    nearest = (evidence.held_out.image @ evidence.train.image.T).max(axis=1)
    itself = (evidence.train.image @ evidence.train.image.T).max(axis=1)
    assert nearest.max() < 0.999 < itself.min()
    # Each set of seeds tells what chance changes beside the other.
    again = evaluator.evidence(fresh=True)
    assert evidence.base.keys != again.base.keys
    assert evidence.spare is again.base
    assert again.spare is evidence.base


def test_the_pick_is_drawn_at_every_strength_and_says_between_which_it_works(
    overrides: Overrides, tmp_path: Path
) -> None:
    view, said = train(overrides(*JUDGED))
    assert view.pick is not None
    assert view.pick.step is not None
    others = {0.5, 0.65, 0.8, 1.15, 1.3}
    assert {(each.scores.step, each.strength) for each in view.strengths} == {(view.pick.step, each) for each in others}
    reach = view.pick.strengths
    assert reach is not None
    assert reach.low <= view.pick.strength <= reach.high
    assert {reach.low, reach.high, view.pick.strength} <= {1.0, *others}
    assert any("for the pick at other strengths (pick.strengths)." in line for line in said)
    lines: list[str] = []
    pick(tmp_path / "mlruns", "last", say=lines.append)
    assert f"Use {view.name}-{view.pick.step:06d}.safetensors at strength {view.pick.strength:g}." in lines


def test_a_budget_is_spent_evenly_first_and_then_beside_the_pick(overrides: Overrides) -> None:
    words = [*JUDGED, "pick.strengths=[]", "save.count=12", "evaluate.budget=0.01"]
    view, said = train(overrides(*words))
    standing = [scores.step for scores in view.scores if not scores.fresh and scores.step]
    evenly = {1, 3, 5, 8, 10, 12}
    assert evenly < set(standing)
    assert len(standing) == 8
    assert any("at 6 of 12 checkpoints and at 2 more next to the pick" in line for line in said)
    assert view.pick is not None
    beside = set(standing) - evenly
    assert all({step - 1, step + 1} & (evenly | beside) for step in beside)
    pictures = {sheet.step for sheet in view.samples if not sheet.fresh}
    assert pictures == {0, *standing}


def test_without_strengths_nothing_more_is_drawn_and_the_runs_own_is_named(overrides: Overrides) -> None:
    view, said = train(overrides(*JUDGED, "pick.strengths=[]", "sample.strength=0.9"))
    assert view.pick is not None
    assert (view.strengths, view.pick.strength) == ((), 0.9)
    assert not any("pick.strengths" in line for line in said)
    assert not list((view.folder / "samples").glob("strength-*"))


def test_a_run_can_be_drawn_on_another_base_than_it_is_trained_on(
    overrides: Overrides, model_folder: Path, tmp_path: Path
) -> None:
    tuned = Path(shutil.copytree(model_folder, tmp_path / "tuned"))
    weights = tuned / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: value * 1.1 for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    plain, moved = (train(overrides(*JUDGED, *more))[0] for more in ([], [f"evaluate.model={tuned}"]))
    assert [step.loss for step in moved.steps] == [step.loss for step in plain.steps]
    drawn = [
        {(s.step, s.fresh): [sample.sha256 for sample in s.samples] for s in view.samples} for view in (plain, moved)
    ]
    assert all(drawn[0][key] != drawn[1][key] for key in [(0, False), (4, False), (8, False), (12, False)])
    models = moved.provenance["weights"]
    assert models["model"] == plain.provenance["weights"]["model"]
    assert (models["drawn_on"]["name"], "drawn_on" in plain.provenance["weights"]) == ("tuned", False)
    assert models["drawn_on"]["sha256"] != models["model"]["sha256"]


def test_a_base_to_draw_on_that_is_none_is_told_before_a_run_is_named(overrides: Overrides, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        train(overrides(*JUDGED, "evaluate.model=/nowhere"))
    assert not list((tmp_path / "mlruns").glob("runs/*"))
