"""Trials side by side: none sees another, and each goes on where it stopped."""

import dataclasses
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from contracts.tiny import tiny_run

from lorasweep.config.schema import HardwareConfig, ModelConfig
from lorasweep.errors import UserError
from lorasweep.models import load_family
from lorasweep.models.lora.file import read_lora
from lorasweep.records import Checkpoint, Dataset, Failure, Step
from lorasweep.train.cohort import Cohort
from lorasweep.train.state import widths_met
from lorasweep.train.trial import Trial, cohort_key


def train(cohort: Cohort, **how: Any) -> tuple[dict[str, list[Step]], list[Checkpoint | Failure]]:
    """Run a cohort until it is empty or stopped; every step and every event."""
    steps: dict[str, list[Step]] = {}
    events: list[Checkpoint | Failure] = []
    while cohort.busy and not cohort.stopped:
        events += cohort.run_interval(lambda step: steps.setdefault(step.trial, []).append(step), **how)
    return steps, events


def losses(steps: list[Step]) -> list[float]:
    return [step.loss for step in steps]


def shas(folder: Path) -> dict[int, str]:
    manifest = json.loads((folder / "checkpoints" / "manifest.json").read_text())
    return {line["step"]: line["sha256"] for line in manifest["checkpoints"]}


@pytest.fixture
def trial(model_folder: Path, dataset: Dataset, tmp_path: Path) -> Any:
    """Makes trials: trial(name, **changes of the run)."""

    def make(called: str = "anna", place: str = "", **changes: Any) -> Trial:
        return Trial(called, tiny_run(model_folder, **changes), dataset, tmp_path / (place or called))

    return make


def test_three_rates_side_by_side_lose_what_each_loses_alone(family: Any, trial: Any) -> None:
    rates = {"cool": 1e-4, "warm": 1e-3, "hot": 1e-2}
    cohort = Cohort(family, 3)
    for name, rate in rates.items():
        cohort.admit(trial(name, lr=rate, steps=50, count=1))
    together, events = train(cohort)
    assert [(event.trial, event.step) for event in events] == [("cool", 50), ("warm", 50), ("hot", 50)]
    for name, rate in rates.items():
        solo = Cohort(family, 1)
        solo.admit(trial(name, place=f"{name} alone", lr=rate, steps=50, count=1))
        alone, _ = train(solo)
        assert losses(together[name]) == pytest.approx(losses(alone[name]), abs=1e-5)
        assert [s.grad_norm for s in together[name]] == pytest.approx([s.grad_norm for s in alone[name]], rel=1e-3)
    assert losses(together["cool"])[-1] != pytest.approx(losses(together["hot"])[-1], abs=1e-3)


def test_a_trial_is_bit_equal_in_any_slot_beside_any_neighbour_of_the_same_width(family: Any, trial: Any) -> None:
    found = []
    for place, neighbours in enumerate([("x", "y"), ("z",)]):
        cohort = Cohort(family, 3)
        names = [*neighbours[:place], "anna", *neighbours[place:], *(["w"] if place else [])]
        for seed, name in enumerate(names):
            own = {"lr": 1e-3, "seed": 7} if name == "anna" else {"lr": 10.0 ** -(2 + place), "seed": seed}
            cohort.admit(trial(name, place=f"{place}/{name}", steps=10, **own))
        steps, _ = train(cohort)
        found.append((losses(steps["anna"]), shas(trial("anna", place=f"{place}/anna").folder)))
    assert found[0] == found[1]


