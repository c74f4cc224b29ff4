"""Carry Kohya's LoRA, optimiser, schedule and loss over."""

import ast
import re
from collections.abc import Mapping
from typing import Any, cast

from lorasweep.errors import UserError
from lorasweep.kohya.draft import Draft, Status

OPTIMIZERS: Mapping[str, tuple[str, float, str]] = {
    "adamw": ("adamw", 0.01, ""),
    "adamw8bit": ("adamw8bit", 0.01, ""),
    "pagedadamw": ("adamw", 0.01, ""),
    "pagedadamw32bit": ("adamw", 0.01, ""),
    "pagedadamw8bit": ("adamw8bit", 0.01, ""),
    "prodigy": ("prodigy", 0.0, ""),
    "adafactor": ("adafactor", 0.0, ""),
}
"""sd-scripts' optimisers that are here too, to our name and their default weight decay."""
ALIKE = {"dadapt": "prodigy", "prodigy": "prodigy"}
"""First letters of optimisers that find their own step size, so that a rate of 1 means much the same, to ours."""
ALWAYS: Mapping[str, Mapping[str, bool | float]] = {
    "prodigy": {"decouple": True, "use_bias_correction": True, "safeguard_warmup": True, "d_coef": 1.0},
    "adafactor": {"relative_step": False, "scale_parameter": False, "warmup_init": False},
}
"""Arguments that an optimiser always has here."""
LIKE_THERE = frozenset({"decouple", "d_coef", "warmup_init"})
"""Those of them that are the optimiser's own defaults too."""
SCHEDULES: Mapping[str, tuple[str, str]] = {
    "constant": ("constant", ""),
    "constant_with_warmup": ("constant", ""),
    "cosine": ("cosine", ""),
    "cosine_with_restarts": ("cosine_restarts", ""),
    "linear": ("linear", ""),
    "polynomial": ("linear", "it ends at 0, not at 1e-7"),
    "cosine_with_min_lr": ("cosine", "it falls to zero"),
    "warmup_stable_decay": ("wsd", "it falls in a straight line, not as a cosine"),
    "adafactor": ("constant", "Adafactor trains at optim.lr here"),
}
"""sd-scripts' schedules to ours, and what differs; '' if nothing does."""
PLAIN_LORA = ("networks.lora", "networks.lora_flux")
LIKE_LORA = {
    "networks.lora_fa": "both halves of the LoRA learn",
    "networks.dylora": "the LoRA has one rank",
    "locon": "LyCORIS' preset may choose some layers more or less",
    "lora": "LyCORIS' preset may choose some layers more or less",
}
"""Network modules, and LyCORIS' algorithms, that are a plain LoRA, to what differs."""


def carry_lora(draft: Draft) -> None:
    """Carry rank, alpha and layers; alpha / rank stays the same, and with it the effective rate lr * alpha / rank."""
    rank = draft.whole("network_dim")
    alpha = draft.number("network_alpha")
    draft.carry("network_dim", "lora.rank", rank)
    draft.carry("network_alpha", "lora.alpha", alpha or float(rank), "" if alpha else "0 means the rank there")
    _carry_layers(draft, rank, alpha or float(rank))
    dropped = draft.number("network_dropout")
    if dropped:
        draft.near("network_dropout", "lora.dropout", dropped, "of the layer's input, not of the rank's numbers")
    else:
        draft.sets["lora.dropout"] = 0.0
    if init := draft.text("network_weights"):
        draft.carry("network_weights", "lora.init", init, "its ranks and alphas count")
        draft.note("dim_from_weights", Status.CARRIED, "always so with lora.init")


def _carry_layers(draft: Draft, rank: int, alpha: float) -> None:
    module, algorithm = draft.text("network_module") or PLAIN_LORA[0], draft.text("algo") or "lora"
    conv = draft.whole("conv_dim") if draft.family != "flux" else 0  # FLUX has no convolutions
    targets = "convolution" if conv else "linear"
    kind = algorithm if module.startswith("lycoris") else module
    if module in PLAIN_LORA:
        draft.carry("network_module", "lora.targets", targets)
    elif kind in LIKE_LORA:
        draft.near("network_module", "lora.targets", targets, LIKE_LORA[kind])
    else:
        draft.sets["lora.targets"] = targets
        draft.note(
            "network_module",
            Status.LOST,
            f"{kind} is not trained here; a plain LoRA of that rank is (lora.targets={targets})",
        )
    if not conv:
        return
    conv_alpha = draft.number("conv_alpha") if "conv_alpha" in draft.said else 1.0
    if (conv, conv_alpha) == (rank, alpha):
        draft.note("conv_dim", Status.CARRIED, "lora.targets=convolution")
        draft.note("conv_alpha", Status.CARRIED, "lora.alpha is theirs too")
    else:
        draft.note("conv_dim", Status.NEAR, f"lora.targets=convolution: convolutions have lora.rank={rank} too")
        draft.note("conv_alpha", Status.NEAR, f"convolutions have lora.alpha={alpha:g} too")


