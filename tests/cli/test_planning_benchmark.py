"""Beside the peers: they are given the same predictor and cost, and what can't be measured is refused before it begins."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import pytest
import torch

from objective_agent.actor.evaluation import evaluate
from objective_agent.actor.problem import as_tensors
from objective_agent.cli import bench
from objective_agent.cli.main import main

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
COMPILER = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
benchmark = bench.load(FOLDER / "planning.py")
peers = bench.load(FOLDER / "planning_peers.py")


@pytest.mark.parametrize("runtime", ["torch", "onnx", pytest.param("compiled", marks=COMPILER)])
def test_the_peers_predictor_and_cost_are_ours(tmp_path, runtime):
    benchmark.model(tmp_path / "model", 32)
    case = benchmark.problem(benchmark.runtime(runtime, tmp_path / "model", 5, 1), 32, 5, 2, seed=1)
    actions = 2 * torch.rand(2, 9, 5, benchmark.ACTIONS) - 1
    ours = evaluate(as_tensors(case), actions).energy
    infos = {"state": case.state.representation.expand(-1, 9, -1), "goal": case.goal.representation.expand(-1, 9, -1)}
    theirs = peers.Model(tmp_path / "model").get_cost(infos, actions)
    assert torch.allclose(ours, theirs, rtol=1e-4)
    assert float(ours.std()) > 0.01 * float(ours.mean())  # actions matter


@pytest.mark.parametrize("optimizer", ["mppi", "cem"])
def test_ours_does_no_more_than_the_work_that_is_compared(tmp_path, optimizer):
    benchmark.model(tmp_path / "model", 16)
    case = benchmark.problem(benchmark.runtime("torch", tmp_path / "model", 4, 1), 16, 4, 1, seed=1)
    plan = benchmark.ours(optimizer, 32, 3, 0).solve(case, math.inf)
    assert plan.iterations == 3
    assert 3 * 30 <= plan.evaluations <= 3 * 32
    assert float(plan.energy) == pytest.approx(benchmark.energy(case, plan.actions), rel=1e-4)


@pytest.mark.parametrize("sizes", ["64,4,2", "64,4,2,128,zero", "8,4,2,128,1", "64,0,2,128,1"])
def test_sizes_that_are_none_are_refused_at_once(tmp_path, sizes, capsys):
    assert main(["bench", "planning", "--environment", str(tmp_path / "none"), "--sizes", sizes]) != 0
    assert "N,H,I,D,B" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_page_without_marks_and_an_environment_that_cannot_be(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("no marks\n")
    assert main(["bench", "planning", "--environment", str(tmp_path / "none"), "--write", str(page)]) != 0
    assert "end of table" in capsys.readouterr().err
    assert main(["bench", "planning", "--environment", str(page)]) != 0
    assert "pip must find torch" in capsys.readouterr().err


def test_the_peers_side_needs_nothing_of_this_package():
    text = (FOLDER / "planning_peers.py").read_text()
    assert "objective_agent" not in text.replace("NAME", "")
    assert sys.modules["objective_agent_benchmarks_planning_peers"] is peers


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("compiled", marks=COMPILER)])
def test_whatever_runs_the_predictor_chooses_the_same_plan(tmp_path, runtime):
    benchmark.model(tmp_path / "model", 32)
    worlds = [benchmark.runtime(name, tmp_path / "model", 5, 1) for name in ("torch", runtime)]
    for seed in range(3):
        plans = [
            benchmark.ours("mppi", 48, 3, seed).solve(benchmark.problem(each, 32, 5, 2, seed), math.inf) for each in worlds
        ]
        assert torch.allclose(plans[0].actions, plans[1].actions, atol=1e-3)
        assert torch.allclose(plans[0].energy, plans[1].energy, rtol=1e-3)


class StandingStill:
    """A peer that anyone can beat."""

    def solve(self, task):
        plan = torch.zeros(len(task["state"]), task["horizon"], task["actions"])
        return {"cpu_ms": 1.0, "wall_ms": 1.0, "mib": 1.0, "actions": plan.tolist()}


def test_the_fewest_candidates_for_a_plan_as_good_as_the_peers_are_found(tmp_path):
    benchmark.model(tmp_path / "model", 32)
    world_model = benchmark.runtime("torch", tmp_path / "model", 4, 1)
    rows = benchmark.decisions(world_model, StandingStill(), (64, 4, 2, 32, 1), rounds=2, threads=1)
    assert len(rows) == 3
    for row in rows:
        assert row["energy_ours"] < row["energy_peer"]
        assert row["candidates_enough"] == 16
        assert row["faster_enough"] > 0
    rollouts = [benchmark.rollout(world_model, (64, 4, 2, 32, 1), 1, 1)]
    assert "| 16 |" in benchmark.table({"records": rows, "rollouts": rollouts})