@pytest.mark.slow
def test_training_lowers_the_loss_on_one_picture_by_nine_tenths(
    family: Any, model_folder: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorasweep.train import trial as module

    def always_the_same(seed: int, purpose: str, **_: int) -> Any:
        return original(seed, purpose)

    original = module.stream
    monkeypatch.setattr(module, "stream", always_the_same)  # one noise, one timestep, one sample of the latents
    one = dataclasses.replace(dataset, train=dataset.train[:1])
    run = tiny_run(model_folder, steps=300, lr=0.02, batch_size=1, count=1, lora={"rank": 16, "alpha": 16.0})
    run.data.caption_dropout = 0.0
    cohort = Cohort(family, 1)
    cohort.admit(Trial("anna", run, one, tmp_path))
    steps, _ = train(cohort)
    found = losses(steps["anna"])
    assert min(found[-10:]) < 0.1 * found[0]


def test_a_nan_ends_its_own_trial_and_no_other(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 3)
    for name, rate in (("anna", 1e-3), ("wild", 1e30), ("bert", 1e-2)):
        cohort.admit(trial(name, lr=rate, steps=10, count=2))
    steps, events = train(cohort)
    failures = [event for event in events if isinstance(event, Failure)]
    assert [failure.trial for failure in failures] == ["wild"]
    assert "lower optim.lr (now 1e+30)" in failures[0].reason
    assert failures[0].reason.count(". ") == 0
    for name, rate in (("anna", 1e-3), ("bert", 1e-2)):
        solo = Cohort(family, 1)
        solo.admit(trial(name, place=f"{name} alone", lr=rate, steps=10, count=2))
        assert losses(steps[name]) == pytest.approx(losses(train(solo)[0][name]), abs=1e-5)
    for event in events:
        if isinstance(event, Checkpoint):
            assert event.path is not None
            weights = read_lora(event.path, family).values()
            assert all(w.down.isfinite().all() and w.up.isfinite().all() for w in weights)


def test_weights_that_are_not_finite_are_never_written_as_a_checkpoint(
    family: Any, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = Cohort(family, 1)
    run = trial("anna", steps=4, count=2)
    cohort.admit(run)

    def burn(step: Step) -> None:
        if step.step == 4:
            assert cohort._bank is not None
            cohort._bank.values[0, 0] = torch.inf

    events = [*cohort.run_interval(burn), *cohort.run_interval(burn)]
    assert [type(event) for event in events] == [Checkpoint, Failure]
    assert "no longer finite at step 4" in events[1].reason
    assert list(shas(run.folder)) == [2]
    assert not cohort.busy


def test_the_loss_scale_of_fp16_changes_no_bit_where_nothing_overflows(family: Any, trial: Any) -> None:
    found = []
    for precision in ("fp32", "fp16"):  # the base stays in fp32: only the scale differs
        run = trial("anna", place=precision, steps=4)
        run.config.hardware.precision = precision
        cohort = Cohort(family, 1)
        cohort.admit(run)
        found.append([(s.loss, s.grad_norm) for s in train(cohort)[0]["anna"]])
    assert found[0] == found[1]


def test_an_overflow_skips_the_update_and_halves_the_scale(family: Any, trial: Any) -> None:
    run = trial("anna", steps=2, count=1)
    run.config.hardware.precision = "fp16"
    cohort = Cohort(family, 1)
    cohort.admit(run)
    state = cohort._slots[0].state
    before = {name: w.up.clone() for name, w in state.adapter.items()}
    original = cohort._losses
    cohort._losses = lambda part: original(part) * 1e36  # type: ignore[method-assign]
    cohort._step(lambda step: None)
    assert state.loss_scale == 2.0**15
    assert all(torch.equal(cohort.adapter("anna")[name].up, up) for name, up in before.items())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_full_precision(family: Any, model_folder: Path, trial: Any, precision: str) -> None:
    half = load_family(
        ModelConfig(path=str(model_folder), resolution=32), HardwareConfig(device="cpu", precision=precision)
    )
    found = []
    for place, base in (("fp32", family), (precision, half)):
        run = trial("anna", place=place, steps=4, lora={"targets": "linear", "text_encoder": True})
        run.config.hardware.precision = place
        cohort = Cohort(base, 1)
        cohort.admit(run)
        found.append(losses(train(cohort)[0]["anna"]))
    assert found[1] == pytest.approx(found[0], rel=0.02)
    assert found[1] != found[0]


def test_a_stopped_run_goes_on_bit_equal(family: Any, trial: Any) -> None:
    whole = Cohort(family, 1)
    whole.admit(trial("anna", place="whole"))
    expected, _ = train(whole)
    found: list[Step] = []
    for stop_at in (3, 7, 13, 99):
        cohort = Cohort(family, 1)
        assert cohort.admit(trial("anna", place="pieces")) == len(found)
        cohort.stopped = False
        events: list[Any] = []
        while cohort.busy and not cohort.stopped:
            events += cohort.run_interval(found.append, should_stop=lambda stop_at=stop_at: len(found) == stop_at)
    assert losses(found) == losses(expected["anna"])
    assert shas(trial("anna", place="pieces").folder) == shas(trial("anna", place="whole").folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "prodigy", "lr": 1.0},
        {"name": "adafactor"},
        {"gradient_accumulation": 2, "schedule": "cosine", "warmup_steps": 3, "min_snr_gamma": 5.0},
        {"lora": {"text_encoder": True, "dropout": 0.2, "targets": "linear"}, "noise_offset": 0.1},
    ],
)
def test_every_kind_of_training_resumes_bit_equal(family: Any, trial: Any, changes: dict[str, Any]) -> None:
    changes = {"steps": 8, "count": 2, **changes}
    whole = Cohort(family, 1)
    whole.admit(trial("anna", place="whole", **changes))
    steps, _ = train(whole)
    first = Cohort(family, 1)
    first.admit(trial("anna", place="pieces", **changes))
    before, _ = train(first, should_stop=lambda: True)
    second = Cohort(family, 1)
    assert second.admit(trial("anna", place="pieces", **changes)) == 1
    after, _ = train(second)
    assert losses(before["anna"] + after["anna"]) == losses(steps["anna"])
    assert shas(trial("anna", place="pieces").folder) == shas(trial("anna", place="whole").folder)


