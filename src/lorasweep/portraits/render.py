"""Draw an `Identity` in a `Scene` with Pillow: a photo of the drawn world, and the ground truth that goes with it."""

import numpy as np
from PIL import Image, ImageFilter

from lorasweep.portraits import drawing
from lorasweep.portraits.canvas import Canvas, Face, Pose
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
"""RGB of shirts and backgrounds."""
SCALE = {"portrait": 1.0, "close-up": 1.17, "wide": 0.84}
"""Size of the head, by framing."""
GAIN = {"normal": (1.0, 1.0, 1.0), "bright": (1.13, 1.11, 1.05), "dim": (0.82, 0.83, 0.88)}
"""Factors of R, G and B, by light."""


def pose_of(scene: Scene, rng_seed: int) -> Pose:
    """Return the pose of one photo: framing by the scene; some jitter of place, size, tilt and light by the seed."""
    # 64 keeps this stream apart from others with the same seed; another number would draw other photos
    rng = np.random.default_rng([rng_seed, 64])
    angle = np.deg2rad(rng.uniform(-5, 5))
    scale = SCALE[scene.framing] * rng.uniform(0.97, 1.03)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    center = np.array([0.5, 0.47]) + rng.uniform(-0.022, 0.022, 2)
    gain = np.array(GAIN[scene.light]) * rng.uniform(0.96, 1.04)
    return Pose(center, turn * scale, rng.uniform(-0.09, 0.09, 2), gain, int(rng.integers(2**31)))


def render(identity: Identity, scene: Scene, size: int = 64, rng_seed: int = 0) -> Image.Image:
    """Return a square RGB image of `size` pixels, a pure function of its arguments."""
    return render_posed(identity, scene, pose_of(scene, rng_seed), size)


def render_posed(identity: Identity, scene: Scene, pose: Pose, size: int = 64) -> Image.Image:
    """Return what `render` does, at a given pose, as when an image whose pose was read from it is drawn again."""
    over = 4 if size <= 128 else 2  # drawn larger and averaged down, since Pillow's polygons have no antialiasing
    canvas = Canvas(size * over, pose, COLOURS[scene.background])
    _draw(canvas, identity, scene)
    picture = canvas.image.reduce(over)
    if scene.style == "sketch":
        return _sketch(picture, pose)
    return _develop(picture, pose)


def landmarks(identity: Identity, scene: Scene, size: int = 64, rng_seed: int = 0) -> np.ndarray:
    """Return [5, 2] pixels (x, y): left eye, right eye, nose tip, left and right mouth corner, as viewers see it."""
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
    """Return [4] pixels (left, top, right, bottom) around the face from hairline to chin, without the ears."""
    outline = pose_of(scene, rng_seed)(Face.of(identity, scene).outline()) * size
    return np.concatenate([outline.min(0), outline.max(0)]).astype(np.float32)


def _draw(canvas: Canvas, identity: Identity, scene: Scene) -> None:
    """Draw the parts back to front, since each covers what is behind it."""
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
    """Return the image with light from one side and a trace of sensor noise, so that no two photos are alike."""
    pixels = np.asarray(picture, dtype=np.float32)
    side = pixels.shape[0]
    across = np.linspace(-1, 1, side, dtype=np.float32)
    light = 1 + pose.ramp[0] * across[None, :, None] + pose.ramp[1] * across[:, None, None]
    noise = np.random.default_rng(pose.noise_seed).standard_normal((side, side, 1), dtype=np.float32)
    lit = pixels * (light * pose.gain).astype(np.float32) + 1.5 * noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _sketch(picture: Image.Image, pose: Pose) -> Image.Image:
    """Return the image as soft gray tones and dark edges on warm paper."""
    gray = picture.convert("L")
    edges = np.asarray(gray.filter(ImageFilter.FIND_EDGES), dtype=np.float32)
    # FIND_EDGES copies the outermost pixels, which would draw a frame
    edges[[0, -1], :] = 0
    edges[:, [0, -1]] = 0
    tone = 140 + 0.43 * np.asarray(gray, dtype=np.float32) - 0.6 * edges
    grain = np.random.default_rng(pose.noise_seed).standard_normal(tone.shape, dtype=np.float32)
    paper = (tone + 2 * grain)[..., None] * np.array([1.0, 0.98, 0.94], dtype=np.float32)
    return Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8))
