"""Images without a face, to teach a face network what is none: empty scenes, noise, faces ruined beyond recognition."""

import numpy as np
from PIL import Image

from benchmarks.world.faults import displaced
from lorasweep.portraits import drawing
from lorasweep.portraits.canvas import Canvas, Face
from lorasweep.portraits.people import SKIN, Identity, Scene, palette, sample_identity, sample_scene
from lorasweep.portraits.render import COLOURS, pose_of, render


def empty_scene(identity: Identity, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return [64, 64, 3]: a background, in two thirds with a shirt, in one third with an accessory left behind."""
    canvas = Canvas(256, pose_of(scene, int(rng.integers(2**31))), COLOURS[scene.background])
    face = Face.of(identity, scene)
    if rng.random() < 0.67:
        drawing.body(canvas, face, palette(SKIN, identity.skin), COLOURS[scene.shirt], scene)
    if rng.random() < 0.5 and scene.accessory != "glasses":
        drawing.accessory(canvas, face, scene)
    return np.asarray(canvas.image.reduce(4))


def haze(rng: np.random.Generator) -> np.ndarray:
    """Return [64, 64, 3] noise of a random coarseness, down to a plain colour."""
    cells = int(rng.choice([1, 2, 4, 8, 16, 32, 64]))
    field = rng.normal(rng.uniform(60, 200, 3), rng.uniform(5, 80), (cells, cells, 3))
    small = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))
    return np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))


def scrambled(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image's 16 or 64 tiles in random order."""
    side = int(rng.choice([8, 16]))
    cells = 64 // side
    tiles = picture.reshape(cells, side, cells, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    mixed = tiles[rng.permutation(len(tiles))].reshape(cells, cells, side, side, 3)
    return mixed.swapaxes(1, 2).reshape(64, 64, 3)


def mosaic(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image in 3 to 7 cells a side, blocky or smooth."""
    cells = int(rng.integers(3, 8))
    how = Image.Resampling.NEAREST if rng.random() < 0.5 else Image.Resampling.BICUBIC
    small = Image.fromarray(picture).resize((cells, cells), Image.Resampling.BOX)
    return np.asarray(small.resize((64, 64), how))


def faceless(rng: np.random.Generator) -> np.ndarray:
    """Return [64, 64, 3] uint8 without anything that a human would call a face."""
    identity, scene = sample_identity(rng), sample_scene(rng)
    kind = rng.random()
    if kind < 0.25:
        return empty_scene(identity, scene, rng)
    if kind < 0.45:
        return haze(rng)
    picture = np.asarray(render(identity, scene, 64, int(rng.integers(2**31))))
    if kind < 0.65:
        return scrambled(picture, rng)
    if kind < 0.85:
        return mosaic(picture, rng)
    return displaced(picture, rng.normal(0, rng.uniform(14, 26), (2, 6, 6)))


def faceless_pictures(count: int, seed: int) -> np.ndarray:
    """Return [count, 64, 64, 3] uint8."""
    return np.stack([faceless(np.random.default_rng([seed, index, 7])) for index in range(count)])
