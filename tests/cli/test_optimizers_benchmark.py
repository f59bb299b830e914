"""The optimizers' benchmarks: figures that are there, a table put where it belongs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from objective_agent.cli import bench
from objective_agent.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
benchmark = bench.load(ROOT / "benchmarks" / "optimizers.py")
LITTLE = ["bench", "optimizers", "--seeds", "1", "--courses", "3", "--optimizers", "cem", "hybrid"]


def test_the_table_is_put_between_its_marks_and_the_rest_of_the_page_stays(tmp_path, capsys):
    page, out = tmp_path / "page.md", tmp_path / "out.json"
    page.write_text(f"before\n{benchmark.BEGIN}\nold\n{benchmark.END}\nafter\n")
    assert main([*LITTLE, "--write", str(page), "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert {row["task"] for row in rows} >= {"lqr", "wall", "bandit", "obstacles", "open_floor", "doorway", "dead_end"}
    for row in rows:
        assert 0 <= row["success"] <= 1
        assert row["violations"] == 0
        if row["task"] in ("lqr", "wall"):
            assert row["energy"] > 0.999
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("| `cem` |") == text.count("| `hybrid` |") == 2
    capsys.readouterr()


def test_a_page_without_marks_is_refused_before_anything_runs(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("no marks\n")
    assert main([*LITTLE, "--write", str(page)]) != 0
    assert "end of table" in capsys.readouterr().err
    assert page.read_text() == "no marks\n"


def test_the_page_of_the_documentation_has_the_marks():
    begin, end, _ = benchmark._marks(ROOT / "docs" / "optimizers.md")
    assert begin < end


@pytest.mark.slow
def test_deadline_says_how_late_idle_and_busy(tmp_path, capsys):
    out = tmp_path / "out.json"
    words = ["bench", "deadline", "--optimizers", "cem", "gradient", "--repeats", "3", "--budget", "10", "--json", str(out)]
    assert main(words) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [(row["optimizer"], row["cores_busy"]) for row in rows] == [
        ("cem", False),
        ("gradient", False),
        ("cem", True),
        ("gradient", True),
    ]
    assert all(row["stop_reasons"] == {"deadline": 3} and row["iterations"] >= 1 for row in rows)
    capsys.readouterr()


@pytest.mark.parametrize(
    "words", [["deadline", "--repeats", "0"], ["deadline", "--budget", "nan"], ["optimizers", "--seeds", "0"]]
)
def test_nonsense_is_refused(words, capsys):
    assert main(["bench", *words]) != 0
    assert "at least 1" in capsys.readouterr().err
