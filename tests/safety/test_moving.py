"""Things that move are seen, things that stand still are not mistaken for them."""

import math

import numpy as np
import pytest
from gate_rig import PARAMETERS, ROBOT

from benchmarks.disc_world import Adversary, DiscWorld, Disorder
from objective_agent.safety import GateInputs, initial_state, step
from objective_agent.types import Command

LEG, TORSO = 0.15, 0.25


def person_world(velocity, at, radius=TORSO):
    world = DiscWorld(0, ROBOT, discs=1, half=5.0)
    world.discs, world.velocities = np.array([[*at, radius]]), np.array([velocity], float)
    world.pose = np.zeros(3)
    world.time = 1.0
    return world


def watch(world, seconds, command=(0.0, 0.0)):
    state = initial_state()
    for tick in range(round(seconds / 0.05)):
        if tick % 2 == 0:
            scan = world.scan(world.time)
        state, _ = step(PARAMETERS, state, GateInputs(world.time, Command(world.time, *command), scan, world.odometry()))
        world.command(state.v, state.w)
        world.advance(0.05)
    return state


@pytest.mark.parametrize("speed", [0.6, 1.0, 1.5])
def test_a_person_who_walks_towards_the_robot_is_seen_with_the_right_speed(speed):
    state = watch(person_world((-speed, 0.0), (3.0, 0.0)), 1.0)
    assert len(state.moving.points) >= 3
    assert np.median(state.moving.velocities[:, 0]) == pytest.approx(-speed, abs=0.35)


def test_a_static_world_seen_by_a_moving_robot_holds_hardly_anything_that_moves():
    seen = false = 0
    for seed in range(8):
        world, state = DiscWorld(seed, ROBOT), initial_state()
        planner = Adversary(seed, ROBOT)
        world.time = 1.0
        for tick in range(100):
            if tick % 2 == 0:
                scan = world.scan(world.time)
            v, w = planner(world)
            command = Command(world.time, v if math.isfinite(v) else 0.0, w)
            state, _ = step(PARAMETERS, state, GateInputs(world.time, command, scan, world.odometry()))
            world.command(state.v, state.w)
            world.advance(0.05)
            if tick % 2 == 0:
                seen += 1
                false += len(state.moving.points) > 0
    assert false <= 0.01 * seen


def test_the_robot_stands_before_a_person_walking_at_it_arrives():
    """Passive safety: at the moment of contact the robot does not move."""
    for speed in (0.5, 0.8, 1.2):
        world = person_world((-speed, 0.0), (4.0, 0.05))
        world.disorder = Disorder()
        state, contact_speed = initial_state(), None
        for tick in range(120):
            if tick % 2 == 0:
                scan = world.scan(world.time)
            state, _ = step(PARAMETERS, state, GateInputs(world.time, Command(world.time, 0.6, 0.0), scan, world.odometry()))
            world.command(state.v, state.w)
            if world.advance(0.05) < 0.0:
                contact_speed = abs(world.v)
                break
        assert contact_speed is not None
        assert contact_speed < 0.02
