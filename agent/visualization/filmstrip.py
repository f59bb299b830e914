"""Filmstrips of imagination: what happened above, what the world model had predicted below, and how far off it was.

`draw_filmstrip` makes the page of one moment, `film` the same moment as frames of a video.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from objective_agent.learning.imagined import Moment
from objective_agent.visualization import style
from objective_agent.visualization.egocentric import (
    ANALYTIC,
    CAME,
    FUTURES,
    IMAGINED,
    draw_camera,
    draw_paths,
    draw_robot,
    draw_sectors,
    draw_sweep,
    fit_paths,
    on_page,
    sweep_points,
)

DPI = 100
WIDTH = 12.6
COLUMNS = 6
FILM = (1280, 720)
KINDS = ("camera", "sweep", "imagined camera", "imagined sweep")


def draw_filmstrip(moment: Moment, path: Path, headline: str = "") -> Path:
    """Writes the page as a PNG and returns its path; it appears when it is complete."""
    pictures = [bool(moment.came.has_image.any()), True, moment.futures.images is not None, True]
    shown = np.unique(np.round(np.linspace(0, moment.steps, min(COLUMNS, moment.steps + 1))).astype(int))
    rows = sum(pictures)
    height = 1.05 + 1.86 * rows + 4.9
    figure = blank(WIDTH, height)
    top = 1 - 0.98 / height
    strip = top - 1.86 * rows / height
    grid = figure.add_gridspec(rows, len(shown), left=0.062, right=0.99, top=top, bottom=strip, wspace=0.05, hspace=0.07)
    kinds = [kind for kind, there in zip(KINDS, pictures, strict=True) if there]
    for row, kind in enumerate(kinds):
        for column, step in enumerate(shown):
            panel = figure.add_subplot(grid[row, column])
            _cell(panel, moment, kind, int(step))
            if row == 0:
                words = "now" if step == 0 else f"+{moment.times[step]:.1f} s"
                panel.set_title(words, fontsize=12, weight="bold", color=style.INK, pad=5)
    happened = sum(pictures[:2]) / rows
    _band(figure, strip + (top - strip) * (1 - happened), top, "what happened", CAME)
    _band(figure, strip, strip + (top - strip) * (1 - happened), "imagined", IMAGINED)
    _curves(figure, moment, strip - 0.52 / height, 0.5 / height)
    titles(figure, height, moment, headline)
    return save(figure, path)


def blank(width: float, height: float):
    """An empty figure, inches, that draws without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=style.PAPER)
    FigureCanvasAgg(figure)
    return figure


def save(figure, path: Path) -> Path:
    """Writes a PNG of at most 256 colours, whole or not at all."""
    from PIL import Image

    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    partial = path.with_name(f".{path.stem}.partial.png")
    try:
        picture.quantize(256, dither=Image.Dither.NONE).save(partial, optimize=True)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def titles(figure, height: float, moment: Moment, headline: str) -> None:
    """Where and when it is, in two lines at the top."""
    where = f"Episode {moment.episode} at {moment.seconds:.1f} s: {moment.condition}"
    about = ", ".join(part for part in (f"world {moment.world}", moment.home) if part)
    figure.text(0.012, 1 - 0.12 / height, where, fontsize=17, weight="bold", va="top", color=style.INK)
    figure.text(0.988, 1 - 0.2 / height, about, fontsize=11.5, va="top", ha="right", color=style.SOFT_INK)
    figure.text(0.012, 1 - 0.46 / height, headline, fontsize=11.5, va="top", color=style.SOFT_INK)


def _cell(panel, moment: Moment, kind: str, step: int) -> None:
    came, futures = moment.came, moment.futures
    if kind == "camera":
        draw_camera(panel, came.images[step] if came.has_image[step] else None, CAME)
    elif kind == "sweep":
        draw_sweep(panel, came.ranges[step], came.places[step])
    elif kind == "imagined camera":
        draw_camera(panel, futures.images[step], IMAGINED)
    else:
        log_ranges, log_scales = futures.log_ranges.mean(0)[step], futures.log_scales.mean(0)[step]
        draw_sectors(panel, log_ranges, log_scales, came.ranges[step], came.places[step])


def _band(figure, bottom: float, top: float, words: str, colour: str) -> None:
    """A coloured bar at the left edge that says what its rows are."""
    from matplotlib.patches import Rectangle

    gap = 0.003
    place = (0.012, bottom + gap)
    figure.add_artist(Rectangle(place, 0.034, top - bottom - 2 * gap, facecolor=colour, transform=figure.transFigure))
    middle = (bottom + top) / 2
    figure.text(0.029, middle, words, rotation=90, ha="center", va="center", color="white", fontsize=13, weight="bold")


def _curves(figure, moment: Moment, top: float, bottom: float) -> None:
    """The path from above, and four curves over the imagined time."""
    grid = figure.add_gridspec(
        2, 3, left=0.055, right=0.985, top=top, bottom=bottom, width_ratios=(1.25, 1, 1), wspace=0.24, hspace=0.42
    )
    draw_way(figure.add_subplot(grid[:, 0]), moment)
    draw_distance(figure.add_subplot(grid[0, 1]), moment, "clearance", "Clearance", 1.0)
    draw_distance(figure.add_subplot(grid[0, 2]), moment, "people", "Distance to people", 3.0)
    errors = moment.errors()
    names = {"position": ("imagined", IMAGINED, "-"), "analytic_position": ("analytic model", ANALYTIC, "--")}
    _errors(figure.add_subplot(grid[1, 1]), moment, errors, names, "Position error", "cm", 100)
    names = {"representation": ("imagined", IMAGINED, "-"), "unchanged": ("if nothing changed", ANALYTIC, "--")}
    _errors(figure.add_subplot(grid[1, 2]), moment, errors, names, "Surprise: representation error", "rms", 1)


