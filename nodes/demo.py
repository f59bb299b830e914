"""`objective-agent demo`: the whole agent at work, end to end, over real DDS, and a folder that shows what it thought and did.

Starts the embedded simulator, the six modules and the safety gate as `run` does, gives one goal after another, shows live what
happens, takes everything down, and only then draws: video, dashboard and figures all come from the recording.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

from objective_agent.config import RobotParameters
from objective_agent.simulation import World
from objective_agent.types import InputError
from objective_agent_nodes import demo_parameters, demo_results, transport
from objective_agent_nodes.demo_event import WallEvent
from objective_agent_nodes.demo_graph import GraphDied, RunningGraph, noted_signals, running_graph, watching
from objective_agent_nodes.demo_machine import hardware, versions
from objective_agent_nodes.demo_progress import Progress
from objective_agent_nodes.demo_watch import TRUE_TOLERANCE, Watch

HELP = "drive the simulated robot to three goals over DDS; writes a video, a dashboard, a recording and figures"
EXAMPLE = "objective-agent demo --world apartment --goals 3 --out demo_out"

STARTUP = 60.0
"""Time that the graph has to come up, s."""
LINGER = 1.0
"""Recorded after the last goal, s: the last words must reach the recorder."""
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--goals", type=int, default=3, metavar="N", help="how many of the world's goals to drive to (default: 3)"
    )
    parser.add_argument("--world", default="apartment", help="a shipped world's name or an MJCF file (default: apartment)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulator (default: 1)")
    parser.add_argument("--timeout", type=float, default=90.0, metavar="S", help="time for each goal, s (default: 90)")
    demo_parameters.add_arguments(parser)
    parser.add_argument("--no-wall", action="store_true", help="without the wall that appears on the way to the second goal")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: demo_out)")
    parser.add_argument("--no-video", action="store_true", help="leave run.mp4 out")
    parser.add_argument("--headless", action="store_true", help="plain lines instead of the live display, also in a terminal")
    parser.add_argument("--from", dest="source", type=Path, metavar="MCAP", help="draw an earlier run again; drives nothing")


def main(args: argparse.Namespace) -> int:
    if args.seed < 0:
        raise InputError(f"--seed {args.seed}: must be 0 or more")
    if args.goals < 1 or not 0 < args.timeout < math.inf:
        raise InputError(f"--goals {args.goals} --timeout {args.timeout:g}: both must be greater than 0")
    if args.source is not None:
        return redraw(args)
    world = World.load(args.world)
    if args.goals > len(world.goals):
        raise InputError(f"--goals {args.goals}: the world {world.name} has {len(world.goals)} goals; give a smaller number")
    goals = [(float(x), float(y)) for x, y, *_ in world.goals[: args.goals]]
    args.params, args.extra, args.model = demo_parameters.choose(args.model, args.params)
    folder = args.out or Path("demo_out")
    demo_results.prepare_folder(folder)
    with Progress(args.goals, plain=args.headless) as progress, noted_signals() as stopped:
        try:
            drive(args, world.name, goals, folder, progress, stopped)
        except GraphDied as error:
            progress.say(f"failed: {error}", "bold red")
        except KeyboardInterrupt:
            return interrupted(folder / demo_results.MCAP, progress)
        return draw(folder / demo_results.MCAP, folder, args, progress, stopped)


def redraw(args: argparse.Namespace) -> int:
    """Draws an earlier run again."""
    folder = args.out or args.source.resolve().parent
    if args.source.is_file():
        folder.mkdir(parents=True, exist_ok=True)
    with Progress(args.goals, plain=args.headless) as progress, noted_signals() as stopped:
        return draw(args.source, folder, args, progress, stopped)


def draw(mcap: Path, folder: Path, args: argparse.Namespace, progress: Progress, stopped: list[int]) -> int:
    """Video, dashboard and figures from the recording; the exit code."""

    def step(what: str, share: float) -> None:
        if stopped:
            raise KeyboardInterrupt
        progress.step(what, share)

    try:
        return report(demo_results.make_results(mcap, folder, not args.no_video, step), folder, progress)
    except KeyboardInterrupt:
        return interrupted(mcap, progress)


def drive(
    args: argparse.Namespace, world: str, goals: list[tuple[float, float]], folder: Path, progress: Progress, stopped: list[int]
) -> None:
    """The run itself; when it returns or raises, every process is gone and the recording is closed."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))  # two demos on one machine must not hear each other
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")  # and must not reach the network
    transport.choose(os.environ)
    progress.say(f"starting simulator, agent and safety gate (ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']})")
    progress.say(f"model: {args.model}")
    walled = not args.no_wall and len(goals) > 1 and args.model != demo_parameters.ANALYTIC
    info: dict[str, Any] = {"world": world, "seed": args.seed, "goals": goals, "robot_radius": RobotParameters().radius}
    info |= {"goal_tolerance": TRUE_TOLERANCE, "model": args.model, "wall": walled}
    recording, log = folder / demo_results.MCAP, folder / demo_results.LOG
    with running_graph(args, recording, log, stopped, extra=args.extra) as graph, watching() as watch:
        event = WallEvent(watch, progress.say) if walled else None
        watch.tell("start", **info, hardware=hardware(), versions=versions())
        wait_for_graph(watch, graph, progress)
        reason = "interrupted"
        try:
            ways = enumerate(goals)
            reached = [reach(watch, graph, index, goal, args.timeout, progress, event) for index, goal in ways]
            reason = "all goals reached" if all(reached) else "not all goals were reached"
        except GraphDied as error:
            reason = str(error)
            raise
        finally:
            watch.tell("end", exit_reason=reason)
            time.sleep(0.3 if reason == "interrupted" else LINGER)


