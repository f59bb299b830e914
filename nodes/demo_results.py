"""What the demo leaves behind: from run.mcap the video, the dashboard and the summary, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from objective_agent.types import InputError
from objective_agent.visualization.bag import read_recording
from objective_agent.visualization.dashboard import draw_dashboard
from objective_agent.visualization.frame import SIZE, FrameView
from objective_agent.visualization.recording import Recording
from objective_agent.visualization.video import VideoWriter
from objective_agent_nodes.demo_stages import stages
from objective_agent_nodes.demo_summary import summarise

MCAP, VIDEO, DASHBOARD, SUMMARY, LOG = "run.mcap", "run.mp4", "dashboard.png", "summary.json", "graph.log"
FILES = {MCAP, VIDEO, DASHBOARD, SUMMARY, LOG}
FPS = 10.0


def prepare_folder(folder: Path) -> None:
    """Makes `folder` ready for a new run.  Refuses (InputError) to touch a folder that holds anything but a demo's files."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give another --out")
    foreign = sorted(path.name for path in folder.iterdir() if not ours(path)) if folder.exists() else []
    if foreign:
        raise InputError(f"{folder}: holds files that no demo wrote ({', '.join(foreign[:3])}); give a new folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
    except OSError as error:
        raise InputError(f"{folder}: can't be written: {error.strerror}; give another --out") from None


def ours(path: Path) -> bool:
    return path.name in FILES or (path.name.startswith(".") and ".partial" in path.name)


def make_results(
    mcap: Path, folder: Path, video: bool = True, progress: Callable[[str, float], None] = lambda what, share: None
) -> dict[str, Any]:
    """Reads `mcap` and writes dashboard, summary and video into `folder`; returns the summary.

    `progress(what, share)` is told how far each step is, 0..1.
    """
    progress("reading", 0.0)
    recording = read_recording(mcap)
    summary = summarise(recording) | {"stages_ms": stages(mcap)}
    write_json(folder / SUMMARY, summary)
    progress("dashboard", 0.0)
    lines = filter(None, (headline(summary), wall_line(summary)))
    draw_dashboard(recording, folder / DASHBOARD, "\n".join(lines))
    if video:
        write_video(recording, folder / VIDEO, lambda share: progress("video", share))
    return summary


def write_video(recording: Recording, path: Path, progress: Callable[[float], None] = lambda share: None) -> int:
    """The run at real speed, from just before the first goal to just after the last; returns how many frames."""
    start, end = recording.start, recording.end
    if recording.goals:
        start, end = max(start, recording.goals[0].start - 1.0), min(end, recording.goals[-1].end + 1.5)
    times = np.arange(start, end, 1 / FPS)
    view = FrameView(recording)
    with VideoWriter(path, SIZE, FPS) as writer:
        for i, time in enumerate(times):
            writer.add(view.draw(time))
            progress((i + 1) / len(times))
    return len(times)


def headline(summary: dict[str, Any]) -> str:
    """The run in two lines."""
    latency = summary["sensor_to_command_ms"]

    def show(value, unit: str = "", form: str = "") -> str:
        return "?" if value is None else f"{value:{form}}{unit}"

    return (
        f"{summary['goals_reached']} of {summary['goals']} goals reached  ·  {summary['collisions']} collisions  ·  "
        f"{summary['gate_interventions']} gate interventions  ·  real time × {show(summary['real_time_factor'])}\n"
        f"{show(summary['decision_hz'], '', '.1f')} decisions/s  ·  {show(summary['deadline_misses'])} deadline misses  ·  "
        f"camera to command: median {show(latency['p50'], ' ms', '.0f')}, 99th percentile {show(latency['p99'], ' ms', '.0f')}"
    )


def wall_line(summary: dict[str, Any]) -> str:
    """What became of the wall, in one line; "" when none was to come."""
    wall = summary["wall"]
    if wall is None:
        return "no wall appeared: there was no room for it on the way" if summary["wall_planned"] else ""

    def change(what: str, before, after, unit: str = "") -> str:
        first, then = ("?" if value is None else f"{value:.2f}" for value in (before, after))
        return f"{what} {first} -> {then}{unit}"

    surprise = change("surprise", wall["surprise_before"], wall["surprise_peak"])
    if not wall["noticed"]:
        return f"wall appeared at {wall['time']:.1f} s: {surprise}: it was no surprise (alarm level 1)"
    speed = change("speed", wall["speed_before"], wall["least_speed"], " m/s")
    after = wall["seconds_to_least_speed"]
    within = "" if after is None else f" within {after:.1f} s"
    return f"wall appeared at {wall['time']:.1f} s: {surprise} after {wall['seconds_to_alarm']:.1f} s, {speed}{within}"


def write_json(path: Path, data: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(data, indent=2) + "\n")
    partial.replace(path)
