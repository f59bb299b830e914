"""The decoder learns to draw, changes nothing that it looks at, and stays out of everything that plans."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from learned_model import write_untrained
from toy_data import write_toy_data

from objective_agent.learning import decoder
from objective_agent.learning.decoder import load_decoder, save_decoder, train_decoder
from objective_agent.learning.imagination import Imagination
from objective_agent.learning.windows import Sequences
from objective_agent.types import ConfigurationError, InputError

ROOT = Path(__file__).resolve().parents[2]
SMALL = (24, 12)


@pytest.fixture(scope="module")
def data(toy_data) -> Sequences:
    return Sequences(toy_data)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """(model, what its encoder's weights were before, decoder, figures), with running statistics that training would move."""
    model = Imagination(str(write_untrained(tmp_path_factory.mktemp("decoder") / "model", batch_norm=True)))
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    return model, before, *train_decoder(model.encoder, data, batches=120, channels=SMALL)


def test_it_draws_better_than_the_mean_image_in_homes_it_has_not_seen(trained, data):
    model, _, network, about = trained
    held = about["held_out"]
    assert about["batches"] == 120 and about["rows"] == 32 * 40 and held["rows"] == 8 * 40 and held["worlds"] == 8
    assert held["rms_error"] < 0.95 * held["rms_error_mean_image"]
    rows = np.flatnonzero(data.world % 5 == 0)  # the same figure, by hand
    drawn = network.pictures(decoder.representations(model.encoder, data, rows)).astype(float)
    images = np.asarray(data.columns["image"][rows], float).reshape(len(rows), 16, 4, 16, 4, 3).mean((2, 4))
    assert np.sqrt(((drawn - images) ** 2).mean()) == pytest.approx(held["rms_error"], abs=1.0)


def test_the_encoder_is_as_it_was(trained):
    model, before, _, _ = trained
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.encoder.parameters())


def test_a_saved_decoder_draws_the_same_and_belongs_to_its_encoder_only(trained, tmp_path):
    model, _, network, about = trained
    card = save_decoder(tmp_path, network, model.sha256, {"seed": 0, **about})
    assert card == yaml.safe_load((tmp_path / "decoder.yaml").read_text()) and card["encoder"] == model.sha256
    again = load_decoder(tmp_path, model.sha256)
    some = torch.randn(5, 32)
    np.testing.assert_allclose(again.pictures(some).astype(int), network.pictures(some).astype(int), atol=2)
    with pytest.raises(ConfigurationError, match=r"of another encoder.*--train-decoder"):
        load_decoder(tmp_path, "0" * 64)


def test_the_same_seed_makes_the_same_decoder(trained, data):
    model = trained[0]
    one, two = (train_decoder(model.encoder, data, batches=3, channels=SMALL, seed=4)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "decoder.yaml").unlink(), "has no decoder"),
        (lambda folder: (folder / "decoder.yaml").write_text("encoder: 1"), "is damaged"),
        (lambda folder: (folder / "decoder.yaml").write_bytes(b"\xff\xfe: ["), "is damaged"),
        (lambda folder: (folder / "decoder.safetensors").write_bytes(b"half"), "is not the card's"),
        (lambda folder: (folder / "decoder.safetensors").unlink(), "can't be read"),
    ],
)
def test_a_spoilt_decoder_is_one_line_with_the_mend(trained, tmp_path, spoil, said):
    model, _, network, about = trained
    save_decoder(tmp_path, network, model.sha256, about)
    spoil(tmp_path)
    with pytest.raises(ConfigurationError) as error:
        load_decoder(tmp_path, model.sha256)
    assert said in str(error.value) and str(error.value).endswith("--train-decoder") and "\n" not in str(error.value)


def test_without_images_there_is_nothing_to_learn(trained, tmp_path):
    path = write_toy_data(tmp_path / "blind", episodes=5, steps=10)
    np.save(path / "has_image.npy", np.zeros(50, bool))
    with pytest.raises(InputError, match="holds no camera images"):
        train_decoder(trained[0].encoder, Sequences(path), batches=1)


def test_nothing_that_plans_or_drives_can_reach_the_decoder():
    modules = ["agent", "planner", "surprise", "perception.jepa", "world_model.jepa", "memory.short_term", "learning.trainer"]
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "sys.exit('objective_agent.learning.decoder' in sys.modules)"
    names = [f"objective_agent.{name}" for name in modules]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    allowed = {"learning/decoder.py", "learning/imagination.py", "cli/imagine.py"}
    for folder in ("agent", "nodes"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.relative_to(ROOT / folder).as_posix() not in allowed:
                text = path.read_text()
                assert "learning.decoder" not in text and "learning.imagination" not in text, path
                assert "decoder.safetensors" not in text and "decoder.yaml" not in text, path
