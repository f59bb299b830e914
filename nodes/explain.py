"""The actor's thoughts as standard messages: plan, trajectory, candidates, energies, status; made after the command is out."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point, Transform, Twist
from nav_msgs.msg import Path
from std_msgs.msg import ColorRGBA, Float64MultiArray
from trajectory_msgs.msg import MultiDOFJointTrajectory, MultiDOFJointTrajectoryPoint
from visualization_msgs.msg import Marker, MarkerArray

from objective_agent.planner import Decision
from objective_agent.types import Plan
from objective_agent_nodes import convert_state, diagnostics
from objective_agent_nodes.convert import nanoseconds, quaternion, seconds
from objective_agent_nodes.diagnostics import OK, WARN, Health
from objective_agent_nodes.snapshot import labelled

SHOWN = 48
"""Candidates drawn."""
PICTURE_PERIOD = 0.1
"""Least time between two pictures of the candidates, s."""


def _number(value) -> float:
    """The first problem's value, tensor or not."""
    return float(np.asarray(value).reshape(-1)[0])


class Explainer:
    """Publishes what led to a decision, under the actor's name."""

    def __init__(self, node):
        self._plan = node.speak(Path, "~/plan")
        self._trajectory = node.speak(MultiDOFJointTrajectory, "~/trajectory")
        self._candidates = node.speak(MarkerArray, "~/candidates")
        self._costs = node.speak(Float64MultiArray, "~/objective_costs")
        self._status = node.speak(DiagnosticStatus, "~/status")
        self._name = node.get_fully_qualified_name().strip("/")
        self._drawn = 0.0

    def publish(self, decision: Decision, stamp, rate: float, misses: int, surprise: float) -> None:
        values = {"decision_hz": rate, "deadline_misses": misses, "surprise": surprise, "reason": decision.reason}
        values["observation"] = nanoseconds(stamp)
        if decision.subgoal is not None:
            values |= {"subgoal_x": float(decision.subgoal[0]), "subgoal_y": float(decision.subgoal[1])}
        if decision.configuration is not None:
            values["configuration"] = decision.configuration.number
        plan = decision.plan
        if plan is not None:
            values |= summary(plan, decision.seconds)
            values |= {"latency_ms": 1000 * decision.latency, "actuator_delay_ms": 1000 * decision.actuator_delay}
            self._costs.publish(labelled({name: _number(value) for name, value in plan.energies.items()}))
            self._publish_plan(plan, stamp)
        health = Health(WARN if decision.reason and plan is not None else OK, decision.reason or "driving", values)
        self._status.publish(diagnostics.status(self._name, health))

    def _publish_plan(self, plan: Plan, stamp) -> None:
        poses = np.asarray(plan.poses)[0, 0]  # [H, 3], the first future
        path = convert_state.path_to(seconds(stamp), poses)
        path.header.stamp = stamp
        self._plan.publish(path)
        if self._trajectory.get_subscription_count():
            self._trajectory.publish(trajectory(plan, poses, path.header))
        now = time.monotonic()
        if plan.candidates is not None and now - self._drawn >= PICTURE_PERIOD and self._candidates.get_subscription_count():
            self._drawn = now
            self._candidates.publish(MarkerArray(markers=[candidates(plan, path.header)]))


def summary(plan: Plan, seconds_taken: float) -> dict[str, object]:
    """A plan as key values of `~/status`."""
    margins = {name: _number(value) for name, value in plan.margins.items()}
    return {
        "mode": plan.mode,
        "feasible": bool(_number(plan.feasible)),
        "energy": _number(plan.energy),
        "violation": _number(plan.violation),
        "iterations": plan.iterations,
        "evaluations": plan.evaluations,
        "planning_ms": 1000 * seconds_taken,
        "stop_reason": plan.stop_reason,
        **({} if plan.confidence is None else {"confidence": _number(plan.confidence)}),
        "futures": int(np.asarray(plan.poses).shape[1]),
        **({"worst_margin": min(margins.values())} if margins else {}),
        **{f"margin {name}": value for name, value in margins.items()},
    }


def trajectory(plan: Plan, poses: np.ndarray, header) -> MultiDOFJointTrajectory:
    """The first future of the plan, with its actions as velocities."""
    message = MultiDOFJointTrajectory(header=header, joint_names=["base_link"])
    for step, (pose, action) in enumerate(zip(poses, np.asarray(plan.actions)[0], strict=True), 1):
        place, twist = Transform(), Twist()
        place.translation.x, place.translation.y = float(pose[0]), float(pose[1])
        place.rotation = quaternion(float(pose[2]))
        twist.linear.x, twist.angular.z = float(action[0]), float(action[1])
        after = round(step * plan.dt * 1e9)
        time_from_start = Duration(sec=after // 10**9, nanosec=after % 10**9)
        point = MultiDOFJointTrajectoryPoint(transforms=[place], velocities=[twist], time_from_start=time_from_start)
        message.points.append(point)
    return message


def candidates(plan: Plan, header) -> Marker:
    """The last iteration's imagined futures as lines: green = least energy, red = most, grey = not feasible."""
    poses, energy = np.asarray(plan.candidates)[0], np.asarray(plan.candidate_energy)[0]
    feasible = np.ones(len(energy), bool) if plan.candidate_feasible is None else np.asarray(plan.candidate_feasible)[0] > 0
    chosen = np.linspace(0, len(energy) - 1, min(SHOWN, len(energy))).astype(int)
    chosen = np.argsort(np.where(feasible, energy, np.inf), kind="stable")[chosen][::-1]  # the best on top
    rank = np.linspace(1, 0, len(chosen))
    marker = Marker(header=header, ns="candidates", type=Marker.LINE_LIST, action=Marker.ADD)
    marker.scale.x, marker.pose.orientation.w = 0.01, 1.0
    for index, share in zip(chosen, rank, strict=True):
        ok = feasible[index]
        colour = ColorRGBA(r=float(share), g=float(1 - share), b=0.1, a=0.6) if ok else ColorRGBA(r=0.5, g=0.5, b=0.5, a=0.35)
        places = [Point(x=float(x), y=float(y), z=0.05) for x, y, _ in poses[index]]
        for start, end in pairwise(places):
            marker.points += [start, end]
            marker.colors += [colour, colour]
    return marker
