"""`collect` and `train` for benchmark tasks, from the outside."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from objective_agent.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "learning" / "frames"))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "data"
    assert main(["collect", "--task", "two_room", "--out", str(out), "--steps", "1600", "--seed", "3"]) == 0
    return out


@pytest.fixture
def config(tmp_path) -> Path:
    from frame_data import SMALL

    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "report_steps": 3, "shares": {"represent": 2, "reach": 1}}))
    return path


def train(data, config, out, *more) -> int:
    return main(["train", "--data", str(data), "--config", str(config), "--out", str(out), "--threads", "1", *more])


def test_what_is_collected_trains_and_the_card_says_how(data, config, tmp_path, capsys):
    out, copy = tmp_path / "model", tmp_path / "card.json"
    assert train(data, config, out, "--steps", "9", "--seed", "5", "--json", str(copy)) == 0
    said = capsys.readouterr()
    assert "probe R2" in said.out and "reachability: Spearman" in said.out and "collapse meter" in said.err
    card = yaml.safe_load((out / "card.yaml").read_text())
    assert card["kind"] == "frames" and card["seed"] == 5 and card["training"]["steps"] == 9
    assert card["training"]["stages"].keys() == {"represent", "reach"}
    assert card["configuration"]["predictor"]["actions"] == 2
    assert json.loads(copy.read_text())["sha256"] == card["sha256"]
    assert sorted(path.name for path in out.iterdir()) == [
        "card.yaml", "encoder.safetensors", "predictor.safetensors", "reachability.safetensors", "training.jsonl",
    ]  # fmt: skip
    assert train(data, config, out, "--steps", "9") == 2
    assert "is a finished model already" in capsys.readouterr().err


def test_the_trained_model_is_what_the_plugins_load(data, config, tmp_path):
    import numpy as np

    from objective_agent import plugins
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.learning.frames.dataset import FrameData
    from objective_agent.types import Observation, WorldState

    out = tmp_path / "model"
    assert train(data, config, out, "--steps", "6") == 0
    spec, robot = PluginSpec(plugin="frame_jepa", model=str(out)), RobotParameters()
    encoder, world_model = (plugins.create(kind, spec, robot) for kind in ("encoder", "world_model"))
    image = np.asarray(FrameData.open(data).columns["image"][0])
    pose, velocity = np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)
    tokens = encoder.encode(Observation(1.0, pose, velocity, images=[image]))
    begin = WorldState(1.0, tokens.tokens, pose, velocity, tokens.model)
    found = world_model.rollout(begin, np.zeros((1, 3, 4, 2), np.float32))
    assert found.representations.shape == (1, 3, 1, 4, 1, 16)


def test_a_finished_model_gets_a_new_reachability(data, config, tmp_path, capsys):
    out = tmp_path / "model"
    assert train(data, config, out, "--steps", "6") == 0
    before = yaml.safe_load((out / "card.yaml").read_text())
    head = ["train", "--head", "reachability", "--model", str(out), "--data", str(data), "--steps", "3", "--threads", "1"]
    assert main(head) == 0 and "reachability: Spearman" in capsys.readouterr().out
    after = yaml.safe_load((out / "card.yaml").read_text())
    assert after["sha256"]["encoder"] == before["sha256"]["encoder"] == after["reachability"]["encoder"]
    assert after["sha256"]["reachability"] != before["sha256"]["reachability"] and after["reachability"]["steps"] == 3
    assert main([*head[:2], "memory", *head[3:]]) == 2 and "has none" in capsys.readouterr().err


def test_images_that_were_changed_train_nothing(data, config, tmp_path, capsys):
    spoilt = tmp_path / "data"
    shutil.copytree(data, spoilt)
    with (spoilt / "image.npy").open("r+b") as file:
        file.seek(-9, 2)
        file.write(b"?")
    assert train(spoilt, config, tmp_path / "model", "--steps", "9") == 2
    assert "image.npy: is not what meta.json was written for (sha256)" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_going_on_needs_something_to_go_on_from(data, config, tmp_path, capsys):
    assert train(data, config, tmp_path / "model", "--steps", "9", "--resume") == 2
    assert "no checkpoint to go on from" in capsys.readouterr().err
    assert train(data, config, tmp_path / "model") == 2
    assert "training needs a length" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["collect", "--task", "two_rooms", "--out", "OUT"], "there is none; take one of mix, "),
        (["collect", "--task", "gym:Nothing-v0", "--out", "OUT", "--steps", "10"], "Nothing"),
        (["collect", "--task", "two_room", "--out", "OUT", "--minutes", "1"], "it takes --steps N"),
        (["collect", "--task", "apartment", "--out", "OUT", "--steps", "10"], "knows no --steps"),
        (["train", "--data", "DATA", "--out", "OUT", "--params", "config/sim.yaml"], "no parameter file"),
        (["train", "--data", "DATA", "--out", "OUT", "--config", "config/train_apartment.yaml"], "hide_lidar|clearance|Extra"),
    ],
)
def test_mistakes_are_one_line(data, tmp_path, capsys, arguments, complaint):
    places = {"OUT": str(tmp_path / "out"), "DATA": str(data)}
    assert main([places.get(word, word) for word in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and re.search(complaint, error), error
    assert not (tmp_path / "out").exists()


def test_the_shipped_settings_are_valid_for_every_task():
    from objective_agent.cli.train_frames import load_config
    from objective_agent.learning.frames.model import FrameModel
    from objective_agent.simulation.benchmarks import BENCHMARKS

    for task in BENCHMARKS:
        config = load_config(None, task, None, None)
        assert config.minutes and config.minutes <= (90 if task == "push_t" else 40)
        model = FrameModel(config, 2)
        assert model.has_map == task.endswith("random"), task
