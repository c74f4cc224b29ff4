"""How much memory a run takes, from what was counted on its base model, and what to change if that is too much."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from lorasweep.config.schema import told_by
from lorasweep.errors import UserError

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig
    from lorasweep.plan.counting import Counts

Change = Callable[["RunConfig"], tuple[str, "RunConfig"]]
"""From a run to an override and the run that it makes; the same run if the change does not apply."""

GIB = 2**30
# 300 to 400 MB since CUDA loads kernels when they are first called (pytorch issues 107667 and 109888), and 8 to 32 MB
# of cuBLAS workspace
CUDA_CONTEXT = GIB // 2
"""Bytes of the driver and of kernels."""
CPU_PROCESS = int(0.9 * GIB)  # as Linux counted it
"""Bytes of Python with torch and diffusers."""
SLACK = 1.05  # assumed, not measured on a card
"""Factor by which a caching allocator holds more than the tensors that live."""

# two or four fp32 numbers; with 8 bits, two bytes and, per block of 256, two fp32 scales
STATE_BYTES = {"adamw": 8.0, "adamw8bit": 2 + 2 * 4 / 256, "prodigy": 16.0}
"""Bytes of an optimiser's state per number of an adapter."""
STEP_BYTES = {"adamw": 8.0, "adamw8bit": 0.0, "prodigy": 4.0}
"""Bytes that live only while a slot's optimiser steps, per number of its adapter."""

SCORER_BYTES: Mapping[str, int] = {
    "facenet": 115_000_000,
    "dlib": 34_000_000,
    "dinov2": 346_000_000,
    "portraits": 4_000_000,
    "ViT-B-32": 605_000_000,
    "ViT-L-14": 1_710_000_000,
    "ViT-H-14": 3_944_000_000,
}
"""Bytes of the fp32 weights of the networks that judge images; one that is not listed counts as a ViT-L-14."""


class Phase(StrEnum):
    """What a run does one after the other; each phase has a peak of its own."""

    ENCODING = "encoding"
    """Photos to latents, captions to embeddings."""
    TRAINING = "training"
    DRAWING = "drawing"


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of memory that a run takes, by phase."""

    phases: Mapping[Phase, Mapping[str, int]]
    """Phase to bytes of tensors, by what they are."""
    overhead: int
    """Bytes that CUDA, or on a CPU Python with its libraries, takes beside tensors."""

    @property
    def fullest(self) -> Phase:
        """Return the phase that takes most."""
        return max(self.phases, key=lambda phase: self.tensors_of(phase))

    @property
    def tensors(self) -> int:
        """Return the bytes of tensors in the fullest phase."""
        return self.tensors_of(self.fullest)

    @property
    def needs(self) -> int:
        """Return the bytes that must be free for tensors, with what the allocator holds beside them."""
        return int(self.tensors * SLACK)

    @property
    def peak(self) -> int:
        """Return the bytes of the card, or of memory on a CPU, that the process takes in the fullest phase."""
        return self.needs + self.overhead

    def tensors_of(self, phase: Phase) -> int:
        """Return the bytes of tensors in a phase."""
        return sum(self.phases[phase].values())


def footprint(run: "RunConfig", counts: "Counts", *, width: int, photos: int, captions: int, device: str) -> Footprint:
    """Return the memory of ``width`` such runs side by side.

    Args:
        photos: how many are encoded, mirror images included.
        captions: how many different texts are encoded, prompts included.
        device: cpu or cuda.
    """
    standing = {
        "frozen weights": sum(counts.frozen.values()) + counts.layer,
        "adapters and optimiser": adapters_bytes(run, counts, width),
        "remembered photos and captions": remembered(run, counts, photos, captions),
        "judges": judges_bytes(run),
    }
    if device == "cpu":  # with a card these lie in the computer's own memory
        standing["states to be saved"] = width * (4 * counts.values + states_bytes(run, counts))
    if run.evaluate.enabled and run.evaluate.model:
        standing["the model that draws"] = sum(counts.frozen.values())
    step = max(counts.step.peak, step_bytes(run, counts))
    drawing = max(counts.forward.peak, counts.picture_out.peak)
    # the checkpoint that is drawn lies beside the adapters in training; on a CPU the tensors of its file do too
    drawn = (2 if device == "cpu" else 1) * 4 * width * counts.values
    phases = {
        Phase.ENCODING: standing | {"activations": max(counts.picture_in.peak, counts.text_in.peak)},
        Phase.TRAINING: standing | {"activations": step},
        Phase.DRAWING: standing | {"the checkpoint's adapters": drawn, "activations": drawing},
    }
    return Footprint(phases=phases, overhead=CPU_PROCESS if device == "cpu" else CUDA_CONTEXT)


def adapters_bytes(run: "RunConfig", counts: "Counts", width: int) -> int:
    """Return the bytes of values, gradients and optimiser states of all slots."""
    return width * (8 * counts.values + states_bytes(run, counts))


def states_bytes(run: "RunConfig", counts: "Counts") -> int:
    """Return the bytes of the optimiser's state of one slot."""
    if run.optim.name == "adafactor":  # one fp32 number per row and per column: about values / rank of them
        return 4 * counts.values // run.lora.rank
    return int(STATE_BYTES[run.optim.name] * counts.values)


