"""Time per decision beside the peers': the same predictor, cost, candidates, horizon, iterations and threads for all.

Ours (`mppi`, `cem`), stable-worldmodel's solvers and pytorch-mppi take turns, decision by decision, on the same problems: a
residual MLP with random weights, from a random state to one that random actions lead to.  What a plan is worth (`energy`: mean
over its steps of |z - goal|^2 / D) is computed here for all of them, with the actions within their bounds.

No optimizer stops early here and ours keeps no other modes, so that the work is the same: at most N candidates per iteration.
On one thread times are processor times (other jobs on the machine then count less), on several they are wall times.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELP = "time per decision and plan energy beside stable-worldmodel and pytorch-mppi, on the same problems"
EXAMPLE = "objective-agent bench planning --scaling --write docs/speed.md --json planning.json"
BEGIN, END = "<!-- table: objective-agent bench planning -->", "<!-- end of table -->"
PEERS = {"stable-worldmodel": ("mppi", "cem"), "pytorch-mppi": ("mppi",)}
# Without their dependencies: stable-worldmodel's would bring simulators, and torch for another device.
PACKAGES = [
    *("stable-worldmodel==0.1.1", "pytorch-mppi==0.9.1", "arm-pytorch-utilities", "pytorch-seed", "scipy", "gymnasium"),
    *("cloudpickle", "farama-notifications", "loguru", "safetensors", "numpy", "typing-extensions", "setuptools"),
    *("filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "sympy"),
]
SIZES = ((64, 4, 2, 128, 1), (128, 6, 3, 128, 1), (256, 12, 4, 128, 1), (2048, 12, 4, 128, 1))
MORE = ((128, 3, 3, 128, 1), (128, 12, 3, 128, 1), (128, 6, 3, 64, 1), (128, 6, 3, 256, 1), (128, 6, 3, 128, 4))
NOISE, TEMPERATURE, ELITES, ACTIONS = 0.5, 0.02, 0.1, 2


def add_arguments(parser) -> None:
    parser.add_argument(
        "--environment",
        type=Path,
        metavar="DIR",
        default=Path("~/.cache/objective_agent/peers"),
        help="the peers' virtual environment, made there when missing (default ~/.cache/objective_agent/peers)",
    )
    parser.add_argument("--rounds", type=int, default=9, metavar="R", help="decisions of each, in turns (default 9)")
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="threads of each process (default 1)")
    parser.add_argument(
        "--runtime",
        choices=("compiled", "torch", "onnx"),
        default="compiled",
        help="what runs our predictor: torch with what lies between its products compiled (default, the fastest; needs a C "
        "compiler), torch alone, or onnxruntime",
    )
    parser.add_argument("--sizes", default="", metavar="N,H,I,D,B;...", help="these sizes only (default: the table's)")
    parser.add_argument("--scaling", action="store_true", help="other horizons, features and batches as well")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, between its marks")


def main(args) -> dict:
    import torch

    from objective_agent.types import InputError

    sizes = chosen(args)
    if args.rounds < 1 or args.threads < 1:
        raise InputError("bench planning: --rounds and --threads must be at least 1")
    page = None if args.write is None else split(args.write)
    python = environment(args.environment.expanduser())
    threads = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(sizes, args.rounds, args.threads, python, Path(folder), args.runtime)
    finally:
        torch.set_num_threads(threads)
    if page is not None:
        args.write.write_text(f"{page[0]}\n\n{table(found)}\n{page[1]}")
    return found


def chosen(args) -> list[tuple[int, ...]]:
    from objective_agent.types import InputError

    if not args.sizes:
        return [*SIZES, *(MORE if args.scaling else ())]
    try:
        sizes = [tuple(int(part) for part in size.split(",")) for size in args.sizes.split(";")]
    except ValueError:
        sizes = [()]
    if any(len(size) != 5 or min(size) < 1 or size[0] < 16 for size in sizes):
        raise InputError(f"--sizes {args.sizes}: give N,H,I,D,B as whole numbers, N at least 16, several sizes apart by ';'")
    return sizes


def environment(folder: Path) -> Path:
    """The interpreter of the peers' environment, which is made first where there is none; InputError when that fails."""
    import torch

    from objective_agent.types import InputError

    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "ready"
    if done.is_file() and python.exists():
        return python
    try:
        folder.mkdir(parents=True, exist_ok=True)
        constraints = folder / "constraints.txt"
        constraints.write_text(f"torch=={torch.__version__}\n")  # the same build as ours, or nothing could be compared
        print(f"making the peers' environment in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-c", str(constraints)]
        subprocess.run([*pip, f"torch=={torch.__version__}", *PACKAGES], check=True)
        done.touch()
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f"--environment {folder}: can't be set up ({error}); pip must find torch {torch.__version__}"
        ) from None
    return python


