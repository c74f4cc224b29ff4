"""Who is drawn and in which scene: the two records that `render` turns into an image, and the words for a scene.

An `Identity` is what a LoRA has to learn; a `Scene` is what a prompt has to keep controlling. Captions name the scene
and never the identity, as captions of real photos do.
"""

from dataclasses import astuple, dataclass, fields

import numpy as np

HAIR_STYLES = ("bald", "crop", "part", "bob", "long", "curly", "bun", "mohawk")
FACIAL_HAIR = ("none", "moustache", "beard")

BACKGROUNDS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "gray")
SHIRTS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
EXPRESSIONS = ("neutral", "smiling", "sad", "surprised")
GAZES = ("camera", "left", "right")
LIGHTS = ("normal", "bright", "dim")
FRAMINGS = ("portrait", "close-up", "wide")
ACCESSORIES = ("none", "glasses", "hat", "microphone", "scarf", "headphones")
STYLES = ("photo", "sketch")

SKIN = ((250, 222, 200), (238, 190, 150), (198, 138, 96), (140, 88, 58), (84, 52, 38))
IRIS = ((62, 36, 24), (128, 78, 34), (60, 140, 70), (50, 120, 210), (120, 150, 170))
HAIR = (
    (28, 24, 28),
    (92, 54, 34),
    (160, 58, 34),
    (226, 124, 44),
    (240, 206, 112),
    (226, 226, 230),
    (236, 120, 180),
    (70, 96, 210),
)


@dataclass(frozen=True)
class Identity:
    """One drawn person. Every number lies in [0, 1]; `canvas.Face` and `drawing` say what it means in the image."""

    skin: float
    """0 pale to 1 dark brown."""
    face_width: float
    face_height: float
    jaw: float
    """0 pointed to 1 square."""
    eye_size: float
    eye_spacing: float
    iris: float
    """Along a palette from dark brown over green and blue to gray."""
    brow_thickness: float
    brow_tilt: float
    """0 inner ends raised to 1 inner ends lowered."""
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_thickness: float
    hair_color: float
    """Along a palette from black over brown, red, blond and silver to pink and blue."""
    ear_size: float
    mole_height: float
    """0 beside the eye to 1 beside the chin."""
    mole_side: str
    """"left" or "right" as the viewer sees it; it makes a mirrored image somebody else."""
    hair_style: str
    facial_hair: str

    def vector(self) -> np.ndarray:
        """Return [28] float32 in [0, 1]: the 16 numbers in field order, mole side (0 left, 1 right), one-hot hair
        style (8), one-hot facial hair (3)."""
        numbers = list(astuple(self)[: len(NUMBERS)])
        side = [float(self.mole_side == "right")]
        hair = [float(self.hair_style == style) for style in HAIR_STYLES]
        beard = [float(self.facial_hair == kind) for kind in FACIAL_HAIR]
        return np.array(numbers + side + hair + beard, dtype=np.float32)

    @staticmethod
    def from_vector(vector: np.ndarray) -> "Identity":
        """Return the inverse of `vector` for any [28] estimate: numbers are clipped, the largest of a one-hot wins."""
        count = len(NUMBERS)
        numbers = [float(value) for value in np.clip(vector[:count], 0.0, 1.0)]
        hair = HAIR_STYLES[int(np.argmax(vector[count + 1 : count + 1 + len(HAIR_STYLES)]))]
        beard = FACIAL_HAIR[int(np.argmax(vector[count + 1 + len(HAIR_STYLES) :]))]
        side = "right" if vector[count] > 0.5 else "left"
        return Identity(**dict(zip(NUMBERS, numbers, strict=True)), mole_side=side, hair_style=hair, facial_hair=beard)


NUMBERS = tuple(field.name for field in fields(Identity))[:16]
"""Names of the sixteen numeric parameters, in the order of `Identity.vector`."""


@dataclass(frozen=True)
class Scene:
    """What a prompt can ask for. Directions are the viewer's: "left" is the left side of the image."""

    background: str = "blue"
    shirt: str = "white"
    expression: str = "neutral"
    gaze: str = "camera"
    light: str = "normal"
    framing: str = "portrait"
    accessory: str = "none"
    style: str = "photo"


COLOURS = ("skin", "iris", "hair_color")
"""Those of NUMBERS that are places along a palette."""


def sample_identity(rng: np.random.Generator) -> Identity:
    """Return a person: every parameter is uniform, but facial hair is none in 60 %."""
    # The order of these draws is part of every seed's person: another order draws other people.
    numbers = [float(value) for value in rng.random(len(NUMBERS))]
    side = str(rng.choice(["left", "right"]))
    beard = str(rng.choice(FACIAL_HAIR, p=[0.6, 0.2, 0.2]))
    hair = str(rng.choice(HAIR_STYLES))
    named = dict(zip(NUMBERS, numbers, strict=True))
    return Identity(**named, mole_side=side, hair_style=hair, facial_hair=beard)


def sample_scene(rng: np.random.Generator, *, sketches: float = 0.08) -> Scene:
    """Return a scene: half of the light and framing is ordinary, a quarter of the people wear no accessory.

    Args:
        sketches: share of pencil sketches, 0 to 1; the rest are photos.
    """
    return Scene(
        background=str(rng.choice(BACKGROUNDS)),
        shirt=str(rng.choice(SHIRTS)),
        expression=str(rng.choice(EXPRESSIONS)),
        gaze=str(rng.choice(GAZES)),
        light=str(rng.choice(LIGHTS, p=[0.5, 0.25, 0.25])),
        framing=str(rng.choice(FRAMINGS, p=[0.5, 0.25, 0.25])),
        accessory=str(rng.choice(ACCESSORIES, p=[0.25, 0.15, 0.15, 0.15, 0.15, 0.15])),
        style="sketch" if rng.random() < sketches else "photo",
    )