def step_bytes(run: "RunConfig", counts: "Counts") -> int:
    """Return the bytes that live only during the optimiser's step."""
    if run.optim.name == "adafactor":  # it goes matrix by matrix
        return 10 * counts.matrix
    return int(STEP_BYTES[run.optim.name] * counts.values)


def remembered(run: "RunConfig", counts: "Counts", photos: int, captions: int) -> int:
    """Return the bytes of encoded photos and captions that stay on the device."""
    texts = 0 if run.lora.text_encoder else captions  # an encoder that learns gives other embeddings at every step
    return 0 if run.hardware.cache == "disk" else photos * counts.latents + texts * counts.text


def judges_bytes(run: "RunConfig") -> int:
    """Return the bytes of the networks that judge images."""
    if not run.evaluate.enabled:
        return 0
    eyes = {"face": [run.evaluate.face], "image": [run.evaluate.image]}.get(told_by(run), [])
    names = [run.evaluate.clip, *(name for name in eyes if name != "clip")]
    return sum(SCORER_BYTES.get(name, SCORER_BYTES["ViT-L-14"]) for name in names)


@dataclass(frozen=True, kw_only=True)
class Hint:
    """One thing to change if memory is short, in addition to those before it."""

    override: str
    needs: int
    """Bytes for tensors after the change, as in ``Footprint.needs``."""
    fits: bool


def advice(run: "RunConfig", footprint_of: Callable[["RunConfig"], Footprint], room: int) -> tuple[Hint, ...]:
    """Return what to change, one after the other, until the run fits into ``room`` bytes.

    Args:
        footprint_of: of any run on the same base model, photos and device.
    """
    hints: list[Hint] = []
    needs = footprint_of(run).needs
    for change in CHANGES:
        if needs <= room:
            break
        override, changed = change(run)
        less = footprint_of(changed).needs if changed != run else needs
        if less < needs:  # what saves nothing is left out
            run, needs = changed, less
            hints.append(Hint(override=override, needs=needs, fits=needs <= room))
    return tuple(hints)


def _to(key: str, value: object, *, unless: Callable[["RunConfig"], bool] = lambda _: False) -> Change:
    """Return the change of one key to a value, made to all runs but those that ``unless`` holds for."""
    room, name = key.split(".")

    def change(run: "RunConfig") -> tuple[str, "RunConfig"]:
        word = str(value).lower() if isinstance(value, bool) else value
        changed = dataclasses.replace(getattr(run, room), **{name: value})
        return f"{key}={word}", run if unless(run) else dataclasses.replace(run, **{room: changed})

    return change


def _smaller_pictures(run: "RunConfig") -> tuple[str, "RunConfig"]:
    """Change the side to three quarters, a multiple of 64 pixels."""
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
"""What people do when a card is full, the cheapest first."""


def require_room(needed: Footprint, free: int) -> None:
    """Raise UserError if a run cannot fit into ``free`` bytes of a card, before any time is spent on it."""
    if needed.tensors > free:  # not ``needs``: what may just fit is tried
        raise UserError(
            f"This run takes about {gib(needed.tensors)} on the card while {needed.fullest}, and {gib(free)} are free; "
            "'lorasweep plan' with the same words says what to change."
        )


def gib(size: float) -> str:
    """Return bytes in words, in units of 2^30 bytes, as cards are sold, or of 2^20."""
    return f"{size / GIB:.1f} GB" if size >= GIB / 10 else f"{size / 2**20:.1f} MB"
