"""What a plan says, held against what a run then does."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from contracts.tiny import SIDE, tiny_dataset, tiny_run, write_tiny_photos
from contracts.tiny_models import write_tiny

from lorasweep import cli
from lorasweep.commands.plan import plan
from lorasweep.config.compose import load_run, to_plain
from lorasweep.config.schema import HardwareConfig, ModelConfig, OptimConfig, RunConfig
from lorasweep.data.prompts import fill_prompts
from lorasweep.errors import UserError
from lorasweep.models import load_family
from lorasweep.models.lora.layer import AdapterBank, LoraWeights
from lorasweep.plan import duration, footprint, planning
from lorasweep.plan.counting import Counting, ledger_of
from lorasweep.plan.footprint import GIB, Footprint, Hint, advice, require_room
from lorasweep.plan.ledger import Ledger, Work
from lorasweep.plan.schedule import disk_of, pictures_in_all, schedule_of
from lorasweep.run.training import train_together
from lorasweep.track.journal import Entry
from lorasweep.train.cohort import Cohort
from lorasweep.train.optimizers import SlotOptimizer
from lorasweep.train.sample import Sheet, draw_adapter
from lorasweep.train.trial import Trial

WITHIN = 0.15
SHEET = {"one": {"text": "a photo of {trigger}"}, "two": {"text": "a drawing of {trigger}"}}


def ignore(_):
    """Says nothing."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("planned")
    return {kind: write_tiny(kind, root / kind) for kind in ("sdxl", "flux")}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return tiny_dataset(write_tiny_photos(tmp_path_factory.mktemp("photos")))


def run_of(kind, models, **optim):
    from lorasweep.config.schema import EvaluateConfig, PromptConfig, SampleConfig

    run = tiny_run(models[kind], lora={"targets": "linear"}, **optim)
    prompts = {key: PromptConfig(**words) for key, words in SHEET.items()}
    return dataclasses.replace(
        run,
        model=ModelConfig(family=kind, path=str(models[kind]), resolution=SIDE),
        hardware=HardwareConfig(device="cpu", base="full"),
        sample=SampleConfig(prompts=prompts, batch_size=3, steps=2, sampler="auto"),
        evaluate=EvaluateConfig(enabled=False),
    )


@pytest.mark.parametrize(("kind", "optim"), [("sdxl", {"name": "adamw"}), ("flux", {"name": "prodigy", "lr": 1.0})])
def test_each_phase_takes_what_was_planned(kind, optim, models, photos, tmp_path):
    run = run_of(kind, models, **optim)
    planned = planning.footprint_of(run, Counting(run.model, "fp32", "cpu"), photos, "cpu")
    family = load_family(run.model, run.hardware)
    weights = sum(t.nbytes for part in (*family.components.values(), family.vae) for t in tensors_of(part))
    assert planned.phases["training"]["frozen weights"] == weights
    cohort, trial = Cohort(family, 1), Trial("a", run, photos, tmp_path)
    with ledger_of(family) as first:
        cohort.latents(photos.train[0], trial.placements[0])
    assert planned.phases["encoding"]["activations"] == pytest.approx(first.peak, rel=WITHIN)
    with ledger_of(family) as rest:
        for photo, placement in zip(photos.train[1:], trial.placements[1:], strict=True):
            cohort.latents(photo, placement)
        cohort.texts([*(photo.caption for photo in photos.train), ""], 0)
    remembered = first.now + rest.now
    assert planned.phases["training"]["remembered photos and captions"] == pytest.approx(remembered, rel=WITHIN)

    steps = []
    with ledger_of(family) as training:  # from the making of the adapters to a step after a state was saved
        cohort.admit(trial)
        cohort._step(steps.append)
        cohort._refresh()
        cohort._step(steps.append)
    assert len(steps) == 2
    # without what is known for sure, the weights, so that they cannot hide an error in the rest
    assert planned.tensors_of("training") - weights - remembered == pytest.approx(training.peak, rel=WITHIN)

    bank = cohort._stack()
    sheet = Sheet.of(run, fill_prompts(run.sample, run.data))
    with ledger_of(family, bank) as drawing:
        draw_adapter(family, cohort.adapter("a"), steps[-1], sheet, tmp_path / "drawn")
    counted = {key: planned.phases["drawing"][key] for key in ("the checkpoint's adapters", "activations")}
    assert sum(counted.values()) == pytest.approx(drawing.peak, rel=WITHIN)


