"""World model "jepa": the learned predictor behind the same contract as the analytic one.

Its steps begin at the observation's stamp, its actions are commands as they leave the gate, and what the robot does with them
(delay included) is in the representation's motion history.  The caller counts differently: its first action begins to act at
`until` = now + latency + nominal actuator delay.  `advance` therefore keeps the observed state as the origin and notes the
time; `rollout` fills the time until the first new command leaves (`until` less the nominal delay) with what was sent already:

    whole steps       commands already sent alone; imagined, not handed out
    the broken step   alpha * (mean of what was sent) + (1 - alpha) * u[0]
    all later steps   alpha * u[k-1] + (1 - alpha) * u[k]

where alpha is the share of the broken step that is over when the first new command leaves.  Poses, velocities and read-outs are
those at the ends of the model's steps, up to one step earlier than the caller's: nothing on the way is skipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict, validate
from objective_agent.types import Array, ConfigurationError, InputError, Trajectory, WorldState
from objective_agent.world_model.jepa_network import PredictorNetwork, PredictorShape
from objective_agent.world_model.readouts import compose

MOST_STEPS = 25
"""An older observation than this many steps is no ground to plan from."""


@dataclass(frozen=True)
class AdvancedState(WorldState):
    """A state predicted for `stamp`, with the observed state (torch) that it was predicted from."""

    origin: WorldState | None = None


class Calibration(Strict):
    """Conformal margins from the model's card: what is taken off each read-out at each step, metres."""

    clearance: tuple[float, ...] = Field(min_length=1)
    people: tuple[float, ...] = Field(min_length=1)
    surprise: float = Field(0.0, ge=0)
    """Root mean square error of a representation predicted for half a second that is unusual; 0: not known."""


