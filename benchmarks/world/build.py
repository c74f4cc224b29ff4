"""Build the models of the drawn world again: `python -m benchmarks.world.build [stage ...]`. Hours on two cores.

Stages run in the order of `STAGES`. Each keeps its training state in the cache folder, continues from there after an
interruption, and writes its weights below `weights/` beside this file. A GPU is used if there is one. On a CPU the UNet
trains 1.7 times as fast with one process per core: `torchrun --nproc-per-node 2 -m benchmarks.world.build unet`.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from benchmarks.world import (
    build_faces,
    build_readers,
    build_scorer,
    build_unet,
    build_vae,
    corpus,
    pipeline,
    tokens,
    training,
)
from benchmarks.world.readers import READERS
from benchmarks.world.stages import CACHE
from lorasweep.portraits import manifest


def build_corpus(cache: Path, weights: Path) -> None:
    """Draw the training images."""
    corpus.pictures(cache)


def build_autoencoder(cache: Path, weights: Path) -> None:
    """Train the VAE; the UNet stage takes it from the cache."""
    build_vae.train_vae(cache).save_pretrained(cache / "vae_final")


def build_base(cache: Path, weights: Path) -> None:
    """Train the UNet and the text encoder, and write the finished pipeline."""
    rank, _ = training.join_workers()
    tokenizer = tokens.write_tokenizer(cache / "tokenizer")
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(cache / "vae_final")
    denoiser = build_unet.train_unet(cache, vae, tokenizer, build_unet.UNetPlan())
    if rank == 0:
        whole = pipeline.assemble(vae, denoiser.unet, denoiser.text_encoder, tokenizer)
        publish_pipeline(whole, cache, weights / "pipeline")


def publish_pipeline(whole: StableDiffusionPipeline, cache: Path, folder: Path) -> None:
    """Write the pipeline and the curves of its training to `folder`."""
    pipeline.save_pipeline(whole, folder, vocabulary=cache / "tokenizer")
    states = {name: training.load_state(cache / f"{name}.pt") for name in ("vae", "unet")}
    curves = {name: state["curve"] for name, state in states.items() if state}
    (folder / "curves.json").write_text(json.dumps(curves, separators=(",", ":")) + "\n", encoding="utf-8")


STAGES: dict[str, Callable[[Path, Path], None]] = {
    "corpus": build_corpus,
    "vae": build_autoencoder,
    "unet": build_base,
    "readers": build_readers.build,
    "face": build_faces.build,
    "face_confirm": build_faces.build_confirm,
    "scorer": build_scorer.build,
}


def main() -> None:
    """Run the stages named on the command line, or all of them, then hash every file of weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.world.build", description="makes the tiny models")
    parser.add_argument("stages", nargs="*", metavar="stage", help=f"{', '.join(STAGES)}; default: all in this order")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where training states are kept")
    parser.add_argument("--weights", type=Path, help="where weights go (default: the package, readers here)")
    chosen = parser.parse_args()
    unknown = set(chosen.stages) - STAGES.keys()
    if unknown:
        parser.error(f"no stage {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    for name in chosen.stages or STAGES:
        print(f"stage {name}", flush=True)
        folder = chosen.weights or (READERS if name == "readers" else manifest.WEIGHTS)
        STAGES[name](chosen.cache, folder)
        manifest.make_manifest(folder)


if __name__ == "__main__":
    main()
