"""Drawings in, booru tags out: SmilingWolf's WD taggers, through timm or onnxruntime."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lorasweep.captioning.captioners import WEIGHTS, Captioner, require_files, unreadable
from lorasweep.data.hashes import file_sha256
from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.records import Floats

TAGS = "selected_tags.csv"
ONNX = "model.onnx"
HUB_FILES = ("config.json", WEIGHTS, TAGS)
ONNX_HUB_FILES = (ONNX, TAGS)
GENERAL, CHARACTER = 0, 4
"""Categories of booru tags in ``TAGS``; the others (9 is the rating) are never written."""
WHITE = 255
WHAT = f"a WD tagger folder with {TAGS}, config.json and {WEIGHTS}, or with {TAGS} and {ONNX}"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which tags are written, and how."""

    threshold: float = 0.35
    """Probability, 0 to 1, from which a general tag is written."""
    character_threshold: float | None = None
    """The same for names of known characters; None writes none."""
    escape: bool = False
    """Whether brackets get a backslash."""


@dataclass(frozen=True)
class Tag:
    """One thing that a tagger recognises."""

    name: str
    category: int


def read_tags(folder: Path) -> list[Tag]:
    """Return the tags of a model folder, in the order of the model's outputs.

    Raises:
        UserError: ``selected_tags.csv`` cannot be read or is empty.
    """
    try:
        with (folder / TAGS).open(encoding="utf-8", newline="") as file:
            tags = [Tag(row["name"], int(row["category"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{folder / TAGS} cannot be read ({error}); it must be a table with the columns name and category."
        ) from error
    if not tags:
        raise UserError(f"{folder / TAGS} holds no tag; it must be a table with the columns name and category.")
    return tags


def choose_tags(chances: Floats, tags: Sequence[Tag], rules: Rules) -> str:
    """Return a caption such as ``1girl, long hair``: the likeliest tags first, names of characters last.

    Args:
        chances: [T] probabilities, 0 to 1, in the order of ``tags``.
    """
    floors = {GENERAL: rules.threshold, CHARACTER: rules.character_threshold}
    chosen: list[str] = []
    for category, floor in floors.items():
        rows = [row for row, tag in enumerate(tags) if tag.category == category]
        if floor is not None:
            rows = sorted((row for row in rows if chances[row] >= floor), key=lambda row: -chances[row])
            chosen += [spelled(tags[row].name, escape=rules.escape) for row in rows]
    return ", ".join(chosen)


def spelled(name: str, *, escape: bool = False) -> str:
    """Return ``long_hair`` as ``long hair``, and faces such as ``^_^`` as they are."""
    # a face has no two letters in a row
    text = name.replace("_", " ") if re.search(r"[^\W\d_]{2}", name) else name
    return re.sub(r"([()])", r"\\\1", text) if escape else text


def square(picture: Pixels, side: int) -> Pixels:
    """Return [side, side, 3]: the whole image in the middle of a white square, resized to ``side`` pixels."""
    height, width = picture.shape[:2]
    full = max(height, width)
    ground = Image.new("RGB", (full, full), (WHITE, WHITE, WHITE))
    ground.paste(Image.fromarray(picture), ((full - width) // 2, (full - height) // 2))
    return np.asarray(ground.resize((side, side), Image.Resampling.BICUBIC))


def open_tagger(folder: Path, rules: Rules, device: str = "cpu") -> Captioner:
    """Return the tagger of a folder: by timm if it holds safetensors, else by ONNX.

    Raises:
        UserError: it holds neither, or cannot be read.
    """
    if (folder / ONNX).is_file() and not (folder / WEIGHTS).is_file():
        return OnnxTagger(folder, rules)
    return TimmTagger(folder, rules, device)


class TimmTagger:
    """A WD tagger of the third generation, whose networks are timm's."""

    def __init__(self, folder: Path, rules: Rules, device: str = "cpu") -> None:
        """Load the model in fp32. Raise UserError if ``folder`` lacks a file or holds something else."""
        import timm
        from safetensors.torch import load_file

        require_files(folder, HUB_FILES, WHAT)
        self._tags, self._rules, self._device = read_tags(folder), rules, device
        try:
            # `local-dir:` with pretrained=False reads config.json only; weights are read below, from safetensors alone
            model: Any = timm.create_model(f"local-dir:{folder}", pretrained=False)
            model.load_state_dict(load_file(folder / WEIGHTS))
            shape, mean, std = (model.pretrained_cfg[key] for key in ("input_size", "mean", "std"))
            self._side = int(shape[-1])
            self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
        except Exception as error:  # timm raises RuntimeError, TypeError, KeyError, AssertionError, JSON's own …
            raise unreadable(folder, error, WHAT) from error
        if model.num_classes != len(self._tags):
            raise UserError(
                f"model is {str(folder)!r}, which has {model.num_classes} outputs, while its {TAGS} has "
                f"{len(self._tags)} tags; both must be of one model."
            )
        self._model = model.eval().requires_grad_(False).to(device)
        self.sha256 = file_sha256(folder / WEIGHTS)
        self.settings: Mapping[str, Any] = asdict(rules)

    @torch.no_grad()
    def caption(self, pictures: Iterable[Pixels]) -> list[str]:
        """Return the tags of each image, [H, W, 3] uint8 of any size."""
        squares = [square(picture, self._side) for picture in pictures]
        if not squares:
            return []
        values = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
        values = ((values - self._mean) / self._std)[:, [2, 1, 0]]  # these networks were trained on BGR
        chances = self._model(values.to(self._device)).sigmoid().double().cpu().numpy()
        return [choose_tags(row, self._tags, self._rules) for row in chances]


class OnnxTagger:
    """A WD tagger of any generation as ONNX, which reads 0 to 255 and returns probabilities."""

    def __init__(self, folder: Path, rules: Rules) -> None:
        """Load the model. Raise UserError if ``folder`` lacks a file, or onnxruntime is not installed."""
        require_files(folder, ONNX_HUB_FILES, WHAT)
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(
                f"model is {str(folder)!r}, an ONNX tagger, for which onnxruntime is not installed; "
                f"run pip install onnxruntime, or give a folder with {WEIGHTS}."
            ) from error
        self._tags, self._rules = read_tags(folder), rules
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            self._session: Any = onnxruntime.InferenceSession(str(folder / ONNX), providers=providers)
            self._input = self._session.get_inputs()[0].name
            self._side = int(self._session.get_inputs()[0].shape[1])
        except Exception as error:  # onnxruntime has its own errors; an unfixed side is a word, which int() refuses
            raise unreadable(folder, error, WHAT) from error
        self.sha256 = file_sha256(folder / ONNX)
        self.settings: Mapping[str, Any] = asdict(rules)

    def caption(self, pictures: Iterable[Pixels]) -> list[str]:
        """Return the tags of each image, [H, W, 3] uint8 of any size."""
        captions: list[str] = []
        for picture in pictures:  # one at a time, since some of these files take no batch
            values = square(picture, self._side)[None, :, :, ::-1].astype(np.float32)
            (chances,) = self._session.run(None, {self._input: np.ascontiguousarray(values)})[0]
            if len(chances) != len(self._tags):
                raise UserError(
                    f"{ONNX} has {len(chances)} outputs, while its {TAGS} has {len(self._tags)} tags; both must be of "
                    "one model."
                )
            captions.append(choose_tags(np.asarray(chances, dtype=np.float64), self._tags, self._rules))
        return captions
