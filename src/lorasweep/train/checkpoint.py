"""The LoRA files that a training leaves on disk, and their manifest.

``checkpoints/manifest.json`` is written after the file that it names; a file without a line in it does not exist.
Neither holds a clock time: the same training makes the same bytes. Sizes and times of the LoRA files stand in
``hashes.json``, so that they are not read again to be sure of their sha256.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorasweep.data.atomic import write_atomically
from lorasweep.data.hashes import HASHES, known_sha256, remember_sha256
from lorasweep.models.family import Family
from lorasweep.models.lora.file import write_lora
from lorasweep.records import Checkpoint, Photo
from lorasweep.train.optimizers import learning_rates
from lorasweep.train.randomness import seed_for
from lorasweep.train.state import TrainingState, mean_scale
from lorasweep.train.trial import Trial

log = logging.getLogger(__name__)


def save_checkpoint(trial: Trial, family: Family, state: TrainingState) -> Checkpoint:
    """Write the LoRA file, then its line in the manifest; done again, it makes the same file.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    folder = trial.folder / "checkpoints"
    path = folder / f"{trial.name}-{state.step:06d}.safetensors"
    sha256 = write_lora(path, state.adapter, family, file_metadata(trial, state.step, mean_scale(state.adapter)))
    lines = {line["step"]: line for line in _read_manifest(trial.folder)}
    epoch = state.step / trial.steps_per_epoch
    lines[state.step] = {"step": state.step, "epoch": epoch, "file": path.name, "sha256": sha256}
    _write_manifest(trial.folder, [lines[step] for step in sorted(lines)])
    remember_sha256(path, sha256, trial.folder / HASHES)
    return Checkpoint(trial=trial.name, step=state.step, epoch=epoch, path=path, sha256=sha256)


def file_metadata(trial: Trial, step: int, scale: float) -> dict[str, str]:
    """Return the header lines that tell the run.

    With ``save.metadata=private`` none tells of the photos, their folder or their captions.

    Args:
        scale: alpha / rank.
    """
    config = trial.config
    lr, text_lr = learning_rates(config.optim)
    # None depends on optim.steps or on the clock: the checkpoint at a step of a longer run is the shorter run's, byte
    # for byte.
    return {
        "ss_output_name": trial.name,
        "ss_seed": str(config.seed),
        "ss_steps": str(step),
        "ss_epoch": str(step // trial.steps_per_epoch),
        "ss_learning_rate": str(lr),
        "ss_unet_lr": str(lr),
        "ss_text_encoder_lr": str(text_lr) if config.lora.text_encoder else "None",
        "ss_optimizer": config.optim.name,
        "ss_lr_scheduler": config.optim.schedule,
        "ss_num_train_images": str(sum(photo.repeats for photo in trial.dataset.train)),
        "ss_num_reg_images": str(sum(photo.repeats for photo in trial.dataset.regularisation)),
        "ss_batch_size_per_device": str(config.optim.batch_size),
        "ss_gradient_accumulation_steps": str(config.optim.gradient_accumulation),
        "ss_noise_offset": str(config.optim.noise_offset),
        "ss_min_snr_gamma": str(config.optim.min_snr_gamma),
        "ss_caption_dropout_rate": str(config.data.caption_dropout),
        "ss_mixed_precision": config.hardware.precision,
        "ss_session_id": str(seed_for(config.seed, f"session/{trial.name}") % 2**32),
        "ss_clip_skip": str(config.sample.clip_skip + 1),  # Kohya counts from the last layer, which is 1
        "modelspec.title": trial.name,
        "ss_enable_bucket": str(config.data.buckets != "square"),
        "ss_bucket_no_upscale": str(not config.data.upscale),
        "modelspec.resolution": f"{config.model.resolution}x{config.model.resolution}",
        "modelspec.trigger_phrase": config.data.trigger,  # told in private too: nobody can use the file without it
        "lorasweep.run": trial.name,
        "lorasweep.step": str(step),
        "lorasweep.effective_lr": str(lr * scale),
        **(_photo_metadata(trial) if config.save.metadata == "full" else {}),
    }


def _photo_metadata(trial: Trial) -> dict[str, str]:
    """What Kohya's headers say of the photos: folders, numbers, sizes, and how often a clause of a caption occurs."""
    clauses: dict[str, Counter[str]] = {}
    for photo in trial.dataset.train:
        told = clauses.setdefault(photo.path.parent.name, Counter())
        told.update(part.strip() for part in photo.caption.split(","))
    return {
        "ss_sd_model_name": Path(trial.config.model.path).name,
        "ss_dataset_dirs": json.dumps(_folders(trial.dataset.train)),
        "ss_reg_dataset_dirs": json.dumps(_folders(trial.dataset.regularisation)),
        "ss_bucket_info": json.dumps(_bucket_info(trial)),
        "ss_tag_frequency": json.dumps({name: dict(sorted(told.items())) for name, told in clauses.items()}),
    }


def _folders(photos: Sequence[Photo]) -> dict[str, dict[str, int]]:
    """Folder to its number of images and how often each is seen an epoch; the least, if that differs within it."""
    found: dict[str, dict[str, int]] = {}
    for photo in photos:
        told = found.setdefault(photo.path.parent.name, {"n_repeats": photo.repeats, "img_count": 0})
        told["n_repeats"] = min(told["n_repeats"], photo.repeats)
        told["img_count"] += 1
    return found


def _bucket_info(trial: Trial) -> dict[str, Any]:
    """Sizes with the images that an epoch shows of each, and how far width / height is off on average."""
    errors = [abs(p.bucket[0] / p.bucket[1] - p.size[0] / p.size[1]) for p in trial.placements]
    buckets = {n: {"resolution": row.bucket, "count": row.shown} for n, row in enumerate(trial.table)}
    return {"buckets": buckets, "mean_img_ar_error": sum(errors) / len(errors)}


def adopt_files(folder: Path, checkpoints: Sequence[Checkpoint]) -> None:
    """List files that another trainer made in a run's manifest."""
    # by their whole paths: they stay where they are, since a copy of twelve SDXL files would be 2.4 GB
    lines = [
        {"step": each.step, "epoch": each.epoch, "file": str(each.path), "sha256": each.sha256} for each in checkpoints
    ]
    _write_manifest(folder, lines)


def _write_manifest(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    text = json.dumps({"checkpoints": lines}, indent=1)
    write_atomically(folder / "checkpoints" / "manifest.json", text.encode())


def _read_manifest(folder: Path) -> list[dict[str, Any]]:
    path = folder / "checkpoints" / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))["checkpoints"] if path.is_file() else []


def list_checkpoints(folder: Path, trial: str, *, verify: bool = False) -> list[Checkpoint]:
    """Return the checkpoints of a run folder in order of steps; files that are gone or changed are left out.

    Args:
        verify: read every file again, even one whose size and time of change are as they were.
    """
    found: list[Checkpoint] = []
    for line in _read_manifest(folder):
        path = folder / "checkpoints" / line["file"]
        # a file that was overwritten since is another LoRA than the one that was scored
        if not path.is_file() or known_sha256(path, folder / HASHES, reread=verify) != line["sha256"]:
            log.warning("%s is missing or not what was written; it is left out.", path)
            continue
        found.append(Checkpoint(trial=trial, step=line["step"], epoch=line["epoch"], path=path, sha256=line["sha256"]))
    return found
