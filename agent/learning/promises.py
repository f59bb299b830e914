"""Promises and what became of them, measured on the plans that were *selected*.

The actor takes the plan that looks best, so it takes those whose clearance the world model over-estimates (the winner's curse):
margins that hold for recorded commands may fail for chosen ones.  Here the whole of a chosen plan is carried out, open loop, in
a copy of the simulation, and what it promised at each step is set against what came.  The copy never influences the episode.

    clearance   the read-out less its margins, worst future   against   the training label, from the copy's sweeps
    guard       the smaller of it and the scan points at the predicted poses: what guardrail `learned_clearance` hears
    people      the read-out less its margins, worst future   against   the training label: the gap to the nearest known person
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from objective_agent.learning import people as persons
from objective_agent.learning.bags import Segment
from objective_agent.learning.messages import People, Truth
from objective_agent.learning.rows import Labels
from objective_agent.learning.windows import SEEN_BEFORE
from objective_agent.perception.scan import canonical_ranges
from objective_agent.simulation.simulation import RobotSimulation
from objective_agent.types import Odometry, Plan, Scan

NEAR = 0.5
"""Steps count where the promise or the truth is below this, m."""

WITHIN = 0.95
"""Share of an episode's steps at which a promise must be kept."""

EVERY = 20
"""Every so many decisions one plan is followed to its end."""

BUCKETS = {"1": slice(0, 1), "2-5": slice(1, 5), "6 on": slice(5, None)}
NAMES = ("clearance", "guard", "people")
TOLERANCE = 1e-6


@dataclass
class Promises:
    """Promised and found metres of one episode: name -> lists of [H] per plan; NaN (None in JSON) where nothing is known."""

    promised: dict[str, list[list[float]]] = field(default_factory=dict)
    found: dict[str, list[list[float]]] = field(default_factory=dict)

    def add(self, name: str, promised: np.ndarray, found: np.ndarray) -> None:
        self.promised.setdefault(name, []).append(_plain(promised))
        self.found.setdefault(name, []).append(_plain(found))

    def record(self) -> dict[str, dict[str, list]]:
        """As JSON values."""
        return {name: {"promised": self.promised[name], "found": self.found[name]} for name in sorted(self.promised)}


class Witness:
    """Follows every `every`-th of the plans of `controller` in a copy of its simulation; called before every decision.

    `controller.decision`: its last decision.  `delay`: seconds from a decision until its command leaves for the robot.
    """

    def __init__(self, controller, delay: float, radius: float, every: int = EVERY):
        self.controller, self.delay, self.radius, self.every = controller, delay, radius, every
        self.promises = Promises()
        self._count = 0
        self._waiting: tuple[float, RobotSimulation] | None = None
        self._seen: deque[tuple[float, np.ndarray]] = deque(maxlen=64)

    def __call__(self, now: float, simulation: RobotSimulation) -> None:
        self.follow()
        here = simulation.copy(camera=False) if self._count % self.every == 0 or len(simulation.people) else None
        if len(simulation.people):
            self._seen.append((now, visible_people(here, self.radius)))
        if self._count % self.every == 0:
            # Of a sweep of its own the copy has used up noise: the episode's is untouched.
            self._waiting = now, here
        self._count += 1

    def follow(self) -> None:
        """Carries out the plan that was made at the moment that is waiting."""
        if self._waiting is None:
            return
        (now, copy), self._waiting = self._waiting, None
        plan: Plan | None = self.controller.decision.plan
        if plan is None or plan.mode != "optimizer" or not plan.promises:
            return
        # Moments are as they came: an episode's clock and the simulation's differ by less than a physics step.
        found = carry_out(copy, plan, now + self.delay, self.radius, self._known(now, plan.dt))
        for name, promised in promised_by(plan, self.radius).items():
            self.promises.add(name, promised, found["people" if name == "people" else "clearance"])

    def record(self) -> dict[str, dict[str, list]]:
        """The episode's promises and what came of them, as JSON values; asked for at its end."""
        self.follow()
        return self.promises.record()

    def _known(self, now: float, dt: float) -> np.ndarray:
        """[MOST] whom a sweep has shown now or in the steps before."""
        known = np.zeros(persons.MOST, bool)
        for past in range(SEEN_BEFORE + 1):
            for stamp, seen in self._seen:
                if abs(stamp - (now - past * dt)) < 0.25 * dt:
                    known |= seen
        return known


def promised_by(plan: Plan, radius: float) -> dict[str, np.ndarray]:
    """What `plan` promised [H] under each name that its world model has a read-out for."""
    said = {name: np.asarray(values[0], float) for name, values in plan.promises.items()}
    found = {name: said[name] for name in ("clearance", "people") if name in said}
    points = said.get("obstacle_distance")
    if points is not None:
        points = points - radius
        found["guard"] = np.minimum(points, said["clearance"]) if "clearance" in said else points
    elif "clearance" in said:
        found["guard"] = said["clearance"]
    return found


