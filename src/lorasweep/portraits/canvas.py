"""What a portrait is drawn on, and the measures of the face that is drawn.

Shapes are in head units: the origin between eyes and nose, x to the right, y down, 1 = the image's side at framing
"portrait". A `Pose` maps them to the image.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from lorasweep.portraits.people import Identity, Scene

TURN = {"camera": 0.0, "left": -1.0, "right": 1.0}
"""How far features move sideways, by gaze."""
Colour = np.ndarray | tuple[int, int, int]
"""RGB in 0..255."""


@dataclass(frozen=True)
class Pose:
    """Where the head is in a square image of side 1, and what light and noise the camera adds."""

    center: np.ndarray
    """[2] the head's origin, between eyes and nose, in image units."""
    matrix: np.ndarray
    """[2, 2] rotation and scale, from head units to image units."""
    ramp: np.ndarray
    """[2] light falling in from one side: relative change of brightness over x and y."""
    gain: np.ndarray
    """[3] factors of R, G and B."""
    noise_seed: int

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return [n, 2] points in image units for [n, 2] points in head units."""
        return points @ self.matrix.T + self.center


@dataclass(frozen=True)
class Face:
    """The measures of one face in head units, after expression and gaze."""

    half_width: float
    half_height: float
    jaw: float
    shift: float
    """How far the features move sideways as the head turns."""
    eye_gap: float
    eye_y: float
    eye: float
    nose_y: float
    mouth_y: float
    mouth_width: float

    @staticmethod
    def of(identity: Identity, scene: Scene) -> "Face":
        """Return the measures of this person in this scene."""
        half_width = 0.19 + 0.07 * identity.face_width
        half_height = 0.25 + 0.06 * identity.face_height
        eye_y = -0.035  # just above the origin, which lies between eyes and nose
        widths = {"neutral": 0.95, "smiling": 1.2, "sad": 1.12, "surprised": 0.62}
        return Face(
            half_width,
            half_height,
            1.7 + 1.6 * identity.jaw,
            0.045 * TURN[scene.gaze],
            0.078 + 0.032 * identity.eye_spacing,
            eye_y,
            0.048 + 0.02 * identity.eye_size,
            eye_y + 0.07 + 0.05 * identity.nose_length,
            half_height * 0.42 + 0.055,
            (0.062 + 0.035 * identity.mouth_width) * widths[scene.expression],
        )

    def outline(self, grow: float = 0.0) -> np.ndarray:
        """Return [48, 2] points: an ellipse above, and below a superellipse, which makes jaws pointed or square."""
        angle = np.linspace(0, 2 * np.pi, 49)[:-1]
        # y points down, so a positive sine is the lower half of the face
        power = np.where(np.sin(angle) > 0, 2.0 / self.jaw, 1.0)
        x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
        y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
        return np.stack([x * (self.half_width + grow), y * (self.half_height + grow)], 1)


CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 25)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 25)[:-1])], 1)
"""[24, 2] points of a circle of radius 1."""


class Canvas:
    """A Pillow image to draw on, with shapes in head units and colours as RGB in 0..255."""

    def __init__(self, side: int, pose: Pose, background: tuple[int, int, int]) -> None:
        self.side, self.pose = side, pose
        self.image = Image.new("RGB", (side, side), background)
        self.draw = ImageDraw.Draw(self.image)

    def shape(self, points: np.ndarray, colour: Colour) -> None:
        """Fill the polygon through [n, 2] points."""
        pixels = self.pose(points) * self.side
        self.draw.polygon(pixels.ravel().tolist(), fill=_rgb(colour))

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill the ellipse around (x, y)."""
        self.shape(CIRCLE * (rx, ry) + (x, y), colour)

    def line(self, points: np.ndarray, width: float, colour: Colour) -> None:
        """Draw a line through [n, 2] points, ``width`` head units wide."""
        pixels = self.pose(points) * self.side
        # Pillow's lines have one width, so that it is scaled by the root of the area's factor
        thick = max(1, round(width * self.side * abs(float(np.linalg.det(self.pose.matrix))) ** 0.5))
        self.draw.line(pixels.ravel().tolist(), fill=_rgb(colour), width=thick, joint="curve")


def _rgb(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(value, 0), 255)) for value in colour)
    return red, green, blue
