"""The whole of Mode-2 in closed loop: a delayed, accelerating robot with a noisy lidar, in rooms with obstacles."""

import math

import numpy as np
import pytest
import torch
from toy_problems import ROBOT, optimizer

from objective_agent.config import PluginSpec
from objective_agent.plugins import create
from objective_agent.types import Goal, NamedGuardrail, Problem, WeightedObjective, WorldState, wrap_angle

LIMITS = np.array([ROBOT.max_acceleration, ROBOT.max_turn_acceleration])
HORIZON, DT, PERIOD, TICK, LATENCY = 15, 0.2, 0.1, 0.01, 0.03


def box(x0, y0, x1, y1):
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return [(corners[i], corners[(i + 1) % 4]) for i in range(4)]


ROOM = box(-1, -2, 5, 2)
BOX = ROOM + box(1.2, -0.25, 1.7, 0.35)
DOORWAY = [*ROOM, ((1.5, -2), (1.5, -0.45)), ((1.5, 0.4), (1.5, 2))]


class Robot:
    """Ground truth: a unicycle in a world of wall segments [S, 2, 2]; shares no code with the world model."""

    def __init__(self, walls, pose, seed=0):
        self.walls, self.pose, self.velocity = np.array(walls, float), np.array(pose, float), np.zeros(2)
        self.time, self.sent, self.clearance = 0.0, [(-1.0, 0.0, 0.0)], math.inf
        self._random = np.random.default_rng(seed)

    def drive(self, seconds):
        for _ in range(round(seconds / TICK)):
            acting = [s for s in self.sent if s[0] + ROBOT.actuator_delay <= self.time][-1]
            self.velocity += np.clip(np.array(acting[1:]) - self.velocity, -LIMITS * TICK, LIMITS * TICK)
            v, w = self.velocity
            self.pose += TICK * np.array([v * math.cos(self.pose[2]), v * math.sin(self.pose[2]), w])
            self.time += TICK
            self.clearance = min(self.clearance, self._to_walls() - ROBOT.radius)

    def _to_walls(self):
        a, along = self.walls[:, 0], self.walls[:, 1] - self.walls[:, 0]
        share = np.clip(((self.pose[:2] - a) * along).sum(1) / (along**2).sum(1), 0, 1)
        return np.linalg.norm(a + share[:, None] * along - self.pose[:2], axis=1).min()

    def state(self):
        angles = self.pose[2] + np.arange(180) * 2 * math.pi / 180
        beam = np.stack([np.cos(angles), np.sin(angles)], -1)[:, None]
        start, along = self.walls[:, 0] - self.pose[:2], self.walls[:, 1] - self.walls[:, 0]

        def cross(a, b):
            return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

        with np.errstate(divide="ignore", invalid="ignore"):
            distance, share = cross(start, along) / cross(beam, along), cross(start, beam) / cross(beam, along)
        ranges = np.where((distance > 0) & (share >= 0) & (share <= 1), distance, np.inf).min(1)
        points = self.pose[:2] + (ranges + 0.01 * self._random.normal(size=180))[:, None] * beam[:, 0]
        sent = np.array(self.sent[-20:])
        return WorldState(
            stamp=self.time,
            representation=np.zeros((1, 1, 1), np.float32),
            pose=self.pose[None],
            velocity=self.velocity[None],
            model="test",
            points=points[None],
            sent_stamps=sent[:, 0],
            sent=sent[None, :, 1:],
        )


