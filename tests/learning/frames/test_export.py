"""Exported graphs: the same figures as the network, whatever its kind, and never those of other weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from frame_models import write_frame_model

pytest.importorskip("onnx", reason="export writes its files with onnx: pip install 'objective_agent[export]'")
pytest.importorskip("onnxruntime", reason="exported models run in onnxruntime: pip install 'objective_agent[cpu]'")

from objective_agent import plugins
from objective_agent.cli.main import main
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.learning.frames import export
from objective_agent.learning.frames.export import ExportError, export_model
from objective_agent.types import ConfigurationError, InputError, Observation, WorldState

SMALL = {"features": 16, "width": 8, "hidden": 32}
MODELS = {
    "vector": (SMALL, {"history": 2, "heads": 2}),
    "gru": (SMALL, {"kind": "gru", "history": 3}),
    "latent": ({**SMALL, "batch_norm": True}, {"kind": "mlp", "latent": 3}),
    "split": ({**SMALL, "kind": "cnn_map"}, {"kind": "place", "history": 2}),
    "patches": (
        {"kind": "vit", "features": 16, "hidden": 32, "depth": 1, "patch": 16},
        {"kind": "transformer", "history": 2, "depth": 1},
    ),
}


def plugin(kind: str, name: str, folder):
    return plugins.create(kind, PluginSpec(plugin=name, model=str(folder)), RobotParameters())


def begun(encoder, model, batch: int = 2) -> WorldState:
    random = np.random.default_rng(0)
    zeros = np.zeros((batch, 3))
    frames = [
        encoder.encode(Observation(0.0, zeros, zeros[:, :2], images=random.integers(0, 256, (batch, 64, 64, 3), np.uint8)))
        for _ in range(model.history)
    ]
    tokens = np.concatenate([frame.tokens for frame in frames], 1)
    return WorldState(0.0, tokens, zeros, zeros[:, :2], frames[0].model, sent=random.uniform(-1, 1, (batch, 4, 2)))


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_says_what_torch_says_from_picture_to_plan(tmp_path, name):
    folder = write_frame_model(tmp_path / "model", *MODELS[name])
    futures = {"vector": 2, "latent": 3}.get(name, 1)
    about = export_model(folder, horizon=4, futures=futures)
    assert set(about["files"]) == {"encoder", "step", "rollout"}
    assert all(file["largest_difference"] < 1e-4 for file in about["files"].values())
    found = {}
    for runtime in ("frame_jepa", "frame_onnx"):
        encoder, model = plugin("encoder", runtime, folder), plugin("world_model", runtime, folder)
        state = begun(encoder, model)
        actions = torch.rand(2, 5, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1  # shorter than was exported
        trajectory = model.rollout(state, actions, futures)
        assert trajectory.representations.shape == (2, 5, futures, 3, encoder.dynamic, encoder.features)
        found[runtime] = (encoder.model, model.model, model.representation_model, state, trajectory)
    torch_side, onnx_side = found.values()
    assert torch_side[:3] == onnx_side[:3]
    np.testing.assert_allclose(onnx_side[3].representation, torch_side[3].representation, atol=1e-4)
    torch.testing.assert_close(onnx_side[4].representations, torch_side[4].representations, atol=1e-4, rtol=1e-4)
    if name == "vector":  # each future is a member: the first is the first whatever their number
        alone = model.rollout(state, actions, 1).representations
        torch.testing.assert_close(alone, onnx_side[4].representations[:, :, :1])


def test_one_step_is_the_first_of_a_rollout(tmp_path):
    folder = write_frame_model(tmp_path / "model", SMALL, {"history": 2})
    export_model(folder, horizon=3)
    from objective_agent import weights

    card = weights.read_card(folder)
    step, rollout = (weights.onnx_session(weights.read_graph(folder, part, card)[0], part) for part in ("step", "rollout"))
    random = np.random.default_rng(0)
    history, past = random.normal(size=(2, 2, 1, 16)).astype(np.float32), random.normal(size=(2, 1, 2)).astype(np.float32)
    actions = random.normal(size=(2, 5, 3, 2)).astype(np.float32)
    whole = rollout.run(None, {"history": history, "past": past, "actions": actions})[0]
    first = step.run(None, {"history": history, "past": past, "action": actions[:, :, 0]})[0]
    np.testing.assert_allclose(first, whole[:, :, :, 0], atol=1e-6)


def test_a_plan_longer_than_the_graph_is_refused_with_the_mend(tmp_path):
    folder = write_frame_model(tmp_path / "model", SMALL, {"heads": 2})
    export_model(folder, horizon=2, futures=1)
    encoder, model = plugin("encoder", "frame_onnx", folder), plugin("world_model", "frame_onnx", folder)
    state = begun(encoder, model)
    with pytest.raises(ConfigurationError, match=r"--horizon 3 --futures 2"):
        model.rollout(state, np.zeros((2, 4, 3, 2), np.float32), 2)
    with pytest.raises(ConfigurationError, match="no gradients"):
        model.rollout(state, torch.zeros(2, 4, 2, 2, requires_grad=True))


def test_graphs_of_other_weights_and_damaged_ones_are_never_run(tmp_path):
    folder = write_frame_model(tmp_path / "model", SMALL)
    with pytest.raises(ConfigurationError, match=r"has no encoder\.onnx"):
        plugin("encoder", "frame_onnx", folder)
    export_model(folder)
    graph = (folder / "rollout.onnx").read_bytes()
    (folder / "rollout.onnx").write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    with pytest.raises(ConfigurationError, match="sha256"):
        plugin("world_model", "frame_onnx", folder)
    card = yaml.safe_load((folder / "card.yaml").read_text())
    write_frame_model(folder, SMALL, seed=1)
    renewed = yaml.safe_load((folder / "card.yaml").read_text())
    (folder / "card.yaml").write_text(yaml.safe_dump({**renewed, "onnx": card["onnx"]}))
    with pytest.raises(ConfigurationError, match="made of other weights"):
        plugin("encoder", "frame_onnx", folder)


def test_a_graph_that_differs_from_its_network_is_not_written(tmp_path, monkeypatch):
    folder = write_frame_model(tmp_path / "model", SMALL)
    faithful = export.to_onnx

    def wrong(network, inputs, axes):
        with torch.no_grad():
            for weight in network.parameters():
                weight.mul_(1.01)
        graph = faithful(network, inputs, axes)
        with torch.no_grad():
            for weight in network.parameters():
                weight.div_(1.01)
        return graph

    monkeypatch.setattr(export, "to_onnx", wrong)
    with pytest.raises(ExportError, match="differs from the network"):
        export_model(folder)
    assert not list(folder.glob("*.onnx")) and "onnx" not in yaml.safe_load((folder / "card.yaml").read_text())


def test_the_command_exports_and_tells_what_it_made(tmp_path, capsys):
    folder = write_frame_model(tmp_path / "model", SMALL)
    before = yaml.safe_load((folder / "card.yaml").read_text())
    assert main(["export", "--model", str(folder), "--horizon", "3", "--json", str(tmp_path / "about.json")]) == 0
    assert "rollout" in capsys.readouterr().out
    card = yaml.safe_load((folder / "card.yaml").read_text())
    assert json.loads((tmp_path / "about.json").read_text()) == card["onnx"] and card["onnx"]["horizon"] == 3
    assert {name: card[name] for name in before} == before
    assert main(["export", "--model", str(folder), "--futures", "2"]) == 2
    assert "1 to 1 futures" in capsys.readouterr().err
    with pytest.raises(InputError):
        export_model(folder, horizon=0)


def test_a_robots_model_is_not_exported(tmp_path):
    folder = write_frame_model(tmp_path / "model", SMALL)
    (folder / "card.yaml").write_text((folder / "card.yaml").read_text().replace("kind: frames\n", ""))
    with pytest.raises(ConfigurationError, match="needed is one of kind frames"):
        export_model(folder)
