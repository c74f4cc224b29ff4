"""Write what sd-scripts itself makes of 200 random sets of image sizes: bucket, scaled size and steps an epoch.

Runs the real ``BaseDataset.adjust_min_max_bucket_reso_by_steps`` and ``BaseDataset.make_buckets`` (which calls
``BucketManager`` and ``make_bucket_resolutions``) of a checkout; what that imports and is not installed here (cv2,
toml, einops, ...) is replaced by an empty stand-in, since sizes need none of it. ``tests/data/test_buckets.py`` holds
``data.buckets=kohya`` to the table. The committed one is of commit 48d368fa557731ad0488c07304dfeba8c07910eb of
https://github.com/kohya-ss/sd-scripts (16 February 2026).

    git clone https://github.com/kohya-ss/sd-scripts CHECKOUT
    python -m benchmarks.real.sd_scripts_buckets --sd-scripts CHECKOUT --commit NAME [--json FILE]     seconds
"""

import argparse
import contextlib
import importlib
import logging
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import MagicMock

from benchmarks.printing import print_table, write_json

SETS, SEED = 200, 0
TARGETS = (512, 768, 1024)
SHORTEST, LONGEST, STEPS = (256, 320, 300, 512), (1024, 1536, 2048, 2000), (32, 64, 64, 64, 128)
PIPELINES = ("library.lpw_stable_diffusion", "library.sdxl_lpw_stable_diffusion")
"""They draw, and want names that newer transformers no longer have."""
TABLE = Path(__file__).parents[2] / "tests" / "data" / "sd_scripts_buckets.json"
Size = tuple[int, int]


def library(checkout: Path, name: str) -> Any:
    """Return a module of sd-scripts, with stand-ins for what is not installed."""
    sys.path.insert(0, str(checkout))
    sys.modules |= {pipeline: MagicMock(name=pipeline) for pipeline in PIPELINES}
    while True:
        try:
            return importlib.import_module(f"library.{name}")
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.partition(".")[0] == "library":
                raise
            sys.modules[missing.name] = MagicMock(name=missing.name)


def random_size(rng: Random, target: int) -> Size:
    """Return a size: mostly camera and web images of all shapes; some exactly a common size, some small, some very
    long."""
    kind = rng.random()
    if kind < 0.1:
        side = rng.choice((512, 640, 768, 1024, target))
        return side, rng.choice((512, 640, 768, 832, 1024, target))
    if kind < 0.2:
        return rng.randint(130, 500), rng.randint(130, 500)
    long, ratio = rng.randint(400, 6000), math.exp(rng.uniform(0, math.log(6 if kind > 0.9 else 2)))
    sides = long, max(130, round(long / ratio))
    return sides if rng.random() < 0.5 else sides[::-1]


def random_set(rng: Random) -> dict[str, Any]:
    """Return settings and images (width, height, repeats) of one training."""
    target = rng.choice(TARGETS)
    longest = rng.choice([length for length in LONGEST if length >= target])
    return {
        "target": target,
        "batch": rng.randint(1, 4),
        "upscale": rng.random() < 0.5,
        "min": rng.choice([length for length in SHORTEST if length <= target]),
        "max": longest,
        "step": rng.choice(STEPS),
        "pictures": [[*random_size(rng, target), rng.choice((1, 1, 2, 5, 10))] for _ in range(rng.randint(3, 30))],
    }


def answer(train_util: Any, made: dict[str, Any]) -> dict[str, Any]:
    """Return what sd-scripts does with a set: (bucket, scaled size) of each image, and its steps an epoch."""
    side, pictures = made["target"], made["pictures"]
    dataset = train_util.BaseDataset.__new__(train_util.BaseDataset)  # its constructor asks for captions and models
    dataset.width = dataset.height = side
    dataset.enable_bucket, dataset.bucket_manager, dataset.bucket_no_upscale = True, None, not made["upscale"]
    dataset.min_bucket_reso, dataset.max_bucket_reso = dataset.adjust_min_max_bucket_reso_by_steps(
        (side, side), made["min"], made["max"], made["step"]
    )
    dataset.bucket_reso_steps, dataset.batch_size = made["step"], made["batch"]
    dataset.seed = dataset.current_epoch = 0
    dataset.image_data = {}
    for number, (width, height, repeats) in enumerate(pictures):
        info = train_util.ImageInfo(str(number), repeats, "", False, f"{number}.png")
        info.image_size = (width, height)
        dataset.image_data[info.image_key] = info
    dataset.make_buckets()
    infos = dataset.image_data.values()
    return {"placed": [[*info.bucket_reso, *info.resized_size] for info in infos], "steps": len(dataset)}


def commit_of(checkout: Path) -> str:
    """Return the commit that is checked out, if it is a work tree."""
    asked = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def main(words: Sequence[str] | None = None) -> None:
    """Make the table and print what is in it."""
    parser = argparse.ArgumentParser(description="Sizes as sd-scripts chooses them.")
    parser.add_argument("--sd-scripts", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--commit", help="where CHECKOUT is no git work tree")
    parser.add_argument("--json", type=Path, default=TABLE, metavar="FILE")
    chosen = parser.parse_args(words)
    commit = chosen.commit or commit_of(chosen.sd_scripts)
    os.environ.setdefault("TQDM_DISABLE", "1")
    train_util = library(chosen.sd_scripts.absolute(), "train_util")
    logging.disable(logging.WARNING)
    rng, sets = Random(SEED), []
    with contextlib.redirect_stdout(sys.stderr):
        for _ in range(SETS):
            made = random_set(rng)
            sets.append({**made, **answer(train_util, made)})
    write_json(chosen.json, {"commit": commit, "seed": SEED, "sets": sets})
    report(sets)
    print(f"{chosen.json}: {len(sets)} sets of commit {commit}, {chosen.json.stat().st_size} bytes")


def report(sets: Sequence[dict[str, Any]]) -> None:
    """Print counts, by target and by whether images may be enlarged."""
    heads = ["target", "upscale", "sets", "pictures", "sizes", "steps an epoch", "if all had one size"]
    rows = []
    for target in TARGETS:
        for upscale in (True, False):
            some = [one for one in sets if (one["target"], one["upscale"]) == (target, upscale)]
            pictures = sum(len(one["pictures"]) for one in some)
            sizes = len({tuple(placed[:2]) for one in some for placed in one["placed"]})
            alike = sum(-(-sum(picture[2] for picture in one["pictures"]) // one["batch"]) for one in some)
            rows.append([target, upscale, len(some), pictures, sizes, sum(one["steps"] for one in some), alike])
    print_table(heads, rows)


if __name__ == "__main__":
    main()
