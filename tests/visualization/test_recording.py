import math

import pytest

from objective_agent.visualization.recording import GoalSpan, Recording, Series


def test_a_series_answers_with_the_newest_value_not_later_than_asked():
    series = Series([1.0, 2.0, 4.0], ["a", "b", "c"])
    assert [series.at(t) for t in (0.5, 1.0, 3.9, 9.0)] == [None, "a", "b", "c"]


def test_a_value_that_is_too_old_is_not_an_answer():
    assert Series([1.0], ["a"]).at(3.0, max_age=1.0) is None


def test_raw_values_are_decoded_only_when_asked_for():
    decoded = []
    series = Series([1.0, 2.0, 3.0], ["a", "b", "c"], lambda raw: decoded.append(raw) or raw.upper())
    assert series.at(2.5) == "B" and series.at(2.6) == "B"
    assert decoded == ["b"]


def test_a_missing_key_becomes_nan_in_a_column():
    column = Series([1.0, 2.0], [{"x": 1.0}, {}]).column("x")
    assert column[0] == 1.0 and math.isnan(column[1])


def test_times_and_values_must_match():
    with pytest.raises(ValueError, match="2 times but 1 values"):
        Series([1.0, 2.0], ["a"])


def test_the_goal_at_a_time_is_the_last_one_given():
    goals = (GoalSpan(0, (1, 1), 1.0, 5.0, True), GoalSpan(1, (2, 2), 6.0, 9.0, False))
    run = Recording(goals=goals)
    assert run.goal_at(0.5) is None
    assert [run.goal_at(t).index for t in (3.0, 5.5, 7.0)] == [0, 0, 1]