def drive(walls, start, goals, name="mppi", heading=None, seconds=20.0, seed=0, tolerance=0.1):
    """Drives to the last of `goals`, passing the others; returns the robot, the modes of its plans and what was sent."""
    robot, search, modes, warm = Robot(walls, start, seed), optimizer(name, seed), [], None
    model = create("world_model", PluginSpec(plugin="unicycle"), ROBOT)
    objectives = [
        WeightedObjective(term, 1.0, create("objective", PluginSpec(plugin=term), ROBOT))
        for term in ("goal_pose", "smooth", "effort", "bump")
    ]
    guardrails = [NamedGuardrail("clearance", create("guardrail", PluginSpec(plugin="clearance"), ROBOT))]
    goals = list(goals)
    while robot.time < seconds:
        left = math.dist(robot.pose[:2], goals[0])
        turned = heading is None or abs(wrap_angle(float(robot.pose[2]) - heading)) < 0.3
        if len(goals) == 1 and left < tolerance and turned:
            break
        if len(goals) > 1 and left < 0.4:
            goals.pop(0)
        final = len(goals) == 1
        problem = Problem(
            state=model.advance(robot.state().to_torch(), robot.time + LATENCY + ROBOT.actuator_delay),
            goal=Goal(np.array([goals[0]]), np.array([heading]) if final and heading is not None else None, None, final),
            world_model=model,
            objectives=objectives,
            guardrails=guardrails,
            horizon=HORIZON,
            dt=DT,
            futures=1,
            action_low=np.array([-ROBOT.max_reverse_speed, -ROBOT.max_turn_rate]),
            action_high=np.array([ROBOT.max_speed, ROBOT.max_turn_rate]),
            rate_limit=LIMITS,
            last_action=np.array([robot.sent[-1][1:]]),
            warm_start=warm,
        )
        plan = search.solve(problem, math.inf)
        modes.append(plan.mode)
        at = np.minimum(np.arange(HORIZON) + PERIOD / DT, HORIZON - 1)
        low = at.astype(int)
        share = torch.tensor(at - low)[:, None]
        warm = plan.actions[:, low] * (1 - share) + plan.actions[:, np.minimum(low + 1, HORIZON - 1)] * share
        robot.sent.append((robot.time + LATENCY, *plan.actions[0, 0].tolist()))
        robot.drive(PERIOD)
    return robot, modes


BOTH = pytest.mark.parametrize("name", ["mppi", "cem"])


pytestmark = pytest.mark.usefixtures("one_thread")


@BOTH
@pytest.mark.parametrize(
    ("walls", "start", "goals", "seconds"),
    [
        (ROOM, (0, 0, 0), [(3, 0)], 6.5),
        (ROOM, (0, 0, math.pi), [(3, 0)], 8.5),
        (BOX, (0, 0, 0), [(3, 0)], 8.0),
        (DOORWAY, (0, 1, 0), [(3, 0)], 8.0),
        (DOORWAY, (0, 1, 0), [(1.5, 0), (3, 0), (3, -1.5)], 11.0),
    ],
    ids=["straight", "behind", "round-a-box", "doorway", "subgoals"],
)
def test_reaches_the_goal_in_time_and_touches_nothing(name, walls, start, goals, seconds):
    robot, modes = drive(walls, start, goals, name, seconds=seconds)
    assert math.dist(robot.pose[:2], goals[-1]) < 0.1
    assert robot.clearance > 0.04
    assert modes.count("braking") <= 0.05 * len(modes)


def test_a_heading_is_taken_at_the_goal():
    robot, _ = drive(ROOM, (0, 0, 1.5), [(3, 0.5)], heading=-1.5, seconds=10)
    assert math.dist(robot.pose[:2], (3, 0.5)) < 0.15
    assert abs(wrap_angle(float(robot.pose[2]) + 1.5)) < 0.3


def test_it_comes_to_rest_at_a_final_goal():
    robot, _ = drive(ROOM, (0, 0, 0), [(2, 0)], seconds=8, tolerance=0.0)
    assert math.dist(robot.pose[:2], (2, 0)) < 0.1
    assert abs(robot.velocity[0]) < 0.05


def test_a_subgoal_is_passed_at_speed():
    robot, _ = drive(ROOM, (0, 0, 0), [(1.5, 0), (4, 0)], seconds=2.8)
    assert robot.velocity[0] > 0.5


@BOTH
def test_no_clutter_is_touched_whether_the_goal_is_reached_or_not(name):
    reached = 0
    for seed in range(4):
        random = np.random.default_rng(seed)
        walls = list(ROOM)
        for _ in range(4):
            (w, h), x, y = random.uniform(0.05, 0.5, 2), random.uniform(0.9, 2.3), random.uniform(-1.2, 1.2)
            walls += box(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        robot, _ = drive(walls, (0, 0, random.uniform(-3, 3)), [(3.3, 0)], name, seconds=10, seed=seed)
        assert robot.clearance > 0.02
        reached += math.dist(robot.pose[:2], (3.3, 0)) < 0.1
    assert reached >= 3


def test_a_closed_wall_before_the_goal_is_not_crossed():
    wall = [*ROOM, ((1.5, -2), (1.5, 2))]
    robot, _ = drive(wall, (0, 0, 0), [(3, 0)], seconds=5)
    assert robot.clearance > 0.04
    assert 1.0 < robot.pose[0] < 1.5 - ROBOT.radius
