"""Training on a toy: it learns, it notices collapse, and a crash costs nothing that was on the disk."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from objective_agent.config import RobotParameters
from objective_agent.learning import checkpoint
from objective_agent.learning.trainer import CollapseError, Trainer, TrainingConfig
from objective_agent.learning.windows import Sequences
from objective_agent.types import InputError

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "batch": 32,
    "targets": 2,
    "features": 32,
    "encoder_hidden": 64,
    "predictor_hidden": 64,
    "warmup": 5,
    "report_steps": 1_000_000,
}


def trainer(data: Path, out: Path, seed: int = 0, **settings) -> Trainer:
    return Trainer(TrainingConfig(**{**SMALL, **settings}), Sequences(data), out, RobotParameters(), seed)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().double().flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize("regularizer", ["vicreg", "sigreg"])
def test_training_learns_what_the_robot_does_and_where_the_walls_are(toy_data, tmp_path, regularizer):
    settings = {"regularizer": regularizer, "steps": 120, "batch": 64, "report_steps": 120, "warmup": 20, "learning_rate": 3e-3}
    made = trainer(toy_data, tmp_path / "model", **settings)
    reports = []
    card = made.run({"command": "a test"}, reports.append)
    last = reports[-1]
    assert last.losses["relative"] < 0.8 * reports[0].losses["relative"]
    assert last.held_out["rank"] > 2.5 and last.held_out["std"] > 0.1
    at = card["metrics"]["views"]["all"]["step_10"]
    assert at["position"] < 0.7 * at["analytic_position"], "the hidden gain is in the motion history"
    assert last.held_out["clearance_near"] < 0.15
    assert set(card["metrics"]["conditions"]) == {"plain", "slip"}
    assert len(card["calibration"]["margins"]["clearance"]) == 10
    assert card["sha256"].keys() == {"encoder", "predictor", "memory"}
    assert not made.checkpoint_path.exists()


def test_one_seed_gives_one_model(toy_data, tmp_path):
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        made = trainer(toy_data, tmp_path / name, seed, steps=4)
        made.run({})
        found.append(weights(made.model))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(toy_data, tmp_path):
    whole = trainer(toy_data, tmp_path / "whole", steps=8, regularizer="sigreg")
    whole.run({})

    first = trainer(toy_data, tmp_path / "parts", steps=8, regularizer="sigreg")

    def stop(report):
        if report.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run({}, stop)
    second = trainer(toy_data, tmp_path / "parts", steps=8, regularizer="sigreg")
    second.resume()
    assert second.step == 5
    second.run({})
    assert torch.equal(weights(whole.model), weights(second.model))


def test_without_anything_against_it_the_representation_collapses_and_training_says_so(toy_data, tmp_path):
    nothing = dict.fromkeys(("regularizer", "relative", "motion", "path", "velocity", "clearance", "people", "ranges"), 0.0)
    made = trainer(
        toy_data, tmp_path / "model", steps=400, losses=nothing, report_steps=20, collapse_after=40, learning_rate=3e-3
    )
    with pytest.raises(CollapseError, match="collapsed at step"):
        made.run({})
    assert not (tmp_path / "model" / "card.yaml").exists()


def test_knowing_only_the_homes_it_trained_in_is_no_collapse(toy_data, tmp_path):
    made = trainer(toy_data, tmp_path / "model", steps=2)
    healthy = {"rank": 12.0, "std": 0.3}
    made._held_out = {**healthy, "relative": 1.02, "relative_trained": 0.7}
    made._refuse_collapse()
    made._held_out = {**healthy, "relative": 1.02, "relative_trained": 0.99}
    with pytest.raises(CollapseError, match="does not tell where the robot is"):
        made._refuse_collapse()


def test_kill_9_costs_at_most_one_interval(toy_data, tmp_path):
    out = tmp_path / "model"
    config = tmp_path / "train.yaml"
    config.write_text(json.dumps({**SMALL, "steps": 10_000, "checkpoint_seconds": 0.2, "report_steps": 1}))
    command = [sys.executable, "-m", "objective_agent.cli.main", "train", "--data", str(toy_data), "--config", str(config)]
    process = subprocess.Popen([*command, "--out", str(out), "--threads", "1"], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        log, end = out / "training.jsonl", time.monotonic() + 60
        while time.monotonic() < end and (not log.exists() or len(log.read_text().splitlines()) < 12):
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    reached = lines[-1]
    made = trainer(toy_data, out, steps=10_000, checkpoint_seconds=0.2, report_steps=1)
    made.resume()
    longest = max(after["seconds"] - before["seconds"] for before, after in pairwise(lines))
    assert reached["seconds"] - made.seconds <= 0.2 + 3 * longest + 1.0
    assert 0 < made.step <= reached["step"] + 1


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\xff" * 64])
def test_a_damaged_checkpoint_is_refused_in_one_line(toy_data, tmp_path, damage):
    made = trainer(toy_data, tmp_path, steps=2)
    made.save()
    made.checkpoint_path.write_bytes(damage(made.checkpoint_path.read_bytes()))
    with pytest.raises(InputError, match="damaged") as caught:
        trainer(toy_data, tmp_path, steps=2).resume()
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_run_is_refused(toy_data, tmp_path):
    trainer(toy_data, tmp_path, steps=2).save()
    with pytest.raises(InputError, match="other data, seed or configuration"):
        trainer(toy_data, tmp_path, seed=1, steps=2).resume()
    with pytest.raises(InputError, match="damaged or of another configuration"):
        trainer(toy_data, tmp_path, steps=2, features=16).resume()


def test_a_write_that_is_cut_off_leaves_the_old_checkpoint(toy_data, tmp_path, monkeypatch):
    made = trainer(toy_data, tmp_path, steps=2)
    made.save()
    before = made.checkpoint_path.read_bytes()
    monkeypatch.setattr(checkpoint.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        made.save()
    assert made.checkpoint_path.read_bytes() == before


def test_a_training_needs_exactly_one_length(toy_data, tmp_path):
    with pytest.raises(InputError, match="length"):
        trainer(toy_data, tmp_path)
    with pytest.raises(InputError, match="length"):
        trainer(toy_data, tmp_path, steps=1, minutes=1.0)


def test_the_learning_rate_warms_up_and_cools_down(toy_data, tmp_path):
    made = trainer(toy_data, tmp_path, steps=100, warmup=10)
    rates = []
    for made.step in range(100):
        rates.append(made._rate())
    assert rates[0] < 0.2 and math.isclose(max(rates), 1.0, abs_tol=0.03) and rates[-1] < 0.03
