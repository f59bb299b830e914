"""A robot's policy, distilled by the real training from a log of made-up plans: turn to the subgoal and drive there."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml

from objective_agent.learning.policy import PolicyConfig, add_policy
from objective_agent.memory.plans import PlanLog, PlanRow, read_plans

DT = 0.2


def pursue(target: np.ndarray, horizon: int) -> np.ndarray:
    """Actions [H, 2] of a unicycle at the origin that chases `target` [2]."""
    (x, y), yaw, actions = (0.0, 0.0), 0.0, []
    for _ in range(horizon):
        away = target - (x, y)
        bearing = np.arctan2(away[1], away[0]) - yaw
        bearing = np.arctan2(np.sin(bearing), np.cos(bearing))
        near = min(1.0, np.hypot(*away) / 0.3)
        v, w = 0.5 * near * max(0.0, np.cos(bearing)) ** 2, near * float(np.clip(2.5 * bearing, -1.6, 1.6))
        actions.append((v, w))
        yaw += DT * w
        x, y = x + DT * v * np.cos(yaw), y + DT * v * np.sin(yaw)
    return np.array(actions, np.float32)


def write_pursuit(folder: Path, encoder: str, tokens: int, features: int, horizon: int, steps: int = 250) -> Path:
    """A model folder (its card is made) with a policy for plans of `horizon` steps on representations [tokens, features]."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = list(_rows(encoder, tokens, features, horizon, random))
    with PlanLog(folder / "plans.db", encoder, {"dt": DT}) as log:
        log.extend(rows)
    (folder / "card.yaml").write_text(yaml.safe_dump({"sha256": {"encoder": encoder}}))
    config = PolicyConfig(steps=steps, batch=64, hidden=64, members=2, hindsight=0.0, tolerance=0.6)
    add_policy(folder, read_plans([folder / "plans.db"], encoder), config)
    return folder


def _rows(encoder: str, tokens: int, features: int, horizon: int, random: np.random.Generator):
    for episode in range(30):
        for step in range(60):
            pose = random.uniform((-5, -5, -3.1), (5, 5, 3.1)).astype(np.float32)
            far, bearing = random.uniform(0.05, 1.3), random.normal(0.0, 1.0)
            seen = far * np.array([np.cos(bearing), np.sin(bearing)])
            cos, sin = np.cos(pose[2]), np.sin(pose[2])
            position = pose[:2] + np.array([[cos, -sin], [sin, cos]]) @ seen
            plan = pursue(seen, horizon)
            yield PlanRow(
                run="made up", episode=episode, step=step, stamp=DT * step, state=random.uniform(0, 1, (tokens, features)),
                plan=plan, done=plan[0], velocity=random.uniform((0, -1), (0.6, 1)), pose=pose, position=position,
            )  # fmt: skip


@lru_cache(maxsize=1)
def scan_encoder() -> tuple[str, int, int]:
    """(name, tokens, features) of the representations that the default parameters' encoder makes."""
    from objective_agent import plugins
    from objective_agent.config import AgentParameters

    parameters = AgentParameters()
    encoder = plugins.create("encoder", parameters.perception.encoder, parameters.robot)
    return encoder.model, encoder.tokens, encoder.features
