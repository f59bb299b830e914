"""The map: where the robot is, what it knows, and the futures that it imagined before it chose one.

Walls come from the world file (pale until the lidar has seen them, dark from then on); without one, from what the lidar saw.
The robot stands where it really is, where that is known, and carries its thoughts along; a thin ring marks where it believes to
be, so that the drift of its odometry can be seen.
"""

from __future__ import annotations

import cv2
import numpy as np

from objective_agent.types import Scan, to_odom
from objective_agent.visualization import style, text
from objective_agent.visualization.recording import Futures, Recording
from objective_agent.visualization.style import bgr

SHIFT = 4
"""OpenCV's sub-pixel bits: points are given in 1/16 pixel."""
SEEN_REACH = 0.12
"""A wall cell this close to a lidar return counts as seen, m."""
TRAIL_SECONDS = 120.0
CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


class MapView:
    """Draws a recording's map at rising times into pictures [height, width, 3] (BGR, uint8)."""

    def __init__(self, recording: Recording, size: tuple[int, int], robot_radius: float = 0.18, goal_tolerance: float = 0.25):
        self.recording = recording
        self.width, self.height = size
        self.robot_radius = robot_radius
        self.goal_tolerance = goal_tolerance
        low, high = _bounds(recording)
        self.scale = min((self.width - 24) / (high[0] - low[0]), (self.height - 24) / (high[1] - low[1]))
        self._centre = (low + high) / 2
        self._walls = self._wall_mask()
        self._seen = np.zeros((self.height, self.width), np.uint8)
        self._scans_seen = 0

    def pixel(self, points: np.ndarray) -> np.ndarray:
        """Pixels [..., 2] (x right, y down, not rounded) of points [..., 2] in the world, metres."""
        offset = (np.asarray(points, np.float64)[..., :2] - self._centre) * self.scale
        return np.stack([self.width / 2 + offset[..., 0], self.height / 2 - offset[..., 1]], -1)

    def draw(self, time: float) -> np.ndarray:
        """The picture at `time` (seconds since the recording's start).  Call it with rising times."""
        run = self.recording
        image = self._background(time)
        self._trail(image, time)
        self._scan(image, time)
        self._futures(image, run.candidates.at(time, 1.0), time)
        self._line(image, self._in_world(run.route.at(time, 3.0), time), style.ROUTE, 2, dashed=True)
        self._goals(image, time)
        self._line(image, self._in_world(run.plan.at(time, 1.0), time), style.PLAN, 4)
        self._people(image, run.people.at(time, 1.0))
        self._panel(image, run.wall.at(time))
        self._robot(image, time)
        self._scale_bar(image)
        return image

    # --- what does not move -------------------------------------------------------------------------------------------------

    def _wall_mask(self) -> np.ndarray | None:
        walls = self.recording.walls
        if walls is None:
            return None
        rows, columns = np.mgrid[0 : self.height, 0 : self.width]
        x = (columns + 0.5 - self.width / 2) / self.scale + self._centre[0]
        y = (self.height / 2 - rows - 0.5) / self.scale + self._centre[1]
        i = np.floor((x - walls.origin[0]) / walls.resolution).astype(int)
        j = np.floor((y - walls.origin[1]) / walls.resolution).astype(int)
        inside = (i >= 0) & (j >= 0) & (i < walls.grid.shape[1]) & (j < walls.grid.shape[0])
        mask = np.zeros((self.height, self.width), bool)
        mask[inside] = walls.grid[j[inside], i[inside]]
        return mask

    def _background(self, time: float) -> np.ndarray:
        self._remember_scans(time)
        image = np.empty((self.height, self.width, 3), np.uint8)
        image[:] = bgr(style.FLOOR)
        if self._walls is None:
            image[self._seen > 0] = bgr(style.SEEN_WALL)
        else:
            image[self._walls] = bgr(style.UNSEEN_WALL)
            image[self._walls & (self._seen > 0)] = bgr(style.SEEN_WALL)
        return image

    def _remember_scans(self, time: float) -> None:
        last = self.recording.scan.index(time) + 1
        reach = SEEN_REACH * self.scale if self._walls is not None else 0.03 * self.scale
        for i in range(self._scans_seen, last):
            for x, y in self._points_in_picture(self.recording.scan[i], self.recording.scan.times[i]):
                cv2.circle(self._seen, (int(x), int(y)), max(1, round(reach)), 255, -1)
        self._scans_seen = max(self._scans_seen, last)

    def _points_in_picture(self, scan: Scan, time: float) -> np.ndarray:
        pose = self.recording.pose_at(time)
        if pose is None:
            return np.zeros((0, 2))
        pixels = self.pixel(to_odom(np.asarray(pose, np.float32), scan.points()))
        inside = (pixels >= 0).all(-1) & (pixels < (self.width, self.height)).all(-1)
        return pixels[inside]

    def _in_world(self, points: np.ndarray | None, time: float) -> np.ndarray | None:
        return None if points is None else self.recording.to_world(points, time)

    # --- what moves ---------------------------------------------------------------------------------------------------------

    def _trail(self, image: np.ndarray, time: float) -> None:
        way = self.recording.true_pose if len(self.recording.true_pose) else self.recording.pose
        part = way.between(time - TRAIL_SECONDS, time)
        poses = [way[i] for i in range(part.start, part.stop, 3)]
        if len(poses) > 1:
            self._line(image, np.array(poses)[:, :2], style.TRAIL, 3)

    def _scan(self, image: np.ndarray, time: float) -> None:
        scan = self.recording.scan.at(time, 0.5)
        if scan is not None:
            for x, y in self._points_in_picture(scan, self.recording.scan.times[self.recording.scan.index(time)]):
                cv2.circle(image, (int(x * 16), int(y * 16)), 36, bgr(style.SCAN), -1, cv2.LINE_AA, SHIFT)

    def _futures(self, image: np.ndarray, futures: Futures | None, time: float) -> None:
        """Imagined futures, a little see-through; the forbidden ones below, the best on top."""
        if futures is None or not len(futures.points):
            return
        layer = image.copy()
        points = _fixed(self.pixel(self.recording.to_world(futures.points, time)))
        step = np.where(futures.feasible, np.round(futures.energy * 15).astype(int), 99)
        for k in sorted(set(step.tolist()), reverse=True):
            colour = bgr(style.INFEASIBLE) if k == 99 else style.energy_bgr(np.array([k / 15]))[0].tolist()
            cv2.polylines(layer, list(points[step == k]), False, colour, 1 if k == 99 else 2, cv2.LINE_AA, SHIFT)
        cv2.addWeighted(layer, 0.65, image, 0.35, 0, image)

    def _line(self, image: np.ndarray, points, colour: str, thickness: int, dashed: bool = False) -> None:
        if points is None or len(points) < 2:
            return
        pixels = self.pixel(np.asarray(points))
        pieces = _dashes(pixels, 9, 7) if dashed else [pixels]
        cv2.polylines(image, [_fixed(piece) for piece in pieces], False, bgr(colour), thickness, cv2.LINE_AA, SHIFT)

    def _goals(self, image: np.ndarray, time: float) -> None:
        current = self.recording.goal_at(time)
        done = {goal.index for goal in self.recording.goals if goal.reached and goal.end <= time}
        given = {goal.index: goal.position for goal in self.recording.goals}
        for index, position in {**dict(enumerate(self.recording.all_goals)), **given}.items():
            active = current is not None and current.index == index and index not in done
            x, y = self.pixel(np.asarray(position))
            centre = _fixed(np.array([x, y]))
            colour = bgr(style.GOAL if active or index in done else style.SOFT_INK)
            if active:
                radius = max(10, self.goal_tolerance * self.scale)
                cv2.circle(image, centre, int(radius * 2**SHIFT), colour, 3, cv2.LINE_AA, SHIFT)
            cv2.circle(image, centre, 13 << SHIFT, colour, -1, cv2.LINE_AA, SHIFT)
            text.put(
                image, "✓" if index in done else str(index + 1), (round(x), round(y) - 10), 16, (255,) * 3, True, align="centre"
            )

    def _people(self, image: np.ndarray, people) -> None:
        for x, y, radius in [] if people is None else people:
            centre = self.pixel(np.array([x, y]))
            cv2.circle(image, _fixed(centre), int(radius * self.scale * 2**SHIFT), bgr(style.PERSON), -1, cv2.LINE_AA, SHIFT)
            above = (round(centre[0]), round(centre[1] - radius * self.scale - 22))
            text.put(image, "person", above, 15, bgr(style.PERSON), True, align="centre")

    def _panel(self, image: np.ndarray, wall) -> None:
        """The wall that appeared: nobody told the agent."""
        if wall is None or not len(wall):
            return
        x, y, yaw, thickness, width = wall
        along, across = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
        corners = [(x, y) + a * max(thickness, 0.08) / 2 * along + b * width / 2 * across for a, b in CORNERS]
        cv2.fillPoly(image, [_fixed(self.pixel(np.array(corners)))], bgr(style.WALL), cv2.LINE_AA, SHIFT)

    def _robot(self, image: np.ndarray, time: float) -> None:
        radius = int(self.robot_radius * self.scale * 2**SHIFT)
        believed = self.recording.pose.at(time, 1.0)
        if believed is not None:
            cv2.circle(image, _fixed(self.pixel(believed)), radius, bgr(style.INK), 1, cv2.LINE_AA, SHIFT)
        pose = self.recording.pose_at(time)
        if pose is None:
            return
        touching = bool(self.recording.contact.at(time, 1.0))
        centre = self.pixel(np.asarray(pose))
        cv2.circle(image, _fixed(centre), radius, bgr(style.INFEASIBLE if touching else style.ROBOT), -1, cv2.LINE_AA, SHIFT)
        forward = np.array([np.cos(pose[2]), -np.sin(pose[2])])
        side = np.array([forward[1], -forward[0]])
        reach = self.robot_radius * self.scale
        nose = np.stack([centre + forward * reach * 0.8, centre - forward * reach * 0.35 + side * reach * 0.55])
        nose = np.vstack([nose, centre - forward * reach * 0.35 - side * reach * 0.55])
        cv2.fillPoly(image, [_fixed(nose)], (255, 255, 255), cv2.LINE_AA, SHIFT)

    def _scale_bar(self, image: np.ndarray) -> None:
        x, y = 22, self.height - 20
        image[y - 30 : y + 12, x - 12 : x + round(self.scale) + 12] = bgr(style.PAPER)
        cv2.line(image, (x, y), (x + round(self.scale), y), bgr(style.INK), 3, cv2.LINE_AA)
        text.put(image, "1 m", (x + round(self.scale / 2), y - 25), 15, bgr(style.INK), align="centre")


