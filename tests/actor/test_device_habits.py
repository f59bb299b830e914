"""A decision on a GPU: everything lies there, and hardly anything is waited for.  Counted on a pretended one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from frame_models import write_frame_model
from pretend_gpu import DEVICE, PretendGpu, draws_anywhere
from toy_problems import optimizer, reach

from objective_agent import devices
from objective_agent.simulation.benchmarks.controller import BenchmarkController, ControllerSettings, Mind
from objective_agent.types import ConfigurationError

FIXED = {"iterations": 3, "rescue": 0, "patience": 1000, "use_library": False}


def test_a_device_that_is_not_there_is_one_clear_line(monkeypatch):
    with pytest.raises(ConfigurationError, match="device 'gpu': torch knows no such device; use cpu or cuda"):
        devices.find("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match=r"--device 'cuda': no CUDA device here.*; use cpu"):
        devices.find("cuda", "--device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigurationError, match="there are 1 CUDA devices; use cuda:0"):
        devices.find("cuda:3")


def test_many_small_tensors_go_there_and_come_back_in_one_copy_each():
    values = [torch.arange(6.0).view(2, 3), None, torch.ones(()), torch.zeros(0, 2)]
    with PretendGpu() as gpu:
        sent = devices.send(values, torch.device(DEVICE))
        assert [None if value is None else value.shape for value in sent] == [(2, 3), None, (), (0, 2)]
        assert all(value is None or value.device.type == DEVICE for value in sent)
        back = devices.fetch([sent[0], sent[0] > 2])
    assert gpu.count == {"there": 1, "back": 1}
    assert back[0].shape == (2, 3) and back[1].dtype == torch.bool
    assert devices.send(values, torch.device("cpu"))[0] is values[0] and devices.fetch(values[:1])[0] is values[0]


@pytest.mark.parametrize("name", ["mppi", "cem", "icem", "predictive_sampling", "random_shooting"])
def test_a_search_is_sent_one_tensor_and_gives_one_back(monkeypatch, tmp_path, name):
    draws_anywhere(monkeypatch)
    mind = Mind(str(write_frame_model(tmp_path)), ControllerSettings(device=DEVICE, reachability=0.0))
    controller = BenchmarkController(mind, ControllerSettings(optimizer={"plugin": name, "samples": 16, **FIXED}))
    image = np.zeros((64, 64, 3), np.uint8)
    with PretendGpu() as gpu:
        controller.reset(image, seed=0)
        for _ in range(2):
            controller.act(image)
        gpu.count.clear()
        controller.act(image)
    # The numbers: is the encoding finite, has it moved, has it moved as was imagined.  There: the picture, the problem, the
    # action that is done.  Back: the plan.
    assert gpu.count["number"] <= 3 and gpu.count["back"] == 1 and gpu.count["there"] == 3
    assert controller.plan.actions.device.type == "cpu" and controller.plan.iterations == 3


def test_a_problem_on_a_device_is_searched_there(monkeypatch):
    draws_anywhere(monkeypatch)
    search, problem = optimizer("mppi", **FIXED), reach()
    there = problem.state.to_torch(DEVICE)
    assert there.pose.device.type == DEVICE and there.to_torch(DEVICE).pose is there.pose
    with PretendGpu() as gpu:
        from dataclasses import replace

        search.solve(replace(problem, state=there), math.inf)
        gpu.count.clear()
        search.solve(replace(problem, state=there), math.inf)
    assert gpu.count["number"] == 0 and gpu.count["back"] == 1
