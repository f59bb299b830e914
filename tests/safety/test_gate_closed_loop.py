"""The claim itself: within the assumptions no command sequence makes the robot touch anything that stands still."""

import math

import numpy as np
from gate_rig import PARAMETERS, ROBOT
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.disc_world import Adversary, DiscWorld, drive


def test_an_adversary_collides_without_the_gate():
    gaps = [
        drive(DiscWorld(seed, ROBOT), PARAMETERS, Adversary(seed, ROBOT), 12.0, gate=False).smallest_gap for seed in range(6)
    ]
    assert sum(gap < 0 for gap in gaps) >= 4


def test_0_of_40_seeded_runs_collide_with_the_gate_and_the_robot_still_moves():
    runs = [drive(DiscWorld(seed, ROBOT), PARAMETERS, Adversary(seed, ROBOT), 6.0) for seed in range(1000, 1040)]
    assert min(run.smallest_gap for run in runs) > 0
    assert np.mean([run.distance for run in runs]) > 0.5


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    commands=st.lists(st.tuples(st.floats(-1, 1), st.floats(-3, 3), st.integers(1, 20)), min_size=3, max_size=8),
)
def test_no_command_sequence_touches_a_static_obstacle(seed, commands):
    sequence = [(v, w) for v, w, ticks in commands for _ in range(ticks)]
    plan = iter(sequence)
    run = drive(DiscWorld(seed, ROBOT), PARAMETERS, lambda world: next(plan), 0.05 * len(sequence))
    assert run.smallest_gap > 0


def test_the_robot_gets_near_what_it_drives_at():
    """Not frozen: sent straight at a wall, it comes to the margin, and not only to a metre."""
    world = DiscWorld(0, ROBOT, discs=0)
    world.pose[2] = 0.0
    drive(world, PARAMETERS, lambda w: (0.6, 0.0), 12.0)
    assert world.v < 0.02
    assert 0.0 < world.gap() < 0.12
    assert math.isclose(world.pose[1], 0.0, abs_tol=1e-6)
