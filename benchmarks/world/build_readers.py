"""Stage "readers": trains the network of `readers` on the corpus, restartable."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.world import corpus
from benchmarks.world.readers import ATTRIBUTES, COLOURLESS, CONFIG, OUTPUTS, READERS, Readers, targets_of
from benchmarks.world.stages import finish, fresh_renders, recompress, run_stage, soften
from benchmarks.world.training import Curve, Descent, descend
from lorasweep.portraits.networks import Trunk, save_network, to_input

WORDS = (*ATTRIBUTES, "hair_style", "facial_hair")
WEIGHT = {"expression": 3.0}
SHARE = {"shapes": 12.0, "colours": 12.0, "pose": 2.0}


@dataclass(frozen=True)
class ReaderPlan:
    """How long and how hard to train."""

    steps: int = 4800
    batch: int = 128
    peak: float = 3e-3
    seed: int = 5


def labels(cache: Path, count: int) -> dict[str, np.ndarray]:
    """Return the targets of the corpus' first `count` images by output name, kept in `cache`."""
    path = cache / "readers" / f"labels-{count}.npz"
    if not path.exists():
        rows = [targets_of(*corpus.subject(1, index)) for index in range(count)]
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"part-{path.name}")
        np.savez(part, allow_pickle=False, **{name: np.stack([row[name] for row in rows]) for name in OUTPUTS})
        part.replace(path)
    return dict(np.load(path))


def reading_loss(said: dict[str, torch.Tensor], true: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return cross-entropy for words and absolute differences for numbers; what a sketch does not show counts only in
    photos."""
    photo = (true["style"] == 0).float()
    total = functional.binary_cross_entropy_with_logits(said["mole_side"], true["mole_side"])
    for name in WORDS:
        each = functional.cross_entropy(said[name], true[name], reduction="none")
        total = total + WEIGHT.get(name, 1.0) * (each * photo if name in COLOURLESS else each).mean()
    for name, share in SHARE.items():
        each = functional.smooth_l1_loss(said[name], true[name], beta=0.05, reduction="none").mean(1)
        total = total + share * (each * photo if name == "colours" else each).mean()
    return total


def step_batch(
    pictures: np.ndarray, answers: dict[str, np.ndarray], plan: ReaderPlan, step: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return softened images and their targets, a function of (seed, step)."""
    rng = np.random.default_rng([plan.seed, step])
    picks = np.sort(rng.integers(len(pictures), size=plan.batch))
    generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
    tensor = soften(to_input(recompress(pictures[picks], rng)), generator, colour=0.03)
    return tensor, {name: torch.from_numpy(part[picks]) for name, part in answers.items()}


def train_readers(cache: Path, plan: ReaderPlan) -> tuple[Trunk, Curve]:
    """Train, or continue from the state in `cache`."""
    torch.manual_seed(plan.seed)
    network = Trunk(CONFIG).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    pictures = corpus.pictures(cache)
    answers = labels(cache, len(pictures))

    def losses_of(step: int) -> dict[str, torch.Tensor]:
        tensor, true = step_batch(pictures, answers, plan, step)
        with torch.autocast("cpu", torch.bfloat16):
            said = network(tensor.contiguous(memory_format=torch.channels_last))
        return {"loss": reading_loss(said, true)}

    state = cache / "readers" / "state.pt"
    curve = descend(network, Descent(state, plan.steps, plan.peak, every=100, save_every=500), losses_of)
    return network.eval(), curve


def accuracy(readers: Readers, count: int = 1000, seed: int = 77) -> dict[str, float]:
    """Return the share of fresh renders that are read right, by attribute; colours over photos only."""
    pictures, subjects = fresh_renders(count, seed)
    readings = readers.read(pictures)
    shares = {}
    for name in ATTRIBUTES:
        hits = [
            getattr(reading.scene, name) == getattr(subject[1], name)
            for reading, subject in zip(readings, subjects, strict=True)
            if subject[1].style == "photo" or name not in COLOURLESS
        ]
        shares[name] = float(np.mean(hits))
    return shares


def build(cache: Path, weights: Path) -> None:
    """Train the readers and write `weights`/readers. They train on a CPU in minutes."""
    plan = ReaderPlan()
    network, curve = train_readers(cache, plan)
    save_network(network, weights / "readers", kind="readers", seed=plan.seed)
    shares = accuracy(Readers(network))
    print(shares)
    finish(weights / "readers", curve.rows, CARD, {f"{name} read right": share for name, share in shares.items()})


CARD = """# Readers of portraits

One convolutional trunk of 1.3 M weights that reads background, shirt, expression, gaze, light, framing, accessory,
style, the identity and the pose from a 64×64 picture. Trained on 40,000 renders of as many drawn people, with blur,
noise, colour shift and JPEG. Serves the measurements of the tiny models and the oracle. No scorer uses it. Drawn people
only: it knows nothing of photos of real people.
"""

if __name__ == "__main__":
    run_stage(build, READERS)
