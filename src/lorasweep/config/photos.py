"""What a run is told about its photos. A part of ``schema``, which is too long for one module."""

from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import MISSING

from lorasweep.config.checks import among, between, positive, word

KINDS: Mapping[str, str] = {"person": "face", "object": "image", "character": "image", "style": "none"}
"""What photos may be of, and what tells that subject if ``evaluate.subject`` is auto."""


@dataclass(kw_only=True)
class DataConfig:
    """The photos of one person, object or character, or the images in one style."""

    path: str = MISSING
    """A folder of photos with ``.txt`` or ``.caption`` files beside them, or of Kohya's folders
    ``<repeats>_<token> <class>``, each of which is one."""
    kind: str = "person"
    """What the photos are of: person, object, character (a drawn one) or style."""
    trigger: str = "s1lv10"
    """The made-up word that will call the subject."""
    class_noun: str = "person"
    """What the subject is an instance of, in the base model's words."""
    repeats: int | None = None
    """How often each photo is seen in an epoch; None is what a Kohya folder's name says, else
    round(400 / photos)."""

    caption_prefix: str = ""
    """Put before every caption that does not begin with it."""
    caption_dropout: float = 0.05
    """Share of steps whose caption is empty, so that guidance keeps working. 0 to 1."""
    shuffle_captions: bool = False
    """Shuffle comma-separated clauses after the first ``keep_clauses``; turns text caching off."""
    keep_clauses: int = 1
    """Clauses at the front of a caption that shuffling leaves where they are."""

    buckets: str = "aspect"
    """square: every photo is cut to a square. aspect: each goes to the size of about the model's own area that cuts
    off least of it. kohya: the sizes that sd-scripts would choose, exactly."""
    upscale: bool = True
    """Whether a photo smaller than its bucket is enlarged. False trains it at a size of its own, as Kohya's
    ``bucket_no_upscale`` does, and leaves ``bucket_min`` and ``bucket_max`` without effect, as there."""
    bucket_min: int | None = None
    """Shortest side of a bucket in pixels; None is 256, or half of ``model.resolution`` if that is less."""
    bucket_max: int | None = None
    """Longest side of a bucket in pixels; None is 2048, or four times ``model.resolution`` if that is less."""
    bucket_step: int | None = None
    """Sides are multiples of this many pixels; None is 64, or a quarter of ``model.resolution`` if that is less."""
    flip: bool = False
    """Train on mirror images too. Faces and clothes are not symmetric, so that a flipped person is somebody else."""

    masks: str = "off"
    """Where the loss counts: off (everywhere), alpha (where a photo is opaque) or files (where the gray image
    ``<name>-masklabel.png``, or the file of the same name in ``masks_path``, is white)."""
    masks_path: str | None = None
    mask_floor: float = 0.0
    """How much the masked-out part still counts. 0 to 1."""
    regularisation_path: str | None = None
    """A folder of images of others of the class, to keep the model from forgetting them; doubles the steps of an
    epoch. None uses none."""
    regularisation_weight: float = 1.0
    """How much the loss on them counts beside the subject's."""

    check_mirror: bool | None = None
    """Whether ``lorasweep check`` looks for photos that are mirrored beside the others. None does so for as many
    photos as that was measured to be reliable for, on drawn people (``python -m benchmarks.check.orientation``)."""

    held_out: float = 0.2
    """Share of photos kept from training to judge identity and copying. 0 to 0.5; 0 keeps none."""
    held_out_from: int = 12
    """Hold photos out only from this many photos up."""
    held_out_path: str | None = None
    """A folder of the same subject's photos that are only judged against; replaces ``held_out``."""
    train_on: str = "split"
    """split trains on what is not held out; all trains on every photo, as ``lorasweep refit`` does."""

    def __post_init__(self) -> None:
        among("data.kind", self.kind, tuple(KINDS))
        word("data.trigger", self.trigger)
        word("data.class_noun", self.class_noun)
        positive("data.repeats", self.repeats)
        between("data.caption_dropout", self.caption_dropout, 0, 1)
        positive("data.keep_clauses", self.keep_clauses)
        among("data.buckets", self.buckets, ("square", "aspect", "kohya"))
        for key in ("bucket_min", "bucket_max", "bucket_step"):
            positive(f"data.{key}", getattr(self, key))
        among("data.masks", self.masks, ("off", "alpha", "files"))
        between("data.mask_floor", self.mask_floor, 0, 1)
        positive("data.regularisation_weight", self.regularisation_weight)
        between("data.held_out", self.held_out, 0, 0.5)
        among("data.train_on", self.train_on, ("split", "all"))
