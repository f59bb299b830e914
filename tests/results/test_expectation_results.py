"""Results of `imagine --expectation` on the results page."""

from __future__ import annotations

import json

import pytest

from objective_agent.cli.main import main
from objective_agent.results import expectations
from objective_agent.types import InputError


def made(task: str = "two_room", **shares: float) -> dict:
    def of(share: float) -> dict:
        return {"right": round(200 * share), "share": share, "interval": [max(0, share - 0.04), min(1, share + 0.03)]}

    kinds = {
        kind: {"pairs": 200, "peak": of(share), "one_step": of(0.6), "rollout": of(0.5), "unchanged": of(0.425)}
        for kind, share in shares.items()
    }
    for kind in {"teleport", "wall"} & kinds.keys():
        kinds[kind] |= {"bar": 0.95, "passed": shares[kind] >= 0.95}
    about = {"kind": "expectation", "task": task, "sha256": {"predictor": "5" * 64}, "command": "objective-agent imagine"}
    return about | {"kinds": kinds | {"closed": {"left_out": "it has one layout"}}}


def test_the_page_says_which_bars_are_met_and_what_no_expectation_would_get(tmp_path, capsys):
    for name, content in (("a", made("wall", teleport=0.99)), ("b", made("two_room", teleport=0.9, occlusion=0.7))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    page = tmp_path / "page.md"
    assert main(["results", "--from", str(tmp_path), "--out", str(page)]) == 0
    lines = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    assert lines == [
        "| `two_room` | `teleport` | >= 95 % | **not met** | 200 | 90.0 % (86.0-93.0) | 60.0 % | 50.0 % | 42.5 % |",
        "| `two_room` | `occlusion` |  |  | 200 | 70.0 % (66.0-73.0) | 60.0 % | 50.0 % | 42.5 % |",
        "| `wall` | `teleport` | >= 95 % | met | 200 | 99.0 % (95.0-100.0) | 60.0 % | 50.0 % | 42.5 % |",
    ]
    assert "`two_room` has no `closed`: it has one layout" in page.read_text()


@pytest.mark.parametrize("missing", ["task", "kinds"])
def test_incomplete_files_are_refused(missing):
    content = made(teleport=0.9)
    del content[missing]
    with pytest.raises(InputError, match=f"no complete result .*{missing}"):
        expectations.parse(content, "a.json")
    with pytest.raises(InputError, match="no shares"):
        expectations.parse(made(teleport=1.2), "a.json")
