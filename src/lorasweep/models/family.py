"""What a kind of base model must be able to do, so that training and drawing need not know which one it is.

A batch of a family that carries C adapters is slot-major: the rows of adapter 0 first, then those of adapter 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, ModelConfig, SampleConfig
    from lorasweep.models.cohort_lora import Adapter, AdapterBank

Text = Mapping[str, Tensor]
"""What the denoiser reads instead of words: named tensors that have one row a prompt."""


class Family(Protocol):
    """A frozen base model, with C adapters on it or none. ``lorasweep.models.FAMILIES`` lists those there are."""

    @property
    def model_hash(self) -> str:
        """sha256 over all weights."""
        ...

    @property
    def hashes(self) -> Mapping[str, str]:
        """sha256 of each component's weights."""
        ...

    @property
    def slots(self) -> int:
        """Adapters side by side; 1 for the bare base model."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the frozen denoiser and text encoder; adapters are fp32."""
        ...

    @classmethod
    def load(cls, config: "ModelConfig", device: torch.device, dtype: torch.dtype) -> Self:
        """Read the folder ``config.path``. Raises UserError where it is not one of this family."""
        ...

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """[channels, rows, columns] of the latents of a picture of so many pixels."""
        ...

    def encode_pictures(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] in [-1, 1] to mean and standard deviation of the latents, in the denoiser's unit."""
        ...

    def encode_prompts(self, texts: Sequence[str], clip_skip: int = 0) -> Text:
        """Prompts to text embeddings, one row each; slot-major where the text encoder carries adapters."""
        ...

    def timesteps(self, uniforms: Tensor) -> Tensor:
        """[N] numbers in [0, 1) to [N] timesteps of the training distribution."""
        ...

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser is shown."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser should answer."""
        ...

    def loss_weights(self, timesteps: Tensor, gamma: float | None) -> Tensor:
        """[N] min-SNR weights (Hang et al. 2023, arXiv 2303.09556); ones where ``gamma`` is None."""
        ...

    def denoise(self, latents: Tensor, timesteps: Tensor, text: Text) -> Tensor:
        """The denoiser's answer in fp32, differentiable in the adapters."""
        ...

    def draw(self, text: Text, negative: Text, noise: Tensor, look: "SampleConfig", seeds: Sequence[int]) -> Tensor:
        """[N, H, W, 3] uint8 pictures from [N, c, h, w] unit noise; ``seeds`` feed samplers that add noise."""
        ...

    def targets(self, lora: "LoraConfig") -> dict[str, list[str]]:
        """Component name to the ends of the module names that get an adapter, as PEFT takes them."""
        ...

    def initial_adapter(self, lora: "LoraConfig", seed: int) -> "Adapter":
        """What PEFT would start from after ``torch.manual_seed(seed)``: up is zero."""
        ...

    def adapted(self, bank: "AdapterBank", *, gradient_checkpointing: bool = False) -> Self:
        """The same frozen weights with C adapters on them; ``self`` stays as it was."""
        ...

    def file_names(self) -> dict[str, str]:
        """Module name in an Adapter to its prefix in a LoRA file, for every module that may carry one."""
        ...

    def module_shapes(self) -> dict[str, tuple[int, int]]:
        """Module name to [in, out] features, for every module of ``file_names``."""
        ...

    def file_metadata(self) -> dict[str, str]:
        """What a LoRA file's header says of the base model."""
        ...


def require_folder(path: Path, key: str) -> Path:
    """``path``, or one sentence that it is not a folder."""
    from lorasweep.data.errors import UserError

    if not path.is_dir():
        raise UserError(f"{key} is {str(path)!r}, which is no folder; give a diffusers folder or the word portraits.")
    return path
