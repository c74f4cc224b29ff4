"""Faces of drawn people in images of any size, found by a network that sees one face, or none, in 64 x 64 pixels.

Square windows of several sizes slide over the image. So do windows half as wide, padded to a square, since neither of
two people who stand close together fills a square alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lorasweep.data.pictures import Pixels
from lorasweep.portraits.networks import SIDE, FaceNetwork, load_face_network
from lorasweep.records import Floats
from lorasweep.vision.embedder import unit
from lorasweep.vision.face_finder import NOBODY, Found
from lorasweep.vision.faces import box_of

# Steps are this small since the network sees no face in a window that is off by an eighth; it would then take parts of
# the face, in smaller windows, for one.
LARGE = {1.0: 4, 0.75: 6, 0.56: 8, 0.42: 12, 0.32: 16}
"""Large windows: side as a share of the image's shorter side, to the step between windows in a window's 64 pixels."""
FAR = {0.25: 16, 0.19: 16, 0.145: 16, 0.11: 16, 0.085: 16}
"""The same for small windows, which are searched only if the large ones hold nobody."""
WORTH_A_LOOK = 0.05
"""The network's probability from which a window is moved to the face that it seems to hold, and looked at again."""
CANDIDATES = 12
"""Windows that are looked at again, the surest first."""
SURE, LIKELY = 0.9, 0.5
"""Probability from which a window holds a face; if none is sure, the likeliest of the large windows counts."""
# Drawn heads turn by moving their features within the outline, by a fifth of its half width. Of 204 photos all but one
# fall on the right side of this.
TURNED = 0.09
"""``off_centre`` from which a head is turned."""
CHEEK, OUTSIDE, REACH = 0.6, 0.8, 2.6
"""Distances from the middle between the eyes, in distances between them: the cheeks are between the first two, the
outline is looked for between the last two."""
BELOW_EYES = (0.4, 0.95)
"""Heights from the eyes (0) to the mouth (1) at which no ear, eye or glasses are in the way of the outline."""
ANOTHER_COLOUR = 30
"""Difference to the skin, of 255, in the channel that differs most, at which the skin ends."""
LEAST_SIDE = 48
"""Pixels of the image in a window's side; smaller windows show too little."""
CERTAIN = 0.995  # as sure as the network can be
"""Probability from which nothing is looked for around a face any more."""
OVERLAP = 0.25
"""Shared part of the smaller of two boxes from which both are one face."""
EYES, GAP, FALL = 0.435, 0.188, 0.208
"""An upright face in the middle of a window, in shares of its side: height of the eyes, distance between them, and from
them down to the mouth."""


@dataclass(frozen=True)
class _Window:
    """A square of the image in pixels."""

    left: float
    top: float
    side: float
    wide: float = 1.0
    """Share of its width that is looked at; the rest, on both sides, is padding."""


@dataclass(frozen=True)
class _Face:
    """What the network said of one window; points and box in pixels of the image."""

    chance: float
    """That it is a face, 0 to 1."""
    window: _Window
    points: Floats
    box: Floats
    vector: Floats


