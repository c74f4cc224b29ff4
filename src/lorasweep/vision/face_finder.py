"""Every face in an image, and who the largest one is if there are weights to tell."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.records import Floats
from lorasweep.vision.faces import SURE_OF_ANOTHER, FaceNet, OfDetected, find_sure_faces

if TYPE_CHECKING:
    from lorasweep.config.schema import EvaluateConfig

TURNED = 0.12  # about 15 degrees, if the nose stands out by half the distance between the eyes
"""How far the nose of a turned face is from the middle between the eyes, in distances between them."""
LEAST_SHARE = 0.33  # a smaller face is somebody in the background, or a pattern
"""Least side of a further face, as a share of the largest one's."""
LOOKED_AT = 1024  # a face that is lost by shrinking is too small to train on
"""Pixels of the longer side; larger images are shrunk to it first."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The faces of one image, largest first."""

    boxes: Floats
    """[F, 4] left, top, right, bottom in pixels."""
    landmarks: Floats
    """[F, 5, 2] left eye, right eye, nose, mouth left, mouth right in pixels."""
    identity: Floats
    """[V, D] unit vectors of the largest face, one for each view of it; [0, 0] if there are no weights to tell."""
    turn: float
    """Of the largest face: 0 into the camera, below -1 turned to the image's left, above 1 to its right; NaN without
    one."""


NOBODY = Found(boxes=np.zeros((0, 4)), landmarks=np.zeros((0, 5, 2)), identity=np.zeros((0, 0)), turn=np.nan)


class FaceFinder(Protocol):
    """Finds the faces of one image at a time."""

    unknown: str
    """Why it cannot tell who somebody is, in a sentence; '' if it can."""

    def find(self, picture: Pixels) -> Found:
        """Return the faces in an image, [H, W, 3] uint8 of any size."""
        ...


class PhotoFaces:
    """MTCNN, whose weights come with its library, and a network that tells persons apart if its weights are here."""

    def __init__(self, detector: Any, network: OfDetected | None, unknown: str = "") -> None:
        self._detector = detector
        self._network = network
        self.unknown = unknown

    @staticmethod
    def open(evaluate: "EvaluateConfig", device: str = "cpu") -> "PhotoFaces":
        """Return a finder that tells persons apart by FaceNet, or one that does not and says why in ``unknown``.

        Raises:
            UserError: the configuration names weights that cannot be read.
        """
        try:
            network = FaceNet(evaluate.face_weights, evaluate.face_weights_sha256, device)
        except UserError as error:
            if evaluate.face_weights:  # weights that were asked for are no optional extra
                raise
            from facenet_pytorch import MTCNN

            return PhotoFaces(MTCNN(keep_all=True, device=device), None, str(error))
        return PhotoFaces(network.detector, network)

    def find(self, picture: Pixels) -> Found:
        """Return the faces in an image, [H, W, 3] uint8 of any size."""
        small, scale = _shrunk(picture)
        found = find_sure_faces(self._detector, small)
        if found is None:
            return NOBODY
        boxes, points, chances = found
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        kept = (chances >= SURE_OF_ANOTHER) & (sides >= LEAST_SHARE * sides[0])
        kept[0] = True  # the largest one is the subject, however sure MTCNN is of it
        identity = self._network.vector(small, boxes[0])[None] if self._network else np.zeros((0, 0))
        turn = turn_of(points[0]) / TURNED
        return Found(boxes=boxes[kept] * scale, landmarks=points[kept] * scale, identity=identity, turn=turn)


def turn_of(points: Floats) -> float:
    """Return how far the nose is from the middle between the eyes, along the line through them.

    ``points`` are five landmarks [5, 2]. The unit is the distance between the eyes; positive is the image's right.
    """
    across = points[1] - points[0]
    return float((points[2] - points[:2].mean(axis=0)) @ across / max(float(across @ across), 1e-9))


def _shrunk(picture: Pixels) -> tuple[Pixels, float]:
    """Return the image with at most LOOKED_AT pixels along its longer side, and how many times smaller it is."""
    from PIL import Image

    longest = max(picture.shape[:2])
    if longest <= LOOKED_AT:
        return picture, 1.0
    scale = longest / LOOKED_AT
    size = (max(1, round(picture.shape[1] / scale)), max(1, round(picture.shape[0] / scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)), scale
