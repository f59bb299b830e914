"""The body: limits, delay, timeout, walls that stop it, contacts."""

import math

import numpy as np
import pytest
from simulation_scenes import EXACT, STUBBORN, drive, person, room

from objective_agent.config import RobotParameters
from objective_agent.simulation import RobotSimulation, SimulationParameters
from objective_agent.types import InputError

ROBOT = RobotParameters()


@pytest.fixture
def simulation() -> RobotSimulation:
    return RobotSimulation(room(), ROBOT, EXACT, camera=False)


def speeds(simulation: RobotSimulation, seconds: float) -> np.ndarray:
    """[steps, 2] true (v, w) at every physics step."""
    out = []
    for _ in range(round(seconds / 0.01)):
        simulation.advance(0.01)
        out.append(simulation.true_velocity)
    return np.array(out)


def test_nothing_moves_before_the_actuator_delay_and_motion_starts_right_after_it(simulation):
    simulation.command(0.6, 0)
    simulation.advance(ROBOT.actuator_delay)
    assert simulation.true_velocity[0] == 0
    simulation.advance(0.02)
    assert simulation.true_velocity[0] > 0


def test_speeds_are_clamped_and_reached_under_the_acceleration_limits(simulation):
    for command in [(9, 9), (-9, -9)]:
        for _ in range(20):
            simulation.command(*command)
            measured = speeds(simulation, 0.1)
            change = np.abs(np.diff(measured, axis=0)) / 0.01
            assert (change[:, 0] <= ROBOT.max_acceleration + 1e-6).all()
            assert (change[:, 1] <= ROBOT.max_turn_acceleration + 1e-6).all()
        if command[0] > 0:
            np.testing.assert_allclose(simulation.true_velocity, [ROBOT.max_speed, ROBOT.max_turn_rate], atol=1e-6)
    np.testing.assert_allclose(simulation.true_velocity, [-ROBOT.max_reverse_speed, -ROBOT.max_turn_rate], atol=1e-6)


def test_without_commands_the_robot_brakes_after_half_a_second(simulation):
    drive(simulation, 0.4, 0, 1.5)  # the last command arrives at 1.4 s
    assert simulation.true_velocity[0] == pytest.approx(0.4)
    simulation.advance(0.38)
    assert simulation.true_velocity[0] == pytest.approx(0.4)
    simulation.advance(0.1)
    assert 0 < simulation.true_velocity[0] < 0.4  # decelerates, doesn't jump
    simulation.advance(0.5)
    assert simulation.true_velocity[0] == 0


def test_a_command_that_is_not_finite_is_refused_and_the_robot_still_times_out(simulation):
    with pytest.raises(InputError, match="finite"):
        simulation.command(math.nan, 0)
    simulation.advance(0.5)
    assert (simulation.true_velocity == 0).all()


def test_an_arc_has_the_radius_that_v_over_w_gives(simulation):
    simulation.reset(start=(0, -1, 0))
    drive(simulation, 0.4, 0.5, 4)
    points = []
    for _ in range(80):
        simulation.command(0.4, 0.5)
        simulation.advance(0.1)
        points.append(simulation.true_pose[:2])
    points = np.array(points)
    centre = points.mean(0)  # of about a whole turn, corrected by a fit
    a = np.c_[2 * points, np.ones(len(points))]
    x, y, c = np.linalg.lstsq(a, (points**2).sum(1), rcond=None)[0]
    assert np.hypot(*(centre - [x, y])) < 0.4
    assert math.sqrt(c + x * x + y * y) == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize("degrees", range(0, 90, 10))
def test_a_wall_stops_the_robot_at_every_angle(simulation, degrees):
    simulation.reset(start=(0, 1.5, math.pi / 2 - math.radians(degrees)))
    deepest = 0.0
    for _ in range(120):
        simulation.command(0.6, 0)
        simulation.advance(0.1)
        deepest = max(deepest, *(simulation.true_pose[:2] + ROBOT.radius - 3))
    assert deepest < 0.02
    assert simulation.contacts >= 1


