"""A run over time on one page: energies, clearance, surprise, thinking time, camera-to-command latency, the gate, speed.

Every panel shares the time axis; the span of each goal is shaded and named, so that a peak can be found on the video.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np

from objective_agent.visualization import style
from objective_agent.visualization.recording import Recording
from objective_agent.visualization.thought_view import margin_of

SIZE = (13.0, 15.5)
DPI = 100


def draw_dashboard(recording: Recording, path: str | Path, headline: str = "") -> Path:
    """Writes the page as a PNG (1300 x 1550 pixels) and returns its path.  `headline` stands under the title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(7, 1, sharex=True, gridspec_kw={"height_ratios": [2.0, 1.6, 1.1, 1.3, 1.0, 1.1, 1.4]})
    for panel, draw in zip(panels, (_energies, _clearance, _surprise, _thinking, _latency, _gate, _speed), strict=True):
        draw(panel, recording)
        _decorate(panel, recording)
    _name_goals(panels[0], recording)
    start = recording.start
    panels[-1].set_xlim(start, max(recording.end, start + 1))
    panels[-1].set_xlabel("seconds since the start of the recording", fontsize=12)
    world = recording.info.get("world", "unknown")
    figure.suptitle(f"objective_agent in the world “{world}”", x=0.03, y=0.989, ha="left", fontsize=18, weight="bold")
    if headline:
        figure.text(0.03, 0.967, headline, ha="left", va="top", fontsize=12.5, color=style.SOFT_INK, linespacing=1.4)
    figure.subplots_adjust(left=0.085, right=0.81, top=0.885, bottom=0.04, hspace=0.36)
    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial.png")
    figure.savefig(partial)
    partial.replace(path)
    return path


def _decorate(panel, recording: Recording) -> None:
    panel.grid(True, color="#e6e6e6", linewidth=0.8)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.tick_params(labelsize=11)
    handles, _ = panel.get_legend_handles_labels()
    if handles:
        panel.legend(loc="upper left", bbox_to_anchor=(1.005, 1.04), fontsize=11, frameon=False, borderaxespad=0.2)
    for goal in recording.goals:
        panel.axvspan(goal.start, goal.end, color=style.GOAL if goal.reached else style.INFEASIBLE, alpha=0.07, linewidth=0)
        panel.axvline(goal.end, color=style.GOAL if goal.reached else style.INFEASIBLE, linewidth=1, alpha=0.6)


def _name_goals(panel, recording: Recording) -> None:
    for goal in recording.goals:
        words = f"goal {goal.index + 1} {'✓' if goal.reached else '✗'} {goal.end - goal.start:.1f} s"
        colour = style.GOAL if goal.reached else style.INFEASIBLE
        middle = (goal.start + goal.end) / 2
        panel.text(
            middle, 1.02, words, ha="center", va="bottom", fontsize=10.5, color=colour, transform=panel.get_xaxis_transform()
        )


def _title(panel, words: str, unit: str) -> None:
    panel.set_title(words, loc="left", fontsize=13, weight="bold", pad=22 if words.startswith("Energy") else 5)
    panel.set_ylabel(unit, fontsize=11)


def _energies(panel, recording: Recording) -> None:
    """One line per objective, smoothed over half a second so that the trend is readable."""
    _title(panel, "Energy of the chosen plan, per objective (low is good)", "weighted energy (log)")
    names = list(dict.fromkeys(name for _, value in recording.energies for name in value))
    for k, name in enumerate(names):
        colour = style.OBJECTIVE_COLOURS[k % len(style.OBJECTIVE_COLOURS)]
        panel.plot(
            recording.energies.times,
            _smooth(recording.energies.column(name), 9) + 1e-9,
            color=colour,
            linewidth=1.8,
            label=name,
        )
    panel.set_yscale("log")
    panel.set_ylim(bottom=1e-3)


def _clearance(panel, recording: Recording) -> None:
    """Free space round the hull now (raw lidar), and where the chosen plan is narrowest (required + worst margin)."""
    _title(panel, "Clearance of the hull (0: touching)", "cm")
    radius = float(recording.info.get("robot_radius", 0.18))
    times, nearest = [], []
    for time, scan in recording.scan:
        points = scan.points()
        if len(points):
            times.append(time)
            nearest.append(100 * (np.linalg.norm(points, axis=1).min() - radius))
    panel.plot(times, nearest, color=style.SCAN, linewidth=1.6, label="lidar: hull to\nnearest return")
    margin = _clearance_margin(recording) or 0.0
    margins = np.array([margin_of(value) for _, value in recording.status])
    shown = np.where(margins > 50, np.nan, 100 * (margins + margin))
    panel.plot(recording.status.times, shown, color=style.PLAN, linewidth=1.2, label="chosen plan, where\nit is narrowest")
    panel.axhline(
        100 * margin,
        color=style.INFEASIBLE,
        linewidth=1.6,
        linestyle="--",
        label=f"margin that plans\nmust keep ({100 * margin:.0f} cm)",
    )
    panel.axhline(0, color=style.INK, linewidth=1.6)
    finite = np.concatenate([np.asarray(nearest, float), shown[np.isfinite(shown)]])
    panel.set_ylim(
        min(-5.0, finite.min() - 3) if len(finite) else -5, min(120.0, finite.max() * 1.1 + 5) if len(finite) else 100
    )


