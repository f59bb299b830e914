"""`objective-agent train`: a learned world model from recorded bags, with live progress, and on again after a crash.

The model's folder holds encoder and predictor (safetensors) and card.yaml; the plugins `jepa` load it.  Data sets of images
(benchmark tasks) make models for the plugins `frame_jepa` (cli/train_frames.py).
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from objective_agent.cli import arguments, train_head
from objective_agent.cli.train_head import HEADS
from objective_agent.types import InputError

HELP = "train a learned world model from bags or a data set"
EXAMPLE = "objective-agent train --data data/apartment --config config/train_apartment.yaml --out models/mine --minutes 35"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data = "a data set's folder, or MCAP bags; --head policy: logs of plans"
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR|BAG", help=data)
    config = "training settings (default: config/train_apartment.yaml; for images config/train_TASK.yaml)"
    parser.add_argument("--config", type=Path, metavar="FILE", help=config)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the model's folder, e.g. models/mine")
    head = "give the finished model --model only this, into its folder: reachability (distance to goal images), memory, policy"
    parser.add_argument("--head", choices=HEADS, help=head)
    parser.add_argument("--model", metavar="DIR", help="with --head: the model's folder")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes", type=arguments.positive, metavar="M", help="length of the training (default: the configuration's)"
    )
    length.add_argument("--steps", type=arguments.count, metavar="N", help="length of the training in steps: repeatable")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="draws weights, windows and hidden senses (default: 0)"
    )
    parser.add_argument(
        "--threads", type=arguments.count, default=2, metavar="N", help="CPU threads (default: 2; 1 is repeatable)"
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="torch device: cpu or cuda (default: cpu)")
    parser.add_argument(
        "--params", metavar="FILE", help="ROS parameter file with the robot's limits (default: the shipped one)"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the model's card here too, as JSON")


def main(args: argparse.Namespace) -> int:
    if args.head is not None:
        return train_head.main(args)
    if args.out is None or args.model is not None:
        raise InputError("--out DIR is needed: the folder of the new model" if args.out is None else "--model goes with --head")
    if len(args.data) == 1 and (Path(args.data[0]) / "meta.json").exists():
        from objective_agent.learning.frames.dataset import is_frames

        if is_frames(args.data[0]):
            from objective_agent.cli import train_frames

            return train_frames.main(args)
    config = load_config(args.config, args.minutes, args.steps)
    robot = load_robot(args.params)
    prepare(args.out, args.resume)
    data = open_data(args.data, args.out, args.params)
    from objective_agent.learning.trainer import Trainer

    trainer = Trainer(config, data, args.out, robot, args.seed, args.threads, args.device)
    if args.resume:
        trainer.resume()
    about = {"command": arguments.command_line(), "regularizer": config.regularizer}
    with progress(trainer, lines) as report:
        card = trainer.run(about, report)
    if args.json is not None:
        import json

        from objective_agent.learning.checkpoint import write_bytes

        write_bytes(args.json, json.dumps(card, indent=1).encode())
    show(card, args.out)
    return 0


def load_config(path: Path | None, minutes: float | None, steps: int | None):
    """The TrainingConfig of a YAML file, its length replaced by what the command line says."""
    from objective_agent import resources
    from objective_agent.config import validate
    from objective_agent.learning.trainer import TrainingConfig

    path = resources.resource("config", "train_apartment.yaml") if path is None else path
    return validate(TrainingConfig, read_settings(path, minutes, steps), str(path))


def read_settings(path: Path, minutes: float | None, steps: int | None) -> dict:
    """A training's settings as they stand in a YAML file, their length replaced by what the command line says."""
    settings = arguments.read_settings(path)
    if minutes is not None or steps is not None:
        settings = {**settings, "minutes": minutes, "steps": steps}
    return settings


def load_robot(path: str | None):
    """The robot's nominal limits, which the analytic part of ego-motion uses."""
    from objective_agent import resources
    from objective_agent.config import load_parameters

    return load_parameters(path or str(resources.resource("config", "sim.yaml"))).robot


