"""Planning with what may happen, not with what happens on average: near misses and path lengths, paired.

The two worlds of `risk_worlds`.  Every row drives the same episodes with the same search, cost terms and K futures of a world
model that knows the true probabilities; only what is made of the K futures differs.  Each row's episodes go in step, as one
batch of problems for the optimizer.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import pages, risk_worlds
from objective_agent.results.statistics import paired, wilson
from objective_agent.types import InputError

HELP = "mean against CVaR, worst future against a quantile: a person who may go either way, a door that may close"
EXAMPLE = "objective-agent bench risk --seed 11 --write docs/risk.md --json risk.json"
WORLDS = ("person", "door")


@dataclass(frozen=True)
class Row:
    """`average`: guardrails hear the mean of the futures; otherwise they must hold in the share `quantile` of them."""

    name: str
    average: bool = False
    tail: float = 1.0
    quantile: float = 1.0


ROWS = (
    Row("mean_only", average=True),
    Row("cvar_worst", tail=0.25),
    Row("mean_worst"),
    Row("cvar_quantile", tail=0.25, quantile=0.8),
)
BOLD = "mean_only"

DT, HORIZON, FUTURES, SAMPLES = 0.25, 12, 5, 32
LIMIT = 25.0
"""An episode ends after this time, s."""
NEAR, MOVES, ARRIVED = 0.15, 0.05, 0.3
"""A near miss: this near to what moves, m, while the robot moves at least so fast, m/s; the goal's tolerance, m."""
MARGIN = 0.2
"""What the guardrail `people` asks for in every row, m; its slack is 0.05 m, as the distances here are exact."""
SEEN = 0.4
"""Which way it goes is known this long after it began to, s."""
FINE = 5
"""Instants per decision at which distances are measured."""


def add_arguments(parser) -> None:
    parser.add_argument("--episodes", type=int, default=120, metavar="N", help="in each world, for each row (default 120)")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS), help="default: both")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="draws the episodes (default 1)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, between its marks")


def main(args) -> dict:
    import torch

    if args.episodes < 1:
        raise InputError("bench risk: --episodes must be at least 1")
    page = None if args.write is None else pages.Page(args.write, "risk")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        worlds = {world: _world(world, args.episodes, args.seed) for world in args.worlds}
    finally:
        torch.set_num_threads(threads)
    found = {
        "seed": args.seed,
        "hardware": pages.machine(threads=1),
        "protocol": {
            "near_m": NEAR, "margin_m": MARGIN, "moving_m_s": MOVES, "goal_m": ARRIVED, "limit_s": LIMIT,
            "futures": FUTURES, "dt": DT, "horizon": HORIZON, "samples": SAMPLES, "optimizer": "mppi",
        },
        "worlds": worlds,
    }  # fmt: skip
    if page is not None:
        page.put(table(found), found)
    return found


def _world(world: str, episodes: int, seed: int) -> dict:
    drives = {}
    for row in ROWS:
        drives[row.name] = drive(world, row, draw(world, episodes, seed), seed)
        found = drives[row.name]
        print(f"{world} {row.name}: {found.near.sum()} near misses in {episodes} episodes", file=sys.stderr, flush=True)
    return {"episodes": episodes, "rows": [summary(drives, name) for name in drives]}


def summary(drives: dict[str, Drives], name: str) -> dict:
    """One row's figures, and beside `BOLD`: lengths over the episodes in which both arrived, an exact paired sign test."""
    ours, theirs = drives[name], drives[BOLD]
    both, total = ours.arrived & theirs.arrived, len(ours.near)
    lengths = [float(each.length[both].mean()) if both.any() else float("nan") for each in (ours, theirs)]
    return {
        "row": name,
        "near_misses": int(ours.near.sum()),
        "near_interval": [round(each, 4) for each in wilson(int(ours.near.sum()), total)],
        "contacts": int(ours.contact.sum()),
        "arrived": int(ours.arrived.sum()),
        "arrived_interval": [round(each, 4) for each in wilson(int(ours.arrived.sum()), total)],
        "length_m": round(lengths[0], 3),
        "length_ratio": round(lengths[0] / lengths[1], 4),
        "seconds": round(float(ours.seconds[ours.arrived].mean()), 2) if ours.arrived.any() else None,
        "sign_p": round(paired((~ours.near).tolist(), (~theirs.near).tolist())["p"], 6),
        "cpu_ms_per_decision": round(ours.cpu_ms, 2),
    }


# --- the episodes -----------------------------------------------------------------------------------------------------------


@dataclass
class Episodes:
    """What was drawn: the robot's start and goal [B, 2], what is believed of the thing, and what it will really do."""

    start: np.ndarray
    goal: np.ndarray
    known: np.ndarray
    first: np.ndarray
    """[B] bool: it goes the first way."""
    begins: np.ndarray
    """Person: the y at which they turn or go on; door: when it begins to move, s."""


