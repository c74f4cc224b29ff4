"""Stages "face" and "face_confirm": two face networks, trained on different people, none of whom any test uses.

Embeddings are learnt by supervised contrast (Khosla et al. 2020, arXiv 2004.11362): images of one person in different
scenes attract, everybody else in the batch repels. `python -m benchmarks.world.build_faces [face_confirm]`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.world.faceless import faceless_pictures
from benchmarks.world.stages import finish, recompress, run_stage, soften
from benchmarks.world.training import Curve, Descent, descend
from lorasweep.portraits.networks import FaceNetwork, NetworkConfig, Trunk, save_network, to_input
from lorasweep.portraits.people import sample_identity, sample_scene
from lorasweep.portraits.render import landmarks, render

OUTPUTS = {"embedding": 64, "landmarks": 10, "face": 1}


@dataclass(frozen=True)
class FacePlan:
    """One network: its name, shape, people and training."""

    name: str
    seed: int
    widths: tuple[int, int, int, int]
    hidden: int
    people: int
    scenes: int
    temperature: float
    steps: int = 1500
    batch_people: int = 40
    batch_scenes: int = 4
    batch_faceless: int = 24
    peak: float = 3e-3


FACE = FacePlan("face", 11, (16, 48, 96, 128), 384, 4000, 8, 0.1)
CONFIRM = FacePlan("face_confirm", 12, (20, 40, 96, 144), 320, 2500, 6, 0.12, steps=1300)


@dataclass(frozen=True)
class Album:
    """Images of many people."""

    pictures: np.ndarray
    """[people, scenes, 64, 64, 3] uint8"""
    points: np.ndarray
    """[people, scenes, 10] float32, landmarks in [-1, 1]"""


def make_album(people: int, scenes: int, seed: int) -> Album:
    """Return every person in several scenes, a function of the seed."""
    pictures = np.empty((people, scenes, 64, 64, 3), np.uint8)
    points = np.empty((people, scenes, 10), np.float32)
    for person in range(people):
        rng = np.random.default_rng([seed, person, 3])
        identity = sample_identity(rng)
        for place in range(scenes):
            scene, jitter = sample_scene(rng), int(rng.integers(2**31))
            pictures[person, place] = np.asarray(render(identity, scene, 64, jitter))
            points[person, place] = landmarks(identity, scene, 64, jitter).ravel() / 32 - 1
    return Album(pictures, points)


def training_album(cache: Path, plan: FacePlan) -> tuple[Album, np.ndarray]:
    """Return the plan's album and 3,000 images without a face, kept in `cache`."""
    path = cache / plan.name / f"album-{plan.people}-{plan.scenes}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        album = make_album(plan.people, plan.scenes, plan.seed)
        without = faceless_pictures(3000, plan.seed)
        part = path.with_name(f"part-{path.name}")
        np.savez(part, pictures=album.pictures, points=album.points, faceless=without)
        part.replace(path)
    parts = np.load(path)
    return Album(parts["pictures"], parts["points"]), parts["faceless"]


def contrast(embeddings: torch.Tensor, scenes: int, temperature: float) -> torch.Tensor:
    """Return the supervised contrastive loss of unit embeddings [people x scenes, d], ordered by person."""
    count = len(embeddings)
    similar = embeddings @ embeddings.T / temperature
    similar = similar.masked_fill(torch.eye(count, dtype=torch.bool), -1e9)
    chance = functional.log_softmax(similar, dim=1)
    owner = torch.arange(count) // scenes
    same = (owner[:, None] == owner[None]) & ~torch.eye(count, dtype=torch.bool)
    return -chance[same].mean()


