"""What a training starts from: PEFT's fresh adapter, or a LoRA file that somebody trained before."""

from typing import TYPE_CHECKING

from lorasweep.errors import UserError
from lorasweep.models.families.family import Family
from lorasweep.models.lora.file import init_file, read_lora
from lorasweep.models.lora.layer import Adapter, part_of
from lorasweep.train.randomness import seed_for

if TYPE_CHECKING:
    from lorasweep.config.schema import RunConfig


def starting_adapter(config: "RunConfig", family: Family) -> Adapter:
    """The adapter at step 0: ``lora.init``, or a fresh one that is a function of the seed.

    Raises:
        UserError: the file is none of this base model, or changes a text encoder that is not to be trained.
    """
    if config.lora.init is None:
        return family.initial_adapter(config.lora, seed_for(config.seed, "adapter"))
    adapter = read_lora(init_file(config.lora.init), family)
    if not config.lora.text_encoder and any(part_of(name) == "text" for name in adapter):
        raise UserError(
            f"lora.init is {config.lora.init!r}, which changes the text encoder too; train it on with "
            "lora.text_encoder=true."
        )
    return adapter


def mean_scale(adapter: Adapter) -> float:
    """Mean of alpha / rank over the modules, which is what makes learning rates comparable between trainers."""
    return sum(weights.alpha / weights.rank for weights in adapter.values()) / len(adapter)