def draw(world: str, count: int, seed: int) -> Episodes:
    random = np.random.default_rng([seed, WORLDS.index(world)])

    def between(low, high):
        return random.uniform(low, high, count)

    start = np.stack([np.zeros(count), between(-0.15, 0.15)], -1)
    rare = between(0.15, 0.4)
    if world == "person":
        goal = np.stack([np.full(count, 6.0), between(-0.15, 0.15)], -1)
        speed, arrive = between(0.6, 1.0), between(4.2, 5.4)  # a robot at full speed is at the crossing after 5.3 s
        edge = np.full(count, risk_worlds.EDGE)
        known = np.stack([np.full(count, risk_worlds.AT), edge + speed * arrive, speed, edge, rare], -1)
        return Episodes(start, goal, known, random.random(count) < rare, edge + between(-0.1, 0.1))
    goal = np.stack([np.full(count, 6.0), between(-0.15, 0.4)], -1)
    expected = between(4.4, 5.4)
    known = np.stack([np.zeros(count), expected, rare], -1)
    return Episodes(start, goal, known, random.random(count) < rare, expected + between(-0.4, 0.4))


class Thing:
    """What moves, as it really does: `known` [B, F] is what can be seen of it, and its probabilities."""

    def __init__(self, world: str, episodes: Episodes):
        self.world, self.episodes, self.time = world, episodes, 0.0
        self.known, count = episodes.known.copy(), len(episodes.known)
        self.since = np.zeros(count)
        """For how long it has been going its way, s."""

    def advance(self, seconds: float) -> None:
        self.time += seconds
        known, drawn, probability = self.known, self.episodes, self.known.shape[1] - 1
        if self.world == "person":
            begun = known[:, 1] <= drawn.begins
            known[:, 0] += seconds * known[:, 2] * (begun & ~drawn.first)
            known[:, 1] -= seconds * known[:, 2] * (~begun | drawn.first)
        else:
            begun = self.time >= drawn.begins
            known[:, 0] = np.clip(known[:, 0] + risk_worlds.SLIDE * seconds * (begun & drawn.first), 0, 2 * risk_worlds.HALF)
            known[:, 1] -= seconds
        self.since += seconds * begun
        seen = self.since >= SEEN
        known[seen, probability] = drawn.first[seen]

    def gap(self, position: np.ndarray, radius: float) -> np.ndarray:
        """Distance [B] from the robot's footprint; inf for a door leaf that does not move."""
        if self.world == "person":
            return np.linalg.norm(position - self.known[:, :2], axis=1) - risk_worlds.BODY - radius
        distance = risk_worlds.leaf_distance(position[:, 0], position[:, 1], self.known[:, 0], np) - radius
        moves = (self.known[:, 0] > risk_worlds.OUT) & (self.known[:, 0] < 2 * risk_worlds.HALF)
        return np.where(moves, distance, np.inf)

    def subgoal(self, position: np.ndarray) -> np.ndarray:
        """[B, 2]: before the wall, what a route would say: the door, or the other way once it is seen to close."""
        goal = self.episodes.goal
        if self.world == "person":
            return goal
        closed = self.known[:, 2] > 0.999
        x = np.where(closed & (np.abs(position[:, 1] - risk_worlds.OTHER) > 0.2), -0.5, 0.4)
        through = np.stack([risk_worlds.WALL + x, np.where(closed, risk_worlds.OTHER, risk_worlds.DOOR)], 1)
        return np.where((position[:, 0] < risk_worlds.WALL + 0.1)[:, None], through, goal)


# --- driving ----------------------------------------------------------------------------------------------------------------


@dataclass
class Drives:
    """Of each episode [B]: whether it had a near miss, contact, arrived; the path's length (m) and time (s)."""

    near: np.ndarray
    contact: np.ndarray
    arrived: np.ndarray
    length: np.ndarray
    seconds: np.ndarray
    cpu_ms: float


