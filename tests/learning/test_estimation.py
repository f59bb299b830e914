"""What memory must know of a model is measured on held-out worlds, and stands with the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learned_model import write_untrained
from toy_data import write_toy_data

from objective_agent import weights
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.learning import estimation
from objective_agent.learning.windows import Sequences
from objective_agent.memory.calibration import Calibration
from objective_agent.memory.fusion import corrected, predicted, started
from objective_agent.memory.prediction import Predictor
from objective_agent.perception.jepa import JepaEncoder
from objective_agent.plugins import create

D = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Sequences(write_toy_data(tmp_path_factory.mktemp("toy") / "data", episodes=60, steps=30))


@pytest.fixture(scope="module")
def model(tmp_path_factory, data):
    """(folder, encoder network, card) of an untrained model whose memory was calibrated."""
    torch.set_num_threads(1)
    folder = write_untrained(tmp_path_factory.mktemp("model"), features=D)
    network = JepaEncoder(JepaEncoder.Config(model=str(folder)), RobotParameters()).network
    return folder, network, estimation.write_calibration(folder, network, data)


def test_stretches_are_consecutive_moments_of_worlds_held_out(data):
    rows = estimation.episodes(data, "calibration", estimation.SENSES, 10_000)
    assert rows.shape[1] > 20
    assert (np.diff(rows, axis=1) == 1).all()
    for column in ("episode", "world"):
        values = data.take(column, rows)
        assert (values == values[:, :1]).all()
    assert set(data.world[rows].ravel()) <= set(data.worlds("calibration"))
    assert len(estimation.episodes(data, "calibration", estimation.SENSES, 30)) == 1


def test_the_noises_are_those_of_the_errors(model, data):
    folder, network, card = model
    predictor = Predictor.of(folder, card)
    calibration = Calibration.of(folder, card, D)
    views = estimation.encode(
        network, data, estimation.episodes(data, "calibration", estimation.SENSES, 10_000), estimation.SENSES
    )
    wrong = estimation.one_step(predictor, views) - views.encoded["all"][:, 1:]
    np.testing.assert_allclose(np.diag(calibration.process), (wrong**2).mean((0, 1)), rtol=1e-3, atol=1e-5)
    for sense in estimation.SENSES:
        measure, beside = calibration.measure((sense,)), views.encoded[sense] - views.encoded["all"]
        np.testing.assert_allclose(measure.offset, beside.mean((0, 1)), atol=1e-4)
        trust = card["memory"][sense]["trust"]
        np.testing.assert_allclose(np.diag(measure.noise), trust * beside.var((0, 1)), rtol=1e-3, atol=1e-4)
        assert np.linalg.eigvalsh(measure.noise).min() > 0 and measure.alarm > 0
    assert np.linalg.eigvalsh(calibration.process).min() > 0
    assert calibration.measure(estimation.SENSES).noise is None and calibration.measure(()) is None


def test_an_estimate_is_nearer_to_what_all_senses_say_than_the_encoding(model):
    for sense in estimation.SENSES:
        at = model[2]["memory"][sense]
        assert at["estimate"] < at["encoding"]
        assert at["estimate"] <= at["encoding_less_offset"] * 1.02


def test_the_filter_that_was_calibrated_is_the_one_that_runs(model, data):
    folder, network, card = model
    predictor, calibration = Predictor.of(folder, card), Calibration.of(folder, card, D)
    views = estimation.encode(network, data, estimation.episodes(data, "test", estimation.SENSES, 60), estimation.SENSES)
    measure = calibration.measure(("camera",))
    together, _ = estimation._filter(predictor, views, "camera", measure.offset, measure.noise, calibration.process)
    measure = type(measure)(measure.offset, measure.noise)  # without doubts
    belief = started(views.encoded["camera"][0, 0], measure)
    for step in range(1, views.rows.shape[1]):
        mean = predictor.imagine(belief.mean[None], views.actions[:1, step - 1 : step]).mean(0)[-1, 0]
        belief = predicted(belief, mean.astype(float), calibration.process, 1.0)
        belief, _ = corrected(belief, views.encoded["camera"][0, step], measure)
    np.testing.assert_allclose(belief.mean, together[0, -1], atol=1e-4)


def test_the_card_names_the_file_and_the_runtime_takes_it(model):
    folder, _, card = model
    assert weights.read_card(folder) == card
    assert list(card)[-1] == "sha256" and card["memory"]["worlds"] > 0
    kept = create("short_term_memory", PluginSpec(plugin="estimator", model=str(folder)), RobotParameters())
    assert kept.calibration.measure(("camera",)) is not None


def test_a_second_calibration_replaces_the_first(model, data):
    folder, network, card = model
    again = estimation.write_calibration(folder, network, data)
    assert again["sha256"] == card["sha256"] and again["memory"] == card["memory"]
    assert not weights.next_file(folder, "memory").exists()


def test_a_model_without_camera_has_nothing_to_estimate(tmp_path, data):
    folder = write_untrained(tmp_path / "model", features=D)
    network = JepaEncoder(JepaEncoder.Config(model=str(folder)), RobotParameters()).network
    blind = Sequences(data.path)
    blind.columns = {**blind.columns, "has_image": np.zeros(blind.rows, bool)}
    estimation.write_calibration(folder, network, blind)
    calibration = Calibration.of(folder, weights.read_card(folder), D)
    assert calibration.measure(("lidar",)).noise is None and calibration.measure(("camera",)) is None
