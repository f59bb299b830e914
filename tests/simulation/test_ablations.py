"""The rows beside the agent's: each takes away one thing and nothing else."""

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")

from learned_model import write_untrained

from objective_agent.agent import Agent
from objective_agent.cli.evaluate import ROW_NAMES, load, with_model
from objective_agent.config import PluginSpec, Task
from objective_agent.simulation import episode as episodes
from objective_agent.simulation.ablations import AGENT, ROWS, MeanFutures, NoHistory, OtherMoment, alter, parameters_of
from objective_agent.simulation.evaluation import Evaluator, Protocol, summarize
from objective_agent.types import Observation, Representation


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    folder = write_untrained(tmp_path_factory.mktemp("models") / "untrained")
    learned, _ = load(None, "learned.yaml")
    return with_model(learned, str(folder))


def test_the_command_line_knows_every_row():
    assert ROW_NAMES == ROWS


def test_a_model_replaces_encoder_and_world_model_and_keeps_their_settings(parameters):
    assert parameters.perception.encoder.plugin == "jepa" == parameters.world_model.world_model.plugin
    assert parameters.perception.encoder.settings["sweep_reach"] == 1.3
    assert parameters.perception.encoder.settings["model"] == parameters.world_model.world_model.settings["model"]
    plain, _ = load(None)
    assert with_model(plain, "m").perception.encoder == PluginSpec(plugin="jepa", model="m")


def test_the_analytic_row_is_the_agent_without_anything_learned(parameters):
    plain = parameters_of("analytic", parameters)
    assert plain.perception.encoder.plugin == "scan" and plain.world_model.world_model.plugin == "unicycle"
    assert plain.cost.guardrails == ("clearance",) and plain.actor.futures == 1
    assert plain.actor.period == parameters.actor.period and plain.robot == parameters.robot
    Agent(plain)


def test_no_route_changes_that_alone(parameters):
    bare = parameters_of("no_route", parameters)
    assert not bare.configurator.use_route
    assert bare.model_copy(update={"configurator": parameters.configurator}) == parameters


def test_shuffled_answers_with_another_moment_and_repeats_itself():
    class Encoder:
        model, tokens, features = "m", 1, 2

    seen = [Representation(float(i), np.full((1, 1, 2), i, np.float32), "m") for i in range(200)]
    observation = Observation(7.0, np.zeros((1, 3)), np.zeros((1, 2)))
    first, again = (OtherMoment(Encoder(), seen, 3) for _ in range(2))
    got = [first.encode(observation) for _ in range(100)]
    assert all(found.stamp == 7.0 for found in got)
    assert min(abs(found.tokens[0, 0, 0] - i) for i, found in enumerate(got)) >= 40
    assert [found.tokens[0, 0, 0] for found in got] == [again.encode(observation).tokens[0, 0, 0] for _ in range(100)]


def test_mean_futures_hears_the_mean():
    class Guard:
        def margin(self, trajectory):
            return torch.tensor([[[[1.0, 2.0], [-3.0, 4.0]]]])

    margin = MeanFutures(Guard()).margin(None)
    assert margin.tolist() == [[[[-1.0, 3.0], [-1.0, 3.0]]]]


def test_the_rows_alter_the_agent_that_they_name(parameters):
    agent = Agent(parameters)
    agent.set_task(Task(kind="goal_pose", position=(1.0, 0.0)))
    alter("mean_futures", agent, (), 0)
    assert all(isinstance(named.guardrail, MeanFutures) for named in agent.planner.guardrails)
    kept = agent.planner.guardrails
    agent.planner.prepare(agent.configurator.configure(agent.task, {}))
    assert agent.planner.guardrails is kept, "and stays so"
    alter("no_history", agent, (), 0)
    assert isinstance(agent.encoder, NoHistory) and agent.encoder.model == agent.encoder._encoder.model


def test_all_rows_run_on_the_same_episode_and_stand_in_the_result(parameters, monkeypatch):
    monkeypatch.setattr(episodes, "TIME_LIMIT", 0.6)
    _, gate = load(None)
    protocol = Protocol("apartment_camera", 1, parameters, gate, (), None, ROWS)
    record = Evaluator(protocol).run(0)
    assert set(record["rows"]) == {AGENT, *ROWS} == set(record["timing"]) - {"seconds"}
    result = summarize(protocol, [record], "m", {})
    assert set(result["rows"]) == set(ROWS) and result["collisions_without_gate"] == 0
    assert result["rows"]["shuffled"]["paired"]["difference"] == 0
    few = Protocol("apartment_camera", 1, parameters, gate, (), None, ())
    assert few.digest() == protocol.digest(), "a run may go on with other rows"
    summary = summarize(few, [record], "m", {})
    assert summary["collisions_without_gate"] is None and set(summary["per_episode"][0]["rows"]) == {AGENT}


def test_the_learned_agent_imagines_with_what_it_learned(parameters):
    agent = Agent(parameters)
    agent.set_task(Task(kind="goal_pose", position=(1.0, 0.0)))
    agent.planner.prepare(agent.configurator.configure(agent.task, {}))
    assert [named.name for named in agent.planner.guardrails] == ["learned_clearance", "people"]
    assert agent.encoder.model == agent.planner.world_model.representation_model
