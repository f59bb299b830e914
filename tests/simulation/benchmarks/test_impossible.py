"""Pairs of clips of which one can't happen: what differs, from when on, and what the test for them tells of a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from objective_agent.learning.frames.expectation import judge
from objective_agent.simulation.benchmarks import make
from objective_agent.simulation.benchmarks.grid import FLOOR
from objective_agent.simulation.benchmarks.grid_world import SPEED
from objective_agent.simulation.benchmarks.impossible import BOARD, BOARD_COLOUR, KINDS, STEPS, clip_pairs, why_not
from objective_agent.types import InputError
from objective_agent.world_model.frame_network import FramePredictorShape


@pytest.fixture(scope="module")
def rooms():
    return make("two_room_random")


def robot(images: np.ndarray) -> np.ndarray:
    """Where the robot is seen [..., 2] (x, y); NaN where it is not."""
    red = (images[..., 0].astype(float) - images[..., 2]).clip(0) * (images[..., 1] < 150)
    centres = (np.arange(images.shape[-2]) + 0.5) / images.shape[-2]
    total = red.sum((-1, -2))
    with np.errstate(invalid="ignore"):
        return np.stack([(red.sum(-2) * centres).sum(-1) / total, (red.sum(-1) * centres).sum(-1) / total], -1)


def pairs(env, kind, count=12, history=1):
    return list(clip_pairs(env, kind, count, seed=1, history=history))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "closed"])
@pytest.mark.parametrize("history", [1, 3])
def test_both_clips_are_the_same_up_to_the_event_and_never_after_it(rooms, kind, history):
    for pair in pairs(rooms, kind, 5, history):
        possible, impossible = pair.images
        assert possible.shape == (len(pair.actions) + 1, 64, 64, 3) and possible.dtype == np.uint8
        assert history <= pair.event < len(possible)
        assert np.array_equal(possible[: pair.event], impossible[: pair.event])
        assert not np.array_equal(possible[pair.event :], impossible[pair.event :])
        assert kind == "wall" or len(possible) == history + STEPS + 1


def test_the_possible_clip_is_what_the_actions_do(rooms):
    for pair in pairs(rooms, "teleport", 5):
        seen = robot(pair.images[0])
        assert (np.abs(np.diff(seen, axis=0) - SPEED * pair.actions).max(1) < 0.02).mean() > 0.3
        assert (np.abs(np.diff(seen, axis=0)) < SPEED + 0.02).all()


def test_a_teleported_robot_jumps_once_and_goes_on(rooms):
    for pair in pairs(rooms, "teleport"):
        way = np.linalg.norm(np.diff(robot(pair.images[1]), axis=0), axis=1)
        assert way[pair.event - 1] == way.max() or way[pair.event - 1] > 0.15
        assert (np.delete(way, pair.event - 1) < SPEED * 1.5 + 0.02).all()


def test_a_ghost_passes_the_wall_where_the_robot_stands(rooms):
    for pair in pairs(rooms, "wall", history=3):
        assert not pair.actions[:2].any() and pair.actions[2:].any(1).all()
        possible, impossible = robot(pair.images[0]), robot(pair.images[1])
        assert np.linalg.norm(possible[-1] - possible[-2]) < 0.01
        assert np.linalg.norm(impossible[-1] - possible[-1]) > 0.15


def test_through_a_door_and_through_a_wall_moves_the_same(rooms):
    for pair in pairs(rooms, "closed"):
        way = robot(pair.images[0]) - robot(pair.images[1])
        assert np.nanmean(np.abs(way)) < 0.02
        assert not np.array_equal(pair.images[0, 0], pair.images[1, 0]), "two layouts"


def test_what_vanishes_leaves_the_floor_and_what_freezes_stays(rooms):
    for pair in pairs(rooms, "vanish", 5):
        assert np.isnan(robot(pair.images[1, pair.event :])).all() and not np.isnan(robot(pair.images[0])).any()
        spot = (robot(pair.images[0, pair.event]) * 64).astype(int)
        assert np.abs(pair.images[1, pair.event, spot[1], spot[0]].astype(int) - FLOOR).max() < 3
    for pair in pairs(rooms, "freeze", 5):
        assert (pair.images[1, pair.event :] == pair.images[1, pair.event - 1]).all()


def test_behind_the_board_both_are_hidden_as_long(rooms):
    for pair in pairs(rooms, "occlusion"):
        seen = np.isfinite(robot(pair.images)[..., 0])  # [2, F]; a sliver may peep out
        assert seen[:, 0].all() and seen[:, pair.event].all()
        way = robot(pair.images)[:, pair.event]
        assert np.linalg.norm(way[1] - way[0]) > 0.15
        assert (pair.images == BOARD_COLOUR).all(-1).sum((2, 3)).min() >= BOARD**2


def test_pairs_depend_on_their_number_and_seed_alone(rooms):
    again = list(clip_pairs(make("two_room_random"), "teleport", 3, seed=1))
    for ours, theirs in zip(pairs(rooms, "teleport", 12), again, strict=False):
        assert np.array_equal(ours.images, theirs.images) and np.array_equal(ours.actions, theirs.actions)
    other = next(clip_pairs(rooms, "teleport", 1, seed=2))
    assert not np.array_equal(other.images, again[0].images)


def test_tasks_say_which_clips_they_lack(rooms):
    fixed = make("two_room")
    assert why_not(rooms, "closed") == "" and why_not(fixed, "closed") == "it has one layout"
    with pytest.raises(InputError, match="two_room: no clips of kind closed: it has one layout"):
        pairs(fixed, "closed")
    with pytest.raises(InputError, match="kind 'levitation': there are none; known: teleport"):
        pairs(fixed, "levitation")


class Whereabouts(torch.nn.Module):
    """An encoder that says where the robot is, and nothing else."""

    def forward(self, images):
        return torch.from_numpy(np.nan_to_num(robot(images.numpy()), nan=5.0)).float()[:, None]


class Inertialess:
    """A predictor for which there are no walls: an action moves the robot, always."""

    def __init__(self, history: int):
        self.shape = FramePredictorShape(features=2, actions=2, history=history)

    def rollout(self, history, past, actions, futures):
        assert history.shape[1] == self.shape.history == past.shape[1] + 1
        return (history[:, None, -1:] + SPEED * actions[..., None, :].cumsum(2))[:, :, None]


@pytest.mark.parametrize("history", [1, 3])
def test_a_model_without_walls_expects_ghosts_and_no_teleports(rooms, history):
    """Known answers: what such a model is surprised by, and what only counts how much moves."""
    found = {kind: judge(Whereabouts(), Inertialess(history), clip_pairs(rooms, kind, 24, 1, history)) for kind in KINDS}
    for kind in ("teleport", "vanish", "freeze"):
        assert found[kind]["one_step"]["share"] >= 0.95 and found[kind]["peak"]["share"] >= 0.95, kind
    for score in ("peak", "one_step"):
        assert found["wall"][score]["share"] <= 0.1, "the ghost does what it expects, the blocked robot does not"
    assert found["wall"]["rollout"]["share"] <= 0.1
    assert found["freeze"]["unchanged"]["share"] <= 0.05 and found["wall"]["unchanged"]["share"] >= 0.95
    assert found["occlusion"]["rollout"]["share"] >= 0.8
    low, high = found["teleport"]["one_step"]["interval"]
    assert found["teleport"]["pairs"] == 24 and low < found["teleport"]["one_step"]["share"] <= high
