"""`objective-agent imagine --expectation`: does what can't happen surprise the world model more than what can?"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from objective_agent import weights
from objective_agent.cli import arguments

PAIRS = 200


def run(args: argparse.Namespace, progress: Callable) -> int:
    """Judges pairs of clips of the model's own task; the model is one of images."""
    import torch

    from objective_agent.config import RobotParameters
    from objective_agent.learning.frames.expectation import BARS, judge
    from objective_agent.perception.frame_jepa import FrameJepaEncoder
    from objective_agent.simulation.benchmarks import make
    from objective_agent.simulation.benchmarks.impossible import KINDS, clip_pairs, why_not
    from objective_agent.world_model.frame_jepa import FrameJepa

    torch.set_num_threads(1)
    folder = weights.find_model(args.model)
    card = weights.read_card(folder, kind=weights.FRAMES)
    encoder = FrameJepaEncoder(FrameJepaEncoder.Config(model=str(folder)), RobotParameters()).network
    predictor = FrameJepa(FrameJepa.Config(model=str(folder)), RobotParameters()).network
    env, count = make(str(card.get("task"))), args.count or PAIRS
    kinds: dict[str, Any] = {}
    with progress() as report:
        for done, kind in enumerate(KINDS):
            report("kinds of clips", done / len(KINDS))
            reason = why_not(env, kind)
            if reason:
                kinds[kind] = {"left_out": reason}
                continue
            kinds[kind] = judge(encoder, predictor, clip_pairs(env, kind, count, args.seed, predictor.shape.history))
            if kind in BARS:
                kinds[kind] |= {"bar": BARS[kind], "passed": kinds[kind]["peak"]["share"] >= BARS[kind]}
    result = {
        "kind": "expectation",
        "command": arguments.command_line(),
        "model": args.model,
        "sha256": card["sha256"],
        "task": env.task,
        "seed": args.seed,
        "score": "peak",
        "protocol": env.protocol,
        "kinds": kinds,
    }
    if args.json is not None:
        arguments.write_json(args.json, result)
    show(result)
    return 0


def show(result: dict[str, Any]) -> None:
    """The shares as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['model']}: the impossible clip surprises more, % of pairs (95 % interval)")
    for title in ("clips", "pairs", "largest error", "mean error", "of rollouts", "if nothing changed", "bar"):
        table.add_column(title, justify="left" if title == "clips" else "right")
    for kind, found in result["kinds"].items():
        if "left_out" in found:
            table.add_row(kind, "-", found["left_out"])
            continue
        low, high = found["peak"]["interval"]
        share = f"{100 * found['peak']['share']:.1f} ({100 * low:.0f}-{100 * high:.0f})"
        others = (f"{100 * found[name]['share']:.1f}" for name in ("one_step", "rollout", "unchanged"))
        bar = f"{100 * found['bar']:.0f}: {'passed' if found['passed'] else 'missed'}" if "bar" in found else ""
        table.add_row(kind, str(found["pairs"]), share, *others, bar)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)
