"""More ways to over-train than too hot a rate: photos, captions and settings that people get wrong, one at a time.

Each way is one run of each of six drawn people, long enough to go over where that way goes over, looked at as
`benchmarks.picker.trajectories` are. Rates and lengths were chosen on person 641.

    python -m benchmarks.picker.ways --jobs 2                 make what is missing: hours, one file a person, resumable
    python -m benchmarks.picker.ways --ways outfit long       only these
    python -m benchmarks.picker.ways --people 641 --anew      made again, beside the committed ones, and compared
    python -m benchmarks.picker.ways --replay                 what the oracle sees along the runs that are there

Rules and thresholds are chosen on the people of half A and reported on those of half B.
"""

import argparse
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from benchmarks.picker.runs import Trajectory, read_shard
from benchmarks.picker.shards import Plan, identity_of
from benchmarks.picker.trajectories import COMPARED, PLAN, compare, made_anew, shards
from benchmarks.printing import print_table
from benchmarks.signatures import pixels_hash, signature
from lorasweep.portraits.folder import write_photos
from lorasweep.portraits.people import WORDS, Identity, Scene, caption, sample_identity, sample_scene
from lorasweep.portraits.render import render

RESULTS = Path(__file__).parents[1] / "results" / "ways"
HALVES = {"A": (641, 642, 643), "B": (644, 645, 646)}
"""Seeds of people who were used for nothing else."""
TRIGGER = "s1lv10"
STREAM = 20268
HELD_OUT = 4


class Wrong(StrEnum):
    """What is done wrong; advice is looked up by it."""

    ONE_OUTFIT = "one outfit"
    TOO_LONG = "too many steps"
    FEW_PHOTOS = "few photos"
    BARE_CAPTIONS = "bare captions"
    HOT_TEXT_ENCODER = "hot text encoder"
    REPEATED_PHOTO = "repeated photo"
    ONE_FRAMING = "one framing"
    SOFT_PHOTOS = "soft photos"
    STRANGERS = "strangers"
    MIRRORED_PHOTOS = "mirrored photos"
    ONE_POSE = "one pose"
    HIGH_RANK = "high rank"


@dataclass(frozen=True)
class Shot:
    """One photo to train on."""

    place: str
    """Its path in the folder of photos, without an ending."""
    picture: Image.Image
    caption: str


Caption = Callable[[Scene, np.random.Generator], str]
Photos = Callable[[Identity, np.random.Generator], list[Shot]]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One thing that is done wrong, all else being as it should be."""

    wrong: Wrong
    photos: Photos
    rate: float
    steps: int
    rank: int = 16
    others: tuple[str, ...] = ()
    """More overrides."""

    @property
    def overrides(self) -> tuple[str, ...]:
        """Return the words of the command line."""
        own = (
            f"optim.lr={self.rate}",
            f"optim.steps={self.steps}",
            f"lora.rank={self.rank}",
            f"lora.alpha={self.rank}",
        )
        return (*own, *self.others)


def full_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return what a careful user writes."""
    return caption(scene, trigger=TRIGGER, rng=rng)


def bare_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return the trigger and its class alone."""
    return f"a photo of {TRIGGER} person"


def unposed_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return a caption without expression and gaze: nobody writes down what all photos have in common."""
    common = {*WORDS[scene.expression], *WORDS[scene.gaze]}
    return ", ".join(clause for clause in full_caption(scene, rng).split(", ") if clause not in common)


