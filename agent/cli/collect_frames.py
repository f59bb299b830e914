"""`objective-agent collect --task BENCHMARK`: images of a benchmark task into a data set (learning/frames/dataset.py)."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator

from objective_agent.cli import arguments
from objective_agent.types import InputError

STEPS = 100_000
NOT_HERE = ("resume", "minutes", "seconds", "worlds", "params")


def main(args: argparse.Namespace, robot_tasks: tuple[str, ...]) -> int:
    """Collects, writes the coverage report beside the data and prints it."""
    from objective_agent.learning.frames import coverage
    from objective_agent.learning.frames.collection import collect, environment
    from objective_agent.simulation.benchmarks import BENCHMARKS, PREFIX

    if args.task not in BENCHMARKS and not args.task.startswith(PREFIX):
        known = ", ".join((*robot_tasks, *BENCHMARKS))
        raise InputError(f"task {args.task}: there is none; take one of {known}, or {PREFIX}ID of a gymnasium environment")
    arguments.refuse(args, NOT_HERE, f"--task {args.task} knows no such thing: it takes --steps N in its own layouts")
    task = environment(args.task)  # what is missing for it is said before anything is shown
    steps = args.steps or (args.episodes * task.episode_steps if args.episodes else STEPS)
    about = {"command": arguments.command_line()}
    begun = time.perf_counter()
    with _progress(steps) as report:
        data, found = collect(args.task, args.out, steps, args.seed, args.jobs, about, report)
    seconds = time.perf_counter() - begun
    found |= {"wall_seconds": round(seconds, 1), "frames_per_second": round(data.rows / seconds, 1)}
    if args.json is not None:
        arguments.write_json(args.json, found)
    print(f"{args.out}: {args.task}, {found['frames_per_second']:g} frames/s\n{coverage.table(found)}")
    return 0


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr with rate and time left; yields what to call with (steps done, steps in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("steps"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"),
               TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as progress:
        bar, begun = progress.add_task("", total=total, rate=""), time.perf_counter()

        def report(done: int, total: int) -> None:
            progress.update(bar, completed=done, rate=f"{done / max(time.perf_counter() - begun, 1e-9):.0f} steps/s")

        yield report
