"""What may go wrong around an agent whose world is images: images of changing size, NaN in actions and weights, full disks."""

from __future__ import annotations

import hashlib
import json
import resource
import signal

import cv2
import frame_models
import numpy as np
import pytest
import torch
import yaml

from objective_agent import weights
from objective_agent.learning.checkpoint import write_weights
from objective_agent.simulation import benchmarks
from objective_agent.simulation.benchmarks.controller import BenchmarkController, ControllerSettings, Mind
from objective_agent.types import InputError, ObjectiveAgentError, WorldState

SETTINGS = ControllerSettings(optimizer={"plugin": "cem", "samples": 16, "iterations": 1}, horizon=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return frame_models.write_frame_model(tmp_path_factory.mktemp("model"), predictor={"history": 2})


def acting(folder, seed: int = 0):
    """(controller at the begin of an episode, environment, its first image)."""
    env = benchmarks.make("two_room")
    image, info = env.reset(seed=1, options={"split": "test", "index": seed})
    controller = BenchmarkController(Mind(str(folder), SETTINGS))
    controller.reset(info["goal_image"], seed)
    return controller, env, image


def test_images_of_changing_size_are_one_size_to_the_agent(folder):
    controller, env, image = acting(folder)
    for height, width in ((64, 64), (128, 128), (480, 640), (20, 200), (1, 1), (64, 64)):
        action = controller.act(cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST))
        assert action.shape == (2,) and np.isfinite(action).all()
        image, *_ = env.step(action)
    assert all(tokens.shape == controller.notes.seen[0].shape for tokens in controller.notes.seen)


def test_arrays_that_are_no_images_change_nothing_of_what_follows(folder):
    (fuzzed, env, image), (plain, *_) = acting(folder), acting(folder)
    nothing = np.zeros((0, 64, 3), np.uint8)
    for wrong in (nothing, image[..., :1], np.dstack([image, image]), image.astype(float) * np.nan, image[None], image[0]):
        with pytest.raises(InputError) as caught:
            fuzzed.act(wrong)
        assert "image" in str(caught.value) and "\n" not in str(caught.value)
        action = fuzzed.act(image)
        assert np.array_equal(action, plain.act(image))
        image, *_ = env.step(action)


@pytest.mark.parametrize("part", ["encoder", "predictor"])
def test_weights_with_nan_never_act(folder, tmp_path, part):
    mind = Mind(str(folder), SETTINGS)
    for name in ("encoder", "predictor"):
        network = mind.encoder.network if name == "encoder" else mind.world_model.network
        network.requires_grad_(False)
        if name == part:
            [value.fill_(torch.nan) for value in network.parameters()]
        data = write_weights(tmp_path / f"{name}.safetensors", network, network.shape.model_dump())
        card = weights.read_card(tmp_path) if (tmp_path / "card.yaml").exists() else {"kind": "frames", "sha256": {}}
        card["sha256"][name] = hashlib.sha256(data).hexdigest()
        (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ObjectiveAgentError, match="NaN or infinite"):
        controller, _, image = acting(tmp_path)
        controller.act(image)


def test_an_imagined_action_that_is_nan_spoils_no_other(folder):
    mind = Mind(str(folder), SETTINGS)
    random = np.random.default_rng(0)
    tokens = random.normal(size=(1, 2 * mind.world_model.tokens, mind.world_model.features)).astype(np.float32)
    nothing = np.zeros((1, 3), np.float32)
    state = WorldState(0.0, tokens, nothing, nothing[:, :2], "m", sent=np.zeros((1, 1, 2), np.float32))
    actions = random.uniform(-1, 1, (1, 5, 3, 2)).astype(np.float32)
    whole = mind.world_model.rollout(state, actions).representations
    actions[0, 2, 1, 0] = np.nan
    found = mind.world_model.rollout(state, actions).representations
    assert found[0, 2, 0, 1:].isnan().all() and torch.equal(found[0, 2, 0, 0], whole[0, 2, 0, 0])
    others = [0, 1, 3, 4]
    torch.testing.assert_close(found[0, others], whole[0, others])


def test_a_full_disk_leaves_the_graphs_and_the_card_of_before(folder):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from objective_agent.learning.frames.export import export_model

    export_model(folder, horizon=2)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(InputError, match="can't be written: File too large"):
            export_model(folder, horizon=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, previous)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    graph, about = weights.read_graph(folder, "rollout", weights.read_card(folder))
    assert about["horizon"] == 2 and graph == before["rollout.onnx"] and json.dumps(about)
