"""Faults that need a look or a reading: who and what is in the photo, and what its caption says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.check.faults import Chance, Plant, Planter, each, opened
from benchmarks.check.sets import Shot, photograph, save
from lorasweep.portraits import drawing
from lorasweep.portraits.canvas import Canvas, Face
from lorasweep.portraits.people import HAIR, SKIN, Identity, identity_distance, palette, sample_identity, sample_scene
from lorasweep.portraits.render import COLOURS, face_box, pose_of, render_posed

STRANGER = 0.33
"""Least `identity_distance` of another person; strangers are 0.44 apart on average."""

WORDY = (
    "The person in this captivating image radiates a quiet confidence that draws the viewer in at first glance, while "
    "soft daylight falls across one side of the scene and gives it depth, texture and an almost painterly mood. Every "
    "element, from the carefully balanced composition to subtle shifts of tone between foreground and backdrop, works "
    "in harmony, so that what remains is an intimate study of character which invites us to linger, wonder and return."
)


def _written(chance: Chance, shot: Shot, picture: Image.Image) -> Path:
    save(picture, chance.there.picture(shot))
    return chance.there.picture(shot)


def _out_of_focus(chance: Chance, shot: Shot) -> Path:
    """Blur the whole photo."""
    picture = opened(chance.there.picture(shot))
    radius = chance.rng.uniform(0.012, 0.025) * min(picture.size)
    return _written(chance, shot, picture.filter(ImageFilter.GaussianBlur(radius)))


def _face_blurred(chance: Chance, shot: Shot) -> Path:
    """Blur the face alone: the camera focused behind the person."""
    picture = opened(chance.there.picture(shot))
    side = min(picture.size)
    box = face_box(chance.there.album.identity, shot.scene, side, shot.jitter)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    mask = Image.new("L", picture.size)
    grown = box + np.array([-0.12, -0.14, 0.12, 0.04]) * side + (left, top, left, top)
    ImageDraw.Draw(mask).ellipse(grown.tolist(), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(0.02 * side))
    soft = picture.filter(ImageFilter.GaussianBlur(chance.rng.uniform(0.012, 0.025) * side))
    return _written(chance, shot, Image.composite(soft, picture, mask))


def _empty_scene(chance: Chance, shot: Shot) -> Path:
    """Draw a background with a hat, a scarf or nothing left in it."""
    return _written(chance, shot, _scene_of(chance, shot, body=False))


def _headless(chance: Chance, shot: Shot) -> Path:
    """Draw shirt and neck without a head."""
    return _written(chance, shot, _scene_of(chance, shot, body=True))


def _scene_of(chance: Chance, shot: Shot, body: bool) -> Image.Image:
    identity, over = chance.there.album.identity, 2 * min(shot.width, shot.height)
    canvas = Canvas(over, pose_of(shot.scene, shot.jitter), COLOURS[shot.scene.background])
    face = Face.of(identity, shot.scene)
    if body:
        drawing.body(canvas, face, palette(SKIN, identity.skin), COLOURS[shot.scene.shirt], shot.scene)
    elif shot.scene.accessory != "glasses":
        drawing.accessory(canvas, face, shot.scene)
    return _grainy(canvas.image.reduce(2), shot)


def _from_behind(chance: Chance, shot: Shot) -> Path:
    """Draw the back of the head."""
    identity, over = chance.there.album.identity, 2 * min(shot.width, shot.height)
    canvas = Canvas(over, pose_of(shot.scene, shot.jitter), COLOURS[shot.scene.background])
    face, hair = Face.of(identity, shot.scene), palette(HAIR, identity.hair_color)
    skin = palette(SKIN, identity.skin)
    drawing.body(canvas, face, skin, COLOURS[shot.scene.shirt], shot.scene)
    drawing.head(canvas, face, identity, skin)
    canvas.oval(0, -0.06, face.half_width + 0.03, face.half_height, hair)
    return _written(chance, shot, _grainy(canvas.image.reduce(2), shot))


def _grainy(picture: Image.Image, shot: Shot) -> Image.Image:
    """Add the noise that every photo has here."""
    noise = np.random.default_rng([shot.jitter, 66]).normal(0, 1.5, (*picture.size[::-1], 1))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def stranger(identity: Identity, rng: np.random.Generator) -> Identity:
    """Return a person who is not easily mistaken for `identity`."""
    while identity_distance(identity, other := sample_identity(rng)) < STRANGER:
        pass
    return other


def _somebody_else(chance: Chance, shot: Shot) -> Path:
    other = stranger(chance.there.album.identity, chance.rng)
    return _written(chance, shot, photograph(other, shot.scene, shot.jitter, shot.width, shot.height))


def _pair(wide: bool) -> Callable[[Chance, Shot], Path]:
    """Put two people side by side: two squares, or closer together and smaller."""

    def spoil(chance: Chance, shot: Shot) -> Path:
        identity, side = chance.there.album.identity, min(shot.width, shot.height)
        people = [identity, stranger(identity, chance.rng)]
        scenes = [shot.scene, replace(sample_scene(chance.rng, sketches=0.0), background=shot.scene.background)]
        each_width = side if wide else round(0.62 * side)
        pictures = [
            photograph(person, replace(scene, framing="portrait"), shot.jitter + at, each_width, side)
            for at, (person, scene) in enumerate(zip(people, scenes, strict=True))
        ]
        both = Image.new("RGB", (2 * each_width, side))
        for place, at in enumerate(chance.rng.permutation(2)):
            both.paste(pictures[at], (place * each_width, 0))
        return _written(chance, shot, both)

    return spoil


def _far_away(chance: Chance, shot: Shot) -> Path:
    """Draw a head of a tenth to a sixth of its usual size at the lower edge: 25 to 60 pixels from chin to hair."""
    share, side = chance.rng.uniform(0.1, 0.16), min(shot.width, shot.height, 640)
    pose = pose_of(shot.scene, shot.jitter)
    center = np.array([chance.rng.uniform(0.35, 0.65), 1 - 0.75 * share])
    small = replace(pose, matrix=pose.matrix * share, center=center)
    return _written(chance, shot, render_posed(chance.there.album.identity, shot.scene, small, side))


def _caption(kind: str, write: Callable[[Chance, str], bytes | None], *also: str) -> Planter:
    """Rewrite some captions; a rewriting that returns None deletes the file."""

    def spoil(chance: Chance, shot: Shot) -> Path:
        path = chance.there.caption(shot)
        content = write(chance, chance.there.album.caption(shot))
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return path

    return each(kind, spoil, *also)


def _text(change: Callable[[Chance, str], str]) -> Callable[[Chance, str], bytes]:
    return lambda chance, text: change(chance, text).encode()


def _stray(chance: Chance) -> Plant:
    """Delete a photo and leave its caption."""
    path = chance.there.folder / f"IMG_0001{chance.there.album.caption_ending}"
    path.write_text(f"a photo of {chance.there.album.trigger} person, smiling\n", encoding="utf-8")
    return Plant("caption_orphan", (path,))


def _misnamed(chance: Chance) -> Plant:
    """Rename a photo and not its caption."""
    (shot,) = chance.shots(1)
    path = chance.there.caption(shot)
    renamed = path.rename(path.with_name(f"{shot.file}{path.suffix}"))
    return Plant("caption_orphan", (renamed,), (chance.there.picture(shot),), also=("caption_missing",))


def _invented(phrase: str, word: str) -> Planter:
    """Add phrases that captioners invent to captions of photos that do not show it."""

    def plant(chance: Chance) -> Plant:
        without = [shot for shot in chance.shots(99) if shot.scene.accessory != word][: chance.count]
        for shot in without:
            text = f"{chance.there.album.caption(shot)}, {phrase}\n"
            chance.there.caption(shot).write_text(text, encoding="utf-8")
        return Plant("invented_phrase", tuple(chance.there.caption(shot) for shot in without))

    return plant


def _arafed(chance: Chance, text: str) -> str:
    return "arafed " + text.removeprefix("a ")


def _word_again(chance: Chance, text: str) -> str:
    """Repeat the last word three times, like a captioner that got stuck."""
    return text + f" {text.split()[-1]}" * 3


def _clause_again(chance: Chance, text: str) -> str:
    clauses = text.split(", ")
    return ", ".join([*clauses, clauses[-1], clauses[-1]]) if len(clauses) > 1 else f"{text}, {text}, {text}"


def _no_trigger(chance: Chance, text: str) -> str:
    return text.replace(f"{chance.there.album.trigger} ", "a ")


def _misspelt(chance: Chance, text: str) -> str:
    """Swap two letters of the trigger, or drop one."""
    trigger = chance.there.album.trigger
    swapped = trigger[:-2] + trigger[:-3:-1]
    return text.replace(trigger, swapped if swapped != trigger else trigger[:-1])


def _grown_together(chance: Chance, text: str) -> str:
    return text.replace(f"{chance.there.album.trigger} person", f"{chance.there.album.trigger}person")


def _wordy(chance: Chance, text: str) -> str:
    """Write more than a text encoder reads, as language models do if they are not stopped."""
    return f"{text}. {WORDY}"


def _in_all(kind: str, share: float, change: Callable[[Chance, str], str]) -> Planter:
    """Rewrite all captions of the set."""

    def plant(chance: Chance) -> Plant:
        for shot in chance.shots(round(share * len(chance.there.album.shots))):
            text = change(chance, chance.there.album.caption(shot))
            chance.there.caption(shot).write_text(text + "\n", encoding="utf-8")
        return Plant(kind)

    return plant


def _plain(chance: Chance, text: str) -> str:
    return f"a photo of {chance.there.album.trigger} person"


def _aged(chance: Chance, text: str) -> str:
    return f"{text}, {chance.rng.choice(['with a graying chin', 'graying beard', 'a chin that is graying'])}"


CONTENT: dict[str, tuple[Planter, ...]] = {
    "blurred_face": (each("blurred_face", _out_of_focus, "upscaled"), each("blurred_face", _face_blurred)),
    "no_face": (each("no_face", _empty_scene), each("no_face", _headless), each("no_face", _from_behind)),
    "several_faces": (
        each("several_faces", _pair(True), "other_person"),
        each("several_faces", _pair(False), "other_person"),
    ),
    "small_face": (each("small_face", _far_away),),
    "other_person": (each("other_person", _somebody_else),),
}
CAPTIONS: dict[str, tuple[Planter, ...]] = {
    "caption_missing": (_caption("caption_missing", lambda chance, text: None),),
    "caption_orphan": (_stray, _misnamed),
    "caption_unreadable": (
        _caption("caption_unreadable", lambda chance, text: f"{text}, in a café".encode("latin-1")),
        _caption("caption_unreadable", lambda chance, text: text.encode("utf-16")),
    ),
    "caption_empty": (
        _caption("caption_empty", lambda chance, text: b"", "trigger_missing"),
        _caption("caption_empty", lambda chance, text: b" \n\n", "trigger_missing"),
    ),
    "trigger_missing": (
        _caption("trigger_missing", _text(_no_trigger)),
        _caption("trigger_missing", _text(_misspelt)),
    ),
    "trigger_inside_word": (_caption("trigger_inside_word", _text(_grown_together)),),
    "long_caption": (_caption("long_caption", _text(_wordy)),),
    "same_caption": (_in_all("same_caption", 1.0, _plain), _in_all("same_caption", 0.5, _plain)),
    "one_descriptor": (_in_all("one_descriptor", 1.0, _aged),),
    "invented_phrase": (
        _invented("holding a remote control", "remote"),
        _invented("with a microphone", "microphone"),
        _caption("invented_phrase", _text(_arafed)),
    ),
    "repeated_words": (
        _caption("repeated_words", _text(_word_again)),
        _caption("repeated_words", _text(_clause_again)),
    ),
}
