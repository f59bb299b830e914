"""`objective-agent train` on a benchmark task's data set of images (learning/frames/trainer.py)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from objective_agent.cli import arguments
from objective_agent.types import ConfigurationError, InputError


def main(args: argparse.Namespace) -> int:
    """Trains, writes the model with its reachability, and prints its main figures."""
    from objective_agent.cli.train import prepare, progress
    from objective_agent.learning.checkpoint import write_bytes
    from objective_agent.learning.frames.dataset import FrameData
    from objective_agent.learning.frames.trainer import FrameTrainer

    if args.params is not None:
        raise InputError("--params is for robots' recordings; a task of images has no parameter file")
    data = FrameData.open(args.data[0])
    config = load_config(args.config, data.task, args.minutes, args.steps)
    prepare(args.out, args.resume)
    data.verify()
    trainer = FrameTrainer(config, data, args.out, args.seed, args.threads, args.device)
    if args.resume:
        trainer.resume()
    with progress(trainer, lines) as report:
        card = trainer.run({"command": arguments.command_line()}, report)
    if args.json is not None:
        write_bytes(args.json, json.dumps(card, indent=1).encode())
    show(card, args.out)
    return 0


def train_head(args: argparse.Namespace) -> int:
    """`--head reachability` for a finished model of images: a new head, on data of its task; encoder and predictor stay."""
    import torch

    from objective_agent import devices, weights
    from objective_agent.cli.train_head import line, progress, settings_of
    from objective_agent.config import PluginSpec, RobotParameters, validate
    from objective_agent.learning.frames.batches import Frames
    from objective_agent.learning.frames.dataset import FrameData
    from objective_agent.learning.frames.reachability import FrameReachabilityConfig
    from objective_agent.learning.frames.reachability_part import add_reachability
    from objective_agent.plugins import create

    if args.head != "reachability":
        raise InputError(f"--head {args.head}: a model of images has none; it has reachability")
    torch.set_num_threads(args.threads)
    device = devices.find(args.device, "--device")
    data, folder = FrameData.open(args.data[0]), weights.find_model(args.model)
    card = weights.read_card(folder, kind=weights.FRAMES)
    if card.get("task") != data.task:
        raise InputError(f"{folder}: is a model of {card.get('task')}, the data are of {data.task}; give data of its own task")
    settings = {**card["configuration"].get("reachability", {}), **settings_of(args)}
    config = validate(FrameReachabilityConfig, settings, str(args.config or folder))
    data.verify()
    spec = PluginSpec(plugin="frame_jepa", model=str(folder), device=args.device)
    encoder = create("encoder", spec, RobotParameters()).network
    with progress() as report:
        about = add_reachability(
            folder, encoder, Frames(data, device), config, args.seed, lambda at: report("training", at.share, line(at.losses))
        )
    _show_gate(about["gate"])
    return 0


def load_config(path: Path | None, task: str, minutes: float | None, steps: int | None):
    """The FrameTrainingConfig of a file, by default config/train_TASK.yaml; its length replaced by the command line's."""
    from objective_agent import resources
    from objective_agent.cli.train import read_settings
    from objective_agent.config import validate
    from objective_agent.learning.frames.settings import FrameTrainingConfig

    if path is None:
        try:
            path = resources.resource("config", f"train_{task}.yaml")
        except InputError:
            raise ConfigurationError(f"task {task}: no settings ship for it; give --config FILE") from None
    return validate(FrameTrainingConfig, read_settings(path, minutes, steps), str(path))


def lines(report) -> list[str]:
    """Losses, errors and the collapse meter, in words."""
    found = [f"{report.stage}: " + ", ".join(f"{name} {value:.3f}" for name, value in report.losses.items())]
    held = report.held_out
    if held:
        steps = [f"{held[f'position_{h}']:.3f} after {h}" for h in (1, 4, 8) if f"position_{h}" in held]
        found.append(f"held-out windows: position error {', '.join(steps)} steps; probe R2 {held['probe_r2']:.4f}")
        found.append(
            f"collapse meter: effective rank {held['rank']:.0f}, std {held['std']:.2f}, "
            f"inverse dynamics at {held['inverse']:.0%} of a guess"
        )
    return found


def show(card: dict, out: Path) -> None:
    """The card's main figures, on stdout."""
    metrics, training = card["metrics"], card["training"]
    known = [step for step in (1, 4, 8) if f"position_{step}" in metrics]
    steps = ", ".join(f"{metrics[f'position_{h}']:.4f} ({metrics[f'hard_{h}']:.4f} hard) after {h}" for h in known)
    print(f"{out}: {card['task']}, {training['steps']} steps in {training['minutes']} min; held out:")
    print(f"  probe R2 {', '.join(f'{value:.4f}' for value in metrics['probe_r2'])}; position error {steps} steps")
    print(f"  rank {metrics['rank']:.1f}, std {metrics['std']:.3f}, inverse dynamics at {metrics['inverse']:.1%} of a guess")
    if "reachability" in card:
        _show_gate(card["reachability"].get("gate"))


def _show_gate(gate: dict | None) -> None:
    if gate:
        print(
            f"  reachability: Spearman {_said(gate['spearman'])} (L2 {_said(gate['l2'])}) on {gate['pairs']} pairs, "
            f"{_said(gate['spearman_detours'])} ({_said(gate['l2_detours'])}) on the {gate['detours']} with a detour"
        )


def _said(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
