"""The gate's behaviour, one fact per test: limits, arcs, escape, staleness, the ladder, resuming."""

import math
from dataclasses import replace

import numpy as np
import pytest
from gate_rig import BEAMS, PARAMETERS, ROBOT, Rig, open_ranges, scan_of, with_disc, with_wall
from hypothesis import given, settings
from hypothesis import strategies as st

from objective_agent.safety import GateInputs, Ladder, default_parameters, initial_state, step
from objective_agent.types import Command, Odometry

anything = st.floats(allow_nan=True, allow_infinity=True)
ranges_of_any_kind = st.lists(st.one_of(st.floats(0.0, 9.0), anything), min_size=BEAMS, max_size=BEAMS)


def test_a_command_in_free_space_passes_unchanged():
    rig = Rig(velocity=(0.5, 0.3))
    output = rig.drive(0.5, 0.3)
    assert (output.v, output.w, output.level, output.held) == (0.5, 0.3, Ladder.OK, False)


def test_without_any_input_there_is_only_zero():
    _, output = step(PARAMETERS, initial_state(), GateInputs(1.0, None, None, None))
    assert (output.v, output.w, output.level) == (0.0, 0.0, Ladder.EMERGENCY)
    assert "no scan yet" in output.reason and "no odom yet" in output.reason and "no cmd_vel_raw yet" in output.reason


@settings(max_examples=60, deadline=None)
@given(v=st.lists(anything, min_size=8, max_size=8), w=st.lists(anything, min_size=8, max_size=8), ranges=ranges_of_any_kind)
def test_limits_hold_whatever_comes(v, w, ranges):
    rig = Rig(ranges=np.array(ranges))
    before = (0.0, 0.0)
    for ask_v, ask_w in zip(v, w, strict=True):
        output = rig(ask_v, ask_w)
        assert -ROBOT.max_reverse_speed <= output.v <= ROBOT.max_speed
        assert abs(output.w) <= ROBOT.max_turn_rate
        assert abs(output.v) <= abs(before[0]) + ROBOT.max_acceleration * 0.05 + 1e-9
        assert abs(output.w) <= abs(before[1]) + ROBOT.max_turn_acceleration * 0.05 + 1e-9
        if not (math.isfinite(ask_v) and math.isfinite(ask_w)):
            assert (output.v, output.w) == (0.0, 0.0)
        before = (output.v, output.w)


@settings(max_examples=60, deadline=None)
@given(value=st.sampled_from([math.nan, math.inf, -math.inf]), field=st.integers(0, 8))
def test_a_number_that_is_none_stops_the_robot(value, field):
    rig = Rig(velocity=(0.4, 0.0))
    rig.drive(0.4, 0.0, 10)
    inputs = rig.inputs(0.4, 0.0)
    pose, velocity = np.zeros(3), np.array([0.4, 0.0])
    if field < 3:
        pose[field] = value
    elif field < 5:
        velocity[field - 3] = value
    odometry = Odometry(rig.now, pose, velocity)
    command = Command(rig.now, value if field == 5 else 0.4, value if field == 6 else 0.0)
    scan = replace(inputs.scan, angle_min=value) if field == 7 else inputs.scan
    now = value if field == 8 else rig.now
    _, output = step(rig.parameters, rig.state, replace(inputs, odometry=odometry, command=command, scan=scan, now=now))
    assert (output.v, output.w) == (0.0, 0.0)
    assert output.level >= Ladder.EMERGENCY


@settings(max_examples=60, deadline=None)
@given(
    angle=st.floats(-math.pi, math.pi),
    distance=st.floats(0.25, 3.0),
    w=st.floats(-1.5, 1.5),
    extra=st.tuples(st.floats(0.3, 3.0), st.floats(-math.pi, math.pi)),
)
def test_more_obstacles_never_allow_more(angle, distance, w, extra):
    few = with_disc(distance * math.cos(angle), distance * math.sin(angle), 0.05)
    more = with_disc(extra[0] * math.cos(extra[1]), extra[0] * math.sin(extra[1]), 0.05, few)
    velocity = (0.3, min(w, 0.3))
    one, two = Rig(ranges=few, velocity=velocity), Rig(ranges=more, velocity=velocity)
    for rig in (one, two):
        rig.state = replace(rig.state, v=0.55, w=w)
    assert abs(two(0.6, w).v) <= abs(one(0.6, w).v) + 1e-9


def test_the_arc_is_kept_when_speed_is_limited():
    rig = Rig(ranges=with_wall(0.4), velocity=(0.2, 0.1))
    output = rig.drive(0.5, 0.25)
    assert output.level == Ladder.LIMIT
    assert 0 < output.v < 0.5
    assert output.w / output.v == pytest.approx(0.5)


def test_a_wall_far_away_does_not_limit():
    assert Rig(ranges=with_wall(3.0), velocity=(0.6, 0.0)).drive(0.6, 0.0).level == Ladder.OK