def step_batch(album: Album, faceless: np.ndarray, plan: FacePlan, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return softened images, people first and those without a face last, and the people's landmarks."""
    rng = np.random.default_rng([plan.seed, step, 5])
    people = np.sort(rng.choice(len(album.pictures), plan.batch_people, replace=False))
    scenes = rng.random((plan.batch_people, plan.scenes)).argsort(1)[:, : plan.batch_scenes]
    faces = album.pictures[people[:, None], scenes].reshape(-1, 64, 64, 3)
    empty = faceless[np.sort(rng.integers(len(faceless), size=plan.batch_faceless))]
    generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
    pictures = to_input(recompress(np.concatenate([faces, empty]), rng))
    points = album.points[people[:, None], scenes].reshape(-1, 10)
    return soften(pictures, generator, colour=0.05), torch.from_numpy(points)


def face_loss(said: dict[str, torch.Tensor], points: torch.Tensor, plan: FacePlan) -> dict[str, torch.Tensor]:
    """Return the three parts of the loss: identities, landmarks, face or no face."""
    faces = len(points)
    embeddings = functional.normalize(said["embedding"][:faces], dim=1)
    truth = (torch.arange(len(said["face"])) < faces).float()
    return {
        "contrast": contrast(embeddings, plan.batch_scenes, plan.temperature),
        "landmarks": 20 * functional.smooth_l1_loss(said["landmarks"][:faces], points, beta=0.02),
        "face": functional.binary_cross_entropy_with_logits(said["face"][:, 0], truth),
    }


def train_face(cache: Path, plan: FacePlan) -> tuple[Trunk, Curve]:
    """Train, or continue from the state in `cache`."""
    torch.manual_seed(plan.seed)
    network = Trunk(NetworkConfig(plan.widths, plan.hidden, OUTPUTS))
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    album, faceless = training_album(cache, plan)

    def losses_of(step: int) -> dict[str, torch.Tensor]:
        pictures, points = step_batch(album, faceless, plan, step)
        with torch.autocast("cpu", torch.bfloat16):
            said = network(pictures.contiguous(memory_format=torch.channels_last))
        return face_loss(said, points, plan)

    curve = descend(network, Descent(cache / plan.name / "state.pt", plan.steps, plan.peak), losses_of)
    return network.eval(), curve


def area_under_curve(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Return the chance in [0, 1] that a genuine pair is more similar than an impostor pair; ties count half."""
    order = np.sort(impostor)
    below = np.searchsorted(order, genuine, "left") + np.searchsorted(order, genuine, "right")
    return float(below.mean() / 2 / len(order))


def face_figures(face: FaceNetwork, people: int = 500, scenes: int = 8, seed: int = 9001) -> dict[str, float]:
    """Return what is promised of a face network, measured on people it has never seen."""
    album = make_album(people, scenes, seed)
    pictures = album.pictures.reshape(-1, 64, 64, 3)
    seen = face.describe(pictures)
    similar = seen.embedding @ seen.embedding.T
    owner = np.repeat(np.arange(people), scenes)
    upper = np.triu(np.ones(similar.shape, bool), 1)
    same = owner[:, None] == owner[None]
    mirrored = face.describe(pictures[:, :, ::-1]).embedding
    to_mirror = (seen.embedding @ mirrored.T)[same & ~np.eye(len(owner), dtype=bool)]
    miss = np.linalg.norm((seen.landmarks - (album.points.reshape(-1, 5, 2) / 2 + 0.5)) * 64, axis=2)
    without = face.describe(faceless_pictures(2 * people, seed)).face_probability
    hits = [(seen.face_probability > 0.5).mean(), (without < 0.5).mean()]
    return {
        "verification AUC": area_under_curve(similar[upper & same], similar[upper & ~same]),
        "similarity of a person to themselves": float(similar[upper & same].mean()),
        "similarity of strangers": float(similar[upper & ~same].mean()),
        "similarity of a person to their own mirrored pictures": float(to_mirror.mean()),
        "landmark error in pixels": float(miss.mean()),
        "face or no face right": float(np.mean(hits)),
    }


def build_one(cache: Path, weights: Path, plan: FacePlan) -> None:
    """Train one network and write its folder."""
    network, curve = train_face(cache, plan)
    save_network(network, weights / plan.name, kind=plan.name, seed=plan.seed)
    figures = face_figures(FaceNetwork(network))
    print(figures)
    finish(weights / plan.name, curve.rows, CARD.format(plan=plan, role=ROLES[plan.name]), figures)


def build(cache: Path, weights: Path) -> None:
    """Write `weights`/face. It trains on a CPU in minutes."""
    build_one(cache, weights, FACE)


def build_confirm(cache: Path, weights: Path) -> None:
    """Write `weights`/face_confirm, likewise."""
    build_one(cache, weights, CONFIRM)


ROLES = {
    "face": "scores identity and geometry",
    "face_confirm": "confirms the other one's pick and scores nothing",
}
CARD = """# Face network of portraits: {plan.name}

Gives a 64-number embedding, five landmarks and face / no face for a 64×64 picture; this one {role}.
Trained on {plan.people} drawn people in {plan.scenes} scenes each (seed {plan.seed}), with pictures without a face,
blur, noise, colour shift and JPEG. The figures below are for 500 people it has never seen, 8 pictures each. Drawn
people only: it recognises nobody real.
"""

if __name__ == "__main__":
    run_stage(build_confirm if sys.argv[1:] == ["face_confirm"] else build)
