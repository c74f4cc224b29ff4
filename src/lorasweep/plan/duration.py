"""About how long a run takes: by a finished run of its kind on this device, else by what was counted.

Without such a run, time is work over speed. Speed is that of a large matrix product, timed here for half a second,
times the share of it that a denoiser reaches. Small models wait for Python and for kernels to be launched instead.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from lorasweep.plan.budget import training_cost

if TYPE_CHECKING:
    import torch

    from lorasweep.config.schema import RunConfig
    from lorasweep.plan.counting import Counts
    from lorasweep.plan.ledger import Work
    from lorasweep.records import JsonDict
    from lorasweep.track.journal import Entry
    from lorasweep.track.run_folder import RunFolder

# CPU: six variants of the demo's training step, its drawing and its VAE, on one thread of an x86 server, were predicted
# within 15 %. CUDA: from published steps, none measured here (FLUX.1 at 1024 with checkpointing takes 3.5 s on an RTX
# 4090, SimpleTuner's guide; the count is 247 TFLOP).
EFFICIENCY = {"cpu": 0.5, "cuda": 0.4}
"""Share of a large matrix product's speed that a denoiser reaches."""
CPU_OPERATION = 24  # measured on the same steps: autograd, modules, and all that is no matrix product
"""Time of an operation of a training step, in tiny in-place additions."""
# SimpleTuner's SD 1.5 and SDXL steps on an H100, 0.18 s and 0.61 s for 3,600 and 12,000 operations, and no faster there
# than on an L40S.
CUDA_OPERATION = 55e-6
"""Seconds per counted operation if launching kernels is what takes the time."""
SPREAD = {"measured": (0.9, 1.2), "cpu": (0.75, 1.5), "cuda": (0.5, 2.0)}
"""Factors by which the truth may lie below and above an estimate, by where it is from."""
LEAST_STEPS = 10
"""Steps below which a run says nothing about its speed."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a device does what a denoiser asks of it."""

    device: str
    """cpu or cuda."""
    flops: float
    """Floating-point operations per second."""
    operation: float
    """Seconds an operation takes however small it is."""

    def seconds(self, work: "Work") -> float:
        """Return the seconds for a piece of work."""
        computing, calling = work.flops / self.flops, work.operations * self.operation
        # a card computes while the next kernels are launched; a CPU does one after the other
        return max(computing, calling) if self.device == "cuda" else computing + calling


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Seconds, by what a run spends them on."""

    encoding: float
    training: float
    drawing: float
    measuring: float
    """Losses on fixed noise."""
    step: float
    """Seconds of one optimiser step."""
    low: float
    """Total, at best."""
    high: float
    """Total, at worst."""
    source: str
    """Where the numbers come from, in words."""

    @property
    def total(self) -> float:
        """Return the seconds of the whole run."""
        return self.encoding + self.training + self.drawing + self.measuring


def measure(device: "torch.device", dtype: "torch.dtype") -> Speed:
    """Return how fast this device is; takes about half a second."""
    import torch

    side = 4096 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = _fastest(lambda: left @ right, device)
    rate = 2 * side**3 / product * EFFICIENCY[device.type]
    if device.type == "cuda":
        return Speed(device="cuda", flops=rate, operation=CUDA_OPERATION)
    tiny = torch.zeros(8)
    addition = _fastest(lambda: [tiny.add_(1) for _ in range(1000)], device, budget=0.1) / 1000
    return Speed(device="cpu", flops=rate, operation=CPU_OPERATION * addition)


def _fastest(call: Callable[[], object], device: "torch.device", budget: float = 0.5) -> float:
    """Return the seconds of the fastest of as many calls as ``budget`` seconds allow."""
    import torch

    # the fastest, since other programs on the machine only ever slow a call down
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long a finished run of the same kind took."""

    run: str
    """Its name."""
    step: float
    """Seconds per optimiser step."""
    picture: float | None
    """Seconds to draw and judge one image; None if none was drawn, or not in the same way."""


def remembered_pace(root: Path, run: "RunConfig", device: str, threads: int) -> Pace | None:
    """Return the pace of the newest run under ``root`` whose steps cost the same on the same device; None without one.

    Args:
        device: cpu or cuda.
        threads: torch's, which must be the same on a CPU.
    """
    from lorasweep.track.journal import read
    from lorasweep.track.run_folder import all_runs

    for folder in reversed(all_runs(root)):
        if _was_alike(folder, run, device, threads):
            pace = pace_of(folder.name, list(read(folder.path)), _drawn_alike(folder.read_config(), run))
            if pace is not None:
                return pace
    return None


