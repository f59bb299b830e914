"""The loop: perceive -> remember -> configure -> plan -> act.

`Agent` is the whole mind in one object, without ROS: `evaluate` drives it in the simulator.  The nodes run the same pieces,
each module in its node; a parity test plays one bag through both.

    observation    = synchronizer.observe(stamp)              what the sensors said, aligned in time
    representation = encoder.encode(observation)              perception
    state          = memory.update(representation, ...)       short-term memory
    route          = router.update(observation, goal)         where one can go
    configuration  = configurator.configure(task, status)     one numbered snapshot
    surprise       = meter.update(state)                      the world model's prediction against what came
    decision       = planner.decide(configuration, state, route, ...)
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from objective_agent import plugins
from objective_agent.config import AgentParameters, Configuration, Task
from objective_agent.goal_images import encode_goal, goal_distance, goal_task
from objective_agent.memory.delay import DelayEstimator
from objective_agent.memory.seen import with_estimates
from objective_agent.memory.touch import Touch
from objective_agent.perception.synchronizer import Synchronizer
from objective_agent.planner import Decision, Planner
from objective_agent.routing import Router, route_goal
from objective_agent.surprise import SurpriseMeter, cautious
from objective_agent.types import Command, Image, Odometry, Representation, Scan, WorldState


class Agent:
    """The mind of one robot.  Readings and sent commands go in as they come; `step` decides.

    Raises ConfigurationError when a parameter, a plugin name or a plugin's setting is wrong.
    """

    def __init__(self, parameters: AgentParameters, seed: int = 0):
        robot = parameters.robot
        self.parameters = parameters
        self.synchronizer = Synchronizer(parameters.perception)
        self.encoder = plugins.create("encoder", parameters.perception.encoder, robot, "perception.encoder")
        self.memory = plugins.create("short_term_memory", parameters.memory.short_term, robot, "memory.short_term")
        self.router = Router(parameters.memory, robot)
        self.touch = Touch(robot)
        self.delay = DelayEstimator(robot) if parameters.memory.actuator_delay == "measured" else None
        self.configurator = plugins.create("configurator", parameters.configurator.configurator, robot, "configurator")
        self.configurator.set_parameters(
            configurator=parameters.configurator,
            cost=parameters.cost,
            actor=parameters.actor,
            world_model=parameters.world_model,
        )
        self.planner = Planner(robot, seed)
        self._meter: SurpriseMeter | None = None
        self.surprise = 0.0
        self.surprises: dict[str, float] = {}
        self.representation: Representation | None = None
        self.goal_image: tuple[float, float] | None = None
        """Stamp and distance of the last comparison of the present with a goal image; 1 counts as there."""
        self.task = Task()

    def reset(self, seed: int | None = None) -> None:
        """A new life: all memories empty, no task; with a seed, the decisions that follow are repeatable."""
        self.synchronizer = Synchronizer(self.parameters.perception)
        self.memory.reset()
        self.router.reset()
        self.touch.reset()
        if self.delay is not None:
            self.delay.reset()
        self.planner.reset(seed)
        self._meter, self.surprise, self.surprises, self.goal_image = None, 0.0, {}, None
        self.task = Task()

    def set_task(self, task: Task, image: np.ndarray | None = None) -> None:
        """Takes over a task; InputError when it names unknown objectives or a frame that can't be used.

        With `image` ([height, width, 3] uint8) the task is to be where the robot would see it; `task` gives the rest.
        """
        if image is not None:
            about = task.model_dump(exclude={"kind", "representation", "model", "position", "heading"})
            task = goal_task(encode_goal(self.encoder, image), **about)
        self.configurator.configure(task, {})
        self.task = task

    def observe(self, reading: Scan | Image | Odometry) -> None:
        if self.synchronizer.add(reading) and isinstance(reading, Odometry) and self.delay is not None:
            self.delay.measured(reading)

    def command_sent(self, command: Command) -> None:
        """A command as it left the safety gate (not as it was asked for)."""
        self.synchronizer.command_sent(command)
        self.memory.command_sent(command)
        self.touch.sent(command)
        if self.delay is not None:
            self.delay.command_sent(command)

    def step(self, stamp: float, now: float | None = None, latency: float = 0.0, budget: float = math.inf) -> Decision:
        """One decision on what the sensors said up to `stamp`.  `now`, `latency`, `budget`: see `Planner.decide`."""
        now = stamp if now is None else now
        observation = self.synchronizer.observe(stamp)
        if observation is None:
            return Decision(Command(stamp, 0.0, 0.0), None, self.synchronizer.reason)
        self.representation = representation = self.encoder.encode(observation)
        estimate = self.touch.feel(stamp, next(iter(representation.scans), None))
        observation = with_estimates(observation, (estimate,))
        state = self.memory.update(representation, observation)
        if self.delay is not None:
            state = replace(state, actuator_delay=self.delay.seconds(stamp))
        configuration = self._cautious(self.configure(state), state)
        route = self.router.update(observation, route_goal(configuration))
        decision = self.planner.decide(configuration, state, route, now, latency, budget)
        self._compare(state)
        self.touch.asked(decision.command)
        return decision

    def _cautious(self, configuration: Configuration, state: WorldState) -> Configuration:
        """Slower when the world does not do what was predicted; the last plan is then no guide either."""
        if configuration.task.kind == "idle" or configuration.reached:
            return configuration
        self.planner.prepare(configuration)
        if self._meter is None or self._meter.world_model is not self.planner.world_model:
            self._meter = SurpriseMeter(self.planner.world_model, configuration.world_model)
        self.surprises = self._meter.update(state) or {}
        self.surprise = self.surprises.get("surprise", 0.0)
        if self.surprise > 1.0:
            self.planner.reset()
        return cautious(configuration, self.surprise)

    def configure(self, state: WorldState) -> Configuration:
        status = {"stamp": state.stamp, "pose": np.asarray(state.pose[0]), "goal_image": self.goal_image}
        return self.configurator.configure(self.task, status)

    def _compare(self, state: WorldState) -> None:
        """Notes how far the goal image still is, for the configurator's next snapshot."""
        objectives = [term.objective for term in self.planner.objectives]
        distance = goal_distance(objectives, state, self.task)
        self.goal_image = None if distance is None else (state.stamp, distance)
