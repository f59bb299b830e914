"""`objective-agent collect --plans --task maze --model models/maze --out plans/maze.db`: the log of a model's plans."""

from __future__ import annotations

import argparse

from objective_agent.cli import arguments
from objective_agent.types import InputError

EPISODES = 400


def main(args: argparse.Namespace) -> int:
    from objective_agent.cli.train_head import progress
    from objective_agent.simulation.benchmarks.plans import PlanSettings, collect_plans

    if args.resume or args.minutes or args.steps:
        raise InputError("--plans takes none of --resume, --minutes, --steps: it takes minutes; give --episodes N")
    if not 0 <= args.policy <= 1:
        raise InputError(f"--policy {args.policy}: is a share of the episodes, from 0 to 1")
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{args.out.parent}: can't be made: {error.strerror}; give another --out") from None
    settings = PlanSettings(args.task, args.model, args.seed, policy=args.policy)
    about = {"command": arguments.command_line()}
    with progress() as report:
        found = collect_plans(
            settings,
            args.out,
            args.episodes or EPISODES,
            args.jobs,
            about,
            lambda done, total: report("episodes", done / total, f"{done} of {total}"),
        )
    if args.json is not None:
        arguments.write_json(args.json, found)
    print(f"{args.out}: {found['decisions']} plans of {found['episodes']} episodes, {found['reached']} reached their goals")
    return 0