class Peers:
    """The child process: one problem in, one plan out."""

    def __init__(self, python: Path, folder: Path, threads: int):
        script = Path(__file__).with_name("planning_peers.py")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        clean |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [str(python), str(script), str(folder), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean)

    def solve(self, task: dict) -> dict:
        from objective_agent.types import InputError

        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise InputError(f"bench planning: {task['peer']} failed (see above); remove --environment to have it made anew")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Distance:
    """|z - goal|^2 / D, for one token; no difference is ever kept, whose array alone would be as large as the rollout's."""

    needs = "representation"

    def energy(self, trajectory, goal):
        import torch

        states = trajectory.representations[..., 0, :].movedim(3, 0)  # [H, B, N, K, D]
        apart = torch.cdist(states.flatten(2, 3), goal.representation, compute_mode="donot_use_mm_for_euclid_dist")
        return apart.view(states.shape[:4]).movedim(0, 3).square().div_(states.shape[-1])


def model(folder: Path, features: int) -> None:
    """Random weights whose actions matter, in a folder as training leaves them; the peers read them too."""
    import torch

    from objective_agent.learning.checkpoint import write_weights
    from objective_agent.perception.frame_network import FrameEncoderShape, build_encoder
    from objective_agent.world_model.frame_network import FramePredictorShape, build_predictor

    torch.manual_seed(features)
    network = build_predictor(FramePredictorShape(features=features, hidden=2 * features))
    with torch.no_grad():
        network.members[0].inputs.action.weight.mul_(4.0)
    folder.mkdir()
    eyes, sha = build_encoder(FrameEncoderShape(features=features, size=32, width=8, hidden=32)), {}
    for part, each in (("encoder", eyes), ("predictor", network)):
        data = write_weights(folder / f"{part}.safetensors", each, each.shape.model_dump())
        sha[part] = hashlib.sha256(data).hexdigest()
    (folder / "card.yaml").write_text(json.dumps({"name": "bench", "kind": "frames", "sha256": sha}))


def runtime(name: str, folder: Path, horizon: int, threads: int):
    """The world model in `folder` run by torch (`frame_jepa`, alone or compiled in part) or by onnxruntime (`frame_onnx`)."""
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.learning.frames.export import export_model
    from objective_agent.plugins import create

    spec = PluginSpec(plugin="frame_jepa", model=str(folder), kernels="compiled" if name == "compiled" else "torch")
    if name == "onnx":
        export_model(folder, horizon, 1)
        spec = PluginSpec(plugin="frame_onnx", model=str(folder), threads=threads)
    return create("world_model", spec, RobotParameters(), "bench planning")


def problem(world_model, features: int, horizon: int, batch: int, seed: int):
    """From a random state to one that random actions lead to within the horizon."""
    import numpy as np
    import torch

    from objective_agent.types import Goal, Problem, WeightedObjective, WorldState

    random = torch.Generator().manual_seed(seed)
    start = torch.randn(batch, 1, features, generator=random)
    nothing = np.zeros((batch, 3), np.float32)
    state = WorldState(0.0, start, torch.from_numpy(nothing), torch.zeros(batch, 2), world_model.model)
    secret = torch.rand(batch, 1, horizon, ACTIONS, generator=random) * 1.6 - 0.8
    goal = world_model.rollout(state, secret).representations[:, 0, 0, -1]
    full = np.ones(ACTIONS, np.float32)
    return Problem(
        state=state,
        goal=Goal(representation=goal),
        world_model=world_model,
        objectives=[WeightedObjective("distance", 1.0, Distance())],
        guardrails=[],
        horizon=horizon,
        dt=1.0,
        futures=1,
        action_low=-full,
        action_high=full,
        rate_limit=1e3 * full,
        last_action=np.zeros((batch, ACTIONS), np.float32),
    )


