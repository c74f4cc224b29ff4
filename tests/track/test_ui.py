"""MLflow's own pages as ``lorasweep ui`` serves them, seen through a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Locator, Page, expect
from track.story import PROMPTS, Story, story_in

from benchmarks.pictures import pages
from lorasweep.track.delivery import sync
from lorasweep.track.store import CALM, Store, open_store
from lorasweep.track.tracker import JournalTracker, RunMeta

pytestmark = pytest.mark.slow

ALONE, PARENT, CHILDREN = "anna-0001", "anna-multirun-0001", ("anna-lr1e-3-0001", "anna-lr4e-3-0001")
COLUMNS = {
    "metrics.`picked/score`": "0.625",
    "metrics.`picked/step`": "6",
    "params.`optim.lr`": "0.001",
    "params.`lora.rank`": "8",
    "tags.`lorasweep.verdict`": "fine",
}
KEYS = [prompt.key for prompt in PROMPTS]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def store(root: Path, empty_database: Path) -> Iterator[Store]:
    """A run alone, and two runs of one parent."""
    shutil.copy(empty_database, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in CALM.items():
            patch.setenv(name, value)
        _tell(story_in(root, ALONE))
        parent = JournalTracker(story_in(root, PARENT).folder)
        parent.start(RunMeta(name=PARENT, config={"preset": "tiny"}, multirun=True))
        parent.end("finished")
        for name in CHILDREN:
            _tell(story_in(root, name), parent=PARENT)
        store = open_store(root)
        sync(root, store)
        yield store


@pytest.fixture(scope="module")
def address(root: Path, store: Store) -> Iterator[str]:
    if pages.chromium() is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    with pages.served(root) as address:
        yield address


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    with pages.browser_page() as page:
        yield page


def _tell(story: Story, **changes: object) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta(**changes))
    story.tell(tracker)
    tracker.pick(story.pick())
    tracker.end("finished")


def _shown(card: Locator) -> list[tuple[str, str]]:
    """Key and step of every picture of a chart, from the names of the files that were loaded."""
    sources = card.locator("img.rc-image-img").evaluate_all("images => images.map(image => image.src)")
    names = [parse_qs(urlparse(source).query)["path"][0].removeprefix("images/").split("+") for source in sources]
    return [(key, step) for key, _, step, *_ in names]


def test_the_runs_page_lists_every_run_with_its_rate_and_its_pick(page, address, store):
    pages.open_table(page, address, store)
    expect(page.get_by_role("link", name=PARENT, exact=True)).to_be_visible()
    ids = {run.info.run_name: run.info.run_id for run in pages.runs_of(store)}
    for name in (ALONE, *CHILDREN):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
        for column, value in COLUMNS.items():
            expect(page.locator(f'[row-id="{ids[name]}"] [col-id="{column}"]')).to_have_text(value)


def test_the_page_of_a_run_has_a_chart_a_prompt_whose_slider_goes_through_the_checkpoints(page, address, store):
    run = next(run for run in pages.runs_of(store) if run.info.run_name == ALONE)
    charts = pages.open_run_images(page, address, run, KEYS)
    for key in KEYS:
        assert _shown(charts[key]) == [(key, "0")]
        assert pages.slide_to_end(charts[key]) == "6"
        assert _shown(charts[key]) == [(key, "6")]


def test_the_view_shows_the_pictures_of_all_runs_side_by_side_below_one_slider(page, address, store):
    card = pages.open_grid(page, address, store)
    expected = sorted((key, "6") for key in KEYS for _ in (ALONE, *CHILDREN))
    # The page asks for the pictures of one run after another.
    expect(card.locator("img.rc-image-img")).to_have_count(len(expected), timeout=pages.PATIENCE * 1000)
    assert sorted(_shown(pages.shown(card))) == expected
    # Parameters of 7,000 characters are written above every picture unless the view says no.
    expect(card.locator("img.rc-image-img").first).to_be_in_viewport()
    expect(card.get_by_role("slider")).to_have_attribute("aria-valuenow", "6")
