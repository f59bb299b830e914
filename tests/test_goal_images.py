"""A picture is a goal for the whole agent: it plans to it, knows when it is there, and says in one line when it can't."""

from __future__ import annotations

import numpy as np
import pytest
from reachability_head import write_model_with_head

from objective_agent.agent import Agent
from objective_agent.config import AgentParameters, Task, validate
from objective_agent.configurator.image_goal import ImageGoal
from objective_agent.goal_images import encode_goal, goal_distance, goal_task
from objective_agent.types import Command, ConfigurationError, Image, InputError, Odometry, Scan

OBJECTIVES = ("goal_pose", "reachability", "goal_representation", "smooth", "effort", "bump")
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


def parameters(folder, **encoder) -> AgentParameters:
    spec = {"plugin": "jepa", "model": str(folder)}
    cost = {"objectives": OBJECTIVES, "reachability": {"model": str(folder)}, "goal_representation": {"model": str(folder)}}
    return AgentParameters.model_validate(
        {
            "perception": {"encoder": {**spec, **encoder}},
            "world_model": {"world_model": spec},
            "cost": cost,
            "actor": {"horizon": 6, "futures": 2, "optimizer": {"plugin": "mppi", "samples": 8, "iterations": 1}},
        }
    )


def live(agent: Agent, seconds: float) -> list:
    """Decisions of a robot that stands in an empty place and sees the same picture all the time."""
    decisions, first = [], agent.synchronizer._newest(Odometry, 1e9)
    begin = 1.0 if first is None else first.stamp + 0.1
    for stamp in begin + 0.1 * np.arange(round(10 * seconds)):
        agent.observe(Odometry(stamp, np.zeros(3), np.zeros(2)))
        agent.observe(Scan(stamp, np.full(180, 3.0, np.float32), -np.pi, np.pi / 90, 0.05, 8.0))
        agent.observe(Image(stamp, PICTURE))
        decisions.append(agent.step(stamp))
        agent.command_sent(Command(stamp, 0.0, 0.0))
    return decisions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model_with_head(tmp_path_factory.mktemp("made") / "model", reached=1e-6)


def test_a_picture_alone_makes_plans_with_the_objectives_that_look_at_it(folder):
    agent = Agent(parameters(folder), seed=1)
    agent.set_task(Task(id="kitchen", speed_scale=0.5), PICTURE)
    assert (agent.task.kind, agent.task.id, agent.task.speed_scale) == ("goal_image", "kitchen", 0.5)
    decision = live(agent, 0.6)[-1]
    assert set(decision.plan.energies) == {"reachability", "goal_representation", "smooth", "effort", "bump"}
    assert float(decision.plan.energies["reachability"][0]) > 0
    assert decision.plan.actions[..., 0].max() <= 0.5 * agent.parameters.robot.max_speed + 1e-6
    assert decision.subgoal is None and not decision.configuration.reached


def test_the_same_agent_still_goes_to_poses(folder):
    agent = Agent(parameters(folder), seed=1)
    agent.set_task(Task(kind="goal_pose", position=(2.0, 0.0)))
    decision = live(agent, 0.6)[-1]
    assert set(decision.plan.energies) == {"goal_pose", "smooth", "effort", "bump"}


def test_being_there_for_some_decisions_ends_the_task(tmp_path):
    agent = Agent(parameters(write_model_with_head(tmp_path / "model", reached=1e6)))
    agent.set_task(Task(id="here"), PICTURE)
    decisions = live(agent, 1.5)
    said = [decision.configuration is not None and decision.configuration.reached for decision in decisions]
    assert not any(said[:5]) and said[-1]
    assert decisions[-1].reason == "goal reached" and decisions[-1].command.v == 0
    agent.set_task(Task(id="there"), PICTURE[::-1])
    assert not live(agent, 0.2)[-1].configuration.reached, "another picture is another goal"


def test_one_look_is_not_enough_and_a_reached_goal_is_not_left_at_once():
    goal = ImageGoal()
    assert not goal.update("a", (0.0, 0.5), 1.0, 3, 2.0)
    looks = [goal.update("a", (float(stamp), 0.5), 1.0, 3, 2.0) for stamp in (1, 1, 1, 2, 3)]
    assert looks == [False, False, False, False, True], "a look counts once"
    assert goal.update("a", (4.0, 1.8), 1.0, 3, 2.0)
    assert not goal.update("a", (5.0, 2.1), 1.0, 3, 2.0)
    assert not goal.update("a", (6.0, 0.5), 1.0, 3, 2.0)
    assert not goal.update("a", (7.0, float("nan")), 1.0, 3, 2.0)


def test_a_model_without_a_camera_refuses_pictures(folder):
    for made in (Agent(AgentParameters()), Agent(parameters(folder, camera=False))):
        with pytest.raises(InputError, match="does not look at a camera"):
            made.set_task(Task(), PICTURE)
        assert made.task.kind == "idle"


@pytest.mark.parametrize("picture", [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), np.zeros((0, 64, 3), np.uint8)])
def test_what_is_no_picture_is_refused(folder, picture):
    with pytest.raises(InputError, match="goal image: shape"):
        Agent(parameters(folder)).set_task(Task(), picture)


def test_a_goal_of_another_model_is_refused_and_holds_when_the_model_changes_later(folder, tmp_path):
    agent = Agent(parameters(folder))
    other = Agent(parameters(write_model_with_head(tmp_path / "other", seed=5)))
    foreign = goal_task(encode_goal(other.encoder, PICTURE))
    with pytest.raises(InputError, match=r"encoded by model .*send it again"):
        agent.set_task(foreign)
    agent.set_task(Task(), PICTURE)
    live(agent, 0.3)
    agent.task = foreign  # what a robot has whose model was replaced while it drove
    agent.configurator._possible = (foreign.id, foreign.representation)
    decision = live(agent, 0.2)[-1]
    assert "encoded by model" in decision.reason and (decision.command.v, decision.command.w) == (0.0, 0.0)


def test_a_goal_of_another_size_holds(folder):
    agent = Agent(parameters(folder))
    agent.set_task(goal_task((np.zeros((1, 7)), "")))
    decision = live(agent, 0.3)[-1]
    assert "1x7 features" in decision.reason and decision.command.v == 0.0
    assert goal_distance((), decision.state, agent.task) is None


def test_an_agent_without_an_objective_for_pictures_says_so(folder):
    plain = parameters(folder).model_copy(update={"cost": AgentParameters().cost})
    with pytest.raises(InputError, match=r"none of the objectives .* looks at representations"):
        Agent(plain).set_task(Task(), PICTURE)


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "goal_image"},
        {"kind": "goal_image", "representation": []},
        {"kind": "goal_image", "representation": [[]]},
        {"kind": "goal_image", "representation": [[1.0, 2.0], [3.0]]},
        {"kind": "goal_image", "representation": [[float("nan")]]},
    ],
)
def test_a_task_without_a_usable_representation_is_refused(given):
    with pytest.raises(ConfigurationError, match="task"):
        validate(Task, given, "task")
