"""Stable Diffusion 1.x and everything of its type: a diffusers StableDiffusionPipeline folder."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from lorasweep.data.errors import UserError
from lorasweep.models.cohort_lora import AdapterBank, LoraWeights, attach
from lorasweep.models.family import Text, require_folder
from lorasweep.models.initial import initial_weights
from lorasweep.models.samplers import draw_latents

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, ModelConfig, SampleConfig

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
LINEAR = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
TEXT_LINEAR = [*TEXT_ATTENTION, "fc1", "fc2"]
COMPONENTS = ("unet", "text_encoder", "vae")


def portraits_folder() -> Path:
    """The model that ships inside the package; ``LORASWEEP_PORTRAITS`` names another folder while it is built."""
    shipped = Path(__file__).parents[1] / "portraits" / "weights" / "pipeline"
    return shipped if shipped.is_dir() else Path(os.environ.get("LORASWEEP_PORTRAITS", shipped))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SD15:
    """One Stable Diffusion 1.x model in memory, with C adapters on it or none (see ``family.Family``)."""

    unet: nn.Module
    text_encoder: nn.Module
    vae: Any
    tokenizer: Any
    scheduler: Mapping[str, Any]
    alphas: Tensor
    """[T] cumulated alphas of the training schedule."""
    device: torch.device
    dtype: torch.dtype
    hashes: Mapping[str, str]
    slots: int = 1

    @classmethod
    def load(cls, config: "ModelConfig", device: torch.device, dtype: torch.dtype) -> Self:
        """Read the folder ``config.path``: frozen UNet and text encoder in ``dtype``, VAE in fp32."""
        folder = portraits_folder() if config.path == "portraits" else Path(config.path)
        _check_folder(require_folder(folder, "model.path"))
        disable_progress_bar()  # a bar of milliseconds; ours say what is being done
        reading: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        unet = _read_part(UNet2DConditionModel, folder / "unet", torch_dtype=dtype, **reading)
        text_encoder = _read_part(CLIPTextModel, folder / "text_encoder", dtype=dtype, **reading)
        vae = _read_part(AutoencoderKL, folder / "vae", **reading)
        for module in (unet, text_encoder, vae):
            module.requires_grad_(False).eval().to(device)
        scheduler = _scheduler_config(folder, config.prediction)
        training: Any = DDPMScheduler.from_config(scheduler)
        return cls(
            unet=unet,
            text_encoder=text_encoder,
            vae=vae,
            tokenizer=_read_part(CLIPTokenizer, folder / "tokenizer", local_files_only=True),
            scheduler=scheduler,
            alphas=training.alphas_cumprod.to(device),
            device=device,
            dtype=dtype,
            hashes={name: folder_hash(folder / name) for name in COMPONENTS},
        )

    @property
    def model_hash(self) -> str:
        """sha256 over the weights of all components."""
        return hashlib.sha256(json.dumps(dict(self.hashes), sort_keys=True).encode()).hexdigest()

    @property
    def prediction(self) -> str:
        """epsilon or v_prediction."""
        return self.scheduler["prediction_type"]

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """[channels, rows, columns] for a picture of so many pixels."""
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.config.latent_channels, height // factor, width // factor

    @torch.no_grad()
    def encode_pictures(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] in [-1, 1] to mean and standard deviation of the latents, already scaled."""
        posterior = self.vae.encode(pictures.to(self.device)).latent_dist
        scale = self.vae.config.scaling_factor
        return posterior.mean * scale, posterior.std * scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[N, c, h, w] to [N, H, W, 3] uint8."""
        pictures = self.vae.decode(latents / self.vae.config.scaling_factor).sample
        return pictures.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1)

    def encode_prompts(self, texts: Sequence[str], clip_skip: int = 0) -> Text:
        """Prompts to ``states`` [N, tokens, width]; ``clip_skip`` layers are left out at the end, as in diffusers.

        With an adapted text encoder the texts are slot-major and gradients reach its adapters.
        """
        ids = self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids.to(self.device)
        with self._autocast():
            if clip_skip == 0:
                return {"states": self.text_encoder(ids)[0].float()}
            layers = self.text_encoder(ids, output_hidden_states=True).hidden_states
            if clip_skip >= len(layers):
                raise UserError(f"sample.clip_skip is {clip_skip}; the text encoder has {len(layers) - 1} layers.")
            hidden = layers[-(clip_skip + 1)]
            norm: Any = getattr(self.text_encoder, "text_model", self.text_encoder).final_layer_norm
            return {"states": norm(hidden).float()}

    def timesteps(self, uniforms: Tensor) -> Tensor:
        """[N] numbers in [0, 1) to [N] whole timesteps, all equally likely."""
        return (uniforms * len(self.alphas)).long().clamp(max=len(self.alphas) - 1).to(self.device)

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """sqrt(a) * latents + sqrt(1 - a) * noise."""
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, or the velocity sqrt(a) * noise - sqrt(1 - a) * latents."""
        if self.prediction == "epsilon":
            return noise
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents

    def loss_weights(self, timesteps: Tensor, gamma: float | None) -> Tensor:
        """min(snr, gamma) / snr for epsilon, / (snr + 1) for v-prediction; both are finite at zero-terminal SNR."""
        if gamma is None:
            return torch.ones_like(timesteps, dtype=torch.float32)
        alpha = self.alphas[timesteps]
        snr = alpha / (1 - alpha)
        if self.prediction == "epsilon":  # the limit of min(snr, gamma) / snr at snr = 0 is 1
            return (gamma / snr.clamp(min=1e-8)).clamp(max=1)
        return snr.clamp(max=gamma) / (snr + 1)

    def denoise(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """The UNet's answer in fp32."""
        with self._autocast():
            states = text["states"].to(self.dtype)
            return self.unet(latents.to(self.dtype), timesteps, states, return_dict=False)[0].float()

    @torch.no_grad()
    def draw(self, text: Text, negative: Text, noise: Tensor, look: "SampleConfig", seeds: Sequence[int]) -> Tensor:
        """[N, H, W, 3] uint8 pictures on the CPU; see ``samplers.draw_latents``."""
        latents = draw_latents(self, text, negative, noise.to(self.device), look, seeds)
        # one picture at a time, so that the decoder's memory and rounding do not depend on the batch
        return torch.cat([self.decode(latents[i : i + 1]).cpu() for i in range(len(latents))])

    def targets(self, lora: "LoraConfig") -> dict[str, list[str]]:
        """Component to ends of module names."""
        linear = lora.targets == "linear"
        chosen = {"unet": LINEAR if linear else ATTENTION}
        if lora.text_encoder:
            chosen["text_encoder"] = TEXT_LINEAR if linear else TEXT_ATTENTION
        return chosen

    def initial_adapter(self, lora: "LoraConfig", seed: int) -> dict[str, LoraWeights]:
        """What PEFT starts from at this seed, in the order of ``file_names``."""
        adapter: dict[str, LoraWeights] = {}
        for component, targets in self.targets(lora).items():
            adapter |= initial_weights(getattr(self, component), component, targets, lora, seed)
        return {name: adapter[name] for name in self.file_names() if name in adapter}

    def adapted(self, bank: AdapterBank, *, gradient_checkpointing: bool = False) -> Self:
        """The same frozen weights with the bank's adapters on them."""
        unet = attach(self.unet, "unet", bank)
        if gradient_checkpointing:
            unet.enable_gradient_checkpointing()  # type: ignore[operator]
        if bank.section("text_encoder") == slice(0, 0):
            return dataclasses.replace(self, unet=unet, slots=bank.slots)
        text_encoder = attach(self.text_encoder, "text_encoder", bank)
        return dataclasses.replace(self, unet=unet, text_encoder=text_encoder, slots=bank.slots)

    def file_names(self) -> dict[str, str]:
        """Module to Kohya prefix. Readers expect ``text_model`` in it, though transformers 5.6 dropped that level."""
        names = {}
        for name in _leaves(self.unet, LINEAR):
            names[f"unet.{name}"] = f"lora_unet_{name.replace('.', '_')}"
        for name in _leaves(self.text_encoder, TEXT_LINEAR):
            path = f"text_model.{name.removeprefix('text_model.')}"
            names[f"text_encoder.{name}"] = f"lora_te_{path.replace('.', '_')}"
        return names

    def module_shapes(self) -> dict[str, tuple[int, int]]:
        """Module to [in, out] features."""
        shapes = {}
        for name in self.file_names():
            component, path = name.split(".", 1)
            weight = getattr(self, component).get_submodule(path).weight
            shapes[name] = (weight.shape[1], weight.shape[0])
        return shapes

    def file_metadata(self) -> dict[str, str]:
        """Header lines that A1111, ComfyUI and sd-scripts tell a Stable Diffusion 1.x LoRA by."""
        return {
            "ss_base_model_version": "sd_v1",
            "ss_v2": "False",
            "ss_new_sd_model_hash": self.model_hash,
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.architecture": "stable-diffusion-v1/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.prediction_type": "epsilon" if self.prediction == "epsilon" else "v",
        }

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Adapters stay in fp32; beside a half-precision base their products are made in the base's precision."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def _leaves(module: nn.Module, ends: Sequence[str]) -> list[str]:
    """Names of a bare base's linear and convolution modules that end so, as PEFT matches them."""
    suffixes = tuple(f".{end}" for end in ends)
    return [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d) and f".{name}".endswith(suffixes)
    ]


