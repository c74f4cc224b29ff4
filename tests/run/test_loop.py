"""The loop around runs that train side by side, told by runs that only say what was asked of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lorasweep.records import Checkpoint
from lorasweep.run.loop import draw_together


class Drawn:
    """An evaluator that notes what it was asked to draw at once."""

    def __init__(self) -> None:
        self.together: list[list[str]] = []

    def draw(self, checkpoints: list[Checkpoint], folders: list[Path]) -> None:
        assert [folder.name for folder in folders] == [each.trial for each in checkpoints]
        self.together.append([each.trial for each in checkpoints])


def saved(name: str, evaluator: Drawn | None, drawn: tuple[int, ...]) -> tuple[Any, Checkpoint]:
    """A run that draws at some steps, and its checkpoint at step 4."""
    run = SimpleNamespace(name=name, evaluator=evaluator, drawn=drawn, samples_folder=lambda: Path(name))
    return run, Checkpoint(trial=name, step=4, epoch=1.0, path=Path(f"{name}.safetensors"), sha256="")


def test_only_checkpoints_that_the_budget_pays_for_are_drawn_side_by_side() -> None:
    """``evaluate.budget`` counts each run's own sheets, also of runs that share an evaluator."""
    shared = Drawn()
    pairs = [saved("anna", shared, (4, 8)), saved("bella", shared, (8,)), saved("carl", shared, (2, 4))]
    draw_together(pairs)
    assert shared.together == [["anna", "carl"]]


def test_runs_of_two_evaluators_are_drawn_apart_and_one_alone_is_drawn_when_it_is_scored() -> None:
    one, other = Drawn(), Drawn()
    pairs = [saved("anna", one, (4,)), saved("bella", other, (4,)), saved("carl", one, (4,)), saved("dora", None, ())]
    draw_together(pairs)
    assert (one.together, other.together) == ([["anna", "carl"]], [])
