"""``lorasweep plan DIR``: predict what a run will be and cost, without training."""

from collections.abc import Sequence
from pathlib import Path

from lorasweep.commands.overrides import folder_words
from lorasweep.config.compose import load_run
from lorasweep.console import Say, waiting
from lorasweep.errors import UserError
from lorasweep.plan.planning import Plan, plan_of
from lorasweep.plan.text import print_plan


def plan(
    folder: str | Path, overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = (), say: Say = print
) -> Plan:
    """Predict steps, pictures, memory, time and disk of ``train`` with the same words.

    Nothing is trained, no weights are read, nothing is written. Without ``model.path`` the family's well-known full
    size is taken.

    Raises:
        UserError: bad photos, or a model that is none of the family.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"the folder of photos {str(folder)!r} does not exist; name it right after 'plan'")
    words = [*folder_words(path, overrides, config_dirs), *overrides]
    run = load_run(words, config_dirs=config_dirs, when_missing={"model.path": ""})
    with waiting("Counting on the base model, without its weights"):
        made = plan_of(run)
    for note in made.notes:
        say(note)
    print_plan(made, say)
    return made