def drive(world: str, row: Row, episodes: Episodes, seed: int) -> Drives:
    import torch

    from objective_agent.actor.proposals import shifted
    from objective_agent.config import CostParameters, PluginSpec, RobotParameters
    from objective_agent.planner import make_guardrails, make_objectives
    from objective_agent.plugins import create
    from objective_agent.simulation.ablations import MeanFutures
    from objective_agent.types import Goal, NamedGuardrail, Problem, WorldState

    robot = RobotParameters()
    cost = CostParameters(
        objectives=("goal_pose", "smooth", "effort", "bump", "courtesy"),
        guardrails=("clearance", "people"),
        people={"margin": MARGIN, "slack": 0.05},
    )
    kind = {"person": "Person", "door": "Door"}[world]
    model = create("world_model", PluginSpec(plugin=f"benchmarks.risk_worlds:{kind}"), robot)
    optimizer = create("optimizer", PluginSpec(plugin="mppi", samples=SAMPLES, use_library=False, rescue=1, modes=0), robot)
    optimizer.reset(seed)
    objectives, guardrails = make_objectives(cost, robot), make_guardrails(cost, robot)
    if row.average:
        guardrails = [NamedGuardrail(each.name, MeanFutures(each.guardrail)) for each in guardrails]
    count, thing = len(episodes.start), Thing(world, episodes)
    points = np.tile(risk_worlds.walls(world), (count, 1, 1))
    pose = np.concatenate([episodes.start, np.zeros((count, 1))], 1)
    nothing = {"sent_stamps": np.zeros(0), "sent": np.zeros((count, 0, 2))}
    state = WorldState(0.0, thing.known[:, None].copy(), pose, np.zeros((count, 2)), "two-ways", points=points, **nothing)
    result = Drives(*(np.zeros(count, bool) for _ in range(3)), np.zeros(count), np.full(count, LIMIT), 0.0)
    limits = [np.array(each) for each in (
        [-robot.max_reverse_speed, -robot.max_turn_rate], [robot.max_speed, robot.max_turn_rate],
        [robot.max_acceleration, robot.max_turn_acceleration],
    )]  # fmt: skip
    plan, begun, decisions, active = None, time.process_time(), 0, np.ones(count, bool)
    while state.stamp < LIMIT - 1e-6 and not result.arrived.all():
        still, active = ~result.arrived[active], ~result.arrived
        now = _some(state, thing.known, active)
        predicted = model.advance(now.to_torch(), state.stamp + robot.actuator_delay)
        goal = Goal(torch.tensor(thing.subgoal(state.pose[:, :2])[active]), final=False)
        last = now.sent[:, -1] if now.sent.shape[1] else now.velocity
        warm = None if plan is None else shifted(plan.actions[torch.tensor(still)], 1)
        risk = {"tail": row.tail, "quantile": row.quantile}
        problem = Problem(
            predicted, goal, model, objectives, guardrails, HORIZON, DT, FUTURES, *limits, last, warm_start=warm, **risk
        )
        plan = optimizer.solve(problem, float("inf"))
        decisions += int(active.sum())
        command = np.zeros((count, 2))
        command[active] = plan.actions[:, 0].numpy()
        stamps = np.append(state.sent_stamps, state.stamp)[-8:]
        state = replace(state, sent_stamps=stamps, sent=np.concatenate([state.sent, command[:, None]], 1)[:, -8:])
        for _ in range(FINE):
            before = state.pose[:, :2]
            state = model.advance(state, state.stamp + DT / FINE)
            thing.advance(DT / FINE)
            on = ~result.arrived
            gap = thing.gap(state.pose[:, :2], robot.radius)
            moves = np.abs(state.velocity[:, 0]) >= MOVES
            result.near |= on & moves & (gap < NEAR)
            result.contact |= on & moves & (gap < 0)
            result.length += on * np.linalg.norm(state.pose[:, :2] - before, axis=1)
            there = np.linalg.norm(state.pose[:, :2] - episodes.goal, axis=1) <= ARRIVED
            result.seconds = np.where(on & there, state.stamp, result.seconds)
            result.arrived |= there
    result.cpu_ms = 1e3 * (time.process_time() - begun) / max(1, decisions)
    return result


def _some(state, known: np.ndarray, which: np.ndarray):
    """The state of some of the episodes, with what is known of what moves."""
    arrays = {name: getattr(state, name)[which] for name in ("pose", "velocity", "points", "sent")}
    return replace(state, representation=known[which][:, None], **arrays)


# --- the table --------------------------------------------------------------------------------------------------------------


def table(found: dict) -> str:
    lines = []
    for world, figures in found["worlds"].items():
        lines += [
            f"`{world}`, {figures['episodes']} episodes, seed {found['seed']}:",
            "",
            "| row | near misses | contacts | arrived | path | path / `mean_only` | time | p |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in figures["rows"]:
            share, (low, high) = 100 * row["near_misses"] / figures["episodes"], (100 * each for each in row["near_interval"])
            cells = [
                f"`{row['row']}`",
                f"{row['near_misses']} ({share:.1f} %, {low:.1f} to {high:.1f})",
                *(str(row[name]) for name in ("contacts", "arrived")),
                f"{row['length_m']:.2f} m",
                f"{row['length_ratio']:.3f}",
                f"{row['seconds']} s",
                "< 1e-6" if row["sign_p"] < 1e-6 else f"{row['sign_p']:.2g}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
