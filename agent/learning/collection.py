"""Collecting: an exploratory driver in training apartments, the safety gate in the loop, everything a robot records in a bag.

In-process and as fast as the machine allows.  Time line: every 0.1 s (a sweep's period: in between the gate would see nothing
new) the driver commands, the gate ticks, and what left it goes to the robot and into the bag.  An episode is determined by the
seed and its number alone, so any number of processes makes the same bags.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from objective_agent import __version__
from objective_agent.config import RobotParameters
from objective_agent.learning.bags import BagWriter
from objective_agent.learning.messages import EpisodeStart, People, Reading, Truth
from objective_agent.safety import GateInputs, GateParameters, initial_state, step
from objective_agent.simulation.conditions import CONDITIONS, people_apart, with_walkers
from objective_agent.simulation.driver import Explorer
from objective_agent.simulation.generator import TRAIN_SEEDS, generate_apartment
from objective_agent.simulation.occupancy import Occupancy, occupancy
from objective_agent.simulation.parameters import CameraParameters, SensorParameters
from objective_agent.simulation.simulation import RobotSimulation
from objective_agent.simulation.slip import NONE, draw_slip
from objective_agent.simulation.world import World
from objective_agent.types import Command, Image, InputError, Odometry, Scan

MIX = "mix"
SHARES = {"apartment": 0.40, "apartment_people": 0.35, "apartment_slip": 0.25}
BOTH = 0.2
"""Share of the mixture's people episodes that have slip as well."""

TICK = 0.1
PHASES = (0.0, 0.25)
"""Shares of a camera period by which frames come after sweeps: a running robot's come at any time, too."""

APART = 1000.0
"""Stamps of successive episodes of a bag begin this far from one another, s."""

ROOM = 0.06
"""Room beside the footprint where a run begins, m."""


@dataclass(frozen=True)
class CollectSettings:
    """What is collected: `task` a condition's name or "mix"; `world` None for training apartments; `seconds` per episode."""

    task: str
    seed: int
    robot: RobotParameters
    gate: GateParameters
    seconds: float = 40.0
    camera_rate: float = 5.0
    world: World | None = None

    def __post_init__(self):
        if self.task != MIX and self.task not in CONDITIONS:
            raise InputError(f"task {self.task!r}: unknown; known: {MIX}, {', '.join(CONDITIONS)}")
        if not 1.0 <= self.seconds < APART / 2:
            raise InputError(f"{self.seconds:g} s per episode: must be 1 to {APART / 2:g}")


@dataclass
class Tally:
    """What was collected: counts for the progress display."""

    episodes: int = 0
    frames: int = 0
    contacts: int = 0
    seconds: float = 0.0


def write_bag(path: str | Path, episodes: range, settings: CollectSettings) -> Tally:
    """Collects the episodes of these numbers into one bag; whole or not at all."""
    tally = Tally()
    metadata = {
        "made_by": f"objective-agent collect {__version__}",
        "task": settings.task,
        "seed": settings.seed,
        "episodes": [episodes.start, episodes.stop],
        "seconds": settings.seconds,
        "robot": settings.robot.model_dump(),
        "gate": settings.gate.model_dump(mode="json"),
    }
    with BagWriter(path, metadata) as bag:
        for place, number in enumerate(episodes):
            run = Run(settings, number, APART * (place + 1))
            bag.add(EpisodeStart(run.info), run.offset)
            for reading in run.readings():
                bag.add(reading)
                tally.frames += isinstance(reading, Image)
            tally.episodes += 1
            tally.contacts += run.simulation.contacts
            tally.seconds += settings.seconds
    return tally


