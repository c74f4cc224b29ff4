"""The pictures of docs/evaluator.md."""

import re

import numpy as np
from PIL import Image

from benchmarks.evaluator.tables import PAGE
from benchmarks.pictures import evidence


def test_a_grid_frames_the_pick_outside_and_the_latest_acceptable_one_inside():
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    frames = (evidence.PICKED, evidence.LATEST)
    sheet = evidence.grid(["base", "step 1"], [("rate", [(grey, "0.1", ()), (grey, "0.5", frames)])])
    x, y, pitch = evidence.LEFT, evidence.TOP, evidence.TILE + evidence.GAP
    at = [sheet.getpixel((x + step, y + 40)) for step in (0, pitch, pitch + 3, pitch + 10)]
    assert at == [(128,) * 3, (0x1F, 0x9D, 0x55), (0, 0, 0), (128,) * 3]


def test_the_page_shows_its_pictures():
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(shown) == 3
    for name in shown:
        with Image.open(PAGE.parent / name) as picture:
            assert min(picture.size) > 400
