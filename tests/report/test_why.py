import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from lorasweep.errors import UserError
from lorasweep.outcomes import VetoKind
from lorasweep.records import RunView, Scores, Veto
from lorasweep.report.page import render
from lorasweep.report.table import why_table
from lorasweep.report.why import cards_of, most_moved, why_all, why_not, why_picked


def judged(view: RunView, step: int, identity: float, hat: float = 0.6) -> Scores:
    """Identity is judged on the plain prompt only, as in the fixture's own scores."""
    own = view.scores[0]
    shares = np.array([[[identity, 0.9], [identity, 0.9]], [[np.nan, hat], [np.nan, hat]]])
    components = {"identity": identity, "prompt": float(np.nanmean(shares[..., 1]))}
    score = components["identity"] ** 0.6 * components["prompt"] ** 0.4
    return replace(own, step=step, by_prompt=shares, components=components, score=score)


@pytest.fixture
def explained(view: RunView) -> RunView:
    scores = [judged(view, 0, 0.02), judged(view, 100, 0.4), judged(view, 200, 0.8), judged(view, 300, 0.8, hat=0.1)]
    return replace(view, scores=tuple(scores), config={**view.config, "data": {"trigger": "ohwx"}})


def test_the_pick_is_told_against_the_base_model_and_its_neighbours_against_it(explained: RunView) -> None:
    found = why_picked(explained)
    assert [(each.step, each.against) for each in found] == [(200, 0), (100, 200), (300, 200)]
    assert "2 of 2 pictures are not yet recognised as ohwx" in found[1].text
    assert "prompt hat ('hat') is ignored in 2 of 2 pictures (none at step 200)" in found[2].text


def test_any_checkpoint_is_told_against_the_base_model_and_the_pick(explained: RunView) -> None:
    assert [(each.step, each.against) for each in why_not(explained, 300)] == [(300, 0), (300, 200)]
    assert [(each.step, each.against) for each in why_not(explained, 0)] == [(200, 0)]
    assert why_not(explained, 200) == why_picked(explained)


def test_a_checkpoint_after_a_divergence_is_told_to_be_ruled_out(explained: RunView) -> None:
    destroyed = (Veto(VetoKind.DAMAGED, 0.99),)
    base, *trained = sorted((s for s in explained.scores if not s.fresh), key=lambda scores: scores.step)
    gone = [replace(scores, vetoes=destroyed) for scores in trained[:2]]
    last = trained[2].step
    view = replace(explained, scores=(base, *gone, *trained[2:]))
    assert "ruled out: training had diverged before it" in why_not(view, last)[0].text
    assert "ruled out" not in why_not(explained, last)[0].text


def test_a_step_that_was_not_judged_is_refused_with_those_that_were(explained: RunView) -> None:
    with pytest.raises(UserError, match=r"--why was told 150, .* it has 100, 200, 300\."):
        why_not(explained, 150)


def test_where_nothing_is_usable_the_highest_score_stands_in_for_the_pick(explained: RunView) -> None:
    assert explained.pick is not None
    none = replace(explained, pick=replace(explained.pick, step=None, best_step=300, runner_up=None))
    assert [(each.step, each.against) for each in why_picked(none)] == [(300, 0), (200, 300)]


def test_a_run_from_before_the_base_model_was_judged_is_explained_without_it(explained: RunView) -> None:
    old = replace(explained, scores=explained.scores[1:])
    assert [(each.step, each.against) for each in why_all(old)] == [(100, 200), (300, 200)]
    assert why_all(replace(explained, scores=())) == ()


def test_a_picture_is_named_once_with_the_component_that_it_moved_most(explained: RunView) -> None:
    both = judged(explained, 300, 0.3, hat=0.1)
    found = why_not(replace(explained, scores=(*explained.scores[:3], both)), 300)[1]
    named = [(component, moved.prompt, moved.seed) for component, moved in most_moved(found)]
    assert sorted(named) == [
        ("identity", "plain", 0),
        ("identity", "plain", 1),
        ("prompt", "hat", 0),
        ("prompt", "hat", 1),
    ]
    assert named[0][0] == "identity"


def test_the_page_shows_moved_pictures_without_holding_them_twice(explained: RunView) -> None:
    page = render(explained)
    shown = re.findall(r'<img data-of="([^"]+)"', page)
    assert {"p200-0-0", "p0-0-0", "p300-1-1"} <= set(shown)
    held = re.findall(r'<img id="([^"]+)" src="data:', page)
    assert set(shown) <= set(held)
    assert len(held) == len(set(held)) == 16


def test_the_bars_of_checkpoints_against_the_pick_share_one_scale(explained: RunView) -> None:
    base, early, late = cards_of(explained)
    widths = [[float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', card.bars)] for card in (early, late)]
    changes = [[part.change for part in card.found.contributions] for card in (early, late)]
    assert widths[0][0] / widths[1][1] == pytest.approx(changes[0][0] / changes[1][1], rel=0.01)
    assert 'class="loss"' in late.bars
    assert ">×40.00<" not in base.bars
    assert f">×{np.exp(base.found.contributions[0].change):.2f}<" in base.bars


def test_a_far_checkpoint_is_folded_away(explained: RunView) -> None:
    assert explained.pick is not None
    far = replace(explained, pick=replace(explained.pick, step=300, best_step=300, runner_up=200))
    assert [(card.found.step, card.near) for card in cards_of(far)] == [(300, True), (100, False), (200, True)]
    assert "<summary>1 more checkpoint</summary>" in render(far)


def test_the_table_for_the_terminal_adds_up(explained: RunView) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    found = why_picked(explained)[1]
    console.print(why_table(found))
    text = console.export_text()
    changes = [float(number) for number in re.findall(r"([+-]\d\.\d{3})", text)]
    assert changes[0] == pytest.approx(0.6 * np.log(0.4 / 0.8), abs=6e-4)
    assert sum(changes[:-1]) == pytest.approx(changes[-1], abs=1.1e-3)
    assert "plain/0 0.80 → 0.40" in text
