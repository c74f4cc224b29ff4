"""Two thousand different files that cost what real photos cost to decode, made in minutes.

A few drawn scenes are cropped, lit and covered with grain anew for every photo. Grain matters: a drawing has flat
colours, which a JPEG keeps in a few bytes and which decode in less time than a photo's.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.check.sets import clean_album
from lorasweep.portraits.render import render

STREAM = 20264
"""First number of every random seed here."""
SCENES, SCENE_SIDE = 24, 1536
SHORTEST, LONGEST = 1024, 1536
"""Sides of a photo in pixels."""
PNG_EVERY = 5
"""One in this many is a PNG, which takes three times as long to decode."""
GRAIN_SIDE = 2048
FINE, ROUGH = 5.0, 9.0
"""Standard deviations of a sensor's noise, and of texture whose spectrum falls as that of photos (1 / f)."""
UNEVEN = 45.0
"""How far the light changes over a photo, so that no photo is taken for a copy of another one."""
TRIGGER = "s1lv10"


@dataclass(frozen=True)
class Made:
    """A folder of photos."""

    folder: Path
    count: int

    @property
    def pictures(self) -> list[Path]:
        """Return the photos in order of their numbers."""
        return [self.folder / name_of(number) for number in range(self.count)]


def name_of(number: int) -> str:
    """Return the name of a photo."""
    return f"{number:04d}.{'jpg' if (number + 1) % PNG_EVERY else 'png'}"


def make_photos(count: int, folder: Path) -> Made:
    """Make photos 0 to ``count`` - 1 and a caption for each; existing ones stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / name_of(number)
        if not path.exists():
            _write(number, path)
    return Made(folder, count)


def _write(number: int, path: Path) -> None:
    picture, part = photo(number), path.with_suffix(".part")
    if path.suffix == ".png":
        picture.save(part, "PNG", compress_level=3)
    else:
        quality = int(np.random.default_rng([STREAM, number, 2]).integers(88, 96))
        picture.save(part, "JPEG", quality=quality)
    path.with_suffix(".txt").write_text(f"{TRIGGER}, a person, photo {number}\n", encoding="utf-8")
    part.replace(path)


def photo(number: int) -> Image.Image:
    """Draw a photo, a pure function of its number."""
    rng = np.random.default_rng([STREAM, number])
    width, height = (int(side) for side in rng.integers(SHORTEST, LONGEST + 1, 2))
    side = rng.uniform(0.7, 1.0) * SCENE_SIDE
    across, down = side * width / max(width, height), side * height / max(width, height)
    left, top = rng.uniform(0, SCENE_SIDE - across), rng.uniform(0, SCENE_SIDE - down)
    scene = _scene(int(rng.integers(SCENES)))
    drawn = scene.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + across, top + down))
    x, y = rng.integers(0, GRAIN_SIDE - width), rng.integers(0, GRAIN_SIDE - height)
    grain = _grain()[y : y + height, x : x + width][:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    lit = np.asarray(drawn, dtype=np.int16) + grain + _light(rng, width, height)
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8))


def _light(rng: np.random.Generator, width: int, height: int) -> NDArray[np.int16]:
    """Return [height, width, 1] brighter and darker parts, about a quarter of the photo wide."""
    coarse = Image.fromarray(rng.normal(0, UNEVEN, (5, 5)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)[..., None]


@cache
def _scene(number: int) -> Image.Image:
    album = clean_album(STREAM + number, 1)
    return render(album.identity, album.shots[0].scene, SCENE_SIDE, number)


@cache
def _grain() -> NDArray[np.int16]:
    """Return [GRAIN_SIDE, GRAIN_SIDE, 3], the same for all photos, which use different parts of it."""
    rng = np.random.default_rng([STREAM, GRAIN_SIDE])
    across, down = np.fft.rfftfreq(GRAIN_SIDE), np.fft.fftfreq(GRAIN_SIDE)[:, None]
    far = np.maximum(np.hypot(across, down), 8 / GRAIN_SIDE)  # the largest shapes are the scene's
    rough = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((GRAIN_SIDE, GRAIN_SIDE), dtype=np.float32)) / far)
    fine = rng.standard_normal((GRAIN_SIDE, GRAIN_SIDE, 3), dtype=np.float32)
    return np.round(rough[..., None] / rough.std() * ROUGH + fine * FINE).astype(np.int16)
