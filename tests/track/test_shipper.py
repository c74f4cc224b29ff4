import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from track.story import Story
from track.test_delivery import assert_exactly_once, history, tell_the_end, the_run

from lorasweep.track.delivery import sync
from lorasweep.track.shipper import Shipper
from lorasweep.track.store import Store, open_store
from lorasweep.track.tracker import JournalTracker


@contextmanager
def never_answering() -> Iterator[str]:
    """A server that takes every call and says nothing."""
    held = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        server.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    held.append(server.accept()[0])
                except OSError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        thread.join()
        for connection in held:
            connection.close()


def slowest_call(story: Story, tracker: JournalTracker) -> float:
    """Seconds of the slowest step that the run tells, while the shipper is at work."""
    slowest = 0.0
    for n in range(1, 201):
        began = time.perf_counter()
        tracker.step(story.step(n))
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(0.002)
    return slowest


def test_a_run_is_delivered_while_it_goes_on_and_whole_when_it_ends(story: Story, store: Store) -> None:
    shipper = Shipper(lambda: store, patience=30, longest=60)
    tracker = JournalTracker(story.folder, shipper)
    tracker.start(story.meta())
    story.tell(tracker)
    deadline = time.monotonic() + 30
    while not store.client.search_runs([store.experiment_id]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert the_run(store).info.status == "RUNNING"
    tell_the_end(story, tracker)
    assert tracker.end("finished") == ""
    assert_exactly_once(store, story)
    assert the_run(store).info.status == "FINISHED"


def test_a_server_that_never_answers_blocks_no_step_and_nothing_is_lost(
    story: Story, root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with never_answering() as uri:
        shipper = Shipper(lambda: open_store(root, uri), patience=2, longest=4)
        tracker = JournalTracker(story.folder, shipper)
        tracker.start(story.meta())
        assert slowest_call(story, tracker) < 0.25
        began = time.monotonic()
        late = tracker.end("finished")
        assert time.monotonic() - began < 6
        shipper.stop()
    assert late.startswith(f"MLflow does not have all of {story.folder.name} yet")
    assert late.endswith("run `lorasweep sync` to deliver the rest.")
    sync(root, store)
    assert [step for step, _ in history(store, the_run(store), "train/loss")] == list(range(1, 201))


def test_a_dead_server_never_blocks_a_step_and_is_named_at_the_end(story: Story, root: Path) -> None:
    shipper = Shipper(lambda: open_store(root, "http://me:secret@127.0.0.1:9"), patience=3, longest=6)
    tracker = JournalTracker(story.folder, shipper)
    tracker.start(story.meta())
    assert slowest_call(story, tracker) < 0.25
    late = tracker.end("finished")
    assert "run `lorasweep sync`" in late
    assert "secret" not in late
    shipper.stop()


def test_a_store_that_comes_back_gets_everything(story: Story, store: Store) -> None:
    failures = [OSError("no route"), OSError("no route")]

    def opener() -> Store:
        if failures:
            raise failures.pop()
        return store

    shipper = Shipper(opener, patience=30, longest=60)
    tracker = JournalTracker(story.folder, shipper)
    tracker.start(story.meta())
    story.tell(tracker)
    while failures:
        shipper._not_before = 0.0
        shipper.nudge()
        time.sleep(0.05)
    assert tracker.end("finished") == ""
    assert [step for step, _ in history(store, the_run(store), "train/loss")] == [1, 2, 3, 4, 5, 6]


def test_closing_again_waits_for_nothing(story: Story, store: Store) -> None:
    shipper = Shipper(lambda: store, patience=30, longest=60)
    tracker = JournalTracker(story.folder, shipper)
    tracker.start(story.meta())
    assert tracker.end("finished") == ""
    began = time.monotonic()
    assert tracker.close() == ""
    assert shipper.drain(story.folder) == ""
    assert time.monotonic() - began < 1


def test_a_shipper_that_stopped_lets_others_deliver(story: Story, root: Path, store: Store) -> None:
    left = [OSError("no route")] * 3

    def opener() -> Store:
        if left:
            raise left.pop()
        return store

    shipper = Shipper(opener, patience=0.2, longest=0.5)
    tracker = JournalTracker(story.folder, shipper)
    tracker.start(story.meta())
    assert "run `lorasweep sync`" in tracker.end("finished")
    shipper.stop()
    assert shipper._thread is not None
    shipper._thread.join(timeout=30)
    assert [synced.status for synced in sync(root, store)] == ["finished"]
    assert the_run(store).info.status == "FINISHED"


def test_one_thread_serves_all_trials_of_a_cohort(root: Path, story: Story, store: Store) -> None:
    from track.story import story_in

    other = story_in(root, "trial-0002")
    shipper = Shipper(lambda: store, patience=30, longest=60)
    trackers = [JournalTracker(s.folder, shipper) for s in (story, other)]
    for tracker, s in zip(trackers, (story, other), strict=True):
        tracker.start(s.meta())
        s.tell(tracker)
    assert [tracker.end("finished") for tracker in trackers] == ["", ""]
    names = {run.info.run_name: run.info.status for run in store.client.search_runs([store.experiment_id])}
    assert names == {story.folder.name: "FINISHED", "trial-0002": "FINISHED"}
    assert [t.name for t in threading.enumerate()].count("lorasweep-shipper") >= 1


SHIP = """
import sys, time
from pathlib import Path
from lorasweep.track.store import open_store
from lorasweep.track.delivery import Delivery
from lorasweep.track.run_folder import RunFolder
store = open_store(Path(sys.argv[1]))
print("open", flush=True)
Delivery(RunFolder(Path(sys.argv[2])), store).deliver()
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_shipper_killed_at_any_moment_loses_and_doubles_nothing(story: Story, root: Path, store: Store) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta())
    story.tell(tracker)
    tell_the_end(story, tracker)
    tracker.end("finished")
    rng = random.Random(0)
    env = {**os.environ, "PYTHONPATH": "src"}
    for _ in range(8):
        command = [sys.executable, "-c", SHIP, str(root), str(story.folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    sync(root, store)
    assert_exactly_once(store, story)
