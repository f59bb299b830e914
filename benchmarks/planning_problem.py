"""What `bench planning` gives to all optimizers: a predictor with random weights, a problem that it can solve, and its cost."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

ACTIONS = 2


class Distance:
    """|z - goal|^2 / D, for one token; the array is looked at in the order in which it lies in memory."""

    needs = "representation"

    def energy(self, trajectory, goal):
        states = trajectory.representations[..., 0, :].movedim(3, 0)  # [H, B, N, K, D]
        apart = states.flatten(2, 3) - goal.representation
        return apart.square_().mean(-1).view(states.shape[:4]).movedim(0, 3)


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


def energy(case, actions) -> float:
    """What plans [B, H, A] are worth, the mean over the problems."""
    import torch

    from objective_agent.types import Goal

    actions = torch.as_tensor(actions, dtype=torch.float32).clamp(-1, 1)
    imagined = case.world_model.rollout(case.state, actions[:, None])
    return float(Distance().energy(imagined, Goal(representation=case.goal.representation)).mean())
