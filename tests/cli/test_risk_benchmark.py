"""The risk benchmark: worlds that are what their models say, figures that are there, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from objective_agent.cli import bench
from objective_agent.cli.main import main
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import create
from objective_agent.types import WorldState

ROOT = Path(__file__).resolve().parents[2]
benchmark = bench.load(ROOT / "benchmarks" / "risk.py")
KINDS = {"person": "Person", "door": "Door"}


@pytest.mark.parametrize("world", ["person", "door"])
@pytest.mark.parametrize("rare", [False, True])
def test_one_of_the_imagined_futures_is_the_one_that_comes(world, rare):
    """A robot that stands: the truth's distance at each step is that of the futures of its kind, up to their spread."""
    episodes = benchmark.draw(world, 12, 3)
    episodes.first[:] = rare
    if world == "person":
        episodes.begins[:] = benchmark.risk_worlds.EDGE
    thing = benchmark.Thing(world, episodes)
    for _ in range(15):
        thing.advance(0.2)
    robot = RobotParameters()
    model = create("world_model", PluginSpec(plugin=f"benchmarks.risk_worlds:{KINDS[world]}"), robot)
    place = np.tile([2.6, -0.4], (12, 1))
    state = WorldState(3.0, thing.known[:, None].copy(), np.c_[place, np.zeros(12)], np.zeros((12, 2)), "two-ways").to_torch()
    imagined = model.rollout(state, torch.zeros(12, 1, 15, 2), 5, 0.2).readouts["people"][:, 0].numpy()  # [B, K, H]
    first = (np.arange(5) + 0.5) / 5 < thing.known[:, -1:]
    assert first.any(1).all() and not first.all(1).any(), "both ways are among the futures"
    assert (thing.since == 0).all(), "and neither has begun"
    come = []
    for _ in range(15):
        for _ in range(4):
            thing.advance(0.05)
        if world == "person":
            come.append(thing.gap(place, robot.radius))
        else:
            leaf = benchmark.risk_worlds.leaf_distance(place[:, 0], place[:, 1], thing.known[:, 0], np) - robot.radius
            come.append(np.where(thing.known[:, 0] > 0.02, leaf, 9.0))
    come = np.stack(come, -1)
    kind, other = (np.where(first[:, :, None] == which, imagined, np.nan) for which in (rare, not rare))
    error, opposite = (np.nanmedian(np.nanmin(np.abs(each - come[:, None]), 1)[:, -1]) for each in (kind, other))
    assert error < 0.25, "its kind"
    assert opposite > 2 * error + 0.1, "and not the other"


def test_what_was_seen_settles_which_way_all_futures_go():
    episodes = benchmark.draw("door", 8, 0)
    thing = benchmark.Thing("door", episodes)
    for _ in range(80):
        thing.advance(0.1)
    assert (thing.known[:, 2] == episodes.first).all()
    assert (thing.known[:, 0] == np.where(episodes.first, 1.0, 0.0)).all()


def test_figures_are_written_and_the_table_is_put_between_its_marks(tmp_path, capsys):
    page, out = tmp_path / "page.md", tmp_path / "out.json"
    page.write_text(f"before\n{benchmark.pages.begin('risk')}\nold\n{benchmark.pages.END}\nafter\n")
    asked = ["bench", "risk", "--episodes", "2", "--worlds", "person", "--write", str(page), "--json", str(out)]
    assert main(asked) == 0
    figures = json.loads(out.read_text())["worlds"]["person"]
    assert [row["row"] for row in figures["rows"]] == [row.name for row in benchmark.ROWS]
    for row in figures["rows"]:
        assert row["arrived"] == 2 and 5.0 < row["length_m"] < 8.0 and 8.0 < row["seconds"] < 25.0
        assert row["near_interval"][0] <= row["near_misses"] / 2 <= row["near_interval"][1]
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "| `cvar_worst` |" in text


def test_a_page_without_marks_is_refused_before_anything_runs(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("no marks\n")
    assert main(["bench", "risk", "--write", str(page)]) != 0
    assert "end of table" in capsys.readouterr().err
