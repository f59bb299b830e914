"""What each part of the learned world model is worth: small models of the same data, one thing different in each.

Every run sees the same number of windows, drawn with the same seed, and is measured on the same windows of worlds that nobody
trained on.  The base is trained with several seeds: what differs less than those do says nothing.  Runs that the output file
already holds are not done again, so a killed benchmark goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HELP = "what history, rollouts, regularizer, heads and training time are worth in the learned world model"
EXAMPLE = "objective-agent bench ablations --data data/apartment --json results/ablations.json"
HORIZON = 10
"""Steps at which all models are measured, however far they were trained to look."""

MOST = 8192
"""Windows that a model is measured on, at most."""

KEPT = ("position", "analytic_position", "heading", "analytic_heading", "clearance_near", "people_near")
"""Figures of `learning.metrics` that go into the result."""


@dataclass(frozen=True)
class Variant:
    """`changes` to the training configuration; `length` in shares of the base's steps; `history`: motion and past sweeps."""

    group: str
    label: str
    changes: dict = field(default_factory=dict)
    seed: int = 0
    length: float = 1.0
    history: bool = True


def variants(seeds: int = 3) -> dict[str, Variant]:
    """All runs by name, those first that teach most."""
    found = {"base-0": Variant("base", "base")}
    if seeds > 1:
        found["base-1"] = Variant("base", "base", seed=1)
    found |= {
        "history-1": Variant("history", "one observation, no history", history=False),
        "rollout-1": Variant("rollout", "trained on 1 step", {"horizon": 1, "targets": 1}),
        "frozen": Variant("readouts", "on frozen representations", {"joint_readouts": False}),
        "none": Variant("regularizer", "none", {"regularizer": "none"}),
        "short": Variant("time", "0.4 x the steps", length=0.4),
        "double": Variant("time", "2 x the steps", length=2.0),
        "sigreg": Variant("regularizer", "SIGReg", {"regularizer": "sigreg"}),
        "heads-1": Variant("heads", "1 head", {"heads": 1}),
        "rollout-4": Variant("rollout", "trained on 4 steps", {"horizon": 4, "targets": 3}),
        "quadruple": Variant("time", "4 x the steps", length=4.0),
    }
    for seed in range(2, seeds):
        found[f"base-{seed}"] = Variant("base", "base", seed=seed)
    return found


def add_arguments(parser) -> None:
    parser.add_argument("--data", required=True, metavar="DIR", help="a data set's folder")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings of the base (default: config/train_apartment.yaml)"
    )
    parser.add_argument("--steps", type=int, default=700, metavar="N", help="length of the base's training (default: 700)")
    parser.add_argument("--batch", type=int, metavar="N", help="windows per step (default: the configuration's)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of the base (default: 3)")
    parser.add_argument("--only", metavar="LIST", help=f"some of {','.join(variants())}")
    parser.add_argument("--most", type=int, default=MOST, metavar="N", help=f"windows to measure on (default: {MOST})")


def main(args) -> dict:
    """Trains and measures what is missing in the output file; returns its content."""
    from objective_agent.cli.evaluate import hardware
    from objective_agent.cli.train import load_config, load_robot
    from objective_agent.config import validate
    from objective_agent.learning.windows import Sequences
    from objective_agent.types import InputError

    if min(args.steps, args.seeds, args.most) < 1:
        raise InputError("bench ablations: --steps, --seeds and --most must be at least 1")
    chosen = choose(args.only, args.seeds)
    config, robot, data = load_config(args.config, None, args.steps), load_robot(None), Sequences(args.data)
    if args.batch is not None:
        config = validate(type(config), {**config.model_dump(), "batch": args.batch}, "--batch")
    windows = held_out(data, args.most)
    protocol = {
        "kind": "ablations",
        "steps": args.steps,
        "batch": config.batch,
        "configuration": config.model_dump(mode="json"),
        "data": {"sha256": data.digest(), "rows": data.rows, "windows": len(windows)}
        | {"worlds": {"train": len(data.worlds("train")), "held_out": len(set(data.world[windows].tolist()))}},
    }
    runs = finished(args.json, protocol)
    for name, variant in chosen.items():
        if name not in runs:
            print(f"{name}: {variant.group}, {variant.label}", file=sys.stderr, flush=True)
            runs[name] = run(variant, config, robot, data, windows)
            if args.json is not None:
                from objective_agent.cli.arguments import write

                write(args.json, dump(protocol, runs, hardware()))
    return json.loads(dump(protocol, runs, hardware()))


