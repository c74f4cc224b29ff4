"""transformers' Adafactor, opened here because this room is transformers' one door."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from transformers.optimization import Adafactor


def adafactor(groups: Sequence[dict[str, Any]], weight_decay: float) -> Optimizer:
    """Adafactor at a learning rate that is set from outside: no relative steps, no scaling by the weights' size.

    A LoRA's up matrix starts at zero, where scaling by its size would hold it for ever.
    """
    return Adafactor(
        list(groups), weight_decay=weight_decay, scale_parameter=False, relative_step=False, warmup_init=False
    )
