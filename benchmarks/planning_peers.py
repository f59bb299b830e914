"""The peers' side of `bench planning`: their solvers in an environment of their own, one decision per line of standard input.

Run by the interpreter of that environment, with the folder that holds `predictor.safetensors` as its argument.  Nothing of this
package is imported here; the predictor is written once more in plain torch, step by step, as their users write one.

Of stable-worldmodel only the solvers are loaded: its package would import data sets, simulators and torchvision as well, whose
operators `nms` and `qnms` would then have to be declared first.

The first line of the answers says which torch runs here.
"""

import ctypes
import importlib.util
import json
import os
import statistics
import sys
import time
import types
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional


class Model:
    """z' = z + out(silu(inner(silu(norm(state z + action u))))), energy = mean over steps of |z - goal|^2 / D.

    `get_cost(infos, candidates)` is what stable-worldmodel's solvers ask, `dynamics` and `running_cost` pytorch-mppi's.
    """

    def __init__(self, folder: Path):
        arrays = load_file(folder / "predictor.safetensors")
        self.weights = {name.removeprefix("members.0."): value for name, value in arrays.items()}
        self.goal, self.horizon = torch.zeros(1), 1

    def dynamics(self, state, action):
        w = self.weights
        hidden = functional.linear(state, w["inputs.state.weight"], w["inputs.state.bias"])
        hidden = hidden + functional.linear(action, w["inputs.action.weight"])
        hidden = functional.silu(functional.layer_norm(hidden, hidden.shape[-1:], w["norm.weight"], w["norm.bias"]))
        hidden = functional.silu(functional.linear(hidden, w["inner.weight"], w["inner.bias"]))
        return state + functional.linear(hidden, w["out.weight"], w["out.bias"])

    def running_cost(self, state, action):
        return (state - self.goal).square().mean(-1) / self.horizon

    def get_cost(self, infos, candidates):
        state, total = infos["state"], 0.0
        for action in candidates.clamp(-1, 1).unbind(2):
            state = self.dynamics(state, action)
            total = total + (state - infos["goal"]).square().mean(-1)
        return total / candidates.shape[2]


def solvers():
    """stable-worldmodel's package of solvers, without running the `__init__` of the package round it."""
    if "stable_worldmodel" not in sys.modules:
        package = types.ModuleType("stable_worldmodel")
        package.__path__ = list(importlib.util.find_spec("stable_worldmodel").submodule_search_locations)
        sys.modules["stable_worldmodel"] = package
    from stable_worldmodel.solver.cem import CEMSolver
    from stable_worldmodel.solver.mppi import MPPISolver

    return {"cem": CEMSolver, "mppi": MPPISolver}


def stable_worldmodel(model, task, state, goal):
    import gymnasium

    settings = {"num_samples": task["candidates"], "n_steps": task["iterations"], "var_scale": task["noise"]}
    if task["optimizer"] == "cem":
        settings["topk"] = task["elites"]
    else:
        settings |= {"topk": None, "temperature": task["temperature"]}
    solver = solvers()[task["optimizer"]](model, batch_size=len(state), seed=task["seed"], **settings)
    space = gymnasium.spaces.Box(-1, 1, (len(state), task["actions"]))
    config = types.SimpleNamespace(horizon=task["horizon"], action_block=1)
    solver.configure(action_space=space, n_envs=len(state), config=config)
    return lambda: solver({"state": state, "goal": goal})["actions"]


def pytorch_mppi(model, task, state, goal):
    from pytorch_mppi import MPPI

    size, horizon = task["actions"], task["horizon"]
    model.horizon = horizon
    controls = [
        MPPI(
            model.dynamics,
            model.running_cost,
            state.shape[1],
            task["noise"] ** 2 * torch.eye(size),
            num_samples=task["candidates"],
            horizon=horizon,
            lambda_=task["temperature"],
            u_min=-torch.ones(size),
            u_max=torch.ones(size),
            U_init=torch.zeros(horizon, size),
        )
        for _ in state
    ]

    def solve():
        plans = []
        with torch.inference_mode():
            for control, start, wanted in zip(controls, state, goal, strict=True):
                model.goal = wanted
                for _ in range(task["iterations"]):
                    control.command(start, shift_nominal_trajectory=False)
                plans.append(control.get_action_sequence())
        return torch.stack(plans)

    return solve


PEERS = {"stable-worldmodel": stable_worldmodel, "pytorch-mppi": pytorch_mppi}


def peak(function) -> float | None:
    """MiB that `function` takes at its most above what the process holds at rest; None where Linux doesn't count it so.

    The median of five times: what the process gets from the system and what it finds in its own gaps differs.
    """
    found = []
    for _ in range(5):
        if not forget_peak():
            return None
        before = kibibytes("VmRSS")
        function()
        found.append((kibibytes("VmHWM") - before) / 1024)
    return round(statistics.median(found), 2)


def forget_peak() -> bool:
    """From here on the process's peak is counted anew, unless False is returned."""
    try:
        with open("/proc/self/clear_refs", "w") as marks:
            if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
                libc.malloc_trim(0)  # what was freed before would be taken once more, and nothing would be seen
            marks.write("5")
    except OSError:
        return False
    return True


def kibibytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[name].split()[0])


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # their solvers print
    torch.set_num_threads(int(sys.argv[2]))
    print(json.dumps({"torch": torch.__version__, "file": os.path.realpath(torch.__file__)}), file=answers, flush=True)
    model = Model(Path(sys.argv[1]))
    for line in sys.stdin:
        task = json.loads(line)
        torch.manual_seed(task["seed"])
        state, goal = (torch.tensor(task[name]) for name in ("state", "goal"))
        solve = PEERS[task["peer"]](model, task, state, goal)
        plan = solve()
        wall, cpu = time.perf_counter(), time.process_time()
        solve()  # once more, with caches that only it has filled
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        memory = peak(solve) if task["memory"] else None
        answer = {"cpu_ms": 1e3 * cpu, "wall_ms": 1e3 * wall, "mib": memory, "actions": plan.tolist()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
