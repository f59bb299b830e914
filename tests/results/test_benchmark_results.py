import json

import pytest

from objective_agent.cli.main import main
from objective_agent.results import benchmarks
from objective_agent.results.benchmarks import About, Asked, Published
from objective_agent.types import ConfigurationError, InputError


def made(successes: str, task="maze", seed=0, detours: str | None = None, push=None) -> dict:
    """A result as evaluate writes it; `successes` of the agent as 0 and 1, of the zero action none."""
    detours = detours or "1" * len(successes)
    records = []
    for index, (success, detour) in enumerate(zip(successes, detours, strict=True)):
        rows = {"agent": {"success": success == "1", "steps": 12}, "zero": {"success": False, "steps": 40}}
        records.append({"index": index, "layout": 0, "detour": detour == "1", "shortest": 8.0, "rows": rows})
    rows = {"agent": {"planning_ms": {"p50": 15.0, "p99": 20.0}, "stuck_share": 0.02}, "zero": {}}
    about = {"model": f"{seed}" * 64, "seed": 1, "already_solved": 0, "push_test": push, "command": "objective-agent evaluate"}
    about |= {"protocol": {"budget": "40 steps", "tolerance": 0.06}, "hardware": {"cpu": "x"}, "training": {"seed": seed}}
    return {"kind": "benchmark", "task": task, **about, "rows": rows, "per_episode": records}


PUSH = {"crossed": 0.2, "pushes": 200, "passed": 0.9, "openings": 100, "probe_r2": 0.998, "error": 0.01}


def test_the_compact_form_says_the_same():
    small = benchmarks.compact(made("1101", push=PUSH))
    assert benchmarks.compact(small) is small and "per_episode" not in small
    found = benchmarks.figures(benchmarks.parse(json.loads(json.dumps(small)), "a.json"), "agent")
    assert found["solved"] == 3 and found["episodes"] == 4 and found["steps"] == 1.5 and found["planning_ms"]["p50"] == 15.0


def test_bars_look_at_what_they_name():
    found = benchmarks.parse(made("1100", detours="0111", push=PUSH), "a.json")
    met = {line[1]: line[3] for line in benchmarks.judge(found, Asked(success=0.5, planning_p50=60, push=0.1))}
    assert met == {"success >= 50.0 %": True, "planning time p50 <= 60 ms": True, "push test <= 10.0 %": False}
    (line,) = benchmarks.judge(found, Asked(success=0.5, of="detours"))
    assert line[1:] == ("success on detours >= 50.0 %", "33.3 %", False)
    unknown = benchmarks.judge(benchmarks.parse(made("11"), "a.json"), Asked(success=0.5, push=0.1))
    assert unknown[-1][3] is None


def test_training_seeds_stand_apart_and_together():
    results = [benchmarks.parse(made("1111", seed=1), "b.json"), benchmarks.parse(made("1000", seed=0), "a.json")]
    text = "\n".join(benchmarks.section(results, {"maze": About(asked=Asked(success=0.9))}))
    assert text.index("training seed 0") < text.index("training seed 1")
    assert "| `agent`, all 2 training seeds | 62.5 %" in text and "5/8" in text
    assert text.count("**not met**") == 1


def test_what_others_report_stands_in_its_own_table():
    about = About(published=(Published(who="Somebody", success="97 %", protocol="another one", source="a paper"),))
    text = "\n".join(benchmarks.section([benchmarks.parse(made("11"), "a.json")], {"maze": about}))
    ours, theirs = text.split("Reported by others")
    assert "Somebody" not in ours and "| Somebody | 97 % | another one | a paper |" in theirs


@pytest.mark.parametrize("wrong", [{"rows": {}}, {"per_episode": []}, {"task": None}])
def test_incomplete_results_are_refused(wrong):
    with pytest.raises(InputError, match=r"a\.json: is no complete benchmark result"):
        benchmarks.parse(made("11") | wrong, "a.json")


def test_the_page_is_written_and_checked(tmp_path, capsys):
    source = tmp_path / "results"
    source.mkdir()
    (tmp_path / "full.json").write_text(json.dumps(made("1110", task="two_room", push=PUSH)))
    (source / "benchmarks.yaml").write_text("two_room:\n  asked: {success: 0.5}\n")
    assert main(["results", "--compact", str(tmp_path / "full.json"), str(source / "two_room.json")]) == 0
    page = tmp_path / "page.md"
    files = ["--from", str(source), "--out", str(page)]
    assert main(["results", *files, "--json", str(tmp_path / "figures.json")]) == 0
    text = page.read_text()
    assert "### `two_room`" in text and "75.0 % (" in text and "20.0 % of 200 stopped pushes" in text
    assert json.loads((tmp_path / "figures.json").read_text())["benchmarks"][0]["rows"]["agent"]["solved"] == 3
    assert main(["results", *files, "--check"]) == 0
    page.write_text(text.replace("75.0 %", "95.0 %"))
    assert main(["results", *files, "--check"]) == 1


def test_a_damaged_file_of_bars_is_one_line(tmp_path):
    (tmp_path / "benchmarks.yaml").write_text("maze:\n  asked: {success: 2}\n")
    with pytest.raises(ConfigurationError, match=r"maze\.asked\.success"):
        benchmarks.load_about(tmp_path / "benchmarks.yaml")
    assert benchmarks.load_about(tmp_path / "none.yaml") == {}