def _surprise(panel, recording: Recording) -> None:
    """The strip, the alarm level, the representation's part; where it slowed the robot, and when the wall stood there."""
    _title(panel, "Surprise (above 1 it slows the robot)", "alarm level = 1")
    times, total = recording.surprise.times, recording.surprise.column("surprise")
    part = recording.surprise.column("representation")
    for start, end in recording.wall_spans():
        panel.axvspan(start, end, color=style.WALL, alpha=0.16, linewidth=0)
        panel.axvline(start, color=style.WALL, linewidth=1.8, label="a wall appears")
    panel.plot(times, total, color=style.SURPRISE, linewidth=1.6, label="surprise")
    if np.isfinite(part).any() and np.nanmax(part) > 0:
        panel.plot(times, part, color=style.SOFT_INK, linewidth=0.9, alpha=0.8, label="of the\nrepresentation")
    slowed = total > 1
    if slowed.any():
        panel.fill_between(times, 1, np.maximum(total, 1), where=slowed, color=style.SURPRISE, alpha=0.35, linewidth=0)
        level = np.full(slowed.sum(), -0.12)
        panel.plot(times[slowed], level, "|", color=style.SURPRISE, markersize=7, clip_on=False, label="slows the robot")
    panel.axhline(1, color=style.INFEASIBLE, linewidth=1.4, linestyle="--")
    top = float(np.nanmax(total)) if np.isfinite(total).any() else 1.0
    panel.set_ylim(-0.25, max(1.6, 1.15 * min(top, 6.0)))


def _clearance_margin(recording: Recording) -> float | None:
    if not len(recording.configuration):
        return None
    cost = recording.configuration[-1].get("cost", {})
    terms = cost.get("terms", {})
    values = [terms.get(name, {}).get("margin") for name in ("clearance", "learned_clearance")]
    return next((float(value) for value in values if isinstance(value, int | float)), None)


def _thinking(panel, recording: Recording) -> None:
    """A dot per decision.  The few that took far longer stand as triangles at the top, so that the rest stays readable."""
    _title(panel, "Thinking time per decision", "ms")
    times, spent = recording.status.times, recording.status.column("planning_ms")
    known = spent[np.isfinite(spent)]
    deadlines = [
        1000 * value["actor"]["deadline"] for _, value in recording.configuration if "deadline" in value.get("actor", {})
    ]
    deadline = deadlines[-1] if deadlines else math.nan
    top = max(1.6 * deadline if deadlines else 0.0, 1.1 * float(np.percentile(known, 98)) if len(known) else 1.0)
    panel.plot(times, np.where(spent <= top, spent, np.nan), ".", color=style.PLAN, markersize=3, label="one decision")
    if (spent > top).any():
        label = f"{(spent > top).sum()} above {top:.0f} ms\n(longest {known.max():.0f} ms)"
        panel.plot(
            times[spent > top], np.full((spent > top).sum(), 0.96 * top), "^", color=style.PERSON, markersize=5, label=label
        )
    if deadlines:
        panel.axhline(deadline, color=style.INFEASIBLE, linewidth=1.6, linestyle="--", label=f"deadline ({deadline:.0f} ms)")
    panel.set_ylim(0, top)


def _latency(panel, recording: Recording) -> None:
    _title(panel, "Camera image to cmd_vel, on the steady clock", "ms")
    for name, colour, label in (
        ("sensor_to_command_p50", style.PLAN, "median"),
        ("sensor_to_command_p99", style.PERSON, "99th percentile"),
    ):
        panel.plot(recording.simulator.times, recording.simulator.column(name), color=colour, linewidth=1.8, label=label)
    panel.set_ylim(bottom=0)


def _gate(panel, recording: Recording) -> None:
    """The gate's ladder as coloured blocks; how often it stepped in stands in the title."""
    _title(panel, "Safety gate", "")
    levels = [style.gate_level(value.get("level")) for _, value in recording.gate]
    times = recording.gate.times
    heights = np.array([style.GATE_LEVELS.index(level) for level in levels])
    panel.set_yticks(range(len(style.GATE_LEVELS)), style.GATE_LEVELS)
    panel.set_ylim(-0.6, len(style.GATE_LEVELS) - 0.4)
    if not len(times):
        return
    changes = np.flatnonzero(np.diff(heights)) + 1
    edges = [0, *changes.tolist(), len(times)]
    for first, last in itertools.pairwise(edges):
        end = times[last] if last < len(times) else recording.end
        colour = style.GATE_COLOURS[levels[first]]
        panel.fill_between([times[first], end], -0.6, heights[first] + 0.4, color=colour, alpha=0.85, linewidth=0)


def _speed(panel, recording: Recording) -> None:
    _title(panel, "Forward speed, as planned and as the gate let it through", "m/s")
    times = recording.gate.times
    panel.plot(times, recording.gate.column("v_in"), color=style.PERSON, linewidth=1.2, label="asked (cmd_vel_raw)")
    panel.plot(times, recording.gate.column("v_out"), color=style.PLAN, linewidth=1.8, label="sent (cmd_vel)")


def _smooth(values: np.ndarray, length: int) -> np.ndarray:
    """Moving average over `length` samples that leaves out NaN."""
    if len(values) < length:
        return values
    known = np.isfinite(values)
    kernel = np.ones(length)
    count = np.convolve(known, kernel, "same")
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)
