"""World model "frame_jepa": the learned predictor of frames behind the same contract as all world models.

A state holds the last W frames, oldest first ([B, W T, D]), and the actions between them (`sent`, at least W - 1).  One action
is one step.  Nothing is known of poses and velocities: they are zero, and objectives that look at them have no place here.

The trajectory's representations are the `dynamic` tokens; the scene is the other tokens of the newest frame, which stay:
`trajectory.state.representation[:, -T:][:, dynamic:]`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from objective_agent import devices, weights
from objective_agent.config import RobotParameters, Strict, validate
from objective_agent.types import Array, ConfigurationError, InputError, Trajectory, WorldState
from objective_agent.world_model import frame_native
from objective_agent.world_model.frame_network import FramePredictorShape, build_predictor


class FrameWorldModel:
    """What is common to all runtimes of a predictor of frames: contracts, shapes, errors.  They bring `_imagine`."""

    model: str
    representation_model: str
    shape: FramePredictorShape

    @property
    def dt(self) -> float:
        return self.shape.dt

    @property
    def features(self) -> int:
        """Of a representation's token."""
        return self.shape.features

    @property
    def history(self) -> int:
        """W: how many frames a state holds."""
        return self.shape.history

    @property
    def tokens(self) -> int:
        """T: how many tokens a frame has."""
        return self.shape.tokens

    def _imagine(self, history: Tensor, past: Tensor, actions: Tensor, futures: int) -> Tensor:
        """[B, N, K, H, dynamic, D]; see `FramePredictor.rollout`."""
        raise NotImplementedError

    def _to_tensor(self, values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32)

    def rollout(self, state: WorldState, actions: Array, futures: int = 1, dt: float = 1.0) -> Trajectory:
        """Imagines `actions` [B, N, H, A] in `futures` futures.  Gradients are kept where `actions` asks for them.

        InputError for shapes that are not the model's; ConfigurationError for another `dt`, or more futures than it has.
        """
        if abs(dt - self.dt) > 1e-6:
            raise ConfigurationError(f"actor.dt = {dt} s: the learned world model steps by {self.dt:g} s; set dt to that")
        if futures < 1 or (futures > self.shape.heads and not self.shape.latent):
            raise ConfigurationError(f"actor.futures = {futures}: the learned world model has 1 to {self.shape.heads}")
        actions = self._to_tensor(actions)
        if actions.ndim != 4 or actions.shape[0] != state.batch or actions.shape[-1] != self.shape.actions:
            raise InputError(f"actions: shape {tuple(actions.shape)}; need [B={state.batch}, N, H, {self.shape.actions}]")
        found = self._imagine(*self._frames(state), actions, futures)
        nowhere = found.new_zeros(()).expand(*found.shape[:4], 3)
        return Trajectory(
            state=state, actions=actions, poses=nowhere, velocities=nowhere[..., :2], dt=dt, representations=found
        )

    def advance(self, state: WorldState, until: float) -> WorldState:
        """The state predicted for the first step at or after `until` (s), under the actions sent since: all members' mean."""
        if not math.isfinite(until):
            raise InputError(f"advance: until = {until}; give a time in seconds")
        steps = max(0, math.ceil((until - state.stamp) / self.dt - 1e-6))
        if steps == 0:
            return state
        begun = int((state.sent_stamps < state.stamp - 1e-6).sum())
        known = 0 if state.sent is None else len(state.sent_stamps) - begun
        if known < steps:
            raise InputError(f"advance: {steps} steps ahead, but {known} actions were sent since the observation")
        sent = self._to_tensor(state.sent)[:, : begun + steps]
        history, past = self._frames(replace(state, sent=sent[:, :begun]))
        found = self._imagine(history, past, sent[:, None, begun:], self.shape.heads)[:, 0].mean(1)  # [B, H, dynamic, D]
        scene = history[:, -1:, self.shape.dynamic :].expand(-1, steps, -1, -1)
        frames = torch.cat([history, torch.cat([found, scene], 2)], 1)[:, -self.history :].flatten(1, 2)
        stamps = state.sent_stamps[: begun + steps]
        return replace(state, stamp=state.stamp + steps * self.dt, representation=frames, sent=sent, sent_stamps=stamps)

    def _frames(self, state: WorldState) -> tuple[Tensor, Tensor]:
        """(frames [B, W, T, D], the actions between them [B, W-1, A]) of a state."""
        shape, history = self.shape, self._to_tensor(state.representation)
        wanted = (state.batch, shape.history * shape.tokens, shape.features)
        if tuple(history.shape) != wanted:
            raise InputError(
                f"representation: shape {tuple(history.shape)}; needed is {wanted}: {shape.history} frames of {shape.tokens} "
                "tokens; use the encoder of the same model"
            )
        history = history.view(state.batch, shape.history, shape.tokens, shape.features)
        between = shape.history - 1
        if not between:
            return history, history.new_zeros(state.batch, 0, shape.actions)
        sent = None if state.sent is None else self._to_tensor(state.sent)
        if sent is None or sent.shape[1] < between or sent.shape[-1] != shape.actions:
            found = None if sent is None else tuple(sent.shape)
            raise InputError(f"sent actions: shape {found}; a history of {shape.history} frames has {between} between them")
        return history, sent[:, -between:]


class FrameJepa(FrameWorldModel):
    """Runs in torch.  Futures are ensemble members, draws of the latent variable, or both."""

    class Config(Strict):
        model: str = Field("models/two_room", min_length=1, description="folder of the trained model")
        device: str = Field("cpu", description="torch device")
        kernels: Literal["torch", "compiled"] = Field(
            "torch",
            description="what runs between the matrix products: torch, or C that is compiled at the start (mlp, CPU)",
        )

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        card = weights.read_card(folder, kind=weights.FRAMES)
        arrays, settings, self.model = weights.read_weights(folder, "predictor", card)
        where = f"{folder}: predictor"
        self.shape = validate(FramePredictorShape, settings, where)
        self.network = build_predictor(self.shape)
        weights.load_into(self.network, arrays, where)
        self._device = devices.find(config.device)
        self.network.to(self._device).eval().requires_grad_(False)
        self.representation_model = str(card["sha256"].get("encoder"))
        if config.kernels == "compiled":
            if self.shape.kind != "mlp" or self._device.type != "cpu":
                raise ConfigurationError(
                    f"kernels compiled: for predictors of kind mlp on the CPU, not {self.shape.kind} on {self._device}; "
                    "set kernels to torch"
                )
            for member in self.network.members:
                member.kernels = frame_native.kernels()

    def _to_tensor(self, values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)

    def _imagine(self, history: Tensor, past: Tensor, actions: Tensor, futures: int) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            return self.network.rollout(history, past, actions, futures)
