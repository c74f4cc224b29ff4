"""How fast is a large set checked and cached, and does memory grow with it?

Each job is a process of its own, jobs in turn, repeatedly, one thread each, over the same files. Time is processor
time, which other programs on the machine disturb least, without imports; wall time is reported too.

- decode: every photo opened as training sees it (``open_picture``), nothing else;
- check: all of ``lorasweep check`` except faces; goal: at 60 % of the speed of decoding or more;
- read: the photos as ``train`` begins with them: split, hashed, and its line of warnings;
- faces: what looking for faces adds to a photo, with FaceNet's detector and with the network of drawn people;
- cache: latents at 256 pixels, kept on disk or in memory, encoded ahead as ``train`` does. The encoder is a tiny one of
  Stable Diffusion's class with random weights: it shows what caching itself costs; a real encoder's seconds come on
  top;
- memory: the most that a process held, by photos; goal: less than 30 MiB more for 1,000 more. Latents that are asked
  for in memory (``hardware.cache=memory``) must grow: the size of what is kept is reported beside it.

    python -m benchmarks.speed.check [--pictures 2000] [--rounds 3] [--json FILE]      half an hour
    python -m benchmarks.speed.check --replay      the tables from committed data
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.printing import machine, print_table, write_json

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parents[1] / "results" / "check_speed.json"
SCRATCH = Path(".cache/check_speed")
PICTURES, ROUNDS, SAMPLE = 2000, 3, 60
GOALS = {"speed": 0.6, "mib_per_1000": 30.0}
SIDE = 256
"""Pixels that latents are made from."""
GROWING = ("check", "read", "cache_disk", "cache_memory")
"""Jobs whose memory is watched."""


def words(folder: Path) -> list[str]:
    """Return the overrides of the run that a folder is judged for."""
    return [
        *("preset=person_sd15", "evaluate.face=portraits", "hardware=cpu", "hardware.threads=1"),
        *(f"data.path={folder}", "data.trigger=s1lv10", f"model.resolution={SIDE}", "data.held_out=0"),
    ]


def load(folder: Path, *more: str) -> Any:
    """Return that run."""
    from lorasweep.config.compose import load_run

    return load_run([*words(folder), *more], when_missing={"model.path": ""})


# What a child does: prepare, and return what is timed.


def _decode(folder: Path) -> Callable[[], object]:
    from lorasweep.data.pictures import open_picture

    paths = _pictures(folder)
    return lambda: [open_picture(path).size for path in paths]


def _check(folder: Path) -> Callable[[], object]:
    from lorasweep.check.inspection import findings_of

    run = load(folder)
    return lambda: findings_of(folder, run, None)


def _read(folder: Path) -> Callable[[], object]:
    from lorasweep.check.text import short_warnings
    from lorasweep.run.entries import entry_of

    run = load(folder)

    def read() -> object:
        entry = entry_of(run)
        return entry, short_warnings(run, entry.facts)

    return read


def _faces(kind: str) -> Callable[[Path], Callable[[], object]]:
    def prepare(folder: Path) -> Callable[[], object]:
        from lorasweep.check.inspection import finder_for
        from lorasweep.data.pictures import open_picture
        from lorasweep.vision.face_facts import face_facts

        finder, _ = finder_for(load(folder, f"evaluate.face={kind}"))
        assert finder is not None
        opened = [(path, open_picture(path)) for path in _pictures(folder)]
        face_facts(*opened[0], finder)
        return lambda: [face_facts(path, picture, finder).count for path, picture in opened]

    return prepare


def _cache(where: str) -> Callable[[Path], Callable[[], object]]:
    def prepare(folder: Path) -> Callable[[], object]:
        import torch

        from lorasweep.models import load_family
        from lorasweep.run.entries import dataset_of
        from lorasweep.train.cache import LatentCache, TextCache
        from lorasweep.train.trial import Trial, encode_ahead

        torch.set_num_threads(1)
        run = load(folder, "model.path=portraits")
        family: Any = load_family(run.model, run.hardware)
        family = replace(family, vae=_tiny_encoder())
        kept = Path(os.environ["LORASWEEP_SCRATCH"]) if where == "disk" else None
        trial = Trial("speed", run, dataset_of(run), folder)
        caches = LatentCache(family, kept), TextCache(family, kept)

        def encode() -> object:
            encode_ahead(trial, *caches)
            return caches  # alive until memory was measured

        return encode

    return prepare


def _tiny_encoder() -> Any:
    """Return a VAE with 8 pixels a latent, 4 channels, no attention."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    blocks = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (4, 4, 8, 8),
    }
    return AutoencoderKL(**blocks, norm_num_groups=4, mid_block_add_attention=False).eval().requires_grad_(False)


