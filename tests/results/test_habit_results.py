"""What the page says of habits: as good as the search or not, at which share of its time."""

import json

import numpy as np
import pytest

from objective_agent.cli.main import main
from objective_agent.results import benchmarks, evaluations, render
from objective_agent.results.render import Material
from objective_agent.results.statistics import difference_interval


def made(agent: list[bool], adaptive: list[bool], share=0.1, task="maze") -> dict:
    outcomes = {"agent": agent, "adaptive": adaptive}
    records = [
        {"index": index, "layout": 0, "detour": True, "shortest": 8.0,
         "rows": {name: {"success": told[index], "steps": 9} for name, told in outcomes.items()}}
        for index in range(len(agent))
    ]  # fmt: skip
    rows = {
        "agent": {"per_episode_ms": {"planning": 60.0, "encoder": 5.0}, "modes": {"optimizer": 1.0}},
        "adaptive": {"per_episode_ms": {"planning": 60.0 * share, "encoder": 5.0}, "planning_share": share,
                     "modes": {"optimizer": 0.05, "policy": 0.95}},
    }  # fmt: skip
    about = {"task": task, "model": "m" * 64, "seed": 1, "already_solved": 0, "push_test": None, "command": "objective-agent x"}
    return {"kind": "benchmark", **about, "protocol": {}, "rows": rows, "per_episode": records}


def page(*results: dict) -> str:
    return render.page(Material(benchmarks=[benchmarks.parse(each, f"{n}.json") for n, each in enumerate(results)]))


def test_habits_stand_in_a_table_of_their_own():
    text = page(made([True] * 300, [True] * 300))
    assert "## Habits" in text and "### `maze`" not in text
    (line,) = [line for line in text.splitlines() if "`adaptive`" in line and line.startswith("|")]
    assert "| yes |" in line and "10.0 %" in line and "policy 95.0 %" in line and "+0.0 (-1.3 to +1.3)" in line


def test_who_is_worse_or_slow_is_told_so():
    worse = page(made([True] * 300, [True] * 290 + [False] * 10, share=0.2))
    (line,) = [line for line in worse.splitlines() if "`adaptive`" in line and line.startswith("|")]
    assert "| **no** |" in line and "**20.0 %**" in line


def of(wins: int, losses: int, total: int) -> list[float]:
    rest = [True] * (total - wins - losses)
    return difference_interval([True] * wins + [False] * losses + rest, [False] * wins + [True] * losses + rest)


@pytest.mark.parametrize(("wins", "losses", "total"), [(1, 4, 300), (12, 2, 50), (0, 3, 300), (3, 3, 40), (20, 0, 20)])
def test_the_interval_of_a_difference_holds_what_a_score_test_does_not_refuse(wins, losses, total):
    """The score test by its definition: the likeliest shares for each difference found by trying them all."""
    low, high = of(wins, losses, total)
    for d in np.linspace(-0.98, 0.98, 99):
        theirs = np.linspace(max(0.0, -d), (1 - d) / 2, 200_001)[1:-1]
        both = np.clip(1 - 2 * theirs - d, 1e-300, None)
        chance = wins * np.log(theirs + d) + losses * np.log(theirs) + (total - wins - losses) * np.log(both)
        q = theirs[np.argmax(chance)]
        score = (wins - losses - total * d) / np.sqrt(total * (2 * q + d * (1 - d)))
        assert (low <= d <= high) == (abs(score) <= 1.959964), d


def test_pairs_that_never_differ_leave_the_doubt_of_their_number():
    assert of(0, 0, 300) == pytest.approx([-0.01264, 0.01264], abs=1e-5)  # z^2 / (n + z^2)
    assert of(4, 1, 300) == pytest.approx([-x for x in reversed(of(1, 4, 300))], abs=1e-9)


def test_the_robots_habits_stand_there_too_and_not_among_its_conditions(tmp_path):
    row = {"success": True, "seconds": 8.0, "contacts": 0, "contacts_moving": 0}
    records = [
        {
            "index": n,
            "world": f"w{n}",
            "start": [0, 0, 0],
            "goal": [1, 1],
            "blocked": True,
            "rows": {"agent": row, "adaptive": row},
        }
        for n in range(300)
    ]
    adaptive = {"per_episode_ms": {"planning": 150.0}, "modes": {"followed": 0.9, "optimizer": 0.1}, "planning_share": 0.1}
    result = {"task": "apartment", "seed": 1, "model": "m" * 64, "per_episode": records, "rows": {"adaptive": adaptive}}
    result |= {"per_episode_ms": {"planning": 1500.0}, "modes": {"optimizer": 1.0}, "command": "objective-agent x"}
    (tmp_path / "one.json").write_text(json.dumps(evaluations.compact(result)))
    out = tmp_path / "page.md"
    assert main(["results", "--from", str(tmp_path), "--out", str(out)]) == 0
    text = out.read_text()
    assert "## `apartment`" not in text and "## Habits" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| `apartment` | `adaptive`")]
    assert "| yes | 150.0 | 10.0 % | followed 90.0 %, optimizer 10.0 % |" in line
