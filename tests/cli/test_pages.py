"""The pages that benchmarks put their tables into: nothing of a page is lost, and each table says what it was measured on."""

from __future__ import annotations

import json
import platform
import resource
import sys
from pathlib import Path

import pytest

from objective_agent.cli.evaluate import hardware
from objective_agent.cli.main import main
from objective_agent.types import InputError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks.pages import END, Page, begin, machine, machines  # noqa: E402


@pytest.fixture
def page(tmp_path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{begin('risk')}\nold\n{END}\n{'after ' * 2000}\n")
    return path


def test_a_page_that_can_not_be_written_stays_as_it_was(page):
    was, limits = page.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # a disk that is full before the page's end
    try:
        with pytest.raises(InputError, match="can't be written: File too large"):
            Page(page, "risk").put("new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert page.read_bytes() == was and list(page.parent.iterdir()) == [page]


def test_a_new_table_takes_the_place_of_the_old_one(page):
    was = page.read_text()
    Page(page, "risk").put("new\n")
    Page(page, "risk").put("newer\n")
    text = page.read_text()
    assert "newer" in text and "old" not in text and text.count("new") == 1
    before, after = was.split("old")
    assert text.startswith(before.strip()) and text.endswith(after) and list(page.parent.iterdir()) == [page]


HERE = f"Measured on: {hardware()['cpu']}, {hardware()['cores']} core"
OLD = {"cpu": "Zuse Z3", "cores": 1, "python": "3.10.1", "torch": "2.4.0", "system": "linux"}


def test_below_a_table_stands_what_it_was_measured_on(page):
    def line(*found: dict) -> str:
        Page(page, "risk").put("| table |", *found)
        return page.read_text().split("| table |\n\n")[1].split(f"\n\n{END}")[0]

    assert line().startswith(HERE) and f"Python {platform.python_version()}, torch 2" in line()
    assert line({"hardware": machine(threads=1)}).startswith(HERE) and ", 1 thread, Python" in line({"hardware": machine(1)})
    assert line({"hardware": OLD | {"threads": 2}}) == "Measured on: Zuse Z3, 1 core, 2 threads, Python 3.10.1, torch 2.4.0."
    several = machines({"hardware": OLD}, {"hardware": [machine(1), OLD]}, {"rows": []})
    said = line({"hardware": several})
    assert (
        said.count("Zuse Z3") == 1 and hardware()["cpu"] in said and said.endswith("; a machine that the result does not name.")
    )


def test_a_table_of_earlier_results_names_their_machines(tmp_path):
    row = {"optimizer": "cem", "task": "maze", "episodes": 50, "success": 0.5, "energy": 1.25, "cpu_ms": 7.0}
    for name, on in (("a", OLD), ("b", OLD), ("c", OLD | {"cpu": "Zuse Z4"})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"hardware": on, "rows": [row | {"optimizer": name}]}))
    page = tmp_path / "page.md"
    page.write_text(f"{begin('optimizers')}\n{END}")
    results = [str(tmp_path / f"{name}.json") for name in "abc"]
    assert main(["bench", "optimizers", "--from", *results, "--write", str(page), "--json", str(tmp_path / "all.json")]) == 0
    again = page.read_text()
    assert "Measured on: Zuse Z3, 1 core, Python 3.10.1, torch 2.4.0; Zuse Z4, 1 core" in again
    assert main(["bench", "optimizers", "--from", str(tmp_path / "all.json"), "--write", str(page)]) == 0
    assert page.read_text() == again


@pytest.mark.parametrize("name", ["optimizers", "adaptive", "budget", "latency", "risk"])
def test_the_pages_of_the_documentation_say_it(name):
    text = (ROOT / "docs" / f"{'adaptive' if name == 'budget' else name}.md").read_text()
    table = text.split(begin(name))[1].split(END)[0]
    assert table.strip().splitlines()[-1].startswith("Measured on: ") and table.startswith("\n\n")
