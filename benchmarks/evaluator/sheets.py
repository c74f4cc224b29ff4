"""The components of planted sheets, of one person or one set of photographs, as plain records."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from benchmarks.evaluator import faults as planted
from benchmarks.evaluator.faults import DOSES, FAULTS, IN_FACES, MIDDLE, plant
from benchmarks.evaluator.people import Person, seen, the_run
from benchmarks.evaluator.photos import PhotoSet, textured
from benchmarks.world.faults import blend
from lorasweep.config.schema import PickConfig
from lorasweep.data.pictures import Pixels
from lorasweep.evaluate import score as scoring
from lorasweep.evaluate.pick import choose
from lorasweep.records import COMPONENTS, Evidence, Features, Scores

BLEND = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of another person."""
SHIFT = 3
"""A sheet with swapped prompts shows the scene of the prompt this many places further."""
COLOURS = ((52, 98, 214), (62, 160, 74), (246, 138, 30), (138, 62, 178))
"""Backgrounds for faces that were cut out."""


def components(features: Features, evidence: Evidence, names: Sequence[str] = COMPONENTS) -> list[float | None]:
    """Return each component as a score would have it; None if it cannot be judged."""
    values: list[float | None] = []
    for name in names:
        shares = scoring.JUDGES[name](features, evidence).shares
        judged = shares[~np.isnan(shares)]
        values.append(float(f"{np.clip(judged.mean(), 0, 1):.5g}") if len(judged) else None)
    return values


def one_seed(part: Features, place: int) -> Features:
    """Return every second sample: the sheet with one seed."""
    columns = ("face", "face_count", "face_size", "landmarks", "image", "scene", "texture")
    return Features(keys=part.keys[place::2], **{name: getattr(part, name)[place::2] for name in columns})


def doses(person: Person, faults: Sequence[str] = tuple(FAULTS)) -> dict[str, Any]:
    """Return components by substrate, fault and dose 0 to 5; and of sets of 8, at the middle dose and honest."""
    known, keys = person.evidence, person.keys
    drawn = {"base": person.base(), "renders": person.pictures()}
    record: dict[str, Any] = {"curves": {"base": {}, "renders": {}, "run": {}}, "eights": {"base": {}, "renders": {}}}
    for ground, pictures in drawn.items():
        twins = replace(known, base=seen(pictures, keys))
        again = seen(person.base(1) if ground == "base" else person.pictures(take=1), keys)
        record["eights"][ground]["honest"] = eights(again, twins)
        for fault in faults:
            sheets = [seen(plant(fault, pictures, dose, person.seed), keys) for dose in DOSES]
            record["curves"][ground][fault] = [components(sheet, twins) for sheet in sheets]
            record["eights"][ground][fault] = eights(sheets[MIDDLE], twins)
            if ground == "renders":
                record["curves"]["run"][fault] = [components(sheet, known) for sheet in sheets]
    return record


def eights(sheet: Features, known: Evidence) -> list[list[float | None]]:
    """Return artifact and geometry of each seed's 8 samples by themselves."""
    halves = [
        (one_seed(sheet, place), replace(known, seeds=known.seeds[place : place + 1], base=one_seed(known.base, place)))
        for place in range(2)
    ]
    return [components(part, evidence, ("artifact", "geometry")) for part, evidence in halves]


def photo_doses(photos: PhotoSet) -> dict[str, Any]:
    """Return the artifact component of real photographs by fault and dose, and of the same photographs taken again."""
    pictures, known = photos.crops(0, 8), photos.evidence
    faults = [fault for fault in FAULTS if fault not in IN_FACES]

    def of(crops: list[Pixels]) -> float | None:
        return components(textured(crops), known, ("artifact",))[0]

    curves = {fault: [of(plant(fault, pictures, dose, photos.seed)) for dose in DOSES] for fault in faults}
    return {"curves": curves, "honest": of(photos.crops(0, 8, again=True))}


