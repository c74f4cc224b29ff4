"""What tells the subject of a run: a face, the whole picture, or nothing."""

from lorasweep.config.photos import KINDS
from lorasweep.config.schema import RunConfig


def told_by(run: RunConfig) -> str:
    """face, image or none: ``evaluate.subject``, or where that is auto what ``data.kind`` has."""
    return KINDS[run.data.kind] if run.evaluate.subject == "auto" else run.evaluate.subject
