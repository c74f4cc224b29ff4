"""Real faces without a download: MTCNN finds them, dlib aligns and describes them; the only door to dlib.

Weights come from the PyPI package ``face_recognition_models``: dlib's five-point predictor and its ResNet, both CC0;
the photos they were trained on are not. Its 68-point predictor may not be used commercially and is never read.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lorasweep.data.hashes import HASHES, known_sha256
from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.records import Floats
from lorasweep.vision.embedder import Seen, unit
from lorasweep.vision.faces import look_at_detected
from lorasweep.vision.strangers import strangers

PREDICTOR = "shape_predictor_5_face_landmarks.dat"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
SHA256 = {
    PREDICTOR: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    NETWORK: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}
INSTALL = "pip install 'lorasweep[dlib]'"


class DlibFaces:
    """MTCNN, and dlib's ResNet (King 2017): [128] vectors, less those of strangers."""

    width = 128

    def __init__(self, device: str = "cpu", mean: Floats | None = None) -> None:
        """Load detector, predictor and network.

        Args:
            device: of the detector; dlib computes on the CPU.
            mean: [128] what is taken off each vector; None is the shipped mean of strangers.

        Raises:
            UserError: a package is not installed, or a file is missing or not the one that this code was tested with.
        """
        try:
            import dlib
        except ImportError as error:
            raise UserError(f"evaluate.face is 'dlib', which is not installed; {INSTALL}.") from error
        from facenet_pytorch import MTCNN

        files = {name: _checked(name) for name in SHA256}
        library: Any = dlib  # it has no types
        self._rectangle = library.rectangle
        self._align = library.shape_predictor(str(files[PREDICTOR]))
        self._network = library.face_recognition_model_v1(str(files[NETWORK]))
        self._mean = np.array(strangers()["mean"]) if mean is None else mean
        # The mean is part of the unit: vectors that were centred on other people do not compare.
        self.sha256 = hashlib.sha256("".join(SHA256.values()).encode() + self._mean.tobytes()).hexdigest()
        self.detector: Any = MTCNN(keep_all=True, device=device)

    def look(self, pictures: Sequence[Pixels]) -> Seen:
        """Return what is seen in N images, [H, W, 3] uint8 of any sizes."""
        return look_at_detected(self, pictures)

    def vector(self, picture: Pixels, box: Floats) -> Floats:
        """Return [128] the unit vector of the face in ``box``, [4] in pixels."""
        # dlib tells people apart by distance: all its vectors point one way, strangers' with a cosine of 0.84. Cosines
        # spread only around a mean.
        return unit((self.raw(picture, box) - self._mean)[None])[0]

    def raw(self, picture: Pixels, box: Floats) -> Floats:
        """Return [128] what the network itself says, of length 1.4 or so."""
        pixels = np.ascontiguousarray(picture)
        shape = self._align(pixels, self._rectangle(*np.round(box).astype(int).tolist()))
        return np.array(self._network.compute_face_descriptor(pixels, shape), dtype=np.float64)


def _checked(name: str) -> Path:
    """Return a file of the weights package after its hash was found right."""
    # Never imported: its __init__ needs pkg_resources, which setuptools no longer has.
    spec = find_spec("face_recognition_models")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise UserError(f"evaluate.face is 'dlib', which needs face_recognition_models (its weights); {INSTALL}.")
    path = Path(folders[0]) / "models" / name
    if not path.is_file():
        raise UserError(f"evaluate.face is 'dlib', and {path} is missing; install face_recognition_models again.")
    found = known_sha256(path, path.parent / HASHES)
    if found != SHA256[name]:
        raise UserError(f"{path} has the sha256 {found}; evaluate.face=dlib needs {SHA256[name]}.")
    return path