def _bounds(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Lower left and upper right corner of what must be on the map, m."""
    if recording.walls is not None and recording.walls.grid.any():
        walls = recording.walls
        rows, columns = np.nonzero(walls.grid)
        low = np.array([columns.min(), rows.min()]) * walls.resolution + walls.origin
        return low, np.array([columns.max() + 1, rows.max() + 1]) * walls.resolution + walls.origin
    places = [np.asarray(pose)[:2] for _, pose in recording.pose] + [np.asarray(goal) for goal in recording.all_goals]
    places += [np.asarray(goal.position) for goal in recording.goals]
    if not places:
        places = [np.zeros(2)]
    return np.min(places, 0) - 2.5, np.max(places, 0) + 2.5


def _fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixels as OpenCV's fixed-point numbers (kept small: far-away points would overflow)."""
    return np.round(np.clip(pixels, -4000, 4000) * 2**SHIFT).astype(np.int32)


def _dashes(pixels: np.ndarray, dash: float, gap: float) -> list[np.ndarray]:
    """A polyline [n, 2] cut into dashes."""
    steps = np.linalg.norm(np.diff(pixels, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    starts = np.arange(0, along[-1], dash + gap)

    def place(distance: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(distance, along, pixels[:, 0]), np.interp(distance, along, pixels[:, 1])], -1)

    return [place(np.linspace(start, min(start + dash, along[-1]), 3)) for start in starts]
