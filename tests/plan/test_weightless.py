"""Tensors without memory: they behave as real ones do as far as a plan looks."""

import dataclasses

import pytest
import torch
from contracts.tiny import SIDE, tiny_run
from torch._subclasses.fake_tensor import FakeTensorMode

from lorasweep.config.schema import HardwareConfig, ModelConfig
from lorasweep.plan import counting
from lorasweep.plan.counting import Counting
from lorasweep.plan.weightless import Weightless, WeightlessMode


def storages(*tensors):
    return len({tensor.untyped_storage()._cdata for tensor in tensors})


def test_a_tensor_has_shape_strides_and_precision_but_no_memory():
    with WeightlessMode():
        huge = torch.zeros(2**40, 3, dtype=torch.bfloat16).t()
        half = (huge[:, ::2] + 1).float()
    assert (huge.device.type, huge.shape, huge.stride()) == ("cpu", (3, 2**40), (1, 3))
    assert (half.shape, half.dtype) == ((3, 2**39), torch.float32)


def test_views_and_what_is_changed_in_place_share_a_storage_and_nothing_else_does():
    with WeightlessMode():
        one = torch.ones(4, 6)
        views = one.view(6, 4), one[1:], one.t(), one.detach(), one.add_(1), one.relu_()
        others = one.clone(), one + 1, one + 1, one.t().contiguous(), one @ one.t()
    assert storages(one, *views) == 1
    assert storages(one, *others) == 6


def test_the_second_call_makes_what_the_first_made():
    with WeightlessMode():
        for _ in range(2):
            whole = torch.ones(3, dtype=torch.long)
            assert [(whole * factor).dtype for factor in (1, 1.0, True)] == [torch.long, torch.float32, torch.long]
            parts = torch.ones(2, 8).chunk(2, dim=1)
            assert [part.stride() for part in parts] == [(8, 1)] * 2
            values, places = torch.ones(5, 7).max(dim=1)
            assert (values.dtype, places.dtype, values.shape) == (torch.float32, torch.long, (5,))
            assert (torch.ones(2) + torch.tensor([1.0, 2.0])).shape == (2,)


def test_a_tensor_takes_what_is_given_as_its_data():
    with WeightlessMode():
        weight = torch.nn.Parameter(torch.ones(5, 3, dtype=torch.half), requires_grad=False)
        weight.data = weight.data.float()
        assert (weight + 1).dtype == weight.dtype == torch.float32
        assert weight.untyped_storage().nbytes() == 60


def test_gradients_flow_and_autocast_casts():
    with WeightlessMode():
        weight = torch.nn.Parameter(torch.ones(5, 3))
        with torch.autocast("cpu", torch.bfloat16):
            out = torch.nn.functional.linear(torch.ones(2, 3), weight)
        (gradient,) = torch.autograd.grad(out.float().sum(), weight)
    assert (out.dtype, gradient.dtype, gradient.shape) == (torch.bfloat16, torch.float32, (5, 3))
    assert isinstance(gradient, Weightless)


def test_nothing_is_computed_by_accident_outside():
    with WeightlessMode():
        one = torch.ones(2)
    with pytest.raises(AssertionError, match="outside"):
        one + 1


@pytest.mark.parametrize(
    ("kind", "precision", "device", "checkpointing"),
    # SDXL has SD 1.5's classes, more of them: it would only take four times as long
    [("sd15", "fp16", "cuda", True), ("sd15", "fp32", "cpu", False), ("flux", "bf16", "cuda", True)],
)
def test_torchs_own_tensors_without_memory_count_the_same(
    kind, precision, device, checkpointing, model_of, monkeypatch
):
    lora = {"targets": "linear", "text_encoder": True, "dropout": 0.1}
    run = tiny_run(model_of(kind), lora=lora)
    hardware = HardwareConfig(precision=precision, gradient_checkpointing=checkpointing)
    model = ModelConfig(family=kind, path=str(model_of(kind)), resolution=SIDE)
    run = dataclasses.replace(run, model=model, hardware=hardware)
    ours = Counting(model, precision, device)(run, 2)
    monkeypatch.setattr(counting, "WeightlessMode", FakeTensorMode)
    theirs = Counting(model, precision, device)(run, 2)
    for part in ("picture_in", "text_in", "step", "forward", "picture_out"):
        one, other = getattr(ours, part), getattr(theirs, part)
        assert one.flops == other.flops
        assert one.operations == pytest.approx(other.operations, abs=2)  # constants are not counted there
        assert (one.peak, one.kept) == pytest.approx((other.peak, other.kept), abs=200)
