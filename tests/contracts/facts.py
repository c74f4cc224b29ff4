"""Facts of pictures that were never drawn: sound ones, of which a test spoils what it is about."""

from pathlib import Path
from typing import Any

import numpy as np

from lorasweep.data.facts import FaceFacts, PictureFacts

BITS, TRIMS, THUMBNAIL = 63, 3, 16


def picture(name: str, seed: int = 0, **facts: Any) -> PictureFacts:
    """A sharp picture of 512 x 512; another ``seed`` is another picture."""
    dice = np.random.default_rng(seed)
    hashes, mirrored = (dice.random((TRIMS, BITS)) < 0.5 for _ in range(2))
    sound: dict[str, Any] = {
        "path": Path(name),
        "width": 512,
        "height": 512,
        "mode": "RGB",
        "bits": 8,
        "turned": False,
        "alpha": False,
        "frames": 1,
        "detail": 1.0,
        "hashes": hashes,
        "mirror_hashes": mirrored,
        "thumbnails": dice.integers(0, 256, (TRIMS, THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8),
    }
    return PictureFacts(**(sound | facts))


def face(name: str, *, side: float = 200.0, width: int = 512, height: int = 512, **facts: Any) -> FaceFacts:
    """One sharp face of ``side`` pixels that looks into the camera, of the person that all of these show."""
    sound: dict[str, Any] = {
        "path": Path(name),
        "width": width,
        "height": height,
        "count": 1,
        "box": np.array([10.0, 10.0, 10.0 + side, 10.0 + side]),
        "turn": 0.0,
        "blur": 0.0,
        "pixels": 160.0,
        "identity": np.array([[1.0, 0.0, 0.0]]),
        "background": np.full(6, np.nan),
        "outfit": np.full(6, np.nan),
    }
    return FaceFacts(**(sound | facts))