def unframed_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return a caption without the framing, for the same reason."""
    return full_caption(replace(scene, framing="portrait"), rng)


def varied(
    who: Identity, rng: np.random.Generator, *, count: int = 15, told: Caption = full_caption, **same: str
) -> list[Shot]:
    """Return photos in scenes that differ in all but what is the ``same``."""
    shots = []
    for number in range(1, count + 1):
        scene = replace(sample_scene(rng, sketches=0.0), **same)
        picture = render(who, scene, 64, int(rng.integers(2**31)))
        shots.append(Shot(f"{number:02d}", picture, told(scene, rng)))
    return shots


def in_one_outfit(who: Identity, rng: np.random.Generator) -> list[Shot]:
    """Return six photos in one shirt before one background."""
    scene = sample_scene(rng, sketches=0.0)
    return varied(who, rng, count=6, told=bare_caption, shirt=scene.shirt, background=scene.background)


def in_one_pose(who: Identity, rng: np.random.Generator) -> list[Shot]:
    """Return photos with one gaze, one expression and one framing."""
    scene = sample_scene(rng, sketches=0.0)
    return varied(who, rng, told=unposed_caption, gaze=scene.gaze, expression=scene.expression, framing="portrait")


def with_one_repeated(who: Identity, rng: np.random.Generator) -> list[Shot]:
    """Return photos in Kohya's folders, one of them in a folder that repeats it ten times."""
    first, *others = varied(who, rng)
    folders = [f"10_{TRIGGER} person"] + [f"1_{TRIGGER} person"] * len(others)
    return [replace(shot, place=f"{name}/{shot.place}") for name, shot in zip(folders, [first, *others], strict=True)]


def with_strangers(who: Identity, rng: np.random.Generator) -> list[Shot]:
    """Return thirteen photos and one each of two strangers, captioned as if they were the same person."""
    strangers = [varied(sample_identity(rng), rng, count=1)[0] for _ in range(2)]
    named = [replace(shot, place=f"{14 + number:02d}") for number, shot in enumerate(strangers)]
    return [*varied(who, rng, count=13), *named]


def partly_mirrored(who: Identity, rng: np.random.Generator) -> list[Shot]:
    """Return photos of which every third is mirrored; captions say what is seen, so that only the face is wrong."""
    other = {"left": "right", "right": "left", "camera": "camera"}
    shots = []
    for number in range(1, 16):
        scene = sample_scene(rng, sketches=0.0)
        picture = render(who, scene, 64, int(rng.integers(2**31)))
        if number % 3 == 0:
            picture, scene = ImageOps.mirror(picture), replace(scene, gaze=other[scene.gaze])
        shots.append(Shot(f"{number:02d}", picture, full_caption(scene, rng)))
    return shots


def in_poor_quality(who: Identity, rng: np.random.Generator) -> list[Shot]:
    """Return photos that are blurred, or were saved as small JPEG files, in turn."""
    return [
        replace(shot, picture=_blurred(shot.picture) if number % 2 else _ridden(shot.picture))
        for number, shot in enumerate(varied(who, rng))
    ]


def _blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(1.2))


def _ridden(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=12)
    return Image.open(buffer).convert("RGB")


WAYS: dict[str, Way] = {
    "outfit": Way(wrong=Wrong.ONE_OUTFIT, photos=in_one_outfit, rate=2e-3, steps=1200),
    "long": Way(wrong=Wrong.TOO_LONG, photos=varied, rate=4e-3, steps=2500),
    "few": Way(wrong=Wrong.FEW_PHOTOS, photos=partial(varied, count=5), rate=3e-3, steps=1200),
    "bare": Way(wrong=Wrong.BARE_CAPTIONS, photos=partial(varied, told=bare_caption), rate=3e-3, steps=1200),
    "text_encoder": Way(
        wrong=Wrong.HOT_TEXT_ENCODER,
        photos=varied,
        rate=2e-3,
        steps=720,
        others=("lora.text_encoder=true", "optim.text_encoder_lr=4e-3"),
    ),
    "repeated": Way(wrong=Wrong.REPEATED_PHOTO, photos=with_one_repeated, rate=3e-3, steps=1200),
    "headshots": Way(
        wrong=Wrong.ONE_FRAMING,
        photos=partial(varied, told=unframed_caption, framing="close-up"),
        rate=4e-3,
        steps=960,
    ),
    "soft": Way(wrong=Wrong.SOFT_PHOTOS, photos=in_poor_quality, rate=4e-3, steps=960),
    "strangers": Way(wrong=Wrong.STRANGERS, photos=with_strangers, rate=4e-3, steps=960),
    "mirrored": Way(wrong=Wrong.MIRRORED_PHOTOS, photos=partly_mirrored, rate=4e-3, steps=960),
    "one_pose": Way(wrong=Wrong.ONE_POSE, photos=in_one_pose, rate=4e-3, steps=960),
    "rank128": Way(wrong=Wrong.HIGH_RANK, photos=varied, rate=1e-3, steps=720, rank=128),
}
"""In order of importance."""


