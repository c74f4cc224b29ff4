"""Images in, `Features` out; what was seen once is cached on disk. Which networks look is chosen here."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorasweep.data.atomic import write_atomically
from lorasweep.data.pictures import Pixels, load_pixels
from lorasweep.errors import UserError
from lorasweep.records import Features, Floats
from lorasweep.vision.embedder import Embedder, WholePictures, face_size, mask_faces, nobody
from lorasweep.vision.texture import NAMES, skin, texture

if TYPE_CHECKING:
    from lorasweep.config.schema import EvaluateConfig
    from lorasweep.vision.clip import Clip
    from lorasweep.vision.face_finder import FaceFinder

COLUMNS = ("face", "face_count", "face_size", "landmarks", "image", "scene", "texture", "skin", "other_face")
"""Fields of ``Features`` that are cached; ``whole`` is one more if something else than a face tells the subject."""
LAYOUT = 4  # raised whenever a column changes its meaning, so that no stale cache is read


@dataclass(frozen=True)
class Scorers:
    """The networks that look at images, opened once."""

    faces: Embedder | None
    """None if no face is looked for."""
    clip: "Clip"
    whole: WholePictures | None = None
    """What tells a subject by the whole image; may be ``clip`` itself."""

    @property
    def weights_sha256(self) -> dict[str, str]:
        """Return the hash of each network's weights; scores compare only if all of them agree, names included."""
        eyes = {"face": self.faces, "image": self.whole, "clip": self.clip}
        return {name: eye.sha256 for name, eye in eyes.items() if eye is not None}

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns that these networks fill."""
        return COLUMNS if self.whole is None else (*COLUMNS, "whole")


def open_scorers(evaluate: "EvaluateConfig", device: str = "cpu", told_by: str = "face") -> Scorers:
    """Return the scorers that ``evaluate`` names, as far as this subject needs them.

    Args:
        told_by: what tells the subject: face, image (the whole of it) or none.

    Raises:
        UserError: a network is unknown, or its weights cannot be read or fetched.
    """
    faces = _open_faces(evaluate, device) if told_by == "face" else None
    clip = _open_clip(evaluate, device)
    return Scorers(faces, clip, _open_whole(evaluate, device, clip) if told_by == "image" else None)


def _open_faces(evaluate: "EvaluateConfig", device: str) -> Embedder:
    from lorasweep.vision import faces

    if evaluate.face == "facenet":
        return faces.FaceNet(evaluate.face_weights, evaluate.face_weights_sha256, device)
    if evaluate.face == "dlib":
        from lorasweep.vision.dlib_faces import DlibFaces

        return DlibFaces(device)
    if evaluate.face == "portraits":
        return faces.PortraitFaces(shipped_weights())
    raise UserError(f"evaluate.face is {evaluate.face!r}; it must be facenet, dlib or portraits.")


def _open_whole(evaluate: "EvaluateConfig", device: str, clip: "Clip") -> WholePictures:
    if evaluate.image == "clip":
        return clip  # opened once for both uses
    from lorasweep.vision.dino import Dino

    return Dino(evaluate.image_weights, evaluate.image_revision, evaluate.image_weights_sha256, device)


def _open_clip(evaluate: "EvaluateConfig", device: str) -> "Clip":
    from lorasweep.vision.clip import LOCAL, Clip

    name = f"{LOCAL}{shipped_weights() / 'scorer'}" if evaluate.clip == "portraits" else evaluate.clip
    return Clip(name, evaluate.clip_weights, evaluate.clip_weights_sha256, device)


def open_finder(evaluate: "EvaluateConfig", device: str = "cpu") -> "FaceFinder":
    """Return the finder that goes with ``evaluate.face``. Raise UserError if there is no such network."""
    if evaluate.face == "facenet":
        from lorasweep.vision.face_finder import PhotoFaces

        return PhotoFaces.open(evaluate, device)
    if evaluate.face == "dlib":
        from lorasweep.vision.dlib_faces import DlibFaces
        from lorasweep.vision.face_finder import PhotoFaces

        network = DlibFaces(device)
        return PhotoFaces(network.detector, network)
    if evaluate.face == "portraits":
        from lorasweep.vision.drawn_faces import DrawnFaces

        return DrawnFaces(shipped_weights())
    raise UserError(f"evaluate.face is {evaluate.face!r}; it must be facenet, dlib or portraits.")


def shipped_weights() -> Path:
    """Return the folder of the drawn world's networks."""
    from lorasweep.portraits.manifest import WEIGHTS

    return WEIGHTS


