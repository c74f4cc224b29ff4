"""A folder of one drawn person's photos, as a user would have one on disk."""

from pathlib import Path

import numpy as np

from lorasweep.portraits.people import Identity, caption, sample_identity, sample_scene
from lorasweep.portraits.render import render


def write_photos(folder: Path, identity: Identity, count: int, rng: np.random.Generator, *, trigger: str) -> Path:
    """Write `count` photos of `identity`, 64 pixels each, with a caption file beside each; return `folder`.

    Args:
        folder: made if missing; images are named ``01.png`` upward.
        rng: draws scenes, captions and the camera's jitter.
        trigger: the word that captions put before the class noun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        scene = sample_scene(rng, sketches=0.0)  # a sketch is no photo
        picture = render(identity, scene, 64, int(rng.integers(2**31)))
        picture.save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(caption(scene, trigger=trigger, rng=rng) + "\n", encoding="utf-8")
    return folder


def write_person(folder: Path, seed: int, *, photos: int = 15, held_out: int = 4, trigger: str = "s1lv10") -> Identity:
    """Write ``folder/photos`` to train on and ``folder/held_out`` to judge against; return the person of `seed`."""
    rng = np.random.default_rng([20261, seed])
    identity = sample_identity(rng)
    write_photos(folder / "photos", identity, photos, rng, trigger=trigger)
    write_photos(folder / "held_out", identity, held_out, rng, trigger=trigger)
    return identity
