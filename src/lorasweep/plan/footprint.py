"""How much memory a run takes, from what was counted on its base model; and what to change where that is too much."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorasweep.config.schema import told_by
from lorasweep.errors import UserError

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig
    from lorasweep.plan.counting import Counts

Change = Callable[["RunConfig"], tuple[str, "RunConfig"]]
"""A run to an override and the run that it makes; the same run where it does not apply."""

GIB = 2**30
CUDA_CONTEXT = GIB // 2
"""The driver's and the kernels' own: 300 to 400 MB since CUDA loads kernels when they are first called (pytorch issues
107667 and 109888), and 8 to 32 MB of cuBLAS workspace."""
CPU_PROCESS = int(0.9 * GIB)
"""Python with torch and diffusers, as Linux counted it."""
SLACK = 1.05
"""What a caching allocator holds above the tensors that live. Not measured here: no card was at hand."""

STATE_BYTES = {"adamw": 8.0, "adamw8bit": 2 + 2 * 4 / 256, "prodigy": 16.0}
"""Of an optimiser, for each number of an adapter: two or four fp32 numbers; with 8 bits, two bytes and, for every block
of 256, two fp32 scales."""
STEP_BYTES = {"adamw": 8.0, "adamw8bit": 0.0, "prodigy": 4.0}
"""What lives while one slot's optimiser steps, for each number of its adapter."""

SCORER_BYTES: Mapping[str, int] = {
    "facenet": 115_000_000,
    "dinov2": 346_000_000,
    "portraits": 4_000_000,
    "ViT-B-32": 605_000_000,
    "ViT-L-14": 1_710_000_000,
    "ViT-H-14": 3_944_000_000,
}
"""fp32 weights of the networks that judge pictures; one that is not listed is taken for a ViT-L-14."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that a run takes at its fullest, by phase."""

    phases: Mapping[str, Mapping[str, int]]
    """encoding, training and drawing, each by what takes it."""
    overhead: int
    """What CUDA, or on a CPU Python with its libraries, takes beside tensors."""

    @property
    def fullest(self) -> str:
        """The phase that takes most."""
        return max(self.phases, key=lambda phase: self.tensors_of(phase))

    @property
    def tensors(self) -> int:
        """Bytes of tensors in the fullest phase."""
        return self.tensors_of(self.fullest)

    @property
    def needs(self) -> int:
        """Bytes that must be free for tensors, with what the allocator holds beside them."""
        return int(self.tensors * SLACK)

    @property
    def peak(self) -> int:
        """Bytes of the card (or of memory, on a CPU) that the process takes in the fullest phase."""
        return self.needs + self.overhead

    def tensors_of(self, phase: str) -> int:
        """Bytes of tensors in a phase."""
        return sum(self.phases[phase].values())


def footprint(run: "RunConfig", counts: "Counts", *, width: int, photos: int, captions: int, device: str) -> Footprint:
    """The memory of ``width`` such runs side by side.

    Args:
        captions: how many different texts are remembered, prompts included.
        device: cpu or cuda.
    """
    standing = {
        "frozen weights": sum(counts.frozen.values()) + counts.layer,
        "adapters and optimiser": adapters_bytes(run, counts, width),
        "remembered photos and captions": remembered(run, counts, photos, captions),
        "judges": judges_bytes(run),
    }
    if device == "cpu":  # beside a card these lie in the computer's memory
        standing["states to be saved"] = width * (4 * counts.values + states_bytes(run, counts))
    if run.evaluate.enabled and run.evaluate.model:
        standing["the model that draws"] = sum(counts.frozen.values())
    step = max(counts.step.peak, step_bytes(run, counts))
    drawing = max(counts.forward.peak, counts.picture_out.peak)
    # of the checkpoint, beside the adapters that are being trained; read from its file into the computer's memory first
    drawn = (2 if device == "cpu" else 1) * 4 * width * counts.values
    phases = {
        "encoding": standing | {"activations": max(counts.picture_in.peak, counts.text_in.peak)},
        "training": standing | {"activations": step},
        "drawing": standing | {"the checkpoint's adapters": drawn, "activations": drawing},
    }
    return Footprint(phases=phases, overhead=CPU_PROCESS if device == "cpu" else CUDA_CONTEXT)


def adapters_bytes(run: "RunConfig", counts: "Counts", width: int) -> int:
    """Values, gradients and the optimiser's states of all slots, in fp32 unless the optimiser has another way."""
    return width * (8 * counts.values + states_bytes(run, counts))


