"""`objective-agent calibrate`: margins of a trained model for plans that were selected, measured with the agent in the loop.

Drives in apartments that neither training nor evaluation uses, follows the agent's plans in copies of the simulation, and puts
the extra margins that keep the promise into the model's card; the world model takes them off from then on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from objective_agent.cli import arguments
from objective_agent.types import InputError

HELP = "adjust a trained model's margins on plans that were selected, with the agent in the loop"
EXAMPLE = "objective-agent calibrate --model models/mine --task mix --episodes 40 --seed 1 --jobs 2"
TASKS = ("mix", "apartment", "apartment_camera", "apartment_people", "apartment_slip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="DIR", help="the model's folder; its card is changed")
    mix = "mix: the four conditions in turn (default); or one of apartment, apartment_camera, apartment_people, apartment_slip"
    parser.add_argument("--task", default="mix", choices=TASKS, metavar="T", help=mix)
    parser.add_argument("--episodes", type=arguments.count, default=40, metavar="N", help="how many (default: 40; 20 at least)")
    parser.add_argument("--seconds", type=_seconds, default=12.0, metavar="S", help="simulated, at most, each (default: 12)")
    parser.add_argument("--seed", type=arguments.seed, default=1, metavar="S", help="draws episodes and noise (default: 1)")
    parser.add_argument("--keep", type=_share, default=0.95, metavar="P", help="share of promises to keep (default: 0.95)")
    parser.add_argument("--params", metavar="FILE", help="ROS parameter file (default: the shipped config/learned.yaml)")
    parser.add_argument(
        "--jobs", type=arguments.count, default=1, metavar="N", help="processes; the result does not depend on N"
    )
    parser.add_argument("--dry-run", action="store_true", help="measure, and leave the card as it is")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures here, too")


def main(args: argparse.Namespace) -> int:
    least = round(1 / (1 - args.keep))
    if args.episodes < least:
        raise InputError(f"--episodes {args.episodes}: {least} are needed for a promise of {args.keep:.0%}")
    from objective_agent import weights
    from objective_agent.cli.evaluate import load, with_model
    from objective_agent.learning import promises, selected
    from objective_agent.learning.checkpoint import write_bytes

    folder = weights.find_model(args.model)
    present = selected.present_margins(folder)
    parameters, gate = load(args.params, "learned.yaml")
    settings = selected.DriveSettings(args.task, args.seed, with_model(parameters, str(folder)), gate, args.seconds)
    records = []
    with _progress(args.episodes) as report:
        for record in selected.drive_all(settings, args.episodes, args.jobs):
            records.append(record)
            report()
    margins = selected.selected_margins(records, present, 1 - args.keep)
    if not margins:
        raise InputError(f"{folder}: no plan promised anything; a model with read-outs is needed")
    kept = promises.summarize([record["promises"] for record in records])
    conditions = {}
    for name in dict.fromkeys(record["condition"] for record in records):
        part = promises.summarize([record["promises"] for record in records if record["condition"] == name])
        conditions[name] = {readout: part[readout]["kept"] for readout in margins if readout in part}
    about = {
        "command": arguments.command_line(),
        "task": args.task,
        "episodes": args.episodes,
        "seed": args.seed,
        "keep": args.keep,
        "driven_with": present,
        "kept": {name: {key: kept[name][key] for key in ("kept", "interval", "steps", "by_step")} for name in margins},
        "kept_by_condition": conditions,
        "margins": margins,
    }
    if not args.dry_run:
        selected.write_selected(folder, about)
    if args.json is not None:
        write_bytes(args.json, json.dumps(about | {"promises": kept, "records": records}, indent=1).encode())
    for name, values in margins.items():
        low, high = kept[name]["interval"] or (0.0, 1.0)
        print(
            f"{name}: {kept[name]['kept'] or 0:.1%} of {kept[name]['steps']} near steps kept as driven "
            f"({low:.1%} - {high:.1%} over episodes); extra margin at steps 1, 2-5, 6 on: "
            f"{values[0]:.3f}, {values[min(1, len(values) - 1)]:.3f}, {values[-1]:.3f} m"
        )
    for name, part in conditions.items():
        print(f"as driven, {name}: " + ", ".join(f"{readout} {kept or 0:.1%}" for readout, kept in part.items()))
    print(f"{folder / weights.CARD}: {'left as it is' if args.dry_run else 'calibration.selected written'}")
    return 0


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr with the time left; yields what to call with every finished episode."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
               TimeRemainingColumn(elapsed_when_finished=True))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as progress:
        bar = progress.add_task("", total=total)
        yield lambda: progress.advance(bar)


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 600:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 to 600")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= 0.999:
        raise argparse.ArgumentTypeError(f"{text}: must be 0.5 to 0.999")
    return value
