"""What a key of a LoRA file says: which part of which module its tensor is."""

import re
from typing import NamedTuple

from lorasweep.errors import UserError

DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
ENDS = {
    ".lora_down.weight": DOWN,
    ".lora_up.weight": UP,
    ".lora_A.weight": DOWN,
    ".lora_B.weight": UP,
    ".lora_A.default.weight": DOWN,
    ".lora_B.default.weight": UP,
    ".lora.down.weight": DOWN,
    ".lora.up.weight": UP,
    ".lora_linear_layer.down.weight": DOWN,
    ".lora_linear_layer.up.weight": UP,
    ".lora_linear_layer.alpha": ALPHA,
    ".lora.alpha": ALPHA,
    ".lora_alpha": ALPHA,
    ".alpha": ALPHA,
}
"""How the keys of one module end; of two that fit, the longer one stands first."""
PROCESSOR = re.compile(r"(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(?:(down|up)\.weight|alpha)")
"""How diffusers wrote keys before it used PEFT."""
OTHER_METHODS = {
    r"\.(dora_scale|lora_magnitude_vector|magnitude)\b": "DoRA",
    r"\.hada_": "LoHa",
    r"\.lokr_": "LoKr",
    r"\.lora_mid\.": "a LoCon with a Tucker core",
    r"\.(oft|boft)_": "OFT",
    r"\.(diff|diff_b)$": "a full difference of weights",
    r"\.(w|b)_norm$": "a change of a norm",
    r"\.(lora_(down|up|A|B)|lora\.(down|up))(\.default)?\.bias$": "a LoRA with biases",
    r"\.\w+_lora\d?\.(down|up)\.": "XLabs' layout",
    r"^bundle_emb\.|^(clip_[lg]|emb_params)$": "an embedding, without which the LoRA is half",
    r"\.(weight|bias|scale)$": "a weight of a whole model",
}
"""Regular expressions for keys of other methods."""


class Key(NamedTuple):
    """A key taken apart."""

    stem: str
    """What the file calls the module."""
    part: str
    """DOWN, UP or ALPHA."""


def split_key(file: str, key: str) -> Key:
    """Return a key of a LoRA file as module and part.

    Args:
        file: its name, for the sentence.

    Raises:
        UserError: it belongs to another method than plain LoRA and LoCon.
    """
    bare = key.replace("base_model.model.", "")  # PEFT's wrapper, before or behind the component
    for end, part in ENDS.items():
        if bare.endswith(end):
            return Key(bare.removesuffix(end), part)
    if match := PROCESSOR.fullmatch(bare):
        path, letter, way = match[1], match[2], match[3]
        clip = "self_attn" in path
        layer = f"{letter}_proj" if clip else "to_out.0" if letter == "out" else f"to_{letter}"
        return Key(f"{path}.{layer}", {"down": DOWN, "up": UP, None: ALPHA}[way])
    method = next((method for sign, method in OTHER_METHODS.items() if re.search(sign, bare)), None)
    if method:
        raise UserError(f"{file} holds {key}: it is {method}; only plain LoRA and LoCon files can be read.")
    raise UserError(f"{file} holds {key}, which is no part of a LoRA that is known here.")


def other_half(key: str) -> str | None:
    """Return the key of up for that of down, and back; None for a key that is neither."""
    twins = {"lora_A": "lora_B", "lora_B": "lora_A", "down": "up", "up": "down"}
    twin = re.sub(r"(lora_A|lora_B|down|up)(?=(\.default)?\.weight$)", lambda match: twins[match[1]], key)
    return twin if twin != key else None