def _check_folder(folder: Path) -> None:
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"model.path is {str(folder)!r}, which holds no model_index.json; give a diffusers folder.")
    kind = _read_json(index).get("_class_name")
    if kind != "StableDiffusionPipeline":
        raise UserError(
            f"model.path is {str(folder)!r}, a {kind}; model.family=sd15 accepts a StableDiffusionPipeline folder."
        )
    for part in (*COMPONENTS, "tokenizer", "scheduler"):
        if not (folder / part).is_dir():
            name = "UNet" if part == "unet" else part
            raise UserError(
                f"model.path is {str(folder)!r}, a model folder without a {name}; it needs a folder {part}."
            )


def _read_part(kind: Any, folder: Path, **reading: Any) -> Any:
    """One component, or one sentence about the folder that does not hold it whole."""
    try:
        return kind.from_pretrained(folder, **reading)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        why = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"model.path holds no whole {folder.name}: {folder} cannot be read ({why}); "
            "it must be a diffusers folder with safetensors weights."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); model.path must be a diffusers folder.") from error


def _scheduler_config(folder: Path, prediction: str) -> dict[str, Any]:
    config = _read_json(folder / "scheduler" / "scheduler_config.json")
    config.setdefault("prediction_type", "epsilon")
    if prediction != "auto":
        config["prediction_type"] = prediction
    return config


def folder_hash(folder: Path) -> str:
    """sha256 over names and contents of the safetensors files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