def test_one_push_against_a_wall_is_one_contact_and_backing_off_ends_it(simulation):
    simulation.reset(start=(2.5, 0, 0))
    drive(simulation, 0.3, 0, 4)
    assert simulation.in_contact
    assert simulation.contacts == 1
    drive(simulation, -0.15, 0, 3)
    assert not simulation.in_contact
    drive(simulation, 0.3, 0, 3)
    assert simulation.contacts == 2


def test_random_driving_never_leaves_the_room():
    simulation = RobotSimulation(room(), ROBOT, EXACT, camera=False)
    rng = np.random.default_rng(0)
    for _ in range(100):
        drive(simulation, rng.uniform(-0.15, 0.6), rng.uniform(-1.8, 1.8), 1.0)
        assert np.abs(simulation.true_pose[:2]).max() < 3 - ROBOT.radius + 0.02


def test_driving_over_the_floor_is_no_contact_and_under_a_table_neither():
    table = '<geom type="box" pos="1 0 .7" size=".5 .5 .02"/>'
    simulation = RobotSimulation(room(table), ROBOT, EXACT, camera=False)
    simulation.reset(start=(0, 0, 0))
    drive(simulation, 0.5, 0, 4)
    assert simulation.true_pose[0] > 1.5
    assert simulation.contacts == 0


@pytest.mark.parametrize("bits", ['contype="2" conaffinity="2"', 'contype="0" conaffinity="4"'])
def test_a_geom_collides_whatever_its_collision_bits(bits):
    simulation = RobotSimulation(room(f'<geom type="box" pos="1 0 .5" size=".1 1 .5" {bits}/>'), ROBOT, EXACT, camera=False)
    simulation.reset(start=(0, 0, 0))
    drive(simulation, 0.5, 0, 4)
    assert simulation.true_pose[0] < 0.75
    assert simulation.contacts == 1


def test_a_person_who_walks_into_the_robot_counts_as_a_contact():
    world = room(**person("2,0 -2,0"))
    simulation = RobotSimulation(world, ROBOT, EXACT, camera=False, simulation=STUBBORN)
    simulation.reset(start=(0, 0, 0))
    simulation.advance(3)
    assert simulation.contacts == 1
    assert simulation.true_pose[0] < -0.1  # and the robot is pushed


def test_a_yielding_person_waits_for_the_robot_and_then_goes_on():
    simulation = RobotSimulation(room(**person("2,0 -2,0")), ROBOT, EXACT, camera=False)
    simulation.reset(start=(0, 0, 0))
    simulation.advance(5)
    waiting = simulation.people[0, 0]
    assert simulation.contacts == 0
    assert 0.18 + 0.2 < waiting <= 1.0
    simulation.reset(start=(0, 1.5, math.pi / 2))  # out of the way
    simulation.advance(5)
    assert simulation.people[0, 0] == pytest.approx(2 - 0.6 * 5, abs=0.02)


def test_a_person_walks_to_and_fro_at_its_speed():
    simulation = RobotSimulation(room(**person("-1,2 1,2", speed=0.5)), ROBOT, EXACT, camera=False)
    for second, x in [(2, 0), (2, 1), (2, 0), (2, -1), (2, 0)]:
        simulation.advance(second)
        np.testing.assert_allclose(simulation.people, [[x, 2]], atol=0.02)


def test_a_start_in_a_wall_is_refused(simulation):
    with pytest.raises(InputError, match="touch east"):
        simulation.reset(start=(2.9, 0, 0))
    with pytest.raises(InputError, match="finite"):
        simulation.reset(start=(math.nan, 0, 0))


def test_a_robot_too_big_for_the_start_is_refused():
    world = room('<geom type="cylinder" pos=".5 0 .5" size=".2 .5"/>')
    with pytest.raises(InputError, match="no start is free"):
        RobotSimulation(world, RobotParameters(radius=0.4), camera=False)


def test_a_box_that_can_move_is_pushed():
    box = '<body name="parcel" pos="1 0 .15"><freejoint/><geom type="box" size=".15 .15 .15" mass=".5"/></body>'
    simulation = RobotSimulation(room(box), ROBOT, EXACT, camera=False, simulation=SimulationParameters(timestep=0.005))
    simulation.reset(start=(0, 0, 0))
    drive(simulation, 0.4, 0, 4)
    assert simulation.true_pose[0] > 1.0
    assert simulation.contacts >= 1
