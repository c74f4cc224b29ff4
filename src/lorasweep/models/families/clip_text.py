"""CLIP's text encoders: prompts to the hidden states that a denoiser reads."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lorasweep.errors import UserError


def token_ids(tokenizer: Any, texts: Sequence[str], length: int | None = None) -> Tensor:
    """Return [N, tokens], padded and cut to the tokenizer's own length, or to ``length`` if that is shorter."""
    longest = min(tokenizer.model_max_length, length or tokenizer.model_max_length)
    rows = tokenizer(list(texts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt")
    return rows.input_ids


def skipped_states(hidden_states: Sequence[Tensor], skip: int, unread: int = 0) -> Tensor:
    """Return [N, tokens, width] hidden states without the last ``skip`` layers and without the last normalisation.

    Args:
        unread: layers at the end that the family never reads; ``skip`` counts from there.

    Raises:
        UserError: the encoder has fewer layers.
    """
    if skip + unread >= len(hidden_states):
        layers = len(hidden_states) - 1 - unread
        raise UserError(f"sample.clip_skip is {skip}; the text encoder has {layers} layers.")
    return hidden_states[-(skip + unread + 1)]


def final_norm(encoder: nn.Module) -> nn.Module:
    """Return the last normalisation of a CLIP text encoder."""
    # transformers 5.6 dropped the level text_model of CLIPTextModel
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    assert isinstance(norm, nn.Module)
    return norm
