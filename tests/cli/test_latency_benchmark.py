"""The latency benchmark: paths that are what they say, a delay that costs and is made up for, figures that are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")

from objective_agent.cli import bench
from objective_agent.cli.main import main
from objective_agent.config import RobotParameters
from objective_agent.types import Trajectory, WorldState

ROOT = Path(__file__).resolve().parents[2]
benchmark = bench.load(ROOT / "benchmarks" / "latency.py")
paths = benchmark.latency_paths


@pytest.mark.parametrize("name", benchmark.PATHS)
def test_the_path_is_driven_at_the_speed_that_it_says_and_past_its_posts(name):
    path, times = paths.path(name), np.arange(0, benchmark.LENGTH, 0.02)
    places = path.at(times)
    speed = np.hypot(*np.diff(places, axis=0).T) / 0.02
    assert np.allclose(places[times <= paths.BEGIN], path.points[0])
    moving = speed[times[1:] > paths.BEGIN + 0.02]
    assert 0.29 < moving.min() < 0.35 and 0.45 < moving.max() < 0.51
    gaps = np.hypot(*(places[:, None] - path.posts[None]).transpose(2, 0, 1)).min(1) - paths.POST - RobotParameters().radius
    assert 0.15 < gaps.min() < 0.35
    assert path.beside(path.points[700]) == 0 and path.beside(path.points[0] - [0.0, 0.2]) == pytest.approx(0.2, abs=0.1)


def test_the_objective_asks_for_the_place_of_the_moment():
    path = paths.path("slalom")
    state = WorldState(5.0, *(np.zeros(shape, np.float32) for shape in ((1, 1, 1), (1, 3), (1, 2))), "toy")
    there = np.zeros((1, 1, 1, 4, 3), np.float32)
    there[0, 0, 0, :, :2] = path.at(5.0 + 0.2 * np.arange(1, 5))
    late = there.copy()
    late[..., :2] = path.at(4.5 + 0.2 * np.arange(1, 5))
    objective = paths.OnTime(paths.OnTime.Config(path="slalom"), RobotParameters())
    for make in (np.asarray, torch.as_tensor):
        energies = [
            objective.energy(Trajectory(state, make(poses[..., :2]), make(poses), make(poses[..., :2]), 0.2), None)
            for poses in (there, late)
        ]
        assert float(energies[0].max()) < 0.02
        assert float(energies[1].min()) > 4 * 0.1 and float(energies[1].max()) < 4 * 0.25


def test_a_long_delay_leads_astray_and_a_measured_one_does_not(monkeypatch, one_thread):
    monkeypatch.setattr(benchmark, "LENGTH", 16.0)
    monkeypatch.setattr(benchmark, "SETTLED", 11.0)
    none, measured = (benchmark.drive("eight", 0.36, row, seed=1) for row in ("none", "measured"))
    assert measured.errors.mean() < 0.05 and none.errors.mean() > 4 * measured.errors.mean()
    assert measured.estimates[-1] == pytest.approx(0.36, abs=0.04)
    assert measured.first_known < 11 and none.first_known is None
    assert measured.contacts == 0


def test_tables_and_plot_are_made_of_an_earlier_run(tmp_path):
    rows = [
        {"path": name, "delay_ms": delay, "row": row, "error_m": 0.012, "error_p95_m": 0.03, "by_seed_m": [0.01, 0.014]}
        | {"overshoot_m": 0.04, "contacts": 0}
        | ({"estimate": {"error_ms": 4.0, "error_p95_ms": 9.0}} if row == "measured" else {})
        for name in benchmark.PATHS
        for delay in (0, 360)
        for row in benchmark.ROWS
    ]
    estimates = [{"robots": "delay alone", "count": 2, "error_ms": 3.0, "error_p95_ms": 8.0, "known_share": 0.6}]
    (tmp_path / "found.json").write_text(json.dumps({"rows": rows, "estimates": estimates}))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: objective-agent bench latency -->\n<!-- end of table -->\nafter\n")
    files = ["--from", str(tmp_path / "found.json"), "--write", str(page), "--plot", str(tmp_path / "plot.png")]
    assert main(["bench", "latency", *files]) == 0
    text = page.read_text()
    assert "| eight | 360 ms | `measured` | 1.2 cm | 3.0 cm | 4.0 cm | 0 | 4.0 ms (9.0 ms) |" in text
    assert "2 with delay alone | 3.0 ms | 8.0 ms | 60 % of the time" in text
    assert text.startswith("before") and text.endswith("after\n")
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.parametrize("bad", [["--seeds", "0"], ["--delays", "-5"], ["--delays", "nan"], ["--slips", "-1"]])
def test_what_can_not_be_measured_is_one_line(bad, capsys):
    assert main(["bench", "latency", *bad]) == 2
    assert "bench latency: --seeds must be" in capsys.readouterr().err


def test_a_page_without_marks_is_refused_before_anything_is_driven(tmp_path, capsys):
    (tmp_path / "page.md").write_text("no marks")
    assert main(["bench", "latency", "--write", str(tmp_path / "page.md")]) == 2
    assert "has no line" in capsys.readouterr().err
