"""Time per decision beside the peers': the same predictor, cost, candidates, horizon, iterations and threads for all.

Ours (`mppi`, `cem`), stable-worldmodel's solvers and pytorch-mppi take turns, decision by decision, on the same problems: a
residual MLP with random weights, from a random state to one that random actions lead to.  What a plan is worth (`energy`: mean
over its steps of |z - goal|^2 / D) is computed here for all of them, with the actions within their bounds.

No optimizer stops early here and ours keeps no other modes, so that the work is the same: at most N candidates per iteration.
On one thread times are processor times (other jobs on the machine then count less), on several they are wall times.

The peers live in a virtual environment of their own, made here from PyPI without torch: they run on the torch that runs here.
Torchvision, whose operators `nms` and `qnms` would have to be declared before its import, is never imported by their solvers.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import pages
from benchmarks.planning_problem import ACTIONS, energy, model, problem, runtime

HELP = "time per decision and plan energy beside stable-worldmodel and pytorch-mppi, on the same problems"
EXAMPLE = "objective-agent bench planning --scaling --write docs/speed.md --json planning.json"
PEERS = {"stable-worldmodel": ("mppi", "cem"), "pytorch-mppi": ("mppi",)}
# Without their dependencies: stable-worldmodel's would bring simulators, and torch for another device.
PACKAGES = [
    *("stable-worldmodel==0.1.1", "pytorch-mppi==0.9.1", "arm-pytorch-utilities", "pytorch-seed", "scipy", "gymnasium"),
    *("cloudpickle", "farama-notifications", "loguru", "safetensors", "numpy", "typing-extensions"),
]
SIZES = ((64, 4, 2, 128, 1), (128, 6, 3, 128, 1), (256, 12, 4, 128, 1), (2048, 12, 4, 128, 1))
MORE = ((128, 3, 3, 128, 1), (128, 12, 3, 128, 1), (128, 6, 3, 64, 1), (128, 6, 3, 256, 1), (128, 6, 3, 128, 4))
NOISE, TEMPERATURE, ELITES = 0.5, 0.02, 0.1
LEAST = 16
"""Candidates that all the optimizers can search with."""
SHARES = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25)
"""Ours also searches with fewer candidates: how few are enough for a plan as good as the peer's?"""


def add_arguments(parser) -> None:
    parser.add_argument(
        "--environment",
        type=Path,
        metavar="DIR",
        default=Path("~/.cache/objective_agent/peers"),
        help="the peers' virtual environment, made there when missing (default ~/.cache/objective_agent/peers)",
    )
    parser.add_argument("--rounds", type=int, default=25, metavar="R", help="decisions of each, in turns (default 25)")
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


def main(args) -> list[dict]:
    import torch

    from objective_agent.types import InputError

    sizes = chosen(args)
    if args.rounds < 1 or args.threads < 1:
        raise InputError("bench planning: --rounds and --threads must be at least 1")
    page = None if args.write is None else pages.Page(args.write, "planning")
    python = environment(args.environment.expanduser())
    threads = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(sizes, args.rounds, args.threads, python, Path(folder), args.runtime)
    finally:
        torch.set_num_threads(threads)
    if page is not None:
        page.put(table(found), found[0])
    return found


def chosen(args) -> list[tuple[int, ...]]:
    from objective_agent.types import InputError

    if not args.sizes:
        return [*SIZES, *(MORE if args.scaling else ())]
    try:
        sizes = [tuple(int(part) for part in size.split(",")) for size in args.sizes.split(";")]
    except ValueError:
        sizes = [()]
    if any(len(size) != 5 or min(size) < 1 or size[0] < LEAST for size in sizes):
        raise InputError(
            f"--sizes {args.sizes}: give N,H,I,D,B as whole numbers, N at least {LEAST}, several sizes apart by ';'"
        )
    return sizes


def environment(folder: Path) -> Path:
    """The interpreter of the peers' environment, which is made first where there is none; InputError when that fails."""
    from objective_agent.types import InputError

    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done, packages = folder / "ready", "\n".join(PACKAGES)
    try:
        if done.is_file():
            if done.read_text() == packages and python.exists():
                return python
            raise InputError(f"--environment {folder}: holds other packages than are compared here; remove it, or give another")
        print(f"making the peers' environment in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES], check=True)
        see_our_torch(python)
        done.write_text(packages)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"--environment {folder}: can't be set up ({error}); pip must find the peers' packages") from None
    return python


