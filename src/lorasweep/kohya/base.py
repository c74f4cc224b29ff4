"""Carry Kohya's base model, photos and machine over."""

import math
import re

from lorasweep.errors import UserError
from lorasweep.kohya.draft import Draft, Status

PRECISIONS = {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}
"""``mixed_precision`` to ``hardware.precision``."""


def carry_model(draft: Draft) -> None:
    """Carry which base model it is, at which size, and what it predicts."""
    draft.sets["model.family"] = draft.family
    draft.note("flux1_checkbox" if draft.family == "flux" else "sdxl", Status.CARRIED, f"model.family={draft.family}")
    if path := draft.text("pretrained_model_name_or_path"):
        draft.carry("pretrained_model_name_or_path", "model.path", path)
    carry_resolution(draft)
    if draft.family == "flux":
        return
    # what sd-scripts trains, never "auto": it does not read what the model says of itself
    predicts = "v_prediction" if draft.flag("v_parameterization") else "epsilon"
    draft.carry("v_parameterization", "model.prediction", predicts)
    if draft.flag("zero_terminal_snr"):
        draft.carry("zero_terminal_snr", "model.zero_terminal_snr", True)
    skipped = draft.whole("clip_skip")
    if draft.family == "sdxl":
        draft.sets["sample.clip_skip"] = 0
        draft.note("clip_skip", Status.INERT, "sd-scripts does not use it for SDXL")
    else:
        draft.carry("clip_skip", "sample.clip_skip", max(0, skipped - 1), "1 is the last layer there, 0 here")


def carry_resolution(draft: Draft) -> None:
    """Carry the resolution as one side, since the area of its square is that of all buckets."""
    said = draft.text("resolution")
    sides = [int(side) for side in re.findall(r"\d+", said)]
    if not said:
        return
    if not re.fullmatch(r"\s*[\[(]?\s*\d+\s*([,x]\s*\d+\s*)?[\])]?\s*", said) or not all(sides):
        raise UserError(f"{draft.name_of('resolution')} is {said!r}; it must be pixels, such as 512 or 512,512")
    width, height = sides[0], sides[-1]
    side = round(math.sqrt(width * height) / 8) * 8
    if width == height == side:
        draft.carry("resolution", "model.resolution", side)
    else:
        draft.near("resolution", "model.resolution", side, f"the square of about as many pixels as {width} x {height}")


def carry_machine(draft: Draft) -> None:
    """Carry precision and what saves memory."""
    precision = draft.text("mixed_precision")
    if precision in PRECISIONS:
        draft.carry("mixed_precision", "hardware.precision", PRECISIONS[precision])
    else:
        draft.note("mixed_precision", Status.LOST, f"{precision} is not here; hardware=auto chooses by the card")
    checkpoints = draft.flag("gradient_checkpointing")
    draft.carry("gradient_checkpointing", "hardware.gradient_checkpointing", checkpoints)
    for name in ("fp8_base", "fp8_base_unet"):
        if draft.flag(name):
            draft.carry(name, "hardware.base", "fp8", "rows are scaled, so that it is closer to the whole weights")
    if draft.flag("cache_latents_to_disk"):
        draft.carry("cache_latents_to_disk", "hardware.cache", "disk")


def carry_photos(draft: Draft) -> None:
    """Carry folders, sizes, captions and masks."""
    if folder := draft.text("train_data_dir"):
        draft.carry("train_data_dir", "data.path", folder)
    others = draft.text("reg_data_dir")
    draft.sets["data.regularisation_path"] = None  # set in any case: the base preset may name one
    if others:
        draft.carry("reg_data_dir", "data.regularisation_path", others)
        draft.carry("prior_loss_weight", "data.regularisation_weight", draft.number("prior_loss_weight"))
    carry_buckets(draft)
    _carry_captions(draft)
    draft.carry("flip_aug", "data.flip", draft.flag("flip_aug"))
    _carry_masks(draft)


def carry_buckets(draft: Draft) -> None:
    """Carry the sizes that images are trained at."""
    on = draft.flag("enable_bucket")
    draft.carry("enable_bucket", "data.buckets", "kohya" if on else "square")
    if not on:
        return
    upscale = not draft.flag("bucket_no_upscale")
    draft.carry("bucket_no_upscale", "data.upscale", upscale)
    # with no upscaling sd-scripts makes buckets of the images' own sizes and never looks at these bounds
    unused = "" if upscale else "without effect as long as data.upscale is false, as there"
    draft.carry("min_bucket_reso", "data.bucket_min", draft.whole("min_bucket_reso"), unused)
    draft.carry("max_bucket_reso", "data.bucket_max", draft.whole("max_bucket_reso"), unused)
    draft.carry("bucket_reso_steps", "data.bucket_step", draft.whole("bucket_reso_steps"))


def _carry_captions(draft: Draft) -> None:
    # sd-scripts knows the second, misspelled name too
    ending = draft.text("caption_extension") or draft.text("caption_extention") or ".caption"
    name = "caption_extension" if "caption_extension" in draft.said else "caption_extention"
    if ending.lower() in (".txt", ".caption", "txt", "caption"):
        draft.note(name, Status.CARRIED, "both .txt and .caption are read")
    else:
        draft.note(name, Status.LOST, f"captions must end in .txt or .caption; rename {ending}")
    draft.carry("caption_dropout_rate", "data.caption_dropout", draft.number("caption_dropout_rate"))
    # a run keeps one clause at least, the trigger; sd-scripts may shuffle that too
    shuffle, kept = draft.flag("shuffle_caption"), draft.whole("keep_tokens")
    draft.carry("shuffle_caption", "data.shuffle_captions", shuffle)
    if kept or not shuffle:
        draft.carry(
            "keep_tokens", "data.keep_clauses", max(1, kept), "" if shuffle else "counts when clauses are shuffled"
        )
    else:
        draft.near("keep_tokens", "data.keep_clauses", 1, "the trigger stays in front")
    if prefix := draft.text("caption_prefix"):
        draft.carry("caption_prefix", "data.caption_prefix", prefix)


def _carry_masks(draft: Draft) -> None:
    """Carry masks, which sd-scripts reads from ``conditioning_data_dir`` or from transparency."""
    folder = draft.text("conditioning_data_dir")
    if draft.flag("masked_loss") and folder:
        draft.carry("conditioning_data_dir", "data.masks_path", folder)
        draft.carry("masked_loss", "data.masks", "files")
    elif draft.flag("alpha_mask"):
        draft.carry("alpha_mask", "data.masks", "alpha")
        draft.note("masked_loss", Status.CARRIED, "data.masks=alpha")
    else:  # masked_loss alone does nothing in sd-scripts
        draft.sets["data.masks"] = "off"
        if draft.flag("masked_loss"):
            draft.note(
                "masked_loss", Status.INERT, "without alpha_mask or conditioning_data_dir sd-scripts masks nothing"
            )
