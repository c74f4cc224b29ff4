"""What a kind of base model must be able to do, so that training and drawing need not know which one it is.

A batch of a family that carries C adapters is slot-major: the rows of adapter 0 first, then those of adapter 1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor, nn

from lorasweep.models.objective import Objective

if TYPE_CHECKING:
    from lorasweep.config.schema import LoraConfig, ModelConfig, OptimConfig, RunConfig, SampleConfig
    from lorasweep.models.lora.layer import Adapter, AdapterBank

Text = Mapping[str, Tensor]
"""What the denoiser reads instead of words: named tensors that have one row a prompt."""
Place = Callable[[str, nn.Module], nn.Module]
"""The name of a model's part and the part, whole in CPU memory; gives it back where and how it is kept."""


class Family(Protocol):
    """A frozen base model, with C adapters on it or none. ``lorasweep.models.FAMILIES`` lists those there are."""

    @property
    def kind(self) -> str:
        """sd15, sdxl or flux: which names a LoRA file gives to modules."""
        ...

    @property
    def model_hash(self) -> str:
        """sha256 over all weights."""
        ...

    @property
    def hashes(self) -> Mapping[str, str]:
        """sha256 of each component's weights."""
        ...

    @property
    def objective(self) -> Objective:
        """Noise levels, what the denoiser is shown, and what it should answer."""
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
    def load(cls, config: "ModelConfig", device: torch.device, dtype: torch.dtype, place: Place) -> Self:
        """Read what ``config.path`` names. Raises UserError where that is not a whole model of this family.

        Args:
            place: puts each part on the device, or where else it is kept, as soon as it is read.
        """
        ...

    def refuse(self, run: "RunConfig") -> None:
        """Raise UserError where a run asks for what this model cannot do, before any time is spent on it."""
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

    def training_text(self, text: Text, sizes: Sequence[Sequence[int]], guidance: Sequence[float]) -> Text:
        """The text with what else the denoiser is told in training, one entry a row.

        Args:
            sizes: of the photo (height, width), of the crop's corner (top, left), of the picture (height, width).
            guidance: ``optim.guidance``.
        """
        ...

    def timesteps(
        self, uniforms: Tensor, optim: "OptimConfig | None" = None, shape: Sequence[int] = (4, 64, 64)
    ) -> Tensor:
        """[N] numbers in [0, 1) to [N] timesteps of the training distribution.

        Args:
            optim: which distribution; None takes the family's own.
            shape: of one picture's latents [c, h, w], for a distribution that depends on the size.
        """
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

    def module_shapes(self) -> dict[str, tuple[int, ...]]:
        """Module name in an Adapter to the shape of its weight, for every module that may carry one.

        (out, in) or, of a convolution, (out, in, rows, columns); in the order of the modules, the denoiser's first.
        """
        ...

    def file_metadata(self) -> dict[str, str]:
        """What a LoRA file's header says of the base model."""
        ...
