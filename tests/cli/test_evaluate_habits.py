"""Going on with an evaluation whose rows have habits: never with another policy, or with other settings of it."""

import json

import pytest
import torch
import yaml
from policy_models import policy_arrays, write_policy
from pursuit_policy import scan_encoder, write_pursuit

from objective_agent.actor.policy_network import PolicyShape
from objective_agent.cli.main import main
from objective_agent.learning.card import add_part
from objective_agent.weights import read_card, read_weights

ROOM = """<mujoco><worldbody>
  <geom type="box" size="2 0.05 0.5" pos="0.5 1 0.5"/><geom type="box" size="2 0.05 0.5" pos="0.5 -1 0.5"/>
  <geom type="box" size="0.05 1 0.5" pos="-1 0 0.5"/><geom type="box" size="0.05 1 0.5" pos="2.5 0 0.5"/>
  <site name="start" pos="0 0 0"/><site name="goal" pos="1 0.2 0"/>
</worldbody></mujoco>"""


@pytest.fixture
def robot(tmp_path):
    """(folder with a policy, `evaluate(confidence, words)` of one drive)."""
    torch.set_num_threads(1)
    folder = write_pursuit(tmp_path / "model", *scan_encoder(), horizon=15, steps=60)
    (tmp_path / "room.xml").write_text(ROOM)

    def evaluate(confidence: float, *words: str) -> int:
        actor = {"confidence": confidence, "policy": {"plugin": "distilled", "model": str(folder)}}
        nodes = {"/**": {"ros__parameters": {}}, "actor": {"ros__parameters": actor}}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(nodes))
        files = ["--params", tmp_path / "params.yaml", "--world", tmp_path / "room.xml", "--json", tmp_path / "out.json"]
        return main(["evaluate", *map(str, files), "--episodes", "1", "--baselines", "none", *words])

    return folder, evaluate


def change_policy(folder) -> None:
    arrays, shape, _ = read_weights(folder, "policy", card := read_card(folder))
    arrays = {name: array + 0.01 if name == "bias2" else array for name, array in arrays.items()}
    add_part(folder, "policy", arrays, shape, card["policy"])


def test_a_robots_rows_with_habits_are_gone_on_with_only_as_they_were_begun(robot, tmp_path, capsys):
    folder, evaluate = robot
    both = ("--rows", "adaptive,policy")
    assert evaluate(0.3, *both, "--part", "policy") == 0
    record = json.loads((tmp_path / "out.json.partial.jsonl").read_text().splitlines()[1])
    assert list(record["rows"]) == list(record["habits"]) == ["policy"]
    assert evaluate(0.4, *both, "--part", "agent", "--resume") == 2
    assert "policy was made with another policy or settings of it" in capsys.readouterr().err
    assert evaluate(0.3, *both, "--part", "adaptive", "--resume") == 0
    change_policy(folder)
    assert evaluate(0.3, *both, "--resume") == 2
    assert "another policy or settings" in capsys.readouterr().err


def test_rows_of_the_search_alone_are_gone_on_with_whatever_the_habits(robot, tmp_path):
    folder, evaluate = robot
    assert evaluate(0.3, "--rows", "no_route", "--part", "no_route") == 0
    change_policy(folder)
    assert evaluate(0.4, "--rows", "no_route", "--part", "no_route", "--resume") == 0
    assert evaluate(0.5, "--rows", "no_route,adaptive", "--part", "adaptive", "--resume") == 0
    record = json.loads((tmp_path / "out.json.partial.jsonl").read_text().splitlines()[-1])
    assert list(record["rows"]) == ["no_route", "adaptive"] and list(record["habits"]) == ["adaptive"]


def test_a_benchmarks_rows_with_habits_are_gone_on_with_only_with_their_policy(tmp_path, capsys):
    folder, shape = tmp_path / "model", PolicyShape(features=2, hidden=16)
    write_policy(folder, shape)
    settings = {"encoder": "seeing_eyes:Eyes", "world_model": "seeing_eyes:FreeSpace", "reachability": 0.0}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    out, partial = tmp_path / "out.json", tmp_path / "out.json.partial.jsonl"

    def evaluate(rows: str, *more: str) -> int:
        files = ["--params", tmp_path / "settings.yaml", "--model", folder, "--json", out]
        return main(["evaluate", "--task", "two_room", *map(str, files), "--baselines", "none", "--rows", rows, *more])

    assert evaluate("policy", "--episodes", "1") == 0
    found = json.loads(out.read_text())
    record = found["per_episode"][0]
    record["timing"] = {name: {"planning_ms": [1.0]} for name in record["rows"]} | {"seconds": 1.0}
    lines = [{"protocol": found["digest"]}, record]
    partial.write_text("".join(json.dumps(line) + "\n" for line in lines))  # as before the second episode
    write_policy(folder, shape, policy_arrays(shape, seed=1))
    assert evaluate("policy", "--episodes", "2", "--resume") == 2
    assert "policy was made with another policy" in capsys.readouterr().err
    assert evaluate("none", "--episodes", "1", "--resume") == 0, "the search's own row knows nothing of it"
