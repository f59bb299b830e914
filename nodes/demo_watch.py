"""The demo's view of the running graph: gives goals, watches what becomes of them, tells the recorder what happened when.

It hears only what anybody could hear on the topics; `simulator/ground_truth` serves to check that a goal was really reached.
"""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool, String

from objective_agent.visualization.bag import EVENTS, status_values
from objective_agent.visualization.style import gate_level
from objective_agent_nodes import qos
from objective_agent_nodes.convert import odometry_from
from objective_agent_nodes.demo_progress import Snapshot

TRUE_TOLERANCE = 0.30
"""How near to the goal the robot must really be when it says "reached", m."""
STALE = 2.0
"""A report older than this says nothing about now, s."""
REPEAT = 2.0
"""A goal that the configurator has not taken over is given again after this many seconds."""


@dataclass
class Heard:
    """The newest report of a kind and when it came (monotonic s)."""

    values: dict[str, Any] = field(default_factory=dict)
    at: float = -math.inf

    def fresh(self) -> dict[str, Any]:
        return self.values if time.monotonic() - self.at < STALE else {}


class Watch(Node):
    """Node `demo`.  Callbacks run in the executor's thread, everything else in the demo's."""

    def __init__(self):
        super().__init__("demo", enable_rosout=False, start_parameter_services=False)
        self.actor, self.gate, self.simulator, self.configuration = Heard(), Heard(), Heard(), Heard()
        self.health: dict[str, Heard] = {}
        self._true: tuple[float, float, float] | None = None
        self.contacts, self._touching = 0, False
        self.driven = 0.0
        """Metres driven since the goal was given."""
        self._goal: tuple[float, float] | None = None
        self._index, self._given_at = -1, -math.inf
        self._lock = threading.Lock()
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._events = self.create_publisher(String, EVENTS, latched)
        self._goals = self.create_publisher(PoseStamped, "goal_pose", qos.RELIABLE)
        self.create_subscription(String, "configuration", self._on_configuration, qos.LATCHED)
        self.create_subscription(OdometryMessage, "simulator/ground_truth", self._on_truth, qos.SENSOR)
        self.create_subscription(Bool, "simulator/contact", self._on_contact, qos.RELIABLE)
        self.create_subscription(DiagnosticStatus, "actor/status", lambda m: self._note(self.actor, m), qos.SENSOR)
        self.create_subscription(DiagnosticStatus, "safety_gate/state", lambda m: self._note(self.gate, m), qos.SENSOR)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)

    # --- what the demo does -------------------------------------------------------------------------------------------------

    def tell(self, event: str, **values: Any) -> None:
        """Writes an event into the recording."""
        self._events.publish(String(data=json.dumps({"event": event, **values})))

    def waiting_for(self) -> str:
        """What is missing before goals can be given, "" when nothing is."""
        if not self._goals.get_subscription_count():
            return "the configurator"
        if self._true is None:
            return "the simulator"
        if not self.gate.fresh():
            return "the safety gate"
        return "" if self.actor.fresh() else "the actor"

    def give_goal(self, index: int, position: tuple[float, float]) -> None:
        """Gives the place `position` of the world as a goal; odometry began at the true pose, so it is one in odom as well."""
        self._index, self._goal, self.driven = index, position, 0.0
        self.tell("goal", index=index, position=list(position))
        self._publish_goal()

    def goal_taken(self) -> bool:
        """Whether the configuration in force is for the present goal; gives the goal again when that takes too long."""
        position = (self.configuration.values.get("task") or {}).get("position")
        taken = position is not None and math.dist(position, self._goal) < 1e-3
        if not taken and time.monotonic() - self._given_at > REPEAT:
            self._publish_goal()
        return taken

    def goal_reached(self) -> bool:
        """Whether the agent says so AND it is true."""
        return self.goal_taken() and bool(self.configuration.values.get("reached")) and self.distance() <= TRUE_TOLERANCE

    def end_goal(self, reached: bool, reason: str = "") -> None:
        self.tell("goal_end", index=self._index, reached=reached, reason=reason)

    def distance(self) -> float:
        """From where the robot really is to the goal, m."""
        return math.nan if self._true is None or self._goal is None else math.dist(self._true[:2], self._goal)

    def why_held(self) -> str:
        """Why the robot is not there yet, from what the modules report; the first module that complains is named."""
        reasons = []
        gate = self.gate.fresh()
        if not gate:
            reasons.append("the safety gate does not report")
        elif gate_level(gate.get("level")) != "OK":
            reasons.append(f"safety gate {gate_level(gate.get('level'))}: {gate.get('reason') or 'no reason given'}")
        if self._goal is not None and not self.goal_taken():
            reasons.append("the configurator did not take the goal")
        elif self.configuration.values.get("reached"):
            reasons.append(f"the agent says reached, but it is {self.distance():.2f} m away")
        actor = self.actor.fresh()
        if not actor:
            reasons.append("the actor does not report")
        elif actor.get("mode") == "braking":
            reasons.append("the actor is braking: no feasible plan")
        for name, heard in sorted(self.health.items()):
            if heard.fresh().get("diagnostic_level", 0) >= 2:
                reasons.append(f"{name}: {heard.values.get('message')}")
        return "; ".join(reasons) or f"still driving, {self.distance():.2f} m away"

    def snapshot(self) -> Snapshot:
        actor, gate = self.actor.fresh(), self.gate.fresh()
        number = next((actor[k] for k in ("worst_margin", "margin", "clearance") if isinstance(actor.get(k), float)), math.nan)
        return Snapshot(
            goal=self._index,
            distance=self.distance(),
            decision_hz=actor.get("decision_hz", math.nan),
            mode=str(actor.get("mode", "")),
            margin=number,
            gate=gate_level(gate.get("level")) if gate else "",
            gate_reason=str(gate.get("reason", "")),
            real_time_factor=self.simulator.fresh().get("real_time_factor", math.nan),
            collisions=self.contacts,
        )

    # --- what it hears ------------------------------------------------------------------------------------------------------

    def _publish_goal(self) -> None:
        message = PoseStamped()
        message.header.frame_id = "odom"
        message.header.stamp = self.get_clock().now().to_msg()
        message.pose.position.x, message.pose.position.y = map(float, self._goal)
        message.pose.orientation.w = 1.0
        self._given_at = time.monotonic()
        self._goals.publish(message)

    @staticmethod
    def _note(heard: Heard, message: DiagnosticStatus) -> None:
        heard.values, heard.at = status_values(message), time.monotonic()

    def _on_configuration(self, message: String) -> None:
        self.configuration.values, self.configuration.at = json.loads(message.data), time.monotonic()

    def _on_truth(self, message: OdometryMessage) -> None:
        before, self._true = self._true, tuple(odometry_from(message).pose)
        self.driven += math.dist(before[:2], self._true[:2]) if before else 0.0

    def _on_contact(self, message: Bool) -> None:
        self.contacts += message.data and not self._touching
        self._touching = message.data

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._note(self.health.setdefault(status.name, Heard()), status)
            if "simulator" in status.name:
                self._note(self.simulator, status)
                self.contacts = max(self.contacts, int(self.simulator.values.get("contacts", 0)))