def wait_for_graph(watch: Watch, graph: RunningGraph, progress: Progress) -> None:
    begun = time.monotonic()
    while missing := watch.waiting_for():
        graph.check()
        share = (time.monotonic() - begun) / STARTUP
        if share > 1:
            raise GraphDied(f"{missing} does not answer after {STARTUP:.0f} s; {watch.why_held()}")
        progress.update(watch.snapshot())
        time.sleep(0.1)
    progress.say(f"up after {time.monotonic() - begun:.1f} s")


def reach(
    watch: Watch,
    graph: RunningGraph,
    index: int,
    goal: tuple[float, float],
    timeout: float,
    progress: Progress,
    event: WallEvent | None = None,
) -> bool:
    """Gives a goal and waits until it is reached or the time is up; `event` happens on the way when its time has come."""
    begun = time.monotonic()
    watch.give_goal(index, goal)
    while time.monotonic() - begun < timeout:
        if watch.goal_reached():
            watch.end_goal(True)
            words = f"goal {index + 1} reached in {time.monotonic() - begun:.1f} s, {watch.distance():.2f} m away"
            progress.say(words, "green")
            return True
        try:
            graph.check()
        except GraphDied as error:
            watch.end_goal(False, str(error))
            raise
        if event is not None:
            event.step(index)
        progress.update(watch.snapshot())
        time.sleep(0.05)
    reason = f"not reached in {timeout:.0f} s: {watch.why_held()}"
    watch.end_goal(False, reason)
    progress.say(f"goal {index + 1} {reason}", "bold red")
    return False


def report(summary: dict[str, Any], folder: Path, progress: Progress) -> int:
    """Says how it went; 0 when all goals were reached without a collision and the wall, if there was one, was a surprise."""
    wall = summary["wall"]
    good = summary["goals"] > 0 and summary["goals_reached"] == summary["goals"] and summary["collisions"] == 0
    good = good and (wall is None or wall["noticed"])
    for line in demo_results.headline(summary).splitlines():
        progress.say(line, "bold green" if good else "bold red")
    words = demo_results.wall_line(summary)
    if words:
        progress.say(words, "bold yellow" if wall is None else "bold green" if wall["noticed"] else "bold red")
    for failure in summary["failures"]:
        progress.say(failure, "bold red")
    progress.say(f"{folder}/: " + ", ".join(sorted(path.name for path in folder.iterdir() if path.name in demo_results.FILES)))
    return 0 if good else 1


def interrupted(mcap: Path, progress: Progress) -> int:
    if mcap.exists():
        progress.say(f"stopped; everything is taken down; what was recorded is in {mcap}; draw it with:")
        progress.say(f"  objective-agent demo --from {mcap}")
    else:
        progress.say("stopped; everything is taken down; nothing was recorded")
    return INTERRUPTED
