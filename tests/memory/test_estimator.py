"""The estimator as a plugin: what is out of view is still there, and what it does when it can't know."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from learned_model import write_untrained

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.learning.card import add_part
from objective_agent.memory.estimator import StateEstimator
from objective_agent.plugins import create
from objective_agent.types import Command, ConfigurationError, InputError, Observation, Representation

ROOT = Path(__file__).resolve().parents[2]
D, DT = 32, 0.2
ALL, CAMERA = ("lidar", "camera"), ("camera",)
BIAS = 0.5


def write_calibrated(folder: Path, seed: int = 0) -> Path:
    """A camera that shows the first half of the features nearly exactly and the other half not at all, and adds a constant."""
    write_untrained(folder, seed, features=D)
    noise = np.diag(np.where(np.arange(D) < D // 2, 1e-4, 100.0)).astype(np.float32)
    arrays = {
        "process": 1e-3 * np.eye(D, dtype=np.float32),
        "camera.offset": np.full(D, BIAS, np.float32),
        "camera.noise": noise,
    }
    add_part(folder, "memory", arrays, {"senses": ALL, "alarm": {"camera": 20.0}}, {"note": "made up"})
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_calibrated(tmp_path_factory.mktemp("model"))


@pytest.fixture
def memory(folder) -> StateEstimator:
    return create("short_term_memory", PluginSpec(plugin="estimator", model=str(folder)), RobotParameters())


def seen(stamp, x=0.0, batch=1):
    return Observation(stamp, np.full((batch, 3), [x, 0.0, 0.0], np.float32), np.zeros((batch, 2), np.float32), (None,) * batch)


def tell(memory, stamp, tokens, senses=ALL, model=None, x=0.0):
    """The estimate [D] after an encoding [D]."""
    tokens = np.asarray(tokens, np.float32).reshape(1, 1, -1)
    state = memory.update(Representation(stamp, tokens, model or memory.model, senses=(senses,)), seen(stamp, x))
    assert memory.history[-1].state is state
    return np.asarray(state.representation)[0, 0]


def random_tokens(seed=0):
    return np.random.default_rng(seed).normal(size=D).astype(np.float32)


def hidden(tokens):
    """What the camera says where all senses would say `tokens`."""
    return np.where(np.arange(D) < D // 2, tokens, 0.0) + BIAS


def test_with_all_senses_it_is_the_encoding(memory):
    for k in range(4):
        tokens = random_tokens(k)
        np.testing.assert_array_equal(tell(memory, 1.0 + 0.1 * k, tokens), tokens)


def test_what_was_seen_and_is_hidden_now_is_still_there(memory):
    there = random_tokens()
    tell(memory, 1.0, there)
    for k in range(1, 6):  # the world model says how it goes on; the camera shows one half of it
        stamp = 1.0 + DT * k
        memory.command_sent(Command(stamp - DT, 0.3, 0.5))
        there = memory.predictor.imagine(there[None], np.array([[[0.3, 0.5]]]))[:, -1].mean(0)[0]
        estimate = tell(memory, stamp, hidden(there), CAMERA)
    assert np.abs(hidden(there) - there)[D // 2 :].mean() > 0.4
    np.testing.assert_allclose(estimate, there, atol=0.02)


def test_what_the_camera_shows_is_believed_and_its_constant_error_is_taken_off(memory):
    tell(memory, 1.0, np.zeros(D))
    there = random_tokens()
    for k in range(1, 4):
        estimate = tell(memory, 1.0 + DT * k, hidden(there), CAMERA)
    half = slice(0, D // 2)
    assert np.abs(estimate - there)[half].max() < 0.2 * np.abs(there[half]).max()


def test_a_wall_that_appears_is_believed_at_once(memory):
    tell(memory, 1.0, np.zeros(D))
    for k in range(1, 8):
        expected = tell(memory, 1.0 + DT * k, hidden(np.zeros(D)), CAMERA)
    assert memory.surprise < 1
    wall = np.where(np.arange(D) < D // 2, 3.0, 0.0)
    estimate = tell(memory, 2.6, hidden(wall), CAMERA)
    assert memory.surprise > 1
    assert np.abs(estimate - wall)[: D // 2].mean() < 0.1 * np.abs(expected - wall)[: D // 2].mean()


@pytest.mark.parametrize(
    "what",
    [{"stamp": 2.5}, {"stamp": 1.2, "x": 3.0}, {"stamp": 0.5}],
    ids=["a gap", "a jump", "time that runs backwards"],
)
def test_it_starts_over_after(memory, what):
    tell(memory, 1.0, random_tokens(1))
    encoding = random_tokens(2)
    np.testing.assert_allclose(tell(memory, tokens=encoding, senses=CAMERA, **what), encoding - BIAS, atol=1e-6)


def test_short_gaps_and_driving_are_no_reason_to_start_over(memory):
    before = tell(memory, 1.0, random_tokens(1))
    there = memory.predictor.advance(before[None], 1.0, 1.9, [], np.zeros((1, 2)))[0]
    estimate = tell(memory, 1.9, hidden(there), CAMERA, x=0.5)
    np.testing.assert_allclose(estimate, there, atol=0.02)


def test_a_reset_forgets(memory):
    tell(memory, 1.0, random_tokens(1))
    memory.reset()
    encoding = random_tokens(2)
    np.testing.assert_allclose(tell(memory, 1.2, encoding, CAMERA), encoding - BIAS, atol=1e-6)


def test_the_first_digits_of_a_sha_name_the_model(memory):
    encoding = random_tokens()
    np.testing.assert_allclose(tell(memory, 1.0, encoding, CAMERA, memory.model[:12]), encoding - BIAS, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "senses", "line"), [("f" * 64, CAMERA, "of model ffff"), (None, ("lidar",), "with lidar"), (None, (), "none")]
)
def test_of_what_nothing_is_known_is_taken_as_it_is_and_said_once(memory, caplog, model, senses, line):
    tell(memory, 1.0, random_tokens(1))
    with caplog.at_level(logging.WARNING):
        for k in range(3):
            encoding = random_tokens(k)
            np.testing.assert_array_equal(tell(memory, 1.2 + DT * k, encoding, senses, model), encoding)
    assert caplog.text.count("taken as they are") == 1 and line in caplog.text
    encoding = random_tokens(9)  # and then nothing older counts
    np.testing.assert_allclose(tell(memory, 2.0, encoding, CAMERA), encoding - BIAS, atol=1e-6)


def test_an_encoder_that_does_not_say_its_senses_is_believed(memory):
    encoding = random_tokens()
    state = memory.update(Representation(1.0, encoding.reshape(1, 1, -1), memory.model), seen(1.0))
    np.testing.assert_array_equal(state.representation[0, 0], encoding)


def test_each_problem_of_a_batch_has_a_belief_of_its_own(memory):
    tokens = np.stack([random_tokens(1), random_tokens(2)])[:, None]
    for stamp, senses in ((1.0, (ALL, ALL)), (1.2, (ALL, CAMERA))):
        state = memory.update(Representation(stamp, tokens, memory.model, senses=senses), seen(stamp, batch=2))
        tokens = -tokens
    np.testing.assert_array_equal(state.representation[0], -tokens[0])
    assert np.abs(state.representation[1] + tokens[1]).max() > 0.5


def test_what_is_no_number_is_refused_and_changes_nothing(memory):
    tell(memory, 1.0, random_tokens(1))
    for bad in (np.full(D, np.nan), np.full(D, np.inf), np.zeros(D + 1)):
        with pytest.raises(InputError, match="representation"):
            tell(memory, 1.2, bad, CAMERA)
    with pytest.raises(InputError, match="does not belong"):
        memory.update(Representation(1.3, np.zeros((1, 1, D)), memory.model, senses=(CAMERA,)), seen(1.2))
    assert np.isfinite(tell(memory, 1.4, random_tokens(2), CAMERA)).all()


def test_the_same_moment_twice_counts_once(memory):
    tell(memory, 1.0, random_tokens(1))
    once = tell(memory, 1.2, random_tokens(2), CAMERA)
    np.testing.assert_array_equal(tell(memory, 1.2, random_tokens(2), CAMERA), once)


def test_commands_out_of_order_do_not_stop_it(memory):
    tell(memory, 1.0, random_tokens(1))
    for stamp in (1.05, 1.15, 1.1):
        memory.command_sent(Command(stamp, 0.3, 0.0))
    assert np.isfinite(tell(memory, 1.2, random_tokens(2), CAMERA)).all()


def test_a_model_without_calibration_is_like_latest_and_says_so(tmp_path, caplog):
    folder = write_untrained(tmp_path / "model", features=D)
    kept = create("short_term_memory", PluginSpec(plugin="estimator", model=str(folder)), RobotParameters())
    encoding = random_tokens()
    np.testing.assert_array_equal(tell(kept, 1.0, encoding, CAMERA), encoding)
    assert "no calibration of its memory" in caplog.text


def test_a_damaged_calibration_is_refused_in_one_line(tmp_path):
    folder = write_calibrated(tmp_path / "model")
    path = folder / "memory.safetensors"

    def make():
        return create("short_term_memory", PluginSpec(plugin="estimator", model=str(folder)), RobotParameters())

    make()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(ConfigurationError, match="is not the card's") as caught:
        make()
    assert "\n" not in str(caught.value)
    add_part(folder, "memory", {"process": np.full((D, D), np.nan, np.float32)}, {"senses": ALL}, {})
    with pytest.raises(ConfigurationError, match="process is missing or damaged"):
        make()


def test_adding_a_part_that_was_cut_off_leaves_the_old_one(tmp_path, monkeypatch):
    folder = write_calibrated(tmp_path / "model")
    before = yaml.safe_load((folder / "card.yaml").read_text())
    import objective_agent.learning.card as card

    writes = []

    def cut_off(path, data):  # the power goes when the card is to be written
        if path.name == "card.yaml":
            raise InputError("cut off")
        writes.append(path.name)
        path.write_bytes(data)

    monkeypatch.setattr(card, "write_bytes", cut_off)
    with pytest.raises(InputError, match="cut off"):
        add_part(folder, "memory", {"process": np.eye(D, dtype=np.float32)}, {"senses": ALL}, {})
    assert writes == ["memory.next.safetensors"]
    assert yaml.safe_load((folder / "card.yaml").read_text()) == before
    create("short_term_memory", PluginSpec(plugin="estimator", model=str(folder)), RobotParameters())


def test_it_needs_no_torch(folder):
    code = """
import json, sys
import numpy as np
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import create
from objective_agent.types import Observation, Representation
memory = create("short_term_memory", PluginSpec(plugin="estimator", model=sys.argv[1]), RobotParameters())
for k in range(3):
    seen = Observation(1.0 + 0.1 * k, np.zeros((1, 3)), np.zeros((1, 2)))
    memory.update(Representation(seen.stamp, np.zeros((1, 1, 32)), memory.model, senses=(("camera",),)), seen)
print(json.dumps("torch" in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) is False
