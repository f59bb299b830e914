from dataclasses import replace

import numpy as np
import pytest
from simulation_scenes import EXACT, STUBBORN, drive, last, person, room

from objective_agent.config import RobotParameters
from objective_agent.safety import default_parameters
from objective_agent.simulation import RobotSimulation
from objective_agent.simulation.baselines import BASELINES
from objective_agent.simulation.conditions import CONDITIONS
from objective_agent.simulation.episode import run_episode
from objective_agent.simulation.people import RestlessWalk
from objective_agent.simulation.slip import NONE, Slip, draw_slip
from objective_agent.simulation.tasks import make_task
from objective_agent.types import InputError, Odometry, Scan

ROBOT = RobotParameters()
GATE = default_parameters(ROBOT)


class Curious:
    """Stands still and keeps everything it is given."""

    def reset(self, episode):
        self.episode, self.readings = episode, []

    def observe(self, reading):
        self.readings.append(reading)

    def command_sent(self, command):
        pass

    def act(self, now):
        return 0.0, 0.0


@pytest.mark.parametrize("name", CONDITIONS)
def test_an_episode_is_the_same_on_every_call_and_another_under_another_seed(name):
    one, two = make_task(name, 1, ROBOT).episode(1), make_task(name, 1, ROBOT).episode(1)
    assert (one.start, one.goal, one.seed, one.slip) == (two.start, two.goal, two.seed, two.slip)
    assert one.world.xml == two.world.xml and one.condition.name == name
    assert all(np.array_equal(a.path, b.path) for a, b in zip(one.world.people, two.world.people, strict=True))
    assert make_task(name, 2, ROBOT).episode(1).start != one.start


def test_camera_and_slip_have_the_pairs_of_the_plain_task():
    plain = make_task("apartment", 1, ROBOT).episode(3)
    for name in ("apartment_camera", "apartment_slip"):
        other = make_task(name, 1, ROBOT).episode(3)
        assert (other.world.name, other.start, other.goal) == (plain.world.name, plain.start, plain.goal)


def test_an_unknown_condition_names_the_known_ones():
    with pytest.raises(InputError, match="apartment_slip"):
        make_task("apartment_fog", 1, ROBOT)


def test_without_lidar_the_controller_gets_no_scan_and_the_gate_still_stops_the_robot():
    episode = make_task("apartment_camera", 1, ROBOT).episode(1)
    assert episode.blocked
    watched = BASELINES["straight_line"](ROBOT)
    seen, take = [], watched.observe
    watched.observe = lambda reading: (seen.append(type(reading)), take(reading))
    outcome = run_episode(episode, watched, ROBOT, GATE, 0.05, 0.035)
    assert Scan not in seen and Odometry in seen
    assert outcome.contacts == 0 and outcome.gate_held > 0 and outcome.travelled > 0.1


def test_what_slip_hides_is_not_in_the_episode_that_the_controller_gets():
    episode = make_task("apartment_slip", 1, ROBOT).episode(0)
    assert episode.slip != NONE
    controller = Curious()
    run_episode(replace(episode, goal=episode.start[:2]), controller, ROBOT, GATE, 0.05, 0.035)
    assert controller.episode.slip == NONE


def test_slip_is_drawn_from_its_ranges_and_differs_between_episodes():
    drawn = [draw_slip(np.random.default_rng(seed), ROBOT.actuator_delay) for seed in range(200)]
    delays = [slip.extra_delay + ROBOT.actuator_delay for slip in drawn]
    assert 0.05 <= min(delays) < 0.08 and 0.27 < max(delays) <= 0.3
    assert 0.6 <= min(slip.speed_gain for slip in drawn) < 0.65 and max(slip.speed_gain for slip in drawn) <= 1.0
    assert min(slip.turn_bias for slip in drawn) < -0.3 and max(slip.turn_bias for slip in drawn) > 0.3
    assert len({slip.acceleration for slip in drawn}) == 200


def way(slip: Slip, v: float, w: float, seconds: float) -> tuple[np.ndarray, Odometry]:
    simulation = RobotSimulation(room(), sensors=EXACT, camera=False, slip=slip)
    simulation.reset(start=(0, 0, 0))
    readings = drive(simulation, v, w, seconds)
    return simulation.true_pose, last(readings, Odometry)


def test_slip_shows_in_the_motion_and_odometry_measures_the_motion():
    plain, _ = way(NONE, 0.4, 0.0, 3.0)
    slow, measured = way(Slip(speed_gain=0.6), 0.4, 0.0, 3.0)
    assert slow[0] == pytest.approx(0.6 * plain[0], abs=0.05)
    assert measured.pose == pytest.approx(slow, abs=0.02) and measured.velocity[0] == pytest.approx(0.24, abs=0.01)
    bent, _ = way(Slip(turn_bias=0.4), 0.4, 0.0, 3.0)
    assert bent[2] == pytest.approx(0.4 * plain[0], abs=0.06) and bent[1] > 0.1
    less, _ = way(Slip(turn_gain=0.7), 0.0, 1.0, 2.0)
    assert less[2] == pytest.approx(0.7 * way(NONE, 0.0, 1.0, 2.0)[0][2], abs=0.05)


