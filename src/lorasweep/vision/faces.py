"""Face embedders: FaceNet for photos, the portraits network for drawn people."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image

from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.records import Floats
from lorasweep.vision.embedder import Seen, checked_sha256, unit

if TYPE_CHECKING:
    from lorasweep.portraits.networks import FaceNetwork

CROP = 160
"""Pixels: the side that InceptionResnetV1 was trained on."""
MARGIN = 14 / CROP  # as the published vectors were computed
"""Share of the crop, both sides together, that lies around the box."""
SURE = 0.9
"""MTCNN's probability from which a box counts as a face."""
SURE_OF_ANOTHER = 0.98  # below it, MTCNN sees faces in folds and trees
"""MTCNN's probability from which a second box counts."""
COMPANION = 0.5  # one who was prompted for stands beside the subject, not in the background
"""Share of the largest face's side from which a second person counts."""
LIKELY = 0.5
"""The portraits network's probability from which an image counts as a face; it is trained to split them at one half."""


class OfDetected(Protocol):
    """MTCNN, and a network that turns a face which MTCNN found into a vector."""

    detector: Any
    width: int
    """Numbers of a vector."""

    def vector(self, picture: Pixels, box: Floats) -> Floats:
        """Return [D] the unit vector of the face in ``box``, [4] in pixels."""
        ...


def look_at_detected(eyes: OfDetected, pictures: Sequence[Pixels]) -> Seen:
    """Return what is seen in N images, [H, W, 3] uint8 of any sizes."""
    # one image at a time: MTCNN fails on a list in which one image has no face
    return merge([_detected(eyes, picture) for picture in pictures], eyes.width)


def _detected(eyes: OfDetected, picture: Pixels) -> Seen | None:
    found = find_sure_faces(eyes.detector, picture)
    if found is None:
        return None
    boxes, points, chances = found
    size = np.array(picture.shape[1::-1], dtype=np.float64)
    other = _companion(boxes, chances)
    return Seen(
        vectors=eyes.vector(picture, boxes[0])[None],
        count=np.array([len(boxes)]),
        boxes=boxes[:1] / np.tile(size, 2),
        landmarks=points[:1] / size,
        others=np.zeros((1, eyes.width)) if other is None else eyes.vector(picture, boxes[other])[None],
    )


class FaceNet:
    """MTCNN and InceptionResnetV1 of facenet-pytorch (Schroff et al. 2015, arXiv 1503.03832): [512] vectors."""

    width = 512

    def __init__(self, weights: str | None = None, sha256: str | None = None, device: str = "cpu") -> None:
        """Load detector and network.

        Args:
            weights: a local file; None is the library's own download.
            sha256: of that file; None accepts any.

        Raises:
            UserError: the file is not there, cannot be downloaded, is of another network or has another hash.
        """
        from facenet_pytorch import MTCNN, InceptionResnetV1

        path = Path(weights) if weights else _own_weights()
        self.sha256 = checked_sha256(path, sha256, "evaluate.face_weights")
        self._device = device
        self.detector: Any = MTCNN(keep_all=True, device=device)
        network: Any = InceptionResnetV1(pretrained=None)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            missing, _ = network.load_state_dict(state, strict=False)
        except Exception as error:  # a foreign file fails in many ways: pickle, zip, missing keys, shapes
            raise UserError(f"evaluate.face_weights is {str(path)!r}, which cannot be read ({error}).") from error
        if missing:
            raise UserError(f"evaluate.face_weights is {str(path)!r}, which is not an InceptionResnetV1 file.")
        self._network = network.eval().requires_grad_(False).to(device)

    def look(self, pictures: Sequence[Pixels]) -> Seen:
        """Return what is seen in N images, [H, W, 3] uint8 of any sizes."""
        return look_at_detected(self, pictures)

    @torch.no_grad()
    def vector(self, picture: Pixels, box: Floats) -> Floats:
        """Return [512] the unit vector of the face in ``box``, [4] in pixels."""
        return unit(self._network(_crop(picture, box).to(self._device)).cpu().numpy())[0]


def find_faces(detector: Any, picture: Pixels) -> tuple[Floats, Floats] | None:
    """Return boxes [F, 4] and landmarks [F, 5, 2] in pixels of the faces MTCNN is SURE of, largest first, or None."""
    found = find_sure_faces(detector, picture)
    return None if found is None else found[:2]


def find_sure_faces(detector: Any, picture: Pixels) -> tuple[Floats, Floats, Floats] | None:
    """Return what ``find_faces`` does, and the probability [F] of each face."""
    try:
        boxes, chances, points = detector.detect(Image.fromarray(picture), landmarks=True)
    except (RuntimeError, ValueError, IndexError):  # the image is too small for MTCNN's first stage
        return None
    if boxes is None:
        return None
    chances = np.asarray(chances, dtype=np.float64)
    keep = chances >= SURE
    boxes, points = np.asarray(boxes, dtype=np.float64)[keep], np.asarray(points, dtype=np.float64)[keep]
    order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")
    return (boxes[order], points[order], chances[keep][order]) if len(order) else None


