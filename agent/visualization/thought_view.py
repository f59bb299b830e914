"""What the robot thought, in words and bars: mode, search effort, energies, margin, and what the gate made of the command."""

from __future__ import annotations

import math

import cv2
import numpy as np

from objective_agent.visualization import style, text
from objective_agent.visualization.recording import Recording
from objective_agent.visualization.style import bgr

MODES = {
    "optimizer": ("Mode-2: searching", style.PLAN),
    "policy": ("Mode-1: policy", style.GOAL),
    "braking": ("braking: nothing feasible", style.INFEASIBLE),
}
STOPPED = {"converged": "the plan has converged", "deadline": "the time was up", "iterations": "after its last round"}
LABEL = 15
VALUE = 16


def draw_thoughts(recording: Recording, time: float, size: tuple[int, int]) -> np.ndarray:
    """The panel at `time` -> [height, width, 3] BGR, `size` = (width, height)."""
    width, height = size
    panel = np.full((height, width, 3), 255, np.uint8)
    status = recording.status.at(time, 1.0) or {}
    y = _mode(panel, status)
    y = _row(panel, y, "search", (_search(status), style.INK))
    y = _row(panel, y, "stopped", (STOPPED.get(str(status.get("stop_reason")), "–"), style.INK))
    y = _deadline(panel, y, status, _deadline_ms(recording, time))
    y = _row(panel, y, "worst margin", _margin(status))
    y = _row(panel, y, "surprise", _surprise_words(recording.surprise.at(time, 1.0) or {}))
    gate = recording.gate.at(time, 1.0) or {}
    asked, sent = _command(gate, "in"), _command(gate, "out")
    y = _row(panel, y, "asked for", (asked, style.INK))
    y = _row(panel, y, "gate sent", (sent, style.INK if sent == asked else style.GATE_COLOURS["STOP"]))
    y = _energies(panel, y + 12, recording, time)
    _holding(panel, max(y + 4, height - 44), recording, time)
    return panel


def _number(values: dict, *names: str) -> float:
    for name in names:
        if isinstance(values.get(name), float | int):
            return float(values[name])
    return math.nan


def _row(panel: np.ndarray, y: int, label: str, value: tuple[str, str]) -> int:
    text.put(panel, label, (0, y), LABEL, bgr(style.SOFT_INK))
    words, colour = value
    text.put(panel, text.shorten(words, VALUE, panel.shape[1] - 122), (122, y), VALUE, bgr(colour))
    return y + 27


def _mode(panel: np.ndarray, status: dict) -> int:
    mode = str(status.get("mode", ""))
    words, colour = MODES.get(mode, (mode or "not deciding", style.SOFT_INK))
    cv2.rectangle(panel, (0, 0), (panel.shape[1] - 1, 31), bgr(colour), -1)
    text.put(panel, words, (12, 5), 17, (255, 255, 255), True)
    return 42


def _search(status: dict) -> str:
    iterations, evaluations = _number(status, "iterations"), _number(status, "evaluations")
    if math.isnan(iterations):
        return "–"
    futures = f", {evaluations:.0f} futures imagined" if not math.isnan(evaluations) else ""
    return f"{iterations:.0f} rounds{futures}"


def _deadline_ms(recording: Recording, time: float) -> float:
    configuration = recording.configuration.at(time) or {}
    return 1000 * float(configuration.get("actor", {}).get("deadline", math.nan))