class Run:
    """Episode number `number`: made on construction, driven by `readings`."""

    def __init__(self, settings: CollectSettings, number: int, offset: float):
        self.settings, self.offset = settings, offset
        random = np.random.default_rng([settings.seed, number])
        self.condition, people, slip = self._draw_condition(random)
        world, start = self._place(random, people)
        drawn = draw_slip(random, settings.robot.actuator_delay) if slip else NONE
        seed = int(random.integers(2**31))
        phase = PHASES[int(random.integers(len(PHASES)))]
        sensors = SensorParameters(camera=CameraParameters(rate=settings.camera_rate))
        self.simulation = RobotSimulation(world, settings.robot, sensors, seed, slip=drawn, camera_phase=phase, start=start)
        self.driver = Explorer(settings.robot, [settings.seed, number, 1])
        self.info = {
            "episode": number,
            "world": world.name,
            "condition": self.condition,
            "people": len(world.people),
            "slip": asdict(drawn),
            "seed": seed,
            "start": [round(float(value), 4) for value in start],
        }

    def _draw_condition(self, random: np.random.Generator) -> tuple[str, int, bool]:
        """(name, people, slip)"""
        name = self.settings.task
        both = random.random() < BOTH
        if name == MIX:
            name = str(random.choice(list(SHARES), p=list(SHARES.values())))
            made = CONDITIONS[name]
            return name, made.people, made.slip or (both and made.people > 0)
        return name, CONDITIONS[name].people, CONDITIONS[name].slip

    def _place(self, random: np.random.Generator, people: int) -> tuple[World, tuple[float, float, float]]:
        """A world with its people, and a free pose to start from."""
        fixed = self.settings.world
        for _ in range(50):
            try:
                number = TRAIN_SEEDS[int(random.integers(len(TRAIN_SEEDS)))]
                world = generate_apartment(number, people=people) if fixed is None else fixed
            except InputError:
                continue  # these people don't fit into this apartment
            grid = occupancy(world)
            poses = free_places(grid, world, self.settings.robot.radius)
            if not len(poses):
                continue
            start, other = poses[random.integers(len(poses), size=2)]
            if people and fixed is None:
                world = with_walkers(world, grid, start, other, random)
                if world is None or not people_apart(world.people):
                    continue
            return world, (float(start[0]), float(start[1]), float(random.uniform(-math.pi, math.pi)))
        raise InputError(f"collect: a robot of radius {self.settings.robot.radius:g} m fits nowhere; check robot.radius")

    def readings(self) -> Iterator[Reading]:
        """What the sensors said, what left the gate, and where everybody was: in time order, stamps moved by the offset."""
        simulation, driver = self.simulation, self.driver
        gate = self.settings.gate.model_copy(update={"period": TICK})
        state, scan, odometry = initial_state(), None, None
        for _ in range(round(self.settings.seconds / TICK)):
            for reading in simulation.advance(TICK):
                driver.observe(reading)
                if isinstance(reading, Scan):
                    scan = reading
                elif isinstance(reading, Odometry):
                    odometry = reading
                yield _moved(reading, self.offset)
            now = simulation.time
            yield Truth(now + self.offset, simulation.true_pose)
            if len(simulation.people):
                radii = [[person.radius] for person in simulation.world.people]
                yield People(now + self.offset, np.concatenate([simulation.people, radii], 1))
            command = Command(now, *driver.act(now))
            state, out = step(gate, state, GateInputs(now, command, scan, odometry))
            simulation.command(out.v, out.w)
            driver.command_sent(Command(now, out.v, out.w))
            yield Command(now + self.offset, out.v, out.w)


def free_places(grid: Occupancy, world: World, radius: float) -> np.ndarray:
    """Where a run may begin: points [n, 2] from which a start of the world can be reached."""
    regions = grid.regions(radius + ROOM)
    wanted = {int(regions[grid.cell(*start[:2])]) for start in world.starts} - {0}
    cells = np.argwhere(np.isin(regions, list(wanted)))
    return np.array(grid.origin) + (cells[:, ::-1] + 0.5) * grid.resolution


def _moved(reading: Scan | Image | Odometry, offset: float) -> Reading:
    stamp = reading.stamp + offset
    if isinstance(reading, Odometry):
        return Odometry(stamp, reading.pose, reading.velocity)
    if isinstance(reading, Image):
        return Image(stamp, reading.rgb)
    return Scan(stamp, reading.ranges, reading.angle_min, reading.angle_increment, reading.range_min, reading.range_max)