def ours(optimizer: str, candidates: int, iterations: int, seed: int):
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.plugins import create

    settings = {"samples": candidates - 3, "iterations": iterations, "rescue": 0, "patience": 1000, "modes": 0}
    settings |= {"noise": NOISE, "noise_kind": "white", "use_library": False}
    settings |= {"temperature": TEMPERATURE} if optimizer == "mppi" else {"elites": ELITES}
    made = create("optimizer", PluginSpec(plugin=optimizer, **settings), RobotParameters(), "bench planning")
    made.reset(seed)
    return made


def energy(case, actions) -> float:
    """What plans [B, H, A] are worth, the mean over the problems."""
    import torch

    from objective_agent.types import Goal

    actions = torch.as_tensor(actions, dtype=torch.float32).clamp(-1, 1)
    imagined = case.world_model.rollout(case.state, actions[:, None])
    return float(Distance().energy(imagined, Goal(representation=case.goal.representation)).mean())


def clocked(function, threads: int) -> tuple[float, object]:
    """(milliseconds, what `function` gave)"""
    clock = time.process_time if threads == 1 else time.perf_counter
    begun = clock()
    result = function()
    return 1e3 * (clock() - begun), result


def measure(sizes, rounds: int, threads: int, python: Path, folder: Path, runs: str) -> dict:
    records, rollouts = [], []
    for features in dict.fromkeys(size[3] for size in sizes):
        model(folder / str(features), features)
        peers = Peers(python, folder / str(features), threads)
        try:
            for size in sizes:
                if size[3] == features:
                    world_model = runtime(runs, folder / str(features), size[1], threads)
                    rollouts.append(rollout(world_model, size, rounds, threads))
                    records += decisions(world_model, peers, size, rounds, threads)
        finally:
            peers.close()
    return {
        "rounds": rounds,
        "runtime": runs,
        "clock": "processor" if threads == 1 else "wall",
        "records": records,
        "rollouts": rollouts,
    }


def decisions(world_model, peers: Peers, size, rounds: int, threads: int) -> list[dict]:
    """One record per peer and optimizer: medians of `rounds` decisions, after one that isn't counted."""
    candidates, horizon, iterations, features, batch = size
    found = []
    pairs = [(peer, optimizer) for peer, optimizers in PEERS.items() for optimizer in optimizers]
    optimizers = {name: ours(name, candidates, iterations, 0) for name in ("mppi", "cem")}
    times: dict = {key: [] for key in [*pairs, *optimizers]}
    energies: dict = {key: [] for key in times}
    memory: dict = {}
    order = list(times)
    for turn in range(rounds + 1):
        case = problem(world_model, features, horizon, batch, turn)
        task = {
            "candidates": candidates,
            "horizon": horizon,
            "iterations": iterations,
            "actions": ACTIONS,
            "noise": NOISE,
            "temperature": TEMPERATURE,
            "elites": math.ceil(ELITES * candidates),
            "seed": turn,
            "state": case.state.representation[:, 0].tolist(),
            "goal": case.goal.representation[:, 0].tolist(),
        }
        for key in sorted(times, key=lambda key: (order.index(key) + turn) % len(order)):
            if isinstance(key, str):
                ms, plan = clocked(lambda key=key, case=case: optimizers[key].solve(case, math.inf), threads)
                actions, mib = plan.actions, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            else:
                answer = peers.solve({**task, "peer": key[0], "optimizer": key[1]})
                ms, actions, mib = answer["cpu_ms" if threads == 1 else "wall_ms"], answer["actions"], answer["mib"]
            if turn:
                times[key].append(ms)
                energies[key].append(energy(case, actions))
            memory[key] = mib
    for peer, optimizer in pairs:
        mine, theirs = times[optimizer], times[peer, optimizer]
        found.append(
            {
                "peer": peer,
                "optimizer": optimizer,
                "candidates": candidates,
                "horizon": horizon,
                "iterations": iterations,
                "features": features,
                "batch": batch,
                "threads": threads,
                "ms_ours": round(statistics.median(mine), 3),
                "ms_peer": round(statistics.median(theirs), 3),
                "faster": round(statistics.median(b / a for a, b in zip(mine, theirs, strict=True)), 3),
                "energy_ours": round(statistics.mean(energies[optimizer]), 5),
                "energy_peer": round(statistics.mean(energies[peer, optimizer]), 5),
                "mib_ours": round(memory[optimizer]),
                "mib_peer": round(memory[peer, optimizer]),
            }
        )
    return found