def _deadline(panel: np.ndarray, y: int, status: dict, deadline: float) -> int:
    planning = _number(status, "planning_ms")
    text.put(panel, "thinking time", (0, y), LABEL, bgr(style.SOFT_INK))
    left, right = 122, panel.shape[1] - 128
    cv2.rectangle(panel, (left, y + 5), (right, y + 17), (232, 232, 232), -1)
    if math.isnan(planning):
        return y + 27
    late = planning > deadline
    if not math.isnan(deadline):
        share = min(planning / deadline, 1.0)
        colour = bgr(style.INFEASIBLE if late else style.PLAN)
        cv2.rectangle(panel, (left, y + 5), (left + round(share * (right - left)), y + 17), colour, -1)
    words = f"{planning:.0f} ms" if math.isnan(deadline) else f"{planning:.0f} of {deadline:.0f} ms"
    text.put(panel, words, (panel.shape[1] - 1, y), VALUE, bgr(style.INFEASIBLE if late else style.INK), align="right")
    return y + 27


def margin_of(status: dict) -> float:
    """The chosen plan's worst guardrail margin (m) as the actor reported it, NaN when it did not."""
    return _number(status, "worst_margin", "worst_clearance_margin", "worst clearance margin", "clearance_margin", "margin")


def _margin(status: dict) -> tuple[str, str]:
    margin = margin_of(status)
    if math.isnan(margin):
        return "–", style.SOFT_INK
    words = "beyond reach" if margin > 50 else f"{100 * margin:+.0f} cm"
    return (f"{words}, allowed", style.GOAL) if margin >= 0 else (f"{words}, forbidden", style.INFEASIBLE)


def _surprise_words(surprise: dict) -> tuple[str, str]:
    value = _number(surprise, "surprise")
    if math.isnan(value):
        return "–", style.SOFT_INK
    return (f"{value:.1f}, slows the robot", style.SURPRISE) if value > 1 else (f"{value:.1f}, as expected", style.INK)


def _command(gate: dict, side: str) -> str:
    v, w = _number(gate, f"v_{side}"), _number(gate, f"w_{side}")
    return "–" if math.isnan(v) or math.isnan(w) else f"{v:+.2f} m/s  {w:+.2f} rad/s".replace("-0.00", "+0.00")


def _energies(panel: np.ndarray, y: int, recording: Recording, time: float) -> int:
    """A bar per objective; the scale is the largest energy of the last ten seconds, so bars can be compared over time."""
    energies = recording.energies.at(time, 1.0)
    text.put(panel, "energy of the chosen plan, per objective", (0, y), LABEL, bgr(style.INK), True)
    y += 26
    if not energies:
        text.put(panel, "–", (0, y), VALUE, bgr(style.SOFT_INK))
        return y + 24
    recent = recording.energies.between(time - 10, time)
    values = [v for i in range(recent.start, recent.stop) for v in recording.energies[i].values() if math.isfinite(v)]
    full = max([1e-6, *values])
    left, right = 122, panel.shape[1] - 64
    for k, (name, value) in enumerate(list(energies.items())[:6]):
        colour = bgr(style.OBJECTIVE_COLOURS[k % len(style.OBJECTIVE_COLOURS)])
        text.put(panel, text.shorten(name, LABEL, 116), (0, y), LABEL, bgr(style.SOFT_INK))
        cv2.rectangle(panel, (left, y + 4), (right, y + 17), (240, 240, 240), -1)
        share = min(max(value, 0.0) / full, 1.0) if math.isfinite(value) else 0.0
        cv2.rectangle(panel, (left, y + 4), (left + round(share * (right - left)), y + 17), colour, -1)
        text.put(panel, f"{value:.2f}", (panel.shape[1] - 1, y), LABEL, bgr(style.INK), align="right")
        y += 24
    return y


def _holding(panel: np.ndarray, y: int, recording: Recording, time: float) -> None:
    """Why the robot stands still, when it does."""
    configuration = recording.configuration.at(time) or {}
    reason = configuration.get("reason") or (recording.status.at(time, 1.0) or {}).get("reason")
    if reason:
        colour = style.GOAL if configuration.get("reached") else style.INFEASIBLE
        text.put(panel, "not moving because", (0, y), 13, bgr(style.SOFT_INK))
        text.put(panel, text.shorten(str(reason), VALUE, panel.shape[1]), (0, y + 17), VALUE, bgr(colour))
