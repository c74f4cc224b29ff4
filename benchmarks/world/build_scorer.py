# open_clip's factories are annotated with plain modules.
# pyright: reportCallIssue=false, reportReturnType=false
"""Stage "scorer": a small open_clip model trained contrastively on renders and their captions, as CLIP was on the web.

The folder is loaded with `open_clip.create_model_and_transforms("local-dir:FOLDER")` and
`open_clip.get_tokenizer("local-dir:FOLDER")`; the tokenizer is the pipeline's own, whose end token has the highest id,
which is where open_clip's text tower looks. Captions carry no trigger.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from benchmarks.world import corpus
from benchmarks.world.stages import finish, fresh_renders, recompress, run_stage, soften
from benchmarks.world.tokens import write_tokenizer
from benchmarks.world.training import Curve, Descent, descend
from lorasweep.portraits.networks import to_input
from lorasweep.portraits.people import Scene, caption

TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class ScorerPlan:
    """How long and how hard to train."""

    steps: int = 600
    batch: int = 128
    peak: float = 2e-3
    seed: int = 7


def model_config(vocabulary: int) -> dict:
    """Return the configuration of a ResNet over 64×64 images and a two-layer text transformer, both ending in 128
    numbers."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
        "text_cfg": {
            "context_length": 40,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "local",
            "width": 64,
            "heads": 2,
            "layers": 2,
            "mlp_ratio": 2.0,
        },
    }


def prepare(cache: Path) -> Path:
    """Return the scorer's folder in `cache`, with tokenizer and config, which open_clip can open without weights."""
    folder = cache / "scorer" / "model"
    if not (cache / "tokenizer" / "vocab.json").exists():
        write_tokenizer(cache / "tokenizer")
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(cache / "tokenizer" / name, folder / name)
    words = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    halves = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    config = {"model_cfg": model_config(words), "preprocess_cfg": halves}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def contrast(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return CLIP's loss over unit vectors [n, d]: each image finds its caption and each caption its image."""
    similar = scale * images @ texts.T
    own = torch.arange(len(images))
    return (functional.cross_entropy(similar, own) + functional.cross_entropy(similar.T, own)) / 2


def captions_of(scenes: list[Scene], rng: np.random.Generator) -> list[str]:
    """Return one random caption for each scene."""
    return [caption(scene, rng=rng) for scene in scenes]


def train_scorer(cache: Path, plan: ScorerPlan) -> tuple[open_clip.CLIP, Curve]:
    """Train, or continue from the state in `cache`."""
    folder = prepare(cache)
    torch.manual_seed(plan.seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    pictures = corpus.pictures(cache)
    scenes = corpus.scenes(len(pictures))

    def losses_of(step: int) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            model.logit_scale.clamp_(0, float(np.log(100)))
        rng = np.random.default_rng([plan.seed, step])
        picks = np.sort(rng.choice(len(pictures), plan.batch, replace=False))
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        seen = soften(to_input(recompress(pictures[picks], rng)), generator, colour=0.04)
        ids = tokenizer(captions_of([scenes[pick] for pick in picks], rng))
        with torch.autocast("cpu", torch.bfloat16):
            images, texts, scale = model(seen.contiguous(memory_format=torch.channels_last), ids)
        return {"loss": contrast(images.float(), texts.float(), scale.float())}

    state = cache / "scorer" / "state.pt"
    settings = Descent(state, plan.steps, plan.peak, (0.9, 0.98), 0.05, clip=1.0, save_every=100)
    curve = descend(model, settings, losses_of)
    return model.eval(), curve


@torch.no_grad()
def ranked_first(folder: Path, count: int = 1024, among: int = 32, seed: int = 78, *, plain: bool = True) -> float:
    """Return the share in [0, 1] of fresh renders whose own caption ranks first of `among`, loaded as any open_clip
    model.

    Args:
        plain: captions name all of the scene; otherwise they are as random as in training, and some say nothing.
    """
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    pictures, subjects = fresh_renders(count, seed)
    rng = np.random.default_rng(seed)
    texts = [caption(scene, rng=None if plain else rng) for _, scene, _ in subjects]
    seen = torch.stack([preprocess(Image.fromarray(picture)) for picture in pictures])  # pyright: ignore
    model.eval()
    images = torch.cat([model.encode_image(part, normalize=True) for part in seen.split(128)])
    words = torch.cat([model.encode_text(part, normalize=True) for part in tokenizer(texts).split(128)])
    hits = []
    for start in range(0, count, among):
        similar = images[start : start + among] @ words[start : start + among].T
        hits.append((similar.argmax(1) == torch.arange(len(similar))).float())
    return float(torch.cat(hits).mean())


def build(cache: Path, weights: Path) -> None:
    """Write `weights`/scorer. It trains on a CPU in minutes."""
    model, curve = train_scorer(cache, ScorerPlan())
    folder = weights / "scorer"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*TOKENIZER_FILES, "open_clip_config.json"):
        shutil.copyfile(cache / "scorer" / "model" / name, folder / name)
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").chmod(0o644)
    figures = {
        "full caption ranked first among 32": ranked_first(folder),
        "random caption ranked first among 32": ranked_first(folder, plain=False),
    }
    print(figures)
    finish(folder, curve.rows, CARD, figures)


CARD = """# CLIP scorer of portraits

An open_clip model (ResNet picture tower, two-layer text transformer over the pipeline's own vocabulary) trained
contrastively on 40,000 renders and their captions, without triggers. It says how well a 64×64 picture of a drawn person
fits a caption of this world, and knows no other words and no other pictures.
"""

if __name__ == "__main__":
    run_stage(build)
