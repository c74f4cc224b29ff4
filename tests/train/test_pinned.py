"""Five steps of each family in numbers: a change of the maths shows here, whatever else still agrees with itself."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contracts.tiny import tiny_run

from lorasweep.records import Dataset, Step
from lorasweep.train.cohort import Cohort
from lorasweep.train.trial import Trial

HOW: dict[str, dict[str, Any]] = {
    "sd15": {"min_snr_gamma": 5.0, "noise_offset": 0.1, "lora": {"targets": "convolution", "dropout": 0.1}},
    "sdxl": {"min_snr_gamma": 5.0, "lora": {"targets": "linear", "text_encoder": True}},
    "flux": {"guidance": 3.5, "gradient_accumulation": 2, "lora": {"targets": "linear"}},
}
"""Family to what its run has beside the tiny one's settings; together they reach every term of the loss."""
PINNED = {
    "sd15": [
        (0.001108661643, 0.000323881774),
        (0.178162068129, 0.027978893369),
        (0.069121599197, 0.010753228329),
        (0.009611450136, 0.002909517614),
        (0.234019517899, 0.044892970473),
    ],
    "sdxl": [
        (1.130244970322, 0.023607615381),
        (1.198850870132, 0.021794302389),
        (0.879187881947, 0.025662669912),
        (0.979213416576, 0.024047661573),
        (1.159033775330, 0.030412595719),
    ],
    "flux": [
        (1.505221843719, 0.022307928652),
        (1.579948186874, 0.023868108168),
        (1.548407554626, 0.021195879206),
        (1.539077043533, 0.027008285746),
        (1.419595241547, 0.025436302647),
    ],
}
"""Family to loss and gradient norm of each step, in fp32 on a CPU."""


@pytest.mark.parametrize("kind", list(HOW))
def test_five_steps_lose_what_they_lost_before(
    kind: str, model_of: Callable[[str], Path], family_of: Callable[[str], Any], dataset: Dataset, tmp_path: Path
) -> None:
    run = tiny_run(model_of(kind), steps=5, count=1, **HOW[kind])
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, family=kind))
    cohort, steps = Cohort(family_of(kind)), list[Step]()
    cohort.admit(Trial("anna", run, dataset, tmp_path))
    cohort.run_interval(steps.append)
    assert [step.loss for step in steps] == pytest.approx([loss for loss, _ in PINNED[kind]], rel=1e-4)
    assert [step.grad_norm for step in steps] == pytest.approx([norm for _, norm in PINNED[kind]], rel=1e-4)
