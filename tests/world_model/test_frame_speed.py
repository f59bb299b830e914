"""The predictor's way for planning gives the numbers of the way for training."""

from __future__ import annotations

import shutil

import pytest
import torch

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import create
from objective_agent.types import ConfigurationError, InputError
from objective_agent.world_model import frame_native
from objective_agent.world_model.frame_members import TILE
from objective_agent.world_model.frame_network import FramePredictorShape, build_predictor

CASES = [(1, 5, 1, 1), (3, 5, 2, 1), (3, 2, 2, 2), (4, 1, 1, 1)]
COMPILER = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=COMPILER)])
@pytest.mark.parametrize(("history", "horizon", "batch", "heads"), CASES)
def test_all_steps_at_once_are_the_steps_one_by_one(history, horizon, batch, heads, compiled):
    torch.manual_seed(0)
    network = build_predictor(FramePredictorShape(features=16, hidden=32, history=history, heads=heads))
    frames, past = torch.randn(batch, history, 1, 16), torch.randn(batch, history - 1, 2)
    actions = torch.randn(batch, 7, horizon, 2)
    kept = [value.clone() for value in (frames, past, actions)]
    with torch.no_grad():
        slow = network.rollout(frames, past, actions, heads)
    for member in network.members:
        member.kernels = frame_native.kernels() if compiled else None
    with torch.inference_mode():
        fast = network.rollout(frames, past, actions, heads)
    assert not slow.is_inference() and fast.is_inference()
    assert torch.allclose(slow, fast, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(kept, (frames, past, actions), strict=True))


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=COMPILER)])
def test_more_candidates_than_go_together_are_imagined_as_they_are_alone(compiled):
    torch.manual_seed(1)
    network = build_predictor(FramePredictorShape(features=16, hidden=32))
    network.members[0].kernels = frame_native.kernels() if compiled else None
    frames, past, actions = torch.randn(1, 1, 1, 16), torch.zeros(1, 0, 2), torch.randn(1, 3 * TILE + 5, 3, 2)
    with torch.inference_mode():
        whole = network.rollout(frames, past, actions)
        some = network.rollout(frames, past, actions[:, 2 * TILE : 2 * TILE + 9])
    assert torch.allclose(whole[:, 2 * TILE : 2 * TILE + 9], some, rtol=1e-4, atol=1e-5)


def changed(network):
    network.members[0].inner.weight.mul_(3.0)


def replaced(network):
    network.members[0].out.weight = torch.nn.Parameter(3 * network.members[0].out.weight, requires_grad=False)


def loaded(network):
    network.load_state_dict({name: 2 * value for name, value in network.state_dict().items()})


def assigned(network):
    network.load_state_dict({name: 2 * value for name, value in network.state_dict().items()}, assign=True)


def moved(network):
    network.half().float()


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=COMPILER)])
@pytest.mark.parametrize("change", [changed, replaced, loaded, assigned, moved])
def test_a_rollout_follows_its_weights_when_they_change(change, compiled):
    network = build_predictor(FramePredictorShape(features=16, hidden=32)).requires_grad_(False)
    network.members[0].kernels = frame_native.kernels() if compiled else None
    given = torch.randn(1, 1, 1, 16), torch.zeros(1, 0, 2), torch.randn(1, 4, 3, 2)
    with torch.inference_mode():
        before = network.rollout(*given)
    change(network)
    with torch.inference_mode():
        fast = network.rollout(*given)
    assert torch.allclose(network.rollout(*given), fast, rtol=1e-4, atol=1e-5) and not torch.equal(before, fast)


@COMPILER
def test_compiled_activations_are_torch_s_at_every_size_of_number():
    torch.manual_seed(2)
    network = build_predictor(FramePredictorShape(features=16, hidden=32)).requires_grad_(False)
    network.members[0].inner.weight.mul_(300.0)  # both arms of SiLU, far out
    given = torch.randn(1, 1, 1, 16), torch.zeros(1, 0, 2), torch.randn(1, 64, 1, 2)
    slow = network.rollout(*given)
    network.members[0].kernels = frame_native.kernels()
    with torch.inference_mode():
        fast = network.rollout(*given)
        broken = network.rollout(given[0] * torch.nan, *given[1:])
    assert float(slow.abs().max()) > 50
    assert torch.allclose(slow, fast, rtol=1e-4, atol=1e-4)
    assert bool(broken.isnan().all())


def test_kernels_without_a_compiler_or_for_another_predictor_are_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    frame_native.kernels.cache_clear()
    with pytest.raises(ConfigurationError, match="install gcc, or set kernels to torch"):
        frame_native.kernels()
    spec = PluginSpec(plugin="frame_jepa", model="models/two_room_random", kernels="compiled")
    with pytest.raises(ConfigurationError, match="not place on cpu"):
        create("world_model", spec, RobotParameters())


@COMPILER
def test_a_library_that_may_not_be_run_where_it_is_built_is_one_line(monkeypatch):
    def refused(path):
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(frame_native.ctypes, "CDLL", refused)
    frame_native.kernels.cache_clear()
    with pytest.raises(ConfigurationError, match=r"failed to map segment.*TMPDIR") as caught:
        frame_native.kernels()
    assert "\n" not in str(caught.value)


@COMPILER
def test_kernels_refuse_numbers_that_they_would_read_wrongly():
    network = build_predictor(FramePredictorShape(features=16, hidden=32)).requires_grad_(False)
    network.members[0].kernels = frame_native.kernels()
    given = torch.randn(1, 1, 1, 16), torch.zeros(1, 0, 2), torch.randn(1, 4, 3, 2)
    with torch.inference_mode(), pytest.raises(InputError, match=r"need float32, not torch.float32 and torch.float64"):
        network.rollout(given[0], given[1].double(), given[2].double())
    with torch.inference_mode(), pytest.raises(ConfigurationError, match=r"need float32 on the CPU, not torch.float64"):
        network.double().rollout(*(value.double() for value in given))
