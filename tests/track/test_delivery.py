import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from track.story import PROMPTS, Story, story_in

from lorasweep.track.delivery import Delivery, shipped, sync, sync_run
from lorasweep.track.journal import Journal, read
from lorasweep.track.run_folder import RunFolder
from lorasweep.track.store import Store, open_store
from lorasweep.track.tracker import JournalTracker


def told(story: Story, status: str | None = "finished", **changes: object) -> RunFolder:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta(**changes))
    story.tell(tracker)
    tell_the_end(story, tracker)
    if status is None:
        tracker.close()
    else:
        tracker.end(status)
    return tracker.run


def tell_the_end(story: Story, tracker: JournalTracker) -> None:
    """What comes after the last checkpoint, and the losses on fixed noise."""
    for step in (0, 6):
        tracker.fixed_batch(story.fixed_batch(step))
        tracker.validation(story.validation(step), story.validation(0))
    tracker.samples(story.samples(6, fresh=True), PROMPTS)
    tracker.scores(story.scores(6, fresh=True))
    tracker.pick(story.pick())


def delivered(run: RunFolder, store: Store) -> Any:
    delivery = Delivery(run, store)
    delivery.deliver()
    delivery.close()
    return the_run(store)


def the_run(store: Store) -> Any:
    runs = store.client.search_runs([store.experiment_id])
    assert len(runs) == 1
    return runs[0]


def history(store: Store, run: Any, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client.get_metric_history(run.info.run_id, key)]


def images(store: Store, run: Any) -> list[str]:
    return sorted(file.path for file in store.client.list_artifacts(run.info.run_id, "images"))


def models(store: Store) -> list[Any]:
    return sorted(store.client.search_logged_models([store.experiment_id]), key=lambda model: model.name)


def assert_exactly_once(store: Store, story: Story) -> None:
    run = the_run(store)
    assert history(store, run, "train/loss") == [(n, 0.1 + 1 / (3 * n)) for n in range(1, 7)]
    assert history(store, run, "train/grad_norm") == [(n, n / 7) for n in range(1, 7)]
    assert history(store, run, "eval/score") == [(3, 0.3), (6, 0.6)]
    assert history(store, run, "validation/held_out_vs_base") == [(0, 1.0), (6, pytest.approx(1.4))]
    assert history(store, run, "validation/fixed_batch") == [(0, 1 / 3), (6, 1 / 9)]
    assert history(store, run, "fresh/score") == [(6, 0.6)]
    assert history(store, run, "picked/step") == [(6, 6.0)]
    assert len(images(store, run)) == 2 * (4 * len(PROMPTS))
    assert [(model.name[-6:], str(model.status)) for model in models(store)] == [
        ("step-3", "READY"),
        ("step-6", "READY"),
    ]
    assert len(run.outputs.model_outputs) == 2
    assert [len([m for m in model.metrics if m.key == "eval/score"]) for model in models(store)] == [1, 1]


def test_all_of_a_run_arrives_once(story: Story, store: Store) -> None:
    run = delivered(told(story), store)
    assert_exactly_once(store, story)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == story.folder.name
    tags = run.data.tags
    assert tags["lorasweep.picked"] == "6"
    assert tags["lorasweep.verdict"] == "fine"
    assert tags["lorasweep.run_signature"] == "run-sig"
    assert tags["lorasweep.evaluation_signature"] == "eval-sig"
    assert run.data.params["optim.lr"] == "0.001"
    assert run.data.params["effective_lr"] == "0.0005"


def test_the_configuration_is_an_artifact_with_its_hash(story: Story, store: Store) -> None:
    run = delivered(told(story), store)
    local = Path(store.client.download_artifacts(run.info.run_id, "config.json"))
    assert len(json.loads(local.read_text())["long"]) == 7000
    assert run.data.tags["lorasweep.sha256.config.json"] == RunFolder(story.folder).save_config(
        json.loads(local.read_text())
    )


def test_a_checkpoint_is_a_hard_link_in_a_store_on_the_same_disk(story: Story, store: Store) -> None:
    delivered(told(story), store)
    linked = list((story.folder.parent.parent / "artifacts").rglob("*.safetensors"))
    assert sorted(path.name for path in linked) == ["step-000003.safetensors", "step-000006.safetensors"]
    assert all(path.samefile(story.folder / "checkpoints" / path.name) for path in linked)


