import numpy as np
import pytest

from objective_agent.config import ActorParameters, CostParameters, PluginSpec, RobotParameters, Task
from objective_agent.configurator.merge import Merge
from objective_agent.plugins import create
from objective_agent.types import ConfigurationError, InputError

GOAL = Task(kind="goal_pose", position=(2.0, 1.0))


def merge() -> Merge:
    return create("configurator", PluginSpec(plugin="merge"), RobotParameters())


def status(x=0.0, y=0.0, yaw=0.0, stamp=1.0):
    return {"stamp": stamp, "pose": np.array([x, y, yaw])}


def test_the_number_rises_only_when_something_changed():
    made = merge()
    first = made.configure(GOAL, status(stamp=1.0))
    assert made.configure(GOAL, status(0.5, stamp=2.0)) is first
    second = made.configure(Task(kind="goal_pose", position=(2.0, 1.5)), status(stamp=3.0))
    assert (first.number, second.number) == (0, 1) and second.stamp == 3.0
    made.set_parameters(actor={"horizon": 20})
    third = made.configure(second.task, status())
    assert third.number == 2 and third.actor.horizon == 20
    made.set_parameters(actor=ActorParameters(horizon=20))
    assert made.configure(second.task, status()) is third


def test_the_reason_says_why_the_robot_does_not_move():
    made = merge()
    assert made.configure(Task(), status()).reason == "no task"
    assert "odometry" in made.configure(GOAL, {"stamp": 1.0}).reason
    assert made.configure(GOAL, status()).reason == ""
    reached = made.configure(GOAL, status(1.9, 1.0))
    assert reached.reached and "reached" in reached.reason


def test_a_reached_goal_stays_reached_until_the_robot_is_clearly_away_or_the_goal_is_another():
    made = merge()
    assert made.configure(GOAL, status(1.8, 1.0)).reached
    assert made.configure(GOAL, status(1.6, 1.0)).reached
    assert not made.configure(GOAL, status(1.4, 1.0)).reached
    assert not made.configure(GOAL, status(1.6, 1.0)).reached
    assert made.configure(GOAL, status(1.8, 1.0)).reached
    assert not made.configure(Task(kind="goal_pose", position=(1.3, 1.0)), status(1.6, 1.0)).reached


def test_a_goal_with_heading_is_reached_across_the_half_turn():
    task = Task(kind="goal_pose", position=(0.0, 0.0), heading=3.1)
    assert not merge().configure(task, status(yaw=0.0)).reached
    assert merge().configure(task, status(yaw=-3.1)).reached


def test_a_task_sets_weights_and_tolerance_and_leaves_the_settings_alone():
    made = merge()
    task = Task(
        kind="goal_pose", position=(2.0, 1.0), weights={"smooth": 7.0}, tolerance=0.1, speed_scale=0.5, extra_margin=0.1
    )
    got = made.configure(task, status())
    assert got.cost.terms["smooth"].weight == 7.0 and got.goal_tolerance == 0.1
    assert (got.task.speed_scale, got.task.extra_margin) == (0.5, 0.1)
    assert got.cost.terms["clearance"] == CostParameters().terms["clearance"]
    assert made.configure(GOAL, status()).cost == CostParameters()


@pytest.mark.parametrize(
    "task, words",
    [
        ({"weights": {"gaol_pose": 1.0}}, ["gaol_pose", "goal_pose, smooth, effort, bump"]),
        ({"weights": {"clearance": 0.0}}, ["clearance", "guardrail"]),
        ({"frame": "map"}, ["'map'", "odom"]),
        ({"position": (float("nan"), 0.0)}, ["position", "finite"]),
        ({"heading": float("inf")}, ["heading", "finite"]),
        ({"weights": {"smooth": -1.0}}, ["smooth", ">= 0"]),
    ],
)
def test_a_task_that_cannot_be_done_is_refused_in_one_line_and_the_last_snapshot_stays(task, words):
    made = merge()
    before = made.configure(GOAL, status())
    with pytest.raises(InputError) as error:
        made.configure(Task.model_construct(**{**GOAL.model_dump(), **task}), status())
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
    assert made.current is before


def test_bad_settings_are_refused_and_the_old_ones_stay():
    made = merge()
    with pytest.raises(ConfigurationError, match="horizon"):
        made.set_parameters(cost={"objectives": ["goal_pose"]}, actor={"horizon": 0})
    with pytest.raises(ConfigurationError, match="gate"):
        made.set_parameters(gate={})
    got = made.configure(GOAL, status())
    assert got.actor == ActorParameters() and got.cost == CostParameters()


@pytest.mark.parametrize("bad", [{"speed_scale": 1.5}, {"extra_margin": -0.1}])
def test_a_task_can_only_tighten(bad):
    with pytest.raises(ValueError):
        Task(**bad)
