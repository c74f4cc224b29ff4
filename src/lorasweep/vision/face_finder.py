"""Every face in a picture, and who the largest one is, where weights for that can be had."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.records import Floats
from lorasweep.vision.describe import shipped_weights
from lorasweep.vision.faces import SURE_OF_ANOTHER, FaceNet, find_sure_faces

if TYPE_CHECKING:
    from lorasweep.config.schema import EvaluateConfig

TURNED = 0.12
"""How far from the middle between the eyes, in distances between them, the nose of a turned face is: about 15 degrees,
the nose standing out by half that distance."""
LEAST_SHARE = 0.33
"""Of the largest face's side: a smaller one is somebody in the background, or a pattern."""
LOOKED_AT = 1024
"""Pixels: longer pictures are shrunk to this side first; a face that is lost by it is too small to train on."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The faces of one picture, largest first."""

    boxes: Floats
    """[F, 4] left, top, right, bottom in pixels."""
    landmarks: Floats
    """[F, 5, 2] left eye, right eye, nose, mouth left, mouth right in pixels."""
    identity: Floats
    """[V, D] unit vectors of the largest face, one for each way of looking; [0, 0] where nobody can tell."""
    turn: float
    """Of the largest face: 0 into the camera, beyond -1 and 1 turned to that side of the picture; NaN without one."""


NOBODY = Found(boxes=np.zeros((0, 4)), landmarks=np.zeros((0, 5, 2)), identity=np.zeros((0, 0)), turn=np.nan)


class FaceFinder(Protocol):
    """Finds the faces of one picture at a time."""

    unknown: str
    """Why it cannot tell who somebody is; '' where it can."""

    def find(self, picture: Pixels) -> Found:
        """``picture`` is [H, W, 3] uint8, of any size."""
        ...


def open_finder(evaluate: "EvaluateConfig", device: str = "cpu") -> FaceFinder:
    """The finder that goes with ``evaluate.face``. Raises UserError where there is no such network."""
    if evaluate.face == "facenet":
        return PhotoFaces.open(evaluate, device)
    if evaluate.face == "portraits":
        from lorasweep.vision.drawn_faces import DrawnFaces

        return DrawnFaces(shipped_weights())
    raise UserError(f"evaluate.face is {evaluate.face!r}; it must be facenet or portraits.")


class PhotoFaces:
    """MTCNN, whose weights come with its library, and InceptionResnetV1 where its weights are here."""

    def __init__(self, detector: Any, network: FaceNet | None, unknown: str = "") -> None:
        self._detector = detector
        self._network = network
        self.unknown = unknown

    @staticmethod
    def open(evaluate: "EvaluateConfig", device: str = "cpu") -> "PhotoFaces":
        """With identity where it can be had, else without, and ``unknown`` says why. Raises UserError for named
        weights that cannot be read."""
        try:
            network = FaceNet(evaluate.face_weights, evaluate.face_weights_sha256, device)
        except UserError as error:
            if evaluate.face_weights:
                raise
            from facenet_pytorch import MTCNN

            return PhotoFaces(MTCNN(keep_all=True, device=device), None, str(error))
        return PhotoFaces(network.detector, network)

    def find(self, picture: Pixels) -> Found:
        small, scale = _shrunk(picture)
        found = find_sure_faces(self._detector, small)
        if found is None:
            return NOBODY
        boxes, points, chances = found
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        kept = (chances >= SURE_OF_ANOTHER) & (sides >= LEAST_SHARE * sides[0])
        kept[0] = True
        identity = self._network.vector(small, boxes[0])[None] if self._network else np.zeros((0, 0))
        turn = turn_of(points[0]) / TURNED
        return Found(boxes=boxes[kept] * scale, landmarks=points[kept] * scale, identity=identity, turn=turn)


def turn_of(points: Floats) -> float:
    """How far the nose is from the middle between the eyes, along the line through them, in distances between them.

    ``points`` are five landmarks [5, 2]. Positive to the right side of the picture.
    """
    across = points[1] - points[0]
    return float((points[2] - points[:2].mean(axis=0)) @ across / max(float(across @ across), 1e-9))


def _shrunk(picture: Pixels) -> tuple[Pixels, float]:
    """The picture with LOOKED_AT pixels at most along its longer side, and what its pixels are worth."""
    from PIL import Image

    longest = max(picture.shape[:2])
    if longest <= LOOKED_AT:
        return picture, 1.0
    scale = longest / LOOKED_AT
    size = (max(1, round(picture.shape[1] / scale)), max(1, round(picture.shape[0] / scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)), scale
