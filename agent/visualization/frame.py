"""One video frame: header, gate banner, map, camera and thoughts, 1280 x 720."""

from __future__ import annotations

import math

import cv2
import numpy as np

from objective_agent.visualization import style, text
from objective_agent.visualization.camera_view import draw_camera
from objective_agent.visualization.map_view import MapView
from objective_agent.visualization.recording import Recording
from objective_agent.visualization.style import bgr
from objective_agent.visualization.thought_view import draw_thoughts

SIZE = (1280, 720)
HEADER, BANNER, LEGEND = 48, 44, 40
MAP_WIDTH = 868
CAMERA = 204
WHITE = (255, 255, 255)


class FrameView:
    """Draws the frames of a recording, at rising times."""

    def __init__(self, recording: Recording):
        self.recording = recording
        radius = float(recording.info.get("robot_radius", 0.18))
        tolerance = float(recording.info.get("goal_tolerance", 0.25))
        self.map = MapView(recording, (MAP_WIDTH, SIZE[1] - HEADER - BANNER - LEGEND), radius, tolerance)

    def draw(self, time: float) -> np.ndarray:
        """The frame at `time`, [720, 1280, 3] BGR uint8."""
        frame = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
        self._header(frame, time)
        self._banner(frame, time)
        top = HEADER + BANNER
        frame[top : SIZE[1] - LEGEND, :MAP_WIDTH] = self.map.draw(time)
        _legend(frame[SIZE[1] - LEGEND :, :MAP_WIDTH])
        cv2.line(frame, (MAP_WIDTH, top), (MAP_WIDTH, SIZE[1]), (205, 205, 205), 1)
        left = MAP_WIDTH + 16
        frame[top + 16 : top + 16 + CAMERA, left : left + CAMERA] = draw_camera(self.recording, time, (CAMERA, CAMERA))
        text.put(frame, "camera", (left + 6, top + 16 + CAMERA - 24), 14, WHITE, True)
        self._task(frame, time, left + CAMERA + 18, top + 14)
        thoughts = top + CAMERA + 32
        size = (SIZE[0] - left - 16, SIZE[1] - thoughts - 8)
        frame[thoughts : thoughts + size[1], left : left + size[0]] = draw_thoughts(self.recording, time, size)
        return frame

    def _header(self, frame: np.ndarray, time: float) -> None:
        frame[:HEADER] = bgr(style.INK)
        x = text.put(frame, "objective_agent", (16, 10), 21, WHITE, True)
        text.put(frame, f"in the world “{self.recording.info.get('world', 'unknown')}”", (x + 12, 14), 17, (200, 200, 200))
        simulator = self.recording.simulator.at(time) or {}
        factor = simulator.get("real_time_factor")
        contacts = simulator.get("contacts")
        words = f"collisions {contacts:.0f}     " if isinstance(contacts, float) else ""
        words += f"real time × {factor:.2f}     " if isinstance(factor, float) else ""
        text.put(frame, f"{words}{max(time - self.recording.start, 0):5.1f} s", (SIZE[0] - 16, 13), 18, WHITE, align="right")

    def _banner(self, frame: np.ndarray, time: float) -> None:
        """The gate's state as one wide strip: its colour is readable from across a room."""
        gate = self.recording.gate.at(time, 1.0)
        strip = frame[HEADER : HEADER + BANNER]
        if gate is None:
            strip[:] = bgr(style.SOFT_INK)
            text.put(strip, "SAFETY GATE: no report", (16, 10), 19, WHITE, True)
            return
        level = style.gate_level(gate.get("level"))
        strip[:] = bgr(style.GATE_COLOURS[level])
        x = text.put(strip, f"SAFETY GATE  {level}", (16, 10), 19, WHITE, True)
        reason = str(gate.get("reason") or "")
        words = reason if level != "OK" and reason else style.GATE_MEANING[level]
        text.put(strip, text.shorten(words, 17, SIZE[0] - x - 40), (x + 20, 11), 17, WHITE)

    def _task(self, frame: np.ndarray, time: float, x: int, y: int) -> None:
        goal = self.recording.goal_at(time)
        if goal is None:
            text.put(frame, "no goal yet", (x, y), 20, bgr(style.SOFT_INK), True)
            return
        count = max(len(self.recording.all_goals), len(self.recording.goals))
        text.put(frame, f"Goal {goal.index + 1} of {count}", (x, y), 23, bgr(style.INK), True)
        pose = self.recording.pose_at(time)
        if time >= goal.end:
            done = ("reached", style.GOAL) if goal.reached else ("not reached", style.INFEASIBLE)
            text.put(frame, done[0], (x, y + 38), 20, bgr(done[1]), True)
            text.put(frame, f"in {goal.end - goal.start:.1f} s", (x, y + 66), 17, bgr(style.SOFT_INK))
        elif pose is not None:
            distance = math.hypot(goal.position[0] - pose[0], goal.position[1] - pose[1])
            text.put(frame, f"{distance:.2f} m", (x, y + 36), 30, bgr(style.GOAL), True)
            text.put(frame, "away, straight line", (x, y + 72), 14, bgr(style.SOFT_INK))
        rate = _rate(self.recording, time)
        if rate is not None:
            text.put(frame, f"{rate:.0f}", (x, y + 112), 30, bgr(style.INK), True)
            text.put(frame, "decisions per second", (x, y + 148), 14, bgr(style.SOFT_INK))


def _rate(recording: Recording, time: float) -> float | None:
    """Decisions per second over the last two seconds."""
    part = recording.status.between(time - 2.0, time)
    return (part.stop - part.start) / 2.0 if part.stop > part.start else None


def _legend(strip: np.ndarray) -> None:
    """Names every line and dot on the map, in one row."""
    strip[:] = WHITE
    middle, x = strip.shape[0] // 2, 14

    def name(words: str, room: int) -> None:
        nonlocal x
        x = text.put(strip, words, (x + room + 6, middle - 10), 14, bgr(style.INK)) + 13

    def line(colour: str, thickness: int) -> None:
        cv2.line(strip, (x, middle), (x + 26, middle), bgr(colour), thickness, cv2.LINE_AA)

    line(style.PLAN, 5)
    name("chosen plan", 26)
    for k, colour in enumerate(style.energy_bgr(np.linspace(0, 1, 26)).tolist()):
        cv2.line(strip, (x + k, middle - 4), (x + k, middle + 4), colour, 1)
    name("imagined: low to high energy", 26)
    line(style.INFEASIBLE, 3)
    name("forbidden", 26)
    for k in range(3):
        cv2.line(strip, (x + 10 * k, middle), (x + 10 * k + 5, middle), bgr(style.ROUTE), 3, cv2.LINE_AA)
    name("route", 26)
    for k in range(3):
        cv2.circle(strip, (x + 4 + 9 * k, middle), 3, bgr(style.SCAN), -1, cv2.LINE_AA)
    name("lidar", 26)
    line(style.TRAIL, 4)
    name("driven", 26)
    cv2.circle(strip, (x + 9, middle), 8, bgr(style.INK), 1, cv2.LINE_AA)
    name("odometry", 18)