def prepare(out: Path, resume: bool) -> None:
    """Refuses to overwrite anything, before time is spent."""
    from objective_agent.learning import checkpoint
    from objective_agent.weights import CARD

    if (out / CARD).exists():
        raise InputError(f"{out}: is a finished model already; give another --out, or remove it")
    if not resume and (out / checkpoint.NAME).exists():
        raise InputError(f"{out}: holds an unfinished training; go on with --resume, or remove the folder")
    if resume and not (out / checkpoint.NAME).exists():
        raise InputError(f"{out}: no checkpoint to go on from; train without --resume")


def open_data(paths: list[str], out: Path, params: str | None = None):
    """The Sequences of one data set's folder, or of bags, which are turned into one beside the model first."""
    from objective_agent.learning.windows import Sequences

    if len(paths) == 1 and (Path(paths[0]) / "meta.json").exists():
        return Sequences(paths[0])
    from objective_agent.learning import dataset

    made = out / "dataset"
    return Sequences(made if made.exists() else dataset.build(paths, made, build_settings(params)).path)


def build_settings(params: str | None):
    """How bags become rows for the robot of a parameter file: what its perception does, and where its lidar sits."""
    from objective_agent import resources
    from objective_agent.config import load_node_parameters, load_parameters
    from objective_agent.learning.dataset import BuildSettings

    path = params or str(resources.resource("config", "sim.yaml"))
    parameters, common = load_parameters(path), load_node_parameters(path)[""]
    lidar = tuple(float(value) for value in common.get("lidar_pose", (0.0, 0.0, 0.0)))
    return BuildSettings(radius=parameters.robot.radius, perception=parameters.perception, lidar_pose=lidar)


@contextlib.contextmanager
def progress(trainer, lines: Callable[..., list[str]]) -> Iterator[Callable]:
    """A bar with rate and time left, and `lines` of figures under it; on a pipe, a line of figures now and then."""
    from rich.console import Console
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Table

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("step {task.fields[step]}"), BarColumn(), TextColumn("{task.percentage:.0f} %"),
        TextColumn("{task.fields[note]}"), console=console,
    )  # fmt: skip
    task = bar.add_task("", total=1.0, step=trainer.step, note="")

    def view(report) -> Table:
        left = report.seconds_left
        bar.update(
            task,
            completed=report.share,
            step=report.step,
            note=f"{report.windows_per_second:.0f} windows/s, {left / 60:.1f} min left" if report.step else "",
        )
        table = Table.grid()
        table.add_row(bar)
        for line in lines(report):
            table.add_row(line)
        return table

    if not console.is_terminal:
        said = [-math.inf]

        def say(report) -> None:
            if report.seconds - said[0] >= 20:
                said[0] = report.seconds
                console.print(f"step {report.step} {report.share:.0%}, {report.seconds_left / 60:.1f} min left; "
                              + "; ".join(lines(report)), soft_wrap=True, highlight=False)  # fmt: skip

        yield say
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield lambda report: live.update(view(report))


def lines(report) -> list[str]:
    """Losses, errors and the collapse meter, in words."""
    found = ["losses " + ", ".join(f"{name} {value:.3f}" for name, value in report.losses.items())]
    held = report.held_out
    if held:
        found.append(
            f"held-out worlds: 10-step position {held['position']:.3f} m (analytic {held['analytic']:.3f} m), "
            f"near clearance {held['clearance_near']:.3f} m, latent {held['latent']:.3f}"
        )
        found.append(
            f"collapse meter: effective rank {held['rank']:.0f}, std {held['std']:.2f}, "
            f"relative pose at {held['relative']:.0%} of its uninformed level"
        )
    return found


def show(card: dict, out: Path) -> None:
    """The card's main figures as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{out}: {card['training']['steps']} steps in {card['training']['minutes']} min; held-out worlds")
    for column in ("senses or condition", "steps", "position m", "analytic m", "near clearance m", "near people m"):
        table.add_column(column, justify="right")
    for view, figures in (card["metrics"]["views"] | card["metrics"]["conditions"]).items():
        for name, at in figures.items():
            if name.startswith("step_"):
                row = (at["position"], at["analytic_position"], at["clearance_near"], at["people_near"])
                table.add_row(view, name[5:], *("-" if value is None else f"{value:.3f}" for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)
    margins = card["calibration"]["margins"]["clearance"]
    print(f"margins of clearance at 1 and {len(margins)} steps: {margins[0]:.3f} m and {margins[-1]:.3f} m; wrote {out}")
