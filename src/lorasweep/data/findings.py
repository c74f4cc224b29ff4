"""What ``lorasweep check`` has to say about photos and captions."""

from dataclasses import dataclass, field
from pathlib import Path

LEVELS = ("error", "warning", "advice")
"""error: training would fail or be wrong. warning: the result will suffer. advice: worth a look."""

KINDS = {
    "unreadable": "error",
    "truncated": "error",
    "empty": "error",
    "too_large": "error",
    "sixteen_bit": "warning",
    "cmyk": "warning",
    "alpha": "warning",
    "rotated": "advice",
    "animated": "warning",
    "small": "warning",
    "large": "advice",
    "upscaled": "warning",
    "duplicate": "warning",
    "mirrored_duplicate": "warning",
    "blurred_face": "warning",
    "no_face": "warning",
    "several_faces": "warning",
    "small_face": "warning",
    "other_person": "warning",
    "one_background": "warning",
    "one_outfit": "warning",
    "one_pose": "advice",
    "mixed_mirror": "advice",
    "caption_missing": "warning",
    "caption_orphan": "error",
    "caption_unreadable": "error",
    "caption_empty": "warning",
    "trigger_missing": "warning",
    "invented_phrase": "advice",
    "repeated_words": "warning",
    "trigger_inside_word": "warning",
    "long_caption": "advice",
    "same_caption": "warning",
    "one_descriptor": "advice",
    "folder": "error",
    "link": "error",
}
"""Every kind of finding and its level."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth a look, with a photo, a caption or the whole set."""

    kind: str
    """A key of ``KINDS``."""
    text: str
    """One sentence: what, where, its value, and what to do about it."""
    paths: tuple[Path, ...] = ()
    """The files it is about; () if it is about the set as a whole."""
    level: str = field(init=False)
    """error, warning or advice, as its kind has it; a field, so that ``--json`` tells it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", KINDS[self.kind])
