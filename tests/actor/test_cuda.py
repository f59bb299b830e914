"""The same code on a GPU: the same plans and losses as on the CPU.  Skipped where there is no CUDA device."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from frame_models import write_frame_model
from toy_problems import optimizer, reach

from objective_agent import weights
from objective_agent.actor.evaluation import evaluate
from objective_agent.actor.problem import as_tensors
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import create
from objective_agent.simulation.benchmarks.controller import BenchmarkController, ControllerSettings, Mind

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learning" / "frames"))

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
SIZE = {"samples": 64, "iterations": 8, "patience": 1000, "rescue": 0}


@pytest.mark.parametrize("kind", ["mlp", "gru", "transformer"])
def test_plans_are_worth_the_same_on_both(tmp_path, kind):
    folder = str(write_frame_model(tmp_path, predictor={"kind": kind, "history": 2}))
    random = np.random.default_rng(0)
    picture, goal = (random.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(2))
    actions = torch.from_numpy(random.uniform(-1, 1, (1, 32, 4, 2)).astype(np.float32))
    energy, best = {}, {}
    for device in ("cpu", "cuda"):
        settings = ControllerSettings(device=device, reachability=0.0, optimizer={"plugin": "cem", **SIZE})
        controller = BenchmarkController(Mind(folder, settings))
        controller.reset(goal, seed=0)
        controller.act(picture)
        problem = as_tensors(controller._problem(controller._before))
        with torch.inference_mode():
            energy[device] = evaluate(problem, actions.to(device)).energy.cpu()
        best[device] = float(controller.plan.energy)
    torch.testing.assert_close(energy["cuda"], energy["cpu"], rtol=2e-2, atol=1e-3)  # convolutions there have 10 bits
    assert best["cuda"] == pytest.approx(best["cpu"], rel=0.1)


@pytest.mark.parametrize("name", ["mppi", "cem", "icem", "predictive_sampling", "random_shooting", "gradient", "hybrid"])
def test_every_search_finds_on_a_gpu_what_it_finds_on_a_cpu(name):
    found = {}
    for device in ("cpu", "cuda"):
        problem = reach()
        search = optimizer(name, iterations=8, patience=1000)
        plan = search.solve(replace(problem, state=problem.state.to_torch(device)), math.inf)
        assert plan.actions.device.type == "cpu" and bool(plan.feasible.all())
        found[device] = float(plan.energy.mean())
    assert found["cuda"] == pytest.approx(found["cpu"], rel=0.15, abs=0.05)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    from frame_data import many_layouts

    from objective_agent.learning.frames.dataset import FrameData

    return FrameData.open(many_layouts(tmp_path_factory.mktemp("rooms") / "data"))


def trained(data, out: Path, device: str, **settings):
    from frame_data import MAP, small

    from objective_agent.learning.frames.trainer import FrameTrainer

    return FrameTrainer(small(**{**MAP, "learning_rate": 3e-3, **settings}), data, out, 0, 1, device)


def test_training_learns_there_and_its_checkpoint_goes_on_here(rooms, tmp_path):
    made = trained(rooms, tmp_path / "model", "cuda", steps=60, shares={"represent": 1, "scene": 1, "reach": 1})
    first = None
    while made.step < 19:
        made.advance()
        made._hear()
        first = first or dict(made._smooth)
    assert made._smooth["total"] < first["total"]
    assert made.frames._kept is not None and made.frames._kept.device.type == "cuda"
    made.save()
    here = trained(rooms, tmp_path / "model", "cpu", steps=60, shares={"represent": 1, "scene": 1, "reach": 1})
    here.resume()
    assert here.step == 19
    for name, value in here.model.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, made.model.state_dict()[name].cpu()), name
    here.advance()


def test_a_whole_training_there_leaves_a_model_for_here(rooms, tmp_path):
    made = trained(rooms, tmp_path / "model", "cuda", steps=300, shares={"represent": 4, "scene": 1, "reach": 1})
    card = made.run({"command": "a test"})
    assert card["device"].startswith("cuda") and torch.cuda.get_device_name() in card["device"]
    assert math.isfinite(card["metrics"]["latent"]) and card["reachability"]["gate"]["pairs"] > 0
    for part in card["sha256"]:
        weights.read_weights(tmp_path / "model", part, weights.read_card(tmp_path / "model"))
    create("encoder", PluginSpec(plugin="frame_jepa", model=str(tmp_path / "model")), RobotParameters())
    settings = ControllerSettings(device="cuda")
    controller = BenchmarkController(Mind(str(tmp_path / "model"), settings))
    controller.reset(rooms.columns["image"][9].copy(), seed=0)
    action = controller.act(rooms.columns["image"][0].copy())
    assert action.shape == (2,) and np.abs(action).max() <= 1


def test_the_first_losses_are_those_of_the_cpu(rooms, tmp_path):
    found = {}
    for device in ("cpu", "cuda"):
        made = trained(rooms, tmp_path / device, device, steps=60)
        found[device] = {name: float(value) for name, value in made._train_step().items()}
    for name, value in found["cpu"].items():
        assert found["cuda"][name] == pytest.approx(value, rel=2e-2, abs=1e-4), name