JOBS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "decode": _decode,
    "check": _check,
    "read": _read,
    "faces_facenet": _faces("facenet"),
    "faces_portraits": _faces("portraits"),
    "cache_disk": _cache("disk"),
    "cache_memory": _cache("memory"),
}


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))


def child(job: str, folder: Path) -> dict[str, float]:
    """Do a job in this process; return seconds, and the most memory that it held, before and with it."""
    work = JOBS[job](folder)
    before = peak_mib()
    cpu, wall = time.process_time(), time.perf_counter()
    kept = work()
    found = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    del kept
    return {**found, "before_mib": before, "peak_mib": peak_mib(), "pictures": len(_pictures(folder))}


def peak_mib() -> float:
    """Of this process. Linux hands ``ru_maxrss`` on to a child when a large process starts it, so its own is asked."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def run_child(job: str, folder: Path) -> dict[str, float]:
    """Do a job in a process of its own, on one thread."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        own = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "LORASWEEP_SCRATCH": scratch}
        command = [sys.executable, "-m", "benchmarks.speed.check", "--job", job, "--folder", str(folder)]
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{job} on {folder} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def first_of(made: Any, count: int) -> Iterator[Path]:
    """Yield a folder with hard links to the first photos and their captions."""
    with tempfile.TemporaryDirectory(dir=made.folder.parent, prefix="first-") as scratch:
        folder = Path(scratch) / "photos"
        folder.mkdir()
        for picture in made.pictures[:count]:
            for file in (picture, picture.with_suffix(".txt")):
                os.link(file, folder / file.name)
        yield folder


def measure(pictures: int, rounds: int, scratch: Path) -> dict[str, Any]:
    """Run the jobs of each group in turn, ``rounds`` times if their time is measured."""
    from benchmarks.speed.photos import make_photos

    made = make_photos(pictures, scratch.absolute() / "photos")
    runs: list[dict[str, Any]] = []
    for count, jobs in schedule(pictures, rounds):
        with first_of(made, count) as folder:
            for job in jobs:
                runs.append({"job": job, **run_child(job, folder)})
                print(f"{job:<16} {count:>5} pictures  {runs[-1]['cpu']:7.1f} s", file=sys.stderr, flush=True)
    return {"pictures": pictures, "rounds": rounds, "files": files_of(made), "runs": runs}


