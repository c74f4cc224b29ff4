"""Draws an `Identity` in a `Scene` with Pillow: the photo of this world, and the ground truth that goes with it.

Shapes are polygons in head units (the origin between eyes and nose, x to the right, y down, 1 = the picture's side at
framing "portrait"). A pose maps them to pixels; drawing happens at four times the size and is averaged down.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lorasweep.portraits import drawing
from lorasweep.portraits.people import HAIR, IRIS, SKIN, Identity, Scene, palette

COLOURS = {
    "red": (208, 44, 44),
    "orange": (246, 138, 30),
    "yellow": (248, 220, 62),
    "green": (62, 160, 74),
    "blue": (52, 98, 214),
    "purple": (138, 62, 178),
    "white": (244, 244, 242),
    "gray": (104, 106, 112),
    "black": (34, 34, 38),
}
SCALE = {"portrait": 1.0, "close-up": 1.17, "wide": 0.84}
GAIN = {"normal": (1.0, 1.0, 1.0), "bright": (1.13, 1.11, 1.05), "dim": (0.82, 0.83, 0.88)}
Colour = np.ndarray | tuple[int, int, int]
TURN = {"camera": 0.0, "left": -1.0, "right": 1.0}


@dataclass(frozen=True)
class Pose:
    """Where the head is in a square picture of side 1, and how this photo differs from the next one."""

    center: np.ndarray
    matrix: np.ndarray
    ramp: np.ndarray
    """Light falling in from one side: relative brightness change over x and y."""
    gain: np.ndarray
    noise_seed: int

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Head units [n, 2] to picture units [n, 2]."""
        return points @ self.matrix.T + self.center


def pose_of(scene: Scene, rng_seed: int) -> Pose:
    """The pose of one photo: framing from the scene, small jitter of place, size, tilt and light from the seed."""
    rng = np.random.default_rng([rng_seed, 64])
    angle = np.deg2rad(rng.uniform(-5, 5))
    scale = SCALE[scene.framing] * rng.uniform(0.97, 1.03)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    center = np.array([0.5, 0.47]) + rng.uniform(-0.022, 0.022, 2)
    gain = np.array(GAIN[scene.light]) * rng.uniform(0.96, 1.04)
    return Pose(center, turn * scale, rng.uniform(-0.09, 0.09, 2), gain, int(rng.integers(2**31)))


def render(identity: Identity, scene: Scene, size: int = 64, rng_seed: int = 0) -> Image.Image:
    """A square RGB picture of `size` pixels, a pure function of its arguments."""
    return render_posed(identity, scene, pose_of(scene, rng_seed), size)


def render_posed(identity: Identity, scene: Scene, pose: Pose, size: int = 64) -> Image.Image:
    """`render` at a pose that is given, as when a picture that was read is to be drawn again."""
    over = 4 if size <= 128 else 2
    canvas = Canvas(size * over, pose, COLOURS[scene.background])
    _draw(canvas, identity, scene)
    picture = canvas.image.reduce(over)
    if scene.style == "sketch":
        return _sketch(picture, pose)
    return _develop(picture, pose)


def landmarks(identity: Identity, scene: Scene, size: int = 64, rng_seed: int = 0) -> np.ndarray:
    """[5, 2] pixels (x, y): left eye, right eye, nose tip, left and right mouth corner, left as the viewer sees it."""
    face = Face.of(identity, scene)
    points = np.array(
        [
            [face.shift - face.eye_gap, face.eye_y],
            [face.shift + face.eye_gap, face.eye_y],
            [face.shift * 1.15, face.nose_y],
            [face.shift - face.mouth_width, face.mouth_y],
            [face.shift + face.mouth_width, face.mouth_y],
        ]
    )
    return (pose_of(scene, rng_seed)(points) * size).astype(np.float32)


def face_box(identity: Identity, scene: Scene, size: int = 64, rng_seed: int = 0) -> np.ndarray:
    """[4] pixels (left, top, right, bottom) around the face from hairline to chin, ears left out."""
    outline = pose_of(scene, rng_seed)(Face.of(identity, scene).outline()) * size
    return np.concatenate([outline.min(0), outline.max(0)]).astype(np.float32)


