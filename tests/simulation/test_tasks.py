import math

import numpy as np
import pytest

from objective_agent.config import RobotParameters
from objective_agent.simulation.generator import TEST_SEEDS
from objective_agent.simulation.simulation import RobotSimulation
from objective_agent.simulation.tasks import PATH_LENGTH, SUCCESS_RADIUS, make_task
from objective_agent.simulation.world import World
from objective_agent.types import InputError

ROBOT = RobotParameters()

WALLED = """<mujoco><worldbody>
  <geom type="box" size="0.05 1.5 0.5" pos="1.5 -0.5 0.5"/>
  <site name="start1" pos="0 0 0"/><site name="start2" pos="3 0 0"/>
  <site name="goal1" pos="3 0.1 0"/><site name="goal2" pos="0 1 0"/>
</worldbody></mujoco>"""


def test_an_episode_depends_on_seed_and_index_alone():
    first, second, other = make_task("apartment", 3, ROBOT), make_task("apartment", 3, ROBOT), make_task("apartment", 4, ROBOT)
    forward = [first.episode(index) for index in range(4)]
    backward = [second.episode(index) for index in reversed(range(4))][::-1]
    assert forward == forward and [e.start for e in forward] == [e.start for e in backward]
    assert all(
        a.goal == b.goal and a.world.xml == b.world.xml and a.seed == b.seed for a, b in zip(forward, backward, strict=True)
    )
    assert all(other.episode(e.index).start != e.start for e in forward)


def test_apartment_episodes_are_what_the_protocol_says():
    episodes = [make_task("apartment", 1, ROBOT).episode(index) for index in range(20)]
    assert all(int(episode.world.name.rpartition("-")[2]) in TEST_SEEDS for episode in episodes)
    assert all(PATH_LENGTH[0] <= episode.path_length <= PATH_LENGTH[1] for episode in episodes)
    assert all(episode.path_length >= 0.99 * math.dist(episode.start[:2], episode.goal) for episode in episodes)
    assert all(episode.blocked for episode in episodes[1::2])
    assert np.ptp([episode.start[2] for episode in episodes]) > math.pi
    for episode in episodes[:6]:
        RobotSimulation(episode.world, ROBOT, camera=False).reset(
            start=episode.start
        )  # InputError if the robot touched anything
        RobotSimulation(episode.world, ROBOT, camera=False).reset(start=(*episode.goal, 0.0))


def test_a_world_gives_all_pairs_of_its_sites_but_the_solved_ones():
    task = make_task("world", 1, ROBOT, World.from_xml(WALLED, "walled"))
    episodes = [task.episode(index) for index in range(6)]
    pairs = {(episode.start[:2], episode.goal) for episode in episodes[:3]}
    assert len(pairs) == 3 == len({(episode.start[:2], episode.goal) for episode in episodes[3:]})
    assert ((3.0, 0.0), (3.0, 0.1)) not in pairs
    assert sum(episode.already_solved for episode in episodes) == 1
    assert len({episode.seed for episode in episodes}) == 6
    assert all(math.dist(start, goal) > SUCCESS_RADIUS for start, goal in pairs)
    by_pair = {(episode.start[:2], episode.goal): episode for episode in episodes}
    through = by_pair[(0.0, 0.0), (3.0, 0.1)]
    assert through.blocked and through.path_length > 3.5
    assert not by_pair[(0.0, 0.0), (0.0, 1.0)].blocked


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('<site name="goal1" pos="3 0.1 0"/><site name="goal2" pos="0 1 0"/>', "", "no goal"),
        ('<site name="goal2" pos="0 1 0"/>', "", None),
    ],
)
def test_worlds_without_a_usable_pair_are_refused(old, new, words):
    world = World.from_xml(WALLED.replace(old, new), "bad")
    if words is None:
        assert make_task("world", 1, ROBOT, world).episode(0).goal == (3.0, 0.1)
    else:
        with pytest.raises(InputError, match=words):
            make_task("world", 1, ROBOT, world)


def test_goals_that_are_all_solved_at_the_start_are_refused():
    xml = WALLED.replace('<site name="start1" pos="0 0 0"/>', "").replace('<site name="goal2" pos="0 1 0"/>', "")
    with pytest.raises(InputError, match=r"within 0\.3 m"):
        make_task("world", 1, ROBOT, World.from_xml(xml, "solved"))


def test_unknown_tasks_are_refused():
    with pytest.raises(InputError, match="apartment"):
        make_task("appartment", 1, ROBOT)
