"""The loop that trains the tiny looking networks."""

from dataclasses import replace

import torch

from benchmarks.world.training import Descent, descend


def line():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 1)


def losses_of(network):
    def losses(step):
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return {"fit": (network(inputs) - inputs.sum(1, keepdim=True)).square().mean()}

    return losses


def test_a_training_that_was_cut_off_ends_with_the_weights_and_curve_of_an_undisturbed_one(tmp_path):
    plan = Descent(tmp_path / "whole.pt", steps=60, peak=0.05, every=10, save_every=20, clip=1.0)
    whole = line()
    curve = descend(whole, plan, losses_of(whole))
    cut, calls = line(), 0

    def failing(step):
        nonlocal calls
        calls += 1
        if calls > 45:
            raise KeyboardInterrupt
        return losses_of(cut)(step)

    again = replace(plan, state=tmp_path / "cut.pt")
    try:
        descend(cut, again, failing)
    except KeyboardInterrupt:
        cut = line()
    resumed = descend(cut, again, losses_of(cut))
    assert calls == 46
    assert torch.equal(cut.weight, whole.weight)
    assert resumed.rows == curve.rows
    assert curve.rows[-1]["fit"] < curve.rows[0]["fit"] / 4