def draw_way(panel, moment: Moment) -> None:
    """The paths from above: what was driven, what each future said, and what the analytic model says."""
    came, futures = moment.came, moment.futures
    panel.plot(*on_page(sweep_points(came.ranges[0])), ".", color=style.SCAN, markersize=4, alpha=0.7)
    panel.plot(*on_page(futures.analytic), "--", color=ANALYTIC, linewidth=1.6, label="analytic model", zorder=2)
    count = len(futures.poses)
    draw_paths(panel, futures.poses, FUTURES, label=f"imagined, {count} futures" if count > 1 else "imagined")
    panel.plot(*on_page(came.poses), "-o", color=CAME, linewidth=1.4, markersize=3.4, label="what happened", zorder=6)
    draw_robot(panel, np.zeros(3), style.TRAIL)
    draw_robot(panel, came.poses[-1], CAME, filled=False)
    fit_paths(panel, came.poses, futures.poses, futures.analytic)
    tidy(panel, "The way, from above", "")
    panel.set_xlabel("m to the right of the robot", fontsize=9.5)
    panel.set_ylabel("m ahead", fontsize=9.5)
    panel.legend(loc="best", fontsize=9, framealpha=0.9)


def draw_distance(panel, moment: Moment, name: str, title: str, most: float) -> None:
    """A read-out over the imagined time: each future, its lower quantiles, what planning counts on, and what came."""
    futures, times, found = moment.futures, moment.times, getattr(moment.came, name)
    values, low = getattr(futures, name), getattr(futures, f"{name}_low")
    promised = futures.promised(name, moment.margins)
    panel.fill_between(
        times, low.min(0), values.mean(0), color=IMAGINED, alpha=0.13, linewidth=0, label="down to the 5 % quantile"
    )
    panel.plot(times, values.T, color=IMAGINED, linewidth=0.9, alpha=0.5)
    panel.plot(times, values.mean(0), color=IMAGINED, linewidth=2.2, label="imagined")
    panel.plot(times, promised, ":", color=style.INFEASIBLE, linewidth=2, label="less the margin: promised")
    panel.plot(times, found, "-o", color=CAME, linewidth=1.2, markersize=3.4, label="what came")
    if np.isnan(found).all():
        panel.text(0.5, 0.88, "not recorded", ha="center", transform=panel.transAxes, fontsize=10, color=style.SOFT_INK)
    panel.axhline(0, color=style.INK, linewidth=0.8)
    lowest = min(float(np.nanmin(promised)), 0.0)
    panel.set_ylim(max(lowest, -0.4 * most) - 0.06 * most, most * 1.12)
    tidy(panel, title, "m")
    panel.set_xlim(0, times[-1])
    if name == "clearance":
        panel.legend(loc="best", fontsize=8, framealpha=0.85, handlelength=1.6, labelspacing=0.25)


def _errors(panel, moment: Moment, errors: dict, names: dict, title: str, unit: str, factor: float) -> None:
    for name, (label, colour, line) in names.items():
        panel.plot(moment.times[1:], factor * errors[name][1:], line, color=colour, linewidth=2, label=label)
    panel.set_ylim(0, None)
    panel.set_xlim(0, moment.times[-1])
    tidy(panel, title, unit)
    panel.set_xlabel("seconds from now", fontsize=9.5)
    panel.legend(loc="upper left", fontsize=9, framealpha=0.85)


def tidy(panel, title: str, unit: str) -> None:
    """The look of every panel with axes."""
    panel.set_title(title, loc="left", fontsize=11.5, weight="bold", color=style.INK)
    panel.set_ylabel(unit, fontsize=9.5)
    panel.grid(True, color="#e6e6e6", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=9)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def film(moment: Moment) -> Iterator[np.ndarray]:
    """One frame [720, 1280, 3] BGR uint8 per step: camera and sweep as they came, as they were imagined, and the way."""
    for step in range(moment.steps + 1):
        figure = blank(FILM[0] / DPI, FILM[1] / DPI)
        grid = figure.add_gridspec(2, 3, left=0.045, right=0.985, top=0.83, bottom=0.05, width_ratios=(1, 1, 1.25), wspace=0.1)
        kinds = ["camera", "sweep", "imagined camera" if moment.futures.images is not None else "", "imagined sweep"]
        for place, kind in enumerate(kinds):
            panel = figure.add_subplot(grid[place // 2, place % 2])
            if kind:
                _cell(panel, moment, kind, step)
            else:
                draw_camera(panel, None, IMAGINED)
        way = figure.add_subplot(grid[:, 2])
        draw_way(way, moment)
        draw_robot(way, moment.came.poses[step], CAME)
        draw_robot(way, moment.futures.poses.mean(0)[step], IMAGINED)
        _band(figure, 0.44, 0.83, "what happened", CAME)
        _band(figure, 0.05, 0.44, "imagined", IMAGINED)
        titles(figure, FILM[1] / DPI, moment, f"+{moment.times[step]:.1f} s of {moment.times[-1]:.1f} s")
        figure.canvas.draw()
        yield np.ascontiguousarray(np.asarray(figure.canvas.buffer_rgba())[..., 2::-1])
