import numpy as np
import pytest
import torch

from objective_agent.cost.frame_graph import quasimetric
from objective_agent.cost.frame_quasimetric import FrameQuasimetricShape, convolution
from objective_agent.types import InputError

KINDS = {
    "vector": FrameQuasimetricShape(features=12, hidden=16, size=4),
    "map": FrameQuasimetricShape(features=12, places=16, hidden=16, size=4, channels=8, glimpse=4, rounds=2),
    "graph": FrameQuasimetricShape(kind="graph", features=12, places=16, groups=1, size=16, channels=8),
    "patches": FrameQuasimetricShape(features=12, dynamic=9, hidden=16, size=4, token_size=3),
}


def weights_of(shape: FrameQuasimetricShape, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = {name: random.normal(0, 0.5, size).astype(np.float32) for name, size in shape.shapes().items()}
    return found | {name: np.abs(found[name]) + 0.5 for name in found if name.endswith("scale")}


def inputs(shape: FrameQuasimetricShape, count: int = 5, seed: int = 1):
    random = np.random.default_rng(seed)
    moments = random.normal(size=(2, count, shape.dynamic, shape.features)).astype(np.float32)
    places = random.normal(size=(2, shape.places, shape.features)).astype(np.float32) if shape.places else None
    return moments, places


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_and_tensors_give_the_same_steps(kind):
    shape, arrays = KINDS[kind], weights_of(KINDS[kind])
    moments, places = inputs(shape)
    plain = quasimetric(shape, arrays).steps(moments, moments[:, ::-1].copy(), places)
    tensors = quasimetric(shape, {name: torch.from_numpy(value) for name, value in arrays.items()})
    goals = torch.from_numpy(moments[:, ::-1].copy())
    same = tensors.steps(torch.from_numpy(moments), goals, None if places is None else torch.from_numpy(places))
    assert plain.shape == (2, 5) and np.abs(plain).max() > 0.1
    np.testing.assert_allclose(same.numpy(), plain, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_quasimetric_whatever_the_weights(kind):
    shape = KINDS[kind]
    moments, places = inputs(shape, count=12)
    metric = quasimetric(shape, weights_of(shape, 3))
    embedded = metric.embed(moments, metric.context(places))
    distance = metric.distance(embedded[:, :, None], embedded[:, None])
    assert np.abs(np.einsum("bii->bi", distance)).max() == 0
    assert (distance >= 0).all()
    roundabout = (distance[:, :, :, None] + distance[:, None]).min(2)
    assert (distance <= roundabout + 1e-4).all()
    assert not np.allclose(distance, distance.transpose(0, 2, 1))


def test_a_glimpse_reads_the_place_where_the_agent_is():
    shape = FrameQuasimetricShape(features=4, places=16, glimpse=1, hidden=8)
    arrays = weights_of(shape) | {"offsets": np.zeros((2, 3), np.float32), "width": np.full(1, np.log(0.05), np.float32)}
    arrays["where.weight"], arrays["where.bias"] = np.eye(4, 2, dtype=np.float32), np.zeros(2, np.float32)
    places = np.zeros((1, 16, 1), np.float32)
    places[0, 4 * 3 + 1] = 1.0  # row 3, column 1: x = 0.375, y = 0.875
    tokens = np.array([[[0.375, 0.875, 0, 0], [0.875, 0.375, 0, 0]]], np.float32)
    read = quasimetric(shape, arrays).glimpse(tokens, places)
    assert read[0, 0].min() > 0.99 and read[0, 1].max() < 0.01


def test_a_graph_counts_the_way_round_a_wall():
    shape = KINDS["graph"]
    metric = quasimetric(
        shape, weights_of(shape) | {"where.weight": np.eye(12, 2, dtype=np.float32), "where.bias": np.zeros(2)}
    )
    cost = np.ones((1, 16, 9), np.float32)
    for row in range(3):  # a wall between columns 1 and 2, open in the last row
        cost[0, 4 * row + 1, [2, 5, 8]] = cost[0, 4 * row + 2, [0, 3, 6]] = 40
    cost[0, 13, 2] = cost[0, 14, 0] = 40
    ways = metric.ways(cost)
    assert ways[0, 0, 1] == 1 and ways[0, 1, 0] == 1 and ways[0, 5, 5] == 0
    assert ways[0, 1, 2] == pytest.approx(7), "three down, one across, three up"
    tokens = np.zeros((1, 3, 1, 12), np.float32)
    tokens[0, :, 0, :2] = [[0.375, 0.125], [0.625, 0.125], [0.30, 0.125]]
    embedded = metric.embed(tokens, (cost, ways))
    distance = metric.distance(embedded[:, :, None], embedded[:, None])[0]
    assert distance[0, 1] == pytest.approx(7, abs=1e-3) and distance[0, 2] == pytest.approx(0.3, abs=1e-3)
    assert distance[2, 1] == pytest.approx(7, abs=0.31), "from beside the middle of a place: nearly the same"


def test_what_is_learned_of_the_graph_reaches_all_hops_on_the_way():
    shape = KINDS["graph"]
    metric = quasimetric(shape, {name: torch.from_numpy(value) for name, value in weights_of(shape).items()})
    cost = (1 + 0.01 * torch.rand(1, 16, 9, generator=torch.Generator().manual_seed(0))).requires_grad_()
    metric.ways(cost)[0, 0, 3].backward()
    assert [int(place) for place in cost.grad[0].abs().sum(-1).nonzero()] == [0, 1, 2], "the row from place 0 to place 3"


@pytest.mark.parametrize("stride", [1, 2])
def test_the_two_convolutions_agree(stride):
    random = np.random.default_rng(0)
    x, weight = random.normal(size=(2, 5, 5, 3)).astype(np.float32), random.normal(size=(27, 4)).astype(np.float32)
    bias = random.normal(size=4).astype(np.float32)
    tensor = convolution(torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias), stride)
    np.testing.assert_allclose(tensor.numpy(), convolution(x, weight, bias, stride), rtol=1e-4, atol=1e-4)


def test_the_map_changes_the_distance_and_a_wrong_map_is_refused():
    shape = KINDS["map"]
    metric, (moments, places) = quasimetric(shape, weights_of(shape)), inputs(shape)
    assert not np.allclose(metric.steps(moments, moments[:, :1], places), metric.steps(moments, moments[:, :1], places[::-1]))
    with pytest.raises(InputError, match=r"need \[B, 16, 12\]"):
        metric.steps(moments, moments, places[:, :9])
    with pytest.raises(InputError, match="map None"):
        metric.steps(moments, moments)


def test_weights_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"first\.weight"):
        quasimetric(KINDS["vector"], weights_of(FrameQuasimetricShape(features=13, hidden=16, size=4)))


@pytest.mark.parametrize("wrong", [{"places": 15}, {"places": 16, "dynamic": 2}, {"places": 1}, {"kind": "graph"}])
def test_shapes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="map"):
        FrameQuasimetricShape(**wrong)
