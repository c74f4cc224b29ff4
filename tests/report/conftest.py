"""A run of three checkpoints whose pictures are on disk, and a caption that tries to break out of the page."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasweep.outcomes import RunStatus, RunVerdict, VerdictWord
from lorasweep.records import Checkpoint, Photo, Pick, Prompt, RunView, Sample, SampleSet, Scores, Step, Verdict

EVIL = "<img src=x onerror=alert(1)>"
NAMES = ("identity", "prompt")
WEIGHTS = {"identity": 0.6, "prompt": 0.4}


def picture(path: Path, colour: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), colour).save(path)
    return path


def prompt(key: str) -> Prompt:
    return Prompt(key=key, text=f"{EVIL} {key}", negative="", score_text=key, face=True, subject=True, photo=True)


def sheet(folder: Path, step: int) -> SampleSet:
    drawn = []
    for p, key in enumerate(("plain", "hat")):
        for seed in (0, 1):
            path = picture(folder / "samples" / f"{step}-{key}-{seed}.png", (step % 256, p * 90, seed * 90))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            drawn.append(Sample(prompt=key, seed=seed, path=path, sha256=digest))
    return SampleSet(trial="t", step=step, samples=tuple(drawn))


def scores(step: int, score: float, *, fresh: bool = False) -> Scores:
    shares = np.array([[[0.25, 1.0], [0.25, 1.0]], [[np.nan, 0.5], [np.nan, 0.7]]])
    return Scores(
        trial="t", step=step, components=dict(zip(NAMES, (0.25, 0.8), strict=True)), score=score, low=score - 0.1,
        high=score + 0.1, by_prompt=shares, weights=WEIGHTS, fresh=fresh,
    )  # fmt: skip


@pytest.fixture
def view(tmp_path: Path) -> RunView:
    photo = Photo(path=picture(tmp_path / "me.png", (1, 2, 3)), caption=EVIL, width=16, height=16, sha256="0")
    words = {100: VerdictWord.UNDER, 200: VerdictWord.GOOD, 300: VerdictWord.OVER}
    verdicts = tuple(Verdict(step=s, word=w, cause="identity", text=f"{w}.") for s, w in words.items())
    pick = Pick(
        trial="t", step=200, best_step=300, runner_up=300, eligible=(200,), score=0.71, confidence=0.9,
        verdicts=verdicts, run_verdict=RunVerdict.FINE, reason=f"Step 200 works {EVIL}",
    )  # fmt: skip
    files = [
        Checkpoint(trial="t", step=s, epoch=s / 100, path=tmp_path / f"step-{s}.safetensors", sha256="a") for s in words
    ]
    return RunView(
        name=f"run {EVIL}",
        folder=tmp_path,
        status=RunStatus.FINISHED,
        config={"optim": {"lr": 1e-3, "steps": 300}, "note": EVIL},
        provenance={},
        train=(photo,),
        prompts=(prompt("plain"), prompt("hat")),
        checkpoints=(Checkpoint(trial="t", step=0, epoch=0, path=None, sha256=None), *files),
        samples=tuple(sheet(tmp_path, s) for s in (0, *words)),
        scores=(scores(100, 0.4), scores(200, 0.7), scores(300, 0.75), scores(200, 0.71, fresh=True)),
        pick=pick,
        steps=tuple(
            Step(trial="t", step=n, epoch=0, loss=1 / n, lr=1e-3, effective_lr=1e-3, grad_norm=1.0)
            for n in range(1, 301)
        ),
    )