def test_a_longer_run_at_a_constant_rate_passes_through_the_shorter_one(family: Any, trial: Any) -> None:
    for place, changes in (("short", {"steps": 6}), ("long", {"steps": 12})):
        cohort = Cohort(family, 1)
        run = trial("anna", place=place, **changes)
        run.config.save.every_steps = 3
        cohort.admit(run)
        train(cohort)
    short, long = (shas(trial("anna", place=place).folder) for place in ("short", "long"))
    assert short == {step: long[step] for step in short}


def test_a_finished_run_can_be_extended(family: Any, trial: Any) -> None:
    for place, lengths in (("at once", (12,)), ("in two", (6, 12))):
        for steps in lengths:
            run = trial("anna", place=place, steps=steps)
            run.config.save.every_steps = 3
            cohort = Cohort(family, 1)
            cohort.admit(run)
            train(cohort)
    assert shas(trial("anna", place="in two").folder) == shas(trial("anna", place="at once").folder)


def test_a_finished_trial_takes_no_slot(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 1)
    cohort.admit(trial("anna", steps=2, count=1))
    train(cohort)
    assert cohort.admit(trial("anna", steps=2, count=1)) == 2
    assert not cohort.busy


def test_a_slot_that_falls_free_is_taken_again_and_widths_are_told(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 2)
    cohort.admit(trial("short", steps=5, count=1))
    cohort.admit(trial("long", steps=18, count=1))
    steps: dict[str, list[Step]] = {}
    events = cohort.run_interval(lambda step: steps.setdefault(step.trial, []).append(step))
    assert [event.trial for event in events] == ["short"]
    assert cohort.free_slots == 1
    cohort.admit(trial("next", steps=5, count=1))
    cohort.save_states()
    assert widths_met(trial("long").folder) == (2,)
    events = cohort.run_interval(lambda step: steps.setdefault(step.trial, []).append(step))
    assert [event.trial for event in events] == ["next"]
    assert cohort.run_interval(lambda step: steps.setdefault(step.trial, []).append(step)) == []  # an epoch's end
    train(cohort)
    assert widths_met(trial("long").folder) == (1, 2)
    solo = Cohort(family, 1)
    solo.admit(trial("next", place="next alone", steps=5, count=1))
    assert losses(steps["next"]) == pytest.approx(losses(train(solo)[0]["next"]), abs=1e-5)


def test_an_evicted_trial_comes_back_where_it_left(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 2)
    cohort.admit(trial("anna", count=4))
    cohort.admit(trial("bert", count=4))
    cohort.run_interval(lambda step: None)
    cohort.evict("anna")
    assert cohort.trials == ("bert",)
    assert cohort.admit(trial("anna", count=4)) == 5


def test_ranks_may_differ_side_by_side(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 2)
    cohort.admit(trial("thin", lora={"rank": 2}, count=1))
    cohort.admit(trial("thick", lora={"rank": 8}, count=1))
    together, events = train(cohort)
    for event in events:
        assert isinstance(event, Checkpoint)
        assert event.path is not None
        assert {w.rank for w in read_lora(event.path, family).values()} == {2 if event.trial == "thin" else 8}
    solo = Cohort(family, 1)
    solo.admit(trial("thin", place="alone", lora={"rank": 2}, count=1))
    assert losses(together["thin"]) == pytest.approx(losses(train(solo)[0]["thin"]), abs=1e-5)