def test_a_checkpoint_is_copied_where_links_are_not_possible(
    story: Story, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    delivered(told(story), store)
    copied = list((story.folder.parent.parent / "artifacts").rglob("step-000006.safetensors"))
    assert [path.read_bytes() for path in copied] == [b"weights of step 6"]


def test_a_step_journaled_twice_is_shipped_once(story: Story, store: Store) -> None:
    first = JournalTracker(story.folder)
    first.start(story.meta())
    story.tell(first, last=5)
    first.close()
    delivered(first.run, store)
    again = JournalTracker(story.folder)
    again.start(story.meta())
    story.tell(again, first=4)
    again.end("finished")
    run = delivered(again.run, store)
    assert [step for step, _ in history(store, run, "train/loss")] == [1, 2, 3, 4, 5, 6]


class DiesAt:
    """A client whose n-th call never comes back: the error strikes after the server has done its work."""

    def __init__(self, client: Any, call: int) -> None:
        self._client = client
        self._left = call

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self._left -= 1
            if self._left == 0:
                raise ConnectionError("the server went away")
            return result

        return called


def test_a_connection_lost_after_any_call_neither_loses_nor_doubles_anything(story: Story, store: Store) -> None:
    """Every call in turn fails although it worked; a new delivery, as after a crash, then goes on from the cursor."""
    run = told(story)
    for call in range(1, 80):
        delivery = Delivery(run, Store(DiesAt(store.client, call), store.experiment_id, store.key))  # type: ignore[arg-type]
        try:
            delivery.deliver()
        except ConnectionError:
            continue
        finally:
            delivery.close()
        break
    else:
        pytest.fail("delivery never came to its end")
    assert call > 10
    assert_exactly_once(store, story)


class DiesAfter:
    """A client whose first call of one method never comes back although the server did what it asked."""

    def __init__(self, client: Any, method: str) -> None:
        self._client = client
        self._method = method

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name != self._method:
            return method

        def called(*args: Any, **kwargs: Any) -> Any:
            method(*args, **kwargs)
            raise ConnectionError("the server went away")

        return called


def test_a_connection_lost_at_each_kind_of_call_neither_loses_nor_doubles_anything(story: Story, store: Store) -> None:
    run = told(story)
    kinds = (
        *("create_run", "update_run", "log_batch", "log_artifact", "log_image"),
        *("create_logged_model", "log_outputs", "finalize_logged_model", "set_terminated"),
    )
    for kind in kinds:
        dying = Store(DiesAfter(store.client, kind), store.experiment_id, store.key)  # type: ignore[arg-type]
        delivery = Delivery(run, dying)
        with pytest.raises(ConnectionError):
            delivery.deliver()
        delivery.close()
    delivered(run, store)
    assert_exactly_once(store, story)


def test_a_lost_cursor_file_is_recovered_from_the_store(story: Story, store: Store) -> None:
    run = told(story)
    delivered(run, store)
    (run.path / "shipped.json").unlink()
    delivered(run, store)
    assert_exactly_once(store, story)
    assert shipped(run, store) is not None


def test_a_lost_cursor_tag_doubles_nothing(story: Story, store: Store) -> None:
    """The worst case: everything is sent again from the start."""
    run = told(story)
    mlflow_run = delivered(run, store)
    store.client.set_tag(mlflow_run.info.run_id, "lorasweep.cursor", "0")
    delivered(run, store)
    assert_exactly_once(store, story)


def test_an_image_whose_small_copy_never_arrived_is_completed(story: Story, store: Store) -> None:
    run = told(story)
    mlflow_run = delivered(run, store)
    small = next((story.folder.parent.parent / "artifacts").rglob("hat+step+3+*+compressed.webp"))
    small.unlink()
    store.client.set_tag(mlflow_run.info.run_id, "lorasweep.cursor", "0")
    delivered(run, store)
    assert small.exists()
    assert_exactly_once(store, story)


def test_a_killed_run_is_killed_in_mlflow_and_running_again_when_it_is_resumed(story: Story, store: Store) -> None:
    run = told(story, status=None)
    assert sync_run(run, store).status == "killed"
    assert the_run(store).info.status == "KILLED"
    assert the_run(store).data.tags["lorasweep.status"] == "killed"
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta())
    delivered(run, store)
    assert the_run(store).info.status == "RUNNING"
    assert sync_run(run, store).sent == 0
    tracker.end("finished")
    assert sync_run(run, store).status == "finished"
    assert the_run(store).info.status == "FINISHED"


