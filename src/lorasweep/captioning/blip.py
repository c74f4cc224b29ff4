"""BLIP (Li et al. 2022, arXiv 2201.12086): photos in, sentences out, as Kohya's utility writes them."""

from collections.abc import Iterable, Mapping
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lorasweep.captioning.captioners import WEIGHTS, require_files, unreadable
from lorasweep.data.hashes import file_sha256
from lorasweep.data.pictures import Pixels
from lorasweep.vision.embedder import require_whole

FILES = (
    "config.json",
    "preprocessor_config.json or processor_config.json",
    WEIGHTS,
    "vocab.txt or tokenizer.json",
)
"""What a model folder must hold."""
HUB_FILES = ("*.json", "*.txt", WEIGHTS)
"""What is fetched from the hub."""
INPUTS = ("pixel_values", "input_ids", "attention_mask")

# Every caption began like this in BLIP's training. Its own code puts this first and cuts it off, as Kohya's utility
# does. Without it the large model is said to begin with words such as 'arafed'.
PROMPT = "a picture of"
# The defaults of Kohya's BLIP utility: beam search is on, with one beam, so that its top_p of 0.9 has no effect.
GENERATION: Mapping[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "max_length": 75,
    "min_length": 5,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}
"""How words are chosen; lengths are in tokens and include the prompt."""


class Blip:
    """Writes one sentence about each image, such as 'a man standing on a beach'."""

    WHAT = "a BLIP captioning folder for transformers with safetensors weights"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model in fp32. Raise UserError if ``folder`` lacks a file or holds something else."""
        from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor
        from transformers.utils import logging

        require_files(folder, FILES, self.WHAT)
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
        """Return one caption for each image, [H, W, 3] uint8 of any size."""
        looks = map(Image.fromarray, pictures)
        parts = [self._processor(images=look, text=PROMPT, return_tensors="pt") for look in looks]
        if not parts:
            return []
        given = {key: torch.cat([part[key] for part in parts]).to(self._device) for key in INPUTS}
        begun = given["input_ids"].shape[1] - 1  # the prompt's tokens, without the one that would end it
        tokens = self._model.generate(**given, **GENERATION)
        texts = self._processor.tokenizer.batch_decode(tokens[:, begun:], skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]
