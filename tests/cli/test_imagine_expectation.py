"""`objective-agent imagine --expectation` from the outside."""

from __future__ import annotations

import json

import pytest
import yaml
from frame_models import write_frame_model

from objective_agent.cli.main import main
from objective_agent.simulation.benchmarks.impossible import KINDS


def a_model(folder, task: str, **settings):
    """An untrained model of a task."""
    folder.mkdir()
    card = yaml.safe_load((write_frame_model(folder, **settings) / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump({**card, "task": task}))
    return str(folder)


def expect(model, *more) -> int:
    return main(["imagine", "--model", str(model), "--expectation", *map(str, more)])


def test_every_kind_of_clip_is_judged_or_left_out_with_a_reason(tmp_path, capsys):
    model = a_model(tmp_path / "model", "two_room", predictor={"history": 3, "heads": 2})
    for name in ("a.json", "b.json"):
        assert expect(model, "--count", 5, "--seed", 3, "--json", tmp_path / name) == 0
    found, again = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert found["kinds"] == again["kinds"], "repeatable"
    assert found["task"] == "two_room" and found["seed"] == 3 and found["protocol"]["tolerance"] == 0.06
    assert list(found["kinds"]) == list(KINDS)
    assert found["kinds"]["closed"] == {"left_out": "it has one layout"}
    for kind in ("teleport", "wall"):
        judged = found["kinds"][kind]
        assert judged["pairs"] == 5 and judged["bar"] == 0.95
        assert judged["passed"] == (judged["peak"]["right"] >= 5)
        low, high = judged["peak"]["interval"]
        assert 0 <= low <= judged["peak"]["share"] <= high <= 1
    table = capsys.readouterr().out
    assert "teleport" in table and "it has one layout" in table


def test_a_model_with_a_map_is_judged_by_what_it_predicts(tmp_path):
    encoder = {"kind": "cnn_map", "features": 16, "width": 8, "hidden": 32}
    model = a_model(tmp_path / "model", "two_room_random", encoder=encoder, predictor={"kind": "place"})
    assert expect(model, "--count", 2, "--json", tmp_path / "a.json") == 0
    kinds = json.loads((tmp_path / "a.json").read_text())["kinds"]
    assert all(kinds[kind]["pairs"] == 2 for kind in KINDS)


@pytest.mark.parametrize(
    "task, told",
    [("no_such_task", "task no_such_task: there is none"), (None, "of kind robot, needed is one of kind frames")],
)
def test_what_it_cannot_judge_is_one_line(tmp_path, capsys, task, told):
    model = a_model(tmp_path / "model", task or "two_room")
    if task is None:
        card = yaml.safe_load((tmp_path / "model" / "card.yaml").read_text())
        del card["kind"]
        (tmp_path / "model" / "card.yaml").write_text(yaml.safe_dump(card))
    assert expect(model) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and told in err[0]


def test_moments_need_data(tmp_path, capsys):
    assert main(["imagine", "--model", a_model(tmp_path / "model", "two_room")]) == 2
    assert "--data" in capsys.readouterr().err
