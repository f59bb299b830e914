"""What one moment looks like from the robot, as panels of a matplotlib figure: sweeps, paths and camera frames from above.

The robot looks up the page: ahead (x) is up, left (y) is left.
"""

from __future__ import annotations

import math

import numpy as np

from objective_agent.visualization import style

REACH = (2.3, 1.5, 3.1)
"""A sweep's panel shows this far to each side, behind and ahead of the robot, m."""
RADIUS = 0.18

CAME, IMAGINED, ANALYTIC = style.INK, style.PLAN, style.SOFT_INK
FUTURES = ("#1259c3", "#3f83e0", "#7aaef0", "#0b3f8c", "#a9c9f5")
"""Shades of the K futures."""


def on_page(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [..., 2+] from the robot (m) as (right, up) on the page."""
    points = np.asarray(points)
    return -points[..., 1], points[..., 0]


def sweep_points(ranges: np.ndarray) -> np.ndarray:
    """Points [n, 2] of canonical ranges [180] (m, NaN unknown)."""
    angles = -math.pi + np.arange(len(ranges)) * (2 * math.pi / len(ranges))
    known = ~np.isnan(ranges)
    return (ranges[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1))[known]


def sector_angles(count: int = 36) -> np.ndarray:
    """Where the decoded sectors look [36], rad: the middle of the five canonical beams of each."""
    return -math.pi + (np.arange(count) + 0.4) * (2 * math.pi / count)


def draw_sweep(panel, ranges: np.ndarray, people: np.ndarray | None = None) -> None:
    """What the lidar saw: the free floor and the points; and `people` [P, 3] (x, y, gap), from the robot."""
    _frame(panel)
    points = sweep_points(ranges)
    if len(points) > 2:
        panel.fill(*on_page(points), color=style.FLOOR, linewidth=0)
    panel.plot(*on_page(points), ".", color=style.SCAN, markersize=3.2)
    draw_people(panel, people, filled=True)
    draw_robot(panel, np.zeros(3), CAME)


def draw_people(panel, people: np.ndarray | None, filled: bool) -> None:
    """Discs at `people` [P, 3] (x, y, gap to the body)."""
    from matplotlib.patches import Circle

    look = {"facecolor": style.PERSON if filled else "none", "edgecolor": style.PERSON, "linewidth": 1.6, "zorder": 3}
    for x, y, gap in [] if people is None else people[~np.isnan(people[:, 0])]:
        panel.add_patch(Circle(on_page(np.array([x, y])), max(math.hypot(x, y) - gap - RADIUS, 0.05), **look))


def draw_sectors(
    panel,
    log_ranges: np.ndarray,
    log_scales: np.ndarray,
    came: np.ndarray | None = None,
    people: np.ndarray | None = None,
) -> None:
    """The distances that a representation stands for: a bar across each sector at its median, paler the less sure it is; the
    wedge between the quartiles behind it.  `log_ranges`, `log_scales` [36]; `came` [180]: small dots of the real sweep,
    `people` [P, 3]: rings where people really were."""
    _frame(panel)
    half = math.pi / len(log_ranges)
    angles = sector_angles(len(log_ranges))
    outline = np.exp(log_ranges)[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    panel.fill(*on_page(outline), color=IMAGINED, alpha=0.05, linewidth=0)
    draw_people(panel, people, filled=False)
    for angle, mean, scale in zip(angles, log_ranges, np.exp(log_scales), strict=True):
        spread = math.log(2) * scale  # the quartiles of a Laplace distribution
        across = angle + np.linspace(-half, half, 5)
        direction = np.stack([np.cos(across), np.sin(across)], -1)
        near, middle, far = np.exp([mean - spread, mean, mean + spread])
        wedge = np.concatenate([direction * near, direction[::-1] * min(far, 12.0)])
        panel.fill(*on_page(wedge), color=IMAGINED, alpha=0.13, linewidth=0)
        panel.plot(*on_page(direction * middle), color=IMAGINED, alpha=float(np.clip(1.1 - scale, 0.25, 1)), linewidth=2.2)
    if came is not None:
        panel.plot(*on_page(sweep_points(came)), ".", color=style.SCAN, markersize=2.2)
    draw_robot(panel, np.zeros(3), IMAGINED)


def draw_camera(panel, image: np.ndarray | None, colour: str) -> None:
    """A camera frame [h, w, 3] uint8 in a frame of `colour`; a note where there is none."""
    panel.set_xticks([])
    panel.set_yticks([])
    for side in panel.spines.values():
        side.set_color(colour)
        side.set_linewidth(1.6)
    if image is None:
        panel.set_facecolor("#ececec")
        panel.text(0.5, 0.5, "no image", ha="center", va="center", transform=panel.transAxes, color=style.SOFT_INK)
    else:
        panel.imshow(image, interpolation="bicubic")


def draw_robot(panel, pose: np.ndarray, colour: str, filled: bool = True) -> None:
    """The footprint at `pose` [3] with its nose."""
    from matplotlib.patches import Circle

    x, y = on_page(pose[:2])
    panel.add_patch(Circle((x, y), RADIUS, facecolor=colour if filled else "none", edgecolor=colour, linewidth=1.4, zorder=4))
    nose = pose[:2] + RADIUS * np.array([[0.0, 0.0], [math.cos(pose[2]), math.sin(pose[2])]])
    panel.plot(*on_page(nose), color=style.PAPER if filled else colour, linewidth=1.6, zorder=5)


def draw_paths(panel, poses: np.ndarray, colours: tuple[str, ...] = FUTURES, width: float = 2.2, label: str = "") -> None:
    """Imagined paths `poses` [K, H + 1, 3] with the footprint at the end of the mean one."""
    for index, path in enumerate(poses):
        x, y = on_page(path[:, :2])
        colour = colours[index % len(colours)]
        panel.plot(x, y, color=colour, linewidth=width, alpha=0.9, zorder=3, label=label if index == 0 else None)
    draw_robot(panel, poses.mean(0)[-1], colours[0], filled=False)


def fit_paths(panel, *paths: np.ndarray, least: float = 1.6) -> None:
    """A square view of all `paths` [..., 2+] and the robot, at least `least` m wide."""
    points = np.concatenate([np.reshape(path[..., :2], (-1, 2)) for path in paths] + [np.zeros((1, 2))])
    low, high = points.min(0) - 2 * RADIUS, points.max(0) + 2 * RADIUS
    middle, half = (low + high) / 2, max((high - low).max(), least) / 2
    panel.set_xlim(-middle[1] - half, -middle[1] + half)
    panel.set_ylim(middle[0] - half, middle[0] + half)
    panel.set_aspect("equal")


def _frame(panel) -> None:
    side, behind, ahead = REACH
    panel.set_xlim(-side, side)
    panel.set_ylim(-behind, ahead)
    panel.set_aspect("equal")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_facecolor("#fbfaf7")
    for spine in panel.spines.values():
        spine.set_color("#d8d4ca")
