"""The table of promises."""

from lorasweep.portraits.measure import PARTS, Row, measure


def test_a_promise_is_met_at_its_goal_in_its_own_direction():
    assert Row("a", 0.95, 0.95).met is True
    assert Row("a", 0.94, 0.95).met is False
    assert Row("pixels", 0.7, 0.75, at_most=True).met is True
    assert Row("pixels", 0.8, 0.75, at_most=True).met is False
    assert Row("reported", 0.1).met is None


def test_parts_whose_weights_are_not_there_are_left_out(tmp_path):
    assert list(measure(tmp_path, list(PARTS))) == []