def test_accumulated_rows_are_those_of_one_large_batch(family: Any, trial: Any) -> None:
    found = []
    for place, sizes in (("large", (4, 1)), ("parts", (2, 2))):
        cohort = Cohort(family, 1)
        cohort.admit(trial("anna", place=place, batch_size=sizes[0], gradient_accumulation=sizes[1], steps=5))
        found.append(losses(train(cohort)[0]["anna"]))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_steps_tell_rate_effective_rate_and_epoch(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 1)
    cohort.admit(trial("anna", lr=1e-3, schedule="linear", steps=10))
    steps, _ = train(cohort)
    assert [s.step for s in steps["anna"]] == list(range(1, 11))
    assert [s.epoch for s in steps["anna"]] == [0] * 5 + [1] * 5  # 5 photos, 2 repeats, 2 a step
    assert steps["anna"][5].lr == pytest.approx(5e-4)
    assert steps["anna"][5].effective_lr == pytest.approx(5e-4 * 2.0 / 4)


def test_trials_that_cannot_share_are_refused(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 2)
    cohort.admit(trial("anna"))
    other = trial("bert", batch_size=1)
    assert cohort_key(other.config) != cohort_key(trial("anna").config)
    with pytest.raises(UserError, match="bert cannot be trained beside anna"):
        cohort.admit(other)


def test_out_of_memory_halves_the_width_and_hands_the_others_back(
    family: Any, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = Cohort(family, 4)
    for name in "abcd":
        cohort.admit(trial(name, steps=4, count=1))
    real = cohort._losses

    def tight(part: int) -> torch.Tensor:
        if len(cohort.trials) > 2:
            raise torch.OutOfMemoryError("full")
        return real(part)

    monkeypatch.setattr(cohort, "_losses", tight)
    _, events = train(cohort)
    assert {event.trial for event in events} == {"a", "b"}
    assert [t.name for t in cohort.returned] == ["c", "d"]
    assert cohort.width == 2
    assert cohort.admit(cohort.returned[0]) == 0


def test_activations_are_gone_before_the_cache_is_emptied_after_out_of_memory(
    family: Any, trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback holds the frames, and the frames hold the activations of the step that did not fit."""
    cohort, held, alive = Cohort(family, 2), list[Any](), list[bool]()
    for name in "ab":
        cohort.admit(trial(name, steps=4, count=1))
    real = cohort._losses

    def tight(part: int) -> torch.Tensor:
        activations = torch.ones(8)
        if not held:
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("full")
        return real(part)

    monkeypatch.setattr(cohort, "_losses", tight)
    monkeypatch.setattr(cohort, "_release_memory", lambda: alive.append(held[0]() is not None))
    train(cohort)
    assert alive == [False]


def test_one_trial_that_does_not_fit_gets_a_hint(family: Any, trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = Cohort(family, 1)
    cohort.admit(trial("anna"))

    def never(part: int) -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(cohort, "_losses", never)
    with pytest.raises(UserError, match=r"out of memory with one trial; lower optim.batch_size"):
        cohort.run_interval(lambda step: None)


def test_the_clock_saves_states_between_checkpoints(family: Any, trial: Any) -> None:
    now = [0.0]
    cohort = Cohort(family, 1, clock=lambda: now[0])
    run = trial("anna", count=1)
    cohort.admit(run)

    def tick(step: Step) -> None:
        now[0] += 120.0

    cohort.run_interval(tick)
    assert sorted(p.name for p in (run.folder / "state").iterdir()) == ["step-000015", "step-000020"]


def test_a_damaged_state_is_passed_over_for_the_one_before(
    family: Any, trial: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = trial("anna")
    cohort = Cohort(family, 1)
    cohort.admit(run)
    train(cohort)
    expected = shas(run.folder)
    newest = run.folder / "state" / "step-000020" / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x01")
    shutil.copytree(newest.parent, run.folder / "state" / "step-000021")
    (run.folder / "state" / "step-000021" / "state.json").unlink()
    again = Cohort(family, 1)
    assert again.admit(run) == 10
    assert "step-000020 is not what was written; going back to the state before it." in caplog.text
    assert "step-000021 was not written to the end" in caplog.text
    train(again)
    assert shas(run.folder) == expected


def test_a_state_of_another_configuration_is_refused_and_the_key_named(family: Any, trial: Any) -> None:
    cohort = Cohort(family, 1)
    cohort.admit(trial("anna"))
    train(cohort)
    with pytest.raises(UserError, match=r"was saved with lora.rank=4, but the run now has 8"):
        Cohort(family, 1).admit(trial("anna", lora={"rank": 8}))
