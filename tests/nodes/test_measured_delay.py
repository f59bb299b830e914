"""The measured delay in the graph: memory measures and tells it; who makes states of its messages counts on it or does not."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMessage
from std_msgs.msg import Float64MultiArray

from objective_agent.config import ActorParameters, MemoryParameters
from objective_agent.types import HABIT, Command, Odometry, Plan, WorldState
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.base import SUCCESS, ModuleNode
from objective_agent_nodes.measured_delay import LABELS
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.pace import Pace
from objective_agent_nodes.snapshot import SentCommands, StateReader, labelled

LATE = 0.25
PLAN = Plan(np.zeros((1, 4, 2)), np.ones(1, bool), np.zeros(1), {}, {}, np.zeros(1), np.zeros((1, 1, 4, 3)), 1, 8, 0.01,
            "converged", "optimizer", 0.2, 1.0)  # fmt: skip


class Consumer(ModuleNode):
    """A node that listens to states as the actor does."""

    def __init__(self, **options):
        super().__init__("consumer", MemoryParameters, **options)
        self.states: list[WorldState] = []

    def setup(self) -> None:
        StateReader(self, lambda state, stamp: self.states.append(state), SentCommands(), points=False)


def up(ros, made):
    ros.add(made)
    assert made.trigger_configure() == SUCCESS, made.failure
    assert made.trigger_activate() == SUCCESS, made.failure
    return made


def weaving(moment: float) -> tuple[float, float]:
    return 0.3 + 0.1 * math.sin(1.3 * moment), 0.8 * math.sin(1.9 * moment)


@pytest.mark.parametrize("setting", ["measured", "given"])
def test_memory_tells_what_it_measured_only_when_plans_are_to_count_on_it(ros, until, setting):
    memory = up(ros, Memory(**ros.overrides(actuator_delay=setting)))
    heard, node = [], ros.node()
    node.create_subscription(Float64MultiArray, "actuator_delay", heard.append, 10)
    commands, odom = node.create_publisher(TwistStamped, "cmd_vel", 10), node.create_publisher(OdometryMessage, "odom", 10)
    assert until(lambda: commands.get_subscription_count() and odom.get_subscription_count())
    begin = time.time() - 20
    for step in range(400):  # as fast as it goes: only stamps count
        stamp = begin + 0.04 * step
        commands.publish(convert.command_to(Command(stamp, *weaving(stamp))))
        moved = Odometry(stamp, np.zeros(3), np.array(weaving(stamp - LATE)))
        odom.publish(convert.odometry_to(moved))
        if step % 4 == 3:
            time.sleep(0.004)
    assert until(lambda: memory.health().values[LABELS[0]] == pytest.approx(LATE, abs=0.04))
    told = [dict(zip((dim.label for dim in m.layout.dim), m.data, strict=True)) for m in heard]
    if setting == "given":
        assert not told
    else:
        assert math.isnan(told[0][LABELS[0]]), "at first it is not known"
        assert told[-1][LABELS[0]] == pytest.approx(LATE, abs=0.04)
        assert 0 < told[-1][LABELS[1]] < 0.06


def test_a_state_counts_on_a_delay_that_can_be_one_and_on_no_other(ros, until):
    consumer, node = up(ros, Consumer(**ros.overrides())), ros.node()
    delays = node.create_publisher(Float64MultiArray, "actuator_delay", qos.RELIABLE)
    odom = node.create_publisher(OdometryMessage, "state/odom", qos.RELIABLE)
    state = node.create_publisher(convert_state.Image, "state", qos.RELIABLE)
    assert until(lambda: min(each.get_subscription_count() for each in (delays, odom, state)))

    def next_state() -> WorldState:
        count, stamp = len(consumer.states), time.time()
        odom.publish(convert.odometry_to(Odometry(stamp, np.zeros(3), np.zeros(2))))
        state.publish(convert_state.tokens_to(stamp, np.zeros((1, 3)), "model"))
        assert until(lambda: len(consumer.states) > count)
        return consumer.states[-1]

    assert next_state().actuator_delay is None
    for told, believed in ((0.36, 0.36), (math.nan, None), (0.2, 0.2), (-0.1, None), (0.3, 0.3), (7.0, None)):
        delays.publish(labelled(dict(zip(LABELS, (told, 0.01), strict=True))))
        assert until(lambda believed=believed: next_state().actuator_delay == believed)
        assert next_state().delay(0.1) == (0.1 if believed is None else believed)


def test_an_old_observation_leaves_the_search_less_time():
    pace, actor = Pace(0.035), ActorParameters(period=0.1, deadline=0.06, reaction=0.09)
    assert pace.budget(actor, 0.01) == pytest.approx(0.06)
    assert pace.budget(actor, 0.05) == pytest.approx(0.04)
    assert pace.budget(actor, 0.2) < 0
    assert pace.budget(ActorParameters(), 0.3) == ActorParameters().deadline, "by default only the deadline counts"


def test_latency_is_what_decisions_and_their_way_to_the_robot_take(monkeypatch):
    now = [10.0]
    monkeypatch.setattr("objective_agent_nodes.pace.time.monotonic", lambda: now[0])
    pace = Pace(0.035)
    assert pace.latency("plan") == 0.035 and pace.following == 0.0
    for _ in range(100):
        decide(pace, "optimizer", 0.02)
        now[0] += 0.004
        pace.left()  # the command that was made from it
        now[0] += 0.03
        pace.left()  # a tick of the gate
        now[0] += 0.016
    assert pace.latency("plan") == pytest.approx(0.024, abs=1e-4)
    assert pace.rate() == pytest.approx(20.0)
    pace.decided(None, 0.0, False)
    now[0] += 5.0
    pace.left()
    assert pace.handover == pytest.approx(0.004, abs=1e-4), "the gate was away; that was no hand-over"


def decide(pace: Pace, mode: str, seconds: float) -> None:
    searched = mode in ("optimizer", "braking")
    pace.decided(replace(PLAN, mode=mode, stop_reason="converged" if searched else HABIT), seconds, False)


def test_what_habits_take_says_nothing_of_a_search():
    pace = Pace(0.035)
    for _ in range(20):
        decide(pace, "optimizer", 0.02)
        for _ in range(10):
            decide(pace, "followed", 0.001)
        decide(pace, "policy", 0.006)
        decide(pace, "fallback", 0.006)
    searching, thinking = pace.latency("adaptive"), pace.latency("policy")
    assert 0.02 < searching < 0.022 and 0.006 < thinking < 0.01 and pace.following == pytest.approx(0.001, abs=1e-4)
    assert pace.milliseconds("adaptive") == {
        "latency_ms": 1000 * searching,
        "handover_ms": 0.0,
        "searched_ms": 1000 * searching,
        "followed_ms": 1000 * pace.following,
        "policy_ms": 1000 * thinking,
    }
