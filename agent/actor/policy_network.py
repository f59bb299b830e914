"""Mode-1's network: what Mode-2 would find, guessed at a glance (LeCun 2022, section 3.1.3).

    x = [tokens of the state's frames, tokens of the goal, the scene's map as one vector, velocity, the goal's place]
    mean, log_std [K, H, A] = heads(x)            K small networks of their own: an ensemble

The heads begin differently and each learns from its own share of the episodes, so that where there was little to learn from
they disagree (deep ensembles, Lakshminarayanan et al. 2017).  `log_std` is what no head can know: how much Mode-2's own answers
vary.
Pure tensors, about 25 small operations: what makes it worth having is that it costs next to nothing.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from objective_agent.config import Strict
from objective_agent.types import InputError

VECTOR = 512
"""Tokens of more numbers than this in all are made smaller, one by one, before the heads read them."""

NARROWEST, WIDEST = -4.0, 1.0
"""Bounds of log_std, for actions as shares of half their range."""


class PolicyShape(Strict):
    """What the weights' shapes depend on; stored with them."""

    features: int = Field(ge=1, le=4096, description="D, of a token")
    frames: int = Field(1, ge=1, le=16, description="W: frames in a state")
    dynamic: int = Field(1, ge=1, le=4096, description="tokens of a frame that change as the agent moves")
    places: int = Field(0, ge=0, le=4096, description="tokens of the newest frame behind these: the scene; 0: none")
    goal_tokens: int = Field(1, ge=0, le=4096, description="tokens of the goal that are read; 0: the goal is a place only")
    position: bool = Field(False, description="the goal's place is read, as seen from the robot's pose")
    velocity: bool = Field(False, description="the robot's velocity is read")
    actions: int = Field(2, ge=1, le=64, description="A")
    horizon: int = Field(4, ge=1, le=200, description="H, steps of a plan")
    members: int = Field(4, ge=1, le=32, description="K, heads of the ensemble")
    hidden: int = Field(192, ge=8, le=4096)
    token_size: int = Field(16, ge=1, le=256, description="components read of each token, where there are many")
    channels: int = Field(8, ge=1, le=256, description="components read of each token of the scene")
    scene: int = Field(64, ge=1, le=1024, description="size of what is read of the scene")

    @model_validator(mode="after")
    def _has_a_goal(self):
        if not self.goal_tokens and not self.position:
            raise ValueError("a policy needs a goal: goal_tokens, or position")
        return self

    @property
    def tokens(self) -> int:
        """T, of a frame."""
        return self.dynamic + self.places

    @property
    def moving(self) -> int:
        """Tokens that the heads read, of frames and goal."""
        return self.frames * self.dynamic + self.goal_tokens

    @property
    def narrow(self) -> bool:
        return self.moving * self.features > VECTOR

    @property
    def inputs(self) -> int:
        each = self.token_size if self.narrow else self.features
        return self.moving * each + (self.scene if self.places else 0) + 2 * self.velocity + 5 * self.position


