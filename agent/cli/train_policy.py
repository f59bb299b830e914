"""`objective-agent train --head policy --model DIR --data PLANS...`: Mode-1 for a finished model, from logs of its plans.

Logs come from `collect --plans` (benchmarks) and from a robot's memory.  For a model of images the confidence means that
Mode-2's plan would not cost less, as its own world model and cost see it; else that first actions agree.

Where the task's images were recorded by somebody who knows what to do, that data set can stand for PLANS
(`learning/frames/demonstrations.py`): what was done is then the plan for where it led.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from objective_agent.cli import arguments

if TYPE_CHECKING:
    from objective_agent.memory.plans import Plans


def main(args: argparse.Namespace) -> int:
    import torch

    from objective_agent import weights
    from objective_agent.cli.train_head import line, progress, settings_of
    from objective_agent.config import validate
    from objective_agent.learning.frames.dataset import is_frames
    from objective_agent.learning.policy import PolicyConfig, add_policy, check
    from objective_agent.memory.plans import read_plans

    torch.set_num_threads(args.threads)
    folder = weights.find_model(args.model)
    card = weights.read_card(folder)
    config = validate(PolicyConfig, settings_of(args), str(args.config or "--head policy"))
    shown = len(args.data) == 1 and is_frames(args.data[0])
    plans = demonstrated(args, folder, card) if shown else read_plans(args.data, str(card["sha256"].get("encoder")))
    check(plans)  # before anything is made of it
    energies, about = None, {"command": arguments.command_line()}
    if card.get("kind") == weights.FRAMES:
        from objective_agent.cli.evaluate_benchmark import load_settings
        from objective_agent.simulation.benchmarks.plans import Imagined, stride

        energies = None if shown else Imagined(args.model, plans, load_settings(args.params, str(card.get("task"))))
        about |= {"stride": stride(plans)}
    with progress() as report:
        section = add_policy(
            folder, plans, config, args.seed, lambda at: report("training", at.share, line(at.losses)), energies, about
        )
    show(section, str(folder))
    return 0


def demonstrated(args: argparse.Namespace, folder: Path, card: dict) -> Plans:
    """The data set of images as a log of plans, as long as the planner's settings (--params) say."""
    from objective_agent import devices, weights
    from objective_agent.cli.evaluate_benchmark import load_settings
    from objective_agent.cli.train_head import progress
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.learning.frames.batches import Frames
    from objective_agent.learning.frames.dataset import FrameData
    from objective_agent.learning.frames.demonstrations import plans_of
    from objective_agent.plugins import create
    from objective_agent.types import InputError

    data = FrameData.open(args.data[0])
    if card.get("kind") != weights.FRAMES or card.get("task") != data.task:
        raise InputError(f"{folder}: is a model of {card.get('task')}, the data are of {data.task}; give data of its own task")
    data.verify()
    spec = PluginSpec(plugin="frame_jepa", model=str(folder), device=args.device)
    encoder = create("encoder", spec, RobotParameters()).network
    _, shape, _ = weights.read_weights(folder, "predictor", card)
    frames = Frames(data, devices.find(args.device, "--device"))
    with progress() as report:
        return plans_of(
            encoder, frames, int(shape["history"]), load_settings(args.params, data.task).horizon, seed=args.seed,
            report=lambda done, total: report("encoding", done / total, ""),
        )  # fmt: skip


def show(section: dict, folder: str) -> None:
    """What the policy is worth, on stdout."""
    told, rows = section["confidence"], section["rows"]
    print(
        f"{folder}: policy from {section['episodes']} episodes ({sum(rows.values())} decisions), {section['steps']} steps; "
        f"on held-out episodes its first action is {told['first_action_error']:.3f} half ranges from Mode-2's"
    )
    print(
        f"  confidence means {told['means']}: {told['good']['test']:.1%} of the held-out decisions are good, "
        f"AUC {told['auc'][told['means']]}, expected calibration error {told['expected_calibration_error']:.3f}"
    )
    print("  predicted / observed: " + ", ".join(f"{at['predicted']:.2f}/{at['observed']:.2f}" for at in told["reliability"]))
    for limit, at in told["above"].items():
        good = "-" if at["good"] is None else f"{at['good']:.1%}"
        print(f"  confidence {limit} or more: {at['share']:.1%} of the decisions, {good} of them good")
