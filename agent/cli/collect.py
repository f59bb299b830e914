"""`objective-agent collect`: drives and records, in the simulator without ROS, as fast as the machine allows.

Bags hold a robot's topics (docs/data.md) and appear whole; killing a run loses the bags that were being written and no other,
and `--resume` writes those that are missing.  The benchmark tasks give images instead (cli/collect_frames.py).
"""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from objective_agent.cli import arguments
from objective_agent.types import InputError

HELP = "drive and record: training data as MCAP bags; images of benchmark tasks"
EXAMPLE = "objective-agent collect --task mix --episodes 600 --seed 1 --jobs 2 --out bags/apartment"
EPISODES_PER_BAG = 10
SECONDS, TRAIN = 40.0, "train"
TASKS = ("mix", "apartment", "apartment_camera", "apartment_people", "apartment_slip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    mix = (
        "mix: 45 %% apartment, 30 %% apartment_people, 25 %% apartment_slip (default); one of them, or apartment_camera; "
        "a benchmark task (two_room ...), or gym:ID: a data set of images"
    )
    parser.add_argument("--task", default="mix", metavar="T", help=mix)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--episodes", type=arguments.count, metavar="N", help="how many episodes (default: 10)")
    amount.add_argument("--minutes", type=arguments.positive, metavar="M", help="how many simulated minutes, in whole episodes")
    amount.add_argument(
        "--steps", type=arguments.count, metavar="N", help="how many steps of a benchmark task (default: 100000)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help=f"simulated seconds per episode (default: {SECONDS:g})")
    parser.add_argument("--seed", type=arguments.seed, default=1, metavar="S", help="draws worlds and driving (default: 1)")
    worlds = f"{TRAIN}: generated training apartments, never those of evaluations (default); or a world's name or file"
    parser.add_argument("--worlds", metavar="W", help=worlds)
    params = "ROS parameter file (default: the shipped config/sim.yaml); with --plans: YAML of the planner's settings"
    parser.add_argument("--params", metavar="FILE", help=params)
    parser.add_argument("--jobs", type=arguments.count, default=1, metavar="N", help="processes; the bags do not depend on N")
    parser.add_argument("--resume", action="store_true", help="write only the bags that --out lacks")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BAG", help="folder for the bags (or the data set), or one file NAME.mcap"
    )
    plans = "drive --model to goals (a benchmark task, apartment, apartment_people ...) and log its plans to the file --out"
    parser.add_argument("--plans", action="store_true", help=plans)
    parser.add_argument("--model", metavar="DIR", help="with --plans: the model that plans")
    share = "with --plans: this share of the episodes is driven by the model's policy, the search says what it would do"
    parser.add_argument("--policy", type=float, default=0.0, metavar="SHARE", help=share)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write what was collected here")


def main(args: argparse.Namespace) -> int:
    if args.plans != (args.model is not None) or (args.plans and args.task == "mix"):
        raise InputError("--plans and --model go together, with one task (--task maze, --task apartment ...)")
    if args.policy and not args.plans:
        raise InputError("--policy: is the share of a log of plans that the policy drives; give --plans as well")
    if args.plans:
        from objective_agent.cli import collect_plans

        return collect_plans.main(args, TASKS)
    if args.task not in TASKS:
        from objective_agent.cli import collect_frames

        return collect_frames.main(args, TASKS)
    if args.steps is not None:
        raise InputError(f"--task {args.task} knows no --steps; give --episodes N or --minutes M")
    settings = make_settings(args)
    episodes = args.episodes or (math.ceil(60 * args.minutes / settings.seconds) if args.minutes else 10)
    work = plan(args.out, episodes, args.resume)
    begun = time.perf_counter()
    totals = {"episodes": 0, "frames": 0, "contacts": 0, "seconds": 0.0}
    with _progress(sum(len(numbers) for _, numbers in work)) as report:
        for tally in run(work, settings, args.jobs):
            totals = {name: value + getattr(tally, name) for name, value in totals.items()}
            report(tally)
    seconds = time.perf_counter() - begun
    totals |= {"bags": len(work), "wall_seconds": round(seconds, 1), "frames_per_second": round(totals["frames"] / seconds, 1)}
    if args.json is not None:
        arguments.write_json(args.json, totals)
    print(
        f"{args.out}: {totals['episodes']} episodes, {totals['frames']} frames, {totals['contacts']} contacts, "
        f"{totals['seconds'] / 60:.1f} simulated minutes, {totals['frames_per_second']:g} frames/s"
    )
    return 0


def make_settings(args: argparse.Namespace):
    """CollectSettings of the arguments.  Raises InputError or ConfigurationError before anything is driven."""
    from objective_agent.cli.evaluate import load
    from objective_agent.learning.collection import CollectSettings
    from objective_agent.simulation.world import World

    parameters, gate = load(args.params)
    world = None if args.worlds in (None, TRAIN) else World.load(args.worlds, parameters.robot)
    seconds = SECONDS if args.seconds is None else args.seconds
    return CollectSettings(args.task, args.seed, parameters.robot, gate, seconds, world=world)


def plan(out: Path, episodes: int, resume: bool) -> list[tuple[Path, range]]:
    """Which bags are to be written, with the numbers of their episodes."""
    if out.suffix == ".mcap":
        if out.exists() and not resume:
            raise InputError(f"{out}: exists; remove it, or give another --out")
        if not out.parent.is_dir():
            raise InputError(f"{out}: there is no folder {out.parent}; make it, or give another --out")
        return [] if out.exists() else [(out, range(episodes))]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be made: {error.strerror}; give another --out") from None
    if any(out.glob("*.mcap")) and not resume:
        raise InputError(f"{out}: holds bags already; go on with --resume, or give another --out")
    for part in out.glob(".*.mcap.part"):  # of a run that was killed
        part.unlink(missing_ok=True)
    whole = [
        (out / f"part-{number:05d}.mcap", range(first, min(first + EPISODES_PER_BAG, episodes)))
        for number, first in enumerate(range(0, episodes, EPISODES_PER_BAG))
    ]
    return [(path, numbers) for path, numbers in whole if not path.exists()]


def run(work: list[tuple[Path, range]], settings, jobs: int) -> Iterator:
    """A Tally per bag, in the order in which they are finished."""
    from objective_agent.learning.collection import write_bag

    if jobs == 1 or len(work) <= 1:
        for path, numbers in work:
            yield write_bag(path, numbers, settings)
        return
    from objective_agent.learning.workers import in_processes

    calls = ((path, numbers, settings) for path, numbers in work)
    yield from in_processes(write_bag, calls, min(jobs, len(work)), "go on with --resume")


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable]:
    """A progress bar on stderr with rate and time left; yields what to call with every finished bag."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as progress:
        bar = progress.add_task("", total=total, rate="")
        begun, frames = time.perf_counter(), 0

        def report(tally) -> None:
            nonlocal frames
            frames += tally.frames
            rate = frames / max(time.perf_counter() - begun, 1e-9)
            progress.update(bar, advance=tally.episodes, rate=f"{rate:.0f} frames/s")

        yield report
