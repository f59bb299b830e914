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
