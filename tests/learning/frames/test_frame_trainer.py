"""Training on images: it learns, in stages; it goes on where it stopped, to the bit; it notices collapse and full disks."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from frame_data import MAP, SMALL, many_layouts, one_layout, small

from objective_agent import weights
from objective_agent.learning import checkpoint
from objective_agent.learning.frames.batches import Windows
from objective_agent.learning.frames.dataset import FrameData, FrameWriter
from objective_agent.learning.frames.trainer import FrameTrainer
from objective_agent.learning.loop import CollapseError
from objective_agent.types import InputError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> FrameData:
    return FrameData.open(one_layout(tmp_path_factory.mktemp("room") / "data"))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> FrameData:
    return FrameData.open(many_layouts(tmp_path_factory.mktemp("rooms") / "data"))


def trainer(data: FrameData, out: Path, seed: int = 0, **settings) -> FrameTrainer:
    return FrameTrainer(small(**settings), data, out, seed)


def values(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().double().flatten() for value in model.state_dict().values()])


def test_it_learns_where_the_robot_is_and_where_it_goes(room, tmp_path):
    settings = {"batch": 16, "steps": 240, "warmup": 10, "learning_rate": 3e-3, "shares": {"represent": 100, "reach": 140}}
    head = {"hidden": 64, "groups": 8, "size": 8, "layouts": 8, "moments": 16, "goals": 16, "learning_rate": 3e-3}
    made = trainer(room, tmp_path / "model", reachability=head, **settings)
    stages = []
    card = made.run({"command": "a test"}, lambda report: stages.append(report.stage))
    metrics = card["metrics"]
    assert min(metrics["probe_r2"]) > 0.9 and metrics["inverse"] < 0.9, metrics
    assert metrics["position_1"] < 0.2 and metrics["latent"] < 0.5
    assert stages == ["represent"] * 100 + ["reach"] * 140
    head = card["reachability"]
    assert head["gate"]["spearman"] > 0.3 and head["encoder"] == card["sha256"]["encoder"]
    assert card["kind"] == "frames" and card["task"] == "two_room" and card["data"]["sha256"] == room.digest()
    assert set(card["sha256"]) == {"encoder", "predictor", "reachability"}
    assert not made.checkpoint_path.exists()
    for part in card["sha256"]:
        weights.read_weights(tmp_path / "model", part, weights.read_card(tmp_path / "model"))


CASES = {
    "map": {**MAP, "shares": {"represent": 1, "scene": 1, "reach": 1}},
    "graph": {
        **MAP,
        "shares": {"represent": 1, "scene": 1, "reach": 1},
        "reachability": {**SMALL["reachability"], "kind": "graph"},
    },
    "ema": {"regularizer": {"plugin": "ema"}, "shares": {"represent": 2, "reach": 1}},
    "history": {
        "predictor": {"kind": "gru", "hidden": 32, "history": 3, "heads": 2, "latent": 2},
        "regularizer": {"plugin": "sigreg"},
        "shares": {"represent": 2, "reach": 1},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(room, rooms, tmp_path, case):
    settings = {**CASES[case], "steps": 9}
    data = rooms if case in ("map", "graph") else room
    whole = trainer(data, tmp_path / "whole", **settings)
    whole.run({})
    begun = values(trainer(data, tmp_path / "none", **settings).model)
    out, step = tmp_path / "parts", 0
    for stop in (2, 4, 8, 9, None):  # 9: all is learned, nothing is written yet

        def interrupt(report, stop=stop):
            if report.step == stop:
                raise KeyboardInterrupt

        part = trainer(data, out, **settings)
        if step:
            part.resume()
            assert part.step == step
        if stop is None:
            part.run({}, interrupt)
        else:
            with pytest.raises(KeyboardInterrupt):
                part.run({}, interrupt)
            step = stop
    assert torch.equal(values(whole.model), values(part.model)) and not torch.equal(begun, values(whole.model))
    first, second = (weights.read_card(tmp_path / name) for name in ("whole", "parts"))
    assert all(first[part] == second[part] for part in ("sha256", "metrics", "reachability"))


def test_in_each_stage_only_its_own_part_learns(rooms, tmp_path):
    made = trainer(rooms, tmp_path, **MAP, steps=12, shares={"represent": 1, "scene": 1, "reach": 1})
    encoder = made.model.encoder
    parts = {
        "agent": encoder.agent_parameters,
        "scene": encoder.scene_parameters,
        "predictor": lambda: made.model.predictor.parameters(),
        "scout": lambda: made.model.scout.parameters(),
        "reachability": lambda: made.model.reachability.parameters(),
    }
    learned, where = {}, {}
    for stage in ("represent", "scene", "reach"):
        made._train_step()
        before = {name: torch.cat([p.detach().flatten().clone() for p in part()]) for name, part in parts.items()}
        for _ in range(3):
            made._train_step()
        assert made._stage.name == stage
        where[stage] = [
            made.model.predictor.members[0].where.weight.detach().clone().T,
            made.model.reachability.where_weight.detach().clone(),
        ]
        learned[stage] = {
            name for name, part in parts.items() if not torch.equal(before[name], torch.cat([p.flatten() for p in part()]))
        }
    assert learned == {
        "represent": {"agent", "scout"},
        "scene": {"scene", "predictor", "reachability"},
        "reach": {"reachability"},
    }
    fitted = made._stage.latents.where[0]
    for stage in ("scene", "reach"):
        assert all(torch.equal(weight, fitted) for weight in where[stage]), "the read-out of the agent's place is held"
    assert not torch.equal(where["represent"][0], fitted)


def test_surprising_windows_are_drawn_more_often(rooms):
    windows = Windows(rooms, 3, 1, "train")
    surprise = np.zeros(rooms.rows)
    chosen = windows.starts[::10]
    surprise[chosen] = 1.0
    windows.prefer(surprise)
    contains = {start for row in chosen for start in range(row - 2, row + 1)}
    random = np.random.default_rng(0)
    drawn = {share: windows.draw(random, 8, 50, surprising=share).rows[:, 0] for share in (0.0, 0.9)}
    share = {name: np.mean([row in contains for row in rows]) for name, rows in drawn.items()}
    assert share[0.9] > 0.85 and share[0.0] < 0.6
    assert len(np.unique(rooms.layout[drawn[0.9]])) == 8, "surprise chooses within a layout, never between layouts"
    assert np.isin(drawn[0.9], windows.starts).all()


def test_without_anything_against_it_the_representation_collapses_and_training_says_so(room, tmp_path):
    nothing = {"regularizer": {"plugin": "none"}, "losses": {"inverse": 0.0}, "shares": {"represent": 1, "reach": 0}}
    made = trainer(
        room, tmp_path / "model", steps=300, report_steps=20, collapse_after=40, learning_rate=3e-3, weight_decay=0, **nothing
    )
    with pytest.raises(CollapseError, match="collapsed at step"):
        made.run({})
    assert not (tmp_path / "model" / "card.yaml").exists()


def test_a_loss_that_is_not_finite_stops_the_training(room, tmp_path):
    made = trainer(room, tmp_path, steps=50)
    with torch.no_grad():
        next(made.model.predictor.parameters()).fill_(torch.nan)
    with pytest.raises(CollapseError, match="not finite"):
        made.run({})


def test_a_predictor_that_ends_in_nan_is_not_written(room, tmp_path):
    made = trainer(room, tmp_path / "model", steps=2)
    with torch.no_grad():
        next(made.model.predictor.parameters()).fill_(torch.nan)
    with pytest.raises(CollapseError, match="NaN"):
        made.finish({})
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 2, "horizon": 4},
        {"steps": 3},
        {"steps": 2, "regularizer": {"plugin": "vicreg", "variance": 2.0}},
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(room, tmp_path, settings):
    trainer(room, tmp_path, steps=2).save()
    with pytest.raises(InputError, match="other data, seed or configuration"):
        trainer(room, tmp_path, **settings).resume()


def test_a_checkpoint_of_other_data_or_seed_or_shape_is_refused(room, rooms, tmp_path):
    trainer(room, tmp_path, steps=2).save()
    for data, seed in ((room, 1), (rooms, 0)):
        with pytest.raises(InputError, match="other data, seed or configuration"):
            trainer(data, tmp_path, seed, steps=2).resume()
    with pytest.raises(InputError, match="damaged or of another configuration"):
        trainer(room, tmp_path, steps=2, encoder={"features": 8}).resume()


def test_too_little_data_is_said_before_anything_is_trained(tmp_path):
    with FrameWriter(tmp_path / "data", "two_room", 2, 2) as writer:
        for _ in range(4):
            writer.add(np.zeros((6, 64, 64, 3), np.uint8), np.zeros((5, 2), np.float32), np.zeros((6, 2), np.float32), 0)
    with pytest.raises(InputError, match="collect more --steps"):
        trainer(FrameData.open(tmp_path / "data"), tmp_path / "model", steps=2)


def run_to_checkpoints(command: list[str], out: Path, lines: int) -> subprocess.Popen:
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    log, end = out / "training.jsonl", time.monotonic() + 60
    while time.monotonic() < end and (not log.exists() or len(log.read_text().splitlines()) < lines):
        time.sleep(0.01)
    return process


def test_kill_9_while_checkpoints_are_written_leaves_one_that_goes_on(room, tmp_path):
    out, config = tmp_path / "model", tmp_path / "train.yaml"
    settings = small(steps=100_000, checkpoint_seconds=0.01, report_steps=1).model_dump()
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "objective_agent.cli.main", "train", "--data", str(room.path), "--config", str(config)]
    process = run_to_checkpoints([*command, "--out", str(out), "--threads", "1"], out, 4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = json.loads((out / "training.jsonl").read_text().splitlines()[-1])["step"]
    made = trainer(room, out, steps=100_000, checkpoint_seconds=0.01, report_steps=1)
    made.resume()
    assert reached - 2 <= made.step <= reached + 1
    made._train_step()


def test_a_full_disk_keeps_the_checkpoint_before(room, tmp_path):
    made = trainer(room, tmp_path, steps=4)
    made.save()
    before = made.checkpoint_path.read_bytes()
    made._train_step()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
    try:
        with pytest.raises(InputError, match="can't be written: File too large"):
            made.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, previous)
    assert made.checkpoint_path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.NAME], "half a file is left behind"
    made.save()
    again = trainer(room, tmp_path, steps=4)
    again.resume()
    assert again.step == 1