def rollout(world_model, size, rounds: int, threads: int) -> dict:
    """The bare rollout beside a product of two 1024 x 1024 matrices, in turns: `share` of the throughput of that."""
    import torch

    candidates, horizon, _, features, batch = size
    case = problem(world_model, features, horizon, batch, 0)
    actions = torch.rand(batch, candidates, horizon, ACTIONS) * 2 - 1
    left, right, product = (torch.randn(1024, 1024) for _ in range(3))
    hidden = 2 * features
    work = 2 * batch * candidates * horizon * (2 * features * hidden + hidden * hidden + ACTIONS * hidden)
    parts = max(1, round(2 * 1024**3 / work))
    ratios, best = [], math.inf
    with torch.inference_mode():
        for turn in range(rounds + 1):
            before, _ = clocked(lambda: torch.mm(left, right, out=product), threads)
            ms, _ = clocked(lambda: [world_model.rollout(case.state, actions) for _ in range(parts)], threads)
            after, _ = clocked(lambda: torch.mm(left, right, out=product), threads)
            if turn:
                ratios.append((before + after) / 2 * parts * work / (2 * 1024**3) / ms)
                best = min(best, ms / parts)
    sizes = {"candidates": candidates, "horizon": horizon, "features": features, "batch": batch, "threads": threads}
    return {**sizes, "ms_least": round(best, 3), "share": round(statistics.median(ratios), 3)}


def table(found: dict) -> str:
    lines = [
        "| N x H x iterations | D | B | peer | optimizer | ours, ms | peer, ms | faster | energy ours | energy peer |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["records"]:
        lines.append(
            f"| {row['candidates']} x {row['horizon']} x {row['iterations']} | {row['features']} | {row['batch']} | "
            f"{row['peer']} | `{row['optimizer']}` | {row['ms_ours']:.1f} | {row['ms_peer']:.1f} | {row['faster']:.2f} x | "
            f"{row['energy_ours']:.4f} | {row['energy_peer']:.4f} |"
        )
    lines += [
        "",
        "| bare rollout, N x H | D | B | ms, least | share of the matrix product's throughput |",
        "|---|---|---|---|---|",
    ]
    for row in found["rollouts"]:
        lines.append(
            f"| {row['candidates']} x {row['horizon']} | {row['features']} | {row['batch']} | {row['ms_least']:.2f} | "
            f"{100 * row['share']:.0f} % |"
        )
    return "\n".join(lines) + "\n"


def split(page: Path) -> tuple[str, str]:
    """A page up to its first mark and from its second; InputError without them."""
    from objective_agent.types import InputError

    try:
        text = page.read_text()
        begin = text.index(BEGIN) + len(BEGIN)
        return text[:begin], text[text.index(END, begin) :]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{page}: can't be read: {error}; give a page of text with --write") from None
    except ValueError:
        raise InputError(f"{page}: has no line {BEGIN!r} followed by {END!r}; put them where the table shall be") from None
