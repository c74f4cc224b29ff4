"""Pictures in, captions out: which captioner, where its model lies, and BLIP."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from logging import CRITICAL
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from lorasweep.data.hashes import file_sha256
from lorasweep.data.hub import HUB_ID, fetch_folder
from lorasweep.data.pictures import Pixels
from lorasweep.errors import UserError
from lorasweep.vision.embedder import first_sentence, require_whole

WEIGHTS = "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.pb")
BLIP_FILES = (
    "config.json",
    "preprocessor_config.json or processor_config.json",
    WEIGHTS,
    "vocab.txt or tokenizer.json",
)
BLIP_HUB_FILES = ("*.json", "*.txt", WEIGHTS)
INPUTS = ("pixel_values", "input_ids", "attention_mask")

DEFAULTS = {
    "blip": ("Salesforce/blip-image-captioning-large", "2227ac38c9f16105cb0412e7cab4759978a8fd90"),
    "tagger": ("SmilingWolf/wd-vit-tagger-v3", "7f6b584d0bd3f55c4531f14ba3d4761b2bccdc0f"),
}
"""Hub id and commit by kind of captioner. BLIP is the large one: it is what Kohya's utility runs, and the hub has the
smaller one as a pickle only."""

PROMPT = "a picture of"
"""How BLIP's captions began when it learned to write them; its own code puts this first and cuts it off, as Kohya's
utility does. Without it the large model is said to begin with words such as 'arafed'."""
GENERATION: Mapping[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "max_length": 75,
    "min_length": 5,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}
"""Kohya's BLIP utility as its window stands: beam search is on, with one beam, so that its top_p of 0.9 does nothing.
Lengths are in tokens and include the prompt."""


class Captioner(Protocol):
    """Writes one line about each picture, the same line every time."""

    sha256: str
    """Of the weights."""
    settings: Mapping[str, Any]
    """What else decides the words."""

    def caption(self, pictures: Iterable[Pixels]) -> list[str]:
        """One caption, without a trigger, for each of ``pictures``, which are [H, W, 3] uint8 of any sizes.

        They are taken one by one, so that a generator holds one photo in memory, and looked at in one batch.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CaptionerChoice:
    """Which captioner, and what it is told."""

    kind: str = "blip"
    """blip writes sentences of photos; tagger writes booru tags of drawings."""
    model: str | None = None
    """A local folder or a hub id; None is the kind's own in ``DEFAULTS``."""
    revision: str | None = None
    """The commit of a hub id."""
    offline: bool = False
    device: str = "cpu"
    threshold: float = 0.35
    """Probability from which a general tag is written."""
    character_threshold: float | None = None
    """The same for names of known characters; None writes none, since the trigger is the name."""
    escape: bool = False
    """Whether brackets in tags get a backslash, as prompts of A1111 and ComfyUI want them."""

    def pinned(self) -> "CaptionerChoice":
        """The same with the kind's own model and commit where none is named."""
        model, revision = DEFAULTS[self.kind]
        if self.model is None:
            return replace(self, model=model, revision=self.revision or revision)
        return replace(self, revision=self.revision or revision) if self.model == model else self


def open_captioner(choice: CaptionerChoice) -> Captioner:
    """The captioner, ready to look.

    Raises:
        UserError: its model is not there, is a pickle, lacks a file or cannot be read.
        TryAgainError: the hub does not answer.
    """
    if choice.kind == "blip":
        return Blip(model_folder(choice, BLIP_HUB_FILES), choice.device)
    from lorasweep.captioning import taggers

    folder = model_folder(choice, taggers.HUB_FILES)
    if not (folder / WEIGHTS).is_file() and not Path(str(choice.pinned().model)).expanduser().exists():
        folder = model_folder(choice, taggers.ONNX_HUB_FILES)
    rules = taggers.Rules(
        threshold=choice.threshold, character_threshold=choice.character_threshold, escape=choice.escape
    )
    return taggers.open_tagger(folder, rules, choice.device)


def model_folder(choice: CaptionerChoice, patterns: Sequence[str]) -> Path:
    """Where the model lies on this disk, fetched from the hub where it is an id. Raises as ``open_captioner``."""
    choice = choice.pinned()
    name = str(choice.model)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        what = "a pickle, which may run code" if any(path.match(ending) for ending in PICKLES) else "a file"
        raise UserError(
            f"model is {name!r}, {what}; give a folder that holds {WEIGHTS}, or a hub id such as "
            f"{DEFAULTS[choice.kind][0]}."
        )
    if not HUB_ID.fullmatch(name):
        raise UserError(
            f"model is {name!r}, which is no folder here; give one, or a hub id such as {DEFAULTS[choice.kind][0]}."
        )
    return fetch_folder(name, choice.revision, patterns, key="model", offline=choice.offline)


def require_files(folder: Path, names: Sequence[str], what: str) -> None:
    """Raise UserError where a model folder lacks one of the files; ``a or b`` asks for either."""
    missing = [name for name in names if not any((folder / either).is_file() for either in name.split(" or "))]
    if not missing:
        return
    pickles = sorted(path.name for ending in PICKLES for path in folder.glob(ending))
    if WEIGHTS in missing and pickles:
        raise UserError(
            f"model is {str(folder)!r}, whose weights are {pickles[0]}, which is not read since it may run code; "
            f"it must hold {WEIGHTS}."
        )
    raise UserError(f"model is {str(folder)!r}, which lacks {', '.join(missing)}; it must be {what}.")


def unreadable(folder: Path, error: Exception, what: str) -> UserError:
    """The sentence for a model that cannot be loaded; to be raised ``from`` the error."""
    return UserError(f"model is {str(folder)!r}, which cannot be read ({first_sentence(error)}); it must be {what}.")


class Blip:
    """BLIP (Li et al. 2022, arXiv 2201.12086): a sentence a picture, such as 'a man standing on a beach'."""

    WHAT = "a BLIP captioning folder for transformers with safetensors weights"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Raises UserError where ``folder`` lacks a file or holds something else."""
        from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor
        from transformers.utils import logging

        require_files(folder, BLIP_FILES, self.WHAT)
        logging.disable_progress_bar()
        logging.set_verbosity(CRITICAL)  # what it would say is in our one sentence
        try:
            tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
            looking = BlipImageProcessor.from_pretrained(folder, local_files_only=True)
            reading: Any = BlipForConditionalGeneration.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, local_files_only=True
            )
            model, found = reading
            require_whole(model, found)
        except Exception as error:  # OSError, ValueError, KeyError, SafetensorError, JSON and tokenizers' own
            raise unreadable(folder, error, self.WHAT) from error
        self._processor: Any = BlipProcessor(looking, tokenizer)
        self._model, self._device = model.eval().requires_grad_(False).to(device), device
        self.sha256 = file_sha256(folder / WEIGHTS)
        self.settings: Mapping[str, Any] = {"prompt": PROMPT, **GENERATION}

    @torch.no_grad()
    def caption(self, pictures: Iterable[Pixels]) -> list[str]:
        looks = map(Image.fromarray, pictures)
        parts = [self._processor(images=look, text=PROMPT, return_tensors="pt") for look in looks]
        if not parts:
            return []
        given = {key: torch.cat([part[key] for part in parts]).to(self._device) for key in INPUTS}
        begun = given["input_ids"].shape[1] - 1  # the prompt less the token that would end it
        tokens = self._model.generate(**given, **GENERATION)
        texts = self._processor.tokenizer.batch_decode(tokens[:, begun:], skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]
