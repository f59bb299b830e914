"""A frozen encoder is asked once for each image."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from frame_data import many_layouts, small
from safetensors.torch import save_file

from objective_agent.learning.frames.batches import Frames
from objective_agent.learning.frames.dataset import FrameData
from objective_agent.learning.frames.kept_tokens import KeptTokens
from objective_agent.learning.frames.trainer import FrameTrainer
from objective_agent.perception.vision_transformer import VisionTransformer, VisionTransformerShape
from objective_agent.types import InputError


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> FrameData:
    return FrameData.open(many_layouts(tmp_path_factory.mktemp("kept") / "data", 1200))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("pretrained") / "tiny.safetensors"
    network = VisionTransformer(VisionTransformerShape(dim=32, depth=1, heads=2, patch=16, grid=2))
    save_file(network.state_dict(), path)
    encoder = {"kind": "frozen", "frozen": {"source": str(path), "size": 32, "heads": 2}}
    return small(encoder=encoder, regularizer={"plugin": "none"}, steps=12, report_steps=4, collapse_after=1000)


def test_training_encodes_no_image_twice(data, config, tmp_path, monkeypatch):
    trainer = FrameTrainer(config, data, tmp_path / "model", threads=1)
    seen, encoder = [], trainer.model.encoder
    forward = type(encoder).forward
    monkeypatch.setattr(type(encoder), "forward", lambda self, images: seen.append(len(images)) or forward(self, images))
    monkeypatch.setattr("objective_agent.learning.frames.trainer.gate", lambda *_: {})  # images of its own, not the data's
    card = trainer.run({})
    assert card["training"]["steps"] == 12 and np.isfinite(card["metrics"]["latent"])
    assert 0 < sum(seen) <= data.rows


def test_kept_tokens_are_the_encoders_and_leave_no_file(data, config, tmp_path):
    before = sorted(os.listdir(data.path))
    trainer = FrameTrainer(config, data, tmp_path / "model", threads=1)
    rows = np.array([[5, 3, 5], [900, 3, 0]])
    kept, direct = trainer.frames.kept_tokens.take(rows), trainer.model.agent(Frames(data)(rows).flatten(0, 1))
    assert kept.shape == (2, 3, 4, 32)
    torch.testing.assert_close(kept.flatten(0, 1), direct, atol=3e-3, rtol=3e-3)
    assert sorted(os.listdir(data.path)) == before


def test_an_encoder_that_learns_is_asked_every_time(data, tmp_path):
    assert FrameTrainer(small(steps=2), data, tmp_path / "model", threads=1).frames.kept_tokens is None


def test_a_disk_without_room_is_said_before_anything_is_encoded(data, config, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    encoder = SimpleNamespace(dynamic=4, features=32)
    with pytest.raises(InputError, match=r"no room for the tokens of .* images, .* GB: No space left") as caught:
        KeptTokens(encoder, Frames(data))
    assert "\n" not in str(caught.value)
