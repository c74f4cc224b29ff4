"""Arrays inside JSON: unit vectors in 8 bits per number, everything else in 16, as base64."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorasweep.records import TEXTURE, Features

UNIT_COLUMNS = ("face", "image", "scene")
"""Unit vectors: 8 bits each move a cosine by about 0.002."""
OTHER_COLUMNS = ("face_count", "face_size", "landmarks", "texture", "skin")


def pack(values: NDArray[Any], *, unit: bool = False) -> dict[str, Any]:
    """Scale rows of a `unit` array by their largest number; write others as float16."""
    if not unit:
        return {"shape": list(values.shape), "data": _text(np.asarray(values, dtype="<f2"))}
    largest = np.abs(values).max(axis=-1, keepdims=True) if values.size else np.zeros((*values.shape[:-1], 1))
    steps = np.round(values / np.where(largest > 0, largest, 1) * 127).astype(np.int8)
    return {"shape": list(values.shape), "unit": True, "data": _text(steps)}


def unpack(packed: dict[str, Any]) -> NDArray[np.float64]:
    """Return what was packed; unit vectors have length one again, and zero rows stay zero."""
    raw = base64.b64decode(packed["data"])
    if not packed.get("unit"):
        return np.frombuffer(raw, dtype="<f2").astype(np.float64).reshape(packed["shape"])
    values = np.frombuffer(raw, dtype=np.int8).astype(np.float64).reshape(packed["shape"])
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)


def pack_features(features: Features) -> dict[str, Any]:
    """Pack keys and columns."""
    columns = {name: pack(getattr(features, name), unit=True) for name in UNIT_COLUMNS}
    others = {name: getattr(features, name) for name in OTHER_COLUMNS}
    columns |= {name: pack(values) for name, values in others.items() if values is not None}
    return {"keys": list(features.keys), **columns}


def unpack_features(packed: dict[str, Any]) -> Features:
    """Return the record again."""
    columns: dict[str, Any] = {name: unpack(packed[name]) for name in (*UNIT_COLUMNS, *OTHER_COLUMNS) if name in packed}
    # Shards that were made before a number of texture was thought of leave it open.
    unknown = np.full((len(columns["texture"]), len(TEXTURE) - columns["texture"].shape[1]), np.nan)
    columns["texture"] = np.concatenate([columns["texture"], unknown], axis=1)
    columns["face_count"] = columns["face_count"].astype(np.int64)
    return Features(keys=tuple(packed["keys"]), **columns)


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