def see_our_torch(python: Path) -> None:
    """The environment of `python` looks for what it lacks where we do, so torch and what that needs are the ones used here.

    After pip, which would take what it sees for installed.
    """
    import torch

    places = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    places = dict.fromkeys([*places, str(Path(torch.__file__).parents[1])])
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    Path(own, "here.pth").write_text("".join(f"{place}\n" for place in places))


class Peers:
    """The child process: one problem in, one plan out.  InputError where it runs on another torch than we do."""

    def __init__(self, python: Path, folder: Path, threads: int):
        script = Path(__file__).with_name("planning_peers.py")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        clean |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [str(python), str(script), str(folder), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean)
        try:
            self._compare(python)
        except BaseException:
            self.close()
            raise

    def _compare(self, python: Path) -> None:
        import torch

        from objective_agent.types import InputError

        mend = "remove --environment to have it made anew"
        line = self._process.stdout.readline()
        if not line:
            raise InputError(f"bench planning: {python} can't load the peers' side (see above); {mend}")
        said = json.loads(line)
        here = {"torch": torch.__version__, "file": os.path.realpath(torch.__file__)}
        if said != here:
            there, here = (f"torch {each['torch']} ({each['file']})" for each in (said, here))
            raise InputError(f"bench planning: the peers would run on {there}, ours runs on {here}; {mend}")

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
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def ours(optimizer: str, candidates: int, iterations: int, seed: int):
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.plugins import create

    settings = {"samples": candidates - 3, "iterations": iterations, "rescue": 0, "patience": 1000, "modes": 0}
    settings |= {"noise": NOISE, "noise_kind": "white", "use_library": False}
    settings |= {"temperature": TEMPERATURE} if optimizer == "mppi" else {"elites": ELITES}
    made = create("optimizer", PluginSpec(plugin=optimizer, **settings), RobotParameters(), "bench planning")
    made.reset(seed)
    return made


def clocked(function, threads: int) -> float:
    """Milliseconds that `function` takes."""
    clock = time.process_time if threads == 1 else time.perf_counter
    begun = clock()
    function()
    return 1e3 * (clock() - begun)


def measure(sizes, rounds: int, threads: int, python: Path, folder: Path, runs: str) -> list[dict]:
    clock = "processor" if threads == 1 else "wall"
    about = {"rounds": rounds, "runtime": runs, "clock": clock, "hardware": pages.machine(threads)}
    for features in {size[3] for size in sizes}:
        model(folder / str(features), features)
    beside = partial(in_turn, dict.fromkeys(sizes), threads, python, folder, runs)
    found = {}
    for size, world_model, peers in beside():
        bare = rollout(world_model, size, rounds, threads)
        found[size] = [row | bare | about for row in decisions(world_model, peers, size, rounds, threads)]
    for size, world_model, peers in beside():  # when no more time is taken: freed memory is given back for it
        for row in found[size]:
            row |= memory(world_model, peers, size, row["peer"], row["optimizer"])
    return [row for rows in found.values() for row in rows]


def in_turn(sizes, threads: int, python: Path, folder: Path, runs: str):
    """(size, world model, peers) of one size after the other; another number of features needs other peers."""
    for features in dict.fromkeys(size[3] for size in sizes):
        with contextlib.closing(Peers(python, folder / str(features), threads)) as peers:
            for size in sizes:
                if size[3] == features:
                    yield size, runtime(runs, folder / str(features), size[1], threads), peers


def asked(case, size, seed: int) -> dict:
    """`case` as the peers are told it."""
    candidates, horizon, iterations, *_ = size
    return {
        "candidates": candidates,
        "horizon": horizon,
        "iterations": iterations,
        "actions": ACTIONS,
        "noise": NOISE,
        "temperature": TEMPERATURE,
        "elites": math.ceil(ELITES * candidates),
        "seed": seed,
        "state": case.state.representation[:, 0].tolist(),
        "goal": case.goal.representation[:, 0].tolist(),
    }


def memory(world_model, peers: Peers, size, peer: str, optimizer: str) -> dict:
    """MiB that a decision takes above what the process holds at rest, of both; None where the system doesn't count it."""
    from benchmarks.planning_peers import peak

    candidates, horizon, iterations, features, batch = size
    case = problem(world_model, features, horizon, batch, 1)
    mine = ours(optimizer, candidates, iterations, 0)
    mine.solve(case, math.inf)
    theirs = peers.solve(asked(case, size, 1) | {"peer": peer, "optimizer": optimizer, "memory": True})
    return {"mib_ours": peak(partial(mine.solve, case, math.inf)), "mib_peer": theirs["mib"]}