def test_a_wall_at_the_nose_stops():
    output = Rig(ranges=with_wall(0.228)).drive(0.3, 0.0)
    assert (output.v, output.w, output.level, output.held) == (0.0, 0.0, Ladder.STOP, True)
    assert "obstacle" in output.reason


def test_an_obstacle_beside_the_arc_does_not_stop():
    assert Rig(ranges=with_disc(0.6, 0.5, 0.1), velocity=(0.5, 0.0)).drive(0.5, 0.0).v == pytest.approx(0.5)


def test_what_the_robot_does_now_counts_not_only_what_it_is_told():
    """The same turn beside a wall: free for a robot that stands, not for one that still rushes at the wall."""

    def speed(now):
        rig = Rig(ranges=with_wall(0.47), velocity=(now, 0.0))
        sent = tuple((rig.now - 0.05 * k, now, 0.0) for k in range(9, -1, -1))
        rig.state = replace(rig.state, v=0.3, w=1.8, sent=sent)
        return rig(0.3, 1.8).v

    assert speed(0.0) == pytest.approx(0.3)
    assert speed(0.6) < 0.1


def test_inside_the_margin_only_turning_and_leaving_is_allowed_slowly():
    near = with_wall(ROBOT.radius + 0.03)
    assert Rig(ranges=near).drive(0.3, 0.0).v == 0.0
    back = Rig(ranges=near).drive(-0.15, 0.0)
    assert -PARAMETERS.escape_speed <= back.v < 0
    turn = Rig(ranges=near).drive(0.0, 1.0)
    assert turn.w == pytest.approx(1.0)
    away = Rig(ranges=with_disc(-ROBOT.radius - 0.05, 0.0, 0.03)).drive(0.5, 0.0)
    assert 0 < away.v <= PARAMETERS.escape_speed


def test_a_blocked_arc_still_lets_the_robot_turn():
    output = Rig(ranges=with_wall(0.228)).drive(0.3, 1.0)
    assert output.v == 0.0
    assert 0 < output.w <= PARAMETERS.escape_turn_rate
    assert output.level == Ladder.LIMIT and "turning" in output.reason


def test_max_speed_tightens_and_never_loosens():
    rig = Rig(velocity=(0.2, 0.0))
    assert rig.drive(0.6, 0.0, max_speed=0.2).v == pytest.approx(0.2)
    assert rig.drive(5.0, 0.0, max_speed=50.0).v == pytest.approx(ROBOT.max_speed)
    assert rig.drive(0.6, 0.0, max_speed=math.nan).v == 0.0


@pytest.mark.parametrize(
    ("source", "limit"), [("scan", PARAMETERS.max_scan_age), ("odometry", PARAMETERS.max_odom_age), ("command", 0.2)]
)
@pytest.mark.parametrize("clock", ["ros", "steady"])
def test_a_stale_source_means_zero(source, limit, clock):
    """By its stamp while the steady clock stands, and by its arrival while ROS time stands."""
    rig = Rig(velocity=(0.4, 0.0))
    rig.drive(0.4, 0.0)
    last = getattr(rig.inputs(0.4, 0.0), source)
    rig(0.4, 0.0, **{source: last})
    limit = PARAMETERS.max_command_age if source == "command" and clock == "ros" else limit
    start, steady = rig.now, rig.now
    while rig.output.v:
        inputs = rig.inputs(0.4, 0.0, **{source: last})
        if clock == "ros":
            inputs = replace(inputs, steady=steady)
        else:
            fresh = {
                "scan": replace(inputs.scan, stamp=start + 0.001 * (rig.now - start)),
                "odometry": replace(inputs.odometry, stamp=start + 0.001 * (rig.now - start)),
                "command": replace(inputs.command, stamp=start + 0.001 * (rig.now - start)),
            } | {source: last}
            inputs = replace(inputs, now=start + 0.001 * (rig.now - start), steady=rig.now, **fresh)
        rig.state, rig.output = step(rig.parameters, rig.state, inputs)
        assert rig.now - start < limit + 0.11
    assert rig.output.level >= Ladder.STOP


def test_a_late_command_brakes_gently_before_it_counts_as_lost():
    rig = Rig(velocity=(0.6, 0.0))
    rig.drive(0.6, 0.0)
    last = rig.inputs(0.6, 0.0).command
    levels, speeds = [], []
    for _ in range(7):
        output = rig(0.0, 0.0, command=last)
        levels.append(output.level)
        speeds.append(output.v)
    assert Ladder.STOP in levels and levels[-1] == Ladder.EMERGENCY
    gentle = speeds[levels.index(Ladder.STOP)]
    assert 0.5 < gentle < 0.6
    assert speeds[-1] == 0.0


@pytest.mark.parametrize("fault", ["zero", "future", "backwards"])
def test_impossible_stamps_are_rejected(fault):
    rig = Rig(velocity=(0.4, 0.0))
    rig.drive(0.4, 0.0)
    for _ in range(8):
        inputs = rig.inputs(0.4, 0.0)
        stamp = {"zero": 0.0, "future": rig.now + 0.06, "backwards": rig.now - 0.2}[fault]
        if fault == "backwards":
            stamp = 90.0 + 0.01 * (rig.now - 100)
        rig.state, rig.output = step(rig.parameters, rig.state, replace(inputs, scan=replace(inputs.scan, stamp=stamp)))
    assert rig.output.v == 0.0
    assert "scan" in rig.output.reason


