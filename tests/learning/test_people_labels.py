"""People as labels: where they are, who can be known, and what a window says of them."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

from objective_agent.learning import people
from objective_agent.learning.batches import PEOPLE_SECTORS, Hiding, generator, make_batch, mirror
from objective_agent.learning.windows import Sequences

RADIUS = 0.18
AHEAD, LEFT = 90, 135
"""Beams of the canonical sweep."""


def sweep(**ranges: float) -> np.ndarray:
    return np.full(180, 6.0, np.float32) if not ranges else np.full(180, ranges["all"], np.float32)


def test_places_are_seen_from_the_robot():
    found = people.places(np.array([[1.0, 3.0, 0.25]]), np.array([1.0, 1.0, math.pi / 2]), RADIUS)
    assert found[0] == pytest.approx([2.0, 0.0, 2.0 - 0.25 - RADIUS]) and np.isnan(found[1:]).all()


def test_of_too_many_people_the_nearest_are_kept():
    crowd = np.array([[float(k), 0.0, 0.25] for k in range(10, 0, -1)])
    found = people.places(crowd, np.zeros(3), RADIUS)
    assert sorted(found[:, 0]) == pytest.approx([1, 2, 3, 4, 5, 6])


def test_a_person_is_seen_where_a_beam_ends_at_the_body_and_not_behind_a_wall():
    places = people.places(np.array([[2.0, 0.0, 0.25], [0.0, 3.0, 0.25]]), np.zeros(3), RADIUS)
    ranges = sweep()
    assert not people.visible(places, ranges, RADIUS).any()  # the beams pass: nobody is where truth says
    ranges[AHEAD] = 1.75
    ranges[LEFT - 10 : LEFT + 11] = 1.0  # a wall
    assert people.visible(places, ranges, RADIUS).tolist() == [True] + [False] * 5
    assert people.visible(places, np.full(180, np.nan), RADIUS).tolist() == [True, True] + [False] * 4


def test_a_direction_says_how_near_somebody_is():
    places = people.places(np.array([[1.0, 0.0, 0.25], [0.0, 2.0, 0.25]]), np.zeros(3), RADIUS)
    found = people.sectors(places, 12)
    assert found.argmax() == 0 and found[0] == pytest.approx(1 - (1.0 - 0.43) / 3.0)
    assert found[3] == pytest.approx(1 - (2.0 - 0.43) / 3.0) and found[6] < 0.01
    assert not people.sectors(np.full((2, 6, 3), np.nan), 12).any()


@pytest.fixture
def with_somebody(toy_data, tmp_path):
    """Episode 0: somebody 2 m to the left, coming nearer, seen at rows 4 to 9 alone; somebody else never seen."""
    copy = tmp_path / "data"
    shutil.copytree(toy_data, copy)
    meta = json.loads((copy / "meta.json").read_text())
    for info in meta["episodes"]:
        info["people"] = 2
    (copy / "meta.json").write_text(json.dumps(meta))
    places, seen = np.load(copy / "people_places.npy"), np.load(copy / "people_seen.npy")
    gap = np.load(copy / "people.npy")
    rows = np.arange(20)
    places[rows, 0] = np.stack([0 * rows, 2.0 - 0.05 * rows, 2.0 - 0.05 * rows - 0.43], 1)
    places[rows, 1] = [0.6, 0.0, 0.17]
    gap[rows] = 0.17
    seen[4:10, 0] = True
    for name, value in (("people_places", places), ("people_seen", seen), ("people", gap)):
        np.save(copy / f"{name}.npy", value)
    return Sequences(copy)


def test_a_window_counts_whom_the_robot_has_seen_and_nobody_else(with_somebody):
    rows = np.array([3, 5, 11, 12])[None] + np.arange(4)[:, None]
    gap, _ = with_somebody.people(rows)
    assert gap[:, 0] == pytest.approx(np.full(4, 3.0))  # seen later, not yet
    assert gap[:, 1] == pytest.approx(2.0 - 0.05 * rows[:, 1] - 0.43)
    assert gap[:, 2] == pytest.approx(2.0 - 0.05 * rows[:, 2] - 0.43)  # seen two steps ago: still there
    assert gap[:, 3] == pytest.approx(np.full(4, 3.0))


def test_a_mirrored_window_has_people_on_the_other_side(with_somebody):
    batch = make_batch(with_somebody, np.array([5]), 3, np.array([2]), Hiding(0, 0, 0, 0), generator(0))
    assert batch.people_sectors[0, 0].argmax() == PEOPLE_SECTORS // 4
    mirror(batch, torch.ones(1, dtype=torch.bool))
    assert batch.people_sectors[0, 0].argmax() == 3 * PEOPLE_SECTORS // 4