class Jepa:
    """Futures are ensemble heads.  Works on torch states; NumPy states are converted."""

    class Config(Strict):
        model: str = Field("models/apartment", min_length=1, description="folder of the trained model")
        device: str = Field("cpu", description="torch device")
        margins: bool = Field(True, description="take the calibrated margins off the read-outs")

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        card = weights.read_card(folder)
        arrays, settings, self.model = weights.read_weights(folder, "predictor", card)
        where = f"{folder}: predictor"
        self.shape = validate(PredictorShape, settings, where)
        self.network = PredictorNetwork(self.shape)
        weights.load_into(self.network, arrays, where)
        self.network.to(config.device).eval()
        self.representation_model = str(card["sha256"].get("encoder"))
        about = card.get("calibration") or {}
        margins = {**(about.get("margins") or {}), "surprise": about.get("surprise", 0.0)}
        calibration = validate(Calibration, margins, f"{folder}: card: calibration.margins")
        self.surprise_representation = calibration.surprise
        self._margins = {
            name: torch.tensor(values if config.margins else [0.0], device=config.device)
            for name, values in (("clearance", calibration.clearance), ("people", calibration.people))
        }
        self._device = config.device
        self._delay = robot.actuator_delay

    @property
    def dt(self) -> float:
        return self.shape.nominal.dt

    @property
    def features(self) -> int:
        """Of a representation's token."""
        return self.shape.features

    def rollout(self, state: WorldState, actions: Array, futures: int = 1, dt: float = 0.2) -> Trajectory:
        """Imagines `actions` [B, N, H, 2] in `futures` <= heads futures; read-outs `clearance` and `people` [B, N, K, H].

        Read-outs are metres from the footprint: the 5 % quantile less the calibrated margin.  InputError for another `dt` than
        the model's, for more futures than it has heads, or for a representation of another size.
        """
        actions = torch.as_tensor(actions, dtype=torch.float32, device=self._device)
        origin, known, alpha = self._begin(state)
        self._check(origin, actions, futures, dt)
        batch, asked, horizon, _ = actions.shape
        candidates, lead = asked + 1, known.shape[1] - 1
        blended = self._blend(known, torch.cat([actions, torch.zeros_like(actions[:, :1])], 1), alpha)
        with torch.inference_mode():
            states, motions, velocities = self._imagine(origin, blended, futures)
            poses = compose(_each(origin.pose, candidates).expand(futures, -1, -1), motions.transpose(1, 2)).transpose(1, 2)
            later = states[:, lead + 1 :]
            heads = {"clearance": self.network.readouts.clearance, "people": self.network.readouts.people}
            margins = {name: self._margin(name, lead, horizon) for name in heads}

            def axes(value: Tensor) -> Tensor:  # [K, H, B N, ...] -> [B, N, K, H, ...]
                value = value.reshape(futures, horizon, batch, candidates, *value.shape[3:])
                return value.permute(2, 3, 0, 1, *range(4, value.ndim))

            readouts = {name: axes(head(later)[1] - margins[name]) for name, head in heads.items()}
            return Trajectory(
                state=state if isinstance(state, AdvancedState) else origin,
                actions=actions,
                poses=axes(poses[:, lead:])[:, :asked],
                velocities=axes(velocities[:, lead:])[:, :asked],
                dt=dt,
                representations=axes(later)[:, :asked, ..., None, :],
                readouts={name: value[:, :asked] for name, value in readouts.items()},
                standing={name: value[:, asked:] for name, value in readouts.items()},
            )

    def advance(self, state: WorldState, until: float) -> WorldState:
        """The state predicted for `until` (s) under the commands already sent: the mean of all heads, between steps linear.

        `rollout` of an advanced state starts from its origin, so nothing is lost by advancing.
        """
        if not math.isfinite(until):
            raise InputError(f"advance: until = {until}; give a time in seconds")
        origin = state.origin if isinstance(state, AdvancedState) else state.to_torch(self._device)
        if until <= origin.stamp:
            return state
        steps = max(1, math.ceil((until - origin.stamp) / self.dt - 1e-6))
        if steps > MOST_STEPS:
            raise InputError(
                f"advance: {until - origin.stamp:.2f} s ahead; the learned model goes {MOST_STEPS * self.dt:g} s at most"
            )
        edges = origin.stamp + self.dt * np.arange(steps + 1)
        with torch.inference_mode():
            states, motions, velocities = self._imagine(origin, _commands(origin, edges)[:, None], self.shape.heads)
            poses = compose(origin.pose, motions.mean(0).transpose(0, 1)).transpose(0, 1)
            poses = torch.cat([origin.pose[None], poses])
            speeds = torch.cat([origin.velocity[None], velocities.mean(0)])
            share = (until - edges[-2]) / self.dt
            between = [torch.lerp(values[-2], values[-1], share) for values in (states.mean(0), poses, speeds)]
        fields = {name: getattr(origin, name) for name in ("model", "points", "sent_stamps", "sent")}
        return AdvancedState(float(until), between[0][:, None], between[1], between[2], origin=origin, **fields)

    def _begin(self, state: WorldState) -> tuple[WorldState, Tensor, float]:
        """(observed state, mean commands [B, whole steps + 1, 2] already sent, alpha of the broken step)."""
        if not isinstance(state, AdvancedState):
            origin = state.to_torch(self._device)
            return origin, origin.velocity[:, None], 0.0
        origin = state.origin
        ahead = max(0.0, state.stamp - self._delay - origin.stamp)
        whole = int(ahead / self.dt + 1e-6)
        alpha = max(0.0, ahead / self.dt - whole)
        if whole > MOST_STEPS:
            raise InputError(
                f"rollout: the observation is {ahead:.2f} s old; the learned model bridges {MOST_STEPS * self.dt:g} s"
            )
        edges = origin.stamp + self.dt * np.arange(whole + 1)
        broken = max(alpha, 1e-3) * self.dt
        return origin, _commands(origin, np.append(edges, edges[-1] + broken)), alpha if alpha > 1e-3 else 0.0

    def _blend(self, known: Tensor, actions: Tensor, alpha: float) -> Tensor:
        """The model's actions [B, N, whole steps + H, 2]: what was sent, then `actions` shifted by the broken step."""
        candidates = actions.shape[1]
        sent = known[:, None].expand(-1, candidates, -1, -1)
        if alpha:
            actions = alpha * torch.cat([sent[:, :, -1:], actions[:, :, :-1]], 2) + (1 - alpha) * actions
        return torch.cat([sent[:, :, :-1], actions], 2)

    def _imagine(self, origin: WorldState, actions: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """(representations [K, H + 1, B N, D], relative poses [K, H, B N, 3], velocities) along model actions [B, N, H, 2]."""
        candidates = actions.shape[1]
        flat = actions.flatten(0, 1)
        states = self.network.imagine(_each(origin.representation[:, 0], candidates), flat, heads)
        before = _commands(origin, np.array([origin.stamp - self.dt, origin.stamp]))[:, 0]
        velocity = _each(origin.velocity, candidates)
        motions, velocities = self.network.motions(states, velocity, _each(before, candidates), flat)
        return states, motions, velocities

    def _margin(self, name: str, lead: int, horizon: int) -> Tensor:
        """Margins [H, 1] of the steps handed out; the last one serves all later steps."""
        margins = self._margins[name]
        steps = torch.arange(lead, lead + horizon, device=margins.device).clamp(max=len(margins) - 1)
        return margins[steps][:, None]

    def _check(self, state: WorldState, actions: Tensor, futures: int, dt: float) -> None:
        if actions.ndim != 4 or actions.shape[0] != state.batch or actions.shape[-1] != 2:
            raise InputError(f"actions: shape {tuple(actions.shape)}; need [B={state.batch}, N, H, 2]")
        if abs(dt - self.dt) > 1e-6:
            raise ConfigurationError(f"actor.dt = {dt} s: the learned world model steps by {self.dt:g} s; set dt to that")
        if not 1 <= futures <= self.shape.heads:
            raise ConfigurationError(f"actor.futures = {futures}: the learned world model has 1 to {self.shape.heads}")
        if tuple(state.representation.shape[1:]) != (1, self.shape.features):
            raise InputError(
                f"representation: shape {tuple(state.representation.shape)}; needed is [B, 1, {self.shape.features}]; "
                "use the encoder of the same model"
            )


def _each(values: Tensor, candidates: int) -> Tensor:
    """[B, ...] -> [B N, ...]"""
    return values[:, None].expand(-1, candidates, *values.shape[1:]).flatten(0, 1) if candidates > 1 else values


def _commands(state: WorldState, edges: np.ndarray) -> Tensor:
    """Mean of the sent commands [B, n, 2] in each interval between `edges` [n + 1]; before the first known: the velocity."""
    stamps = np.asarray(state.sent_stamps, float)
    if state.sent is None or len(stamps) == 0:
        return state.velocity[:, None].expand(-1, len(edges) - 1, -1)
    starts = np.concatenate([[-np.inf], stamps])
    ends = np.concatenate([stamps, [np.inf]])
    overlap = np.minimum(ends, edges[1:, None]) - np.maximum(starts, edges[:-1, None])
    share = np.clip(overlap, 0.0, None) / (edges[1:] - edges[:-1])[:, None]
    values = torch.cat([state.velocity[:, None], state.sent], 1)
    return torch.matmul(torch.as_tensor(share, dtype=values.dtype, device=values.device), values)
