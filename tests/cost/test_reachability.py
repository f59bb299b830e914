"""Objectives for goal images: the learned distance and the distance in representation space, and which heads are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from reachability_head import random_weights, write_model_with_head

from objective_agent.config import RobotParameters
from objective_agent.cost.goal_representation import GoalRepresentation
from objective_agent.cost.quasimetric import QuasimetricShape
from objective_agent.cost.reachability import Head, Reachability
from objective_agent.learning.heads import write_head
from objective_agent.protocols import Objective
from objective_agent.protocols import Reachability as Contract
from objective_agent.types import ConfigurationError, Goal, InputError, Trajectory
from objective_agent.weights import next_file

ROBOT = RobotParameters()


@pytest.fixture
def folder(tmp_path):
    return write_model_with_head(tmp_path / "model")


def trajectory(moments) -> Trajectory:
    return Trajectory(None, None, None, None, 0.2, representations=moments)


@pytest.mark.parametrize("plugin", [Reachability, GoalRepresentation])
def test_energy_of_the_whole_trajectory_is_the_same_in_the_planner_and_in_the_cost_node(folder, plugin):
    objective = plugin(plugin.Config(model=str(folder)), ROBOT)
    assert isinstance(objective, Objective)
    rng = np.random.default_rng(0)
    moments, goal = rng.normal(size=(2, 5, 3, 4, 1, 32)).astype(np.float32), rng.normal(size=(2, 1, 32)).astype(np.float32)
    found = objective.energy(trajectory(moments), Goal(representation=goal))
    assert found.shape == (2, 5, 3, 4) and (found >= 0).all() and np.ptp(found) > 0
    tensors = objective.energy(trajectory(torch.as_tensor(moments)), Goal(representation=torch.as_tensor(goal)))
    np.testing.assert_allclose(tensors.numpy(), found, rtol=1e-3, atol=1e-4)


def test_steps_are_those_of_the_energy(folder):
    objective = Reachability(Reachability.Config(model=str(folder), scale=0.5), ROBOT)
    assert isinstance(objective, Contract)
    rng = np.random.default_rng(1)
    state, goal = rng.normal(size=(2, 3, 1, 32)).astype(np.float32)
    steps = objective.steps(state, goal)
    energy = objective.energy(trajectory(state[:, None, None, None]), Goal(representation=goal))
    assert steps.shape == (3,)
    np.testing.assert_allclose(energy[:, 0, 0, 0], 0.5 * steps, rtol=1e-4)


@pytest.mark.parametrize("plugin", [Reachability, GoalRepresentation])
def test_a_goal_without_a_representation_or_of_another_model_is_refused(folder, plugin):
    objective = plugin(plugin.Config(model=str(folder)), ROBOT)
    moments = np.zeros((1, 2, 1, 3, 1, 32), np.float32)
    with pytest.raises(InputError, match="goal"):
        objective.energy(trajectory(moments), Goal(position=np.zeros((1, 2))))
    with pytest.raises(InputError, match="goal"):
        objective.energy(trajectory(moments), Goal(representation=np.zeros((1, 1, 16), np.float32)))


def test_a_head_belongs_to_one_encoder(folder, tmp_path):
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["reachability"]["encoder"] = "0" * 64
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ConfigurationError, match=r"trained for encoder 000000000000.*train --head reachability"):
        Head(folder)
    del card["sha256"]["reachability"]
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ConfigurationError, match="no reachability head; train one"):
        Head(folder)


def test_a_damaged_head_is_refused(folder):
    path = folder / "reachability.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigurationError, match="is not the card's"):
        Head(folder)


@pytest.mark.parametrize("killed_after", ["new file", "card", "name"])
def test_a_kill_while_a_head_is_replaced_leaves_a_head(folder, monkeypatch, killed_after):
    import os

    from objective_agent.learning import card, heads

    before, shape = Head(folder).model, QuasimetricShape(features=32, hidden=16, groups=4, size=4)
    written = []

    def write(path, data, real=card.write_bytes):
        if killed_after == "new file" and written:
            raise KeyboardInterrupt
        real(path, data)
        written.append(path.name)

    monkeypatch.setattr(card, "write_bytes", write)
    if killed_after == "card":
        monkeypatch.setattr(heads, "finish", lambda folder: None if not written else (_ for _ in ()).throw(KeyboardInterrupt))
    try:
        write_head(folder, shape, random_weights(shape, 9), {"reached": 1.0})
    except KeyboardInterrupt:
        assert next_file(folder, "reachability").exists()
    found = Head(folder)
    assert (found.model == before) == (killed_after == "new file")
    monkeypatch.undo()
    again = write_head(folder, shape, random_weights(shape, 10), {"reached": 1.0})
    assert Head(folder).model == again and not next_file(folder, "reachability").exists()
    assert os.listdir(folder).count("reachability.safetensors") == 1
