"""The strokes of a portrait: hair, head, eyes, mouth, clothes. Each function draws one part in head units.

Details are larger than life: an image is 64 pixels wide and passes through a small autoencoder, so a feature that a
prompt names must be several pixels large.
"""

import numpy as np

from lorasweep.portraits.canvas import Canvas, Face
from lorasweep.portraits.people import Identity, Scene

WHITE = (252, 252, 250)
INK = (30, 24, 26)


def _arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, n: int = 13) -> np.ndarray:
    """Return [n, 2] points on an ellipse from angle `start` to `stop` in degrees: 0 is right, 90 down, 270 up."""
    angle = np.deg2rad(np.linspace(start, stop, n))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def hair_behind(canvas: Canvas, face: Face, identity: Identity, colour: np.ndarray) -> None:
    """Draw the hair that hangs or stands behind the head."""
    w, h = face.half_width, face.half_height
    shade = colour * 0.82  # darker than the hair in front, so that the two are told apart
    if identity.hair_style == "long":
        top = _arc(0, -0.3 * h, w + 0.075, h * 0.92, 180, 360)
        canvas.shape(np.concatenate([top, [[w + 0.1, 0.42], [-w - 0.1, 0.42]]]), shade)
    elif identity.hair_style == "bob":
        top = _arc(0, -0.3 * h, w + 0.075, h * 0.9, 180, 360)
        canvas.shape(np.concatenate([top, [[w + 0.1, h * 0.78], [-w - 0.1, h * 0.78]]]), shade)
    elif identity.hair_style == "curly":
        for angle in np.deg2rad(np.arange(150, 400, 24)):
            canvas.oval((w + 0.035) * np.cos(angle), -0.1 + (h + 0.01) * np.sin(angle), 0.09, 0.09, colour)
    elif identity.hair_style == "bun":
        canvas.oval(0, -h - 0.075, 0.1, 0.085, colour)
    elif identity.hair_style == "mohawk":
        canvas.shape(
            np.array([[-0.07, -h * 0.6], [-0.095, -h - 0.13], [0.095, -h - 0.13], [0.07, -h * 0.6]]),
            colour,
        )


def body(canvas: Canvas, face: Face, skin: np.ndarray, shirt: tuple[int, int, int], scene: Scene) -> None:
    """Draw neck and shoulders."""
    h = face.half_height
    shoulders = np.concatenate([[[-0.46, 0.9]], _arc(0, h + 0.25, 0.42, 0.19, 180, 360), [[0.46, 0.9]]])
    canvas.shape(shoulders, shirt)
    canvas.shape(_box(-0.085, h * 0.6, 0.085, h + 0.1), skin * 0.8)
    canvas.oval(0, h + 0.095, 0.1, 0.045, skin * 0.8)


def head(canvas: Canvas, face: Face, identity: Identity, skin: np.ndarray) -> None:
    """Draw the ears, then the face with a darker rim that sets it off from any background."""
    ear = 0.035 + 0.035 * identity.ear_size
    for side in (-1, 1):
        x = side * (face.half_width + 0.2 * ear) + 0.3 * face.shift
        canvas.oval(x, 0.0, ear * 0.85, ear * 1.25, skin * 0.78)
    canvas.shape(face.outline(0.008), skin * 0.68)
    canvas.shape(face.outline(-0.004), skin)


def beard(canvas: Canvas, face: Face, identity: Identity, hair: np.ndarray) -> None:
    """Draw a beard, which fills the face below the nose; a moustache is drawn with the mouth."""
    if identity.facial_hair != "beard":
        return
    outline = face.outline(0.012)
    low = outline[outline[:, 1] > 0.2 * face.half_height]
    x, y = face.shift, face.mouth_y - 0.06
    canvas.shape(np.concatenate([low, [[x - 0.1, y], [x + 0.1, y]]]), hair * 0.86)


