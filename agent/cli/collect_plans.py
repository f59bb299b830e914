"""`objective-agent collect --plans --task maze --model models/maze --out plans/maze.db`: the log of a model's plans.

The robot's tasks (`--task apartment --model models/apartment`) are driven in apartments that no evaluation uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from objective_agent.cli import arguments
from objective_agent.types import InputError

EPISODES, ROBOT_EPISODES = 400, 200
NOT_HERE = ("resume", "minutes", "steps", "seconds", "worlds")


def main(args: argparse.Namespace, robots: tuple[str, ...] = ()) -> int:
    """`robots`: tasks of the robot, not of images."""
    from objective_agent.cli.evaluate_benchmark import load_settings
    from objective_agent.cli.train_head import progress

    arguments.refuse(args, NOT_HERE, "--plans knows no such thing: it drives --episodes N in the task's own training worlds")
    if not 0 <= args.policy <= 1:
        raise InputError(f"--policy {args.policy}: is a share of the episodes, from 0 to 1")
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{args.out.parent}: can't be made: {error.strerror}; give another --out") from None
    about = {"command": arguments.command_line()}
    with progress() as report:

        def said(done: int, total: int) -> None:
            report("episodes", done / total, f"{done} of {total}")

        if args.task in robots:
            found = of_robot(args, about, said)
        else:
            from objective_agent.simulation.benchmarks.plans import PlanSettings, collect_plans

            settings = PlanSettings(
                args.task, args.model, args.seed, policy=args.policy, controller=load_settings(args.params, args.task)
            )
            found = collect_plans(settings, args.out, args.episodes or EPISODES, args.jobs, about, said)
    if args.json is not None:
        arguments.write_json(args.json, found)
    print(f"{args.out}: {found['decisions']} plans of {found['episodes']} episodes, {found['reached']} reached their goals")
    return 0


def of_robot(args: argparse.Namespace, about: dict, report: Callable[[int, int], None]) -> dict:
    from objective_agent.cli.evaluate import load, with_model
    from objective_agent.simulation.plans import PlanSettings, collect_plans

    if args.policy:
        raise InputError("--policy: is for benchmark tasks; a robot's log is driven by the search")
    parameters, gate = load(args.params, "learned.yaml")
    settings = PlanSettings(args.task, with_model(parameters, args.model), gate, args.seed)
    return collect_plans(settings, args.out, args.model, args.episodes or ROBOT_EPISODES, args.jobs, about, report)
