"""What is said of a run's photos before it begins."""

from collections.abc import Iterator

from lorasweep.config.schema import RunConfig
from lorasweep.data.captions import noun_beside
from lorasweep.data.folders import names_of
from lorasweep.errors import UserError
from lorasweep.records import Dataset


def photo_notes(run: RunConfig, dataset: Dataset) -> Iterator[str]:
    """One line for each thing that the user may not expect."""
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
