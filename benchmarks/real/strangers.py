"""What strangers' faces look like to dlib and to MTCNN: the aggregates that ship beside ``vision/strangers.py``.

dlib's vectors of all people point one way, so a mean is taken off them before cosines are compared; and whether a face
is bent is told by how other people's landmarks lie. Both need people whom nothing here measures, one face each.

The committed file was made from the official portraits of the members of the US Congress, 539 photos, one a person.
They are works of the US government and in the public domain; the copy that was used lies in the GitHub repository
vharnathka/cse151a (folder ``images``, commit daf08d6d3b8e105645c244071b27986ca0052db0), which names no licence for its
own code. Only means and a covariance are kept, never a row a person.

Nearly three of four are men, few are young, and all are well lit and look into the camera. The first would leave young
women alike, so the mean is taken between the two groups into which the vectors fall by themselves (2-means), each of
which counts half; what is left of it is that two young strangers have a cosine of about 0.4 and two old ones of 0.

    python -m benchmarks.real.strangers FOLDER       of photos, one a person; three minutes
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.printing import write_json
from lorasweep.records import Floats
from lorasweep.vision.dlib_faces import DlibFaces
from lorasweep.vision.faces import find_sure_faces
from lorasweep.vision.strangers import STRANGERS

SOURCE = {
    "people": "members of the US Congress, official portraits, one a person",
    "licence": "public domain (works of the US government)",
    "repository": "https://github.com/vharnathka/cse151a",
    "commit": "daf08d6d3b8e105645c244071b27986ca0052db0",
    "folder": "images",
}
FEWEST = 200
"""People below which a mean is somebody's."""
DIGITS = 6


def look(files: Iterable[Path]) -> Iterator[tuple[Floats, Floats]]:
    """Yield vector [128] and landmarks [5, 2] in pixels of each photo with exactly one face."""
    faces = DlibFaces(mean=np.zeros(DlibFaces.width))
    for file in files:
        with Image.open(file) as photo:
            pixels = np.asarray(photo.convert("RGB"))
        found = find_sure_faces(faces.detector, pixels)
        if found is not None and len(found[0]) == 1:
            yield faces.raw(pixels, found[0][0]), found[1][0]


def aggregates(vectors: Floats, points: Floats) -> dict[str, Any]:
    """Return what ships of N people: ``vectors`` [N, 128] and ``points`` [N, 5, 2].

    ``mean``: [128] of the vectors, both groups alike. ``shape``: [5, 2] the mean of the landmarks less place, size and
    turn, centred and of length 1; ``shape_covariance``: [10, 10] of x and y point by point around it.

    Raises:
        ValueError: there are fewer than FEWEST people.
    """
    if len(vectors) < FEWEST:
        raise ValueError(f"{len(vectors)} photos show one face; aggregates need {FEWEST} people")
    mean, placed = mean_shape(points)
    spread = np.cov(placed.reshape(len(placed), -1), rowvar=False)
    numbers = {"mean": balanced_mean(vectors), "shape": mean, "shape_covariance": spread}
    return {"count": len(vectors), **{name: np.round(values, DIGITS).tolist() for name, values in numbers.items()}}


def balanced_mean(vectors: Floats) -> Floats:
    """Return [D] the mean of the means of two groups, found by 2-means from the sides of the first component."""
    away = vectors - vectors.mean(axis=0)
    side = away @ np.linalg.svd(away, full_matrices=False)[2][0] > 0
    while True:
        means = np.stack([vectors[~side].mean(axis=0), vectors[side].mean(axis=0)])
        distances = np.linalg.norm(vectors[:, None] - means, axis=2)
        nearer = distances[:, 1] < distances[:, 0]
        if (nearer == side).all():
            return means.mean(axis=0)
        side = nearer


def mean_shape(points: Floats) -> tuple[Floats, Floats]:
    """Return the mean shape [5, 2], eyes level, and all shapes [N, 5, 2] laid upon it (Procrustes)."""
    plane = points[..., 0] + 1j * points[..., 1]
    plane = plane - plane.mean(axis=1, keepdims=True)
    plane /= np.linalg.norm(plane, axis=1, keepdims=True)
    # The shape with the largest sum of squared cosines to all is the mean, in closed form (Dryden & Mardia 1998, 3.3).
    mean = np.linalg.eigh(plane.T @ plane.conj())[1][:, -1]
    mean *= np.exp(-1j * np.angle(mean[1] - mean[0]))  # from the left eye to the right one is to the right
    placed = plane * np.exp(-1j * np.angle(plane @ mean.conj()))[:, None]
    return np.stack([mean.real, mean.imag], axis=1), np.stack([placed.real, placed.imag], axis=2)


def main() -> None:
    """Look at a folder and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, default=STRANGERS, metavar="FILE")
    parser.add_argument("--source", type=json.loads, default=SOURCE, help="where the photos come from, as JSON")
    options = parser.parse_args()
    files = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    rows = list(look(files))
    vectors, points = np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])
    found = aggregates(vectors, points)
    write_json(options.json, {"source": options.source, "photos": len(files), **found})
    centred = vectors - np.array(found["mean"])
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    among = (centred @ centred.T)[np.triu_indices(len(centred), 1)]
    print(f"{options.json}: {len(rows)} of {len(files)} photos")
    print(f"Two of them have a cosine of {among.mean():.3f}, 95 % of pairs one below {np.quantile(among, 0.95):.2f}")


if __name__ == "__main__":
    main()
