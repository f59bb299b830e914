"""Where the time of a decision goes: every part of it is there, and together they are the whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from objective_agent.cli.main import main
from objective_agent.config import load_parameters

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks import pages  # noqa: E402


def test_the_parts_of_a_decision_are_the_whole_of_it(tmp_path, capsys):
    out, page = tmp_path / "out.json", tmp_path / "page.md"
    page.write_text(f"before\n{pages.begin('stages')}\nold\n{pages.END}\nafter\n")
    words = ["stages", "--samples", "8", "--horizons", "4", "--repeats", "1", "--json", str(out), "--write", str(page)]
    assert main(["bench", *words]) == 0
    capsys.readouterr()
    rows, text = json.loads(out.read_text())["rows"], page.read_text()
    assert [row["params"] for row in rows] == ["sim.yaml", "learned.yaml"]
    for row in rows:
        parameters = load_parameters(ROOT / "config" / row["params"])
        cost, parts = parameters.cost, {part: times["p50"] for part, times in row["stage_ms"].items()}
        search = {"rollout", *cost.objectives, *cost.guardrails, "rest of the search"}
        assert parts.keys() == {"encode", "advance", *search, "whole"}
        whole = parts.pop("whole")
        assert whole == pytest.approx(sum(parts.values()), abs=0.01) and min(parts.values()) > 0
        assert row["futures"] == parameters.actor.futures
        assert row["iterations"] == parameters.actor.optimizer.settings["iterations"]
        assert row["evaluations"] > 8 * row["iterations"]
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert all(f"| {part} | " in text for row in rows for part in row["stage_ms"])
    assert "| learned_clearance | - | " in text and "Measured on" in text


@pytest.mark.parametrize("words", [["--repeats", "0"], ["--params", "nowhere.yaml"], ["--write", "nowhere.md"]])
def test_what_can_not_be_measured_is_refused(words, capsys):
    assert main(["bench", "stages", *words]) != 0
    said = capsys.readouterr().err
    assert words[1] in said or "at least 1" in said
    assert len(said.strip().splitlines()) == 1
