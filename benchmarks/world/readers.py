"""Readers: a network that says who is in an image and in which scene, in the terms of `people` and `render`.

They were trained on renders only and serve the measurements of the tiny models and the oracle; no scorer uses them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorasweep.portraits import people
from lorasweep.portraits.canvas import Pose
from lorasweep.portraits.networks import NetworkConfig, Trunk, load_network, look
from lorasweep.portraits.people import HAIR, IRIS, NUMBERS, SKIN, Identity, Scene, palette
from lorasweep.portraits.render import GAIN, SCALE, pose_of

READERS = Path(__file__).parent / "weights"
"""Beside the benchmarks, so that no room of the product can score with them."""
ATTRIBUTES = {
    "background": people.BACKGROUNDS,
    "shirt": people.SHIRTS,
    "expression": people.EXPRESSIONS,
    "gaze": people.GAZES,
    "light": people.LIGHTS,
    "framing": people.FRAMINGS,
    "accessory": people.ACCESSORIES,
    "style": people.STYLES,
}
PALETTES = {"skin": SKIN, "iris": IRIS, "hair_color": HAIR}
COLOURLESS = ("background", "shirt", "light")
"""Attributes that a sketch does not show."""
SHAPES = tuple(name for name in NUMBERS if name not in PALETTES)
JITTER = np.array([0.022, 0.022, np.deg2rad(5), 0.03, 0.09, 0.09, 0.04])
"""Half the range of x, y, tilt in radians, relative size, light across, light downwards, relative brightness."""

OUTPUTS = {
    **{name: len(words) for name, words in ATTRIBUTES.items()},
    "shapes": len(SHAPES),
    "colours": 3 * len(PALETTES),
    "mole_side": 1,
    "hair_style": len(people.HAIR_STYLES),
    "facial_hair": len(people.FACIAL_HAIR),
    "pose": len(JITTER),
}
CONFIG = NetworkConfig((32, 64, 128, 128), 448, OUTPUTS)


@dataclass(frozen=True)
class Reading:
    """What the readers see in one image."""

    identity: Identity
    scene: Scene
    pose: np.ndarray
    """[7] the photo's jitter in units of `JITTER`; within [-1, 1] for renders."""
    chances: dict[str, dict[str, float]]
    """Probability in [0, 1] of every word of every attribute; the scene has the likeliest ones."""


def pose_numbers(scene: Scene, pose: Pose) -> np.ndarray:
    """Return [7] the jitter of `pose` in units of `JITTER`."""
    scale = float(np.sqrt(np.linalg.det(pose.matrix)))
    angle = float(np.arctan2(pose.matrix[1, 0], pose.matrix[0, 0]))
    gain = float(pose.gain[0] / GAIN[scene.light][0])
    raw = [*(pose.center - (0.5, 0.47)), angle, scale / SCALE[scene.framing] - 1, *pose.ramp, gain - 1]
    return (np.array(raw) / JITTER).astype(np.float32)


def pose_from(scene: Scene, numbers: np.ndarray) -> Pose:
    """Return the inverse of `pose_numbers`."""
    x, y, angle, scale, across, down, gain = (float(value) for value in numbers * JITTER)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn * SCALE[scene.framing] * (1 + scale)
    return Pose(
        np.array([0.5 + x, 0.47 + y]), matrix, np.array([across, down]), np.array(GAIN[scene.light]) * (1 + gain), 0
    )


def colours_of(identity: Identity) -> np.ndarray:
    """Return [9] skin, iris and hair as RGB in [0, 1]."""
    return np.concatenate([palette(stops, getattr(identity, name)) for name, stops in PALETTES.items()]) / 255


def position_of(stops: tuple[tuple[int, int, int], ...], colour: np.ndarray) -> float:
    """Return the place on a palette that is nearest to the colour [3] in [0, 1]."""
    places = np.linspace(0, 1, 256)
    line = np.stack([palette(stops, place) for place in places]) / 255
    return float(places[np.square(line - colour).sum(1).argmin()])


def targets_of(identity: Identity, scene: Scene, rng_seed: int) -> dict[str, np.ndarray]:
    """Return what the network ought to say of a render: class numbers for words, values in [0, 1] otherwise."""
    words: dict[str, np.ndarray] = {
        name: np.array(options.index(getattr(scene, name))) for name, options in ATTRIBUTES.items()
    }
    return words | {
        "shapes": np.array([getattr(identity, name) for name in SHAPES], np.float32),
        "colours": colours_of(identity).astype(np.float32),
        "mole_side": np.array([identity.mole_side == "right"], np.float32),
        "hair_style": np.int64(people.HAIR_STYLES.index(identity.hair_style)),
        "facial_hair": np.int64(people.FACIAL_HAIR.index(identity.facial_hair)),
        "pose": pose_numbers(scene, pose_of(scene, rng_seed)),
    }


def identity_from(seen: dict[str, np.ndarray]) -> Identity:
    """Return the identity in one image's outputs; colours become the nearest place on their palette."""
    numbers = dict(zip(SHAPES, seen["shapes"].clip(0, 1).tolist(), strict=True))
    for place, (name, stops) in enumerate(PALETTES.items()):
        numbers[name] = position_of(stops, seen["colours"][3 * place : 3 * place + 3])
    return Identity(
        **numbers,
        mole_side="right" if seen["mole_side"][0] > 0 else "left",
        hair_style=people.HAIR_STYLES[int(seen["hair_style"].argmax())],
        facial_hair=people.FACIAL_HAIR[int(seen["facial_hair"].argmax())],
    )


def reading_from(seen: dict[str, np.ndarray]) -> Reading:
    """Return one image's outputs in words and numbers."""
    chances = {}
    for name, options in ATTRIBUTES.items():
        shares = np.exp(seen[name].astype(np.float64) - seen[name].max())
        chances[name] = dict(zip(options, (shares / shares.sum()).tolist(), strict=True))
    scene = Scene(**{name: max(shares, key=shares.__getitem__) for name, shares in chances.items()})
    return Reading(identity_from(seen), scene, seen["pose"].clip(-1.5, 1.5), chances)


@dataclass(frozen=True)
class Readers:
    """The trained readers."""

    network: Trunk

    def read(self, pictures: np.ndarray) -> list[Reading]:
        """Return one reading for each of the uint8 [n, h, w, 3] images."""
        seen = look(self.network, pictures)
        return [reading_from({name: part[index] for name, part in seen.items()}) for index in range(len(pictures))]


def load_readers(folder: Path = READERS) -> Readers:
    """Return the readers in `folder`/readers."""
    return Readers(load_network(folder, "readers"))
