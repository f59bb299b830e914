"""Encoders of frames: what a representation is made of, and that a frozen encoder is the file's, whole and unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from frame_models import write_frame_model
from safetensors.torch import save_file

from objective_agent import plugins
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.perception.frame_network import FrameEncoderShape, blocks, build_encoder
from objective_agent.perception.frozen import FrozenShape
from objective_agent.perception.vision_transformer import VisionTransformer, VisionTransformerShape
from objective_agent.types import ConfigurationError, InputError, Observation

KINDS = {
    "cnn": ({"features": 16}, (1, 1)),
    "cnn_map": ({"features": 16}, (65, 1)),
    "vit": ({"features": 16, "hidden": 32, "depth": 1}, (64, 64)),
    "pooled": ({"kind": "vit", "features": 16, "hidden": 32, "depth": 1, "pooled": True}, (1, 1)),
}


def pictures(count: int = 3, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_tokens_it_announces_and_trains_all_of_its_weights(kind):
    torch.manual_seed(0)
    settings, (tokens, dynamic) = KINDS[kind]
    encoder = build_encoder(FrameEncoderShape(**{"kind": kind, **settings}))
    assert (encoder.tokens, encoder.dynamic, encoder.features) == (tokens, dynamic, 16)
    found = encoder(pictures())
    assert found.shape == (3, tokens, 16)
    (found * torch.randn_like(found)).sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_space_to_depth_keeps_every_pixel_beside_its_neighbours():
    image = pictures(1)
    packed = blocks(image)
    assert packed.shape == (1, 12, 32, 32) and packed.is_contiguous(memory_format=torch.channels_last)
    expected = image[0, 6:8, 10:12].reshape(-1).float() / 127.5 - 1
    torch.testing.assert_close(packed[0, :, 3, 5], expected)


def test_the_two_parts_of_a_split_encoder_learn_apart():
    torch.manual_seed(0)
    encoder = build_encoder(FrameEncoderShape(kind="cnn_map", features=16))
    mine, its = ({id(weight) for weight in part} for part in (encoder.agent_parameters(), encoder.scene_parameters()))
    assert not mine & its and len(mine | its) == len(list(encoder.parameters()))
    encoder.scene(pictures()).square().sum().backward()
    assert all(weight.grad is None for weight in encoder.agent_parameters())
    encoder.begin_scene()
    torch.testing.assert_close(encoder.scene_trunk[0].weight, encoder.agent_trunk[0].weight)
    torch.testing.assert_close(torch.cat([encoder.agent(pictures()), encoder.scene(pictures())], 1), encoder(pictures()))


def test_a_map_token_is_about_its_own_part_of_the_picture():
    encoder = build_encoder(FrameEncoderShape(kind="cnn_map", features=16)).eval()
    image = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    image[1, 8:16, 48:56] = 255  # row 1, column 6 of 8 x 8
    with torch.no_grad():
        empty, marked = encoder.scene(image)
    change = (marked - empty).norm(dim=-1).view(8, 8)
    assert change[1, 6] > 0 and change[4:].max() == 0 and change[:, :4].max() == 0


@pytest.mark.parametrize("wrong", [torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.zeros(2, 64, 64, 3), pictures()[0]])
def test_pictures_of_another_size_or_kind_are_refused(wrong):
    with pytest.raises(InputError, match=r"\[n, 64, 64, 3\] uint8"):
        build_encoder(FrameEncoderShape(features=16))(wrong)


def test_batch_normalisation_makes_every_feature_of_unit_width():
    torch.manual_seed(0)
    found = build_encoder(FrameEncoderShape(features=8, batch_norm=True))(pictures(64))[:, 0]
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(8), atol=0.01, rtol=0)


# --- frozen ------------------------------------------------------------------------------------------------------------------


def tiny_transformer(tmp_path, **settings):
    torch.manual_seed(0)
    shape = VisionTransformerShape(dim=32, depth=2, heads=2, patch=8, grid=4, **settings)
    network = VisionTransformer(shape).eval()
    path = tmp_path / "pretrained.safetensors"
    save_file({**network.state_dict(), "head.weight": torch.zeros(10, 32)}, path)
    return network, path


@pytest.mark.parametrize("settings", [{}, {"registers": 4, "position_prefix": False, "scaled": True}, {"class_token": False}])
def test_a_frozen_transformer_gives_the_patch_tokens_of_its_file(tmp_path, settings):
    network, path = tiny_transformer(tmp_path, **settings)
    frozen = FrozenShape(source=str(path), size=32, heads=2, mean=(0.5,) * 3, std=(0.5,) * 3)
    encoder = build_encoder(FrameEncoderShape(kind="frozen", size=32, frozen=frozen))
    assert (encoder.tokens, encoder.dynamic, encoder.features) == (16, 16, 32)
    images = pictures(2, 32)
    with torch.no_grad():
        expected = network(images.permute(0, 3, 1, 2).float() / 127.5 - 1)[:, network.prefix :]
    torch.testing.assert_close(encoder(images), expected, atol=1e-5, rtol=1e-4)


def test_positions_learned_on_another_grid_are_stretched_over_the_picture(tmp_path):
    _, path = tiny_transformer(tmp_path)
    encoder = build_encoder(FrameEncoderShape(kind="frozen", frozen=FrozenShape(source=str(path), size=64, heads=2)))
    assert encoder(pictures(2)).shape == (2, 64, 32)


def onnx_backbone(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx makes the tiny graph of this test")
    pytest.importorskip("onnxruntime", reason="a frozen ONNX encoder runs in onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.random.default_rng(0).normal(0, 0.1, (12, 3, 8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["picture", "kernel"], ["cells"], strides=[8, 8]),
        helper.make_node("Reshape", ["cells", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["n", 16, 12])],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(np.array([0, 12, 16]), "flat")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    path = tmp_path / "pretrained.onnx"
    onnx.save(model, path)
    return path, kernel


def test_a_frozen_onnx_encoder_lives_on_in_the_models_folder_when_its_file_is_gone(tmp_path):
    path, kernel = onnx_backbone(tmp_path)
    settings = {"kind": "frozen", "frozen": FrozenShape(source=str(path))}
    folder = write_frame_model(tmp_path / "model", settings, {"history": 2})
    path.unlink()
    encoder = plugins.create("encoder", PluginSpec(plugin="frame_jepa", model=str(folder)), RobotParameters())
    assert (encoder.tokens, encoder.dynamic, encoder.features) == (16, 16, 12)
    images = pictures(3)
    frozen = FrozenShape(source="x")
    pixels = (images.permute(0, 3, 1, 2).float() / 255 - torch.tensor(frozen.mean).view(3, 1, 1)) / torch.tensor(
        frozen.std
    ).view(3, 1, 1)
    small = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear")
    expected = torch.nn.functional.conv2d(small, torch.from_numpy(kernel), stride=8).flatten(2).transpose(1, 2)
    observation = Observation(0.0, np.zeros((3, 3)), np.zeros((3, 2)), images=images.numpy())
    np.testing.assert_allclose(encoder.encode(observation).tokens, expected.numpy(), atol=1e-4)


def test_only_the_predictor_trains_on_a_frozen_encoder(tmp_path):
    _, path = tiny_transformer(tmp_path)
    frozen = FrozenShape(source=str(path), size=32, heads=2)
    encoder = build_encoder(FrameEncoderShape(kind="frozen", frozen=frozen)).train()
    assert not encoder.training and not any(weight.requires_grad for weight in encoder.parameters())
    assert not encoder(pictures()).requires_grad


def test_files_that_hold_no_encoder_are_refused_in_one_line(tmp_path):
    def refused(name: str, data: bytes | None, match: str):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(ConfigurationError, match=match) as caught:
            build_encoder(FrameEncoderShape(kind="frozen", frozen=FrozenShape(source=str(path))))
        assert "\n" not in str(caught.value)

    refused("missing.onnx", None, "no such file")
    refused("model.pt", b"x", r"give a \.onnx or \.safetensors")
    refused("damaged.safetensors", b"nonsense", "no vision transformer")
    pytest.importorskip("onnxruntime", reason="a frozen ONNX encoder runs in onnxruntime")
    refused("damaged.onnx", b"nonsense", "not a usable ONNX graph")
    network, path = tiny_transformer(tmp_path)
    save_file({**network.state_dict(), "blocks.0.attn.rope": torch.zeros(1)}, path)
    refused(path.name, None, "another kind of transformer")


# --- the plugin --------------------------------------------------------------------------------------------------------------


def test_the_plugin_encodes_pictures_of_any_size_and_names_its_weights(tmp_path):
    folder = write_frame_model(tmp_path / "model", {"kind": "cnn_map", "features": 16, "width": 8}, {"kind": "place"})
    encoder = plugins.create("encoder", PluginSpec(plugin="frame_jepa", model=str(folder)), RobotParameters())
    large = pictures(2, 96).numpy()
    found = encoder.encode(Observation(4.0, np.zeros((2, 3)), np.zeros((2, 2)), images=large))
    assert found.tokens.shape == (2, 65, 16) and found.model == encoder.model and len(encoder.model) == 64
    with pytest.raises(InputError, match="no images"):
        encoder.encode(Observation(4.0, np.zeros((2, 3)), np.zeros((2, 2))))
    with pytest.raises(InputError, match="3 images for 2 problems"):
        encoder.encode(Observation(4.0, np.zeros((2, 3)), np.zeros((2, 2)), images=pictures(3).numpy()))
    with pytest.raises(InputError, match="image: shape"):
        encoder.encode(Observation(4.0, np.zeros((2, 3)), np.zeros((2, 2)), images=np.zeros((2, 64, 64, 3))))


def test_a_robots_model_is_no_model_of_frames(tmp_path):
    folder = write_frame_model(tmp_path / "model")
    card = folder / "card.yaml"
    card.write_text(card.read_text().replace("kind: frames\n", ""))
    for kind in ("encoder", "world_model"):
        with pytest.raises(ConfigurationError, match="of kind robot, needed is one of kind frames"):
            plugins.create(kind, PluginSpec(plugin="frame_jepa", model=str(folder)), RobotParameters())
