"""Real photographs that the evaluator is tried on: crops of what other packages ship. Only texture is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from PIL import Image

from benchmarks.evaluator.people import STREAM
from lorasweep.data.pictures import Pixels
from lorasweep.records import TEXTURE, Evidence, Features, Prompt
from lorasweep.vision.texture import texture

PHOTO_SIDE = 128
"""Pixels."""


@cache
def photograph(name: str) -> Image.Image:
    """Return a real photograph that a package ships."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return Image.fromarray(load_sample_image(f"{name}.jpg"))
    if name == "grace_hopper":
        from matplotlib import cbook

        return Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    import skimage.data

    return Image.fromarray(np.ascontiguousarray(getattr(skimage.data, name)()))


@dataclass(frozen=True)
class PhotoSet:
    """Crops of real photographs: eight that stand for samples, and others that stand for the subject's photos."""

    names: tuple[str, ...]
    seed: int

    def crops(self, stream: int, count: int, *, again: bool = False) -> list[Pixels]:
        """Cut crops; ``again`` frames and exposes every one a little differently, as another seed of a prompt does."""
        rng = np.random.default_rng([STREAM, self.seed, stream])
        nudge = np.random.default_rng([STREAM, self.seed, stream, 1])
        cut = []
        for place in range(count):
            picture = photograph(self.names[(place + self.seed) % len(self.names)])
            side = int(rng.integers(160, min(picture.size) - 30))
            left, top = (int(rng.integers(15, span - side - 14)) for span in picture.size)
            moves = nudge.uniform(-15, 15, 3) * again
            box = (left + moves[0], top + moves[1], left + side + moves[0] + moves[2], top + side + moves[1] + moves[2])
            box = (max(0, box[0]), max(0, box[1]), min(picture.width, box[2]), min(picture.height, box[3]))
            small = picture.resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS, box=box)
            gain = 1 + nudge.uniform(-0.05, 0.05) * again
            cut.append(np.clip(np.asarray(small) * gain, 0, 255).round().astype(np.uint8))
        return cut

    @cached_property
    def evidence(self) -> Evidence:
        prompts = tuple(
            Prompt(key=f"crop{n}", text="", negative="", score_text="", face=False, subject=True, photo=True)
            for n in range(8)
        )
        return Evidence(
            prompts=prompts,
            seeds=(0,),
            texts=np.zeros((8, 1)),
            train=textured(self.crops(1, 12)),
            held_out=textured(self.crops(2, 4)),
            base=textured(self.crops(0, 8)),
        )


def textured(pictures: Sequence[Pixels]) -> Features:
    """Return features with nothing but texture."""
    count = len(pictures)
    return Features(
        keys=tuple(str(place) for place in range(count)),
        face=np.zeros((count, 1)),
        face_count=np.zeros(count, dtype=np.int64),
        face_size=np.zeros(count),
        landmarks=np.full((count, 5, 2), np.nan),
        image=np.zeros((count, 1)),
        scene=np.zeros((count, 1)),
        texture=np.stack([texture(picture) for picture in pictures]) if count else np.zeros((0, len(TEXTURE))),
    )
