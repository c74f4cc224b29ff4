"""Folders of a drawn person's photos as people have them: mixed names, formats, sizes and scenes, with captions.

A set is a pure function of its seed. No network was trained on anybody in it: those were drawn from other random
streams. A clean set holds what is harmless and may look like a fault: Kohya's folder, litter of other programs, an
opaque alpha channel, EXIF that says "upright", a microphone that is there and is named.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorasweep.portraits.people import (
    BACKGROUNDS,
    EXPRESSIONS,
    FRAMINGS,
    GAZES,
    SHIRTS,
    Identity,
    Scene,
    caption,
    random_trigger,
    sample_identity,
    sample_scene,
)
from lorasweep.portraits.render import pose_of, render_posed

STREAM = 20262
"""First number of every random seed here."""
ASPECTS = ((1, 1), (1, 1), (4, 5), (3, 4), (4, 3), (3, 2))
SHORT_SIDES = (512, 576, 640, 720, 768, 900)
LONGEST = 1200
NAMES = ("IMG_{}", "anna ({})", "DSC0{}", "2023-05-14 12.33.{}", "Übung_{}", "{}", "selfie-{}-final")
ENDINGS = {"JPEG": (".jpg", ".JPG", ".jpeg"), "PNG": (".png",), "WEBP": (".webp",)}


@dataclass(frozen=True)
class Shot:
    """One photo before it is taken."""

    stem: str
    ending: str
    scene: Scene
    jitter: int
    """Seed of the camera's place, tilt and light."""
    width: int
    height: int
    words: int
    """Seed of the caption's phrasing."""

    @property
    def file(self) -> str:
        """Return the photo's name."""
        return self.stem + self.ending


@dataclass(frozen=True)
class Album:
    """All that a set is made from."""

    seed: int
    identity: Identity
    trigger: str
    shots: tuple[Shot, ...]
    caption_ending: str
    folder: str
    """Folder of the photos below the set's root: "." or Kohya's ``<repeats>_<trigger> person``."""
    litter: bool

    def caption(self, shot: Shot) -> str:
        """Return the scene in words, with the trigger."""
        return caption(shot.scene, trigger=self.trigger, rng=np.random.default_rng([STREAM, shot.words, 3]))


@dataclass(frozen=True)
class PhotoSet:
    """An album on disk."""

    root: Path
    album: Album

    @property
    def folder(self) -> Path:
        """Return the folder of the photos."""
        return self.root / self.album.folder

    def picture(self, shot: Shot) -> Path:
        """Return the file of a shot."""
        return self.folder / shot.file

    def caption(self, shot: Shot) -> Path:
        """Return the caption file of a shot."""
        return self.folder / (shot.stem + self.album.caption_ending)


def clean_album(seed: int, pictures: int | None = None) -> Album:
    """Return a person in 12 to 20 scenes, with no background, shirt or pose in more than half of them."""
    rng = np.random.default_rng([STREAM, seed])
    identity, count = sample_identity(rng), pictures or int(rng.integers(12, 21))
    styles = rng.choice(NAMES, size=2, replace=False)
    numbers = rng.choice(np.arange(1000, 10000), size=count, replace=False)
    scenes = [sample_scene(rng, sketches=0.0) for _ in range(count)]
    decks: dict[str, Any] = {
        "background": _dealt(BACKGROUNDS, count, rng),
        "shirt": _dealt(SHIRTS, count, rng),
        "expression": _dealt(EXPRESSIONS, count, rng),
        "gaze": _dealt(GAZES, count, rng),
        "framing": _dealt(("portrait", *FRAMINGS), count, rng),
    }
    shots = []
    for place, scene in enumerate(scenes):
        width, height = _size(rng)
        form = str(rng.choice(["JPEG", "PNG", "WEBP"], p=[0.8, 0.15, 0.05]))
        shots.append(
            Shot(
                stem=str(rng.choice(styles)).format(numbers[place]),
                ending=str(rng.choice(ENDINGS[form])),
                scene=replace(scene, **{part: deck[place] for part, deck in decks.items()}),
                jitter=int(rng.integers(2**31)),
                width=width,
                height=height,
                words=int(rng.integers(2**31)),
            )
        )
    trigger = f"{random_trigger(rng)}x"  # not a number, whatever the letters
    return Album(
        seed=seed,
        identity=identity,
        trigger=trigger,
        shots=tuple(shots),
        caption_ending=str(rng.choice([".txt", ".caption"], p=[0.85, 0.15])),
        folder=f"{rng.integers(5, 30)}_{trigger} person" if rng.random() < 0.15 else ".",
        litter=bool(rng.random() < 0.3),
    )


def _dealt(words: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    """Return each word about equally often, in random order, as from people who were told to vary their photos."""
    rounds = [rng.permutation(list(words)) for _ in range(-(-count // len(words)))]
    return [str(word) for word in rng.permutation(np.concatenate(rounds)[:count])]


def _size(rng: np.random.Generator) -> tuple[int, int]:
    across, down = ASPECTS[rng.integers(len(ASPECTS))]
    short = int(rng.choice(SHORT_SIDES))
    unit = min(short / min(across, down), LONGEST / max(across, down))
    return round(across * unit), round(down * unit)


def photograph(identity: Identity, scene: Scene, jitter: int, width: int, height: int) -> Image.Image:
    """Draw the scene at any aspect ratio: the square's framing along the short side, more background or body along the
    long one."""
    pose, side = pose_of(scene, jitter), max(width, height)
    share = min(width, height) / side
    aside = np.random.default_rng([jitter, 65]).uniform(-0.06, 0.06) if width > height else 0.0
    center = 0.5 + (pose.center + np.array([aside, 0.0]) - 0.5) * share
    picture = render_posed(identity, scene, replace(pose, center=center, matrix=pose.matrix * share), side)
    left, top = (side - width) // 2, (side - height) // 2
    return picture.crop((left, top, left + width, top + height))


def save(picture: Image.Image, path: Path, quality: int = 92, orientation: int = 1) -> None:
    """Write the format that the ending names; a JPEG says which camera took it and which way is up."""
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        picture.save(path, quality=quality)
        return
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Apple", "iPhone 13", orientation
    picture.convert("RGB").save(path, "JPEG", quality=quality, exif=exif)


def write_set(album: Album, root: Path) -> PhotoSet:
    """Write all of an album's photos and captions to a new folder."""
    there = PhotoSet(root, album)
    there.folder.mkdir(parents=True)
    for shot in album.shots:
        picture = photograph(album.identity, shot.scene, shot.jitter, shot.width, shot.height)
        if shot.ending == ".png" and shot.jitter % 2:
            picture.putalpha(255)  # as screenshots have it
        save(picture, there.picture(shot))
        there.caption(shot).write_text(album.caption(shot) + "\n", encoding="utf-8")
    if album.litter:
        (there.folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (there.folder / f"._{album.shots[0].file}").write_bytes(bytes(4096))
    return there
