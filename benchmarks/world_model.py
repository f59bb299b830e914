"""How long the learned modules take on one thread: encoding an observation, bridging the latency, imagining candidates."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

HELP = "time of encoding, of advancing over the latency and of one imagined batch of the learned world model"
EXAMPLE = "objective-agent bench world_model --model models/apartment --json world_model.json"


def add_arguments(parser) -> None:
    parser.add_argument("--model", metavar="DIR", help="a trained model (default: an untrained one of the usual size)")
    parser.add_argument("--samples", type=int, nargs="+", default=[48, 64, 128], metavar="N", help="candidates")
    parser.add_argument("--horizon", type=int, default=12, metavar="H", help="steps imagined (default 12)")
    parser.add_argument("--futures", type=int, nargs="+", default=[1, 3], metavar="K", help="futures per candidate")
    parser.add_argument("--repeats", type=int, default=100, metavar="R", help="calls per row (default 100)")


def main(args) -> dict:
    """Milliseconds p50 and least of each call, one thread; for rollouts the bare matrix products and their share, too."""
    import torch

    from objective_agent.types import InputError

    if min([*args.samples, args.horizon, *args.futures, args.repeats]) < 1:
        raise InputError("bench world_model: --samples, --horizon, --futures and --repeats must be at least 1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if args.model:
            return _measure(args, args.model)
        with tempfile.TemporaryDirectory() as folder:
            return _measure(args, str(_untrained(Path(folder))))
    finally:
        torch.set_num_threads(threads)


def _untrained(folder: Path) -> Path:
    from objective_agent.learning.card import write_model
    from objective_agent.learning.model import JepaModel
    from objective_agent.perception.jepa_network import EncoderShape
    from objective_agent.world_model.jepa_network import PredictorShape

    margins = {"clearance": [0.1] * 10, "people": [0.1] * 10}
    write_model(folder, JepaModel(EncoderShape(), PredictorShape()).eval(), {"calibration": {"margins": margins}})
    return folder


def _measure(args, folder: str) -> dict:
    import math

    import numpy as np
    import torch

    from objective_agent import plugins
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.types import Observation, Scan, WorldState

    spec, robot = PluginSpec(plugin="jepa", model=folder), RobotParameters()
    encoder, model = (plugins.create(kind, spec, robot) for kind in ("encoder", "world_model"))
    scan = Scan(1.0, np.full(180, 2.0, np.float32), -math.pi, 2 * math.pi / 180, 0.05, 8.0)
    pose, velocity = np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)
    seen = Observation(1.0, pose, velocity, (scan,), pose, np.zeros((1, 64, 64, 3), np.uint8))
    tokens = encoder.encode(seen)
    sent = np.zeros((1, 20, 2), np.float32)
    state = WorldState(1.0, tokens.tokens, pose, velocity, tokens.model, sent_stamps=np.arange(20) / 20, sent=sent).to_torch()
    advanced = model.advance(state, 1.2)
    rows = {"encode": _time(lambda: encoder.encode(seen), args.repeats)}
    rows["advance 0.2 s"] = _time(lambda: model.advance(state, 1.2), args.repeats)
    with torch.inference_mode():
        for samples in args.samples:
            for futures in args.futures:
                actions = torch.rand(1, samples, args.horizon, 2)
                name = f"rollout {samples} x {args.horizon} x {futures} futures"
                rows[name] = _time(lambda a=actions, k=futures: model.rollout(advanced, a, k), args.repeats)
                bare = _time(_products(model.network, samples + 1, args.horizon, futures), args.repeats)
                rows[name] |= {"matmul_p50": bare["p50"], "matmul_share": round(bare["p50"] / rows[name]["p50"], 3)}
    return {"model": args.model or "untrained", "threads": 1, "repeats": args.repeats, "ms": rows}


def _products(network, candidates: int, horizon: int, futures: int):
    """A call that does the matrix products of a rollout (standing still is one candidate more) and nothing else."""
    import torch

    heads, readouts = network.heads, network.readouts
    start = torch.rand(candidates, network.shape.features)
    states = start.repeat(horizon, 1)
    steps = [heads.from_state[0], heads.inner[0], heads.out[0]]
    layers = [readouts.motion_state.weight.T, readouts.clearance_head[0].weight.T, readouts.people_head[0].weight.T]

    def call() -> None:
        for _ in range(futures):
            for _ in range(horizon):
                value = start
                for weight in steps:
                    value = torch.mm(value, weight)
            for weight in layers:
                torch.mm(states, weight)

    return call


def _time(call, repeats: int) -> dict[str, float]:
    for _ in range(3):
        call()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - begun))
    return {"p50": round(statistics.median(taken), 3), "least": round(min(taken), 3)}
