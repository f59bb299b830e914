"""The actor's step: what the command depends on, and what it never does."""

import math
from dataclasses import replace

import numpy as np
import pytest

from objective_agent.config import (
    ActorParameters,
    Configuration,
    CostParameters,
    RobotParameters,
    Task,
    WorldModelParameters,
    validate,
)
from objective_agent.planner import Planner, make_guardrails
from objective_agent.types import ConfigurationError, WorldState

ROBOT = RobotParameters()


def configuration(**changes) -> Configuration:
    settings = {
        "number": 1,
        "stamp": 0.0,
        "task": Task(kind="goal_pose", id="a", position=(3.0, 0.0)),
        "cost": CostParameters.model_validate({}),
        "actor": ActorParameters(),
        "world_model": WorldModelParameters(),
        "goal_tolerance": 0.25,
        "heading_tolerance": 0.3,
        "use_route": True,
        "lookahead": 1.0,
    }
    return Configuration(**(settings | changes))


def state(points=((100.0, 100.0),), velocity=(0.0, 0.0), sent=(), stamp=10.0) -> WorldState:
    values = np.array([command[1:] for command in sent], np.float32).reshape(1, -1, 2)
    return WorldState(
        stamp=stamp,
        representation=np.zeros((1, 1, 4), np.float32),
        pose=np.zeros((1, 3), np.float32),
        velocity=np.array([velocity], np.float32),
        model="test",
        points=np.array([points], np.float32),
        sent_stamps=np.array([command[0] for command in sent]),
        sent=values,
    )


def decide(planner, settings, now_state, route=None):
    return planner.decide(settings, now_state, route, now=now_state.stamp, latency=0.05)


def test_drives_towards_the_goal():
    decision = decide(Planner(ROBOT), configuration(), state())
    assert decision.command.v > 0 and abs(decision.command.w) < 0.5 and decision.reason == ""
    assert decision.command.stamp == 10.0, "a derived command carries its observation's stamp"


def test_turns_towards_a_subgoal_on_the_route():
    route = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0], [3.0, 2.0]])
    decision = decide(Planner(ROBOT), configuration(), state(), route)
    assert decision.command.w > 0.2
    assert np.allclose(decision.subgoal, [0.0, 1.0], atol=0.1)
    without = decide(Planner(ROBOT), configuration(use_route=False), state(), route)
    assert np.allclose(without.subgoal, [3.0, 0.0])


@pytest.mark.parametrize(
    ("changes", "reason"), [({"task": Task()}, "no task"), ({"reached": True, "reason": "goal reached"}, "")]
)
def test_idle_and_reached_stand_still(changes, reason):
    decision = decide(Planner(ROBOT), configuration(**changes), state(velocity=(0.5, 0.0)))
    assert (decision.command.v, decision.command.w) == (0.0, 0.0)
    assert decision.reason and reason in decision.reason


def test_same_seed_same_decisions():
    first, second = Planner(ROBOT, seed=3), Planner(ROBOT, seed=3)
    for stamp in (10.0, 10.1, 10.2):
        one, two = (decide(planner, configuration(), state(stamp=stamp)).command for planner in (first, second))
        assert one == two


def test_speed_scale_tightens():
    task = Task(kind="goal_pose", id="a", position=(3.0, 0.0), speed_scale=0.2)
    decision = decide(Planner(ROBOT), configuration(task=task), state(velocity=(0.1, 0.0), sent=[(9.9, 0.1, 0.0)]))
    assert decision.plan.actions[..., 0].max() <= 0.2 * ROBOT.max_speed + 1e-5


def test_extra_margin_tightens_every_guardrail():
    wall = [(0.55, y) for y in np.linspace(-1, 1, 41)]
    plain = decide(Planner(ROBOT), configuration(), state(wall)).plan
    task = Task(kind="goal_pose", id="a", position=(3.0, 0.0), extra_margin=0.2)
    tight = decide(Planner(ROBOT), configuration(task=task), state(wall)).plan
    reach = lambda plan: float(plan.poses[0, :, :, 0].max())  # noqa: E731
    assert reach(tight) < reach(plain) - 0.05
    with pytest.raises(ConfigurationError, match="never loosened"):
        make_guardrails(CostParameters.model_validate({}), ROBOT, -0.1)


