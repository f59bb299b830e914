"""Does surprise tell a wall that appears from ordinary driving?  Alarms without reason, alarms at the event, and what they do.

Part one drives ordinary episodes of unseen apartments and counts decisions with a surprise above 1, the alarm level.  Part two
raises a wall across the robot's way in others, in the middle of the drive, and measures how soon surprise exceeds 1 and how
speed falls; the same events with an agent that hears no surprise say how much of that is surprise's doing.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field

import numpy as np

HELP = "false alarms of surprise in ordinary driving, against walls that appear across the way"
EXAMPLE = "objective-agent bench surprise --model models/apartment --episodes 8 --events 12 --seed 3 --json surprise.json"

DRIVEN, MOVING, STRAIGHT = 0.8, 0.3, 0.4
"""The wall comes when the robot has driven this far (m), is this fast (m/s) and turns no faster than this (rad/s)."""
WITHIN = 1.0
"""An alarm that comes later than this after the event is none for it, s."""
AFTER = 2.5
"""How long the run goes on after the event, s."""
DEAF = 1e6
PARTS = ("position", "heading", "representation")


def add_arguments(parser) -> None:
    parser.add_argument("--model", default="models/apartment", metavar="DIR", help="the trained model")
    parser.add_argument("--params", metavar="FILE", help="ROS parameter file (default: the shipped config/learned.yaml)")
    parser.add_argument("--task", default="apartment", help="condition (default: apartment)")
    parser.add_argument("--episodes", type=int, default=8, metavar="N", help="ordinary episodes (default 8)")
    parser.add_argument("--events", type=int, default=12, metavar="N", help="walls (default 12)")
    parser.add_argument("--distance", type=float, default=1.2, metavar="M", help="how far ahead they appear, m (default 1.2)")
    parser.add_argument("--seed", type=int, default=3, help="draws apartments, starts and goals (default 3)")


@dataclass
class Trace:
    """One run, a row per decision: time, surprise, true forward speed, speed wanted; and what parts surprise is made of."""

    index: int
    rows: list[tuple[float, float, float, float]] = field(default_factory=list)
    parts: list[tuple[float, float, float]] = field(default_factory=list)
    event: float | None = None
    contacts: int = 0
    success: bool = False


class Run:
    """Drives one episode and notes what `Trace` says; with `distance`, raises a wall that far ahead and ends soon after."""

    def __init__(self, parameters, gate, distance: float | None):
        self.parameters, self.gate, self.distance = parameters, gate, distance

    def __call__(self, episode) -> Trace:
        from objective_agent.simulation.episode import run_episode
        from objective_agent.simulation.evaluation import AgentController

        self.trace, self.driven, self.place = Trace(episode.index), 0.0, None
        actor = self.parameters.actor
        controller = AgentController(self.parameters, actor.deadline)
        act, trace = controller.act, self.trace

        def noted(now: float) -> tuple[float, float]:
            wanted = act(now)
            if controller.agent.planner.optimizer is not None:
                trace.rows.append((now, controller.agent.surprise, self.speed, wanted[0]))
                trace.parts.append(tuple(controller.agent.surprises.get(part, 0.0) for part in PARTS))
            return wanted

        controller.act = noted
        outcome = run_episode(
            episode, controller, self.parameters.robot, self.gate, actor.period, actor.deadline, True, self.each
        )
        trace.contacts, trace.success = outcome.contacts, outcome.success
        return trace

    def each(self, now: float, simulation) -> bool:
        from objective_agent.types import InputError

        trace, place = self.trace, simulation.true_pose[:2]
        self.driven += 0.0 if self.place is None else math.dist(place, self.place)
        self.place = place
        self.speed, turn = (float(value) for value in simulation.true_velocity)
        if trace.event is None and self.distance and self.driven > DRIVEN and self.speed > MOVING and abs(turn) < STRAIGHT:
            try:
                simulation.raise_wall(self.distance)
                trace.event = now
            except InputError:  # no room for it here
                pass
        return trace.event is not None and now > trace.event + AFTER


def main(args) -> dict:
    """The figures; every one is deterministic in the arguments, the model and the parameters."""
    import torch

    from objective_agent.cli.evaluate import load, with_model
    from objective_agent.simulation.tasks import make_task
    from objective_agent.types import InputError

    if min(args.episodes, args.events) < 1 or not args.distance > 0:
        raise InputError("bench surprise: --episodes, --events and --distance must be more than 0")
    torch.set_num_threads(1)
    parameters, gate = load(args.params, "learned.yaml")
    parameters = with_model(parameters, args.model)
    task = make_task(args.task, args.seed, parameters.robot)
    ordinary = []
    for index in range(args.episodes):
        ordinary.append(Run(parameters, gate, None)(task.episode(index)))
        progress("ordinary", ordinary_figures(ordinary[-1:], parameters.actor.period))
    deaf = parameters.world_model.model_copy(update={f"surprise_{part}": DEAF for part in PARTS})
    hearing, unhearing, index = [], [], args.episodes
    while len(hearing) < args.events and index < args.episodes + 10 * args.events:
        trace = Run(parameters, gate, args.distance)(task.episode(index))
        if trace.event is not None:
            hearing.append(trace)
            other = parameters.model_copy(update={"world_model": deaf})
            unhearing.append(Run(other, gate, args.distance)(task.episode(index)))
            progress("heard", one(hearing[-1]))
            progress("not heard", one(unhearing[-1]))
        index += 1
    return {
        "model": args.model,
        "task": args.task,
        "seed": args.seed,
        "parameters": parameters.world_model.model_dump(mode="json"),
        "ordinary": ordinary_figures(ordinary, parameters.actor.period),
        "events": event_figures(hearing) | {"each": [one(trace) for trace in hearing]},
        "events_surprise_not_heard": event_figures(unhearing),
    }


def progress(what: str, figures: dict) -> None:
    """A line per run on stderr, so that a long measurement can be watched."""
    sys.stderr.write(f"{what}: {json.dumps(figures)}\n")
    sys.stderr.flush()


def ordinary_figures(traces: list[Trace], period: float) -> dict:
    surprise = [np.array([row[1] for row in trace.rows]) for trace in traces]
    values, parts = np.concatenate(surprise), np.concatenate([np.array(trace.parts) for trace in traces])
    alarms = sum(int((np.diff((each > 1).astype(int), prepend=0) > 0).sum()) for each in surprise)
    return {
        "episodes": [trace.index for trace in traces],
        "decisions": len(values),
        "share_above_1": round(float((values > 1).mean()), 4),
        "alarms_per_minute": round(60 * alarms / (len(values) * period), 2),
        "surprise": {f"p{q:g}": round(float(np.percentile(values, q)), 2) for q in (50, 95, 99, 99.5)},
        "parts_p99": dict(zip(PARTS, np.percentile(parts, 99, axis=0).round(2).tolist(), strict=True)),
        "reached": sum(trace.success for trace in traces),
        "contacts": sum(trace.contacts for trace in traces),
    }


def one(trace: Trace) -> dict:
    """An event: surprise before, its peak and when it exceeded 1; speeds before, and the least within 1 s."""
    rows = np.array(trace.rows)
    since = rows[:, 0] - trace.event
    before, after = rows[(since < -1e-6) & (since > -1.0)], rows[(since > -1e-6) & (since < WITHIN + 1e-6)]
    above = after[after[:, 1] > 1]
    later = rows[since > AFTER - 1.0]
    return {
        "episode": trace.index,
        "before": round(float(before[:, 1].max()), 2) if len(before) else None,
        "peak": round(float(after[:, 1].max()), 2),
        "seconds_to_alarm": round(float(above[0, 0] - trace.event), 2) if len(above) else None,
        "afterwards": round(float(later[:, 1].max()), 2) if len(later) else None,
        "speed_before": round(float(after[0, 2]), 2),
        "least_speed": round(float(after[:, 2].min()), 2),
        "least_wanted": round(float(after[:, 3].min()), 2),
        "contacts": trace.contacts,
    }


def event_figures(traces: list[Trace]) -> dict:
    if not traces:
        return {"events": 0}
    found = [one(trace) for trace in traces]
    peaks = [each["peak"] for each in found]
    times = [each["seconds_to_alarm"] for each in found if each["seconds_to_alarm"] is not None]
    return {
        "events": len(found),
        "noticed": len(times),
        "seconds_to_alarm": {"p50": float(np.median(times)), "longest": max(times)} if times else None,
        "peak": {"least": min(peaks), "p50": round(float(np.median(peaks)), 2)},
        "speed_before": round(float(np.mean([each["speed_before"] for each in found])), 3),
        "least_speed": round(float(np.mean([each["least_speed"] for each in found])), 3),
        "least_wanted": round(float(np.mean([each["least_wanted"] for each in found])), 3),
        "contacts": sum(trace.contacts for trace in traces),
    }
