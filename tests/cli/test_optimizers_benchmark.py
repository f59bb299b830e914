"""The optimizers' benchmarks: figures that are there, a table put where it belongs, and what is refused."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from objective_agent.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks import deadline, pages  # noqa: E402

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
def test_deadline_says_how_late_and_what_else_had_the_processor(tmp_path, capsys):
    out, page = tmp_path / "out.json", tmp_path / "page.md"
    page.write_text(f"before\n{pages.begin('deadline')}\nold\n{pages.END}\nafter\n")
    words = ["deadline", "--optimizers", "cem", "gradient", "--repeats", "3", "--budget", "10"]
    assert main(["bench", *words, "--json", str(out), "--write", str(page)]) == 0
    found = json.loads(out.read_text())
    assert found["hogs"] == os.cpu_count() and [row["optimizer"] for row in found["rows"]] == ["cem", "gradient"]
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text and "Measured on" in text
    for row in found["rows"]:
        assert row["stop_reasons"] == {"deadline": 3} and row["iterations"] >= 1 and row["decisions"] == 3
        assert 0 <= row["overrun_ms"]["p50"] <= row["overrun_ms"]["p99"] <= row["overrun_ms"]["max"]
        assert row["quiet"]["decisions"] in (0, 3)
        assert f"| `{row['optimizer']}` | 3 | {100 * row['used_p50']:.0f} % |" in text
    capsys.readouterr()


@pytest.mark.skipif(deadline.processor([]) is None, reason="without /proc")
def test_a_busy_process_that_the_benchmark_started_is_none_of_the_others():
    with deadline.busy(1) as pids:
        before, alone = deadline.processor(pids), deadline.processor([])
        time.sleep(0.5)
        after, later = deadline.processor(pids), deadline.processor([])
    assert after[2] - before[2] > later[2] - alone[2]
    assert deadline.others(before, after) < deadline.others(alone, later)


def test_what_others_had_is_a_share_of_all_cores():
    assert deadline.others((10.0, 5.0, 3.0), (12.0, 7.0, 4.5)) == pytest.approx(0.25)
    assert deadline.others((10.0, 5.0, 3.0), (12.0, 7.0, 5.1)) == 0
    assert deadline.others(None, (12.0, 7.0, 5.1)) is None


@pytest.mark.parametrize(
    "words", [["deadline", "--repeats", "0"], ["deadline", "--budget", "nan"], ["optimizers", "--seeds", "0"]]
)
def test_nonsense_is_refused(words, capsys):
    assert main(["bench", *words]) != 0
    assert "at least 1" in capsys.readouterr().err
