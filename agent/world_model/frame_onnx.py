"""World model "frame_onnx": the same as "frame_jepa", exported: one call of onnxruntime per rollout.

A graph has a horizon H and a number of futures K.  Shorter plans are filled up with zeros (nothing depends on later actions)
and cut again; for longer ones the model is exported again.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict, validate
from objective_agent.types import ConfigurationError
from objective_agent.world_model.frame_jepa import FrameWorldModel
from objective_agent.world_model.frame_network import FramePredictorShape, common_noise


class FrameOnnx(FrameWorldModel):
    """Runs in onnxruntime; hands out torch tensors, as all learned world models do."""

    class Config(Strict):
        model: str = Field("models/two_room", min_length=1, description="folder of the trained and exported model")
        threads: int = Field(1, ge=1, le=256, description="threads of onnxruntime")

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        card = weights.read_card(folder, kind=weights.FRAMES)
        graph, about = weights.read_graph(folder, "rollout", card)
        _, settings, self.model = weights.read_weights(folder, "predictor", card)
        self.shape = validate(FramePredictorShape, settings, f"{folder}: predictor")
        self.representation_model = str(card["sha256"]["encoder"])
        self.horizon, self.futures = int(about["horizon"]), int(about["futures"])
        self._session = weights.onnx_session(graph, f"{folder}/rollout.onnx", config.threads)
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._again = f"objective-agent export --model {folder}"

    def _imagine(self, history: Tensor, past: Tensor, actions: Tensor, futures: int) -> Tensor:
        if torch.is_grad_enabled() and actions.requires_grad:
            raise ConfigurationError("world model frame_onnx: has no gradients; use frame_jepa, or an optimizer that samples")
        horizon = actions.shape[2]
        if horizon > self.horizon or futures > self.futures:
            raise ConfigurationError(
                f"horizon {horizon}, futures {futures}: the exported rollout has {self.horizon} and {self.futures}; "
                f"{self._again} --horizon {max(horizon, self.horizon)} --futures {max(futures, self.futures)}"
            )
        filled = actions
        if horizon < self.horizon:
            filled = actions.new_zeros(*actions.shape[:2], self.horizon, actions.shape[3])
            filled[:, :, :horizon] = actions
        given = {"history": history, "past": past, "actions": filled}
        if self.shape.latent:
            noise = torch.zeros(1, 1, self.futures, self.horizon, self.shape.latent)
            noise[:, :, :futures, :horizon] = common_noise(futures, horizon, self.shape.latent)
            given["noise"] = noise
        found = self._session.run(None, {name: np.ascontiguousarray(given[name].numpy()) for name in self._inputs})[0]
        return torch.from_numpy(found)[:, :, :futures, :horizon]
