"""The optimizers' benchmarks: figures that are there, a table put where it belongs, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from objective_agent.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks import pages  # noqa: E402

LITTLE = ["bench", "optimizers", "--seeds", "1", "--courses", "3", "--optimizers", "cem", "hybrid"]


def test_the_table_is_put_between_its_marks_and_the_rest_of_the_page_stays(tmp_path, capsys):
    page, out = tmp_path / "page.md", tmp_path / "out.json"
    page.write_text(f"before\n{pages.begin('optimizers')}\nold\n{pages.END}\nafter\n")
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


@pytest.mark.parametrize(("page", "name"), [("optimizers", "optimizers"), ("adaptive", "adaptive"), ("adaptive", "budget")])
def test_the_pages_of_the_documentation_have_the_marks(page, name):
    pages.Page(ROOT / "docs" / f"{page}.md", name)


def test_results_of_several_runs_become_one_table(tmp_path, capsys):
    row = {"optimizer": "cem", "task": "maze", "episodes": 50, "success": 0.5, "energy": 1.25, "cpu_ms": 7.0}
    first, later, page = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "page.md"
    first.write_text(json.dumps({"rows": [row, row | {"optimizer": "mppi"}]}))
    later.write_text(json.dumps({"rows": [row | {"success": 1.0}, row | {"task": "two_room"}]}))
    page.write_text(f"{pages.begin('optimizers')}\n{pages.END}")
    assert main(["bench", "optimizers", "--from", str(first), str(later), "--write", str(page)]) == 0
    text = page.read_text()
    assert "| `cem` | 100 %, 1.250, 7 ms | 50 %, 1.250, 7 ms |" in text  # the later row counts
    assert "| `mppi` | 50 %, 1.250, 7 ms | - |" in text
    later.write_text("{}")
    assert main(["bench", "optimizers", "--from", str(later)]) != 0
    assert "no result of bench optimizers" in capsys.readouterr().err


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