@pytest.mark.parametrize(("status", "word"), [("failed", "FAILED"), ("stopped", "KILLED")])
def test_each_way_to_end_has_its_word(story: Story, store: Store, status: str, word: str) -> None:
    assert delivered(told(story, status=status), store).info.status == word


def test_a_trial_is_a_child_of_its_multirun_whichever_is_delivered_first(root: Path, store: Store) -> None:
    parent, child = story_in(root, "sweep-0001"), story_in(root, "trial-0002")
    tracker = JournalTracker(parent.folder)
    tracker.start(parent.meta(multirun=True, config={}, dataset=None, prompts=()))
    run = told(child, parent="sweep-0001")
    delivery = Delivery(run, store)
    delivery.deliver()
    delivery.close()
    tracker.end("finished")
    assert [synced.name for synced in sync(root, store)] == ["sweep-0001", "trial-0002"]
    runs = {found.info.run_name: found for found in store.client.search_runs([store.experiment_id])}
    assert set(runs) == {"sweep-0001", "trial-0002"}
    assert runs["trial-0002"].data.tags["mlflow.parentRunId"] == runs["sweep-0001"].info.run_id
    assert runs["sweep-0001"].data.tags["lorasweep.kind"] == "multirun"
    assert runs["sweep-0001"].info.status == "FINISHED"


def test_sync_sends_nothing_a_second_time(story: Story, root: Path, store: Store) -> None:
    told(story)
    assert [synced.sent for synced in sync(root, store)] == [len(list(read(story.folder)))]
    assert [synced.sent for synced in sync(root, store)] == [0]


def test_a_run_goes_to_a_second_store_whole(story: Story, store: Store, tmp_path: Path, empty_database: Path) -> None:
    run = told(story)
    delivered(run, store)
    (tmp_path / "other").mkdir()
    shutil.copy(empty_database, tmp_path / "other" / "mlflow.db")
    other = open_store(tmp_path / "other")
    delivered(run, other)
    assert_exactly_once(other, story)
    assert_exactly_once(store, story)


def test_infinity_is_never_stored_as_a_number(story: Story, store: Store) -> None:
    journal = Journal(story.folder)
    tracker = JournalTracker(story.folder)
    journal.close()
    tracker.start(story.meta())
    for n, loss in ((1, 0.5), (2, float("inf")), (3, float("nan"))):
        tracker.step(type(story.step(n))(**{**vars(story.step(n)), "loss": loss}))
    tracker.end("failed", "The loss became NaN at step 3.")
    run = delivered(tracker.run, store)
    assert history(store, run, "train/loss") == [(1, 0.5)]
    assert run.data.tags["lorasweep.not_finite"] == "loss at step 3"
    assert run.data.tags["lorasweep.error"] == "The loss became NaN at step 3."


def test_a_parameter_that_changed_is_told_and_does_not_stop_delivery(story: Story, store: Store) -> None:
    told(story)
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta(config={"optim": {"lr": 1e-3, "steps": 900}}))
    tracker.end("finished")
    run = delivered(tracker.run, store)
    assert run.data.params["optim.steps"] == "6"
    assert run.data.tags["lorasweep.changed.optim.steps"] == "900"


def test_no_secret_reaches_any_file_of_the_run_or_the_store(
    story: Story, root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary0of0the0coal0mine")
    config = {
        "track": {"uri": "http://me:hunter22@host/"},
        "model": {"path": "canary0of0the0coal0mine", "revision": "hf_abcdefghijklmnopqrstuv"},
    }
    run = told(story, config=config)
    delivered(run, store)
    for path in root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (b"canary0of0", b"hunter22", b"hf_abcdef"):
                assert secret not in data, f"{secret!r} in {path}"
