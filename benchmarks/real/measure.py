"""Measures the published sheets, run by run; what is done is kept, so that the same command goes on after a stop."""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real import grids
from benchmarks.real.grids import BASES, KINDS, Row, rows
from benchmarks.real.look import COLOURS, Looked, look
from benchmarks.real.runs import FLAT, WIDE, Seen, labels, pack_seen
from lorasweep.console import counting
from lorasweep.data.pictures import Pixels
from lorasweep.records import TEXTURE, Floats
from lorasweep.vision.dlib_faces import DlibFaces

KEPT = Path(".cache") / "real"
SOURCE = "https://github.com/InfluxOW/Stable-Diffusion-Text-To-Person (MIT)"


def measure(checkout: Path, jobs: int, commit: str = "", only: Iterable[Row] | None = None) -> dict[str, Any]:
    """Return all that is committed of ``checkout``.

    Args:
        commit: of a folder that is no work tree.
        only: measure these runs.

    Raises:
        FileNotFoundError: a sheet is missing.
    """
    KEPT.mkdir(parents=True, exist_ok=True)
    center = reference_center(checkout)
    wanted = list(rows() if only is None else only)
    wanted.sort(key=lambda row: row not in labels())
    task = partial(run_seen, checkout, center)
    with counting("Looking at runs", len(wanted)) as done, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        seen = {}
        for row, found in zip(wanted, pool.map(task, wanted), strict=True):
            seen[row.key] = pack_seen(found)
            done(1)
    sheet = grids.open_sheet(checkout / "Images" / "Stable Diffusion" / "LoRA Weight.jpg")
    return {
        "source": SOURCE,
        "commit": commit or commit_of(checkout),
        "texture": list(TEXTURE),
        "length": float(np.linalg.norm(center)),
        "photos": pack_seen(photos_seen(checkout)),
        "strengths": pack_seen(_kept("strengths", partial(_look_at, grids.cut_strengths(sheet)), center)),
        "bases": {name: pack_seen(base_seen(checkout, center, name)) for name in BASES},
        "runs": seen,
    }


def run_seen(checkout: Path, center: Floats, row: Row) -> Seen:
    """Return the 40 pictures of a run, checkpoint by checkpoint."""

    def pictures() -> Iterator[Pixels]:
        cut = [grids.cut_row(grids.open_sheet(grids.grid_file(checkout, row, kind)), row.row) for kind in KINDS]
        yield from (kind[place] for place in range(grids.CHECKPOINTS) for kind in cut)

    return _kept(row.key.replace("/", "-").replace(" ", "_"), lambda: _look_at(pictures()), center)


def base_seen(checkout: Path, center: Floats, name: str) -> Seen:
    """Return the base model's four pictures; ``name`` is a key of BASES."""

    def picture(kind: str) -> Pixels:
        row = BASES[name][kind]
        return grids.cut_row(grids.open_sheet(grids.grid_file(checkout, row, kind)), row.row)[0]

    return _kept(f"base-{name}", lambda: _look_at([picture(kind) for kind in KINDS]), center)


def reference_center(checkout: Path) -> Floats:
    """Return [128] the mean of the reference photos' unit vectors."""
    return _photos(checkout)["vector"].mean(axis=0)


def photos_seen(checkout: Path) -> Seen:
    """Return the reference photos, each with its mean cosine to the others. Raise ValueError if one shows no face."""
    found = _photos(checkout)
    vectors = found["vector"]
    if not np.linalg.norm(vectors, axis=1).all():
        raise ValueError("a reference photo shows no face")
    among = (vectors @ vectors.sum(axis=0) - 1) / (len(vectors) - 1)
    return _seen(found, among)


def _photos(checkout: Path) -> dict[str, np.ndarray]:
    # By name the first sheet; the others show other people.
    file = sorted((checkout / "Images" / "Datasets").glob("*.jpg"))[0]
    return _arrays("photos", lambda: _look_at(grids.cut_photos(grids.open_sheet(file))))


def commit_of(checkout: Path) -> str:
    """Return the commit of a work tree, or '' of a plain folder."""
    asked = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def _faces() -> DlibFaces:
    import torch

    torch.set_num_threads(1)
    return DlibFaces()


def _look_at(pictures: Iterable[Pixels]) -> list[Looked]:
    return [look(np.ascontiguousarray(picture), _faces()) for picture in pictures]


def _kept(name: str, looked: Any, center: Floats) -> Seen:
    found = _arrays(name, looked)
    shown = np.linalg.norm(found["vector"], axis=1) > 0
    return _seen(found, np.where(shown, found["vector"] @ center, np.nan))


def _arrays(name: str, looked: Any) -> dict[str, np.ndarray]:
    """Return the columns of a set of pictures, measured the first time and kept; vectors stay in that folder."""
    file = KEPT / f"{name}.npz"
    if file.exists():
        with np.load(file) as kept:
            return dict(kept)
    part = file.with_suffix(".part.npz")
    rows: Sequence[Looked] = looked()
    columns = {key: np.stack([np.asarray(getattr(row, key)) for row in rows]) for key in vars(rows[0])}
    np.savez(part, **columns)  # pyright: ignore[reportArgumentType]
    part.replace(file)
    return columns


def _seen(found: dict[str, np.ndarray], likeness: Floats) -> Seen:
    parts = {name: found[name].astype(np.float64) for name in (*WIDE, *FLAT) if name != "likeness"}
    colours = (found["colours"].astype(np.float64) - (0, 128, 128)) / (2.55, 1, 1)
    assert colours.shape[1:] == (COLOURS, COLOURS, 3)
    return Seen(**parts, likeness=likeness, colours=colours)
