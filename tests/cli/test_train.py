"""`objective-agent train` from the outside: a model that the plugins load, progress, and one line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from objective_agent import plugins
from objective_agent.cli.main import main
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.types import Observation, WorldState

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "learning"))
SMALL = {
    "batch": 16,
    "targets": 2,
    "features": 16,
    "encoder_hidden": 32,
    "predictor_hidden": 32,
    "warmup": 2,
    "report_steps": 5,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    from toy_data import write_toy_data

    return write_toy_data(tmp_path_factory.mktemp("toy") / "data", episodes=20, steps=20)


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def train(data, config, out, *more) -> int:
    return main(["train", "--data", str(data), "--config", str(config), "--out", str(out), "--threads", "1", *more])


def test_it_writes_a_model_that_the_plugins_load_and_drive_with(data, config, tmp_path):
    out, copy = tmp_path / "model", tmp_path / "card.json"
    command = ["train", "--data", str(data), "--config", str(config), "--out", str(out), "--steps", "6", "--seed", "5"]
    done = subprocess.run(
        [sys.executable, "-m", "objective_agent.cli.main", *command, "--json", str(copy)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "collapse meter" in done.stderr and "min left" in done.stderr and "position" in done.stdout
    card = yaml.safe_load((out / "card.yaml").read_text())
    assert card["command"] == "objective-agent " + " ".join([*command, "--json", str(copy)])
    assert card["seed"] == 5 and card["training"]["steps"] == 6 and card["data"]["worlds"]["train"] == 16
    assert json.loads(copy.read_text())["sha256"] == card["sha256"]
    assert sorted(path.name for path in out.iterdir()) == [
        "card.yaml", "encoder.safetensors", "memory.safetensors", "predictor.safetensors", "training.jsonl",
    ]  # fmt: skip

    robot, spec = RobotParameters(), PluginSpec(plugin="jepa", model=str(out))
    encoder, world_model = (plugins.create(kind, spec, robot) for kind in ("encoder", "world_model"))
    pose, velocity = np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)
    tokens = encoder.encode(Observation(1.0, pose, velocity))
    begin = WorldState(1.0, tokens.tokens, pose, velocity, tokens.model)
    found = world_model.rollout(begin, np.zeros((1, 2, 12, 2), np.float32), futures=3)
    assert np.isfinite(found.poses.numpy()).all() and found.poses.shape == (1, 2, 3, 12, 3)
    assert world_model.representation_model == encoder.model == card["sha256"]["encoder"]


def test_the_shipped_configuration_is_valid_and_complete():
    from objective_agent.cli.train import load_config
    from objective_agent.learning.trainer import TrainingConfig

    config = load_config(None, None, None)
    assert config.minutes and config.minutes <= 40
    written = yaml.safe_load((ROOT / "config" / "train_apartment.yaml").read_text())
    assert set(TrainingConfig.model_fields) - set(written) == {"steps"}
    assert load_config(None, None, 7).steps == 7 and load_config(None, None, 7).minutes is None


def test_nothing_finished_or_begun_is_overwritten(data, config, tmp_path, capsys):
    out = tmp_path / "model"
    assert train(data, config, out, "--resume", "--steps", "2") == 2
    assert "no checkpoint to go on from" in capsys.readouterr().err
    assert train(data, config, out, "--steps", "2") == 0
    assert train(data, config, out, "--steps", "2") == 2
    assert "is a finished model already" in capsys.readouterr().err
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "checkpoint.safetensors").write_bytes(b"")
    assert train(data, config, unfinished, "--steps", "2") == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert train(data, config, unfinished, "--steps", "2", "--resume") == 2
    assert "is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch: 3", "batch = 3"),
        ("horizont: 3", "horizont: unknown parameter"),
        ("regularizer: vicerg", "regularizer"),
        ("targets: 11", "targets (11)"),
        ("[1, 2]", "no table of settings"),
        ("a: b: c", "is not YAML"),
        ("steps: 3\nminutes: 2", "give either"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_mend(data, tmp_path, capsys, text, said):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    assert train(data, path, tmp_path / "model") == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_data_that_are_not_there_are_one_line(config, tmp_path, capsys):
    assert train(tmp_path / "nothing", config, tmp_path / "model", "--steps", "2") == 2
    assert "nothing" in capsys.readouterr().err


def test_bags_become_rows_for_the_robot_of_the_parameter_file(tmp_path):
    from objective_agent.cli.train import build_settings

    path = tmp_path / "robot.yaml"
    common = {"robot": {"radius": 0.25}, "lidar_pose": [0.1, 0.0, 0.0]}
    nodes = {"/**": {"ros__parameters": common}, "perception": {"ros__parameters": {"max_odom_age": 0.11}}}
    path.write_text(yaml.safe_dump(nodes))
    settings = build_settings(str(path))
    assert (settings.radius, settings.lidar_pose, settings.perception.max_odom_age) == (0.25, (0.1, 0.0, 0.0), 0.11)
    assert build_settings(None).radius == RobotParameters().radius
