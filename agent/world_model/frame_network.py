"""Predictor networks for frames: what actions lead to, in representation space, with history, ensemble and latent variable.

    z[t+1] = z[t] + f(z[t-W+1 .. t], u[t-W+1 .. t], x[t], scene)          x: latent variable, what actions do not decide

Kinds of f: `mlp` (residual MLP), `gru` (recurrent: Cho et al. 2014), `transformer` (causal, actions through adaptive layer
norms), `place` (reads the scene where the agent is).  A predictor is an ensemble of K of them: a future is one member followed
through all steps (PETS, Chua et al. 2018), or one draw of the latent variable, or both.

The latent variable (LeCun 2022, section 4.4; trained as a conditional variational autoencoder, Kingma & Welling 2014): prior
p(x | z[t], u[t]), and in training a posterior q(x | z[t], u[t], z[t+1]) that sees what came; KL(q || p) is what it costs.

Everything that depends on the problem alone (the scene's context, the history) is computed once and shared by its N candidates.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from objective_agent.config import Strict
from objective_agent.types import InputError
from objective_agent.world_model.frame_members import Member, Recurrent, Residual
from objective_agent.world_model.frame_place import Place
from objective_agent.world_model.frame_transformer import CausalTransformer


class FramePredictorShape(Strict):
    """What the weights' shapes depend on; stored with them.  `features`, `tokens` and `dynamic` are the encoder's."""

    kind: Literal["mlp", "gru", "transformer", "place"] = "mlp"
    features: int = Field(128, ge=2, le=4096, description="D")
    tokens: int = Field(1, ge=1, le=4096, description="T")
    dynamic: int = Field(1, ge=1, le=4096, description="how many leading tokens are predicted; the others are the scene")
    actions: int = Field(2, ge=1, le=64, description="A")
    history: int = Field(1, ge=1, le=16, description="W: frames that are looked at")
    heads: int = Field(1, ge=1, le=16, description="members of the ensemble")
    latent: int = Field(0, ge=0, le=256, description="size of the latent variable; 0: none")
    hidden: int = Field(256, ge=8, le=4096)
    depth: int = Field(3, ge=1, le=32, description="blocks (transformer)")
    attention_heads: int = Field(4, ge=1, le=32, description="attention heads (transformer)")
    ahead: bool = Field(False, description="read the scene where the action leads, too (place)")
    dt: float = Field(1.0, gt=0, description="seconds of one step")


MEMBERS: dict[str, type[Member]] = {"mlp": Residual, "gru": Recurrent, "transformer": CausalTransformer, "place": Place}


class FramePredictor(nn.Module):
    """`rollout` for planning and for losses; `follow` the same with the latent variable inferred from what came."""

    def __init__(self, shape: FramePredictorShape):
        super().__init__()
        self.shape = shape
        self.members = nn.ModuleList(MEMBERS[shape.kind](shape) for _ in range(shape.heads))
        self.variables = nn.ModuleList(LatentVariable(shape) for _ in range(shape.heads)) if shape.latent else None

    def rollout(self, history: Tensor, past: Tensor, actions: Tensor, futures: int = 1, noise: Tensor | None = None) -> Tensor:
        """Representations [B, N, K, H, dynamic, D] that come of `actions` [B, N, H, A], K = `futures`.

        `history` [B, W, T, D] are the last frames, the newest last; `past` [B, W-1, A] the actions between them.  Future k
        follows member k % heads.  `noise` [1 or B, 1 or N, K, H, latent] is standard normal; without it one future takes the
        prior's mean, several take draws that are the same for all candidates and in every call.  InputError for wrong shapes
        and for more futures than there are members, where no latent variable tells them apart.
        """
        self._check(history, past, actions, futures)
        drawn = self._noise(actions, futures, noise)
        found = []
        for future in range(futures):
            head = future % self.shape.heads
            variable = self.variables[head] if self.variables is not None else None

            def choose(step: int, state: Tensor, action: Tensor, variable=variable, future=future) -> Tensor:
                mean, log_std = variable.prior(state, action)
                return mean + log_std.exp() * drawn[:, :, future, step]

            found.append(self._unroll(self.members[head], history, past, actions, choose))
        return found[0].unsqueeze(2) if futures == 1 else torch.stack(found, 2)

    def follow(self, history: Tensor, past: Tensor, actions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(representations [B, N, heads, H, dynamic, D], KL divergence: a scalar, 0 without a latent variable), for training.

        `targets` [B, N, H, dynamic, D] are the representations that really came: where there is a latent variable it is drawn
        from the posterior that sees them.  All members are rolled out.
        """
        self._check(history, past, actions, self.shape.heads)
        divergences, found = [actions.new_zeros(())], []
        for head, member in enumerate(self.members):
            variable = self.variables[head] if self.variables is not None else None

            def choose(step: int, state: Tensor, action: Tensor, variable=variable) -> Tensor:
                drawn, divergence = variable.infer(state, action, targets[:, :, step])
                divergences.append(divergence / (self.shape.heads * actions.shape[2]))
                return drawn

            found.append(self._unroll(member, history, past, actions, choose))
        return torch.stack(found, 2), torch.stack(divergences).sum()

    def _unroll(self, member: Member, history: Tensor, past: Tensor, actions: Tensor, choose) -> Tensor:
        """[B, N, H, dynamic, D]: one member along all actions; `choose(step, state, action)` gives the latent variable."""
        if self.shape.latent:
            past = torch.cat([past, past.new_zeros(*past.shape[:2], self.shape.latent)], -1)
        elif (found := member.unroll(history, past, actions)) is not None:
            return found
        carry = member.begin(history, past)
        state = history[:, -1:, : self.shape.dynamic].expand(-1, actions.shape[1], -1, -1)
        states = []
        for step in range(actions.shape[2]):
            action = actions[:, :, step]
            if self.shape.latent:
                action = torch.cat([action, choose(step, state, action)], -1)
            state, carry = member.step(carry, state, action)
            states.append(state)
        return torch.stack(states, 2)

    def _noise(self, actions: Tensor, futures: int, noise: Tensor | None) -> Tensor | None:
        if not self.shape.latent:
            return None
        size = (1, 1, futures, actions.shape[2], self.shape.latent)
        if noise is not None:
            if noise.ndim != 5 or tuple(noise.shape[2:]) != size[2:]:
                raise InputError(f"noise: shape {tuple(noise.shape)}; needed is [B, N, {', '.join(map(str, size[2:]))}]")
            return noise
        return common_noise(futures, size[3], size[4]).to(actions)

    def _check(self, history: Tensor, past: Tensor, actions: Tensor, futures: int) -> None:
        shape, batch = self.shape, history.shape[0]
        for name, value, wanted in (
            ("history", history, (batch, shape.history, shape.tokens, shape.features)),
            ("past actions", past, (batch, shape.history - 1, shape.actions)),
            ("actions", actions, (batch, *actions.shape[1:3], shape.actions)),
        ):
            if tuple(value.shape) != wanted:
                raise InputError(f"{name}: shape {tuple(value.shape)}; the predictor needs {wanted}")
        if futures < 1 or (futures > shape.heads and not shape.latent):
            raise InputError(f"futures = {futures}: the predictor has 1 to {shape.heads} (no latent variable)")


