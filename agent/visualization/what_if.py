"""The counterfactual view: from one recorded moment, what each of several action sequences would lead to, side by side.

Only one of them was really done, so only that one can be checked; the others show what planning chooses between.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from objective_agent.learning.imagined import Futures, Moment
from objective_agent.visualization import style
from objective_agent.visualization.egocentric import (
    CAME,
    draw_camera,
    draw_paths,
    draw_robot,
    draw_sectors,
    draw_sweep,
    fit_paths,
    on_page,
    sweep_points,
)
from objective_agent.visualization.filmstrip import blank, save, tidy, titles

SENT = "as it was"
COLUMN = 2.35
INCHES = {"left": 0.25, "gap": 0.75, "right": 0.2}


def draw_what_if(moment: Moment, path: Path, headline: str = "") -> Path:
    """Writes the page as a PNG and returns its path: the moment itself, then a column for what was really sent and for each of
    `moment.what_if`, with the camera half-way and at the end, the sweep at the end, and the promised clearance."""
    choices = {SENT: moment.futures, **moment.what_if}
    colours = dict(zip(choices, (CAME, *style.OBJECTIVE_COLOURS), strict=False))
    cameras = 2 if moment.futures.images is not None else 0
    rows = cameras + 2
    height = 1.25 + 2.2 * rows + 4.2
    width = COLUMN * (len(choices) + 1) + sum(INCHES.values())
    figure = blank(width, height)
    place = {"top": 1 - 1.2 / height, "bottom": 4.1 / height, "hspace": 0.14}
    begin = (INCHES["left"] + COLUMN) / width
    _now(figure, figure.add_gridspec(rows, 1, left=INCHES["left"] / width, right=begin, **place), moment)
    place |= {"left": begin + INCHES["gap"] / width, "right": 1 - INCHES["right"] / width, "wspace": 0.1}
    grid = figure.add_gridspec(rows, len(choices), **place)
    steps = [max(1, moment.steps // 2), moment.steps]
    for column, (name, futures) in enumerate(choices.items()):
        for row, step in enumerate(steps[:cameras]):
            panel = figure.add_subplot(grid[row, column])
            draw_camera(panel, futures.images[step], colours[name])
            _note(panel, f"imagined, +{moment.times[step]:.1f} s")
            if row == 0:
                _name_column(panel, name, futures, colours[name])
        panel = figure.add_subplot(grid[cameras, column])
        draw_sectors(panel, futures.log_ranges.mean(0)[-1], futures.log_scales.mean(0)[-1])
        _note(panel, f"imagined, +{moment.times[-1]:.1f} s")
        if not cameras:
            _name_column(panel, name, futures, colours[name])
        _promise(figure.add_subplot(grid[cameras + 1, column]), moment, futures, colours[name], column == 0)
    _ways(figure, moment, choices, colours, height)
    titles(figure, height, moment, headline)
    return save(figure, path)


def _now(figure, grid, moment: Moment) -> None:
    """The first column: the moment from which everything is imagined."""
    panel = figure.add_subplot(grid[0, 0])
    draw_camera(panel, moment.came.images[0] if moment.came.has_image[0] else None, CAME)
    panel.set_title("now", fontsize=12.5, weight="bold", color=style.INK, pad=20)
    draw_sweep(figure.add_subplot(grid[1, 0]), moment.came.ranges[0], moment.came.places[0])


def _name_column(panel, name: str, futures: Futures, colour: str) -> None:
    v, w = futures.actions.mean(0)
    panel.set_title(name, fontsize=12.5, weight="bold", color=colour, pad=20)
    words = f"{v:+.2f} m/s  {w:+.2f} rad/s"
    panel.text(0.5, 1.03, words, ha="center", transform=panel.transAxes, fontsize=9.5, color=style.SOFT_INK)


def _note(panel, words: str) -> None:
    back = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 2}
    panel.text(0.04, 0.04, words, transform=panel.transAxes, fontsize=9, color=style.INK, bbox=back)


def _promise(panel, moment: Moment, futures: Futures, colour: str, first: bool) -> None:
    """Clearance as imagined and as promised; red where planning would refuse it."""
    times, promised = moment.times, futures.promised("clearance", moment.margins)
    panel.plot(times, futures.clearance.mean(0), color=colour, linewidth=2.2)
    panel.plot(times, promised, ":", color=colour, linewidth=2)
    panel.fill_between(times, promised, 0, where=promised < 0, color=style.INFEASIBLE, alpha=0.35, linewidth=0)
    panel.axhline(0, color=style.INK, linewidth=0.8)
    panel.set_xlim(0, times[-1])
    panel.set_ylim(-0.5, 1.1)
    panel.set_xticks(np.linspace(0, times[-1], 3))
    tidy(panel, "", "")
    if first:
        panel.plot(times, moment.came.clearance, "-o", color=CAME, linewidth=1, markersize=3)
        panel.set_ylabel("clearance, m", fontsize=10, color=style.SOFT_INK)
    else:
        panel.tick_params(labelleft=False)
    worst = float(np.nanmin(promised))
    verdict = style.GOAL if worst >= 0 else style.INFEASIBLE
    panel.text(
        0.04, 0.05, f"at least {worst:.2f} m promised", transform=panel.transAxes, fontsize=9.5, weight="bold", color=verdict
    )


def _ways(figure, moment: Moment, choices: dict[str, Futures], colours: dict[str, str], height: float) -> None:
    """All paths from above, and the distance to people over time."""
    grid = figure.add_gridspec(
        1, 2, left=0.055, right=0.985, top=3.4 / height, bottom=0.5 / height, width_ratios=(1, 1.5), wspace=0.16
    )
    way, people = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    way.plot(*on_page(sweep_points(moment.came.ranges[0])), ".", color=style.SCAN, markersize=4, alpha=0.7)
    for name, futures in choices.items():
        draw_paths(way, futures.poses, (colours[name],), 1.6)
        mean, lowest = futures.people.mean(0), futures.promised("people", moment.margins)
        people.plot(moment.times, mean, color=colours[name], linewidth=2)
        people.plot(moment.times, lowest, ":", color=colours[name], linewidth=1.4)
    way.plot(*on_page(moment.came.poses), "o", color=CAME, markersize=3.4, zorder=6)
    draw_robot(way, np.zeros(3), style.TRAIL)
    fit_paths(way, *(futures.poses for futures in choices.values()))
    tidy(way, "The ways, from above (dots: what was driven)", "m")
    people.plot(moment.times, moment.came.people, "o", color=CAME, markersize=4)
    people.axhline(0, color=style.INK, linewidth=0.8)
    people.set_xlim(0, moment.times[-1])
    people.set_xlabel("seconds from now", fontsize=9.5)
    tidy(people, "Distance to people (dotted: promised; dots: what came)", "m")
    people.set_ylim(-0.6, 3.2)
