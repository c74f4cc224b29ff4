"""dlib's network on one real face, NASA's photo of an astronaut that scikit-image ships."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image, ImageEnhance, ImageOps

from lorasweep import cli
from lorasweep.config.compose import as_override, load_run
from lorasweep.data.atomic import write_atomically
from lorasweep.errors import UserError
from lorasweep.outcomes import RunVerdict
from lorasweep.run.training import train_together
from lorasweep.track.recall import read_run
from lorasweep.vision import dlib_faces
from lorasweep.vision.describe import Scorers, describe, open_finder, open_scorers
from lorasweep.vision.strangers import strangers

skimage = pytest.importorskip("skimage")
pytest.importorskip("dlib")
HEAD = (100, 0, 356, 256)
"""Left, top, right and bottom of her head and shoulders."""
VIEWS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "whole": lambda photo: photo,
    "tight": lambda photo: photo.crop((150, 20, 300, 200)),
    "mirror": lambda photo: ImageOps.mirror(photo.crop(HEAD)),
    "to the right": lambda photo: photo.rotate(-15, Image.Resampling.BICUBIC).crop(HEAD),
    "to the left": lambda photo: photo.rotate(10, Image.Resampling.BICUBIC).crop(HEAD),
    "half the size": lambda photo: photo.crop(HEAD).resize((128, 128)),
    "dark": lambda photo: ImageEnhance.Brightness(photo.crop(HEAD)).enhance(0.5),
    "gray": lambda photo: ImageOps.grayscale(photo.crop(HEAD)).convert("RGB"),
}
"""Ways to see her; their cosines to the plain head were 0.92 to 0.99."""


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return Image.open(path).convert("RGB")


@pytest.fixture(scope="module")
def eyes() -> dlib_faces.DlibFaces:
    return dlib_faces.DlibFaces()


@pytest.fixture(scope="module")
def seen(photo: Image.Image, eyes: dlib_faces.DlibFaces) -> Any:
    stranger = Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    views = [photo.crop(HEAD), *(view(photo) for view in VIEWS.values()), stranger.resize((256, 300))]
    return eyes.look([*map(np.asarray, views), np.full((80, 80, 3), 90, np.uint8)])


@pytest.mark.slow
def test_crops_turns_and_mirror_images_of_one_face_are_alike_and_a_stranger_is_not(seen: Any) -> None:
    assert seen.count.tolist() == [1] * (len(VIEWS) + 2) + [0]
    assert seen.vectors.shape == (len(VIEWS) + 3, 128)
    cosines = dict(zip([*VIEWS, "stranger"], seen.vectors[1:-1] @ seen.vectors[0], strict=True))
    assert cosines.pop("stranger") < 0.4
    assert min(cosines.values()) > 0.85, cosines
    np.testing.assert_allclose(np.linalg.norm(seen.vectors, axis=1), [1.0] * (len(VIEWS) + 2) + [0.0], atol=1e-6)


@pytest.mark.slow
def test_without_the_strangers_mean_everybody_is_alike(photo: Image.Image, eyes: dlib_faces.DlibFaces) -> None:
    raw = dlib_faces.DlibFaces(mean=np.zeros(128))
    assert raw.sha256 != eyes.sha256
    other = np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))
    mine, hers = raw.look([np.asarray(photo.crop(HEAD)), other]).vectors
    assert mine @ hers > 0.8


def test_what_ships_of_strangers_are_aggregates_over_enough_people() -> None:
    found = strangers()
    assert found["count"] >= 200
    assert np.array(found["mean"]).shape == (128,)
    shape, spread = np.array(found["shape"]), np.array(found["shape_covariance"])
    assert shape.shape == (5, 2)
    assert np.abs(shape.mean(axis=0)).max() < 1e-5
    assert np.linalg.norm(shape) == pytest.approx(1, abs=1e-5)
    assert shape[0, 0] < shape[1, 0]
    assert shape[:2, 1].max() < shape[2, 1] < shape[3:, 1].min()
    assert np.linalg.eigvalsh(spread).min() > -1e-6
    assert sorted(found) == ["count", "mean", "photos", "shape", "shape_covariance", "source"]


def test_without_dlib_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(
        UserError, match=r"^evaluate.face is 'dlib', which is not installed; pip install 'lorasweep\[dl"
    ):
        dlib_faces.DlibFaces()


def test_without_its_weights_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlib_faces, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs face_recognition_models \(its weights\); pip install 'lorasweep\[dlib"):
        dlib_faces.DlibFaces()


def test_a_file_that_is_missing_or_another_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(dlib_faces, "find_spec", lambda name: Spec)
    with pytest.raises(UserError, match=r"models/shape_predictor_5_face_landmarks.dat is missing; install face_recog"):
        dlib_faces.DlibFaces()
    (tmp_path / "models").mkdir()
    write_atomically(tmp_path / "models" / dlib_faces.PREDICTOR, b"something else")
    with pytest.raises(
        UserError, match=r"_5_face_landmarks.dat has the sha256 \w{64}; evaluate.face=dlib needs c4b1e98"
    ):
        dlib_faces.DlibFaces()


def test_the_weights_package_is_never_imported() -> None:
    assert "face_recognition_models" not in sys.modules


@pytest.mark.slow
def test_the_settings_open_it_for_scores_and_for_the_check(photo: Image.Image) -> None:
    run = load_run(["preset=person_portraits", "evaluate.face=dlib"], when_missing={"data.path": "."})
    scorers = open_scorers(run.evaluate)
    assert isinstance(scorers.faces, dlib_faces.DlibFaces)
    assert scorers.weights_sha256["face"] == scorers.faces.sha256
    finder = open_finder(run.evaluate)
    assert finder.unknown == ""
    found = finder.find(np.asarray(photo))
    assert (found.boxes.shape, found.identity.shape) == ((1, 4), (1, 128))
    features = describe([np.asarray(photo.crop(HEAD))], Scorers(scorers.faces, scorers.clip), ["head.png"])
    assert features.face[0] @ found.identity[0] > 0.9
    assert features.landmarks.shape == (1, 5, 2)


@pytest.mark.slow
def test_a_run_on_a_model_that_draws_no_face_finds_her_in_the_photos_and_picks_nothing(
    overrides: Callable[..., list[str]], photo: Image.Image, tmp_path: Path
) -> None:
    words = [
        *(f"~sample.prompts.{key}" for key in ("p3_scene", "p4_expression", "p5_accessory", "p6_sketch", "p7_outside")),
        *("evaluate.enabled=true", "evaluate.face=dlib", "evaluate.budget=null", "pick.strengths=[]"),
        *("sample.seeds=[0]", "sample.fresh_seeds=[1000]", "sample.steps=2", "sample.guidance=1", "track.mlflow=false"),
        *("sample.width=128", "sample.height=128"),
    ]
    words = overrides(*words)
    photos = tmp_path / "photos"
    for number, path in enumerate(sorted(photos.glob("*.png"))):
        photo.crop((90 + 6 * number, 0, 346 + 6 * number, 256)).resize((128, 128)).save(path)
    (outcome,) = train_together([load_run(words)], say=lambda line: None)
    view = read_run(outcome.folder)
    assert outcome.pick is not None
    assert outcome.pick.step is None
    assert outcome.pick.run_verdict in (RunVerdict.NOTHING_USABLE, RunVerdict.NOT_MEASURABLE)
    assert not any(scores.components["identity"] > 0 for scores in view.scores)
    cached = [np.load(path) for path in (tmp_path / "mlruns" / "features").glob("*.npz")]
    assert {row["face"].shape for row in cached} == {(128,)}
    assert sum(int(row["face_count"]) for row in cached) >= 5
    assert view.provenance["weights"]["face"] == {"sha256": dlib_faces.DlibFaces().sha256}
    assert view.provenance["packages"]["face_recognition_models"] == "0.3.0"
    assert cli.main(["pick", "last", "--root", str(tmp_path / "mlruns")]) == 3


def test_the_group_file_chooses_it() -> None:
    run = load_run(
        ["preset=person_sd15", "evaluate=dlib", as_override("data.path", ".")], when_missing={"model.path": ""}
    )
    assert (run.evaluate.face, run.evaluate.clip) == ("dlib", "ViT-B-32")