class LatentVariable(nn.Module):
    """A Gaussian [latent] per step: what decides between futures that the action leaves open."""

    def __init__(self, shape: FramePredictorShape):
        super().__init__()
        d, a, size = shape.features, shape.actions, 2 * shape.latent
        self.before = nn.Sequential(nn.Linear(d + a, 128), nn.SiLU(), nn.Linear(128, size))
        self.after = nn.Sequential(nn.Linear(2 * d + a, 128), nn.SiLU(), nn.Linear(128, size))
        for network in (self.before, self.after):  # both begin as the standard normal
            nn.init.zeros_(network[-1].weight)
            nn.init.zeros_(network[-1].bias)

    def prior(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log standard deviation) [B, N, latent] before it is known what came; states [B, N, dynamic, D]."""
        return _gaussian(self.before(torch.cat([state.mean(2), action], -1)))

    def infer(self, state: Tensor, action: Tensor, came: Tensor) -> tuple[Tensor, Tensor]:
        """(a draw [B, N, latent] of what must have been, KL divergence from the prior: a scalar, nats)."""
        mean, log_std = self.prior(state, action)
        found, log_width = _gaussian(self.after(torch.cat([state.mean(2), action, came.mean(2)], -1)))
        ratio = (2 * (log_width - log_std)).exp()
        divergence = 0.5 * (ratio + ((found - mean) / log_std.exp()) ** 2 - 1 - ratio.log()).sum(-1).mean()
        return found + log_width.exp() * torch.randn_like(found), divergence


def common_noise(futures: int, horizon: int, size: int) -> Tensor:
    """[1, 1, K, H, size]: what candidates share when nobody says otherwise; zeros (the prior's mean) for a single future."""
    if futures == 1:
        return torch.zeros(1, 1, 1, horizon, size)
    # Drawn step by step, so that a longer plan begins with the same luck.
    draws = torch.randn(horizon, futures, size, generator=torch.Generator().manual_seed(0))
    return draws.transpose(0, 1)[None, None]


def _gaussian(values: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_std = values.chunk(2, -1)
    return mean, log_std.clamp(-5.0, 2.0)


def build_predictor(shape: FramePredictorShape) -> FramePredictor:
    """The network for `shape`, with new weights.  InputError where its kind can't read such representations."""
    return FramePredictor(shape)
