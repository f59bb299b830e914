"""What counts as fresh, by both clocks."""

import math

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from objective_agent_nodes.matching import StampMatcher
from objective_agent_nodes.staleness import Freshness


def fresh(limit=0.3, **options) -> Freshness:
    watch = Freshness("scan", limit, **options)
    for step in range(3):
        assert watch.accept(10 + step * 0.1, 10 + step * 0.1, step * 0.1)
    return watch


def test_fresh_messages_are_no_problem_and_age_by_the_worse_clock():
    watch = fresh()
    assert watch.problem(10.3, 0.3) == ""
    assert "scan is 0.40 s old (limit 0.30 s)" in watch.problem(10.6, 0.3)  # old by its stamp
    assert "scan is 0.40 s old" in watch.problem(10.2, 0.6)  # the ROS clock stands still, the steady one doesn't


@pytest.mark.parametrize(
    "stamp, why", [(0.0, "stamp 0"), (math.nan, "stamp 0"), (10.2, "before"), (10.1, "before"), (10.4, "in the future")]
)
def test_bad_stamps_are_refused_and_named(stamp, why):
    watch = fresh()
    assert not watch.accept(stamp, 10.3, 0.3)
    assert watch.rejected == 1 and why in watch.rejection and watch.stamp == 10.2


def test_a_stamp_a_little_ahead_is_accepted():
    assert fresh().accept(10.345, 10.3, 0.3)


def test_a_stale_stream_comes_back_after_three_fresh_messages():
    watch = fresh()
    for count in (1, 2):
        now = 11 + 0.1 * count
        assert watch.accept(now, now, 1 + 0.1 * count)
        assert f"coming back ({count} of 3" in watch.problem(now, 1 + 0.1 * count)
    watch.accept(11.3, 11.3, 1.3)
    assert watch.problem(11.3, 1.3) == ""


def test_a_silent_topic_says_so_with_what_was_refused():
    watch = Freshness("odom", 0.2)
    assert watch.problem(1.0, 1.0) == "no odom received"
    watch.accept(0.0, 1.0, 1.0)
    assert "no odom received (1 refused: odom has stamp 0" in watch.problem(1.0, 1.0)


def test_after_clear_time_may_start_anew():
    watch = fresh()
    watch.clear()
    assert watch.accept(1.0, 1.0, 5.0)


def test_matching_gives_each_complete_set_once_and_newest_first():
    matcher = StampMatcher(("a", "b"))
    assert matcher.add("a", 1, "a1") is None
    assert matcher.add("a", 2, "a2") is None
    assert matcher.add("b", 2, "b2") == {"a": "a2", "b": "b2"}
    assert matcher.add("b", 1, "b1") is None  # older than what was already given
    assert matcher.incomplete == 1
    assert matcher.add("b", 2, "b2") is None


def test_matching_does_not_grow_when_a_topic_is_missing():
    matcher = StampMatcher(("a", "b"), depth=4)
    for stamp in range(1, 100):
        matcher.add("a", stamp, None)
    assert matcher.incomplete == 95
    assert matcher.add("b", 99, 1) is not None
