"""The ablations' benchmark on a toy: every variant differs in what its name says, and a killed run goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from objective_agent.cli import bench
from objective_agent.cli.main import main
from objective_agent.learning.batches import generator, make_batch
from objective_agent.learning.windows import Sequences

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "learning"))

from toy_data import write_toy_data  # noqa: E402

benchmark = bench.load(ROOT / "benchmarks" / "ablations.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy") / "data", episodes=20, steps=30)


def run(data: Path, out: Path, only: str, *more: str) -> int:
    common = ["--data", str(data), "--steps", "2", "--batch", "16", "--most", "60", "--seeds", "2", "--json", str(out)]
    return main(["bench", "ablations", *common, "--only", only, *more])


def test_variants_are_measured_alike_and_a_second_run_does_what_is_missing(data, tmp_path, capsys):
    out = tmp_path / "ablations.json"
    assert run(data, out, "base-0,rollout-1") == 0
    first = json.loads(out.read_text())
    assert list(first["runs"]) == ["base-0", "rollout-1"]
    for name in first["runs"]:
        assert first["runs"][name]["figures"]["all"]["step_10"]["position"] > 0, "measured 10 steps ahead, however trained"
        assert first["runs"][name]["figures"]["all"]["windows"] == 60
    capsys.readouterr()
    assert run(data, out, "base-0,base-1,history-1,frozen") == 0
    told = capsys.readouterr().err
    assert "base-0:" not in told and "frozen:" in told
    second = json.loads(out.read_text())
    assert list(second["runs"]) == ["base-0", "base-1", "history-1", "rollout-1", "frozen"]
    assert second["runs"]["base-0"] == first["runs"]["base-0"]
    assert second["runs"]["base-1"]["figures"] != first["runs"]["base-0"]["figures"]
    assert run(data, out, "base-0", "--steps", "3") == 2
    assert "other data or settings" in capsys.readouterr().err
    folder = tmp_path / "results"
    assert main(["results", "--compact", str(out), str(folder / "ablations.json")]) == 0
    assert main(["results", "--from", str(folder), "--out", str(tmp_path / "page.md")]) == 0
    assert "Rollout length in training: trained on 1 step" in (tmp_path / "page.md").read_text()


def test_unknown_variants_are_named(data, tmp_path, capsys):
    assert run(data, tmp_path / "a.json", "base-0,wonder") == 2
    assert "unknown wonder" in capsys.readouterr().err


def test_without_history_the_encoder_sees_the_present_alone_and_the_analytic_part_keeps_its_command(data):
    sequences = Sequences(data)
    starts = sequences.starts(10, "train")[20:24]
    whole = make_batch(sequences, starts, 10, np.array([5]), None, generator(0))
    blind = make_batch(benchmark.without_history(sequences), starts, 10, np.array([5]), None, generator(0))
    motion = blind.frames["motion"]
    assert np.isnan(motion.numpy()).any(-1).all(), "every slot lacks something, so none is known to the encoder"
    assert np.isnan(blind.frames["ranges"][:, 1:].numpy()).all() and not np.isnan(whole.frames["ranges"][:, 1:].numpy()).all()
    for name in ("before", "people", "clearance", "poses", "actions"):
        np.testing.assert_array_equal(getattr(blind, name), getattr(whole, name))
