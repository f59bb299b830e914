"""Latency is part of the state: how far a robot whose commands act late is from where it should be, with and without that.

    none       plans begin at the observation, as if commands acted at once
    given      they begin when the action will take effect by the parameters: planning time and `robot.actuator_delay` = 0.1 s
    true       ... with the delay that the robot really has
    measured   ... with the delay that memory measures (`memory.actuator_delay: measured`), `given` while that is unknown

The whole agent follows paths at 0.3 to 0.5 m/s on time between posts (`latency_paths`), with the analytic world model, in the
embedded simulator; truth is read for scores only.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import latency_paths, pages
from objective_agent.agent import Agent
from objective_agent.config import AgentParameters, RobotParameters, Task, validate
from objective_agent.memory.delay import DelayEstimator
from objective_agent.simulation import RobotSimulation, World
from objective_agent.simulation.driver import Explorer
from objective_agent.simulation.parameters import OdometryParameters, SensorParameters
from objective_agent.simulation.slip import Slip, draw_slip
from objective_agent.types import Command, InputError, Odometry

HELP = "following a path on time with 0 to 360 ms of delay: without compensation, with the true and with the measured delay"
EXAMPLE = "objective-agent bench latency --seeds 5 --write docs/latency.md --plot docs/images/latency.png --json latency.json"
ROWS, PATHS = ("none", "given", "true", "measured"), ("eight", "slalom")
GIVEN, PERIOD, PLANNING = 0.1, 0.1, 0.035
"""The delay that the parameters say, the time between decisions, and the planning time of every decision, s."""
SETTLED, LENGTH = 10.0, 30.0
"""Errors count from here to the end, s: what is measured is known by then."""
EXACT = SensorParameters(
    odometry=OdometryParameters(distance_scale_error=0, turn_scale_error=0, turn_bias=0, distance_noise=0, turn_noise=0)
)
"""Odometry that does not drift (its velocities are noisy): drift is no matter of latency."""


def add_arguments(parser) -> None:
    parser.add_argument("--delays", type=float, nargs="+", default=[0, 100, 200, 360], metavar="MS", help="actuator delays")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="drives of every row on every path (default 5)")
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS), help="default: both")
    parser.add_argument(
        "--slips", type=int, default=20, metavar="N", help="robots with hidden slip, estimates alone (default 20)"
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="JSON", help="tables and plot of an earlier run; drives nothing"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this page, between its marks")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the errors")


def main(args) -> dict:
    if args.seeds < 1 or args.slips < 0 or not all(0 <= delay <= 1000 for delay in args.delays):
        raise InputError("bench latency: --seeds must be at least 1, --slips at least 0, --delays from 0 to 1000 ms")
    page = None if args.write is None else pages.Page(args.write, "latency")
    found = measure(args) if args.source is None else pages.read_result(args.source)
    if page is not None:
        page.put(table(found), found)
    if args.plot is not None:
        plot(found, args.plot)
    return found


def measure(args) -> dict:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_row(path, delay / 1e3, args.seeds) for path in args.paths for delay in args.delays]
    finally:
        torch.set_num_threads(threads)
    return {
        "hardware": pages.machine(threads=1),
        "protocol": {"period_s": PERIOD, "planning_s": PLANNING, "given_s": GIVEN, "seeds": args.seeds, "settled_s": SETTLED},
        "rows": [each for some in rows for each in some],
        "estimates": estimates(args.slips) if args.slips else [],
    }


def _row(path: str, delay: float, seeds: int) -> list[dict]:
    made: dict[tuple, list[Drive]] = {}
    rows = []
    for row in ROWS:
        key = (row == "none", row == "measured", {"none": 0.0, "true": delay}.get(row, GIVEN))
        if key not in made:  # at 100 ms what is given is true
            made[key] = [drive(path, delay, row, seed) for seed in range(1, seeds + 1)]
        drives = made[key]
        errors = np.concatenate([each.errors for each in drives])
        known = [value for each in drives for value in each.estimates]
        rows.append(
            {
                "path": path,
                "delay_ms": round(1e3 * delay),
                "row": row,
                "error_m": round(float(errors.mean()), 4),
                "error_p95_m": round(float(np.percentile(errors, 95)), 4),
                "by_seed_m": [round(float(each.errors.mean()), 4) for each in drives],
                "overshoot_m": round(max(each.beside for each in drives), 4),
                "contacts": sum(each.contacts for each in drives),
                **({"estimate": _about(np.array(known) - delay, drives)} if row == "measured" else {}),
            }
        )
        print(f"{path} {1e3 * delay:.0f} ms {row}: {rows[-1]['error_m']:.3f} m", file=sys.stderr, flush=True)
    return rows


def _about(errors: np.ndarray, drives: list[Drive]) -> dict:
    first = [each.first_known for each in drives if each.first_known is not None]
    if not len(errors):
        return {"known_share": 0.0}
    return {
        "error_ms": round(1e3 * float(np.abs(errors).mean()), 1),
        "error_p95_ms": round(1e3 * float(np.percentile(np.abs(errors), 95)), 1),
        "known_share": round(float(np.mean([each.known_share for each in drives])), 3),
        "first_known_s": round(float(np.mean(first)), 1) if first else None,
    }


@dataclass
class Drive:
    """`errors` m from where to be, ten times a second once settled; `beside` m from the curve at most; `estimates` s."""

    errors: np.ndarray = field(default_factory=lambda: np.zeros(0))
    beside: float = 0.0
    contacts: int = 0
    estimates: list[float] = field(default_factory=list)
    known_share: float = 0.0
    first_known: float | None = None


def agent_parameters(path: str, delay: float, measured: bool) -> AgentParameters:
    """An agent that believes in `delay`, follows `path`, and is never surprised: a wrong delay would slow it as well."""
    data = {
        "robot": {"actuator_delay": delay},
        "memory": {"actuator_delay": "measured" if measured else "given"},
        "world_model": {"surprise_position": 10.0, "surprise_heading": 10.0},
        "cost": {
            "objectives": ["on_time", "smooth", "effort"],
            "on_time": {"plugin": "benchmarks.latency_paths:OnTime", "path": path},
            "clearance": {"margin": 0.03},
        },
        "actor": {
            "optimizer": {"plugin": "mppi", "samples": 32, "iterations": 2, "modes": 0},
            "horizon": 10, "period": PERIOD, "deadline": PLANNING,
        },
        "configurator": {"use_route": False},
    }  # fmt: skip
    return validate(AgentParameters, data, "bench latency")


def drive(name: str, delay: float, row: str, seed: int) -> Drive:
    """One drive of `LENGTH` seconds; its time line is that of an evaluation (`simulation/episode.py`), without a gate."""
    path = latency_paths.path(name)
    body = RobotParameters(actuator_delay=delay)
    simulation = RobotSimulation(World.from_xml(path.xml(), name, body), body, EXACT, seed, camera=False, start=path.start)
    believed = {"none": 0.0, "true": delay}.get(row, GIVEN)
    agent = Agent(agent_parameters(name, believed, row == "measured"), seed)
    agent.set_task(Task(kind="goal_pose", position=(99.0, 99.0)))
    result, errors = Drive(), []
    for _ in range(round(LENGTH / PERIOD)):
        for reading in simulation.advance(PERIOD - PLANNING):
            agent.observe(reading)
        now = simulation.time
        if now >= SETTLED:
            place = simulation.true_pose[:2]
            errors.append(np.hypot(*(place - path.at(now))))
            result.beside = max(result.beside, path.beside(place))
        decision = agent.step(now, latency=0.0 if row == "none" else PLANNING)
        known = decision.state.actuator_delay if decision.state is not None else None
        if known is not None:
            result.first_known = now if result.first_known is None else result.first_known
            result.estimates.append(known)
        for reading in simulation.advance(PLANNING):
            agent.observe(reading)
        command = Command(simulation.time, decision.command.v, decision.command.w)
        simulation.command(command.v, command.w)
        agent.command_sent(command)
    result.errors, result.contacts = np.array(errors), simulation.contacts
    result.known_share = len(result.estimates) / round(LENGTH / PERIOD)
    return result


def estimates(count: int) -> list[dict]:
    """How well the delay is measured on robots driven about in an apartment for a minute: plain ones, and with hidden slip."""
    world = World.load("apartment")
    rows = []
    for kind in ("delay alone", "slip, payload and delay"):
        errors, known = [], []
        for seed in range(count):
            random, robot = np.random.default_rng(seed), RobotParameters()
            slip = draw_slip(random, GIVEN) if kind != "delay alone" else Slip(extra_delay=float(random.uniform(-0.1, 0.3)))
            lately = deque(maxlen=1)
            for now, estimator in driven_about(world, robot, slip, seed):
                if estimator.delay is not None and estimator.delay.stamp not in lately:
                    lately.append(estimator.delay.stamp)
                    errors.append(estimator.seconds(now) - GIVEN - slip.extra_delay)
                if now > SETTLED:
                    known.append(estimator.seconds(now) is not None)
        rows.append(
            {
                "robots": kind,
                "count": count,
                "error_ms": round(1e3 * float(np.abs(errors).mean()), 1),
                "error_p95_ms": round(1e3 * float(np.percentile(np.abs(errors), 95)), 1),
                "known_share": round(float(np.mean(known)), 3),
            }
        )
    return rows


def driven_about(
    world: World, robot: RobotParameters, slip: Slip, seed: int, seconds: float = 60.0
) -> Iterator[tuple[float, DelayEstimator]]:
    """(time, the estimator that watched) after each command to a robot with hidden `slip` that explores for `seconds`."""
    simulation = RobotSimulation(world, robot, seed=seed, camera=False, slip=slip)
    driver, estimator = Explorer(robot, seed), DelayEstimator(robot)
    while simulation.time < seconds:
        for reading in simulation.advance(0.05):
            driver.observe(reading)
            if isinstance(reading, Odometry):
                estimator.measured(reading)
        command = Command(simulation.time, *driver.act(simulation.time))
        simulation.command(command.v, command.w)
        driver.command_sent(command)
        estimator.command_sent(command)
        yield simulation.time, estimator


# --- the page ---------------------------------------------------------------------------------------------------------------


def table(found: dict) -> str:
    lines = [
        "| path | delay | plans count on | error, mean | 95 % | beside the path, at most | contacts | estimate off by (95 %) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        about = row.get("estimate") or {}
        off = f"{about['error_ms']} ms ({about['error_p95_ms']} ms)" if "error_ms" in about else ""
        cells = [row["path"], f"{row['delay_ms']} ms", f"`{row['row']}`"]
        cells += [f"{100 * row[name]:.1f} cm" for name in ("error_m", "error_p95_m", "overshoot_m")]
        lines.append(f"| {' | '.join([*cells, str(row['contacts']), off])} |")
    if found["estimates"]:
        lines += ["", "| robots driven about for a minute | estimate off by, mean | 95 % | known |", "|---|---|---|---|"]
    for row in found["estimates"]:
        share = f"{100 * row['known_share']:.0f} % of the time"
        lines.append(f"| {row['count']} with {row['robots']} | {row['error_ms']} ms | {row['error_p95_ms']} ms | {share} |")
    return "\n".join(lines)


def plot(found: dict, file: Path) -> None:
    """Mean error over delay, one panel a path, one line a row; bars from the best to the worst drive."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    paths = list(dict.fromkeys(row["path"] for row in found["rows"]))
    figure, axes = plt.subplots(1, len(paths), figsize=(4.6 * len(paths), 3.4), sharey=True, squeeze=False)
    colours = dict(zip(ROWS, ("#c44e52", "#dd8452", "#55a868", "#4c72b0"), strict=True))
    for panel, name in zip(axes[0], paths, strict=True):
        for row in ROWS:
            rows = [each for each in found["rows"] if (each["path"], each["row"]) == (name, row)]
            delays, means = [each["delay_ms"] for each in rows], [100 * each["error_m"] for each in rows]
            ends = np.array([[100 * min(each["by_seed_m"]), 100 * max(each["by_seed_m"])] for each in rows]).T
            spread = np.abs(ends - means)
            style = {"linestyle": "--" if row == "measured" else "-", "marker": "o", "markersize": 4, "capsize": 3}
            panel.errorbar(delays, means, spread, label=row, color=colours[row], **style)
        panel.set_title(name)
        panel.set_xlabel("actuator delay, ms")
    axes[0][0].set_ylabel("distance from where to be, cm")
    axes[0][0].set_yscale("log")
    ticks = (0.5, 1, 2, 5, 10, 20, 50, 100)
    axes[0][0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0][0].set_ylim(0.4, 120)
    axes[0][0].legend(title="plans count on", frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)
