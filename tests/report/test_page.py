import re
import time
from dataclasses import replace
from pathlib import Path

from PIL import Image

from lorasweep.outcomes import RunStatus, RunVerdict, VetoKind
from lorasweep.records import AtStrength, RunView, Validation, Veto
from lorasweep.report.charts import draw
from lorasweep.report.images import contact_sheet, data_uri
from lorasweep.report.page import render, render_comparison, validation_chart, write_comparison, write_report


def test_the_page_asks_the_network_and_the_disk_for_nothing(view: RunView) -> None:
    page = render(view)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert "default-src 'none'" in page
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_what_a_user_wrote_is_never_markup(view: RunView) -> None:
    for page in (render(view), render_comparison([view], view.name)):
        assert "<img src=x" not in page
        assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_only_the_script_that_is_on_the_page_may_run(view: RunView) -> None:
    import base64
    import hashlib

    page = render(view)
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_the_picked_row_is_framed_and_the_base_row_is_on_top(view: RunView) -> None:
    rows = re.findall(r'<tr data-sheet class="(\w*)">\s*<th>([^<]+)<', render(view))
    assert rows == [("", "base model"), ("", "step 100"), ("picked", "step 200"), ("", "step 300")]


def test_the_headline_shows_a_photo_of_the_person_even_where_a_sketch_scored_higher(view: RunView) -> None:
    plain, sketch = view.prompts
    page = render(replace(view, prompts=(plain, replace(sketch, photo=False))))
    (shown,) = re.findall(r'<img src="([^"]*)" alt="drawn by the picked checkpoint">', page)
    assert shown == data_uri(view.folder / "samples" / "200-plain-0.png")


def test_the_headline_names_the_pick_its_file_and_how_sure_it_is(view: RunView) -> None:
    page = render(view)
    assert "Use step 200" in page
    assert "step-200.safetensors</div>" in page
    assert "90 %" in page
    assert "run: fine" in page


def test_what_was_noted_stands_under_the_reason(view: RunView) -> None:
    text = render(replace(view, notes=("left and right are mixed",)))
    assert text.index("run: fine") < text.index("left and right are mixed") < text.index("how sure")


def test_the_score_on_fresh_seeds_stands_beside_its_own_interval(view: RunView) -> None:
    assert re.search(r"score on fresh seeds</dt><dd>0\.71 <small>0\.61 to 0\.81</small>", render(view))


def test_the_finalists_have_a_table_by_strength_and_the_pick_its_pictures(view: RunView) -> None:
    page = render(view)
    assert "Use step 200 at strength 1" in page and "<h2>Strengths</h2>" not in page
    own = next(scores for scores in view.scores if scores.fresh)
    assert view.pick is not None
    sheet = AtStrength(strength=0.85, samples=view.samples[2], scores=replace(own, score=0.77))
    page = render(replace(view, strengths=(sheet,), pick=replace(view.pick, strength=0.85)))
    assert "Use step 200 at strength 0.85" in page
    assert '<th class="num">0.85</th><th class="num">1</th>' in page
    assert '<td class="num">0.77</td><td class="num">0.71</td>' in page
    assert page.count('at strength 0.85"') == len(view.samples[2].samples)


def test_a_run_that_is_still_training_has_a_page(view: RunView) -> None:
    page = render(replace(view, status=RunStatus.RUNNING, pick=None, scores=(), samples=view.samples[:1]))
    assert "No pick yet" in page
    assert "300 of 300 steps" in page


def test_losses_on_fixed_noise_are_shown_over_the_base_models_and_called_evidence(view: RunView) -> None:
    assert "Loss on fixed noise" not in render(view)
    found = [Validation(trial="t", step=s, held_out=0.2 + s / 1e4, train=0.4 - s / 1e3) for s in (0, 100, 200, 300)]
    page = render(replace(view, validation=tuple(found), dvar_step=128))
    assert "Loss on fixed noise" in page
    assert "<title>held-out photos, step 200: 1.100</title>" in page
    assert "<title>training photos, step 200: 0.500</title>" in page
    assert "Evidence only: it does not pick." in page
    assert "would have stopped at step 128." in page
    blind = tuple(replace(each, held_out=float("nan")) for each in found)
    page = render(replace(view, validation=blind))
    assert "No photo was held out, so only training photos are measured." in page
    assert "<title>held-out photos" not in page
    assert "would not have stopped so far." in page


