import hashlib

import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image

from lorasweep.errors import UserError
from lorasweep.vision import faces
from lorasweep.vision.embedder import checked_sha256


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Rear Admiral Grace Hopper, a photo that comes with matplotlib."""
    picture = Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    return np.asarray(picture.resize((256, 300)))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.pt"
    torch.save(InceptionResnetV1(pretrained=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def facenet(untrained) -> faces.FaceNet:
    return faces.FaceNet(str(untrained))


def test_the_detector_alone_finds_a_real_face_and_none_in_a_wall(photo):
    from facenet_pytorch import MTCNN

    detector = MTCNN(keep_all=True)
    boxes, points = faces.find_faces(detector, photo)
    np.testing.assert_allclose(boxes[0] / [256, 300, 256, 300], [0.35, 0.2, 0.69, 0.57], atol=0.05)
    assert points.shape == (1, 5, 2)
    assert faces.find_faces(detector, np.full((64, 64, 3), 90, np.uint8)) is None


@pytest.mark.slow
def test_the_detector_that_comes_with_the_library_finds_a_real_face(facenet, photo):
    seen = facenet.look([photo, np.ascontiguousarray(photo[:, ::-1]), np.full((64, 64, 3), 90, np.uint8)])
    assert seen.count.tolist() == [1, 1, 0]
    left, top, right, bottom = seen.boxes[0]
    np.testing.assert_allclose([left, top, right, bottom], [0.35, 0.2, 0.69, 0.57], atol=0.05)
    eyes, mouth = seen.landmarks[0, :2], seen.landmarks[0, 3:]
    assert eyes[0, 0] < eyes[1, 0]
    assert eyes[:, 1].max() < mouth[:, 1].min()
    np.testing.assert_allclose(seen.landmarks[1, [1, 0], 0], 1 - seen.landmarks[0, :2, 0], atol=0.04)
    np.testing.assert_allclose(np.linalg.norm(seen.vectors, axis=1), [1, 1, 0], atol=1e-6)
    assert np.isnan(seen.boxes[2]).all()


@pytest.mark.slow
def test_pictures_of_any_size_and_none_at_all_can_be_looked_at(facenet):
    assert facenet.look([np.zeros((8, 8, 3), np.uint8), np.zeros((50, 20, 3), np.uint8)]).count.tolist() == [0, 0]
    assert facenet.look([]).vectors.shape == (0, 512)


@pytest.mark.slow
def test_the_weights_are_known_by_their_hash_and_checked(untrained):
    digest = hashlib.sha256(untrained.read_bytes()).hexdigest()
    assert faces.FaceNet(str(untrained), digest.upper()).sha256 == digest
    with pytest.raises(UserError, match=rf"whose sha256 is {digest}; evaluate.face_weights_sha256 says 00ff"):
        checked_sha256(untrained, "00ff", "evaluate.face_weights")


@pytest.mark.slow
def test_a_file_that_holds_something_else_is_refused(tmp_path):
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="not an InceptionResnetV1 file"):
        faces.FaceNet(str(tmp_path / "other.pt"))
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match="which cannot be read"):
        faces.FaceNet(str(tmp_path / "text.pt"))


def test_a_download_that_fails_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", _offline)
    with pytest.raises(UserError, match=r"could not be downloaded \(no network\); put the file at .*vggface2.pt"):
        faces.FaceNet(None)


def _offline(*_args, **_options):
    raise OSError("no network")


def test_the_box_that_goes_with_landmarks_holds_them_all():
    points = np.array([[0.4, 0.45], [0.6, 0.45], [0.5, 0.55], [0.43, 0.65], [0.57, 0.65]])
    left, top, right, bottom = faces.box_of(points)
    assert left < 0.35
    assert right > 0.65
    assert top < 0.3
    assert 0.7 < bottom < 0.85


@pytest.mark.parametrize(
    ("sides", "chances", "other"),
    [
        ([40], [0.99], None),
        ([40, 30], [0.99, 0.99], 1),
        ([40, 30], [0.99, 0.95], None),
        ([40, 19], [0.99, 0.99], None),
        ([40, 30, 25], [0.99, 0.95, 0.99], 2),
    ],
)
def test_a_companion_is_a_sure_face_of_half_the_size_at_least(sides, chances, other):
    boxes = np.array([[0, 0, side, side] for side in sides], dtype=np.float64)
    assert faces._companion(boxes, np.array(chances)) == other


def test_a_second_face_gets_a_vector_of_its_own_and_a_lone_one_none():
    blank = np.zeros((8, 8, 3), np.uint8)

    class TwoFaces(faces.FaceNet):
        def __init__(self):
            self.detector = None

        def vector(self, picture, box):
            return np.eye(512)[int(box[0])]

    boxes = np.array([[0.0, 0, 5, 5], [3, 0, 7, 4]])
    found = boxes, np.zeros((2, 5, 2)), np.array([0.99, 0.99])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "find_sure_faces", lambda detector, picture: found if picture.any() else None)
        seen = TwoFaces().look([blank + 1, blank])
    assert seen.vectors[:, 0].tolist() == [1, 0]
    assert seen.others.shape == (2, 512)
    assert np.flatnonzero(seen.others[0]).tolist() == [3]
    assert not seen.others[1].any()
