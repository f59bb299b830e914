"""One closed-loop episode: simulated robot, controller, safety gate.

The time line of every control period, t = k * period, is the one the graph of nodes has at its deadline:

    t            the gate ticks; the controller gets the readings up to t and decides
    t + delay    its command reaches the gate, which answers at once; what left the gate goes to the robot (and to the
                 controller's memory), and takes effect after the actuator delay

so planning latency is part of the simulation, as a fixed number: the result doesn't depend on how fast this machine is.  Truth
is read for scoring alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.safety import GateInputs, GateParameters, Ladder, initial_state, step
from objective_agent.simulation.simulation import RobotSimulation
from objective_agent.simulation.slip import NONE
from objective_agent.simulation.tasks import TIME_LIMIT, Episode
from objective_agent.types import Command, Image, Odometry, Scan


class Controller(Protocol):
    """What drives the robot in an episode.  It knows what its sensors say, the goal in odom, and what left the gate."""

    def reset(self, episode: Episode) -> None:
        """A new life with a new goal."""
        ...

    def observe(self, reading: Scan | Image | Odometry) -> None: ...

    def command_sent(self, command: Command) -> None:
        """A command as it left the gate."""
        ...

    def act(self, now: float) -> tuple[float, float]:
        """Speed (m/s) and turn rate (rad/s) wanted at `now`."""
        ...


@dataclass
class Outcome:
    """What happened in one episode.  `track` [n, 3] is the true path at 5 Hz, for drawing."""

    success: bool = False
    seconds: float = 0.0
    distance: float = math.inf
    travelled: float = 0.0
    contacts: int = 0
    contacts_moving: int = 0
    gate_ticks: int = 0
    gate_held: int = 0
    gate_reasons: dict[str, int] = field(default_factory=dict)
    track: list = field(default_factory=list)


class Gate:
    """The gate's pure core with the state it threads, and the newest message of each of its sources."""

    def __init__(self, parameters: GateParameters):
        self.parameters = parameters
        self.state = initial_state()
        self.scan: Scan | None = None
        self.odometry: Odometry | None = None
        self.command: Command | None = None

    def observe(self, reading: Scan | Image | Odometry) -> None:
        if isinstance(reading, Scan):
            self.scan = reading
        elif isinstance(reading, Odometry):
            self.odometry = reading

    def step(self, now: float, outcome: Outcome, tick: bool) -> tuple[float, float]:
        """What may leave now; ticks (not arrivals) are counted in `outcome`."""
        self.state, out = step(self.parameters, self.state, GateInputs(now, self.command, self.scan, self.odometry))
        if tick:
            outcome.gate_ticks += 1
            outcome.gate_held += out.held
            if out.level > Ladder.LIMIT:
                outcome.gate_reasons[out.reason] = outcome.gate_reasons.get(out.reason, 0) + 1
        return out.v, out.w


def run_episode(
    episode: Episode,
    controller: Controller,
    robot: RobotParameters,
    gate: GateParameters | None,
    period: float,
    delay: float,
    camera: bool = False,
    each: Callable[[float, RobotSimulation], bool | None] | None = None,
    limit: float | None = None,
) -> Outcome:
    """Runs `episode` to its end: success, or `limit` (None: 60) simulated seconds.  Contacts are counted and end nothing.

    The controller gets the episode without its hidden parts, and scans only where the episode's condition gives them.

    Of the camera's frames it gets those that are the newest when it decides; the others are not rendered.

    `gate` None sends the controller's commands straight to the robot.  `period` and `delay` (0 <= delay < period) in seconds.
    `each(now, simulation)` is called before every decision, for events and measurements; True ends the episode.
    """
    simulation = RobotSimulation(episode.world, robot, seed=episode.seed, camera=camera, slip=episode.slip, start=episode.start)
    simulation.watched = lambda stamp, following: following > math.ceil(stamp / period - 1e-6) * period + 1e-6
    controller.reset(replace(episode, slip=NONE))
    loop = _Loop(simulation, controller, Gate(gate) if gate is not None else None, episode)
    for k in range(1, round((TIME_LIMIT if limit is None else limit) / period) + 1):
        if loop.advance(k * period - loop.now):
            break
        loop.tick()
        if each is not None and each(loop.now, simulation):
            break
        v, w = controller.act(loop.now)
        decided = loop.now
        if delay and loop.advance(delay):
            break
        loop.deliver(Command(decided, v, w))
    return loop.finish()


class _Loop:
    """The pieces of one running episode and its clock."""

    def __init__(self, simulation: RobotSimulation, controller: Controller, gate: Gate | None, episode: Episode):
        self.simulation, self.controller, self.gate = simulation, controller, gate
        self.goal, self.radius = np.asarray(episode.goal), episode.radius
        self.ends_there = episode.image is None  # at a picture the controller has to say that it is there
        self.scans = episode.condition.scans
        self.outcome = Outcome()
        self.now = 0.0
        self._place = simulation.true_pose[:2]

    def advance(self, seconds: float) -> bool:
        """Simulates on; True when the goal has been reached."""
        readings = self.simulation.advance(seconds)
        self.now += seconds
        self.outcome.contacts = self.simulation.contacts
        self.outcome.contacts_moving = self.simulation.contacts_moving
        for reading in readings:
            if self.scans or not isinstance(reading, Scan):
                self.controller.observe(reading)
            if self.gate is not None:
                self.gate.observe(reading)
        place = self.simulation.true_pose[:2]
        self.outcome.travelled += float(np.hypot(*(place - self._place)))
        self._place = place
        self.outcome.distance = float(np.hypot(*(place - self.goal)))
        self.outcome.success = self.outcome.distance <= self.radius
        return self.outcome.success and self.ends_there

    def tick(self) -> None:
        if self.gate is not None:
            self._send(*self.gate.step(self.now, self.outcome, tick=True))
        if round(self.now * 20) % 4 == 0:
            self.outcome.track.append([round(float(value), 3) for value in self.simulation.true_pose])

    def deliver(self, command: Command) -> None:
        if self.gate is None:
            self._send(command.v, command.w)
            return
        self.gate.command = command
        self._send(*self.gate.step(self.now, self.outcome, tick=False))

    def _send(self, v: float, w: float) -> None:
        self.simulation.command(v, w)
        self.controller.command_sent(Command(self.now, v, w))

    def finish(self) -> Outcome:
        self.outcome.seconds = round(self.now, 6)
        self.outcome.track.append([round(float(value), 3) for value in self.simulation.true_pose])
        return self.outcome
