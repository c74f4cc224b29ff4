import json
from dataclasses import replace
from typing import Any

from track.story import Story, story_in

from lorasweep.track.delivery import sync
from lorasweep.track.store import Store
from lorasweep.track.tracker import JournalTracker
from lorasweep.track.view import save_view


def saved(store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    """What MLflow's page reads: the view, and the state that it holds as text."""
    tags = store.client.get_experiment(store.experiment_id).tags
    view = json.loads(tags["mlflow.sharedViewState.lorasweep"])
    return view, json.loads(view["state"])


def grid(story: Story, store: Store) -> dict[str, Any]:
    """The view's one chart, once MLflow holds all that the story's journal holds."""
    sync(story.folder.parents[1], store)
    save_view(store)
    (chart,) = saved(store)[1]["compareRunCharts"]
    return chart


def test_the_grid_holds_every_prompt_at_the_last_checkpoint_and_once_there_is_a_pick_at_that(
    story: Story, store: Store
) -> None:
    tracker = JournalTracker(story.folder)
    tracker.start(story.meta())
    story.tell(tracker)
    tracker.samples(story.samples(3, fresh=True), story.meta().prompts)
    tracker.end("finished")
    chart = grid(story, store)
    assert (chart["imageKeys"], chart["step"], chart["showRunParams"]) == (["hat", "plain"], 6, False)
    tracker = JournalTracker(story.folder)
    tracker.pick(replace(story.pick(), step=3))
    tracker.close()
    assert grid(story, store)["step"] == 3


def test_a_newer_run_that_has_drawn_nothing_yet_leaves_the_grid_as_it_was(story: Story, store: Store) -> None:
    for each, told in ((story, True), (story_in(story.folder.parents[1], "newer-0002"), False)):
        tracker = JournalTracker(each.folder)
        tracker.start(each.meta())
        if told:
            each.tell(tracker)
        tracker.end("finished")
    assert grid(story, store)["imageKeys"] == ["hat", "plain"]


def test_a_store_without_runs_has_a_view_without_pictures(store: Store) -> None:
    save_view(store)
    view, state = saved(store)
    assert state["compareRunCharts"] == []
    assert view["name"] == "lorasweep"


def test_a_view_that_is_written_again_keeps_when_it_was_made(store: Store) -> None:
    save_view(store)
    first, _ = saved(store)
    save_view(store)
    again, _ = saved(store)
    assert again["createdAt"] == first["createdAt"] <= again["updatedAt"]