def _companion(boxes: Floats, chances: Floats) -> int | None:
    """Return the row of the second person in boxes sorted by size; None if the first one is alone."""
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    beside = (chances >= SURE_OF_ANOTHER) & (sides >= COMPANION * sides[0])
    beside[0] = False
    return int(np.argmax(beside)) if beside.any() else None


def _crop(picture: Pixels, box: Floats) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(face_crop(picture, box))).permute(2, 0, 1)[None].float()
    return (tensor - 127.5) / 128  # as facenet-pytorch's fixed_image_standardization


def face_crop(picture: Pixels, box: Floats) -> Image.Image:
    """Return CROP x CROP pixels, RGB: what FaceNet sees of the face in ``box``, [4] in pixels."""
    grow = MARGIN / (1 - MARGIN) * (box[2:] - box[:2]) / 2
    corners = np.concatenate([box[:2] - grow, box[2:] + grow])
    low, high = np.zeros(4), np.tile(picture.shape[1::-1], 2)
    left, top, right, bottom = np.round(corners.clip(low, high)).tolist()
    return Image.fromarray(picture).crop((left, top, right, bottom)).resize((CROP, CROP), Image.Resampling.BILINEAR)


def _own_weights() -> Path:
    """Return the file where facenet-pytorch keeps its download, fetched on first use."""
    from facenet_pytorch.models.inception_resnet_v1 import get_torch_home
    from torch.hub import download_url_to_file

    name = "20180402-114759-vggface2.pt"
    path = Path(get_torch_home()) / "checkpoints" / name
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        base = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
        download_url_to_file(f"{base}/{name}", os.fspath(path), progress=False)
    except OSError as error:  # URLError is one
        raise UserError(
            f"evaluate.face_weights is not set and {name} could not be downloaded ({error}); "
            f"put the file at {path} or name a local copy."
        ) from error
    return path


class PortraitFaces:
    """The face network of the drawn world, which sees one face or none."""

    def __init__(self, folder: Path, name: str = "face") -> None:
        """Load ``folder``/``name``/model.safetensors. Raise UserError if it cannot be read."""
        from lorasweep.portraits.networks import load_face_network

        try:
            self._network: FaceNetwork = load_face_network(folder, name)
        except (ValueError, OSError) as error:
            raise UserError(f"evaluate.face is 'portraits', whose weights cannot be read: {error}.") from error
        self.sha256 = checked_sha256(folder / name / "model.safetensors", None, "evaluate.face")

    def look(self, pictures: Sequence[Pixels]) -> Seen:
        """Return what is seen in N images, [H, W, 3] uint8 of any sizes."""
        width = self._network.network.config.outputs["embedding"]
        return merge([self._look(picture) for picture in pictures], width)

    def _look(self, picture: Pixels) -> Seen | None:
        told = self._network.describe(picture[None])
        if told.face_probability[0] < LIKELY:
            return None
        points = told.landmarks.astype(np.float64)
        return Seen(
            vectors=unit(told.embedding),
            count=np.ones(1, dtype=np.int64),
            boxes=box_of(points[0])[None],
            landmarks=points,
        )


def box_of(points: Floats) -> Floats:
    """Return [4] the box, chin to hairline, of five landmarks [5, 2], both in shares of the image's sides."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)

    reach = max(float(np.linalg.norm(mouth - eyes)), 0.6 * float(np.linalg.norm(points[1] - points[0])))
    middle = eyes + 0.17 * (mouth - eyes)
    return np.concatenate([middle - reach * np.array([1.15, 1.45]), middle + reach * np.array([1.15, 1.45])]).clip(0, 1)


def merge(rows: Sequence[Seen | None], width: int) -> Seen:
    """Return one record for N images; ``width`` is the length of a vector."""
    blank = Seen(
        vectors=np.zeros((1, width)),
        count=np.zeros(1, dtype=np.int64),
        boxes=np.full((1, 4), np.nan),
        landmarks=np.full((1, 5, 2), np.nan),
        others=np.zeros((1, width)),
    )
    full = [row or blank for row in rows] or [blank]
    cut = slice(None) if rows else slice(0)
    return Seen(
        vectors=np.concatenate([row.vectors for row in full])[cut],
        count=np.concatenate([row.count for row in full])[cut],
        boxes=np.concatenate([row.boxes for row in full])[cut],
        landmarks=np.concatenate([row.landmarks for row in full])[cut],
        others=np.concatenate([row.others if len(row.others) else blank.others for row in full])[cut],
    )