def test_losses_of_the_base_model_alone_are_no_chart_yet(view: RunView) -> None:
    base = Validation(trial="t", step=0, held_out=0.2, train=0.4)
    assert draw(validation_chart(replace(view, validation=(base,)))) == ""


def test_a_run_without_anything_has_a_page(view: RunView) -> None:
    empty = RunView(
        name="new", folder=view.folder, status=RunStatus.FAILED, config={}, provenance={}, error="The disk is full."
    )
    assert "The disk is full." in render(empty)
    assert contact_sheet(empty) is None


def test_a_veto_is_told_beside_the_verdict(view: RunView) -> None:
    ruled_out = replace(view.scores[2], vetoes=(Veto(VetoKind.NO_FACE, 0.3),))
    page = render(replace(view, scores=(*view.scores[:2], ruled_out)))
    assert '<span class="soft">30% of its pictures show no face</span>' in page


def test_a_style_is_not_called_a_failure(view: RunView) -> None:
    assert view.pick is not None
    page = render(replace(view, pick=replace(view.pick, step=None, run_verdict=RunVerdict.LOOK)))
    assert "No automatic pick" in page
    assert "run: look at the sheet" in page


def test_a_run_without_a_usable_checkpoint_says_so(view: RunView) -> None:
    assert view.pick is not None
    none = replace(
        view.pick, step=None, best_step=None, runner_up=None, run_verdict=RunVerdict.NOTHING_USABLE, score=float("nan")
    )
    page = render(replace(view, pick=none))
    assert "No checkpoint to recommend" in page
    assert not re.search(r">\s*nan", page)


def test_a_picture_that_has_gone_leaves_the_page_whole(view: RunView) -> None:
    for sample in view.samples[1].samples:
        sample.path.unlink()
    assert 'src=""' in render(view)
    assert contact_sheet(view) is not None


def test_a_large_picture_is_embedded_small(tmp_path: Path) -> None:
    noise = Image.effect_noise((1024, 768), 80).convert("RGB")
    noise.save(tmp_path / "large.png")
    assert len(data_uri(tmp_path / "large.png")) < 120_000


def test_the_sheet_is_written_when_the_run_is_over_and_the_page_at_every_checkpoint(
    view: RunView, tmp_path: Path
) -> None:
    page = write_report(tmp_path / "out", replace(view, status=RunStatus.RUNNING))
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]
    write_report(tmp_path / "out", view)
    assert sorted(path.name for path in page.parent.iterdir()) == ["contact_sheet.png", "report.html"]
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.getpixel((2, 28 + 2 * 134)) == (31, 157, 85)


def test_a_comparison_puts_the_best_pick_first(view: RunView, tmp_path: Path) -> None:
    assert view.pick is not None
    better = replace(view, name="better", pick=replace(view.pick, score=0.9, steady=0.9))
    lucky = replace(view, name="lucky", pick=replace(view.pick, score=0.95, steady=0.01))
    worst = replace(view, name="worst", pick=None, scores=())
    page = write_comparison(tmp_path, [view, worst, lucky, better]).read_text(encoding="utf-8")
    places = [page.index(f"<h2>{name}") for name in ("better", "run ", "lucky", "worst")]
    assert places == sorted(places)
    assert "lr 0.001" in page


def test_a_page_of_thirteen_checkpoints_is_made_in_a_second(view: RunView) -> None:
    sheets = tuple(replace(view.samples[1], step=s, samples=view.samples[1].samples * 4) for s in range(13))
    began = time.process_time()
    render(replace(view, samples=sheets))
    assert time.process_time() - began < 1.0
