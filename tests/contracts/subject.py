"""A made-up subject whose pictures exist only as vectors, with a dose for everything that can go wrong."""

import numpy as np

from lorasweep.evaluate.artifact import NOTICEABLE
from lorasweep.records import TEXTURE, Evidence, Features, Prompt

SEEDS = (0, 1)
KINDS = ("plain", "side", "close", "scene", "accessory", "sketch", "outside", "class")
PROMPTS = tuple(
    Prompt(key=k, text=k, negative="", score_text=k, face=True, subject=k != "class", photo=k != "sketch")
    for k in KINDS
)
KEYS = tuple(f"{prompt.key}/{seed}" for prompt in PROMPTS for seed in SEEDS)
TEMPLATE = np.array([[0.38, 0.42], [0.62, 0.42], [0.50, 0.54], [0.42, 0.66], [0.58, 0.66]])
TYPICAL = dict(zip(TEXTURE, (-3.2, -3.0, -4.5, 0.2, 0.3, 6.5, 3.0, 0.1, 0.35, 0.18, 0.02, -5.0, 0.0, 3.0), strict=True))
FACE, IMAGE = 48, 40
SPREAD = 0.3 * np.array([NOTICEABLE[name] for name in TEXTURE])


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def direction(name: int, width: int) -> np.ndarray:
    """A fixed unit vector in a space of ``width``."""
    return unit(np.random.default_rng([name, width]).normal(size=width))


def near(center: np.ndarray, share: float, rng: np.random.Generator, count: int) -> np.ndarray:
    """[count, D] unit vectors whose cosine to ``center`` is about ``share``."""
    noise = unit(rng.normal(size=(count, center.shape[-1])))
    return unit(share * center + np.sqrt(1 - share**2) * noise)


def pictures(keys: tuple[str, ...], face: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> Features:
    count = len(keys)
    return Features(
        keys=keys,
        face=face,
        other_face=np.zeros_like(face),
        face_count=np.ones(count, dtype=np.int64),
        face_size=np.full(count, 0.4),
        landmarks=TEMPLATE + rng.normal(0, 0.003, (count, 5, 2)),
        image=image,
        scene=image.copy(),
        texture=np.array(list(TYPICAL.values())) + rng.normal(0, 1, (count, len(TEXTURE))) * SPREAD,
    )


def photos(count: int, rng: np.random.Generator, name: str = "photo") -> Features:
    """Real ones: about 0.6 alike in the face, each in a scene of its own."""
    face = near(direction(1, FACE), 0.78, rng, count)
    image = unit(0.5 * direction(2, IMAGE) + unit(rng.normal(size=(count, IMAGE))))
    return pictures(tuple(f"{name}{number}" for number in range(count)), face, image, rng)


def texts() -> np.ndarray:
    return np.stack([unit(direction(100 + number, IMAGE)) for number in range(len(PROMPTS))])


def scenes(rng: np.random.Generator, follow: float = 1.0) -> np.ndarray:
    """[N, E] pictures of the prompts' texts, which they follow as far as ``follow`` says."""
    wanted = np.repeat(texts(), len(SEEDS), axis=0)
    noise = unit(rng.normal(size=wanted.shape))
    return unit(0.6 * follow * wanted + 0.5 * direction(2, IMAGE) + 0.5 * noise)


def evidence(seed: int = 0, *, train: int = 12, held_out: int = 4) -> Evidence:
    rng = np.random.default_rng([seed, 1])
    strangers = unit(rng.normal(size=(len(KEYS), FACE)))
    return Evidence(
        prompts=PROMPTS,
        seeds=SEEDS,
        texts=texts(),
        train=photos(train, rng),
        held_out=photos(held_out, rng, "held"),
        base=pictures(KEYS, strangers, scenes(rng), rng),
    )


def sheet(
    known: Evidence,
    seed: int = 0,
    *,
    likeness: float = 1.0,
    follow: float = 1.0,
    copied: float = 0.0,
    deformed: float = 0.0,
) -> Features:
    """A sheet: ``likeness`` 0 draws the base's strangers, ``copied`` is the share of training photos."""
    rng = np.random.default_rng([seed, 2])
    person = near(direction(1, FACE), 0.78, rng, len(KEYS))
    subject = np.repeat([prompt.subject for prompt in PROMPTS], len(SEEDS))[:, None]
    mixed = unit(likeness * person + (1 - likeness) * known.base.face)
    drawn = pictures(KEYS, np.where(subject, mixed, known.base.face), scenes(rng, follow), rng)
    drawn.landmarks[:] += deformed * rng.normal(0, 1, drawn.landmarks.shape)
    source = rng.integers(len(known.train.keys), size=len(KEYS))
    for row in np.flatnonzero((np.arange(len(KEYS)) % 10 < 10 * copied) & subject[:, 0]):
        drawn.face[row] = known.train.face[source[row]]
        drawn.scene[row] = known.train.scene[source[row]]
    return drawn


def damaged(drawn: Features, **changes: float) -> Features:
    """The same with columns of its texture moved."""
    for name, change in changes.items():
        drawn.texture[:, TEXTURE.index(name)] += change
    return drawn
