"""A run told to a tracker, small and with every kind of record in it."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from lorasweep.outcomes import RunVerdict, VerdictWord
from lorasweep.records import (
    AtStrength,
    Checkpoint,
    Dataset,
    FixedBatch,
    Photo,
    Pick,
    Prompt,
    Sample,
    SampleSet,
    Scores,
    Step,
    Validation,
    Verdict,
)
from lorasweep.track.run_folder import RunFolder
from lorasweep.track.tracker import JournalTracker, RunMeta

CONFIG = {
    "preset": "tiny",
    "optim": {"lr": 1e-3, "steps": 6},
    "lora": {"rank": 8, "alpha": 4.0},
    "sample": {"prompts": {"plain": {"text": "s1lv10 person"}}},
    "long": "x" * 7000,
}
PROMPTS = (
    Prompt(key="plain", text="s1lv10", negative="", score_text="person", face=True, subject=True, photo=True),
    Prompt(key="hat", text="s1lv10, hat", negative="", score_text="hat", face=True, subject=True, photo=True),
)
SEEDS = (0, 1)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Story:
    """Makes the records of a run of ``steps`` steps with a checkpoint every ``every``, always the same ones."""

    def __init__(self, folder: Path, steps: int = 6, every: int = 3) -> None:
        self.folder = folder
        self.steps = steps
        self.every = every

    def meta(self, **changes: object) -> RunMeta:
        photo = Photo(path=self.folder / "me.png", caption="<b>me</b>", width=64, height=64, sha256="ab", repeats=2)
        dataset = Dataset(
            path=self.folder,
            train=(photo,),
            held_out=(),
            trigger="s1lv10",
            class_noun="person",
            fingerprint="f",
        )
        known = {
            "name": self.folder.name,
            "config": CONFIG,
            "dataset": dataset,
            "prompts": PROMPTS,
            "run_signature": "run-sig",
            "evaluation_signature": "eval-sig",
            "provenance": {"weights": {}},
        }
        return RunMeta(**{**known, **changes})  # type: ignore[arg-type]

    def step(self, n: int) -> Step:
        loss = 0.1 + 1 / (3 * n)
        return Step(trial="t", step=n, epoch=n // 3, loss=loss, lr=1e-3, effective_lr=5e-4, grad_norm=n / 7)

    def checkpoint(self, n: int) -> Checkpoint:
        path = self.folder / "checkpoints" / f"step-{n:06d}.safetensors"
        path.write_bytes(f"weights of step {n}".encode())
        return Checkpoint(trial="t", step=n, epoch=n / 3, path=path, sha256=sha(path))

    def samples(self, n: int, fresh: bool = False) -> SampleSet:
        drawn = []
        for prompt in PROMPTS:
            for seed in SEEDS:
                path = self.folder / "samples" / f"{n:06d}-{prompt.key}-{seed}{'-fresh' if fresh else ''}.png"
                Image.new("RGB", (16, 16), (n * 9 % 256, seed * 90, 128)).save(path)
                drawn.append(Sample(prompt=prompt.key, seed=seed, path=path, sha256=sha(path)))
        return SampleSet(trial="t", step=n, samples=tuple(drawn), fresh=fresh)

    def scores(self, n: int, fresh: bool = False) -> Scores:
        parts = {"identity": 1 / 3, "prompt": 0.5, "geometry": float("nan")}
        shares = np.full((len(PROMPTS), len(SEEDS), len(parts)), 1 / 7)
        shares[0, 1, 2] = np.nan
        return Scores(
            trial="t", step=n, components=parts, score=n / 10, low=n / 20, high=n / 9, by_prompt=shares, fresh=fresh
        )

    def at_strength(self, n: int, strength: float) -> AtStrength:
        return AtStrength(strength=strength, samples=self.samples(n, fresh=True), scores=self.scores(n, fresh=True))

    def validation(self, n: int) -> Validation:
        return Validation(trial="t", step=n, held_out=0.5 + n / 30, train=0.5 - n / 20)

    def fixed_batch(self, n: int) -> FixedBatch:
        return FixedBatch(trial="t", step=n, loss=1 / (n + 3))

    def pick(self) -> Pick:
        return Pick(
            trial="t",
            step=6,
            best_step=3,
            runner_up=3,
            eligible=(3, 6),
            score=0.625,
            steady=0.6,
            confidence=0.9,
            verdicts=(Verdict(step=6, word=VerdictWord.GOOD, cause="", text="works"),),
            run_verdict=RunVerdict.FINE,
            reason="Step 6 is the latest that works.",
        )

    def tell(self, tracker: JournalTracker, first: int = 1, last: int | None = None) -> None:
        """All that happens from step ``first`` to ``last``, as the loop would tell it."""
        if first == 1:
            tracker.checkpoint(Checkpoint(trial="t", step=0, epoch=0, path=None, sha256=None))
            tracker.samples(self.samples(0), PROMPTS)
        for n in range(first, (last or self.steps) + 1):
            tracker.step(self.step(n))
            if n % self.every == 0:
                tracker.checkpoint(self.checkpoint(n))
                tracker.samples(self.samples(n), PROMPTS)
                tracker.scores(self.scores(n))


def story_in(root: Path, name: str = "s1lv10-tiny-lr1e-3-0001", steps: int = 6) -> Story:
    return Story(RunFolder(root / "runs" / name).prepare().path, steps=steps)