def carry_rates(draft: Draft) -> None:
    """Carry the learning rates of denoiser and text encoder."""
    # sd-scripts puts unet_lr above learning_rate
    own = "unet_lr" if draft.value("unet_lr") is not None else "learning_rate"
    rate = draft.number(own)
    if rate <= 0:
        raise UserError(f"{draft.name_of(own)} is {rate:g}: the denoiser would not learn; it must be above zero")
    draft.carry(own, "optim.lr", rate)
    text_rate = _text_rate(draft)
    text_name = "network_train_unet_only" if draft.flag("network_train_unet_only") else "text_encoder_lr"
    draft.carry(text_name, "lora.text_encoder", text_rate > 0)
    # set in any case, since the preset that this one builds on may have a rate of its own
    draft.sets["optim.text_encoder_lr"] = None
    if text_rate > 0 and draft.sets["optim.name"] == "prodigy":  # one step size is found for all parameters
        if text_rate != rate:
            draft.near("text_encoder_lr", "lora.text_encoder", True, "Prodigy finds one rate for all parts")
    elif text_rate > 0:
        draft.carry("text_encoder_lr", "optim.text_encoder_lr", text_rate, "lora.text_encoder=true")
    if own == "unet_lr":
        draft.note("learning_rate", Status.INERT, "unet_lr and text_encoder_lr stand above it")


def _text_rate(draft: Draft) -> float:
    """Return the text encoder's rate, which learns unless its rate is zero or it is left out."""
    if draft.flag("network_train_unet_only"):
        return 0.0
    words = draft.words("text_encoder_lr")
    if not words:
        return draft.number("learning_rate")
    try:
        return float(words[0])  # the second one is T5's
    except ValueError as error:
        raise UserError(f"{draft.name_of('text_encoder_lr')} is {words[0]!r}; it must be a number") from error


def carry_optimizer(draft: Draft) -> None:
    """Carry the optimiser and its arguments."""
    name = "optimizer_type"
    kind = draft.text(name)
    if draft.flag("use_8bit_adam"):
        name, kind = "use_8bit_adam", "AdamW8bit"
    elif draft.flag("use_lion_optimizer"):
        name, kind = "use_lion_optimizer", "Lion"
    bare = kind.rpartition(".")[2].lower()  # it may be written with its module, as in torch.optim.AdamW
    ours, decay, _ = OPTIMIZERS.get(bare, ("", 0.01, ""))
    alike = next((ours for start, ours in ALIKE.items() if bare.startswith(start)), None)
    if ours:
        needs = "needs lorasweep[lowvram]" if ours == "adamw8bit" else ""
        draft.carry(name, "optim.name", ours, needs)
    elif alike:
        ours, decay = alike, 0.0
        draft.near(name, "optim.name", alike, f"{kind} is not here; both find their own step size")
    else:  # the rate stays as it is, although it means something else to AdamW: the line says so
        ours = "adamw"
        draft.sets["optim.name"] = ours
        draft.note(
            name, Status.LOST, f"{kind} is not here; AdamW trains at its rate, which may be too much or too little"
        )
    draft.sets |= {"optim.weight_decay": decay, "optim.betas": [0.9, 0.999], "optim.eps": 1e-8}
    _carry_arguments(draft, ours)


def _carry_arguments(draft: Draft, optimizer: str) -> None:
    made: list[str] = []
    left: list[str] = []
    always = dict(ALWAYS.get(optimizer, {}))
    for word in draft.words("optimizer_args"):
        key, _, text = word.partition("=")
        value = _literal(text)
        if key in always and value == always[key]:
            made.append(f"{key} always")
            del always[key]
        elif setting := _setting(key, value, optimizer):
            draft.sets |= setting
            made += [f"{name}={value}" for name, value in setting.items()]
        else:
            left.append(word)
    told = "; ".join([*([", ".join(made)] if made else []), *([f"left out: {', '.join(left)}"] if left else [])])
    if told:
        partly = Status.NEAR if made else Status.LOST
        draft.note("optimizer_args", partly if left else Status.CARRIED, told)
    changed = [f"{key}={value}" for key, value in always.items() if key not in LIKE_THERE]
    if changed and draft.text("optimizer_type").rpartition(".")[2].lower() == optimizer:
        draft.note("optimizer_type", Status.NEAR, f"optim.name={optimizer}: here always with {', '.join(changed)}")


