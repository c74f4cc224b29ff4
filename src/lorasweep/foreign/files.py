"""Which files of another trainer's folder can be scored: whole, of the base model's family, and each only once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorasweep.data.hashes import file_sha256
from lorasweep.data.lora_folder import Placed, find_files, place
from lorasweep.errors import UserError
from lorasweep.records import Checkpoint

if TYPE_CHECKING:
    from lorasweep.models.family import Family
    from lorasweep.models.lora.layer import Adapter


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The files that are scored, and why the others are not."""

    placed: Placed
    # they stay where they are: a copy of 12 SDXL files would be 2.4 GB
    paths: Mapping[str, Path]
    """By each file's path within the folder."""
    sha256: Mapping[str, str]
    """Of each file's bytes."""
    skipped: tuple[str, ...]
    """A sentence for each file that was left out."""

    def checkpoints(self, trial: str) -> list[Checkpoint]:
        """Return the files in order, as checkpoints of the run ``trial``."""
        return [
            Checkpoint(trial=trial, step=f.step, epoch=f.epoch, path=self.paths[f.name], sha256=self.sha256[f.name])
            for f in self.placed.files
        ]


def read_headers(folder: Path) -> dict[str, dict[str, str]]:
    """Return each file's metadata by its path within the folder, in order; {} for a file that cannot be read."""
    from lorasweep.models.lora.header import read_header

    headers: dict[str, dict[str, str]] = {}
    for name in find_files(folder):
        try:
            headers[name] = read_header(folder / name)
        except UserError:  # `choose_files` reads the whole file and says what is wrong with it
            headers[name] = {}
    return headers


def choose_files(folder: Path, headers: Mapping[str, Mapping[str, str]], family: "Family") -> Chosen:
    """Return the files that can be read as a LoRA of ``family``; of files with equal weights only the first counts.

    Raises:
        UserError: no file can be scored.
    """
    from lorasweep.models.lora.file import read_lora

    known: dict[str, str] = {}
    skipped: list[str] = []
    for name in headers:
        try:
            weights = adapter_sha256(read_lora(folder / name, family))
        except UserError as error:
            skipped.append(f"{name} is skipped: {error}")
            continue
        # trainers write the last epoch twice, under its number and under the bare name
        twin = known.setdefault(weights, name)
        if twin != name:
            skipped.append(f"{name} is skipped: it holds the same weights as {twin}.")
    if not known:
        raise UserError("\n".join([f"{folder} holds no file that can be scored.", *skipped]))
    return Chosen(
        placed=place({name: headers[name] for name in known.values()}),
        paths={name: folder / name for name in known.values()},
        sha256={name: file_sha256(folder / name) for name in known.values()},
        skipped=tuple(skipped),
    )


def adapter_sha256(adapter: "Adapter") -> str:
    """Return a hash that is equal for equal weights, whatever the file's layout, alpha and header are."""
    digest = hashlib.sha256()
    for module, weights in sorted(adapter.items()):
        # alpha over rank is all that alpha does, so files that spell it differently are the same
        digest.update(f"{module} {weights.alpha / weights.rank!r} {tuple(weights.down.shape)}".encode())
        digest.update(weights.down.contiguous().numpy().tobytes())
        digest.update(weights.up.contiguous().numpy().tobytes())
    return digest.hexdigest()
