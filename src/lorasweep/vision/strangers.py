"""What faces of other people look like, as aggregates that ship: no row a person (``benchmarks.real.strangers``)."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lorasweep.records import Floats

STRANGERS = Path(__file__).with_name("strangers.json")
"""Aggregates over people whom no benchmark measures."""
NOSE, MOUTH = 0.5, 0.1
"""How far the tip of the nose and the corners of the mouth lie before the eyes, in distances between the eyes."""
YAWS, PITCHES = np.radians(np.arange(-75, 76, 7.5)), np.radians(np.arange(-30, 31, 10))
"""How far heads turn and nod; of portraits nearly all look into the camera."""
HEADS = 3
"""People a direction."""


def strangers() -> dict[str, Any]:
    """Return the shipped aggregates: ``mean`` [128], ``shape`` [5, 2], ``shape_covariance`` [10, 10], and of whom."""
    return json.loads(STRANGERS.read_text(encoding="utf-8"))


def turned_shapes() -> Floats:
    """Return [M, 5, 2] landmarks of made-up people who look every way, as MTCNN would put them; always the same.

    Photos of one person and a few images of the base model hold no profile and no raised chin, so that a sound face
    that is turned away would be called deformed. A shape of the shipped distribution is given the depth of an average
    face, turned, and seen from far away.
    """
    known, rng = strangers(), np.random.default_rng(0)
    mean, covariance = np.array(known["shape"]), np.array(known["shape_covariance"])
    values, axes = np.linalg.eigh(covariance)
    spread = axes * np.sqrt(values.clip(0))
    depth = np.array([0, 0, NOSE, MOUTH, MOUTH]) * np.linalg.norm(mean[1] - mean[0])
    shapes = []
    for yaw in YAWS:
        for pitch in PITCHES:
            for _ in range(HEADS):
                flat = (mean.ravel() + spread @ rng.normal(size=10)).reshape(5, 2)
                turned = np.column_stack([flat, depth]) @ _turn(yaw, pitch)
                shapes.append(turned[:, :2])
    return np.array(shapes)


def _turn(yaw: float, pitch: float) -> Floats:
    """Return [3, 3] the rotation that rows of (x, y, z) are multiplied by."""
    aside = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    down = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    return aside @ down