def anchors(person: Person) -> dict[str, Any]:
    """Return the components of what has a known place on every scale."""
    known, keys = person.evidence, person.keys
    own = person.evidence_of_scenes
    who = [blend(person.identity, person.other, share) for share in BLEND]
    sheets = [seen(person.pictures(each), keys) for each in who]
    scenes = [seen(person.held_out(each), own.base.keys) for each in who]
    swapped = seen(person.pictures(shift=SHIFT), keys)
    side = {"left": "right", "right": "left"}[person.identity.mole_side]
    turned = [planted.mirrored(picture) for picture in person.pictures(replace(person.identity, mole_side=side))]
    plain = [planted.mirrored(picture) for picture in person.pictures()]
    null = [scoring.JUDGES[name](unharmed(person), known).shares for name in COMPONENTS[1:]]
    return {
        "sheet": placed([known.base, *reversed(sheets)], known),
        "own_scenes": placed([own.base, *reversed(scenes)], own),
        "blend": [components(sheet, known, ("identity",))[0] for sheet in sheets],
        "blend_middle": components(sheets[3], known),
        "null": round(float(np.nanmax(np.abs(1 - np.concatenate(null)))), 5),
        "copies": {way: components(seen(copies, keys), known) for way, copies in copied(person).items()},
        "mirrored": {
            "straight": components(sheets[0], known, ("identity",))[0],
            "mole_put_back": components(seen(turned, keys), known, ("identity",))[0],
            "plain": components(seen(plain, keys), known, ("identity",))[0],
        },
        "swapped": components(swapped, known),
    }


def unharmed(person: Person) -> Features:
    """Return what a LoRA that changes nothing draws: the base model's samples of the same prompts, seeds and noise."""
    return seen(person.base(), person.keys)


def placed(sheets: Sequence[Features], known: Evidence) -> dict[str, Any]:
    """Score from the base's own samples to the person: the ends' scores, and the pick's verdicts on them."""
    scores = [judged(sheet, known, step) for step, sheet in enumerate(sheets, 1)]
    pick = choose(scores, PickConfig(), np.random.default_rng(0))
    words = [verdict.word for verdict in pick.verdicts if verdict.step > 0]
    return {"base": round(scores[0].score, 4), "photos": round(scores[-1].score, 4), "words": [words[0], words[-1]]}


def judged(sheet: Features, known: Evidence, step: int) -> Scores:
    weights = vars(the_run().evaluate.weights)
    return scoring.score(sheet, known, weights, trial="t", step=step, rng=np.random.default_rng(0))


def copied(person: Person) -> dict[str, list[Pixels]]:
    """Return a sheet full of training photos, as they are or in disguise."""
    places = [place % len(person.train) for place in range(len(person.keys))]
    ways = {
        "same": person.train,
        "mirrored": [planted.mirrored(picture) for picture in person.train],
        "cropped": [planted.cropped(picture) for picture in person.train],
        "recoloured": [planted.recoloured(picture) for picture in person.train],
        "pasted": [
            planted.pasted(picture, box, COLOURS[place % len(COLOURS)])
            for place, (picture, box) in enumerate(zip(person.train, person.train_boxes, strict=True))
        ],
    }
    return {way: [photos[place] for place in places] for way, photos in ways.items()}


HONEST = ("renders", "autoencoded")
GAMING = ("wrong face", "mean face", "blank", "two faces", "sharpened copies", "training photos")


def gaming(person: Person) -> dict[str, dict[str, Any]]:
    """Return our score of honest and dishonest sheets, and three measures that others go by."""
    known = person.evidence
    honest, copies = person.pictures(take=1), copied(person)["same"]
    count = len(honest)
    sheets = {
        "renders": honest,
        "autoencoded": through_autoencoder(honest),
        "wrong face": person.pictures(person.other),
        "mean face": [np.mean(person.train, axis=0).round().astype(np.uint8)] * count,
        "blank": [np.full_like(honest[0], 128)] * count,
        "two faces": [planted.beside(*pair) for pair in zip(honest, person.pictures(person.other), strict=True)],
        "sharpened copies": plant("sharpen", copies, MIDDLE, person.seed),
        "training photos": copies,
    }
    record = {}
    for name, pictures in sheets.items():
        sheet = seen(pictures, person.keys)
        record[name] = {
            "score": round(judged(sheet, known, 1).score, 4),
            "components": components(sheet, known),
            **{rule: round(value, 5) for rule, value in rivals(sheet, known).items()},
        }
    return record


def rivals(sheet: Features, known: Evidence) -> dict[str, float]:
    """Return likeness to the training photos, likeness of image and text, both raw, and sharpness; the highest would
    win."""
    texts = np.repeat(known.texts, len(known.seeds), axis=0)
    return {
        "cosine": float((sheet.face @ known.train.face.T).mean()),
        "clip_t": float((sheet.image * texts).sum(axis=1).mean()),
        "sharpness": float(sheet.texture[:, 1].mean()),
    }


@cache
def autoencoder() -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from lorasweep.portraits.manifest import WEIGHTS

    return AutoencoderKL.from_pretrained(WEIGHTS / "pipeline" / "vae")


def through_autoencoder(pictures: list[Pixels]) -> list[Pixels]:
    """Return images as soft as the model's own are at best."""
    from benchmarks.world.judge import reconstruct

    return list(reconstruct(autoencoder(), np.stack(pictures)))