def _literal(text: str) -> Any:
    """Return the value that an argument spells; None if it is no literal."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _setting(key: str, value: Any, optimizer: str) -> dict[str, Any]:
    numbers = list(cast("list[Any]", value)) if isinstance(value, tuple | list) else [value]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        return {}
    if key == "weight_decay" and len(numbers) == 1:
        return {"optim.weight_decay": float(numbers[0])}
    if optimizer != "adafactor" and key == "betas" and len(numbers) == 2:
        return {"optim.betas": [float(number) for number in numbers]}
    if optimizer != "adafactor" and key == "eps" and len(numbers) == 1:
        return {"optim.eps": float(numbers[0])}
    return {}


def carry_schedule(draft: Draft) -> None:
    """Carry the schedule's shape; ``carry_steps`` says how long its parts are."""
    kind = draft.text("lr_scheduler").lower()
    ours, differs = SCHEDULES.get(re.sub(r":.*", "", kind), ("constant", ""))
    power = draft.number("lr_scheduler_power")
    if draft.text("lr_scheduler_type"):
        draft.sets["optim.schedule"] = "constant"
        draft.note("lr_scheduler", Status.INERT, "lr_scheduler_type stands above it")
    elif kind not in SCHEDULES:
        draft.sets["optim.schedule"] = ours
        draft.note(
            "lr_scheduler", Status.LOST, f"{kind} is not here; the rate stays as it is (optim.schedule=constant)"
        )
    elif kind == "polynomial" and power != 1:
        draft.sets["optim.schedule"] = "linear"
        draft.note(
            "lr_scheduler",
            Status.LOST,
            f"a power of {power:g} is not here; the rate falls in a line (optim.schedule=linear)",
        )
    elif differs:
        draft.near("lr_scheduler", "optim.schedule", ours, differs)
    else:
        draft.carry("lr_scheduler", "optim.schedule", ours)
    if ours == "cosine_restarts":
        draft.carry("lr_scheduler_num_cycles", "optim.restarts", max(1, draft.whole("lr_scheduler_num_cycles")))


def carry_loss(draft: Draft) -> None:
    """Carry noise and weights of the loss, or timesteps and guidance for FLUX."""
    gamma, offset = draft.number("min_snr_gamma"), draft.number("noise_offset")
    if draft.family == "flux":
        draft.sets |= {"optim.min_snr_gamma": None, "optim.noise_offset": 0.0}
        draft.note("min_snr_gamma", Status.INERT, "sd-scripts does not use it for FLUX")
        draft.note("noise_offset", Status.INERT, "sd-scripts does not use it for FLUX")
        _carry_timesteps(draft)
        return
    draft.carry("min_snr_gamma", "optim.min_snr_gamma", gamma or None)
    draft.carry("noise_offset", "optim.noise_offset", offset)
    kind = draft.text("noise_offset_type") or "Original"  # the GUI's field, which chooses one of two kinds of noise
    if kind != "Original":
        draft.note("noise_offset", Status.INERT, "read with noise_offset_type=Original only")
    elif "noise_offset_type" in draft.said:
        draft.note("multires_noise_iterations", Status.INERT, "read with noise_offset_type=Multires only")


def _carry_timesteps(draft: Draft) -> None:
    kind, shift = draft.text("timestep_sampling"), draft.number("discrete_flow_shift")
    ours = {"uniform": "uniform", "sigmoid": "sigmoid", "shift": "shift", "flux_shift": "resolution_shift"}.get(kind)
    if ours or (kind == "sigma" and shift == 1):
        draft.carry("timestep_sampling", "optim.timesteps", ours or "uniform")
    else:
        why = f"{kind} moves an even draw by the shift, this one a bell-shaped draw"
        draft.near("timestep_sampling", "optim.timesteps", "shift", why)
    draft.carry("discrete_flow_shift", "optim.timestep_shift", shift)
    draft.carry("sigmoid_scale", "optim.sigmoid_scale", draft.number("sigmoid_scale"))
    draft.carry("guidance_scale", "optim.guidance", draft.number("guidance_scale"))
    prediction = draft.text("model_prediction_type")
    if prediction == "raw":
        draft.note("model_prediction_type", Status.CARRIED, "the loss of every noise level weighs alike")
    else:
        draft.note("model_prediction_type", Status.LOST, "the loss of every noise level weighs alike, as with raw")


def carry_batch(draft: Draft) -> None:
    """Carry the batch size; a dataset file says it too."""
    draft.carry("train_batch_size", "optim.batch_size", draft.whole("train_batch_size"))


def carry_step(draft: Draft) -> None:
    """Carry what makes one step of several batches, and the seed."""
    draft.carry(
        "gradient_accumulation_steps", "optim.gradient_accumulation", draft.whole("gradient_accumulation_steps")
    )
    draft.carry("max_grad_norm", "optim.max_grad_norm", draft.number("max_grad_norm"))
    seed = draft.whole("seed")
    if draft.text("seed") in ("", "0") or seed < 0:  # the GUI's 0 is as good as none
        draft.note("seed", Status.NEAR, "seed=0: without a seed Kohya draws one")
    else:
        draft.carry("seed", "seed", seed)
