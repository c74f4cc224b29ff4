"""Sheets of samples as MLflow images, so that its image grid and step slider show them."""

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from lorasweep.records import SampleSet
from lorasweep.track.codec import from_json
from lorasweep.track.journal import Entry
from lorasweep.track.mlflow_terms import image_key

SMALLEST_SHOWN = 192
"""Pixels: smaller images are enlarged by a whole factor, or the grid would show stamps."""
LONGEST_SHOWN = 1536
"""Pixels: the browser loads every image of the grid whole."""
_NAME = re.compile(r"images/(?P<stem>(?P<key>.+?)\+step\+(?P<step>\d+)\+.*?)(?P<small>\+compressed)?\.(png|webp)$")


class Images:
    """The images of one run."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        # MLflow gives every image a new name, so that delivering again would double those that are there
        self._there: set[tuple[str, int]] | None = None

    def add(self, entry: Entry, folder: Path) -> None:
        """Log one image a prompt, its seeds side by side, under the prompt's key and the checkpoint's step.

        One an image and seed would be sixteen charts a sheet.
        """
        for prompt, paths in by_prompt(from_json(SampleSet, entry.payload, folder)).items():
            key = image_key(prompt, entry.payload["fresh"])
            strip = side_by_side(paths)
            if strip is None or (key, entry.payload["step"]) in self._known():
                continue
            self._client.log_image(
                self._run_id, strip, key=key, step=entry.payload["step"], timestamp=entry.time, synchronous=True
            )
            self._known().add((key, entry.payload["step"]))

    def _known(self) -> set[tuple[str, int]]:
        if self._there is None:
            self._there = self._look()
        return self._there

    def _look(self) -> set[tuple[str, int]]:
        """Return what is there; an image whose small copy never arrived is given it now, or the grid shows a gap."""
        names = [_NAME.match(file.path) for file in self._client.list_artifacts(self._run_id, "images")]
        found = [name for name in names if name]
        small = {name["stem"] for name in found if name["small"]}
        for name in found:
            if not name["small"] and name["stem"] not in small:
                self._complete(name["stem"])
        return {(name["key"], int(name["step"])) for name in found}

    def _complete(self, stem: str) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            whole = self._client.download_artifacts(self._run_id, f"images/{stem}.png", scratch)
            small = Path(scratch) / f"{stem}+compressed.webp"
            with Image.open(whole) as image:
                image.thumbnail((256, 256))
                image.save(small)
            self._client.log_artifact(self._run_id, str(small), "images")


def logged(client: Any, run_id: str) -> set[tuple[str, int]]:
    """Return key and step of every image that a run has in MLflow."""
    names = (_NAME.match(file.path) for file in client.list_artifacts(run_id, "images"))
    return {(name["key"], int(name["step"])) for name in names if name}


def by_prompt(samples: SampleSet) -> dict[str, list[Path]]:
    """Return the paths of a sheet's samples by prompt, in the order of seeds."""
    found: dict[str, list[Path]] = {}
    for sample in samples.samples:
        found.setdefault(sample.prompt, []).append(sample.path)
    return found


def side_by_side(paths: Iterable[Path]) -> Image.Image | None:
    """Return the images in one row; None if none of them is there any more."""
    images = [Image.open(path).convert("RGB") for path in paths if path.exists()]
    if not images:
        return None
    strip = Image.new("RGB", (sum(p.width for p in images), max(p.height for p in images)), "white")
    left = 0
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width
    if strip.height < SMALLEST_SHOWN:
        factor = -(-SMALLEST_SHOWN // strip.height)
        return strip.resize((strip.width * factor, strip.height * factor), Image.Resampling.LANCZOS)
    strip.thumbnail((LONGEST_SHOWN, LONGEST_SHOWN))
    return strip
