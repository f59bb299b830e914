"""The learned encoder: any mix of senses, one definition of its inputs, and no file that is not what the card says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from learned_model import write_untrained

from objective_agent import plugins
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.perception.jepa_network import EncoderNetwork, EncoderShape, warp_ranges
from objective_agent.types import ConfigurationError, InputError, Observation, Scan


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("models") / "untrained")


def make(folder, **settings):
    return plugins.create("encoder", PluginSpec(plugin="jepa", model=str(folder), **settings), RobotParameters())


def scan(distance: float = 2.0) -> Scan:
    return Scan(10.0, np.full(180, distance, np.float32), -math.pi, 2 * math.pi / 180, 0.05, 8.0)


def observation(**changes) -> Observation:
    rng = np.random.default_rng(0)
    full = Observation(
        stamp=10.0,
        pose=np.zeros((1, 3), np.float32),
        velocity=np.array([[0.3, 0.1]], np.float32),
        scans=(scan(),),
        scan_poses=np.zeros((1, 3), np.float32),
        images=rng.integers(0, 255, (1, 64, 64, 3)).astype(np.uint8),
        motion=np.zeros((1, 8, 4), np.float32),
        past_scans=np.full((1, 2, 180), 2.0, np.float32),
        past_poses=np.zeros((1, 2, 3), np.float32),
    )
    return dataclasses.replace(full, **changes)


MISSING = {
    "scan": {"scans": (None,), "scan_poses": None},
    "image": {"images": None},
    "motion": {"motion": None},
    "past": {"past_scans": None, "past_poses": None},
    "everything but odometry": {
        "scans": (None,), "scan_poses": None, "images": None, "motion": None, "past_scans": None, "past_poses": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("missing", MISSING)
def test_it_works_with_a_sense_missing_and_notices(folder, missing):
    encoder = make(folder)
    whole = encoder.encode(observation())
    partial = encoder.encode(observation(**MISSING[missing]))
    assert whole.tokens.shape == partial.tokens.shape == (1, 1, encoder.features)
    assert np.isfinite(partial.tokens).all()
    assert not np.allclose(whole.tokens, partial.tokens)
    assert whole.model == partial.model == encoder.model and len(encoder.model) == 64


def test_a_sense_that_is_switched_off_is_as_if_it_were_missing(folder):
    blind = make(folder, lidar=False).encode(observation())
    without = make(folder).encode(observation(**MISSING["scan"], past_scans=None, past_poses=None))
    np.testing.assert_allclose(blind.tokens, without.tokens)


def test_a_batch_gives_what_each_problem_gives_alone(folder):
    encoder = make(folder)
    other = observation(velocity=np.array([[0.5, -0.5]], np.float32), scans=(None,))
    one = observation()
    both = Observation(
        stamp=10.0,
        scans=(*one.scans, *other.scans),
        **{
            name: np.concatenate([getattr(one, name), getattr(other, name)])
            for name in ("pose", "velocity", "scan_poses", "images", "motion", "past_scans", "past_poses")
        },
    )
    expected = np.concatenate([encoder.encode(item).tokens for item in (one, other)])
    np.testing.assert_allclose(encoder.encode(both).tokens, expected, rtol=1e-4, atol=1e-5)


def test_images_of_any_size_are_taken(folder):
    large = np.full((1, 480, 640, 3), 90, np.uint8)
    small = np.full((1, 64, 64, 3), 90, np.uint8)
    encoder = make(folder)
    np.testing.assert_allclose(
        encoder.encode(observation(images=large)).tokens, encoder.encode(observation(images=small)).tokens
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"velocity": np.array([[np.nan, 0.0]])}, "velocity: has NaN"),
        ({"velocity": np.zeros((1, 3))}, "velocity: shape"),
        ({"motion": np.zeros((1, 7, 4))}, "motion: shape"),
        ({"images": np.zeros((1, 64, 64), np.uint8)}, "image: shape"),
        ({"images": np.zeros((2, 64, 64, 3), np.uint8)}, "2 images for 1 problems"),
        ({"scans": ()}, "0 scans for 1 problems"),
    ],
)
def test_an_observation_that_makes_no_sense_is_refused_in_one_line(folder, change, said):
    with pytest.raises(InputError, match=said) as caught:
        make(folder).encode(observation(**change))
    assert "\n" not in str(caught.value)


def test_sweeps_are_moved_into_the_present_frame():
    """A wall 2 m ahead of where the robot was is 1.5 m ahead after 0.5 m, and to the right after a left turn."""
    ranges = np.full((2, 180), np.nan, np.float32)
    ranges[:, 90] = 2.0  # straight ahead
    moved = warp_ranges(ranges, np.array([[-0.5, 0.0, 0.0], [0.0, 0.0, -math.pi / 2]], np.float32))
    assert moved[0, 90] == pytest.approx(1.5, abs=1e-4)
    assert moved[1, 45] == pytest.approx(2.0, abs=1e-4)
    assert np.isnan(moved).sum() == 2 * 179


def test_a_sweep_from_the_present_pose_stays_what_it_is():
    ranges = np.random.default_rng(0).uniform(0.1, 8, (3, 180)).astype(np.float32)
    ranges[:, ::7] = np.nan
    np.testing.assert_allclose(warp_ranges(ranges, np.zeros((3, 3), np.float32)), ranges, rtol=1e-5)


def test_a_sweep_older_than_the_observation_is_seen_from_where_the_robot_is_now(folder):
    encoder = make(folder)
    behind = observation(scan_poses=np.array([[-0.5, 0.0, 0.0]], np.float32))
    assert not np.allclose(encoder.encode(behind).tokens, encoder.encode(observation()).tokens)


def test_the_virtual_scan_leaves_out_what_is_not_known(folder):
    encoder = make(folder)
    with torch.no_grad():
        encoder.network.ranges_head[-1].weight.zero_()
        encoder.network.ranges_head[-1].bias[:36] = math.log(0.8)
        encoder.network.ranges_head[-1].bias[36:] = torch.where(torch.arange(36) < 18, -3.0, 1.0)
    found = encoder.virtual_scans(encoder.encode(observation()))[0]
    cautious = 0.8 * math.exp(math.log(2 * 0.35) * math.exp(-3.0))  # a quantile of a Laplace distribution
    np.testing.assert_allclose(found.ranges[:18], cautious, rtol=1e-5)
    assert np.isnan(found.ranges[18:]).all() and found.estimated
    assert found.angles[18] == pytest.approx(math.radians(4), abs=1e-6)  # the middle of beams 90 ... 94


@pytest.mark.parametrize("name", ["encoder.safetensors", "card.yaml"])
@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: d[:-9] + b"\xff" * 9, None])
def test_a_damaged_or_missing_file_is_refused_in_one_line(tmp_path, name, damage):
    model = write_untrained(tmp_path / "model")
    path = model / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigurationError, match=name) as caught:
        make(model)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_exist_is_named_with_the_mend():
    with pytest.raises(ConfigurationError, match=r"no such folder.*objective-agent train"):
        make("models/there_is_no_such_model")


def test_hidden_senses_cost_no_camera_work():
    """Only rows with an image go through the convolutions: garbage in the others changes nothing."""
    torch.manual_seed(0)
    network = EncoderNetwork(EncoderShape(features=16, hidden=32)).eval()
    inputs = {
        "ranges": torch.full((2, 3, 180), 2.0),
        "has_scan": torch.tensor([True, True]),
        "image": torch.zeros(2, 64, 64, 3, dtype=torch.uint8),
        "has_image": torch.tensor([True, False]),
        "velocity": torch.zeros(2, 2),
        "motion": torch.zeros(2, 8, 4),
    }
    with torch.inference_mode():
        before = network(inputs)
        inputs["image"][1] = 255
        after = network(inputs)
    assert torch.equal(before, after)