def test_payload_and_delay_show_in_how_long_it_takes():
    plain = way(NONE, 0.5, 0.0, 0.5)[0][0]
    assert way(Slip(acceleration=0.4), 0.5, 0.0, 0.5)[0][0] == pytest.approx(0.4 * plain, rel=0.25)
    late = Slip(extra_delay=0.2)
    assert way(late, 0.5, 0.0, 0.29)[0][0] == 0 and way(late, 0.5, 0.0, 0.7)[0][0] == pytest.approx(plain, rel=0.15)


def test_slip_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="above 0"):
        Slip(speed_gain=0.0)
    with pytest.raises(InputError, match="finite"):
        Slip(turn_bias=float("nan"))


def test_people_of_the_condition_begin_away_and_walk_where_the_robot_goes():
    met = 0
    for index in range(6):
        episode = make_task("apartment_people", 1, ROBOT).episode(index)
        start, goal = np.array(episode.start[:2]), np.array(episode.goal)
        assert len(episode.world.people) == 3
        for walker in episode.world.people:
            assert np.hypot(*(walker.path[0] - start)) > 1.2 and 0.3 <= walker.speed <= 1.0 and walker.restless > 0
            way = start + np.linspace(0, 1, 20)[:, None] * (goal - start)
            met += np.hypot(*(way[:, None] - walker.path[None]).transpose(2, 0, 1)).min() < 1.0
    assert met >= 12


def test_restless_people_stop_turn_and_change_pace_and_the_seed_says_when():
    walker = replace(room(**person("-2,0 2,0", speed=1.0)).people[0], restless=0.5)

    def track(seed):
        walk = RestlessWalk(walker, np.random.default_rng(seed))
        places = []
        for _ in range(6000):
            walk.step(0.01, (0.0, 9.0), 0.18, None)
            places.append(walk.x)
        return np.array(places)

    one = track(1)
    steps = np.diff(one)
    assert np.array_equal(one, track(1)) and not np.array_equal(one, track(2))
    assert np.abs(steps).max() <= 0.0101 and one.min() >= -2.001 and one.max() <= 2.001
    assert (steps == 0).mean() > 0.05, "nobody stops"
    walking = steps[steps != 0]
    assert (np.diff(np.sign(walking)) != 0).sum() > 4, "nobody turns round"
    assert len(np.unique(np.round(np.abs(walking), 5))) > 3, "nobody changes pace"


def test_who_stands_still_when_touched_did_not_move_into_the_contact():
    simulation = RobotSimulation(room(**person("-1.5,0 1.5,0")), camera=False, simulation=STUBBORN)
    simulation.reset(start=(0, 0, 0))
    drive(simulation, 0.0, 0.0, 4.0)
    assert simulation.contacts >= 1 and simulation.contacts_moving == 0


def test_who_drives_into_a_wall_or_a_person_did():
    simulation = RobotSimulation(room(), camera=False)
    simulation.reset(start=(2.2, 0, 0))
    drive(simulation, 0.5, 0.0, 3.0)
    assert simulation.contacts_moving == simulation.contacts == 1
    simulation = RobotSimulation(room(**person("1.0,0")), camera=False)
    simulation.reset(start=(0, 0, 0))
    drive(simulation, 0.5, 0.0, 3.0)
    assert simulation.contacts_moving >= 1


def test_a_restless_person_bumps_into_a_robot_that_stands_and_turns_round():
    world = room(**person("-1.5,0 1.5,0", speed=1.0))
    world = replace(world, people=tuple(replace(each, restless=0.25) for each in world.people))
    simulation = RobotSimulation(world, camera=False)
    simulation.reset(start=(0, 0, 0))
    drive(simulation, 0.0, 0.0, 20.0)
    assert simulation.contacts > simulation.contacts_moving == 0
    assert np.hypot(*simulation.true_pose[:2]) < 0.05, "nobody pushes it about"


def test_people_who_stand_on_all_of_the_homes_own_starts_hinder_no_episode_that_begins_elsewhere():
    episode = make_task("apartment_people", 1, ROBOT).episode(196)
    with pytest.raises(InputError, match="no start is free"):
        RobotSimulation(episode.world, ROBOT, camera=False)
    simulation = RobotSimulation(episode.world, ROBOT, camera=False, start=episode.start)
    assert np.allclose(simulation.true_pose, episode.start, atol=1e-6)
