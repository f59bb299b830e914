"""All networks of a training on images in one module: what is shipped, and what only training needs.

    encoder, predictor, reachability      shipped (weights and card)
    inverse, regularizer, scout           training alone

With a map (encoder `cnn_map`) the agent's token is learned first, with a `scout`: a predictor that knows no map.  Where it
errs, the map matters: its surprise then chooses what the real predictor learns from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from objective_agent import plugins
from objective_agent.learning.frames.auxiliary import InverseDynamics
from objective_agent.learning.frames.reachability import FrameReachabilityNetwork, shape_of
from objective_agent.learning.frames.regularizers import make_regularizer
from objective_agent.learning.frames.settings import FrameTrainingConfig
from objective_agent.perception.frame_network import MapEncoder, build_encoder
from objective_agent.world_model.frame_network import FramePredictor, FramePredictorShape, build_predictor


class FrameModel(nn.Module):
    """Built from the settings and the size A of the actions.  `scout` and `reachability` may be None."""

    def __init__(self, config: FrameTrainingConfig, actions: int):
        super().__init__()
        norm = self._needs_norm(config)
        self.encoder = build_encoder(config.encoder.model_copy(update={"batch_norm": norm or config.encoder.batch_norm}))
        self.predictor = build_predictor(self._predictor_shape(config, actions))
        self.dynamic, self.features = self.encoder.dynamic, self.encoder.features
        self.frames = min(2, config.predictor.history)
        """Frames that inverse dynamics sees on each side: one does not show velocity."""
        self.inverse = InverseDynamics(self.dynamic, self.frames * self.features, actions)
        self.regularizer = make_regularizer(config.regularizer.plugin, self.encoder, **config.regularizer.settings)
        self.scout = None
        if self.has_map:
            mapless = {"kind": "mlp", "tokens": 1, "heads": 1, "latent": 0}
            self.scout = build_predictor(self.predictor.shape.model_copy(update=mapless))
        self.reachability = None
        if config.shares.reach or (self.has_map and config.scene.value):
            self.reachability = FrameReachabilityNetwork(
                shape_of(config.reachability, self.features, self.dynamic, self.encoder.tokens - self.dynamic)
            )
        self._learning = {id(parameter) for parameter in self.parameters() if parameter.requires_grad}

    @property
    def has_map(self) -> bool:
        return isinstance(self.encoder, MapEncoder)

    @property
    def agent_predictor(self) -> FramePredictor:
        """What predicts while representations are learned."""
        return self.predictor if self.scout is None else self.scout

    def agent(self, images: Tensor) -> Tensor:
        """The tokens that are predicted, [n, dynamic, D], of images [n, h, w, 3] uint8."""
        return self.encoder.agent(images) if self.has_map else self.encoder(images)

    def agent_clips(self, images: Tensor) -> Tensor:
        """`agent` of clips [B, F, h, w, 3]: [B, F, dynamic, D]."""
        return self.agent(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def stacked(self, encoded: Tensor) -> Tensor:
        """Each frame of [B, F, T, D] with the `frames` - 1 before it, as inverse dynamics reads them: [B, F - ..., T, . D]."""
        return encoded if self.frames == 1 else torch.cat([encoded[:, :-1], encoded[:, 1:]], -1)

    def parameters_of(self, stage: str) -> list[nn.Parameter]:
        """What learns in a stage: "represent", "scene" or "reach"."""
        if stage == "represent":
            parts = [self.agent_predictor, self.inverse, self.regularizer]
            mine = self.encoder.agent_parameters() if self.has_map else [*self.encoder.parameters()]
        elif stage == "scene":
            parts, mine = [self.predictor], self.encoder.scene_parameters()
        else:
            parts, mine = [], []
        if stage != "represent" and self.reachability is not None:
            parts.append(self.reachability)
        found = [*mine, *(parameter for part in parts for parameter in part.parameters())]
        return [parameter for parameter in found if id(parameter) in self._learning]

    def learn(self, stage: str) -> None:
        """Only what learns in `stage` gets gradients from now on; the rest is as in use (batch normalisation fixed)."""
        mine = {id(parameter) for parameter in self.parameters_of(stage)}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in mine)
        self.eval()
        if stage == "represent":
            self.train()
        elif stage == "scene":
            self.predictor.train()

    def hold_where(self) -> None:
        """The read-outs of the agent's place never learn from now on: fitted to what moves, they are as good as they can be.

        Left to the gradient they drift by a cell of the map within some hundred steps, and what is read there is of no use.
        """
        held = [member.where for member in self.predictor.members if hasattr(member, "set_where")]
        found = [parameter for part in held for parameter in part.parameters()]
        if self.reachability is not None:
            found += [parameter for name, parameter in self.reachability.named_parameters() if name.startswith("where_")]
        self._learning -= {id(parameter) for parameter in found}

    def follow_up(self, share: float) -> None:
        """What the regularizer does after an optimizer step."""
        self.regularizer.update(self.encoder, share)

    @staticmethod
    def _needs_norm(config: FrameTrainingConfig) -> bool:
        return bool(getattr(plugins.resolve("regularizer", config.regularizer.plugin), "batch_norm", False))

    def _predictor_shape(self, config: FrameTrainingConfig, actions: int) -> FramePredictorShape:
        encoder = self.encoder
        sizes = {"features": encoder.features, "tokens": encoder.tokens, "dynamic": encoder.dynamic, "actions": actions}
        return config.predictor.model_copy(update=sizes)
