"""A decision on a GPU: everything lies there, and hardly anything is waited for.  Counted on a pretended one."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from frame_models import write_frame_model
from pretend_gpu import DEVICE, PretendGpu, draws_anywhere
from toy_problems import optimizer, reach

from objective_agent import devices
from objective_agent.simulation.benchmarks.controller import BenchmarkController, ControllerSettings, Mind
from objective_agent.types import ConfigurationError, InputError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learning" / "frames"))
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
    values = [torch.arange(6.0).view(2, 3), None, torch.ones(()), torch.zeros(0, 2), torch.arange(5, dtype=torch.uint8)]
    with PretendGpu() as gpu:
        sent = devices.send(values, torch.device(DEVICE))
        assert [None if value is None else value.shape for value in sent] == [(2, 3), None, (), (0, 2), (5,)]
        assert [value.dtype for value in sent if value is not None] == [torch.float32] * 3 + [torch.uint8]
        assert all(value is None or value.device.type == DEVICE for value in sent)
        back = devices.fetch([sent[0], sent[0] > 2])
    assert gpu.count == {"there": 1, "back": 1}
    assert back[0].shape == (2, 3) and back[1].dtype == torch.bool
    assert devices.send(values, torch.device("cpu"))[0] is values[0] and devices.fetch(values[:1])[0] is values[0]


@pytest.mark.parametrize("case", ["map", "history"])
def test_a_step_of_training_waits_for_nothing(monkeypatch, tmp_path, case):
    from frame_data import MAP, many_layouts, small

    from objective_agent.learning.frames import latents
    from objective_agent.learning.frames.batches import Frames
    from objective_agent.learning.frames.dataset import FrameData
    from objective_agent.learning.frames.trainer import FrameTrainer

    optimizer = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, fused, **settings: optimizer(groups, foreach=True, **settings))
    monkeypatch.setattr(Frames, "_fits", lambda frames, size: True)
    # Where the agent is can't be fitted to what nobody can read.
    monkeypatch.setattr(latents, "fit_where", lambda tokens, *_: (torch.zeros(tokens.shape[1], 2), torch.zeros(2)))
    memory = {"predictor": {"kind": "gru", "hidden": 32, "history": 3, "heads": 2, "latent": 2}}
    settings = MAP if case == "map" else {**memory, "regularizer": {"plugin": "sigreg"}}
    data = FrameData.open(many_layouts(tmp_path / "data"))
    shares = {"represent": 1, "scene": 1 if case == "map" else 0, "reach": 1}
    made = FrameTrainer(small(**settings, steps=9 if case == "map" else 6, shares=shares), data, tmp_path, device=DEVICE)
    entered = set()
    with PretendGpu() as gpu:
        while made.step < made.config.steps:
            gpu.count.clear()
            made.advance()
            if made._stage.name in entered:
                assert gpu.count["number"] == gpu.count["back"] == 0 and gpu.count["there"] <= 6, made._stage.name
            entered.add(made._stage.name)
    assert len(entered) == (3 if case == "map" else 2)


def on_the_device(monkeypatch, folder: Path, name: str = "cem", **settings) -> BenchmarkController:
    draws_anywhere(monkeypatch)
    mind = Mind(str(write_frame_model(folder, predictor={"history": 2})), ControllerSettings(device=DEVICE, reachability=0.0))
    return BenchmarkController(mind, ControllerSettings(optimizer={"plugin": name, "samples": 16, **FIXED}, **settings))


@pytest.mark.parametrize("stuck_share", [0.0, 0.35])
@pytest.mark.parametrize("name", ["mppi", "cem", "icem", "predictive_sampling", "random_shooting"])
def test_a_decision_is_one_copy_there_and_one_back(monkeypatch, tmp_path, name, stuck_share):
    controller = on_the_device(monkeypatch, tmp_path, name, stuck_share=stuck_share)
    image = np.zeros((64, 64, 3), np.uint8)
    with PretendGpu() as gpu:
        controller.reset(image, seed=0)
        for _ in range(2):
            controller.act(image)
        assert (controller._warm is None) == bool(stuck_share)  # what is read there is 1: stuck, where that is asked
        gpu.count.clear()
        controller.act(image)
    assert gpu.count == {"there": 1, "back": 1}
    assert controller.plan.actions.device.type == "cpu" and controller.plan.iterations == 3


@pytest.mark.parametrize(("settings", "numbers"), [({}, 1), ({"rescue": 0}, 0), ({"iterations": 4, "rescue": 0}, 2)])
def test_who_may_stop_early_reads_a_number_between_two_iterations(monkeypatch, tmp_path, settings, numbers):
    controller = on_the_device(monkeypatch, tmp_path)
    settings = {"plugin": "cem", "iterations": 2, **settings}
    controller = BenchmarkController(controller.mind, ControllerSettings(optimizer=settings, stuck_share=0.0))
    image = np.zeros((64, 64, 3), np.uint8)
    with PretendGpu() as gpu:
        controller.reset(image, seed=0)
        controller.act(image)
        gpu.count.clear()
        controller.act(image)
    assert gpu.count["there"] == 1 and gpu.count["back"] == 1 and gpu.count["number"] <= numbers


def test_an_image_that_gives_no_numbers_is_refused_with_the_plan_and_nothing_is_remembered_of_it(monkeypatch, tmp_path):
    controller = on_the_device(monkeypatch, tmp_path)
    image = np.zeros((64, 64, 3), np.uint8)
    with PretendGpu() as gpu:
        controller.reset(image, seed=0)
        controller.act(image)
        before = controller.plan, controller._before, list(controller._frames), len(controller.notes.seen), controller._steps
        gpu.answer = 0.0
        with pytest.raises(InputError, match="the encoder answers with NaN"):
            controller.act(image)
        assert before == (
            controller.plan, controller._before, list(controller._frames), len(controller.notes.seen), controller._steps
        )  # fmt: skip
        gpu.answer = 1.0
        controller.act(image)
    assert len(controller._actions) == 1 and len(controller.notes.seen) == 2


def test_what_is_read_with_the_plan_decides_as_what_is_read_before_it(tmp_path):
    mind = Mind(str(write_frame_model(tmp_path, predictor={"history": 2})), ControllerSettings(reachability=0.0))
    random, done, stuck = np.random.default_rng(0), [], []
    images = [random.integers(0, 256, (64, 64, 3), np.uint8)] * 3 + [*random.integers(0, 256, (4, 64, 64, 3), np.uint8)]
    for first in (True, False):
        controller = BenchmarkController(mind)
        controller._ask_first = first
        controller.reset(images[-1], seed=0)
        done.append(np.stack([controller.act(image) for image in images]))
        stuck.append(controller.notes.stuck)
        with torch.no_grad():
            kept = [value.clone() for value in mind.encoder.network.parameters()]
            [value.fill_(torch.nan) for value in mind.encoder.network.parameters()]
            with pytest.raises(InputError, match="the encoder answers with NaN"):
                controller.act(images[0])
            [value.copy_(old) for value, old in zip(mind.encoder.network.parameters(), kept, strict=True)]
        assert len(controller.notes.seen) == len(images) and np.isfinite(controller.act(images[0])).all()
    assert np.array_equal(*done) and stuck[0] == stuck[1] >= 2


@pytest.mark.parametrize("guardrails", [(), (lambda trajectory: 0.3 - trajectory.poses[..., 1],)])
def test_a_problem_on_a_device_is_searched_there(monkeypatch, guardrails):
    draws_anywhere(monkeypatch)
    search, problem = optimizer("mppi", **FIXED), reach(guardrails=guardrails)
    there = problem.state.to_torch(DEVICE)
    assert there.pose.device.type == DEVICE and there.to_torch(DEVICE).pose is there.pose
    with PretendGpu() as gpu:
        search.solve(replace(problem, state=there), math.inf)
        gpu.count.clear()
        search.solve(replace(problem, state=there), math.inf)
    assert gpu.count["number"] == 0 and gpu.count["back"] == 1
