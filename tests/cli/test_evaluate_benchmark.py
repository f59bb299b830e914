import json

import pytest
import yaml

from objective_agent.cli.main import main

ROWS = {"agent", "no_stuck", "shuffled", "zero", "random", "straight_line"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "card.yaml").write_text(
        yaml.safe_dump({"kind": "frames", "sha256": {}, "seed": 7, "training": {"minutes": 1.5}, "command": "train it"})
    )
    settings = {"encoder": "seeing_eyes:Eyes", "world_model": "seeing_eyes:FreeSpace", "reachability": 0.0}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    return folder


def evaluate(model, *more, task="two_room_random"):
    usual = ["--rows", "no_stuck,shuffled", "--params", str(model / "settings.yaml"), "--model", str(model)]
    return main(["evaluate", "--task", task, *usual, *map(str, more)])


def without_times(result: dict) -> dict:
    times = {"planning_ms", "per_episode_ms", "planning_share"}
    rows = {name: {k: v for k, v in row.items() if k not in times} for name, row in result["rows"].items()}
    records = [{k: v for k, v in record.items() if k != "timing"} for record in result["per_episode"]]
    return {**result, "rows": rows, "per_episode": records}


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "result.json"
    assert evaluate(model, "--episodes", 5, "--json", out) == 0
    assert not out.with_name("result.json.partial.jsonl").exists()
    return json.loads(out.read_text())


def test_a_result_says_all_that_it_depends_on(whole):
    assert whole["kind"] == "benchmark" and set(whole["rows"]) == ROWS
    assert whole["episodes"] + whole["already_solved"] == 5 and whole["training"]["seed"] == 7
    assert whole["push_test"]["crossed"] == 1.0 and whole["push_test"]["pushes"] == 200
    assert whole["protocol"]["tolerance"] == 0.06 and whole["settings"]["stuck_share"] == 0.35
    assert whole["command"].startswith("objective-agent evaluate --task two_room_random --params")
    assert whole["hardware"]["cores"] >= 1


def test_an_interrupted_run_goes_on_and_workers_change_nothing(model, whole, tmp_path):
    out = tmp_path / "result.json"
    partial = out.with_name("result.json.partial.jsonl")
    lines = [{"protocol": whole["digest"]}, *whole["per_episode"][:2]]
    for record in lines[1:]:
        one = {"planning_ms": [1.0], "episode_ms": {"planning": 1.0, "encoder": 0.0}}
        record["timing"] = {name: one if name != "seconds" else 1.0 for name in record["timing"]}
    partial.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"index": 2, "rows": {"agent"')
    assert evaluate(model, "--episodes", 5, "--json", out) == 2  # never silently over an unfinished run
    assert evaluate(model, "--episodes", 5, "--json", out, "--resume", "--jobs", 2) == 0
    assert without_times(json.loads(out.read_text())) == without_times(whole)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--world", "apartment"], "--world: is for the robot's tasks"),
        (["--rows", "no_gate"], "--rows no_gate: unknown"),
        (["--optimizer", "guess"], "optimizer plugin 'guess' is unknown"),
        (["--params", "none.yaml"], "none.yaml: can't be read"),
        (["--resume"], "--resume needs --json"),
        (["--model", "nowhere"], "model nowhere: no such folder"),
    ],
)
def test_wrong_arguments_end_in_one_line(model, capsys, more, said):
    assert evaluate(model, "--episodes", 1, *more) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error


def test_a_benchmark_needs_a_model_of_images(capsys, tmp_path):
    assert main(["evaluate", "--task", "two_room"]) == 2
    assert "needs --model DIR" in capsys.readouterr().err
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({"sha256": {"encoder": "0"}}))
    assert main(["evaluate", "--task", "two_room", "--model", str(tmp_path)]) == 2
    assert "needed is one of kind frames" in capsys.readouterr().err


def test_settings_with_unknown_keys_are_refused(model, capsys, tmp_path):
    (tmp_path / "settings.yaml").write_text("horizont: 3\n")
    assert evaluate(model, "--params", tmp_path / "settings.yaml") == 2
    assert "horizont: unknown parameter" in capsys.readouterr().err


def test_a_tasks_own_planner_settings_hold_where_none_are_given(tmp_path):
    from objective_agent.cli.evaluate_benchmark import load_settings
    from objective_agent.simulation.benchmarks.controller import ControllerSettings

    shipped = load_settings(None, "push_t")
    assert (shipped.deadline, shipped.horizon, shipped.mode, shipped.optimizer.settings["samples"]) == (True, 5, "propose", 256)
    assert load_settings(None, "maze") == load_settings(None, "gym:CartPole-v1") == ControllerSettings()
    (tmp_path / "mine.yaml").write_text("horizon: 3")
    assert load_settings(str(tmp_path / "mine.yaml"), "push_t") == ControllerSettings(horizon=3)
