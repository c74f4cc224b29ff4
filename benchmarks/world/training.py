"""What the programs that train the tiny models share: resumable state, a learning-rate schedule, and a curve on
file."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed


def pick_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Return the learning rate: linear warm-up to `peak`, then a half cosine down to 2 % of it at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (0.02 + 0.98 * 0.5 * (1 + float(torch.cos(torch.tensor(share * torch.pi)))))


def join_workers() -> tuple[int, int]:
    """Return (rank, number) of this process among those that torchrun started, (0, 1) without torchrun.

    On a CPU one single-threaded process per core trains these small models 1.7 times as fast as one process with
    threads.
    """
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    return int(os.environ.get("RANK", "0")), number


def average_gradients(model: torch.nn.Module, workers: int) -> None:
    """Replace the gradients in every worker by the mean of all workers'."""
    if workers == 1:
        return
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient) / workers)


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a crash leaves the previous state."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the state written last, or None. It holds tensors and plain values only."""
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


@dataclass
class Curve:
    """Running means of what a training loop reports, one row every `every` steps."""

    every: int = 50
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, step: int, **values: float) -> None:
        """Add one step's values; at the end of a row print and keep it."""
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if (step + 1) % self.every == 0:
            row = {"step": step + 1, **{name: round(total / self.count, 5) for name, total in self.sums.items()}}
            self.rows.append(row)
            print(f"{time.monotonic() - self.started:7.0f} s", json.dumps(row), flush=True)
            self.sums, self.count = {}, 0


@dataclass(frozen=True)
class Descent:
    """How long and how hard a network is trained, and where its state is kept."""

    state: Path
    steps: int
    peak: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.02
    clip: float = 0.0
    """Largest gradient norm; 0 does not clip."""
    every: int = 50
    """Steps per row of the curve."""
    save_every: int = 200


def descend(network: torch.nn.Module, plan: Descent, losses_of: Callable[[int], dict[str, torch.Tensor]]) -> Curve:
    """Train with AdamW on the sum of what `losses_of(step)` returns, or continue from the state on file.

    Losses must be functions of the step alone, so that an interrupted training ends like an undisturbed one.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.peak, betas=plan.betas, weight_decay=plan.weight_decay)
    curve, start = Curve(every=plan.every), 0
    state = load_state(plan.state)
    if state:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        curve.rows, start = state["curve"], state["step"]
    for step in range(start, plan.steps):
        set_rate(optimizer, rate(step, plan.steps, plan.peak))
        losses = losses_of(step)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        if plan.clip:
            torch.nn.utils.clip_grad_norm_(network.parameters(), plan.clip)
        optimizer.step()
        curve.add(step, **{name: loss.item() for name, loss in losses.items()})
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
            whole = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            save_state(plan.state, whole | {"curve": curve.rows, "step": step + 1})
    return curve