def pace_of(name: str, entries: Sequence["Entry"], drawn_alike: bool) -> Pace | None:
    """Return the pace that a journal tells; None if the run was too short, or trained side by side with others.

    Args:
        drawn_alike: whether it drew its images as the run that is planned.
    """
    start = next((entry.payload for entry in entries if entry.kind == "start"), None)
    steps = [entry for entry in entries if entry.kind == "step"]
    if start is None or start["parent"] or len(steps) < LEAST_STEPS:
        return None
    # between some steps lie a checkpoint and its sheet, which the median leaves out
    step = median(after.time - before.time for before, after in pairwise(steps)) / 1000
    looks = _seconds_a_picture(entries) if drawn_alike else []
    return Pace(run=name, step=step, picture=median(looks) if looks else None)


def _seconds_a_picture(entries: Sequence["Entry"]) -> list[float]:
    """Return the seconds per image of each sheet but the first."""
    # before the first sheet is scored, the base model is drawn and the photos are looked at too
    saved = {entry.payload["step"]: entry.time for entry in entries if entry.kind == "checkpoint"}
    pictures = {entry.payload["step"]: len(entry.payload["samples"]) for entry in entries if entry.kind == "sample"}
    scored = [entry for entry in entries if entry.kind == "scores" and not entry.payload["scores"]["fresh"]]
    steps = [(entry.payload["scores"]["step"], entry.time) for entry in scored][1:]
    return [(end - saved[step]) / 1000 / pictures[step] for step, end in steps if step in saved and pictures.get(step)]


def _was_alike(folder: "RunFolder", run: "RunConfig", device: str, threads: int) -> bool:
    """Return whether a run was on the same device, with the same base, image size, batch, targets and memory
    savings."""
    if not folder.provenance.is_file() or not folder.config.is_file():
        return False
    machine = json.loads(folder.provenance.read_text(encoding="utf-8")).get("machine", {})
    if str(machine.get("device", "")).partition(":")[0] != device:
        return False
    if device == "cpu" and machine.get("threads") != threads:
        return False
    config = folder.read_config()
    return all(_find(config, key) == _of(run, key) for key in COSTLY)


COSTLY = (
    *("model.family", "model.resolution", "lora.targets", "lora.text_encoder", "optim.name", "optim.batch_size"),
    *("optim.gradient_accumulation", "hardware.precision", "hardware.gradient_checkpointing", "hardware.base"),
    *("hardware.offload", "hardware.cache"),
)
"""Keys that decide how long a step takes."""
LOOKS = ("sample.steps", "sample.guidance", "sample.width", "sample.height", "sample.batch_size", "evaluate.enabled")
"""Keys that decide how long an image takes."""


def _drawn_alike(config: "JsonDict", run: "RunConfig") -> bool:
    return all(_find(config, key) == _of(run, key) for key in LOOKS)


def _find(config: "JsonDict", key: str) -> object:
    room, name = key.split(".")
    return config.get(room, {}).get(name)


def _of(run: "RunConfig", key: str) -> object:
    room, name = key.split(".")
    return getattr(getattr(run, room), name)


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much of what was counted a run does."""

    photos: int
    """Photos that are encoded, mirror images included."""
    captions: int
    """Different captions that are encoded."""
    pictures: int
    """Images drawn in all: at checkpoints, between them, by the base model, by the finalists."""
    measured: float = 0.0
    """Forward passes for losses on fixed noise."""


def estimate(run: "RunConfig", counts: "Counts", amounts: Amounts, speed: Speed, pace: Pace | None) -> Duration:
    """Return the seconds of a run, by ``pace`` if there is one, else by work over speed."""
    step = speed.seconds(counts.step) * run.optim.gradient_accumulation if pace is None else pace.step
    measured = pace.picture if pace is not None else None
    picture = drawing_seconds(run, counts, speed) if measured is None else measured
    parts = {
        "encoding": amounts.photos * speed.seconds(counts.picture_in)
        + amounts.captions * speed.seconds(counts.text_in),
        "training": run.optim.steps * step,
        "drawing": amounts.pictures * picture,
        "measuring": run.optim.steps * step * amounts.measured / training_cost(run),
    }
    low, high = SPREAD["measured" if pace is not None else speed.device]
    total = sum(parts.values())
    source = (
        f"run {pace.run}" if pace is not None else f"operations counted and a matrix product timed ({speed.device})"
    )
    return Duration(**parts, step=step, low=total * low, high=total * high, source=source)


def drawing_seconds(run: "RunConfig", counts: "Counts", speed: Speed) -> float:
    """Return the seconds to draw one image, without judging it."""
    from lorasweep.plan.counting import pictures_a_call

    return run.sample.steps * speed.seconds(counts.forward) / pictures_a_call(run) + speed.seconds(counts.picture_out)


def in_words(seconds: float) -> str:
    """Return a time such as 40 seconds, 12 minutes or 3.5 hours."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    if seconds < 90 * 60:
        return f"{math.ceil(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
