"""The small convolutional networks that look at portraits: plain torch, read from a folder.

A folder holds `model.safetensors` (half precision) and `config.json`. Images are uint8 of any size and are resized to
64×64 first.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from lorasweep.errors import UserError
from lorasweep.portraits.manifest import verify

SIDE = 64


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of one network: channels of the four stages, hidden units, and the size of each output by name."""

    widths: tuple[int, int, int, int]
    hidden: int
    outputs: dict[str, int]


class Trunk(nn.Module):
    """A network for [n, 3, 64, 64] in [-1, 1]: pixels folded 2×2, three strided stages, a hidden layer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        first, second, third, fourth = config.widths
        self.config = config
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            convolution(12, first),
            convolution(first, second, stride=2),
            convolution(second, second),
            convolution(second, third, stride=2),
            convolution(third, third),
            convolution(third, fourth, stride=2),
        )
        self.hidden = nn.Sequential(nn.Linear(fourth * 16, config.hidden), nn.ReLU(inplace=True))
        self.out = nn.Linear(config.hidden, sum(config.outputs.values()))

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return every output by name, each [n, size]."""
        whole = self.out(self.hidden(self.body(pictures).flatten(1))).float()  # fp32 even under autocast
        parts = whole.split(list(self.config.outputs.values()), dim=1)
        return dict(zip(self.config.outputs, parts, strict=True))


def convolution(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    """Return a 3×3 convolution, normalised over the batch and rectified."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """Return [n, 3, 64, 64] float32 in [-1, 1] for [n, h, w, 3] uint8, resized with antialiasing unless 64×64.

    Raises:
        ValueError: the array is not [n, h, w, 3] uint8.
    """
    if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
        raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}, expected uint8 [n, h, w, 3]")
    tensor = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if tensor.shape[2:] != (SIDE, SIDE):
        tensor = functional.interpolate(tensor, (SIDE, SIDE), mode="bilinear", antialias=True)
    return tensor


def save_network(network: Trunk, folder: Path, **facts: object) -> None:
    """Write `model.safetensors` in half precision, and `config.json` with `facts` beside the shape."""
    folder.mkdir(parents=True, exist_ok=True)
    # BatchNorm's step counter is no weight, and an integer would not survive half precision.
    state = {
        name: value.detach().half().contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(state, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes files that only their owner may read
    shape = json.loads(json.dumps(asdict(network.config)))
    (folder / "config.json").write_text(json.dumps(shape | facts, indent=2) + "\n", encoding="utf-8")


def load_network(folder: Path, name: str) -> Trunk:
    """Return the network in `folder`/`name`, on the CPU in fp32, in evaluation mode.

    Raises:
        UserError: a file is missing, is not the one in the manifest beside it, or does not fit its config.json.
    """
    verify(folder, name)
    settings = json.loads((folder / name / "config.json").read_text(encoding="utf-8"))
    network = Trunk(NetworkConfig(tuple(settings["widths"]), settings["hidden"], settings["outputs"]))
    state = {key: value.float() for key, value in load_file(folder / name / "model.safetensors").items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    wrong = [key for key in missing if not key.endswith("num_batches_tracked")] + unexpected
    if wrong:
        raise UserError(f"{folder / name} has weights that do not fit its config.json: {', '.join(wrong[:3])}")
    # channels_last: convolutions of this size run fastest so on a CPU, where these networks always are
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def look(network: Trunk, pictures: np.ndarray, batch: int = 64) -> dict[str, np.ndarray]:
    """Return every output of `network` for uint8 [n, h, w, 3] images, as float32 arrays [n, size]."""
    if not len(pictures):
        return {name: np.zeros((0, size), np.float32) for name, size in network.config.outputs.items()}
    parts = []
    for start in range(0, len(pictures), batch):
        tensor = to_input(pictures[start : start + batch]).to(memory_format=torch.channels_last)
        parts.append(network(tensor))
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in network.config.outputs}


@dataclass(frozen=True)
class FaceDescription:
    """What a face network says about n images."""

    embedding: np.ndarray
    """[n, d] float32 unit vectors; the dot product of two is their similarity in [-1, 1], 1 for the same face."""
    landmarks: np.ndarray
    """[n, 5, 2] float32 (x, y), shares of width and height: left eye, right eye, nose, left and right mouth corner."""
    face_probability: np.ndarray
    """[n] float32 in [0, 1]."""


@dataclass(frozen=True)
class FaceNetwork:
    """A face recogniser for portraits, which sees one face or none in an image."""

    network: Trunk

    def describe(self, pictures: np.ndarray) -> FaceDescription:
        """Return embeddings, landmarks and face probability of uint8 [n, h, w, 3] images."""
        seen = look(self.network, pictures)
        length = np.linalg.norm(seen["embedding"], axis=1, keepdims=True)
        return FaceDescription(
            seen["embedding"] / np.maximum(length, 1e-8),
            0.5 + 0.5 * seen["landmarks"].reshape(-1, 5, 2),
            1 / (1 + np.exp(-seen["face"][:, 0].clip(-60, 60))),  # clipped, since exp of float32 overflows at 89
        )


def load_face_network(folder: Path, name: str = "face") -> FaceNetwork:
    """Return the face network `face`, or `face_confirm`, of a folder of weights such as `portraits/weights`."""
    return FaceNetwork(load_network(folder, name))