def states_bytes(run: "RunConfig", counts: "Counts") -> int:
    """The optimiser's states of one slot; Adafactor keeps one number for each row and each column."""
    if run.optim.name == "adafactor":
        return 4 * counts.values // run.lora.rank
    return int(STATE_BYTES[run.optim.name] * counts.values)


def step_bytes(run: "RunConfig", counts: "Counts") -> int:
    """What the optimiser's step takes for a moment; Adafactor goes matrix by matrix."""
    if run.optim.name == "adafactor":
        return 10 * counts.matrix
    return int(STEP_BYTES[run.optim.name] * counts.values)


def remembered(run: "RunConfig", counts: "Counts", photos: int, captions: int) -> int:
    """What stays on the device of photos and captions once they are encoded."""
    texts = 0 if run.lora.text_encoder else captions
    return 0 if run.hardware.cache == "disk" else photos * counts.latents + texts * counts.text


def judges_bytes(run: "RunConfig") -> int:
    """Weights of the networks that judge pictures."""
    if not run.evaluate.enabled:
        return 0
    eyes = {"face": [run.evaluate.face], "image": [run.evaluate.image]}.get(told_by(run), [])
    names = [run.evaluate.clip, *(name for name in eyes if name != "clip")]
    return sum(SCORER_BYTES.get(name, SCORER_BYTES["ViT-L-14"]) for name in names)


@dataclass(frozen=True, kw_only=True)
class Hint:
    """One thing to change where memory is short, on top of those before it."""

    override: str
    needs: int
    """Bytes for tensors with it, as in ``Footprint.needs``."""
    fits: bool


def advice(run: "RunConfig", footprint_of: Callable[["RunConfig"], Footprint], room: int) -> tuple[Hint, ...]:
    """What to change, one after the other, until the run fits into ``room`` bytes; what saves nothing is left out."""
    hints: list[Hint] = []
    needs = footprint_of(run).needs
    for change in CHANGES:
        if needs <= room:
            break
        override, changed = change(run)
        less = footprint_of(changed).needs if changed != run else needs
        if less < needs:
            run, needs = changed, less
            hints.append(Hint(override=override, needs=needs, fits=needs <= room))
    return tuple(hints)


def _to(key: str, value: object, *, unless: Callable[["RunConfig"], bool] = lambda _: False) -> Change:
    """A change of one key to a value."""
    room, name = key.split(".")

    def change(run: "RunConfig") -> tuple[str, "RunConfig"]:
        word = str(value).lower() if isinstance(value, bool) else value
        changed = dataclasses.replace(getattr(run, room), **{name: value})
        return f"{key}={word}", run if unless(run) else dataclasses.replace(run, **{room: changed})

    return change


def _smaller_pictures(run: "RunConfig") -> tuple[str, "RunConfig"]:
    """Three quarters of the side, in steps of 64 pixels."""
    return _to("model.resolution", max(64, run.model.resolution * 3 // 4 // 64 * 64))(run)


def _half_the_rank(run: "RunConfig") -> tuple[str, "RunConfig"]:
    return _to("lora.rank", max(1, run.lora.rank // 2))(run)


CHANGES: tuple[Change, ...] = (
    _to("sample.batch_size", 1),
    _to("hardware.gradient_checkpointing", True),
    _to("hardware.unload_encoders", True),
    _to("hardware.cache", "disk"),
    _to("optim.name", "adamw8bit", unless=lambda run: run.optim.name != "adamw"),
    _to("hardware.base", "fp8", unless=lambda run: run.hardware.base == "nf4"),
    _to("hardware.base", "nf4"),
    _to("hardware.offload", 0.5, unless=lambda run: run.hardware.offload > 0.5),
    _smaller_pictures,
    _half_the_rank,
)
"""What people do when a card is full; what costs least comes first."""


def require_room(needed: Footprint, free: int) -> None:
    """Raise UserError where a run cannot fit into ``free`` bytes of a card, before any time is spent on it.

    Nothing is added for the allocator: what may just fit is tried.
    """
    if needed.tensors > free:
        raise UserError(
            f"This run takes about {gib(needed.tensors)} on the card while {needed.fullest}, and {gib(free)} are free; "
            "'lorasweep plan' with the same words says what to change."
        )


def gib(size: float) -> str:
    """Bytes in words, in units of 2^30 bytes, as cards are sold."""
    return f"{size / GIB:.1f} GB" if size >= GIB / 10 else f"{size / 2**20:.1f} MB"
