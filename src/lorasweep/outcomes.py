"""What can be found of a checkpoint, a component or a run: the words that decide. Sentences are made elsewhere."""

from enum import StrEnum, auto


class VerdictWord(StrEnum):
    """What a checkpoint is, seen from the best one of its run."""

    BASE = "base"
    UNDER = "under"
    GOOD = "good"
    OVER = "over"
    UNCERTAIN = "uncertain"


class RunVerdict(StrEnum):
    """What became of a run."""

    FINE = "fine"
    TRAIN_LONGER = "train longer"
    TOO_FAST = "learning rate too high or save more often"
    NOTHING_USABLE = "no usable checkpoint"
    NOT_MEASURABLE = "not measurable"
    LOOK = "look at the sheet"  # no pick is made: nothing measures how well a style is met
    BY_HAND = "taken by hand"


class RunStatus(StrEnum):
    """Whether a run goes on, and how it ended otherwise."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    KILLED = "killed"  # the process is gone and wrote no end


class NoteKind(StrEnum):
    """Why a component could not be judged, or what weakens it; the words are in ``lorasweep.evaluate.text``."""

    STYLE = auto()
    FACE_NOT_ASKED = auto()
    SUBJECT_NOT_ASKED = auto()
    PHOTO_NOT_ASKED = auto()  # of runs that were scored before every prompt was judged for damage
    FEW_FACES = auto()
    FEW_PHOTOS = auto()
    STRANGERS_ALIKE = auto()
    IMAGES_ALIKE = auto()
    ONE_TEXT = auto()
    BASE_IGNORES_TEXT = auto()
    DAMAGED = auto()
    FACES_NOT_SOUGHT = auto()
    NOTHING_TO_COPY = auto()
    SEEDS_ALIKE = auto()
    PROMPTS_ALIKE = auto()
    NO_HELD_OUT = auto()
    NO_WITNESS = auto()


class VetoKind(StrEnum):
    """Why a checkpoint must not be picked whatever its score."""

    COPIES = auto()
    NO_FACE = auto()
    DAMAGED = auto()
    DIVERGED = auto()