class DrawnFaces:
    """The face network of the drawn world, slid over an image."""

    unknown = ""

    def __init__(self, folder: Path, name: str = "face", second: str = "face_confirm") -> None:
        """Load ``folder``/``name``/model.safetensors, and that of ``second``, a network trained on other data.

        Raises:
            ValueError: a file is missing or altered.
            OSError: a file cannot be read.
        """
        self._network: FaceNetwork = load_face_network(folder, name)
        self._second: FaceNetwork = load_face_network(folder, second)

    def find(self, picture: Pixels) -> Found:
        """Return the faces in an image, [H, W, 3] uint8 of any size."""
        image = Image.fromarray(picture)
        near = self._through(image, LARGE)
        faces = [face for face in near if face.chance >= SURE] or [face for face in near[:1] if face.chance >= LIKELY]
        if not faces:
            faces = [face for face in self._through(image, FAR) if face.chance >= SURE]
        if not faces:
            return NOBODY
        if len(faces) > 1:
            faces = self._confirmed(image, faces)
        faces = sorted(faces, key=lambda face: -float((face.box[2:] - face.box[:2]).prod()))
        return Found(
            boxes=np.stack([face.box for face in faces]),
            landmarks=np.stack([face.points for face in faces]),
            identity=np.stack([faces[0].vector, self._at_large(image)]),
            turn=-off_centre(picture, faces[0].points) / TURNED,
        )

    def _confirmed(self, image: Image.Image, faces: Sequence[_Face]) -> list[_Face]:
        """Return those that the second network takes for faces too, or the surest one."""
        # a microphone in front of a chest, or a mouth under a hat, fools one network but seldom two
        chances = self._second.describe(np.stack([_view(image, _around(face)) for face in faces])).face_probability
        kept = [face for face, chance in zip(faces, chances.tolist(), strict=True) if chance >= LIKELY]
        return kept or [max(faces, key=lambda face: face.chance)]

    def _at_large(self, image: Image.Image) -> Floats:
        """Return [D] a second view of the largest face: the mean over large squares, weighted by their probability."""
        # the network knows people best at the distance at which it saw them drawn, and the window of a face with a hat
        # may be too small
        side, (width, height) = min(image.size), image.size
        windows = [
            _Window((width - side) / 2 + aside * side, down * (height - side), side)
            for aside in (-0.1, 0.0, 0.1)
            for down in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
        return unit(sum((face.chance * face.vector for face in self._look(image, windows)), np.zeros(1))[None])[0]

    def _through(self, image: Image.Image, windows: Mapping[float, int]) -> list[_Face]:
        """Return what may be a face in windows of these sizes and steps, surest first, each window moved around it."""
        seen: list[_Face] = []
        for share, step in windows.items():
            if share * min(image.size) < LEAST_SIDE and share < 1:
                continue
            for part in (1.0, 0.5) if share > 0.5 else (1.0,):
                certain = [face for face in _apart(seen) if face.chance >= CERTAIN]
                seen += self._grid(image, share, step, part, certain)
        candidates = _apart(seen)[:CANDIDATES]
        for _ in range(2):
            again = self._look(image, [_around(face) for face in candidates])
            candidates = [max(pair, key=lambda face: face.chance) for pair in zip(candidates, again, strict=True)]
        return _apart(candidates)

    def _grid(self, image: Image.Image, share: float, step: int, part: float, certain: Sequence[_Face]) -> list[_Face]:
        """Return what may be a face in windows of one size, of which ``part`` of the width is looked at."""
        scale = share * min(image.size) / SIDE
        size = (max(SIDE, round(image.width / scale)), max(SIDE, round(image.height / scale)))
        width, pixel = round(part * SIDE), np.array(image.size) / size
        places = [(left, top) for top in _places(size[1], SIDE, step) for left in _places(size[0], width, step)]
        corners = (np.array(places) - ((SIDE - width) / 2, 0)) * pixel
        boxes = np.tile(corners, 2) + EXPECTED * np.tile(SIDE * pixel, 2)
        # windows around a certain face are left out: the same face in a larger window could only win by its size
        taken = [_shared(boxes, face.box) >= OVERLAP for face in certain]
        rows: list[int] = np.flatnonzero(~np.any([np.zeros(len(boxes), dtype=bool), *taken], axis=0)).tolist()
        if not rows:
            return []
        small = np.asarray(image.resize(size, Image.Resampling.BOX))
        cut = np.stack([small[top : top + SIDE, left : left + width] for left, top in (places[row] for row in rows)])
        aside = (SIDE - width) // 2
        views = np.pad(cut, ((0, 0), (0, 0), (aside, aside), (0, 0)), mode="edge")
        sides = np.tile(SIDE * pixel, (len(rows), 1))
        return self._told(views, corners[rows], sides, [part] * len(rows), WORTH_A_LOOK)

    def _look(self, image: Image.Image, windows: Sequence[_Window]) -> list[_Face]:
        if not windows:
            return []
        views = np.stack([_view(image, window) for window in windows])
        corners = np.array([(window.left, window.top) for window in windows])
        sides = np.array([(window.side, window.side) for window in windows])
        return self._told(views, corners, sides, [window.wide for window in windows])

    def _told(
        self, views: Pixels, corners: Floats, sides: Floats, parts: Sequence[float], least: float = 0.0
    ) -> list[_Face]:
        """Return what the network says of N windows, whose probability is ``least`` or more.

        Args:
            views: [N, SIDE, SIDE, 3] uint8.
            corners: [N, 2] left and top of the windows, in pixels of the image.
            sides: [N, 2] their width and height.
            parts: N shares of the width that were looked at.
        """
        told = self._network.describe(views)
        faces: list[_Face] = []
        for row in np.flatnonzero(told.face_probability >= least).tolist():
            left, top = corners[row].tolist()
            window = _Window(left, top, float(sides[row, 0]), parts[row])
            points = told.landmarks[row].astype(np.float64) * sides[row] + corners[row]
            vector = unit(told.embedding[row : row + 1])[0]
            faces.append(_Face(float(told.face_probability[row]), window, points, box_around(points), vector))
        return faces


def _view(image: Image.Image, window: _Window) -> Pixels:
    """Return [SIDE, SIDE, 3] of the window; what lies outside the image or the part looked at repeats its edge."""
    aside = (1 - window.wide) / 2 * window.side
    low = np.array([window.left + aside, window.top])
    high = np.array([window.left + window.side - aside, window.top + window.side])
    inside = np.concatenate([low.clip(0), np.minimum(high, image.size)])
    scale = SIDE / window.side
    first = np.round((inside[:2] - (window.left, window.top)) * scale).astype(int).clip(0, SIDE - 1)
    last = np.maximum(np.round((inside[2:] - (window.left, window.top)) * scale).astype(int), first + 1).clip(1, SIDE)
    size = (int(last[0] - first[0]), int(last[1] - first[1]))
    part = np.asarray(image.resize(size, Image.Resampling.BOX, box=tuple(inside.tolist())))
    return np.pad(part, ((first[1], SIDE - last[1]), (first[0], SIDE - last[0]), (0, 0)), mode="edge")


def _around(face: _Face) -> _Window:
    """Return the window in which the face would be where the network expects it."""
    eyes, mouth = face.points[:2].mean(axis=0), face.points[3:].mean(axis=0)
    gap, fall = np.linalg.norm(face.points[1] - face.points[0]), np.linalg.norm(mouth - eyes)
    side = max(float(gap / GAP + fall / FALL) / 2, 1.0)
    return _Window(float(eyes[0]) - side / 2, float(eyes[1]) - EYES * side, side, face.window.wide)


def off_centre(picture: Pixels, points: Floats) -> float:
    """Return how far the middle of the face's outline is to the right of the middle between the eyes, in half widths.

    ``points`` are five landmarks [5, 2] in pixels. The outline is where the colour changes, from the cheeks outwards.
    """
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    across = points[1] - points[0]
    places = np.linspace(-REACH, REACH, 209)
    heights = np.linspace(*BELOW_EYES, 12)
    grid = eyes + places[None, :, None] * across + heights[:, None, None] * (mouth - eyes)
    last = np.array(picture.shape[1::-1]) - 1
    columns, rows = np.moveaxis(grid.round().clip(0, last).astype(int), 2, 0)
    colours = picture[rows, columns].astype(np.float64)
    cheeks = (np.abs(places) > CHEEK) & (np.abs(places) < OUTSIDE)
    skin = np.median(colours[:, cheeks], axis=1, keepdims=True)
    other = np.abs(colours - skin).max(axis=2) > ANOTHER_COLOUR
    left = np.where(other & (places < -OUTSIDE), places, -REACH).max(axis=1)
    right = np.where(other & (places > OUTSIDE), places, REACH).min(axis=1)
    return float(np.median((left + right) / (right - left)))


def box_around(points: Floats) -> Floats:
    """Return [4] the box, chin to hairline, of landmarks [5, 2], both in pixels."""
    # ``box_of`` clips to 0..1, so the landmarks are first put into the middle of a unit square that is large enough
    low = points.min(axis=0) - 4 * np.ptp(points, axis=0).max()
    span = 12 * np.ptp(points, axis=0).max() + 1e-9
    return box_of((points - low) / span) * span + np.tile(low, 2)


def _places(length: int, window: int, step: int) -> list[int]:
    return sorted({*range(0, length - window + 1, step), length - window})


def _apart(faces: Sequence[_Face]) -> list[_Face]:
    """Return the surest of all windows that hold one face; the largest of those that are equally sure."""
    kept: list[_Face] = []
    for face in sorted(faces, key=lambda face: (-round(face.chance, 2), -face.window.side)):
        if all(_shared(face.box, other.box) < OVERLAP for other in kept):
            kept.append(face)
    return kept


def _shared(one: Floats, other: Floats) -> Floats:
    """Return [...] the share of the smaller box that lies in both, for boxes [..., 4]."""
    inside = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (one, other)]
    return inside.clip(0).prod(axis=-1) / np.minimum(*areas)


EXPECTED = box_of(
    np.array([[0.5 - GAP / 2, EYES], [0.5 + GAP / 2, EYES], [0.5, EYES], [0.5, EYES + FALL], [0.5, EYES + FALL]])
)
"""[4] the box of a face in the middle of a window, in shares of the window's side."""
