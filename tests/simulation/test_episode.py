import math

import pytest

from objective_agent.config import RobotParameters
from objective_agent.safety import default_parameters
from objective_agent.simulation.baselines import BASELINES
from objective_agent.simulation.episode import run_episode
from objective_agent.simulation.evaluation import paired, wilson
from objective_agent.simulation.tasks import make_task
from objective_agent.simulation.world import World
from objective_agent.types import Image

ROBOT = RobotParameters()
GATE = default_parameters(ROBOT)

OPEN = """<mujoco><worldbody>
  <geom type="box" size="0.05 3 0.5" pos="-2 0 0.5"/>
  <site name="start" pos="0 0 0"/><site name="goal" pos="2 1 0"/>
</worldbody></mujoco>"""
WALL = OPEN.replace("-2 0 0.5", "1 -2 0.5")


def episode_in(xml):
    return make_task("world", 1, ROBOT, World.from_xml(xml, "test")).episode(0)


def run(name, xml, gate=GATE):
    return run_episode(episode_in(xml), BASELINES[name](ROBOT), ROBOT, gate, 0.05, 0.035)


class Blind:
    """Drives ahead at full speed."""

    def reset(self, episode):
        self.sent, self.asked = [], []

    def observe(self, reading):
        pass

    def command_sent(self, command):
        self.sent.append(command)

    def act(self, now):
        self.asked.append(now)
        return 0.6, 0.0


def test_the_straight_line_reaches_an_open_goal_and_the_episode_ends_there():
    outcome = run("straight_line", OPEN)
    assert outcome.success and outcome.seconds < 15 and outcome.distance <= 0.30 and not outcome.contacts
    assert outcome.travelled > 1.8


def test_the_straight_line_fails_at_a_wall_that_the_map_goes_round():
    straight, mapped = run("straight_line", WALL), run("map_pursuit", WALL)
    assert not straight.success and straight.seconds == pytest.approx(60, abs=0.1) and not straight.contacts
    assert mapped.success and not mapped.contacts


def test_doing_nothing_ends_where_it_began():
    outcome = run("zero", OPEN)
    assert not outcome.success and outcome.travelled < 0.01 and outcome.distance == pytest.approx(math.hypot(2, 1), abs=0.01)


def test_without_the_gate_a_blind_controller_hits_the_wall_and_with_it_not():
    xml = WALL.replace("1 -2 0.5", "1 0 0.5")
    hit = run_episode(episode_in(xml), Blind(), ROBOT, None, 0.05, 0.035)
    assert hit.contacts >= 1 and hit.contacts_moving >= 1
    held = run_episode(episode_in(xml), Blind(), ROBOT, GATE, 0.05, 0.035)
    assert held.contacts == 0 and held.gate_held > 100 and held.gate_reasons


def test_commands_leave_one_planning_time_after_they_were_decided():
    blind = Blind()
    run_episode(episode_in(OPEN), blind, ROBOT, None, 0.05, 0.035)
    assert blind.sent[0].stamp - blind.asked[0] == pytest.approx(0.035)
    assert all(later - earlier == pytest.approx(0.05) for earlier, later in zip(blind.asked, blind.asked[1:], strict=False))


def test_the_same_episode_twice_is_the_same():
    assert run("random", WALL) == run("random", WALL)


def test_wilsons_interval_and_the_sign_test():
    assert wilson(95, 100) == pytest.approx([0.8882, 0.9785], abs=1e-4)
    assert wilson(0, 10)[0] == 0 and wilson(10, 10) == pytest.approx([0.7225, 1.0], abs=1e-4)
    got = paired([True] * 8 + [False], [False] * 7 + [True, True])
    assert (got["agent_only"], got["baseline_only"]) == (7, 1) and got["difference"] == pytest.approx(6 / 9)
    assert got["p"] == pytest.approx(2 * 9 / 256)


def test_the_newest_frame_is_there_at_every_decision():
    class Looking(Blind):
        def observe(self, reading):
            if isinstance(reading, Image):
                self.newest = reading.stamp

        def act(self, now):
            ages.append(now - self.newest)
            return super().act(now)

    ages = []
    run_episode(episode_in(OPEN), Looking(), ROBOT, None, 0.1, 0.06, camera=True, limit=1.0)
    assert len(ages) == 10 and max(ages) < 0.001
