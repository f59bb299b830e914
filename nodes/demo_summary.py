"""The demo's figures, worked out from the recording alone, so that `--from run.mcap` gives the same ones again."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from objective_agent.visualization.recording import Recording
from objective_agent.visualization.style import GATE_LEVELS, gate_level

BEFORE, NOTICED, SLOWED = 1.0, 1.2, 1.5
"""Seconds around the wall's appearance in which surprise and speed are looked at."""


def summarise(recording: Recording) -> dict[str, Any]:
    """summary.json.  Rates and counts are over the time in which the robot had a goal; what was not recorded is null."""
    gate = interventions(recording)
    reached = sum(goal.reached for goal in recording.goals)
    return {
        "goals": max(len(recording.all_goals), len(recording.goals)),
        "goals_reached": reached,
        "collisions": collisions(recording),
        "decision_hz": _round(decision_rate(recording)),
        "sensor_to_command_ms": {
            "p50": _round(_last(recording.simulator.column("sensor_to_command_p50"))),
            "p99": _round(_last(recording.simulator.column("sensor_to_command_p99"))),
        },
        "real_time_factor": _round(real_time_factor(recording), 3),
        "deadline_misses": _count(recording.status.column("deadline_misses")),
        "gate_interventions": sum(gate.values()),
        "seconds": _round(recording.end - recording.start),
        "gate_interventions_by_level": gate,
        "planning_ms": _quantiles(recording.status.column("planning_ms")),
        "goal_seconds": [_round(goal.end - goal.start) for goal in recording.goals],
        "wall": wall(recording),
        "wall_planned": bool(recording.info.get("wall")),
        "failures": [f"goal {goal.index + 1}: {goal.reason}" for goal in recording.goals if not goal.reached],
        **{key: recording.info.get(key) for key in ("world", "seed", "model", "hardware", "versions", "exit_reason")},
    }


def wall(recording: Recording) -> dict[str, Any] | None:
    """What became of the wall that appeared: surprise and speed sent to the robot, before and after; None without a wall.

    `noticed`: surprise exceeded 1, the alarm level, within `NOTICED` seconds.  Before: the largest surprise and the mean
    speed of the second before.
    """
    spans = recording.wall_spans()
    if not spans:
        return None
    time = spans[0][0]
    surprise, speed = recording.surprise.column("surprise"), recording.gate.column("v_out")
    when, moment = recording.surprise.times, recording.gate.times
    before, after = (when > time - BEFORE) & (when <= time), (when > time) & (when <= time + NOTICED)
    above = after & (surprise > 1)
    driven, slowed = (moment > time - BEFORE) & (moment <= time), (moment > time) & (moment <= time + SLOWED)
    least = float(np.nanmin(speed[slowed])) if slowed.any() else math.nan
    at = float(moment[slowed][np.nanargmin(speed[slowed])]) if slowed.any() else math.nan
    return {
        "time": _round(time),
        "noticed": bool(above.any()),
        "seconds_to_alarm": _round(float(when[above][0]) - time) if above.any() else None,
        "surprise_before": _round(float(surprise[before].max())) if before.any() else None,
        "surprise_peak": _round(float(surprise[after].max())) if after.any() else None,
        "speed_before": _round(float(speed[driven].mean())) if driven.any() else None,
        "least_speed": _round(least),
        "seconds_to_least_speed": _round(at - time),
    }


def collisions(recording: Recording) -> int:
    """Contacts that began: the simulator's own count where it was heard, and rising edges of ~/contact; the larger one."""
    counted = _count(recording.simulator.column("contacts"))
    touching = np.array([bool(value) for _, value in recording.contact], int)
    onsets = int((np.diff(touching, prepend=0) > 0).sum())
    return max(counted or 0, onsets)


def driving(recording: Recording, times: np.ndarray) -> np.ndarray:
    """Which of `times` lie in a goal's span [n] bool."""
    inside = np.zeros(len(times), bool)
    for goal in recording.goals:
        inside |= (times >= goal.start) & (times <= goal.end)
    return inside


def decision_rate(recording: Recording) -> float:
    """Decisions per second of wall time while the robot had a goal."""
    seconds = sum(goal.end - goal.start for goal in recording.goals)
    return driving(recording, recording.status.times).sum() / seconds if seconds > 0 else math.nan


def real_time_factor(recording: Recording) -> float:
    """Simulated seconds per wall second, from /clock, from the first goal's start to the last one's end."""
    if not recording.goals or len(recording.clock) < 2:
        return _last(recording.simulator.column("real_time_factor"))
    part = recording.clock.between(recording.goals[0].start, recording.goals[-1].end)
    if part.stop - part.start < 2:
        return math.nan
    wall = recording.clock.times[part.stop - 1] - recording.clock.times[part.start]
    return (recording.clock[part.stop - 1] - recording.clock[part.start]) / wall


def interventions(recording: Recording) -> dict[str, int]:
    """How often the gate climbed to each level above OK while the robot had a goal."""
    inside = driving(recording, recording.gate.times)
    levels = np.array([GATE_LEVELS.index(gate_level(value.get("level"))) for _, value in recording.gate], int)[inside]
    climbs = levels[np.diff(levels, prepend=0) > 0]
    return {name: int((climbs == i).sum()) for i, name in enumerate(GATE_LEVELS) if i}


def _last(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else math.nan


def _count(values: np.ndarray) -> int | None:
    """A counter's last value; None when it was never reported."""
    last = _last(values)
    return None if math.isnan(last) else int(last)


def _quantiles(values: np.ndarray) -> dict[str, float | None]:
    finite = values[np.isfinite(values)]
    return {f"p{q}": _round(float(np.percentile(finite, q))) if len(finite) else None for q in (50, 99)}


def _round(value: float, digits: int = 2) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