def schedule(pictures: int, rounds: int) -> list[tuple[int, Sequence[str]]]:
    """Return numbers of photos and jobs: the whole set for speed, parts for memory, a sample for faces and latents."""
    return [
        (pictures, ("decode", "check", "read") * rounds),
        (min(SAMPLE, pictures), ("decode", "faces_facenet", "faces_portraits", "cache_disk") * rounds),
        *((count, GROWING) for count in (pictures // 8, pictures // 2)),
        (pictures, ("cache_disk",)),
    ]


def files_of(made: Any) -> dict[str, float]:
    """Return figures about the files, by ending."""
    from PIL import Image

    found: dict[str, float] = {}
    for ending in ("jpg", "png"):
        files = [path for path in made.pictures if path.suffix == f".{ending}"]
        pixels = 0
        for path in files:
            with Image.open(path) as picture:
                pixels += picture.width * picture.height
        found |= {f"{ending}_files": len(files), f"{ending}_megapixels": round(pixels / max(len(files), 1) / 1e6, 3)}
        found[f"{ending}_bytes_a_pixel"] = round(sum(path.stat().st_size for path in files) / max(pixels, 1), 3)
    return found


def figures(measured: dict[str, Any]) -> dict[str, Any]:
    """Return what the goals are about."""
    runs, whole = measured["runs"], measured["pictures"]
    own = {job: [run for run in runs if run["job"] == job] for job in JOBS}
    at_whole = {job: [run for run in some if run["pictures"] == whole] for job, some in own.items()}
    return {
        "check_speed": _speed(at_whole, "check", "cpu"),
        "check_speed_wall": _speed(at_whole, "check", "wall"),
        "read_speed": _speed(at_whole, "read", "cpu"),
        "ms_a_picture": {
            job: 1000 * median(run["cpu"] / run["pictures"] for run in at_whole[job] or some)
            for job, some in own.items()
        },
        "mib_per_1000": {job: growth(own[job]) for job in GROWING},
        "latents_mib_per_1000": 1000 * 2 * 4 * 4 * (SIDE // 8) ** 2 / 2**20,
        "peak_mib": {job: _peaks(own[job]) for job in GROWING},
    }


def _speed(runs: dict[str, list[dict[str, Any]]], job: str, clock: str) -> float:
    """Return the speed relative to decoding alone: the median over rounds, each against the decoding beside it."""
    return median(alone[clock] / with_it[clock] for alone, with_it in zip(runs["decode"], runs[job], strict=False))


def _peaks(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the median peak by number of photos, fewest first."""
    counts = sorted({run["pictures"] for run in runs})
    return {str(count): median(run["peak_mib"] for run in runs if run["pictures"] == count) for count in counts}


def growth(runs: Sequence[dict[str, Any]]) -> float:
    """Return MiB for each 1,000 photos more, from the smallest to the largest set."""
    peaks = [(int(count), peak) for count, peak in _peaks(runs).items()]
    (few, low), (many, high) = peaks[0], peaks[-1]
    return 1000 * (high - low) / (many - few) if many > few else 0.0


def show(measured: dict[str, Any]) -> dict[str, Any]:
    """Print the tables; return their figures."""
    found = figures(measured)
    files, cost = measured["files"], found["ms_a_picture"]
    for ending in ("jpg", "png"):
        count, size = files[f"{ending}_files"], files[f"{ending}_megapixels"]
        print(f"{count} {ending}, {size:.2f} megapixels, {files[f'{ending}_bytes_a_pixel']:.2f} bytes a pixel")
    print_table(("job", "ms a picture"), [[job.replace("_", ", "), f"{value:.1f}"] for job, value in cost.items()])
    counts = list(found["peak_mib"]["check"])
    peaks = [
        [job.replace("_", ", "), *(_whole(found["peak_mib"][job].get(count)) for count in counts), f"{more:.1f}"]
        for job, more in found["mib_per_1000"].items()
    ]
    print_table(("peak MiB", *(f"{count} pictures" for count in counts), "more for 1,000"), peaks)
    print_table(("figure", "measured", "goal"), summary(found))
    return found


def _whole(number: float | None) -> str:
    return "–" if number is None else f"{number:.0f}"


def summary(found: dict[str, Any]) -> list[list[str]]:
    """Return figures beside their goals."""
    speed, most = f"≥ {GOALS['speed']:.0%}", f"< {GOALS['mib_per_1000']:.0f} MiB"
    grows = found["mib_per_1000"]
    return [
        ["speed of the check, of decoding alone", f"{found['check_speed']:.0%}", speed],
        ["the same by the wall clock", f"{found['check_speed_wall']:.0%}", ""],
        ["speed of reading photos for train, warnings and all", f"{found['read_speed']:.0%}", ""],
        ["memory of the check for 1,000 pictures more", f"{grows['check']:.1f} MiB", most],
        ["memory of reading for 1,000 pictures more", f"{grows['read']:.1f} MiB", most],
        ["memory of caching on disk for 1,000 pictures more", f"{grows['cache_disk']:.1f} MiB", most],
        [
            "memory of caching in memory for 1,000 pictures more",
            f"{grows['cache_memory']:.0f} MiB",
            f"latents are {found['latents_mib_per_1000']:.0f} MiB",
        ],
    ]


def main(given: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--scratch", type=Path, default=SCRATCH)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--replay", action="store_true", help="the tables from the committed data")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.job:
        print(json.dumps(child(options.job, options.folder)))
        return
    if options.replay:
        show(json.loads(RESULTS.read_text(encoding="utf-8")))
        return
    measured = measure(options.pictures, options.rounds, options.scratch)
    found = show(measured)
    if options.json:
        write_json(options.json, {**measured, "figures": found, "machine": machine()})


if __name__ == "__main__":
    main()