def hair_front(canvas: Canvas, face: Face, identity: Identity, colour: np.ndarray) -> None:
    """Draw the cap of hair and its line on the forehead, by which styles are told apart from the front."""
    w, h, x = face.half_width, face.half_height, 0.6 * face.shift
    style = identity.hair_style
    if style == "bald":
        return
    if style == "mohawk":
        canvas.shape(
            np.array([[-0.07, -h * 0.55], [-0.085, -h - 0.05], [0.085, -h - 0.05], [0.07, -h * 0.55]]),
            colour,
        )
        return
    cap = _arc(0, 0, w + 0.03, h + 0.035, 195, 345, 21)
    line = {
        "crop": [[w * 0.95, -0.5 * h], [x, -0.62 * h], [-w * 0.95, -0.5 * h]],
        "part": [
            [w * 0.98, -0.28 * h],
            [x + 0.5 * w, -0.5 * h],
            [x - 0.55 * w, -0.82 * h],
            [-w, -0.3 * h],
        ],
        "bob": [
            [w * 0.97, -0.2 * h],
            [w * 0.85, -0.52 * h],
            [-w * 0.85, -0.52 * h],
            [-w * 0.97, -0.2 * h],
        ],
        "long": [
            [w * 0.95, 0.1 * h],
            [x + 0.7 * w, -0.35 * h],
            [x, -0.8 * h],
            [x - 0.7 * w, -0.35 * h],
            [-w * 0.95, 0.1 * h],
        ],
        "curly": [[w * 0.95, -0.45 * h], [x, -0.6 * h], [-w * 0.95, -0.45 * h]],
        "bun": [
            [w * 0.95, -0.35 * h],
            [x + 0.5 * w, -0.7 * h],
            [x - 0.5 * w, -0.7 * h],
            [-w * 0.95, -0.35 * h],
        ],
    }[style]
    canvas.shape(np.concatenate([cap, line]), colour)
    if style == "curly":
        for place in (-0.66, -0.22, 0.22, 0.66):
            canvas.oval(x + place * w, -0.7 * h, 0.055, 0.05, colour * 0.88)


def eyes(
    canvas: Canvas,
    face: Face,
    identity: Identity,
    scene: Scene,
    iris: np.ndarray,
    hair: np.ndarray,
) -> None:
    """Draw whites, irises moved by the gaze, pupils with a glint, and brows moved by the expression."""
    wide = {"surprised": 1.18, "smiling": 0.86, "sad": 0.9}.get(scene.expression, 1.0)
    rx, ry = face.eye, face.eye * 0.86 * wide
    look = 0.5 * face.eye * np.sign(face.shift)
    ring = 0.62 * face.eye
    lift = {"surprised": 0.035, "sad": 0.008}.get(scene.expression, 0.0)
    tilt = 0.035 * (identity.brow_tilt - 0.5) - (0.04 if scene.expression == "sad" else 0.0)
    thick = 0.014 + 0.02 * identity.brow_thickness
    for side in (-1, 1):
        x, y = face.shift + side * face.eye_gap, face.eye_y
        canvas.oval(x, y, rx + 0.009, ry + 0.009, INK)
        canvas.oval(x, y, rx, ry, WHITE)
        canvas.oval(x + look, y, ring, min(ring, ry), iris)
        canvas.oval(x + look, y, ring * 0.5, ring * 0.5, INK)
        canvas.oval(x + look - 0.012, y - 0.014, 0.009, 0.009, WHITE)
        top = y - ry - 0.034 - lift
        inner, outer = x - side * 0.055, x + side * 0.06
        ends = np.array([[inner, top + tilt], [outer, top - tilt]])
        canvas.shape(np.concatenate([ends - (0, thick), ends[::-1] + np.array([0, thick * 0.4])]), hair * 0.72)


def nose_mouth_mole(
    canvas: Canvas,
    face: Face,
    identity: Identity,
    scene: Scene,
    skin: np.ndarray,
    hair: np.ndarray,
) -> None:
    """Draw the middle of the face, and the mole on one cheek."""
    width = 0.024 + 0.026 * identity.nose_width
    x, y = face.shift * 1.15, face.nose_y
    canvas.shape(
        np.array([[x - 0.012, y - 0.075], [x + 0.012, y - 0.075], [x + width, y], [x - width, y]]),
        skin * 0.88,
    )
    canvas.oval(x, y, width, 0.021, skin * 0.74)
    if identity.facial_hair == "moustache":
        top = (face.nose_y + 0.018 + face.mouth_y - 0.03) / 2
        for side in (-1, 1):
            canvas.oval(face.shift + side * 0.05, top + 0.006, 0.062, 0.026, hair * 0.8)
    _mouth(canvas, face, identity, scene.expression, skin)
    side = 1 if identity.mole_side == "right" else -1
    mole = np.array([18, 6, 8]) + 0.18 * skin  # dark on any skin: the only part that tells left from right
    place = face.shift * 0.8 + side * face.half_width * 0.68
    canvas.oval(place, 0.055 + 0.085 * identity.mole_height, 0.021, 0.021, mole)