def test_surrounded_and_moving_brakes():
    ring = [(0.4 * math.cos(a), 0.4 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 60)]
    decision = decide(Planner(ROBOT), configuration(), state(ring, velocity=(0.6, 0.0), sent=[(9.5, 0.6, 0.0)]))
    assert decision.plan.mode == "braking" and not bool(decision.plan.feasible[0])
    assert decision.command.v <= 0.6 and "braking" in decision.reason


@pytest.mark.parametrize("heading", [-0.9, -0.4, 0.4, 0.9])
def test_finds_the_way_through_a_narrow_gap(heading):
    """A gap with 5 cm on either side, not straight ahead: only turning by the right angle and driving straight gets through."""
    gap = [(0.6, side * y) for side in (-1, 1) for y in np.arange(0.315, 1.5, 0.05)]
    narrow = state(gap)
    narrow = replace(narrow, pose=np.array([[0.0, 0.0, heading]], np.float32))
    route = np.array([[0.0, 0.0], [0.6, 0.0], [1.5, 0.0], [3.0, 0.0]])
    plan = decide(Planner(ROBOT), configuration(), narrow, route).plan
    assert plan.mode == "optimizer" and float(plan.poses[0, 0, -1, 0]) > 0.6


def test_latency_is_part_of_the_state():
    """With a command under way the plan starts from where the robot will be, not from where it was seen."""
    moving = state(velocity=(0.6, 0.0), sent=[(9.0, 0.6, 0.0)])
    decision = Planner(ROBOT).decide(configuration(), moving, None, now=10.2, latency=0.1)
    start = float(decision.plan.poses[0, 0, 0, 0])
    assert start > 0.6 * (0.2 + 0.1 + ROBOT.actuator_delay) - 0.01


def test_a_measured_actuator_delay_replaces_the_one_given():
    """A robot whose commands act later is still driven by the older one, and its next one acts later, too."""
    turning = state(velocity=(0.6, 0.0), sent=[(9.0, 0.6, 0.0), (9.8, 0.6, 1.8)])
    starts = {}
    for measured in (None, ROBOT.actuator_delay, 0.36):
        planner, seen = Planner(ROBOT), replace(turning, actuator_delay=measured)
        decision = planner.decide(configuration(), seen, None, now=10.0, latency=0.05)
        starts[measured] = decision.plan.stamp, float(decision.plan.poses[0, 0, 0, 0])
    assert starts[None] == starts[ROBOT.actuator_delay]
    assert starts[0.36][0] == pytest.approx(10.0 + 0.05 + 0.36)
    assert starts[0.36][1] > starts[None][1] + 0.6 * 0.2


def test_the_warm_start_is_shifted_by_the_time_elapsed():
    planner = Planner(ROBOT)
    plan = decide(planner, configuration(), state(stamp=10.0)).plan
    effect = 10.0 + 0.05 + ROBOT.actuator_delay
    shifted = planner._warm_start(configuration(), effect + plan.dt)
    assert np.allclose(shifted[:, :-1], plan.actions[:, 1:], atol=1e-4)
    other = configuration(task=Task(kind="goal_pose", id="b", position=(-3.0, 0.0)))
    assert planner._warm_start(other, effect + plan.dt) is None


def test_a_bad_plugin_is_one_clear_line():
    cost = validate(CostParameters, {"objectives": ["goal_pose", "nonsense"]}, "cost")
    with pytest.raises(ConfigurationError, match="objective plugin 'nonsense' is unknown; known: bump") as error:
        decide(Planner(ROBOT), configuration(cost=cost), state())
    assert "\n" not in str(error.value)


def test_the_world_model_is_loaded_anew_for_its_own_settings_and_for_no_others():
    planner, made = Planner(ROBOT), []
    unicycle, other = WorldModelParameters(), {"world_model": {"plugin": "objective_agent.world_model.unicycle:Unicycle"}}
    actors = [ActorParameters(), ActorParameters(confidence=0.3), ActorParameters(horizon=9)]
    for actor in actors:
        planner.prepare(configuration(actor=actor, world_model=unicycle))
        made.append(planner.world_model)
    assert made[0] is made[1] is made[2]
    planner.prepare(configuration(actor=actors[2], world_model=WorldModelParameters.model_validate(other)))
    assert planner.world_model is not made[0]
    planner.use(made[0])
    planner.prepare(configuration(actor=actors[0]))
    assert planner.world_model is made[0]
    planner.use(None)
    planner.prepare(configuration(actor=actors[0]))
    assert planner.world_model is not made[0], "what somebody else made is not what the settings name"