def carry_out(
    simulation: RobotSimulation, plan: Plan, leaves: float, radius: float, known: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What came of `plan`, "clearance" and "people" [H], when its commands leave one by one, the first of them at `leaves`.

    `simulation` is used up.  Labels as in a data set: clearance of each step from the sweeps during it, and the gap at its end
    to the nearest of the `known` [MOST] people (default: all).
    """
    ends = plan.start + plan.dt * np.arange(1, plan.actions.shape[1] + 1)
    readings = Readings(simulation)
    readings.advance(leaves - simulation.time)
    for step, (v, w) in enumerate(np.asarray(plan.actions[0], float)):
        simulation.command(v, w)
        readings.advance(leaves + (step + 1) * plan.dt - simulation.time)
    readings.advance(ends[-1] + plan.dt - simulation.time)  # a label is between two readings
    labels = Labels(readings.segment, radius, plan.dt)
    people = [labels.people(end, np.zeros(3), np.full(1, np.nan))["people_places"] for end in ends]
    known = np.ones(persons.MOST, bool) if known is None else known
    return {
        "clearance": np.array([labels.clearance(end) for end in ends]),
        "people": persons.nearest(persons.known_places(np.array(people)[:, None], known[None])[:, 0]),
    }


class Readings:
    """All that a bag would hold of a simulation that is driven on, truth included."""

    STEP = 0.05

    def __init__(self, simulation: RobotSimulation):
        self.simulation = simulation
        self.segment = Segment({})
        self._radii = np.array([[person.radius] for person in simulation.world.people])
        self._truth()

    def advance(self, seconds: float) -> None:
        while seconds > 1e-9:
            for reading in self.simulation.advance(min(seconds, self.STEP)):
                if isinstance(reading, Scan | Odometry):
                    self._add(reading)
            seconds -= self.STEP
            self._truth()

    def _truth(self) -> None:
        now = self.simulation.time
        self._add(Truth(now, self.simulation.true_pose))
        if len(self._radii):
            self._add(People(now, np.concatenate([self.simulation.people, self._radii], 1)))

    def _add(self, reading) -> None:
        readings = self.segment.readings.setdefault(type(reading), [])
        if not readings or reading.stamp > readings[-1].stamp:
            readings.append(reading)


def visible_people(simulation: RobotSimulation, radius: float) -> np.ndarray:
    """[MOST] whom a sweep shows now; uses up lidar noise."""
    radii = [[person.radius] for person in simulation.world.people]
    places = persons.places(np.concatenate([simulation.people, radii], 1), simulation.true_pose, radius)
    return persons.visible(places, canonical_ranges(simulation.sweep()), radius)


# --- figures over episodes --------------------------------------------------------------------------------------------------


def steps_of(record: Mapping[str, Mapping[str, list]], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(promised, found, which count), all [plans, H], of one episode's record."""
    promised, found = (np.array(record[name][key], float) for key in ("promised", "found"))
    known = np.isfinite(promised) & np.isfinite(found)
    return promised, found, known & ((promised < NEAR) | (found < NEAR))


def summarize(records: Sequence[Mapping], seed: int = 0) -> dict[str, dict]:
    """Name -> how its promises were kept over the episodes' `records`.

    `kept`: share of all steps that count, `interval`: of it, 95 %, by bootstrap over episodes; `kept_when_near`: the share
    where the truth itself is near; `by_step`; `episodes_kept`: share of the episodes in which at least `WITHIN` of the steps
    kept it; `over`: by how much it was broken where it was, `under`: what was left where it was not, m (50 and 95 %).
    """
    found = {}
    for name in NAMES:
        parts = [steps_of(record, name) for record in records if record and name in record]
        if parts:
            found[name] = _figures(parts, seed)
    return found


def _figures(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], seed: int) -> dict:
    kept = [promised <= came + TOLERANCE for promised, came, _ in parts]
    sums = np.array([[(k & c).sum(), c.sum()] for k, (_, _, c) in zip(kept, parts, strict=True)], float)
    close = [c & (came < NEAR) for _, came, c in parts]
    over = np.concatenate([(promised - came)[c] for promised, came, c in parts])
    counted = sums[sums[:, 1] > 0]
    shares = counted[:, 0] / counted[:, 1]
    return {
        "episodes": len(counted),
        "plans": sum(len(promised) for promised, _, _ in parts),
        "steps": int(sums[:, 1].sum()),
        "kept": _share(counted[:, 0].sum(), counted[:, 1].sum()),
        "interval": _bootstrap(counted, seed),
        "kept_when_near": _share(sum((k & c).sum() for k, c in zip(kept, close, strict=True)), sum(c.sum() for c in close)),
        "episodes_kept": _share((shares >= WITHIN).sum(), len(shares)),
        "by_step": {
            label: _share(
                sum((k & c)[:, where].sum() for k, (_, _, c) in zip(kept, parts, strict=True)),
                sum(c[:, where].sum() for _, _, c in parts),
            )
            for label, where in BUCKETS.items()
        },
        "over": _quantiles(over[over > TOLERANCE]),
        "under": _quantiles(-over[over <= TOLERANCE]),
    }


def _bootstrap(sums: np.ndarray, seed: int, draws: int = 2000) -> list[float] | None:
    """95 % interval of kept / counted when whole episodes `sums` [n, 2] are drawn anew."""
    if not len(sums):
        return None
    index = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    drawn = sums[index].sum(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return [round(float(low), 4), round(float(high), 4)]


def _share(part: float, whole: float) -> float | None:
    return round(float(part) / float(whole), 4) if whole else None


def _quantiles(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    return {f"p{share}": round(float(np.percentile(values, share)), 3) for share in (50, 95)}


def _plain(values: np.ndarray) -> list:
    return [round(float(value), 4) if math.isfinite(value) else None for value in values]


__all__ = ["EVERY", "NEAR", "Promises", "Witness", "carry_out", "promised_by", "summarize"]
