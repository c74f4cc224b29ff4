"""What is said before a run begins: about its photos, the sizes they are trained at, and the cost of judging."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from lorasweep.config.schema import RunConfig
from lorasweep.console import Say
from lorasweep.data.buckets import BucketRow, Size, steps_an_epoch
from lorasweep.data.captions import noun_beside
from lorasweep.data.folders import names_of
from lorasweep.errors import UserError
from lorasweep.plan.budget import (
    drawn_steps,
    finer_sheets,
    fresh_sheets,
    glimpsed_steps,
    measuring_cost,
    sheet_cost,
    strength_sheets,
    training_cost,
)
from lorasweep.records import Dataset

FEW = 3
"""Sizes that fit into one line; more are only counted."""


def photo_notes(run: RunConfig, dataset: Dataset) -> Iterator[str]:
    """Yield one sentence for each thing about the photos that the user may not expect."""
    yield from _name_notes(run, dataset)
    if dataset.regularisation:
        subject = sum(photo.repeats for photo in dataset.train)
        others = sum(photo.repeats for photo in dataset.regularisation)
        yield (
            f"Regularisation doubles the steps of an epoch: {len(dataset.regularisation)} pictures of "
            f"{run.data.regularisation_path} are seen {others} times beside the subject's {subject}."
        )
    if run.data.flip:
        yield "Mirror images are trained on too (data.flip): a flipped face, parting or letter is another one."


def _name_notes(run: RunConfig, dataset: Dataset) -> Iterator[str]:
    try:
        trigger, class_noun = names_of(dataset.path) or ("", "")
    except UserError:  # folders of several subjects under a trigger that the user named
        return
    if not trigger or trigger != run.data.trigger:
        return
    noun = noun_beside(class_noun, run.data.class_noun)
    if class_noun and class_noun == run.data.class_noun:
        yield f"The folder's name says data.trigger={trigger} and data.class_noun={class_noun!r}."
    elif class_noun and noun == run.data.class_noun:
        yield (
            f"The folder's name says data.trigger={trigger}; {class_noun!r} does not take the place of the tag "
            f"data.class_noun={noun}."
        )
    else:
        yield f"The folder's name says data.trigger={trigger}."


def sizes_in_words(table: Sequence[BucketRow]) -> str:
    """Return the sizes that images are trained at in one line, or their number if there are many."""
    if len(table) > FEW:
        return f"{len(table)} sizes, below"
    return ", ".join(f"{row.pictures} at {_by(row.bucket)}" for row in table)


def say_sizes(table: Sequence[BucketRow], say: Say) -> None:
    """Print the sizes that images are trained at: a table with a row per size, or a sentence if there is one."""
    if len(table) == 1:
        (row,) = table
        say(f"Pictures are trained at {_by(row.bucket)}; {_cut_in_words(row)}.")
        return
    shown = Table(box=None, pad_edge=False)
    for head in ("size", "pictures", "shown", "steps", "filled up", "largest cut", "enlarged"):
        shown.add_column(head, justify="right")
    for row in table:
        enlarged = f"x{row.largest_scale:.2f}" if row.largest_scale > 1 else ""
        counts = (row.pictures, row.shown, row.steps, row.filled)
        shown.add_row(_by(row.bucket), *map(str, counts), f"{row.largest_cut:.0%}", enlarged)
    console = Console()
    with console.capture() as caught:
        console.print(shown)
    say(caught.get().rstrip())
    filled = sum(row.filled for row in table)
    say(f"{len(table)} sizes: {steps_an_epoch(table)} steps an epoch, {filled} pictures only fill up short ones.")


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _cut_in_words(row: BucketRow) -> str:
    cut = f"at most {row.largest_cut:.0%} of one is cut off" if row.largest_cut > 0 else "nothing is cut off"
    return cut if row.largest_scale <= 1 else f"{cut}, and the smallest is enlarged {row.largest_scale:.2f} times"


def announcement(run: RunConfig) -> str:
    """Return one sentence that says what judging will cost, so that it can be stopped before it is spent."""
    from lorasweep.train.schedules import checkpoint_steps

    steps = checkpoint_steps(run)
    drawn = drawn_steps(run, steps)
    pictures = len(run.sample.prompts) * len(run.sample.seeds)
    glimpsed, finer = len(glimpsed_steps(run, drawn)), finer_sheets(run, len(steps))
    sheet = sheet_cost(run) / training_cost(run)
    fresh_sheet = sheet * len(run.sample.fresh_seeds) / len(run.sample.seeds)
    # upper bounds: which checkpoints become finalists is known only once all are scored
    again = fresh_sheets(run, len(drawn) + finer) * fresh_sheet
    stronger = strength_sheets(run) * fresh_sheet
    strengths = f", and {stronger:.0%} for the pick at other strengths (pick.strengths)" if stronger else ""
    fewer = f" and at {finer} more next to the pick (evaluate.budget={run.evaluate.budget})" if finer else ""
    finalists = f", and at most {again:.0%} for the finalists on fresh seeds{strengths}" if again else ""
    between = f", and at {glimpsed} steps between to look at only" if glimpsed else ""
    return (
        f"Drawing {pictures} pictures at {len(drawn)} of {len(steps)} checkpoints{fewer}{between}: "
        f"about {(len(drawn) + finer + glimpsed + 1) * sheet:.0%} of the cost of training with the base model's own"
        f"{finalists}."
    )


def folder_announcement(run: RunConfig, files: int) -> str:
    """Return one sentence that says how much is drawn to judge a folder of another trainer's files."""
    # in images, since what training cost is not known here
    pictures = len(run.sample.prompts) * len(run.sample.seeds)
    fresh = len(run.sample.prompts) * len(run.sample.fresh_seeds)
    again = fresh_sheets(run, files) * fresh
    strengths = strength_sheets(run) * fresh
    other = f" and {strengths} more of the pick at other strengths (pick.strengths)" if strengths else ""
    then = f", then at most {again} of the finalists on fresh seeds{other}" if again else ""
    return (
        f"Drawing {pictures} pictures with each of {files} files and the base model, {(files + 1) * pictures} in all"
        f"{then}."
    )


def measuring_words(run: RunConfig, checkpoints: int, held_out: int) -> str:
    """Return one sentence that says what measuring losses costs; '' if none are measured."""
    cost = measuring_cost(run, checkpoints, held_out)
    photos = "held-out and training" if held_out else "training"
    share = cost / training_cost(run)
    return f"Losses of {photos} photos on fixed noise: about {share:.0%} of the cost of training." if cost else ""