def tensors_of(module):
    return [*module.parameters(), *module.buffers()]


@pytest.mark.parametrize("name", ["adamw", "prodigy", "adafactor"])
def test_an_optimiser_takes_what_is_written_down_for_it(name):
    adapter = {f"unet.{i}": LoraWeights(torch.randn(8, 500), torch.randn(250 * i + 250, 8), 8.0) for i in range(4)}
    bank = AdapterBank([adapter], trainable=True)
    assert bank.gradients is not None
    bank.gradients.normal_()
    optimizer = SlotOptimizer(OptimConfig(name=name, lr=1.0), bank, 0)
    optimizer.step(1.0)
    states = [v for state in optimizer._optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    with Ledger([bank.values, bank.gradients, *states]) as ledger:
        optimizer.step(1.0)
    run = SimpleNamespace(optim=SimpleNamespace(name=name), lora=SimpleNamespace(rank=8))
    counts = SimpleNamespace(values=bank.values.numel(), matrix=8000)
    assert footprint.states_bytes(run, counts) == pytest.approx(sum(state.nbytes for state in states), rel=0.05)
    assert footprint.step_bytes(run, counts) == pytest.approx(ledger.peak, rel=0.1)


def test_an_eight_bit_optimiser_takes_a_quarter():
    run = SimpleNamespace(optim=SimpleNamespace(name="adamw8bit"))
    assert footprint.states_bytes(run, SimpleNamespace(values=8000)) == pytest.approx(8 * 8000 / 4, rel=0.02)


def test_stable_diffusion_of_full_size_needs_no_weights_and_comes_to_what_is_known_of_it():
    run = load_run(["preset=person_sd15", "data.path=x", "hardware=8gb"], when_missing={"model.path": ""})
    counts = Counting(run.model, run.hardware.precision, "cuda")(run)
    assert counts.frozen["unet"] == 2 * 859_520_964  # parameters of the UNet, in bf16
    assert counts.base == "full"
    rows = counts.forward.flops / 0.803e12  # of one forward pass at 512, as torch's own counter finds on the real model
    assert rows == pytest.approx(2 * run.sample.batch_size, rel=0.03)
    # SimpleTuner measured 1.98 GiB for weights, adapters and a step with checkpointing
    attention = dataclasses.replace(run, lora=dataclasses.replace(run.lora, targets="attention"))
    adapters = footprint.adapters_bytes(attention, counts, 1)
    assert counts.frozen["unet"] + adapters + counts.step.peak == pytest.approx(1.98 * GIB, rel=WITHIN)


def shaped(**phases):
    return Footprint(phases={name: {"all": size} for name, size in phases.items()}, overhead=GIB // 2)


def test_the_fullest_phase_is_named_and_gives_the_peak():
    need = shaped(encoding=2 * GIB, training=3 * GIB, drawing=4 * GIB)
    assert (need.fullest, need.tensors) == ("drawing", 4 * GIB)
    assert need.needs == int(4 * GIB * footprint.SLACK)
    assert need.peak == need.needs + GIB // 2


SAVES = {
    "gradient_checkpointing": (False, 4),
    "unload_encoders": (False, 3),
    "offload": (0.0, 1),
}


def costly(run):
    """Ten gigabytes, less what each way of saving gives; the eight-bit optimiser gives nothing here."""
    saved = sum(size for key, (off, size) in SAVES.items() if getattr(run.hardware, key) != off)
    return shaped(training=(10 - saved) * GIB)


def plain_run():
    return RunConfig(preset="x", model=ModelConfig(path="x"))


def test_hints_come_in_order_each_with_its_peak_and_stop_where_it_fits():
    hints = advice(plain_run(), costly, int(3.5 * GIB))
    assert [(hint.override, round(hint.needs / GIB, 1), hint.fits) for hint in hints] == [
        ("hardware.gradient_checkpointing=true", 6.3, False),
        ("hardware.unload_encoders=true", 3.1, True),
    ]


def test_a_hint_that_saves_nothing_is_left_out():
    assert [hint.override for hint in advice(plain_run(), costly, 0)] == [
        "hardware.gradient_checkpointing=true",
        "hardware.unload_encoders=true",
        "hardware.offload=0.5",
    ]


def test_there_are_no_hints_where_it_fits():
    assert advice(plain_run(), costly, 11 * GIB) == ()


def test_a_run_that_cannot_fit_its_card_is_refused_in_one_sentence():
    need = shaped(training=8 * GIB, drawing=11 * GIB)
    require_room(need, 11 * GIB)
    with pytest.raises(UserError, match=r"^This run takes about 11\.0 GB on the card while drawing, and 7\.0 GB are"):
        require_room(need, 7 * GIB)


def test_training_asks_the_card_before_anything_is_loaded(monkeypatch, models, photos):
    from lorasweep.run.entries import Entry
    from lorasweep.run.session import Purpose, Session

    run = run_of("sdxl", models)
    planning.require_card(run, photos)  # on a CPU nothing is asked
    monkeypatch.setattr(planning, "planned_device", lambda _: "cuda")
    monkeypatch.setattr(planning, "free_memory", lambda *_: 1000)
    monkeypatch.setattr("lorasweep.models.load_family", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(UserError, match="on the card while"):
        Session(Purpose.TRAIN, run).require(Entry(run, photos, None))


HINT = Hint(override="hardware.base=fp8", needs=GIB, fits=True)


@pytest.mark.parametrize(
    ("room", "hints", "disk", "says"),
    [
        (8 * GIB, (), 1, "It fits: about 4.2 GB while training, and 8.0 GB may be used."),
        (None, (), 1, "no such card is here to compare with"),
        (
            2 * GIB,
            (HINT,),
            1,
            "It does not fit: about 4.2 GB while training, and 2.0 GB may be used; it fits with hardware.base=fp8.",
        ),
        (2 * GIB, (HINT, HINT), 1, "it fits with the 2 changes below."),
        (2 * GIB, (dataclasses.replace(HINT, fits=False),), 1, "It does not fit, whatever is changed"),
        (8 * GIB, (), 90 * GIB, "leaves about 90.0 GB on the disk, of which 50.0 GB are free"),
    ],
)
def test_the_closing_sentence_says_whether_it_fits(room, hints, disk, says):
    assert says in planning.verdict(shaped(training=4 * GIB), room, hints, disk, 50 * GIB)


def test_a_card_computes_while_it_is_told_what_to_do_next_and_a_cpu_does_not():
    work = Work(peak=0, kept=0, flops=4_000, operations=10)
    assert duration.Speed(device="cuda", flops=1e3, operation=0.1).seconds(work) == 4.0
    assert duration.Speed(device="cuda", flops=1e6, operation=0.1).seconds(work) == 1.0
    assert duration.Speed(device="cpu", flops=1e3, operation=0.1).seconds(work) == 5.0


def entry(kind, ms, **payload):
    return Entry(seq=1, kind=kind, key="", time=ms, payload=payload)


def journal(steps, parent="", gap=9_000):
    """A step every 200 ms, but a checkpoint and its sheet of four pictures after every tenth."""
    entries, now = [entry("start", 0, parent=parent)], 1000
    for step in range(1, steps + 1):
        now += 200
        entries.append(entry("step", now, step=step))
        if step % 10 == 0:
            entries.append(entry("checkpoint", now, step=step))
            entries.append(entry("sample", now + gap // 2, step=step, samples=[{}] * 4))
            now += gap
            entries.append(entry("scores", now, scores={"step": step, "fresh": False}))
            gap = 2_000
    return entries


def test_a_finished_run_tells_its_pace_without_what_stood_between_its_steps():
    pace = duration.pace_of("a", journal(40), drawn_alike=True)
    assert (pace.step, pace.picture) == (0.2, 0.5)
    assert duration.pace_of("a", journal(40), drawn_alike=False).picture is None


def test_a_run_that_shared_its_steps_or_took_a_few_tells_nothing():
    assert duration.pace_of("a", journal(40, parent="many"), drawn_alike=True) is None
    assert duration.pace_of("a", journal(duration.LEAST_STEPS - 1), drawn_alike=True) is None


def remembered(root, run, device="cpu", threads=1, steps=20):
    """A run's folder as training leaves it."""
    folder = root / "runs" / "a-0001"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(to_plain(run)), encoding="utf-8")
    machine = {"machine": {"device": device, "threads": threads}}
    (folder / "provenance.json").write_text(json.dumps(machine), encoding="utf-8")
    lines = [json.dumps({**vars(line), "seq": i + 1}) for i, line in enumerate(journal(steps))]
    (folder / "journal.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_only_a_run_that_cost_the_same_a_step_is_taken(tmp_path):
    run = plain_run()
    remembered(tmp_path, run)
    found = duration.remembered_pace(tmp_path, run, "cpu", 1)
    assert (found.run, found.step, found.picture) == ("a-0001", 0.2, 0.5)
    larger = dataclasses.replace(run, model=dataclasses.replace(run.model, resolution=1024))
    assert duration.remembered_pace(tmp_path, larger, "cpu", 1) is None
    assert duration.remembered_pace(tmp_path, run, "cuda", 1) is None
    assert duration.remembered_pace(tmp_path, run, "cpu", 2) is None
    longer = dataclasses.replace(run, sample=dataclasses.replace(run.sample, steps=run.sample.steps + 1))
    assert duration.remembered_pace(tmp_path, longer, "cpu", 1).picture is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 seconds"), (75, "75 seconds"), (700, "12 minutes"), (9000, "2.5 hours")]
)
def test_time_is_told_in_words(seconds, words):
    assert duration.in_words(seconds) == words


def test_a_plan_of_a_run_comes_true(overrides, tmp_path):
    words = overrides()
    folder = Path(words[1].partition("=")[2].strip("'"))
    made = plan(folder, [word for word in words if not word.startswith("data.path")], say=ignore)
    assert not (tmp_path / "mlruns").exists()  # nothing is written
    outcome = train_together([load_run(words)], say=ignore)[0]
    files = sorted((outcome.folder / "checkpoints").glob("*.safetensors"))
    assert [int(file.stem[-6:]) for file in files] == list(made.schedule.checkpoints) == [4, 8, 12]
    on_disk = sum(file.stat().st_size for file in files)
    assert on_disk <= made.disk["LoRA files"] <= on_disk + 3 * 2**16
    states = sum(file.stat().st_size for file in (outcome.folder / "state").rglob("tensors.safetensors"))
    assert states <= made.disk["training states"] <= states + 2 * 2**16
    assert made.schedule.drawn == ()
    assert made.fits
    assert made.duration.step == pytest.approx(made.duration.training / 12)


def test_the_command_prints_a_table_and_says_by_its_exit_code_whether_it_fits(overrides, tmp_path, monkeypatch, capsys):
    words = overrides()
    folder = words[1].partition("=")[2].strip("'")
    rest = [word for word in words if not word.startswith("data.path")]
    monkeypatch.setattr(planning, "free_memory", lambda *_: 1000)
    assert cli.main(["plan", folder, "--json", *rest]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["schedule"]["checkpoints"] == [4, 8, 12]
    assert "It does not fit, whatever is changed" in shown.err
    assert "checkpoints  3: 4, 8, 12" in shown.err


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"the folder of photos .* does not exist; name it right after 'plan'"):
        plan(tmp_path / "none", ["preset=person_sd15"])


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    photos = write_tiny_photos(tmp_path / "photos")
    with pytest.raises(UserError, match=r"model\.path is .*which is no folder"):
        plan(photos, ["preset=person_sd15", f"model.path={tmp_path}/none"], say=ignore)


def test_every_picture_of_a_judged_run_is_counted(photos):
    run = load_run(["preset=person_portraits", "data.path=x", "sample.every_steps=30", "pick.strengths=[0.7,1.0]"])
    schedule = schedule_of(run, photos)
    assert schedule.pictures == pictures_in_all(run, schedule.drawn)
    between = len([step for step in range(30, 501, 30) if step not in schedule.drawn])
    standing = (len(schedule.drawn) + between + 1) * 8 * 2
    fresh = (5 + 1 + 1) * 8 * 2
    assert schedule.pictures == standing + fresh


def test_copies_for_mlflow_and_caches_count_where_there_are_any(photos):
    run = load_run(["preset=person_portraits", "data.path=x"])
    schedule = schedule_of(run, photos)
    counts = SimpleNamespace(values=1000, file=4000, latents=100, text=10)
    disk = disk_of(run, counts, schedule)  # type: ignore[arg-type]
    assert disk["MLflow"] == disk["pictures"] == int(schedule.pictures * 64 * 64 * 1.7)
    assert disk["caches"] == 0
    run.hardware.cache, run.track.mlflow = "disk", False
    disk = disk_of(run, counts, schedule)  # type: ignore[arg-type]
    assert (disk["MLflow"], disk["caches"]) == (0, 5 * 100 + 6 * 10)
