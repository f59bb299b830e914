"""Windows stay inside episodes and splits; a batch is what the data say; training's inputs are those of run time."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from objective_agent.learning.batches import Hiding, frame_inputs, generator, hide, make_batch, mirror
from objective_agent.learning.losses import relative_pose
from objective_agent.learning.windows import Sequences
from objective_agent.perception.jepa import observation_inputs
from objective_agent.types import InputError, Observation, Scan

HIDE_NOTHING = Hiding(0.0, 0.0, 0.0, 0.0)


def test_windows_stay_in_one_episode_and_in_their_worlds(toy_data):
    data = Sequences(toy_data)
    episode = np.asarray(data.columns["episode"])
    seen = {}
    for split in ("train", "calibration", "test"):
        starts = data.starts(10, split)
        assert len(starts) and (episode[starts] == episode[starts + 10]).all()
        seen[split] = set(data.world[starts])
    assert (
        not seen["train"] & seen["calibration"] and not seen["train"] & seen["test"] and not seen["calibration"] & seen["test"]
    )
    assert len(data.starts(39, "train")) == 32 and len(data.starts(40, "train")) == 0


def test_a_batch_holds_the_rows_it_says(toy_data):
    data = Sequences(toy_data)
    starts, offsets = np.array([3, 85]), np.array([2, 5])
    batch = make_batch(data, starts, 5, offsets, HIDE_NOTHING, generator(0))
    columns = data.columns
    np.testing.assert_array_equal(batch.poses[4, 1], columns["pose"][89])
    np.testing.assert_array_equal(batch.actions[1, 4], columns["action"][89])
    np.testing.assert_array_equal(batch.clearance[:, 0], columns["clearance"][3:9])
    frames = batch.frames["velocity"].view(3, 2, 2)
    np.testing.assert_array_equal(frames[2, 0], columns["velocity"][8])
    np.testing.assert_array_equal(batch.before[0], np.asarray(columns["motion"][3, -2:, 2:]).mean(0))
    assert batch.log_ranges.shape == (6, 36)


def test_the_first_step_of_an_episode_has_no_past(toy_data):
    data = Sequences(toy_data)
    inputs, _ = frame_inputs(data, np.array([40, 41, 42]))
    unknown = torch.isnan(inputs["ranges"]).all(-1)
    assert unknown.tolist() == [[False, True, True], [False, False, True], [False, False, False]]


def test_training_and_run_time_make_the_same_inputs(toy_data):
    """A row of the data set, and the observation that it was made from, become the same tensors."""
    data = Sequences(toy_data)
    row = 50
    take = {
        name: np.asarray(data.columns[name][row - 2 : row + 1])
        for name in ("scan", "scan_pose", "pose", "velocity", "motion", "image")
    }
    step = 2 * np.pi / 180
    observation = Observation(
        stamp=1.0,
        pose=take["pose"][2:],
        velocity=take["velocity"][2:],
        scans=(Scan(1.0, take["scan"][2], -np.pi, step, 0.01, 20.0),),
        scan_poses=take["scan_pose"][2:],
        images=take["image"][2:],
        motion=take["motion"][2:],
        past_scans=take["scan"][None, 1::-1],
        past_poses=take["scan_pose"][None, 1::-1],
    )
    expected, _ = frame_inputs(data, np.array([row]))
    for name, value in observation_inputs(observation).items():
        torch.testing.assert_close(value, expected[name], equal_nan=True, rtol=1e-4, atol=1e-4, msg=name)


def test_never_are_lidar_and_camera_both_hidden(toy_data):
    data = Sequences(toy_data)
    starts = data.starts(10, "train")
    batch = make_batch(data, starts, 10, np.array([4]), Hiding(0.5, 0.5), generator(1))
    scan, image = (batch.frames[name][: len(starts)] for name in ("has_scan", "has_image"))
    assert (scan ^ image).all()
    assert 0.4 < scan.float().mean() < 0.6
    assert batch.frames["has_scan"][len(starts) :].all() and batch.frames["has_image"][len(starts) :].all()


def test_what_is_the_only_sense_is_not_hidden():
    frames = {
        "has_scan": torch.tensor([True, False]),
        "has_image": torch.tensor([False, True]),
        "ranges": torch.zeros(2, 3, 180),
        "motion": torch.zeros(2, 8, 4),
    }
    for hiding in (Hiding(lidar=1.0, camera=0.0), Hiding(lidar=0.0, camera=1.0)):
        hide(frames, 2, hiding, generator(0))
        assert (frames["has_scan"] | frames["has_image"]).all()


def test_batches_depend_on_seed_and_number_alone(toy_data):
    data = Sequences(toy_data)

    def draw(seed, number):
        return make_batch(data, np.array([3, 4]), 5, np.array([1]), Hiding(), generator(seed, "batch", number)).frames[
            "has_scan"
        ]

    assert torch.equal(draw(1, 7), draw(1, 7))
    assert generator(1, "batch", 7).random() != generator(1, "batch", 8).random() != generator(2, "batch", 8).random()


@pytest.mark.parametrize("name", ["meta.json", "scan.npy", "action.npy"])
def test_a_damaged_data_set_is_refused_in_one_line(toy_data, tmp_path, name):
    broken = tmp_path / "data"
    shutil.copytree(toy_data, broken)
    (broken / name).write_bytes((broken / name).read_bytes()[:40])
    with pytest.raises(InputError, match=name) as caught:
        Sequences(broken)
    assert "\n" not in str(caught.value)


def test_one_held_out_world_serves_calibration_and_test(toy_data, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(toy_data, copy)
    meta = json.loads((copy / "meta.json").read_text())
    meta["split"] = {"train": list(range(1, 40)), "val": [0]}
    (copy / "meta.json").write_text(json.dumps(meta))
    data = Sequences(copy)
    assert data.worlds("calibration").tolist() == data.worlds("test").tolist() == [0]


def test_an_episode_recorded_without_people_says_that_they_are_far_and_others_say_nothing(toy_data, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(toy_data, copy)
    meta = json.loads((copy / "meta.json").read_text())
    meta["episodes"][0]["people"] = 0
    (copy / "meta.json").write_text(json.dumps(meta))
    found, _ = Sequences(copy).people(np.array([[5, 45]]))
    assert found[0, 0] == 3.0 and np.isnan(found[0, 1])


def test_a_mirrored_window_is_the_window_of_a_mirrored_room(toy_data):
    """Mirroring twice gives the window back; mirroring once turns left turns into right turns and nothing else."""
    data = Sequences(toy_data)
    starts = np.array([3, 85])
    plain, twice = (make_batch(data, starts, 5, np.array([2]), HIDE_NOTHING, generator(0)) for _ in range(2))
    everything = torch.ones(2, dtype=torch.bool)
    mirror(twice, everything)
    found = relative_pose(twice.poses[:-1], twice.poses[1:])
    expected = relative_pose(plain.poses[:-1], plain.poses[1:]) * torch.tensor([1.0, -1.0, -1.0])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(twice.ranges[:, 45], plain.ranges[:, 135])  # to the right, to the left
    torch.testing.assert_close(twice.ranges[:, 90], plain.ranges[:, 90])  # straight ahead
    assert torch.equal(twice.frames["image"], plain.frames["image"].flip(2))
    mirror(twice, everything)
    for name, value in twice.frames.items():
        torch.testing.assert_close(value, plain.frames[name], equal_nan=True)
    torch.testing.assert_close(twice.actions, plain.actions)


def test_only_the_chosen_windows_are_mirrored(toy_data):
    data = Sequences(toy_data)
    plain, one = (make_batch(data, np.array([3, 85]), 5, np.array([2]), HIDE_NOTHING, generator(0)) for _ in range(2))
    mirror(one, torch.tensor([False, True]))
    torch.testing.assert_close(one.poses[:, 0], plain.poses[:, 0])
    torch.testing.assert_close(one.poses[:, 1], plain.poses[:, 1] * torch.tensor([1.0, -1.0, -1.0]))


def test_calibration_and_test_both_know_all_conditions(toy_data):
    data = Sequences(toy_data)
    found = [set(data.conditions(data.starts(10, split))) for split in ("calibration", "test")]
    assert found == [{"plain", "slip"}] * 2
