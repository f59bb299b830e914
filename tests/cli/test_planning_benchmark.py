"""Beside the peers: they are given the same predictor and cost, and what can't be measured is refused before it begins."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import venv
from pathlib import Path

import pytest
import torch

from objective_agent.actor.evaluation import evaluate
from objective_agent.actor.problem import as_tensors
from objective_agent.cli import bench
from objective_agent.cli.main import main
from objective_agent.types import InputError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
COMPILER = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
benchmark = bench.load(FOLDER / "planning.py")
peers = bench.load(FOLDER / "planning_peers.py")
pages = bench.load(FOLDER / "pages.py")


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
    assert "pip must find the peers' packages" in capsys.readouterr().err


def test_an_environment_with_other_packages_is_not_taken_and_nothing_in_it_is_touched(tmp_path, capsys):
    (tmp_path / "ready").touch()
    assert main(["bench", "planning", "--environment", str(tmp_path)]) != 0
    assert "remove it, or give another" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


def test_the_peers_run_on_the_torch_that_runs_here_or_not_at_all(tmp_path, monkeypatch):
    venv.create(tmp_path / "peers", with_pip=False, symlinks=True)
    python = tmp_path / "peers" / "bin" / "python"
    with pytest.raises(InputError, match="can't load the peers' side"):
        benchmark.Peers(python, tmp_path, 1)
    benchmark.see_our_torch(python)
    benchmark.model(tmp_path / "model", 16)
    benchmark.Peers(python, tmp_path / "model", 1).close()
    monkeypatch.setattr(torch, "__version__", "0.1+other")
    with pytest.raises(InputError, match=r"peers would run on torch .* ours runs on torch 0\.1\+other"):
        benchmark.Peers(python, tmp_path / "model", 1)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux counts the peak")
def test_memory_is_what_a_decision_takes_above_what_is_held_anyway():
    held = torch.ones(2**20)
    for _ in range(2):  # what the first time has freed isn't had for nothing
        assert peers.peak(lambda: held + held) == pytest.approx(4, abs=1)
        assert peers.peak(lambda: [held + held for _ in range(4)]) == pytest.approx(16, abs=1)


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


ASKED = {
    *("peer", "optimizer", "candidates", "horizon", "features", "threads", "ms_ours", "ms_peer", "energy_ours", "energy_peer"),
}


class StandingStill:
    """A peer that anyone can beat."""

    def __init__(self, *_):
        pass

    def solve(self, task):
        plan = torch.zeros(len(task["state"]), task["horizon"], task["actions"])
        return {"cpu_ms": 1.0, "wall_ms": 1.0, "mib": 1.0, "actions": plan.tolist()}

    def close(self):
        pass


def test_the_result_is_a_list_of_records_that_need_nothing_beside_them(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "environment", lambda folder: folder)
    monkeypatch.setattr(benchmark, "Peers", StandingStill)
    out, page = tmp_path / "planning.json", tmp_path / "page.md"
    page.write_text(f"{pages.begin('planning')}\n{pages.END}\n")
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    chosen = ["--sizes", "64,4,2,32,1;32,3,2,32,2", "--rounds", "2", "--runtime", "torch", "--write", str(page)]
    assert bench.main(parser.parse_args(chosen, argparse.Namespace(benchmark=benchmark, json=out))) == 0
    rows = json.loads(out.read_text())
    assert isinstance(rows, list)
    assert len(rows) == 6
    for row in rows:
        assert set(row) > ASKED
        assert (row["rounds"], row["runtime"], row["clock"], row["mib_peer"]) == (2, "torch", "processor", 1.0)
        assert row["energy_ours"] < row["energy_peer"]
        assert row["energy_lower_share"] == 1.0
        assert row["candidates_enough"] == 16
        assert row["faster_enough"] > 0
        assert row["rollout_ms_least"] > 0
        assert (row["hardware"]["torch"], row["hardware"]["threads"]) == (torch.__version__, 1)
    text = page.read_text()
    assert text.count("| 16 |") == 6
    assert text.count("| 64 x 4 | 32 | 1 |") == text.count("| 32 x 3 | 32 | 2 |") == 1  # a rollout is shown once
    for row in rows:
        memory = "-" if row["mib_ours"] is None else f"{row['mib_ours']:.1f}"
        assert f"| {memory} / 1.0 |" in text
