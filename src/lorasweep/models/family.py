"""What training and drawing ask of a base model: the protocol that every family keeps.

A batch of a family that carries C adapters is slot-major: the rows of adapter 0 first, then those of adapter 1.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from lorasweep.models.objective import Objective

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, RunConfig, SampleConfig

Text = Mapping[str, Tensor]
"""Text embeddings and what else the denoiser reads beside the latents: named tensors with one row a prompt."""
Place = Callable[[str, nn.Module], nn.Module]
"""Takes the name of a model's part and the part, whole in CPU memory; returns it where and how it is kept."""


class Family(Protocol):
    """A frozen base model with C adapters on it, or none: a frozen dataclass in ``lorasweep.models.FAMILIES``.

    It holds only what differs between families. What all do alike are functions: ``autoencoder.encode(family.vae, …)``,
    ``family.objective.target(…)``, ``lora.layer.adapted(family, …)``, ``lora.initial.initial_adapter(family, …)``.
    """

    trained_by: ClassVar[Any]
    """The class of its objective: ``Diffusion`` or ``Flow``."""

    @property
    def kind(self) -> str:
        """sd15, sdxl or flux: which names a LoRA file gives to modules."""
        ...

    @property
    def hashes(self) -> Mapping[str, str]:
        """sha256 of each component's weights."""
        ...

    @property
    def components(self) -> dict[str, nn.Module]:
        """What may carry adapters, the denoiser first, by the name that begins an adapter's module names."""
        ...

    @property
    def vae(self) -> Any:
        """The autoencoder, in fp32; never adapted."""
        ...

    @property
    def objective(self) -> Objective:
        """Noise levels, what the denoiser is shown, and what it should answer."""
        ...

    @property
    def slots(self) -> int:
        """C, how many adapters it carries side by side; 1 for the bare base model."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the frozen denoiser and text encoders; adapters are fp32."""
        ...

    def refuse(self, run: "RunConfig") -> None:
        """Raise UserError if a run asks for what this model cannot do, before any time is spent on it."""
        ...

    def encode_prompts(self, texts: Sequence[str], clip_skip: int = 0) -> Text:
        """Return text embeddings, one row a prompt; slot-major if the text encoders carry adapters."""
        ...

    def training_text(self, text: Text, sizes: Sequence[Sequence[int]], guidance: Sequence[float]) -> Text:
        """Return the text with what else the denoiser is told in training, one entry a row.

        Args:
            sizes: of the photo (height, width), the crop's corner (top, left) and the image (height, width), in pixels.
            guidance: ``optim.guidance``.
        """
        ...

    def denoise(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """Return the denoiser's answer, [N, c, h, w] in fp32, differentiable in the adapters."""
        ...

    def draw(self, text: Text, negative: Text, noise: Tensor, look: "SampleConfig", seeds: Sequence[int]) -> Tensor:
        """Return [N, H, W, 3] uint8 images on the CPU from [N, c, h, w] unit noise.

        Args:
            seeds: one a row, for samplers that add noise on the way.
        """
        ...

    @staticmethod
    def targets(lora: "LoraConfig") -> dict[str, list[str]]:
        """Return component to the ends of the module names that get an adapter, as PEFT takes them."""
        ...


def model_hash(family: Family) -> str:
    """Return one sha256 over the weights of all parts of a base model."""
    return hashlib.sha256(json.dumps(dict(family.hashes), sort_keys=True).encode()).hexdigest()