@dataclass(frozen=True)
class Face:
    """The measures of one face in head units, after expression and gaze."""

    half_width: float
    half_height: float
    jaw: float
    shift: float
    """How far the features move sideways when the head turns."""
    eye_gap: float
    eye_y: float
    eye: float
    nose_y: float
    mouth_y: float
    mouth_width: float

    @staticmethod
    def of(identity: Identity, scene: Scene) -> "Face":
        half_width = 0.19 + 0.07 * identity.face_width
        half_height = 0.25 + 0.06 * identity.face_height
        eye_y = -0.035
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
        """[n, 2]: an ellipse above, a superellipse below that makes pointed and square jaws."""
        angle = np.linspace(0, 2 * np.pi, 49)[:-1]
        power = np.where(np.sin(angle) > 0, 2.0 / self.jaw, 1.0)
        x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power
        y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power
        return np.stack([x * (self.half_width + grow), y * (self.half_height + grow)], 1)


UNIT = np.stack([np.cos(np.linspace(0, 2 * np.pi, 25)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 25)[:-1])], 1)


class Canvas:
    """A Pillow drawing that takes shapes in head units and colours as RGB in 0..255."""

    def __init__(self, side: int, pose: Pose, background: tuple[int, int, int]) -> None:
        self.side, self.pose = side, pose
        self.image = Image.new("RGB", (side, side), background)
        self.draw = ImageDraw.Draw(self.image)

    def shape(self, points: np.ndarray, colour: Colour) -> None:
        pixels = self.pose(points) * self.side
        self.draw.polygon(pixels.ravel().tolist(), fill=_rgb(colour))

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        self.shape(UNIT * (rx, ry) + (x, y), colour)

    def line(self, points: np.ndarray, width: float, colour: Colour) -> None:
        pixels = self.pose(points) * self.side
        thick = max(1, round(width * self.side * abs(float(np.linalg.det(self.pose.matrix))) ** 0.5))
        self.draw.line(pixels.ravel().tolist(), fill=_rgb(colour), width=thick, joint="curve")


def _rgb(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(value, 0), 255)) for value in colour)
    return red, green, blue


def _draw(canvas: Canvas, identity: Identity, scene: Scene) -> None:
    """Back to front."""
    face = Face.of(identity, scene)
    skin = palette(SKIN, identity.skin)
    hair = palette(HAIR, identity.hair_color)
    drawing.hair_behind(canvas, face, identity, hair)
    drawing.body(canvas, face, skin, COLOURS[scene.shirt], scene)
    drawing.head(canvas, face, identity, skin)
    drawing.beard(canvas, face, identity, hair)
    drawing.hair_front(canvas, face, identity, hair)
    drawing.eyes(canvas, face, identity, scene, palette(IRIS, identity.iris), hair)
    drawing.nose_mouth_mole(canvas, face, identity, scene, skin, hair)
    drawing.accessory(canvas, face, scene)


def _develop(picture: Image.Image, pose: Pose) -> Image.Image:
    """Light from one side and a trace of sensor noise, as no two photos have the same."""
    pixels = np.asarray(picture, dtype=np.float32)
    side = pixels.shape[0]
    across = np.linspace(-1, 1, side, dtype=np.float32)
    light = 1 + pose.ramp[0] * across[None, :, None] + pose.ramp[1] * across[:, None, None]
    noise = np.random.default_rng(pose.noise_seed).standard_normal((side, side, 1), dtype=np.float32)
    lit = pixels * (light * pose.gain).astype(np.float32) + 1.5 * noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _sketch(picture: Image.Image, pose: Pose) -> Image.Image:
    """Soft gray tones and dark edges on warm paper."""
    gray = picture.convert("L")
    edges = np.asarray(gray.filter(ImageFilter.FIND_EDGES), dtype=np.float32)
    edges[[0, -1], :] = 0
    edges[:, [0, -1]] = 0
    tone = 140 + 0.43 * np.asarray(gray, dtype=np.float32) - 0.6 * edges
    grain = np.random.default_rng(pose.noise_seed).standard_normal(tone.shape, dtype=np.float32)
    paper = (tone + 2 * grain)[..., None] * np.array([1.0, 0.98, 0.94], dtype=np.float32)
    return Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8))
