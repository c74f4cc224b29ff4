import math

import pytest

from lorasweep.report.charts import Chart, Line, draw, nice_ticks, thinned
from lorasweep.report.view import Band


def test_a_higher_value_is_drawn_higher_up() -> None:
    svg = draw(Chart(lines=[Line(name="score", xs=[0, 10], ys=[0.0, 1.0])], floor=0, ceiling=1))
    first, last = svg.split('points="')[1].split('"')[0].split(" ")
    assert [float(v) for v in first.split(",")] == [44, 238]
    assert [float(v) for v in last.split(",")] == [546, 12]


def test_a_point_that_is_not_a_number_is_left_out() -> None:
    svg = draw(Chart(lines=[Line(name="score", xs=[0, 5, 10], ys=[0.0, math.nan, 1.0])]))
    assert "nan" not in svg
    assert svg.count("<circle") == 2


def test_without_a_finite_point_there_is_no_chart() -> None:
    assert draw(Chart(lines=[Line(name="score", xs=[1], ys=[math.nan])])) == ""


def test_one_point_and_a_flat_line_can_be_drawn() -> None:
    assert draw(Chart(lines=[Line(name="loss", xs=[3], ys=[0.5])])).count("<circle") == 1


def test_a_band_carries_its_verdict_as_its_class() -> None:
    svg = draw(Chart(lines=[Line(name="score", xs=[0, 100], ys=[0, 1])], bands=[Band(0, 50, "under")]))
    assert 'class="band under"' in svg
    assert ">under</text>" in svg


def test_names_are_escaped() -> None:
    svg = draw(Chart(lines=[Line(name="<script>", xs=[0, 1], ys=[0, 1])]))
    assert "<script>" not in svg


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.1, 0.4, [0.1, 0.2, 0.3, 0.4]), (60, 720, [200, 400, 600]), (1, 1, [1])],
)
def test_ticks_are_round_and_inside(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high, 5) == pytest.approx(ticks)


def test_a_long_curve_keeps_its_last_point() -> None:
    xs, ys = thinned(list(range(5000)), [float(x) for x in range(5000)], most=100)
    assert len(xs) <= 102
    assert (xs[-1], ys[-1]) == (4999, 4999.0)