def describe(pictures: Sequence[Pixels], scorers: Scorers, keys: Sequence[str]) -> Features:
    """Return what the scorers see in N images, [H, W, 3] uint8. Images that are compared must be of one size."""
    seen = scorers.faces.look(pictures) if scorers.faces else nobody(len(pictures))
    image = scorers.clip.pictures(pictures)
    return Features(
        keys=tuple(keys),
        face=seen.vectors,
        other_face=seen.others if len(seen.others) else np.zeros_like(seen.vectors),
        face_count=seen.count,
        face_size=face_size(seen, pictures),
        landmarks=seen.landmarks,
        image=image,
        scene=scorers.clip.pictures(mask_faces(pictures, seen.boxes)) if scorers.faces else image.copy(),
        texture=_rows([texture(picture) for picture in pictures]),
        skin=_rows([skin(*each) for each in zip(pictures, seen.boxes, strict=True)]),
        whole=_whole(pictures, scorers, image),
    )


def _rows(textures: Sequence[Floats]) -> Floats:
    return np.stack(textures) if textures else np.zeros((0, len(NAMES)))


def _whole(pictures: Sequence[Pixels], scorers: Scorers, image: Floats) -> Floats | None:
    if scorers.whole is None:
        return None
    return image.copy() if scorers.whole is scorers.clip else scorers.whole.pictures(pictures)


def describe_files(
    paths: Sequence[Path],
    scorers: Scorers,
    keys: Sequence[str],
    *,
    size: tuple[int, int],
    mirrored: bool = False,
    cache: Path | None = None,
) -> Features:
    """Return what ``describe`` does for files, resized to ``size`` first, so that photos and samples compare.

    Args:
        size: width and height in pixels.
        mirrored: look at the mirror images instead.
        cache: a folder of one ``.npz`` per image, named by all that its content depends on; made if missing.
    """
    files = [cache / f"{_name(path, scorers, size, mirrored)}.npz" if cache else None for path in paths]
    rows = [_read(file, scorers.columns) for file in files]
    new = [place for place, row in enumerate(rows) if row is None]
    looked = describe([_pixels(paths[place], size, mirrored) for place in new], scorers, [keys[place] for place in new])
    for row, place in enumerate(new):
        rows[place] = {name: getattr(looked, name)[row] for name in scorers.columns}
        _write(files[place], rows[place] or {})
    if not paths:
        return looked
    columns = {name: np.stack([row[name] for row in rows if row]) for name in scorers.columns}
    return Features(keys=tuple(keys), **columns)


def describe_texts(texts: Sequence[str], scorers: Scorers) -> Floats:
    """Return [P, E] unit vectors of ``texts`` in the space of ``Features.image``."""
    return scorers.clip.texts(texts)


def _pixels(path: Path, size: tuple[int, int], mirrored: bool) -> Pixels:
    pixels = load_pixels(path, *size)
    return np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels


def _name(path: Path, scorers: Scorers, size: tuple[int, int], mirrored: bool) -> str:
    parts = [hashlib.sha256(path.read_bytes()).hexdigest(), *scorers.weights_sha256.values(), str(size), str(mirrored)]
    return hashlib.sha256("\0".join([str(LAYOUT), *parts]).encode()).hexdigest()[:32]


def _read(file: Path | None, columns: Sequence[str]) -> dict[str, np.ndarray] | None:
    if file is None or not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in columns}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # cut short by a crash: look at it again
        return None


def _write(file: Path | None, row: dict[str, np.ndarray]) -> None:
    if file is None:
        return
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **row)
    write_atomically(file, stream.getvalue())