class PolicyNetwork(nn.Module):
    """`forward(tokens, goal, velocity, position)` -> (mean, log_std) [B, K, H, A], both for actions within [-1, 1].

    `scale` brings them to the robot's: see `actions`.
    """

    def __init__(self, shape: PolicyShape):
        super().__init__()
        self.shape, k, h = shape, shape.members, shape.hidden
        out = 2 * shape.horizon * shape.actions
        for name, size in {"token": shape.features, "map": shape.features, "speed": 2}.items():
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size))
        self.register_buffer("distance", torch.ones(1))
        self.register_buffer("low", -torch.ones(shape.actions))
        self.register_buffer("high", torch.ones(shape.actions))
        self.narrow = nn.Linear(shape.features, shape.token_size) if shape.narrow else None
        self.look = self.scene = None
        if shape.places:
            self.look = nn.Linear(shape.features, shape.channels)
            self.scene = nn.Linear(shape.places * shape.channels, shape.scene)
        for number, (inputs, outputs) in enumerate(((shape.inputs, h), (h, h), (h, out))):
            gain = 0.1 if number == 2 else math.sqrt(2)
            self.register_parameter(f"weight{number}", nn.Parameter(torch.randn(k, inputs, outputs) * gain / math.sqrt(inputs)))
            self.register_parameter(f"bias{number}", nn.Parameter(torch.zeros(k, 1, outputs)))

    def forward(
        self, state: Tensor, goal: Tensor | None = None, velocity: Tensor | None = None, position: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`state` [B, W * T, D], `goal` [B, >= goal_tokens, D], `velocity` [B, 2], `position` [B, 2] seen from the robot.

        InputError for other shapes, and for a part that the policy needs and that is missing.
        """
        x = self._inputs(state, goal, velocity, position)
        hidden = x.expand(self.shape.members, -1, -1)
        hidden = functional.silu(torch.baddbmm(self.bias0, hidden, self.weight0))
        hidden = functional.silu(torch.baddbmm(self.bias1, hidden, self.weight1))
        out = torch.baddbmm(self.bias2, hidden, self.weight2).transpose(0, 1)
        mean, log_std = out.reshape(len(x), -1, 2, self.shape.horizon, self.shape.actions).unbind(2)
        return torch.tanh(mean), NARROWEST + (WIDEST - NARROWEST) * torch.sigmoid(log_std)

    def actions(self, mean: Tensor) -> Tensor:
        """Actions [..., A] in the units of the log of plans, of actions within [-1, 1]."""
        return torch.addcmul(0.5 * (self.low + self.high), mean, 0.5 * (self.high - self.low))

    def shares(self, actions: Tensor) -> Tensor:
        """What `actions` undoes."""
        return (actions - 0.5 * (self.low + self.high)) / (0.5 * (self.high - self.low)).clamp(min=1e-6)

    def _inputs(self, state: Tensor, goal: Tensor | None, velocity: Tensor | None, position: Tensor | None) -> Tensor:
        shape = self.shape
        self._check(state, goal, velocity, position)
        frames, moving = state, state
        if shape.frames > 1 or shape.places:
            frames = state.view(len(state), shape.frames, shape.tokens, shape.features)
            moving = frames[:, :, : shape.dynamic].flatten(1, 2)
        if shape.goal_tokens:
            moving = torch.cat([moving, goal[:, : shape.goal_tokens]], 1)
        moving = (moving - self.token_mean) / self.token_scale
        if self.narrow is not None:
            moving = self.narrow(moving)
        parts = [moving.flatten(1)]
        if self.look is not None:
            seen = functional.relu(self.look((frames[:, -1, shape.dynamic :] - self.map_mean) / self.map_scale))
            parts.append(functional.silu(self.scene(seen.flatten(1))))
        if shape.velocity:
            parts.append((velocity - self.speed_mean) / self.speed_scale)
        if shape.position:
            far = position.norm(dim=-1, keepdim=True)
            parts += [position / self.distance, position / far.clamp(min=1e-3), torch.exp(-far)]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _check(self, state: Tensor, goal: Tensor | None, velocity: Tensor | None, position: Tensor | None) -> None:
        shape, batch = self.shape, len(state)
        wanted = {"state": (state, (batch, shape.frames * shape.tokens, shape.features))}
        if shape.goal_tokens:
            least = max(shape.goal_tokens, 0 if goal is None else goal.shape[1])
            wanted["goal's representation"] = (goal, (batch, least, shape.features))
        if shape.velocity:
            wanted["velocity"] = (velocity, (batch, 2))
        if shape.position:
            wanted["goal's position"] = (position, (batch, 2))
        for name, (value, size) in wanted.items():
            if value is None or value.shape != size:
                found = "is missing" if value is None else f"has shape {tuple(value.shape)}"
                raise InputError(f"policy: the {name} {found}; it was trained with {size}: take the model that drives")