def decisions(world_model, peers: Peers, size, rounds: int, threads: int) -> list[dict]:
    """One record per peer and optimizer: medians of `rounds` decisions, after one that isn't counted.

    Every problem is solved twice in a row: the plan is the first answer, the time that of the second, when no other has had
    the caches in between.
    """
    candidates, horizon, iterations, features, batch = size
    found = []
    pairs = [(peer, optimizer) for peer, optimizers in PEERS.items() for optimizer in optimizers]
    counts = sorted({max(LEAST, round(share * candidates)) for share in SHARES}, reverse=True)
    optimizers = {(name, count): ours(name, count, iterations, 0) for count in counts for name in ("mppi", "cem")}
    times: dict = {key: [] for key in [*pairs, *optimizers]}
    energies: dict = {key: [] for key in times}
    order = list(times)
    for turn in range(rounds + 1):
        case = problem(world_model, features, horizon, batch, turn)
        task = asked(case, size, turn)
        for key in sorted(times, key=lambda key: (order.index(key) + turn) % len(order)):
            if key in optimizers:
                actions = optimizers[key].solve(case, math.inf).actions
                ms = clocked(partial(optimizers[key].solve, case, math.inf), threads)
            else:
                answer = peers.solve({**task, "peer": key[0], "optimizer": key[1], "memory": False})
                ms, actions = answer["cpu_ms" if threads == 1 else "wall_ms"], answer["actions"]
            if turn:
                times[key].append(ms)
                energies[key].append(energy(case, actions))
    for peer, optimizer in pairs:
        mine, theirs = times[optimizer, candidates], times[peer, optimizer]
        our_energies, their_energies = energies[optimizer, candidates], energies[peer, optimizer]
        good = statistics.mean(their_energies)
        enough = min((count for count in counts if statistics.mean(energies[optimizer, count]) <= good), default=None)
        quick = times.get((optimizer, enough))
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
                "energy_ours": round(statistics.mean(our_energies), 5),
                "energy_peer": round(good, 5),
                "energy_lower_share": round(
                    statistics.fmean(a < b for a, b in zip(our_energies, their_energies, strict=True)), 3
                ),
                "candidates_enough": enough,
                "faster_enough": quick and round(statistics.median(b / a for a, b in zip(quick, theirs, strict=True)), 3),
            }
        )
    return found


def rollout(world_model, size, rounds: int, threads: int) -> dict:
    """The bare rollout beside a product of two 1024 x 1024 matrices, in turns: its share of the throughput of that."""
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
            before = clocked(lambda: torch.mm(left, right, out=product), threads)
            ms = clocked(lambda: [world_model.rollout(case.state, actions) for _ in range(parts)], threads)
            after = clocked(lambda: torch.mm(left, right, out=product), threads)
            if turn:
                ratios.append((before + after) / 2 * parts * work / (2 * 1024**3) / ms)
                best = min(best, ms / parts)
    return {"rollout_ms_least": round(best, 3), "rollout_share": round(statistics.median(ratios), 3)}


def table(records: list[dict]) -> str:
    lines = [
        "| N x H x iterations | D | B | peer | optimizer | ours, ms | peer, ms | faster | energy ours | energy peer | "
        "N enough | faster with it | MiB ours / peer |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in records:
        lines.append(
            f"| {row['candidates']} x {row['horizon']} x {row['iterations']} | {row['features']} | {row['batch']} | "
            f"{row['peer']} | `{row['optimizer']}` | {row['ms_ours']:.1f} | {row['ms_peer']:.1f} | {row['faster']:.2f} x | "
            f"{row['energy_ours']:.4f} | {row['energy_peer']:.4f} | "
            + (f"{row['candidates_enough']} | {row['faster_enough']:.2f} x | " if row["candidates_enough"] else "- | - | ")
            + " / ".join("-" if mib is None else f"{mib:.1f}" for mib in (row["mib_ours"], row["mib_peer"]))
            + " |"
        )
    lines += [
        "",
        "| bare rollout, N x H | D | B | ms, least | share of the matrix product's throughput |",
        "|---|---|---|---|---|",
    ]
    rollouts = [
        f"| {row['candidates']} x {row['horizon']} | {row['features']} | {row['batch']} | {row['rollout_ms_least']:.2f} | "
        f"{100 * row['rollout_share']:.0f} % |"
        for row in records
    ]
    return "\n".join([*lines, *dict.fromkeys(rollouts)]) + "\n"
