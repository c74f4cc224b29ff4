"""The README's pictures: MLflow's pages and our report, as a browser shows them for a store that a demo left.

    lorasweep demo && python -m benchmarks.pictures.pages [--root mlruns] [--to docs/pictures]     a minute

It drives Debian's Chromium (``apt-get install chromium``) and starts ``lorasweep ui`` itself; the test of MLflow's
pages does the same with the functions below. It fails rather than take a screenshot with an image that did not load.
"""

import argparse
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

if TYPE_CHECKING:
    from lorasweep.track.store import Store

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# MLflow opens its assistant over a third of the page on a first visit from the same machine.
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
WIDTH, HEIGHT = 1600, 1000
PATIENCE = 120.0
"""Seconds for a server to start, or a page to load, on a machine that is busy training."""
LOADED = "images => images.length > 0 && images.every(image => image.complete && image.naturalWidth > 0)"
LARGEST = 300_000


def chromium() -> str | None:
    """Return the path of Chromium, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Run ``lorasweep ui`` on a free port and yield its address; it and all its children are gone afterwards."""
    port = _free_port()
    command = [sys.executable, "-m", "lorasweep", "ui", "--root", str(root), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(server, address)
        yield address
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(server.pid, how)
            with suppress(subprocess.TimeoutExpired):
                server.communicate(timeout=10)


@contextmanager
def browser_page() -> Iterator[Page]:
    """Yield an empty page of a browser without any settings of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.set_default_timeout(PATIENCE * 1000)
        page.add_init_script(NO_ASSISTANT)
        yield page
        browser.close()


def open_table(page: Page, address: str, store: "Store") -> None:
    """Open the view's table of runs and wait until it shows all of them, children below their parents."""
    from lorasweep.track.view import table_page

    page.goto(f"{address}/{table_page(store.experiment_id)}")
    _unfold(page, store)


def open_grid(page: Page, address: str, store: "Store") -> Locator:
    """Open the view's image grid with every run in it and wait for all its images."""
    from lorasweep.track.view import pictures_page

    page.goto(f"{address}/{pictures_page(store.experiment_id)}")
    _unfold(page, store)
    return shown(page.get_by_test_id("experiment-view-compare-runs-card").filter(has=page.get_by_role("slider")).first)


def open_run_images(page: Page, address: str, run: Any, keys: Sequence[str]) -> dict[str, Locator]:
    """Return the charts of a run's own page that hold images, by image key, once all of them are there."""
    page.goto(f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
    # The page draws only charts that are in sight.
    page.get_by_placeholder("Search metric charts").fill("|".join(f"^{re.escape(key)}$" for key in keys))
    cards = page.get_by_test_id("experiment-view-compare-runs-card")
    return {key: shown(cards.filter(has=page.get_by_title(key, exact=True))) for key in keys}


def shown(card: Locator) -> Locator:
    """Return a chart once every image in it has loaded; fail if one does not."""
    pictures = card.locator("img.rc-image-img")
    pictures.first.wait_for(state="attached")
    handle = card.element_handle()
    card.page.wait_for_function(f"card => ({LOADED})([...card.querySelectorAll('img.rc-image-img')])", arg=handle)
    return card


def slide_to_end(card: Locator) -> str:
    """Move a chart's step slider to its last step; return that step once its images are there."""
    slider = card.get_by_role("slider")
    last = slider.get_attribute("aria-valuemax") or ""
    while slider.get_attribute("aria-valuenow") != last:
        before = slider.get_attribute("aria-valuenow") or ""
        slider.press("ArrowRight")
        expect(slider).not_to_have_attribute("aria-valuenow", before)
    shown(card)
    return last


def save(shot: bytes, path: Path) -> None:
    """Write a screenshot as a PNG with as many colours as ``LARGEST`` bytes can hold."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    for colours in (None, 256, 64):
        reduced = picture if colours is None else picture.quantize(colours, dither=Image.Dither.NONE)
        reduced.save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            break
    print(f"{path}  {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Take the three pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("mlruns"))
    parser.add_argument("--to", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    from lorasweep.track.store import open_store

    store = open_store(options.root)
    first = next(run for run in runs_of(store) if run.data.tags["lorasweep.kind"] == "run")
    with browser_page() as page:
        with served(options.root) as address:
            page.set_viewport_size({"width": WIDTH, "height": 540})
            open_table(page, address, store)
            save(page.screenshot(), options.to / "mlflow-runs.png")
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            open_grid(page, address, store)
            save(page.screenshot(), options.to / "mlflow-images.png")
        page.goto((options.root / "runs" / first.info.run_name / "report.html").absolute().as_uri())
        save(page.screenshot(), options.to / "report.png")


def runs_of(store: "Store") -> list[Any]:
    """Return MLflow's runs of the store's experiment, oldest first."""
    return list(store.client.search_runs([store.experiment_id], order_by=["attributes.start_time"]))


def _unfold(page: Page, store: "Store") -> None:
    """Show the children of every parent: a saved view may not say which are unfolded."""
    runs = runs_of(store)
    names = {run.info.run_id: run.info.run_name for run in runs}
    for run in runs:
        link = page.get_by_role("link", name=run.info.run_name, exact=True)
        parent = names.get(run.data.tags.get("mlflow.parentRunId"))
        if parent is not None and not link.is_visible():
            row = page.get_by_role("row").filter(has=page.get_by_role("link", name=parent, exact=True))
            row.get_by_role("button").first.click()
        link.wait_for()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(server: "subprocess.Popen[bytes]", address: str) -> None:
    latest = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < latest:
        with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=10):
            return
        time.sleep(0.2)
    raise RuntimeError(f"lorasweep ui did not answer at {address}")


if __name__ == "__main__":
    main()