def choose(only: str | None, seeds: int) -> dict[str, Variant]:
    from objective_agent.types import InputError

    known = variants(seeds)
    names = list(known) if only is None else [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(f"--only {only}: unknown {', '.join(unknown) or 'list'}; give some of {','.join(known)}")
    return {name: known[name] for name in known if name in names}


def dump(protocol: dict, runs: dict[str, dict], machine: dict) -> str:
    order = [name for name in variants(100) if name in runs]
    return json.dumps(protocol | {"hardware": machine, "runs": {name: runs[name] for name in order}}, indent=1)


def finished(path: Path | None, protocol: dict) -> dict[str, dict]:
    """The runs that the output file already holds; InputError when it is of other data or settings."""
    from objective_agent.types import InputError

    if path is None or not path.exists():
        return {}
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no result of this benchmark ({error}); remove it, or give another --json") from None
    if not isinstance(found, dict) or {key: found.get(key) for key in protocol} != protocol:
        raise InputError(f"{path}: was made of other data or settings; remove it, or give another --json")
    return dict(found["runs"])


def held_out(data, most: int):
    """Rows at which windows begin in worlds that no training saw: both held-out halves, nothing is chosen by them here."""
    import numpy as np

    starts = np.concatenate([data.starts(HORIZON, split) for split in ("calibration", "test")])
    if len(starts) > most:
        starts = np.random.default_rng(0).choice(starts, most, replace=False)
    return np.unique(starts)


def run(variant: Variant, config, robot, data, windows) -> dict:
    """Trains one variant; what it is, what it cost, and its figures."""
    from objective_agent.learning import metrics
    from objective_agent.learning.trainer import Trainer
    from objective_agent.types import ConfigurationError

    unknown = [name for name in variant.changes if name not in type(config).model_fields]
    if unknown:
        raise ConfigurationError(f"the training configuration has no {', '.join(unknown)}")
    changes = {
        **variant.changes,
        "steps": max(1, round(variant.length * config.steps)),
        "minutes": None,
        "report_steps": 10**9,
        "collapse_after": 10**9,  # a collapsed variant is a result here, not an error
        "checkpoint_seconds": 1e6,
    }
    config = type(config).model_validate({**config.model_dump(), **changes})
    data = data if variant.history else without_history(data)
    folder = tempfile.mkdtemp(prefix="ablation-")
    try:
        trainer = Trainer(config, data, Path(folder), robot, variant.seed, threads=1)
        began = time.process_time()
        while trainer.step < config.steps:
            trainer.advance()
            if trainer.step % 50 == 0:
                print(f"  step {trainer.step} of {config.steps}", file=sys.stderr, flush=True)
        seconds = time.process_time() - began
        trainer._look()
        trainer.model.eval()
        nothing = {name: [0.0] * HORIZON for name in ("clearance", "people")}
        figures = metrics.evaluate(trainer.model, data, windows, HORIZON, nothing, config.calibration)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    about = {key: value for key, value in dataclasses.asdict(variant).items() if key != "length"}
    meter = {key: round(float(trainer._held_out[key]), 4) for key in ("rank", "std", "relative")}
    return about | {"steps": config.steps, "cpu_minutes": round(seconds / 60, 2), "meter": meter, "figures": compact(figures)}


def compact(figures: dict) -> dict:
    """The figures that the tables show: {"all", "lidar", "camera" and "condition NAME": {"step_1": {...}, ...}}."""
    found = dict(figures["views"]) | {f"condition {name}": part for name, part in figures["conditions"].items()}
    return {
        view: {step: {key: at[key] for key in KEPT} for step, at in part.items() if step.startswith("step_")}
        | {"windows": part["windows"], "worlds": part["worlds"], "range_log_error_ahead": part["range_log_error"]["ahead"]}
        for view, part in found.items()
    }


def without_history(data):
    """`data` as a robot without memory has it: no earlier sweeps, and of the motion history the last command alone."""
    import copy

    import numpy as np

    blind = copy.copy(data)

    def take(name: str, rows):
        values = data.take(name, rows)
        if name == "motion":  # a slot without odometry is unknown to the encoder; the analytic part keeps the last command
            values = values.copy()
            values[..., :2] = np.nan
        return values

    blind.take = take
    blind.past = lambda rows, steps: data.past(rows, steps) if steps == 0 else np.full_like(rows, -1)
    blind.people = data.people  # a label: the same for all variants
    return blind
