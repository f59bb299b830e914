"""`bench budget` and `bench adaptive`: whole episodes under several searches, on a shipped model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from objective_agent.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks import budget, pages, searches  # noqa: E402


@pytest.fixture(scope="module")
def maze():
    """The record of an episode under a search of two iterations and of one, compared with one that uses gradients."""
    from objective_agent.config import PluginSpec

    usual = budget.settings("16x4x2")
    gradient = usual.model_copy(update={"optimizer": PluginSpec(plugin="gradient", samples=16, iterations=6)})
    rows = (("two", usual), ("one", budget.settings("16x4x1")), ("gradient", gradient))
    protocol = searches.Searches("maze", 1, str(ROOT / "models" / "maze"), rows, compare=2)
    return protocol, protocol.evaluator().run(1)


def test_a_record_says_what_every_decision_cost_and_how_hard_it_was(maze):
    protocol, record = maze
    for name, iterations in (("two", 2), ("one", 1)):
        row = record["rows"][name]
        assert row["iterations"] == [iterations] * row["steps"]
        assert len(row["cpu_ms"]) == len(row["difficulty"]) == row["steps"] == len(row["whole_ms"])
        assert all(0 < search <= whole for search, whole in zip(row["ms"], row["whole_ms"], strict=True))
    assert sum(record["rows"]["two"]["evaluations"]) > sum(record["rows"]["one"]["evaluations"])
    assert protocol.missing(record) == () and protocol.missing({"rows": {"two": {}}}) == ("one", "gradient")


def test_searches_are_compared_on_the_same_problems(maze):
    _, record = maze
    energies = record["energies"]
    assert set(energies) == {"two", "one", "gradient"}
    assert len({len(values) for values in energies.values()}) == 1
    assert np.mean(energies["gradient"]) < np.mean(energies["one"])
    rows = {name: searches.row_of([record], name, "two") for name in energies}
    assert rows["gradient"]["energy"] < rows["one"]["energy"] and min(row["energy"] for row in rows.values()) >= 1
    assert "paired" not in rows["two"] and rows["one"]["less_cpu_ms"]["of_means"] > 0


def test_the_same_episode_gives_the_same_steps_whatever_the_order(maze):
    protocol, record = maze
    again = searches.Searches(protocol.task, protocol.seed, protocol.model, protocol.searches[1::-1]).evaluator().run(1)
    for name in ("two", "one"):
        assert [again["rows"][name][key] for key in ("steps", "distance")] == [
            record["rows"][name][key] for key in ("steps", "distance")
        ]


def test_difficulty_is_what_stands_in_the_way():
    from objective_agent.simulation import benchmarks

    env = benchmarks.make("two_room")  # the wall at x = 0.5, its door at y = 0.3

    def hard(state, goal):
        return searches.difficulty(env.unwrapped, {"layout": 0, "state": np.array(state), "goal_state": np.array(goal)})

    assert hard((0.25, 0.6), (0.25, 0.4)) == "open"
    assert hard((0.44, 0.6), (0.25, 0.4)) == "wall"
    assert hard((0.25, 0.6), (0.75, 0.6)) == "detour"


def test_budget_sets_searches_beside_the_peers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(budget, "PUBLISHED", budget.PUBLISHED | {"samples": 30, "iterations": 6})
    page, out = tmp_path / "page.md", tmp_path / "out.json"
    page.write_text(f"{pages.begin('budget')}\n{pages.END}\n")
    monkeypatch.chdir(ROOT)
    args = _arguments(budget, ["--tasks", "maze", "--episodes", "1", "--sizes", "16x4x1", "--write", str(page)])
    found = budget.main(args)
    peers, ours = found["tasks"]["maze"]["rows"]
    assert peers["iterations"] == 6 and ours["iterations"] == 1
    assert ours["less_cpu_ms"]["of_means"] > 1
    assert "CEM 300 x 30, H 5, ours" in page.read_text()
    out.write_text(json.dumps(found))
    assert budget.main(_arguments(budget, ["--from", str(out)]))["tasks"].keys() == {"maze"}


@pytest.mark.parametrize("size", ["64", "64x4", "2x4x1", "64x0x1", "axbxc"])
def test_a_size_that_is_none_is_refused(size, capsys):
    assert main(["bench", "budget", "--sizes", size, "--episodes", "1"]) != 0
    assert "NxHxI" in capsys.readouterr().err


def test_adaptive_writes_tables_and_a_figure(tmp_path, monkeypatch):
    from benchmarks import adaptive

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(adaptive, "FIXED", ((8, 1), (8, 4)))
    monkeypatch.setattr(adaptive, "ADAPTIVE", ((8, 0.05, "gain", 1),))
    monkeypatch.setattr(adaptive, "SEARCHERS", ("cem",))
    page = tmp_path / "page.md"
    page.write_text(f"{pages.begin('adaptive')}\n{pages.END}\n")
    args = _arguments(adaptive, ["--tasks", "maze", "--episodes", "1", "--seeds", "1", "--write", str(page)])
    found = adaptive.main(args)
    one, four, free = found["tasks"]["maze"]["rows"]
    assert (one["iterations"], four["iterations"]) == (1, 4) and 2 <= free["iterations"] <= adaptive.MOST
    assert {row["where"] for row in found["decisions"]} == set(adaptive.WHERE)
    assert "8, 5 % of gain" in page.read_text()
    assert (tmp_path / "images" / "adaptive.png").stat().st_size > 10_000


def _arguments(module, words):
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    module.add_arguments(parser)
    return parser.parse_args(words)
