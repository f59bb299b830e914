"""stable-worldmodel's own CEM as an optimizer of ours, for `bench budget --environment DIR`.

It runs in this process, with this torch, and asks for the same energies; only the solver comes from the peers' environment
(`bench planning` makes it).  Its plan is the mean of the last elites, which is imagined once more to say what it is worth.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import Field

from objective_agent.actor.answer import Pool, make_plan
from objective_agent.actor.evaluation import evaluate
from objective_agent.actor.problem import as_tensors
from objective_agent.config import Strict


class StableWorldModelCEM:
    class Config(Strict):
        environment: str = Field(min_length=1, description="the peers' virtual environment")
        samples: int = Field(300, ge=2, description="candidates")
        iterations: int = Field(30, ge=1, description="iterations")
        elites: int = Field(30, ge=2, description="candidates that the next mean is made of")
        noise: float = Field(1.0, gt=0, description="first standard deviation")

    def __init__(self, config: Config, robot):
        from benchmarks.planning_peers import solvers

        places = Path(config.environment).expanduser().glob("lib/python*/site-packages")
        sys.path += [str(place) for place in places if str(place) not in sys.path]  # last: what is here already goes first
        self._solver, self.config = solvers()["cem"], config
        self.reset(0)

    def reset(self, seed: int | None = None) -> None:
        self._random = torch.Generator().manual_seed(seed or 0)

    def solve(self, problem, deadline: float):
        import gymnasium

        begun, config = time.perf_counter(), self.config
        with torch.inference_mode():
            problem = as_tensors(problem)
            batch, size = problem.state.batch, len(problem.action_low)
            solver = self._solver(
                Cost(problem), batch, config.samples, config.noise, config.iterations, config.elites, seed=self._seed()
            )
            space = gymnasium.spaces.Box(-1, 1, (batch, size))
            about = types.SimpleNamespace(horizon=problem.horizon, action_block=1)
            solver.configure(action_space=space, n_envs=batch, config=about)
            with contextlib.redirect_stdout(io.StringIO()):  # their solvers print
                found = solver({"problem": torch.zeros(batch, 1)}, problem.warm_start)["actions"]
            actions = found[:, None].clamp(problem.action_low, problem.action_high)
            actions = torch.cat([torch.zeros_like(actions), actions], 1)  # as everywhere, braking comes first
            evaluation, index = evaluate(problem, actions), torch.ones(batch, dtype=torch.long)
            count = config.samples * config.iterations + 2
            plan = make_plan(problem, actions, evaluation, index, Pool(0, 1.0), config.iterations, count, "iterations")
        return replace(plan, seconds=time.perf_counter() - begun)

    def _seed(self) -> int:
        return int(torch.randint(2**31, (1,), generator=self._random))


class Cost:
    """What stable-worldmodel's solvers ask of a model."""

    def __init__(self, problem):
        self._problem = problem

    def get_cost(self, infos, candidates):
        actions = candidates.clamp(self._problem.action_low, self._problem.action_high)
        return evaluate(self._problem, actions).energy
