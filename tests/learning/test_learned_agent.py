"""The learned modules in the whole loop: the same agent, other plugins; an untrained model must still be safe and alive."""

from __future__ import annotations

import numpy as np
import pytest
from learned_model import write_untrained

from objective_agent.agent import Agent
from objective_agent.config import AgentParameters, ConfigurationError, Task
from objective_agent.simulation import RobotSimulation, generate_apartment
from objective_agent.types import Command, Scan

PERIOD = 0.1


def parameters(folder, **actor) -> AgentParameters:
    spec = {"plugin": "jepa", "model": str(folder)}
    return AgentParameters.model_validate(
        {"perception": {"encoder": spec}, "world_model": {"world_model": spec}, "actor": {"horizon": 12, "futures": 3, **actor}}
    )


def drive(agent: Agent, seconds: float, lidar: bool = True) -> list:
    simulation = RobotSimulation(generate_apartment(3), seed=1)
    agent.set_task(Task(kind="goal_pose", position=tuple(simulation.true_pose[:2] + 1.0)))
    decisions = []
    for _ in range(round(seconds / PERIOD)):
        for reading in simulation.advance(PERIOD):
            if lidar or not isinstance(reading, Scan):
                agent.observe(reading)
        decision = agent.step(simulation.time, latency=0.04)
        decisions.append(decision)
        simulation.command(decision.command.v, decision.command.w)
        agent.command_sent(Command(simulation.time, decision.command.v, decision.command.w))
    return decisions


@pytest.mark.parametrize("lidar", [True, False])
def test_it_plans_in_the_learned_model_with_and_without_a_scan(tmp_path, lidar):
    agent = Agent(parameters(write_untrained(tmp_path / "model")), seed=1)
    planned = [decision for decision in drive(agent, 2.0, lidar) if decision.plan is not None]
    assert len(planned) >= 15
    for decision in planned:
        assert decision.plan.poses.shape == (1, 3, 12, 3)
        assert np.isfinite([decision.command.v, decision.command.w]).all()
        assert decision.state.model == agent.encoder.model == agent.planner.world_model.representation_model


def test_another_step_or_too_many_futures_are_one_clear_line(tmp_path):
    folder = write_untrained(tmp_path / "model")
    for actor, said in (({"dt": 0.1}, "steps by 0.2 s"), ({"futures": 9}, "has 1 to 3")):
        with pytest.raises(ConfigurationError, match=said):
            drive(Agent(parameters(folder, **actor)), 0.5)


def test_the_motion_history_reaches_the_encoder(tmp_path):
    agent = Agent(parameters(write_untrained(tmp_path / "model")))
    drive(agent, 1.5)
    observation = agent.synchronizer.observe(1.5)
    assert np.isfinite(observation.motion[0, -1]).all(), "what left the gate is known"
    assert np.isfinite(observation.past_scans).any()