def test_a_stamp_slightly_ahead_is_accepted():
    rig = Rig(velocity=(0.4, 0.0))
    for _ in range(8):
        inputs = rig.inputs(0.4, 0.0)
        inputs = replace(inputs, scan=replace(inputs.scan, stamp=rig.now + 0.04))
        rig.state, rig.output = step(rig.parameters, rig.state, inputs)
    assert rig.output.v > 0


@pytest.mark.parametrize("source", ["scan", "odometry", "command"])
def test_it_resumes_after_n_fresh_messages(source):
    rig = Rig()
    rig.drive(0.3, 0.0)
    last = getattr(rig.inputs(0.3, 0.0), source)
    rig.drive(0.3, 0.0, 12, **{source: last})
    assert rig.output.v == 0.0
    waits = [rig(0.3, 0.0).v for _ in range(5)]
    needed = PARAMETERS.resume_messages
    assert waits[: needed - 1] == [0.0] * (needed - 1)
    assert waits[needed - 1] > 0


def test_one_bad_command_does_not_pass_and_needs_fresh_ones_after_it():
    rig = Rig(velocity=(0.4, 0.0))
    rig.drive(0.4, 0.0)
    assert rig(math.nan, 0.0).v == 0.0
    assert rig(0.4, 0.0).v == 0.0
    assert rig.drive(0.4, 0.0, 4).v > 0


def test_the_emergency_stop_latches_until_released_and_reset():
    rig = Rig(velocity=(0.4, 0.0))
    rig.drive(0.4, 0.0)
    pressed = rig(0.4, 0.0, e_stop=True)
    assert (pressed.v, pressed.w, pressed.level) == (0.0, 0.0, Ladder.LATCHED)
    assert rig.drive(0.4, 0.0).level == Ladder.LATCHED
    assert rig(0.4, 0.0, e_stop=True, reset=True).level == Ladder.LATCHED
    assert rig(0.4, 0.0).level == Ladder.LATCHED
    rig(0.4, 0.0, reset=True)
    assert rig.drive(0.4, 0.0).v > 0


def test_a_latch_survives_a_clock_that_jumps_or_breaks():
    rig = Rig()
    rig(0.0, 0.0, e_stop=True)
    rig(0.0, 0.0, now=math.nan)
    rig.now = 5.0
    assert rig.drive(0.3, 0.0).level == Ladder.LATCHED


def test_a_clock_set_back_stops_and_then_works_again():
    rig = Rig(velocity=(0.4, 0.0))
    rig.drive(0.4, 0.0)
    rig.now = 3.0
    assert rig(0.4, 0.0).v == 0.0
    assert rig.drive(0.4, 0.0).v > 0


def test_elapsed_time_bounds_the_acceleration_however_often_it_is_called():
    """Commands forwarded on arrival between ticks do not add up to more acceleration."""
    rig = Rig()
    start = rig.now
    parameters = PARAMETERS
    for k in range(100):
        rig.now = start + 0.002 * k - parameters.period
        rig(0.6, 0.0)
    assert rig.output.v <= ROBOT.max_acceleration * 0.2 + 1e-6


def test_it_is_a_pure_function():
    rig = Rig(ranges=with_disc(0.8, 0.1, 0.1), velocity=(0.3, 0.0))
    rig.drive(0.5, 0.2)
    inputs = rig.inputs(0.5, 0.2)
    first, second = step(rig.parameters, rig.state, inputs)[1], step(rig.parameters, rig.state, inputs)[1]
    assert (first.v, first.w, first.level, first.reason) == (second.v, second.w, second.level, second.reason)


def test_a_thin_leg_seen_once_is_not_lost():
    rig = Rig(ranges=with_disc(0.5, 0.0, 0.03))
    rig(0.0, 0.0)
    rig.ranges = open_ranges()
    assert rig.drive(0.6, 0.0, 4).v < 0.25
    assert rig.drive(0.6, 0.0, 20).v > 0.5


def test_points_are_compensated_for_the_robots_motion():
    """A wall that was 1 m ahead of a sweep taken 0.2 s ago is nearer now."""

    def speed(moved):
        rig = Rig(ranges=with_wall(0.5), velocity=(0.2, 0.0))
        scan = scan_of(rig.ranges, rig.now)
        rig.pose = np.array([moved, 0.0, 0.0])
        rig.state = replace(rig.state, v=0.6)
        return rig(0.6, 0.0, scan=scan).v

    assert speed(0.15) < speed(0.0) - 0.05


def test_parameters_can_forbid_reversing():
    parameters = default_parameters(ROBOT.model_copy(update={"max_reverse_speed": 0.0}))
    assert Rig(parameters).drive(-0.2, 0.0).v == 0.0
