"""A checkpoint in, its sheet of samples out: fixed prompts x fixed seeds from the same initial noise every time.

Drawing works on its own copy of the layers over the shared frozen weights and takes no random number that training
takes, so that it cannot disturb a training that goes on.
"""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from lorasweep.data.atomic import DAY, sweep_temporaries, write_atomically
from lorasweep.models.autoencoder import latent_shape
from lorasweep.models.family import Family, Text, model_hash
from lorasweep.models.lora.file import read_lora
from lorasweep.models.lora.layer import Adapter, AdapterBank, adapted, part_of
from lorasweep.records import Checkpoint, Prompt, Sample, SampleSet, Step
from lorasweep.train.cache import TextCache
from lorasweep.train.randomness import initial_noise, seed_for

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig, SampleConfig


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What is drawn at every checkpoint."""

    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    look: "SampleConfig"
    """Sampler, steps, guidance, clip skip, strength, size and images a batch."""
    resolution: int
    """Pixels a side if ``look`` names no width or height."""
    fresh: bool = False

    @classmethod
    def of(cls, run: "RunConfig", prompts: tuple[Prompt, ...], *, fresh: bool = False) -> "Sheet":
        """Return the sheet that a run asks for, on its standing or on its fresh seeds."""
        seeds = tuple(run.sample.fresh_seeds if fresh else run.sample.seeds)
        return cls(prompts=prompts, seeds=seeds, look=run.sample, resolution=run.model.resolution, fresh=fresh)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.look.width or self.resolution, self.look.height or self.resolution

    @property
    def cells(self) -> list[tuple[Prompt, int]]:
        """Prompt-major."""
        return [(prompt, seed) for prompt in self.prompts for seed in self.seeds]


def draw_checkpoint(
    family: Family,
    checkpoint: Checkpoint,
    sheet: Sheet,
    folder: Path,
    base_cache: Path | None = None,
    texts: TextCache | None = None,
) -> SampleSet:
    """Draw one checkpoint's sheet into ``folder``/step-000100/<prompt>-<seed>.png.

    Args:
        family: the bare base model.
        checkpoint: step 0 without a file draws the base model.
        base_cache: where sheets of base models are kept under what they depend on; a run gets links to them.
        texts: prompt embeddings of the bare base model to use again; ignored if the LoRA changes the text encoder.
    """
    return draw_checkpoints(family, [checkpoint], sheet, [folder], base_cache, texts)[0]


def draw_checkpoints(
    family: Family,
    checkpoints: Sequence[Checkpoint],
    sheet: Sheet,
    folders: Sequence[Path],
    base_cache: Path | None = None,
    texts: TextCache | None = None,
) -> list[SampleSet]:
    """Draw the sheets of several checkpoints, of one run or of several, side by side in the same batches.

    Images that are there already are kept.
    """
    steps = [folder / f"step-{c.step:06d}" for c, folder in zip(checkpoints, folders, strict=True)]
    if base_cache is not None and all(checkpoint.path is None for checkpoint in checkpoints):
        shared = base_cache / _base_key(family, sheet)
        # other runs draw there at the same time: what is half-written may be theirs
        _draw_into(family, [{}], sheet, [shared], texts, older_than=DAY)
        for step in steps:
            _link_sheet(shared, step, sheet)
    else:
        # from the file that was written: what a user will load, its precision and alpha included
        adapters = [read_lora(c.path, family) if c.path else {} for c in checkpoints]
        _draw_into(family, adapters, sheet, steps, texts)
    return [
        SampleSet(trial=c.trial, step=c.step, samples=_samples(step, sheet), fresh=sheet.fresh)
        for c, step in zip(checkpoints, steps, strict=True)
    ]


def draw_adapter(
    family: Family, adapter: Adapter, taken: Step, sheet: Sheet, folder: Path, texts: TextCache | None = None
) -> SampleSet:
    """Draw an adapter in memory as it is after the step ``taken``, to be looked at only: there is no file of it."""
    target = folder / f"step-{taken.step:06d}"
    _draw_into(family, [adapter], sheet, [target], texts)
    return SampleSet(trial=taken.trial, step=taken.step, samples=_samples(target, sheet), fresh=sheet.fresh)


def picture_name(prompt: Prompt, seed: int) -> str:
    """Return the file name of one cell of the sheet."""
    return f"{prompt.key}-{seed}.png"


def _draw_into(
    family: Family,
    adapters: Sequence[Adapter],
    sheet: Sheet,
    folders: Sequence[Path],
    texts: TextCache | None,
    older_than: float = 0.0,
) -> None:
    """Draw what is missing; sweep away half-written files in ``folders`` that are ``older_than`` seconds."""
    for folder in folders:
        sweep_temporaries(folder, older_than)
    # sample.batch_size images at once, however many adapters they are of: memory is planned for that many
    size = max(1, sheet.look.batch_size // len(adapters))
    chunks = [sheet.cells[start : start + size] for start in range(0, len(sheet.cells), size)]
    # a batch with a missing image is drawn whole: rounding depends on the batch, and what an image looks like must not
    # depend on where an earlier attempt was cut off
    missing = [
        chunk
        for chunk in chunks
        if any(not (folder / picture_name(*cell)).is_file() for folder in folders for cell in chunk)
    ]
    if not missing:
        return
    bank = AdapterBank(adapters, family.device, strength=sheet.look.strength)
    # an adapter without weights is the base model itself
    drawn = adapted(family, bank) if bank.names else family
    shared = None if any(part_of(name) == "text" for name in bank.names) else texts or TextCache(family)
    for chunk in missing:
        pictures = _draw_chunk(drawn, chunk, sheet, shared, len(adapters))
        for folder, group in zip(folders, pictures.chunk(len(adapters)), strict=True):
            _write_chunk(folder, chunk, group)


@torch.no_grad()
def _draw_chunk(
    family: Family, chunk: Sequence[tuple[Prompt, int]], sheet: Sheet, texts: TextCache | None, copies: int
) -> Tensor:
    """[copies * len(chunk), H, W, 3], slot-major; each slot draws the same cells."""
    return family.draw(*drawing_inputs(family, chunk, sheet, texts, copies))


def drawing_inputs(
    family: Family, chunk: Sequence[tuple[Prompt, int]], sheet: Sheet, texts: TextCache | None, copies: int
) -> tuple[Text, Text, Tensor, "SampleConfig", list[int]]:
    """Return what ``Family.draw`` takes to draw some cells of a sheet, ``copies`` times over."""
    encode = texts or family.encode_prompts
    shape = latent_shape(family.vae, *sheet.size)
    noise = torch.stack([initial_noise(prompt.key, seed, shape) for prompt, seed in chunk])
    return (
        encode([prompt.text for prompt, _ in chunk] * copies, sheet.look.clip_skip),
        encode([prompt.negative for prompt, _ in chunk] * copies, sheet.look.clip_skip),
        noise.repeat(copies, 1, 1, 1),
        sheet.look,
        [seed_for(seed, f"sampler/{prompt.key}") for prompt, seed in chunk] * copies,
    )


def _write_chunk(folder: Path, chunk: Sequence[tuple[Prompt, int]], pictures: Tensor) -> None:
    for (prompt, seed), picture in zip(chunk, pictures, strict=True):
        path = folder / picture_name(prompt, seed)
        if not path.is_file():
            write_atomically(path, png_bytes(picture))


def png_bytes(picture: Tensor) -> bytes:
    """[H, W, 3] uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture.numpy()).save(buffer, format="PNG")
    return buffer.getvalue()


def _base_key(family: Family, sheet: Sheet) -> str:
    """Name a sheet of the base model by all that its images depend on; strength is not among it, without a LoRA."""
    look = sheet.look
    words = [(prompt.key, prompt.text, prompt.negative) for prompt in sheet.prompts]
    settings = (look.sampler, look.steps, look.guidance, look.clip_skip, look.batch_size)
    place = (str(family.device.type), str(family.dtype))
    facts = [model_hash(family), words, sheet.seeds, settings, sheet.size, place]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _link_sheet(source: Path, target: Path, sheet: Sheet) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for cell in sheet.cells:
        path = target / picture_name(*cell)
        if path.is_file():
            continue
        try:
            os.link(source / path.name, path)
        except OSError:  # another file system, or one without links
            write_atomically(path, (source / path.name).read_bytes())


def _samples(folder: Path, sheet: Sheet) -> tuple[Sample, ...]:
    samples = []
    for prompt, seed in sheet.cells:
        path = folder / picture_name(prompt, seed)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        samples.append(Sample(prompt=prompt.key, seed=seed, path=path, sha256=sha256))
    return tuple(samples)