def shots_of(key: str, person: int) -> list[Shot]:
    """Return what a person's run of this way is trained on."""
    return WAYS[key].photos(identity_of(person), np.random.default_rng([STREAM, person, 1]))


def write_way(folder: Path, person: int, key: str) -> Identity:
    """Write the photos of a way and ordinary held-out ones, the same for all ways; return the person."""
    for shot in shots_of(key, person):
        path = folder / "photos" / f"{shot.place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shot.picture.save(path)
        path.with_suffix(".txt").write_text(shot.caption + "\n", encoding="utf-8")
    rng = np.random.default_rng([STREAM, person, 2])
    write_photos(folder / "held_out", identity_of(person), HELD_OUT, rng, trigger=TRIGGER)
    return identity_of(person)


def plan_of(key: str) -> Plan:
    """Return how a way's runs are made and drawn."""
    shots = shots_of(key, HALVES["A"][0])
    words = [[shot.place, shot.caption] for shot in shots]
    return Plan(
        name=f"ways-{key}",
        words=tuple(word for word in PLAN.words if not word.startswith("optim.steps=")),
        runs={key: WAYS[key].overrides},
        read_seeds=PLAN.read_seeds,
        write=partial(write_way, key=key),
        taught=signature({"pictures": pixels_hash(shot.picture for shot in shots), "words": words}),
        label=key,
    )


def make_way(
    key: str, people: Sequence[int], folder: Path, jobs: int, *, anew: bool = False
) -> Iterable[dict[str, Any]]:
    """Yield a shard a person: those in ``folder`` that the present code made, then the others, made and kept there."""
    way = WAYS[key]
    about = {"way": key, "wrong": str(way.wrong), "rate": way.rate, "rank": way.rank}
    return shards(plan_of(key), people, folder, jobs, anew=anew, about=about)


def read_ways(people: Iterable[int], folder: Path = RESULTS) -> list[Trajectory]:
    """Return the runs of these people whose shards exist, way by way."""
    files = [folder / f"{key}-{person}.json" for key in WAYS for person in people]
    return [run for file in files if file.exists() for run in read_shard(json.loads(file.read_text(encoding="utf-8")))]


def curves(runs: Sequence[Trajectory]) -> list[list[object]]:
    """Return for each way what the oracle sees along its runs, means over people."""
    rows: list[list[object]] = []
    for key in dict.fromkeys(run.way for run in runs):
        mine = [run for run in runs if run.way == key]
        rows.append([key, "steps", *mine[0].steps, ""])
        seen = {name: [getattr(run, name) for run in mine] for name in ("quality", "soundness")}
        seen |= {name: [run.parts[name] for run in mine] for name in ("distance", "scene_match", "copy")}
        for name, values in seen.items():
            peak = f"best at {np.mean([run.best + 1 for run in mine]):.1f}" if name == "quality" else ""
            rows.append(["", name, *(f"{value:.2f}" for value in np.mean(values, axis=0)), peak])
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # one of each half in turn, so that what is there after a while tells something of both
    everybody = [person for pair in zip(*HALVES.values(), strict=True) for person in pair]
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--people", type=int, nargs="+", default=everybody)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each; one draws a person")
    parser.add_argument("--to", type=Path, default=RESULTS, help="folder of the shards, instead of the committed one")
    parser.add_argument("--anew", action="store_true", help="make what is committed again, beside it")
    parser.add_argument("--replay", action="store_true", help="make nothing")
    chosen = parser.parse_args()
    for key in () if chosen.replay else chosen.ways:
        folder = made_anew(plan_of(key)) if chosen.anew else chosen.to
        for made in make_way(key, chosen.people, folder, chosen.jobs, anew=chosen.anew):
            committed = RESULTS / f"{key}-{made['person']}.json"
            if chosen.anew and committed.exists():
                print_table(COMPARED, compare(made, json.loads(committed.read_text(encoding="utf-8"))))
            print(f"{key}: person {made['person']}", flush=True)
    runs = [run for run in read_ways(chosen.people, chosen.to) if run.way in chosen.ways]
    print_table(["way", "", *map(str, range(1, 13)), ""], curves(runs))


if __name__ == "__main__":
    main()
