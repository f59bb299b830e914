"""Task apartment_goal_image: what its episodes promise, what counts as success, and rows that take one thing away."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from objective_agent.cli.evaluate import IMAGE_ROWS as NAMED
from objective_agent.config import AgentParameters, RobotParameters, load_parameters
from objective_agent.resources import resource
from objective_agent.simulation import ablations, goal_images
from objective_agent.simulation.episode import run_episode
from objective_agent.simulation.goal_images import APART, FACING, LIMIT, RADIUS, TURNED, WAY, notes, summarize
from objective_agent.simulation.tasks import make_task
from objective_agent.types import InputError, wrap_angle

ROBOT = RobotParameters()


@pytest.fixture(scope="module")
def episode():
    return make_task("apartment_goal_image", 1, ROBOT).episode(3)


def test_an_episode_is_what_the_protocol_says(episode):
    again = make_task("apartment_goal_image", 1, ROBOT).episode(3)
    assert (again.start, again.goal, again.heading, again.world.name) == (
        episode.start, episode.goal, episode.heading, episode.world.name,
    )  # fmt: skip
    assert np.array_equal(again.image, episode.image)
    straight = math.dist(episode.start[:2], episode.goal)
    assert APART[0] <= straight <= APART[1] and episode.path_length <= WAY * straight + 1e-6
    bearing = math.atan2(episode.goal[1] - episode.start[1], episode.goal[0] - episode.start[0])
    assert abs(wrap_angle(episode.start[2] - bearing)) <= TURNED + 1e-6
    assert abs(wrap_angle(episode.heading - bearing)) <= TURNED + 1e-6
    assert episode.image.shape == (64, 64, 3) and episode.image.std() > 5
    assert episode.decoy.shape == (64, 64, 3) and not np.array_equal(episode.decoy, episode.image)
    assert episode.radius == RADIUS


class Standing:
    """Stands, and after `after` seconds says that it is there."""

    def __init__(self, after: float):
        self.after, self.said_there = after, False

    def reset(self, episode) -> None:
        self.seen = episode

    def observe(self, reading) -> None:
        pass

    def command_sent(self, command) -> None:
        pass

    def act(self, now: float) -> tuple[float, float]:
        self.said_there = now >= self.after
        return 0.0, 0.0


def test_being_near_ends_nothing_and_counts_at_the_end(episode):
    near = replace(episode, start=(*episode.goal, episode.heading + 0.8))
    outcome = run_episode(near, Standing(9.0), ROBOT, None, 0.1, 0.0, limit=1.0)
    assert outcome.success and outcome.seconds == pytest.approx(1.0)
    found = notes(near, outcome.track)
    assert found["passed"] and not found["facing"] and found["heading_error_deg"] == pytest.approx(math.degrees(0.8), abs=1)
    away = run_episode(episode, Standing(9.0), ROBOT, None, 0.1, 0.0, limit=0.5)
    assert not away.success and not notes(episode, away.track)["passed"]
    assert FACING < 0.8 < LIMIT


def test_the_summary_counts_every_row(episode):
    def row(**changes) -> dict:
        return {"success": True, "passed": True, "facing": False, "distance": 0.4, **changes}

    rows = [
        {"agent": row(facing=True, said_there=True), "zero": row(success=False, passed=False)},
        {"agent": row(success=False, said_there=True), "zero": row(success=False, passed=False)},
    ]
    records = [{"rows": each, "start": [0, 0, 0], "goal": [2, 0]} for each in rows]
    found = summarize(records, ("agent", "zero"))
    assert found["agent"]["facing"]["share"] == 0.5 and found["agent"]["passed"]["share"] == 1.0
    assert found["agent"]["said_there"]["share"] == 1.0 and found["agent"]["said_there_rightly"]["share"] == 0.5
    assert found["zero"]["said_there"]["share"] == 0.0 and found["zero"]["start_distance"] == 2.0


def test_rows_take_the_weight_of_one_energy():
    assert ablations.IMAGE_ROWS == NAMED
    parameters = load_parameters(resource("config", "goal_image.yaml"))
    for row, gone in ablations.LEFT_OUT.items():
        terms = ablations.parameters_of(row, parameters).cost.terms
        assert terms[gone].weight == 0.0
        assert all(terms[name].weight == term.weight for name, term in parameters.cost.terms.items() if name != gone)
    with pytest.raises(InputError, match=r"goal_image\.yaml"):
        ablations.parameters_of("l2", AgentParameters())


def test_a_robot_that_fits_nowhere_is_one_line():
    with pytest.raises(InputError, match="fits nowhere"):
        goal_images.GoalImageTask(0, RobotParameters(radius=3.0)).episode(0)