def _mouth(canvas: Canvas, face: Face, identity: Identity, expression: str, skin: np.ndarray) -> None:
    """Draw one of four mouths that no blur mixes up: a bar, an open laugh with teeth, an open bow downwards, an O."""
    x, y, w = face.shift, face.mouth_y, face.mouth_width
    lip = 0.011 + 0.018 * identity.lip_thickness
    red = skin * 0.45 + np.array([190, 40, 50]) * 0.55
    if expression == "smiling":
        canvas.shape(_arc(x, y - 0.022, w + lip * 0.7, 0.075 + lip * 0.8, 0, 180), red * 0.9)
        canvas.shape(_arc(x, y - 0.014, w * 0.88, 0.062, 0, 180), (96, 24, 30))
        canvas.shape(np.concatenate([_arc(x, y - 0.014, w * 0.86, 0.034, 0, 180)]), WHITE)
    elif expression == "sad":
        # An open bow: a thin arc was confused with "neutral" by the base model and by the readers.
        canvas.shape(_arc(x, y + 0.04, w + lip * 0.7, 0.07 + lip * 0.8, 180, 360), red * 0.9)
        canvas.shape(_arc(x, y + 0.034, w * 0.84, 0.05, 180, 360), (84, 20, 28))
    elif expression == "surprised":
        canvas.oval(x, y + 0.012, w * 0.85 + lip * 0.7, 0.058 + lip * 0.7, red)
        canvas.oval(x, y + 0.012, w * 0.85, 0.056, (84, 20, 28))
    else:
        canvas.oval(x, y, w, 0.008 + lip * 1.3, red)
        canvas.shape(_box(x - w * 0.92, y - 0.007, x + w * 0.92, y + 0.007), red * 0.5)


def accessory(canvas: Canvas, face: Face, scene: Scene) -> None:
    """Draw the accessory: each has one fixed look, large, in a place of its own."""
    if scene.accessory == "glasses":
        _glasses(canvas, face)
    elif scene.accessory == "hat":
        w, h = face.half_width, face.half_height
        canvas.shape(_box(-w * 0.92, -h - 0.17, w * 0.92, -h * 0.66), (24, 92, 98))
        canvas.shape(_box(-w * 0.93, -h * 0.86, w * 0.93, -h * 0.66), (240, 226, 170))
        canvas.oval(0, -h * 0.64, w + 0.12, 0.035, (18, 74, 80))
    elif scene.accessory == "microphone":
        x, y = 0.2, face.half_height + 0.02
        canvas.shape(
            np.array([[x - 0.03, y], [x + 0.04, y], [x + 0.14, 0.75], [x + 0.04, 0.75]]),
            (40, 40, 46),
        )
        canvas.oval(x, y - 0.02, 0.085, 0.085, (54, 54, 60))
        canvas.oval(x, y - 0.02, 0.07, 0.07, (176, 180, 188))
        canvas.line(np.array([[x - 0.07, y - 0.02], [x + 0.07, y - 0.02]]), 0.018, (54, 54, 60))
    elif scene.accessory == "scarf":
        _scarf(canvas, face)
    elif scene.accessory == "headphones":
        w, h = face.half_width, face.half_height
        canvas.line(_arc(0, -0.02, w + 0.045, h + 0.06, 180, 360, 21), 0.045, (46, 46, 52))
        for side in (-1, 1):
            canvas.oval(side * (w + 0.04), 0.0, 0.058, 0.095, (46, 46, 52))
            canvas.oval(side * (w + 0.05), 0.0, 0.03, 0.062, (236, 70, 120))


def _glasses(canvas: Canvas, face: Face) -> None:
    r = face.eye + 0.026
    for side in (-1, 1):
        x = face.shift + side * max(face.eye_gap, r + 0.006)
        canvas.line(_arc(x, face.eye_y, r, r * 0.95, 0, 375, 26), 0.024, INK)
        canvas.line(
            np.array([[x + side * r, face.eye_y], [side * face.half_width, face.eye_y - 0.02]]),
            0.02,
            INK,
        )


def _scarf(canvas: Canvas, face: Face) -> None:
    h = face.half_height
    teal, cream = (20, 140, 150), (250, 240, 214)
    top, bottom = _arc(0, h + 0.02, 0.2, 0.05, 180, 0), _arc(0, h + 0.09, 0.21, 0.08, 0, 180)
    canvas.shape(np.concatenate([top, bottom]), teal)
    canvas.shape(np.array([[0.06, h + 0.08], [0.17, h + 0.06], [0.2, 0.8], [0.07, 0.8]]), teal)
    for y in (h + 0.14, h + 0.24, h + 0.34):
        canvas.shape(np.array([[0.062, y], [0.178, y - 0.012], [0.184, y + 0.03], [0.063, y + 0.042]]), cream)
    canvas.shape(_arc(0, h + 0.055, 0.205, 0.07, 20, 160), cream)
    canvas.shape(_arc(0, h + 0.022, 0.2, 0.07, 15, 165), teal)
