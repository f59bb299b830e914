"""The adversarial planner in generated apartments: physics, odometry drift and the lidar of the embedded simulator."""

from __future__ import annotations

import math

import numpy as np

from objective_agent.safety import GateInputs, initial_state, step
from objective_agent.simulation import TEST_SEEDS, RobotSimulation, generate_apartment
from objective_agent.types import Command, Odometry, Scan


class Bully:
    """Knows nothing but its scan: charges at the nearest thing, swings, reverses, shakes."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.until, self.mode, self.turn = -1.0, 0, 0.0

    def __call__(self, now: float, scan: Scan | None) -> tuple[float, float]:
        if now >= self.until:
            self.until = now + self.random.uniform(0.3, 3.0)
            self.mode, self.turn = int(self.random.integers(5)), self.random.uniform(-2.5, 2.5)
        if self.mode <= 1 and scan is not None:
            ranges = np.where(np.isfinite(scan.ranges), scan.ranges, 99.0)
            bearing = float(scan.angles[np.argmin(ranges)]) + (0.25 if self.mode else 0.0)
            return 1.0 * (abs(bearing) < 1.2), 4.0 * bearing
        if self.mode == 2:
            return 1.0, self.turn
        if self.mode == 3:
            return -1.0, self.turn
        return 1.0, math.copysign(3.0, math.sin(5 * now))


def run(robot, parameters, seed: int, seconds: float, gate: bool) -> tuple[int, float, float]:
    """Contacts, share of steps held, metres driven."""
    simulation = RobotSimulation(generate_apartment(TEST_SEEDS.start + seed), robot, seed=seed, camera=False)
    bully, state = Bully(seed), initial_state()
    scan = odometry = None
    held, metres, steps = 0, 0.0, round(seconds / parameters.period)
    for _ in range(steps):
        before = simulation.true_pose[:2].copy()
        for reading in simulation.advance(parameters.period):
            scan = reading if isinstance(reading, Scan) else scan
            odometry = reading if isinstance(reading, Odometry) else odometry
        metres += float(np.hypot(*(simulation.true_pose[:2] - before)))
        now = simulation.time
        v, w = bully(now, scan)
        if gate:
            state, output = step(parameters, state, GateInputs(now, Command(now, v, w), scan, odometry))
            v, w = output.v, output.w
            held += output.held
        simulation.command(v, w)
    return simulation.contacts, held / steps, metres


def apartments(robot, parameters, runs: int, first: int, seconds: float, report) -> dict:
    """Contacts with the gate and, on the same worlds, without it."""
    gated, bare = [], []
    for k in range(runs):
        report("apartments", k, runs)
        gated.append(run(robot, parameters, first + k, seconds, True))
        if k % 5 == 0:
            bare.append(run(robot, parameters, first + k, seconds, False))
    return {
        "runs": runs,
        "seeds": [TEST_SEEDS.start + first, TEST_SEEDS.start + first + runs - 1],
        "seconds_each": seconds,
        "contacts": sum(result[0] for result in gated),
        "held_share": round(float(np.mean([result[1] for result in gated])), 3),
        "metres_driven": round(sum(result[2] for result in gated), 1),
        "without_gate": {"runs": len(bare), "runs_with_contact": sum(result[0] > 0 for result in bare)},
    }
