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
from objective_agent.world_model.foresight import READOUTS, Foreseen, Foresight
from objective_agent.world_model.jepa_network import PredictorNetwork, PredictorShape

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
    selected: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """What is taken off in addition because plans are selected (`objective-agent calibrate`), per read-out and step, metres."""

    def margin(self, name: str) -> tuple[float, ...]:
        """All that is taken off read-out `name` at each step; the last step's serves for all later ones."""
        base, more = getattr(self, name), self.selected.get(name) or (0.0,)
        steps = range(max(len(base), len(more)))
        return tuple(base[min(step, len(base) - 1)] + more[min(step, len(more) - 1)] for step in steps)


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
        self.network.to(config.device).eval().requires_grad_(False)
        self.representation_model = str(card["sha256"].get("encoder"))
        about = card.get("calibration") or {}
        margins = {**(about.get("margins") or {}), "surprise": about.get("surprise", 0.0)}
        margins["selected"] = (about.get("selected") or {}).get("margins") or {}
        calibration = validate(Calibration, margins, f"{folder}: card: calibration.margins")
        self.surprise_representation = calibration.surprise
        self._margins = [
            torch.tensor(calibration.margin(name) if config.margins else [0.0], device=config.device) for name in READOUTS
        ]
        self._foresight: Foresight | None = None
        self._begun: tuple | None = None
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

        Read-outs are metres from the footprint, for guardrails: the 5 % quantile less the calibrated margin; `people_expected`,
        for objectives, is the expected distance.  Gradients are kept where `actions` asks for them.  InputError for another
        `dt` than the model's, for more futures than it has heads, or for a representation of another size.
        """
        actions = torch.as_tensor(actions, dtype=torch.float32, device=self._device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and actions.requires_grad):
            origin, before, known, alpha = self._begin(state)
            self._check(origin, actions, futures, dt)
            # To brake and stand is among the candidates of every search, as the first of them.
            stands = not bool(actions[:, 0].any())
            imagined = actions if stands else torch.cat([torch.zeros_like(actions[:, :1]), actions], 1)
            (batch, candidates, horizon, _), lead = imagined.shape, known.shape[1] - 1
            blended = self._blend(known, imagined, alpha)
            found = self._foresee(origin, before, blended, futures, horizon)

            def axes(value: Tensor) -> Tensor:  # [K, H, B N, ...] -> [B, N, K, H, ...]
                value = value.unflatten(2, (batch, candidates))
                return value.permute(2, 3, 0, 1, *range(4, value.ndim))

            def asked(value: Tensor) -> Tensor:
                return value if stands else value[:, 1:]

            lows = found.lows - self._margin(lead, horizon)
            readouts = {name: axes(low) for name, low in zip(READOUTS, lows.unbind(1), strict=True)}
            readouts["people_expected"] = axes(found.means[:, READOUTS.index("people")])
            return Trajectory(
                state=state if isinstance(state, AdvancedState) else origin,
                actions=actions,
                poses=asked(axes(found.poses(_each(origin.pose, candidates))[:, lead:])),
                velocities=asked(axes(found.velocities[:, :, lead:].movedim(1, -1))),
                dt=dt,
                representations=asked(axes(found.states[:, lead + 1 :])).unsqueeze(-2),
                readouts={name: asked(low) for name, low in readouts.items()},
                standing={name: low[:, :1] for name, low in readouts.items()},
                start=origin.stamp + lead * dt,
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
        edges = origin.stamp + self.dt * np.arange(-1, steps + 1)
        with torch.inference_mode():
            commands = _commands(origin, edges)
            found = self._foresee(origin, commands[:, 0], commands[:, None, 1:], self.shape.heads)
            poses = torch.cat([origin.pose[None], found.poses(origin.pose).mean(0)])
            speeds = torch.cat([origin.velocity[None], found.velocities.mean(0).permute(1, 2, 0)])
            share = (until - edges[-2]) / self.dt
            states = found.states[:, -2:].mean(0)
            between = [torch.lerp(values[-2], values[-1], share) for values in (states, poses, speeds)]
        fields = {name: getattr(origin, name) for name in ("model", "points", "sent_stamps", "sent", "actuator_delay")}
        return AdvancedState(float(until), between[0][:, None], between[1], between[2], origin=origin, **fields)

    def _begin(self, state: WorldState) -> tuple[WorldState, Tensor, Tensor, float]:
        """(observed state, mean command [B, 2] of the step before it, mean commands [B, whole steps + 1, 2] already sent since,
        alpha of the broken step).  Kept for the next call: a search asks with one state all the time."""
        if self._begun is None or self._begun[0] is not state:
            self._begun = (state, self._begin_anew(state))
        return self._begun[1]

    def _begin_anew(self, state: WorldState) -> tuple[WorldState, Tensor, Tensor, float]:
        origin = state.origin if isinstance(state, AdvancedState) else state.to_torch(self._device)
        ahead = max(0.0, state.stamp - origin.delay(self._delay) - origin.stamp)
        whole = int(ahead / self.dt + 1e-6)
        alpha = max(0.0, ahead / self.dt - whole)
        if whole > MOST_STEPS:
            raise InputError(
                f"rollout: the observation is {ahead:.2f} s old; the learned model bridges {MOST_STEPS * self.dt:g} s"
            )
        edges = origin.stamp + self.dt * np.arange(-1, whole + 1)
        commands = _commands(origin, np.append(edges, edges[-1] + max(alpha, 1e-3) * self.dt))
        return origin, commands[:, 0], commands[:, 1:], alpha if alpha > 1e-3 else 0.0

    def _blend(self, known: Tensor, actions: Tensor, alpha: float) -> Tensor:
        """The model's actions [B, N, whole steps + H, 2]: what was sent, then `actions` shifted by the broken step."""
        candidates = actions.shape[1]
        sent = known[:, None].expand(-1, candidates, -1, -1)
        if alpha:
            actions = alpha * torch.cat([sent[:, :, -1:], actions[:, :, :-1]], 2) + (1 - alpha) * actions
        return torch.cat([sent[:, :, :-1], actions], 2)

    def _foresee(self, origin: WorldState, before: Tensor, actions: Tensor, heads: int, readout_steps: int = 0) -> Foreseen:
        """What comes of model actions [B, N, H, 2]."""
        if self._foresight is None:  # the weights are final from here on
            self._foresight = Foresight(self.network)
        candidates = actions.shape[1]
        start, velocity, before = (_each(value, candidates) for value in (origin.representation[:, 0], origin.velocity, before))
        return self._foresight.foresee(start, velocity, before, actions.flatten(0, 1), heads, readout_steps)

    def _margin(self, lead: int, horizon: int) -> Tensor:
        """Margins [2, H, 1] of the read-outs at the steps handed out; the last one serves all later steps."""
        steps = torch.arange(lead, lead + horizon, device=self._device)
        return torch.stack([margins[steps.clamp(max=len(margins) - 1)] for margins in self._margins])[:, :, None]

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