def palette(stops: tuple[tuple[int, int, int], ...], position: float) -> np.ndarray:
    """Return [3] float RGB in 0..255 at `position` in [0, 1] along a piecewise linear palette."""
    place = min(max(position, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    share = place - low
    return np.array(stops[low]) * (1 - share) + np.array(stops[low + 1]) * share


def identity_distance(a: Identity, b: Identity) -> float:
    """Return how different two people look, in [0, 1]: 0 only for the same person, about 0.44 for strangers.

    It is a weighted mean of absolute differences.
    """
    gaps = np.abs(a.vector()[: len(NUMBERS)] - b.vector()[: len(NUMBERS)])
    terms = [(1.0, float(gap)) for name, gap in zip(NUMBERS, gaps, strict=True) if name not in COLOURS]
    # Colours are compared as colours, since two distant places of a palette may look alike.
    # Skin and hair weigh most because they cover most of the face.
    for name, stops, weight in (
        ("skin", SKIN, 3.0),
        ("iris", IRIS, 1.0),
        ("hair_color", HAIR, 3.0),
    ):
        gap = np.abs(palette(stops, getattr(a, name)) - palette(stops, getattr(b, name)))
        terms.append((weight, float(gap.mean()) / 160.0))  # about the gap between the palest and the darkest skin
    terms.append((3.0, float(a.hair_style != b.hair_style)))
    terms.append((1.5, float(a.facial_hair != b.facial_hair)))
    terms.append((1.0, float(a.mole_side != b.mole_side)))
    total = sum(weight for weight, _ in terms)
    return min(1.0, sum(weight * term for weight, term in terms) / total)


HEADS = {
    "photo": ("a photo of", "a picture of", "photo of"),
    "portrait": ("a portrait of", "portrait of", "a portrait photo of"),
    "close-up": ("a close-up photo of", "a close-up portrait of", "close-up of"),
    "wide": ("a wide photo of", "a wide portrait of", "wide shot of"),
    "sketch": ("a pencil sketch of", "pencil sketch of"),
}
WORDS = {
    "background": (
        "{} background",
        "on {article} {} background",
        "in front of {article} {} background",
    ),
    "shirt": ("wearing {article} {} shirt", "in {article} {} shirt", "{} shirt"),
    "neutral": ("neutral expression", "with a neutral expression"),
    "smiling": ("smiling", "with a smile"),
    "sad": ("sad", "looking sad"),
    "surprised": ("surprised", "looking surprised"),
    "camera": ("looking at the camera", "facing the camera"),
    "left": ("looking left", "looking to the left"),
    "right": ("looking right", "looking to the right"),
    "bright": ("bright light", "in bright light"),
    "dim": ("dim light", "in dim light"),
    "glasses": ("wearing glasses", "with glasses"),
    "hat": ("wearing a hat", "with a hat"),
    "microphone": ("with a microphone", "holding a microphone"),
    "scarf": ("wearing a scarf", "with a scarf"),
    "headphones": ("wearing headphones", "with headphones"),
}
TRIGGER_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def random_trigger(rng: np.random.Generator) -> str:
    """Return a meaningless word of 4 to 7 letters and digits, as people choose for their LoRA."""
    return "".join(rng.choice(list(TRIGGER_LETTERS), size=int(rng.integers(4, 8))))


def caption(
    scene: Scene,
    *,
    subject: str = "person",
    trigger: str | None = None,
    rng: np.random.Generator | None = None,
) -> str:
    """Return the scene in words, e.g. "a photo of s1lv10 person, smiling, looking left, red background, blue shirt".

    Args:
        subject: the class noun.
        trigger: the word before it; None writes "a" and the class noun.
        rng: draws phrasing and order, and drops a clause in 20 % and all clauses in 6 % of captions, so that a model
            learns short prompts too; None writes everything in a fixed order and phrasing.
    """
    clauses = _clauses(scene)
    who = f"{trigger} {subject}" if trigger else f"a {subject}"
    if rng is None:
        return ", ".join([f"{_heads(scene)[0]} {who}"] + [_phrase(*clause)[0] for clause in clauses])
    bare = rng.random() < 0.06
    heads = HEADS["sketch"] if scene.style == "sketch" else HEADS["photo"] + HEADS["portrait"]
    if scene.style == "photo" and not bare and scene.framing != "portrait" and rng.random() < 0.7:
        heads = HEADS[scene.framing]
    kept = [clause for clause in clauses if not bare and rng.random() < 0.8]
    order = rng.permutation(len(kept))
    phrases = [str(rng.choice(_phrase(*kept[index]))) for index in order]
    return ", ".join([f"{rng.choice(heads)} {who}", *phrases])


def _heads(scene: Scene) -> tuple[str, ...]:
    if scene.style == "sketch":
        return HEADS["sketch"]
    return HEADS["photo" if scene.framing == "portrait" else scene.framing]


def _clauses(scene: Scene) -> list[tuple[str, str]]:
    """Return (kind, word) of everything in the scene that has a name: ordinary light and no accessory have none."""
    clauses = [("expression", scene.expression), ("gaze", scene.gaze)]
    if scene.accessory != "none":
        clauses.append(("accessory", scene.accessory))
    if scene.style == "photo":  # a sketch has no colours to name
        clauses += [("background", scene.background), ("shirt", scene.shirt)]
        if scene.light != "normal":
            clauses.append(("light", scene.light))
    return clauses


def _phrase(kind: str, word: str) -> list[str]:
    """Return the ways to say one clause."""
    if kind in ("background", "shirt"):
        article = "an" if word == "orange" else "a"
        return [form.format(word, article=article) for form in WORDS[kind]]
    return list(WORDS[word])
