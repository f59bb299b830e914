"""The results page: figures with known answers, files that contradict each other, a page that can't drift from its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_results import MODEL, ablations, card, evaluation

from objective_agent.cli.main import main
from objective_agent.results import evaluations
from objective_agent.results.bars import judge, load_bars
from objective_agent.results.render import figures, levels, p_value

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, **contents) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def merged(*results: dict) -> evaluations.Condition:
    found = evaluations.merge([evaluations.parse(result, f"{number}.json") for number, result in enumerate(results)])
    assert len(found) == 1
    return found[0]


def page(folder: Path, *arguments: str) -> str:
    out = folder / "page.md"
    assert main(["results", "--from", str(folder), "--out", str(out), *arguments]) == 0
    return out.read_text()


def refused(capsys, *arguments) -> str:
    assert main(["results", *map(str, arguments)]) == 2
    told = capsys.readouterr().err.strip()
    assert told.count("\n") == 0 and "internal error" not in told
    return told


def test_intervals_and_the_paired_test_are_the_known_ones():
    agent = [True] * 8 + [False] * 2
    other = [False] * 6 + [True] * 2 + [False] * 2
    condition = merged(evaluation({"agent": agent, "straight_line": other}))
    found = figures(condition.rows["straight_line"], condition.rows["agent"])
    assert found["success_rate"] == 0.2 and found["interval"] == pytest.approx([0.0567, 0.5098], abs=1e-4)
    assert found["paired"] == {"difference": pytest.approx(0.6), "agent_only": 6, "baseline_only": 0, "p": 2 / 2**6}
    assert figures(condition.rows["agent"], condition.rows["agent"])["paired"] is None


def test_rows_of_several_files_stand_in_one_table_and_are_paired_by_episode(tmp_path):
    agent = [True, True, False, True]
    one = evaluation({"agent": agent, "analytic": [True, False, False, False]})
    other = evaluation({"agent": agent, "map_pursuit": [True] * 4})
    other["per_episode"].reverse()
    condition = merged(one, other)
    assert list(condition.rows) == ["agent", "analytic", "map_pursuit"]
    assert figures(condition.rows["analytic"], condition.rows["agent"])["paired"]["agent_only"] == 2
    text = page(write(tmp_path, b=other, a=one))
    assert "| **`agent`** | 75.0 % (30.1-95.4) | 0 | 0 | 0.000 | 10.0 s | 30.0 / 70.0 ms | 3 (0.8 %) | 3.0 % |  |  |" in text
    assert text.index("`agent`**") < text.index("| `analytic`") < text.index("| `map_pursuit`")
    assert "a.json" in text and "b.json" in text and "A Processor" in text and "already solved (left out): 4" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda result: result["per_episode"][1].update(world="apartment-7"), "episode 1 has another world"),
        (lambda result: result["per_episode"][1].update(start=[0.2, 0.0, 0.0]), "episode 1 has another start"),
        (lambda result: result["per_episode"][0].update(goal=[2.0, 0.6]), "episode 0 has another goal"),
        (
            lambda result: result["per_episode"][1]["rows"]["agent"].update(contacts=1),
            "agent went differently in episode 1",
        ),
        (lambda result: result.update(model="ef" * 32), "the row agent is of model"),
        (lambda result: [record.update(index=record["index"] + 9) for record in result["per_episode"]], "no episode in common"),
    ],
    ids=["world", "start", "goal", "outcome", "model", "episodes"],
)
def test_files_that_contradict_each_other_are_refused(tmp_path, capsys, change, told):
    one, other = evaluation({"agent": [True, True]}), evaluation({"agent": [True, True]})
    change(other)
    message = refused(capsys, "--from", write(tmp_path, one=one, other=other), "--out", tmp_path / "page.md")
    assert told in message and "one.json" in message and "other.json" in message and "again" in message
    assert not (tmp_path / "page.md").exists()


def test_other_tasks_and_seeds_have_tables_of_their_own(tmp_path):
    results = {
        "a": evaluation({"agent": [True, False]}),
        "b": evaluation({"agent": [False, False]}, seed=2),
        "c": evaluation({"agent": [True, True]}, task="apartment_slip"),
    }
    text = page(write(tmp_path, **results))
    assert [line for line in text.splitlines() if line.startswith("## `")] == [
        "## `apartment`, seed 1",
        "## `apartment`, seed 2",
        "## `apartment_slip`, seed 1",
    ]


def test_a_row_of_fewer_episodes_is_compared_on_those(tmp_path):
    condition = merged(evaluation({"agent": [True, False, True]}), evaluation({"analytic": [False, False]}))
    found = figures(condition.rows["analytic"], condition.rows["agent"])
    assert found["episodes"] == 2 and found["paired"]["difference"] == 0.5
    text = page(write(tmp_path, a=evaluation({"agent": [True, False, True]}), b=evaluation({"analytic": [False, False]})))
    assert "(0.0-65.8), n = 2" in text


def test_the_compact_form_is_small_and_says_the_same(tmp_path):
    rows = {name: [True, False] * 100 for name in ("agent", "analytic", "shuffled", "no_route", "map_pursuit", "zero")}
    full = write(tmp_path / "full", a=evaluation(rows))
    small = tmp_path / "small"
    assert main(["results", "--compact", str(full / "a.json"), str(small / "a.json")]) == 0
    assert "track" not in (small / "a.json").read_text()
    assert (small / "a.json").stat().st_size < 60_000 < (full / "a.json").stat().st_size
    assert page(small).replace("small/", "full/") == page(full)
    again = tmp_path / "again.json"
    assert main(["results", "--compact", str(small / "a.json"), str(again)]) == 0
    assert again.read_text() == (small / "a.json").read_text()


def test_a_renamed_row_can_stand_beside_one_of_its_name(tmp_path, capsys):
    write(tmp_path / "in", other=evaluation({"agent": [False, True]}, model="unicycle-v1"))
    folder = write(tmp_path / "out", mine=evaluation({"agent": [True, True]}))
    source, out = str(tmp_path / "in" / "other.json"), str(folder / "other.json")
    assert "no row nobody" in refused(capsys, "--compact", source, out, "--rename", "nobody=x")
    assert main(["results", "--compact", source, out, "--rename", "agent=analytic"]) == 0
    assert "| `analytic` | 50.0 %" in page(folder)


def test_a_bar_is_met_not_met_or_not_measured():
    bars = load_bars(ROOT / "results" / "bars.yaml")
    touched = [{"contacts": 2, "contacts_moving": 2}] * 2
    rows = {"agent": [{"contacts": 1, "contacts_moving": 1}, *[True] * 18, False], "analytic": [*touched, *[True] * 18]}
    condition = merged(evaluation(rows, task="apartment_slip"))
    found = {verdict.asked: verdict for verdict in judge(bars["apartment_slip"], condition, (0.05, 0.12))}
    assert found["success >= 90.0 %"].met and found["success >= 90.0 %"].found == "95.0 %"
    assert (
        found["contacts <= 0.5 x `analytic`'s"].met and "1 against 4: 0.25 x" in found["contacts <= 0.5 x `analytic`'s"].found
    )
    assert found["ego-motion error at 10 steps <= 0.5 x `analytic`'s"].met
    assert found["success >= 97.0 %"].met is False
    assert found["promises of selected plans kept >= 93.0 %"].met is None
    assert levels(list(found.values())) == {"pass": "not measured", "stretch": "**not met**"}
    known = {verdict.asked: verdict.met for verdict in judge(bars["apartment"], None, None)}
    assert set(known.values()) == {None}
    behind = merged(evaluation({"agent": [True] * 96 + [False] * 4, "map_pursuit": [True] * 100}))
    found = {verdict.asked: verdict for verdict in judge(bars["apartment"], behind, None)}
    below = found["success at most 3 points below `map_pursuit`"]
    assert below.met is False and "-4.0 points" in below.found


def test_the_ego_motion_bar_needs_the_card_of_the_model_that_drove(tmp_path):
    (tmp_path / "bars.yaml").write_text((ROOT / "results" / "bars.yaml").read_text())
    write(tmp_path, slip=evaluation({"agent": [True]}, task="apartment_slip"), model=card())
    line = "| `apartment_slip` | pass | ego-motion error at 10 steps <= 0.5 x `analytic`'s | "
    assert line + "5.0 cm against 12.0 cm: 0.42 x | met |" in page(tmp_path)
    write(tmp_path, model=card(model="99" * 32))
    assert line + " | not measured |" in page(tmp_path)


def test_an_unusable_bar_is_one_clear_line(tmp_path, capsys):
    write(tmp_path, a=evaluation({"agent": [True]}))
    (tmp_path / "bars.yaml").write_text("apartment: {pass: [{measure: success, at_least: 0.9, at_most: 1}]}")
    assert "exactly one of" in refused(capsys, "--from", tmp_path, "--out", tmp_path / "page.md")
    (tmp_path / "bars.yaml").write_text("apartment: {pass: [{measure: success, difference_at_least: 0.9}]}")
    assert "needs against" in refused(capsys, "--from", tmp_path, "--out", tmp_path / "page.md")


@pytest.mark.parametrize("content", ["{", "[]", '{"task": "apartment"}', '{"kind": "evaluation", "seed": 1}'])
def test_a_file_that_is_no_result_is_one_clear_line(tmp_path, capsys, content):
    (tmp_path / "broken.json").write_text(content)
    assert "broken.json" in refused(capsys, "--from", tmp_path, "--out", tmp_path / "page.md")


def test_ablations_mark_what_seeds_do_not_explain(tmp_path):
    told = {"base-0": 0.100, "base-1": 0.110, "near": 0.120, "far": 0.200}
    folder = write(tmp_path, ablations=ablations(**told))
    (folder / "notes.yaml").write_text("ablations: {history: Without history it is worse.}")
    lines = page(folder).splitlines()
    row = next(line for line in lines if line.startswith("| History: far"))
    assert row == "| History: far | **20.00** / **20.00** / **20.00** |"
    assert "| History: near | 12.00 / 12.00 / 12.00 |" in lines
    assert "| analytic | 50.00 / 50.00 / 50.00 |" in lines
    assert "| `base` | 10.50 / 10.50 / 10.50 |" in lines and "| range | 1.00 / 1.00 / 1.00 |" in lines
    assert "- **History.** Without history it is worse." in lines
    assert any("mean of 2 trainings" in line for line in lines)


def test_check_tells_when_page_and_files_disagree(tmp_path, capsys):
    folder = write(tmp_path, a=evaluation({"agent": [True, False]}))
    first = page(folder)
    assert page(folder) == first and page(folder, "--check") == first
    (folder / "page.md").write_text(first.replace("50.0 %", "99.0 %", 1))
    assert main(["results", "--from", str(folder), "--out", str(folder / "page.md"), "--check"]) == 1
    assert "write it anew" in capsys.readouterr().err


def test_figures_for_machines(tmp_path):
    folder, out = write(tmp_path / "in", a=evaluation({"agent": [True, False], "zero": [False, False]})), tmp_path / "out.json"
    page(folder, "--json", str(out))
    found = json.loads(out.read_text())["conditions"][0]
    assert found["model"] == MODEL and found["rows"]["zero"]["paired"]["agent_only"] == 1


def test_small_p_values_are_not_told_more_exactly_than_they_are():
    assert [p_value(p) for p in (1e-9, 0.0021, 0.031, 0.5)] == ["< 0.001", "0.0021", "0.031", "0.50"]


def test_the_committed_page_says_what_the_committed_files_say(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["results", "--check"]) == 0, capsys.readouterr().err
    for path in (ROOT / "results").glob("*.json"):
        assert path.stat().st_size <= 150_000, f"{path.name} is too large: results --compact makes it small"
