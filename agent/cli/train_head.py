"""`objective-agent train --head HEAD`: what a finished model gets later, into its folder.

reachability: a value head on its representations.  memory: what its predictions and encodings are worth to short-term memory
(`learning/estimation.py`; `train` does that by itself at its end).  policy: Mode-1, from logs of plans (cli/train_policy.py).

Encoder and predictor stay as they are.  The head is written at the end, so that killing a run leaves the model as it was.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from objective_agent.cli import arguments
from objective_agent.types import InputError

HEADS = ("reachability", "memory", "policy")
PROTOCOL = (
    "pairs of moments of one episode in held-out worlds; goals: the picture alone; spearman with the least steps that odometry "
    "allows; route: with the true way's length, detour: where it is 1.3 times the straight line; l2: the same for the "
    "distance in representation space"
)


def main(args: argparse.Namespace) -> int:
    """Trains, calibrates, measures and writes the head."""
    import torch

    from objective_agent import weights
    from objective_agent.cli.train import load_robot, open_data
    from objective_agent.config import validate
    from objective_agent.learning import heads
    from objective_agent.learning.frames.dataset import is_frames
    from objective_agent.learning.moments import collect, episodes_of
    from objective_agent.learning.reachability import ReachabilityConfig, train

    if args.model is None:
        raise InputError(f"--head {args.head} needs --model DIR: the finished model that it is trained for")
    if args.resume or args.out is not None:
        raise InputError(f"--head {args.head} takes neither --resume nor --out: it takes minutes, and is written into --model")
    if args.head == "policy":
        from objective_agent.cli import train_policy

        return train_policy.main(args)
    if len(args.data) == 1 and is_frames(args.data[0]):
        from objective_agent.cli import train_frames

        return train_frames.train_head(args)
    if args.device != "cpu":
        raise InputError(f"--device {args.device}: heads of robots' models are trained on the CPU; leave it out")
    torch.set_num_threads(args.threads)
    if args.head == "memory":
        return calibrate_memory(args)
    config = validate(ReachabilityConfig, settings_of(args), str(args.config or "reachability"))
    robot, folder = load_robot(args.params), weights.find_model(args.model)
    encoder, predictor, sha = networks(folder)
    data = open_data(args.data, folder)
    with progress() as report:
        most = {"train": config.most_rows, "calibration": config.most_rows // 15, "test": config.most_rows // 15}
        moments = {}
        for split, rows in most.items():
            chosen = episodes_of(data, split, rows)
            moments[split] = collect(
                encoder, predictor, data, chosen, lambda share, s=split: report(f"encoding {s}", share, "")
            )
        network = train(
            moments["train"], config, robot, data.dt, args.seed, lambda at: report("training", at.share, line(at.losses))
        )
    reached, worth = heads.calibrate(network, moments["calibration"])
    about = {
        "command": arguments.command_line(),
        "seed": args.seed,
        "configuration": config.model_dump(),
        "data": {"sha256": data.digest(), "rows": len(moments["train"].rows)},
        "reached": round(reached, 4),
        "reached_calibration": worth,
        "protocol": PROTOCOL,
        "metrics": {
            **heads.figures(network, moments["test"], robot, data.dt),
            "routes": heads.route_figures(network, moments["test"], data.dataset.worlds, robot),
        },
    }
    if weights.read_card(folder)["sha256"].get("encoder") != sha:
        raise InputError(f"{folder}: was replaced by another model meanwhile; train the head again")
    heads.write_head(folder, network.shape, heads.exported(network), about)
    show(about, folder)
    return 0


def calibrate_memory(args: argparse.Namespace) -> int:
    """Measures what the model is worth to memory, on its calibration worlds, and writes that."""
    from objective_agent import weights
    from objective_agent.cli.train import open_data
    from objective_agent.learning.estimation import write_calibration

    folder = weights.find_model(args.model)
    encoder, _, _ = networks(folder)
    about = write_calibration(folder, encoder, open_data(args.data, folder))["memory"]
    for name in ("lidar", "camera"):
        if name in about:
            at = about[name]
            print(f"{name} alone: off by {at['encoding']:.1%} of the variance, {at['estimate']:.1%} when memory estimates")
    print(f"one predicted step: off by {about['one_step']:.1%}; wrote {folder}")
    return 0


def settings_of(args: argparse.Namespace) -> dict:
    """What the file and the command line say of a head's training."""
    length = {"minutes": args.minutes, "steps": args.steps}
    settings = arguments.read_settings(args.config) if args.config else {}
    return settings | {name: value for name, value in length.items() if value is not None}


def networks(folder: Path):
    """(encoder network, predictor network, the encoder's sha256) of a finished model."""
    from objective_agent.config import RobotParameters
    from objective_agent.perception.jepa import JepaEncoder
    from objective_agent.world_model.jepa import Jepa

    encoder = JepaEncoder(JepaEncoder.Config(model=str(folder)), RobotParameters())
    world_model = Jepa(Jepa.Config(model=str(folder)), RobotParameters())
    return encoder.network, world_model.network, encoder.model


def line(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, float, str], None]]:
    """A bar on stderr with the time left; on a pipe a line now and then.  Yields `report(what, share, note)`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    said: dict[str, float] = {}
    if not console.is_terminal:

        def say(what: str, share: float, note: str) -> None:
            if share >= 1 or share >= said.get(what, -1.0) + 0.1:
                said[what] = share
                console.print(f"{what} {share:.0%} {note}", soft_wrap=True, highlight=False)

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as bar:
        made: dict[str, int] = {}

        def draw(what: str, share: float, note: str) -> None:
            if what not in made:
                made[what] = bar.add_task(what, total=1.0, note="")
            bar.update(made[what], completed=share, note=note)

        yield draw


def show(about: dict, folder: Path) -> None:
    """The head's main figures on stdout."""
    for name, at in about["metrics"].items():
        if isinstance(at, dict) and "spearman" in at:
            print(
                f"{name}: rank correlation with the least steps {at['spearman']} (L2 {at['spearman_l2']}), "
                f"within 3 m {at['spearman_within_3m']} (L2 {at['spearman_l2_within_3m']})"
            )
    for name, at in about["metrics"]["routes"].items():
        if isinstance(at, dict):
            print(f"{name}: rank correlation with the true way {at['spearman']} (L2 {at['spearman_l2']})")
    worth = about["reached_calibration"]
    print(
        f"reached below {about['reached']:.2f} steps: precision {worth['precision']}, recall {worth['recall']}; wrote {folder}"
    )
