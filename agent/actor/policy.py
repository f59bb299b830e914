"""Mode-1: acts without search, and says how far it can be trusted; distilled from Mode-2's plans (LeCun 2022, section 3.1.3).

    propose(state, goal, n) [B, n, H, A]     the ensemble's mean, its members, and draws round the mean
    confidence(state, goal) [B] in [0, 1]    the probability that Mode-2's plan would be no better than the policy's

    score = w . [log disagreement of the members, ... of their first action, log spread, step sizes] + b    logistic
    confidence = isotonic(score)             monotone, fitted on decisions of episodes that never trained

What "no better" means is in the card: by less than a stated energy, or, where energies weren't imagined, the same first action
within a tolerance; and a reliability table on episodes that neither trained nor calibrated.  The weights stand in the model's
folder as the part `policy`; they are good for the encoder they were trained for and no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from objective_agent import weights
from objective_agent.actor.policy_network import PolicyNetwork, PolicyShape
from objective_agent.config import RobotParameters, Strict, validate
from objective_agent.types import ConfigurationError, Goal, WorldState, to_base

PART = "policy"
PREDICTORS = ("disagreement", "first_disagreement", "spread", "first_spread", "length", "first_length")
"""What confidence is told by, in this order."""

REMEDY = "train one: objective-agent train --head policy --model {folder} --data PLANS"


@dataclass(frozen=True)
class Answer:
    """`plan` [B, H, A] the ensemble's mean, `members` and their `log_std` [B, K, H, A], `confidence` [B]."""

    plan: Tensor
    members: Tensor
    log_std: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Confidence:
    """A score's weights [F] over standardized predictors, and the isotonic map as points: scores ascending, probabilities.

    NumPy, which is quicker than torch at so little.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray

    def __call__(self, predictors: np.ndarray) -> np.ndarray:
        """[B] probabilities of `predictors` [B, F]: linear between the points, constant beyond; 0 for what is no number."""
        score = ((predictors - self.mean) / self.scale) @ self.weight + self.bias
        return np.where(score == score, np.interp(score, self.scores, self.probabilities), 0).astype(np.float32)


def predictors_of(mean: Tensor, log_std: Tensor) -> np.ndarray:
    """[B, F] of what the heads say, [B, K, H, A] each."""
    mean, log_std = mean.cpu().numpy(), log_std.cpu().numpy()
    batch, members, horizon, _ = mean.shape
    centre = mean.sum(1) / members
    apart = mean - centre[:, None]
    by_step = np.empty((batch, 3, horizon), np.float32)
    by_step[:, 0] = (apart * apart).sum((1, 3))
    by_step[:, 1] = log_std.sum((1, 3))
    by_step[:, :2] /= members * mean.shape[3]
    by_step[:, 2] = np.sqrt((centre * centre).sum(-1))
    found = np.stack([by_step.sum(-1) / horizon, by_step[..., 0]], -1).reshape(batch, -1)
    found[:, :2] = np.log(found[:, :2] + 1e-6)
    return found


class DistilledPolicy:
    """Plugin "distilled" of the kind `policy`.  ConfigurationError for a model that has none, or whose files don't fit."""

    class Config(Strict):
        model: str = Field("models/apartment", min_length=1, description="folder of the trained model")
        device: str = Field("cpu", description="torch device")

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        card, remedy = weights.read_card(folder), REMEDY.format(folder=folder)
        self.about: dict[str, Any] = card.get(PART)
        if PART not in card["sha256"] or not isinstance(self.about, dict):
            raise ConfigurationError(f"{folder}: the model has no policy; {remedy}")
        self.encoder, wanted = str(card["sha256"].get("encoder")), str(self.about.get("encoder"))
        if wanted != self.encoder:
            raise ConfigurationError(
                f"{folder}: its policy was trained for encoder {wanted[:12]}, the model has {self.encoder[:12]}; {remedy}"
            )
        arrays, settings, self.model = weights.read_weights(folder, PART, card)
        where = f"{folder}: {PART}"
        broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if broken:
            raise ConfigurationError(f"{where}: {', '.join(broken)}: NaN or infinite values; {remedy}")
        self.shape = validate(PolicyShape, settings, where)
        self.network = PolicyNetwork(self.shape)
        known = {name: arrays.pop(f"confidence.{name}", None) for name in Confidence.__dataclass_fields__}
        weights.load_into(self.network, arrays, where)
        self.network.to(config.device).eval().requires_grad_(False)
        self.calibration = _confidence(known, where)
        self._middle, self._half = (
            self.network.actions(torch.zeros(1, device=config.device)),
            0.5 * (self.network.high - self.network.low),
        )
        self._device = config.device
        self._generator = torch.Generator()
        self._last: tuple[WorldState, Goal, Answer] | None = None

    def answer(self, state: WorldState, goal: Goal) -> Answer:
        """Everything the policy has to say; kept for the next question about the same state and goal."""
        if self._last is None or self._last[0] is not state or self._last[1] is not goal:
            with torch.inference_mode():
                mean, log_std = self.network(*inputs_of(self.shape, state, goal, self._device))
                confidence = torch.from_numpy(self.calibration(predictors_of(mean, log_std)))
                members = torch.addcmul(self._middle, mean, self._half)
                self._last = (state, goal, Answer(members.mean(1), members, log_std, confidence))
        return self._last[2]

    def propose(self, state: WorldState, goal: Goal, n: int) -> Tensor:
        """[B, n, H, A]: the mean, the members, and then draws round the mean, the same in every call."""
        found = self.answer(state, goal)
        known = torch.cat([found.plan[:, None], found.members], 1)[:, :n]
        more = n - known.shape[1]
        if more <= 0:
            return known
        self._generator.manual_seed(0)
        noise = torch.randn(1, more, *found.plan.shape[1:], generator=self._generator).to(known)
        low, high = self.network.low, self.network.high
        spread = (2 * found.log_std).exp().mean(1).sqrt() * 0.5 * (high - low)
        drawn = found.plan[:, None] + spread[:, None] * noise
        return torch.cat([known, torch.minimum(torch.maximum(drawn, low), high)], 1)

    def confidence(self, state: WorldState, goal: Goal) -> Tensor:
        """[B] in [0, 1]; 0 where the answer has NaN."""
        return self.answer(state, goal).confidence


def inputs_of(shape: PolicyShape, state: WorldState, goal: Goal, device: str = "cpu") -> tuple[Tensor | None, ...]:
    """(state, goal, velocity, position) as the network reads them; None for what it doesn't."""

    def tensor(value) -> Tensor | None:
        return None if value is None else torch.as_tensor(value, dtype=torch.float32, device=device)

    position = None
    if shape.position and goal.position is not None:
        position = to_base(tensor(state.pose), tensor(goal.position)[:, None])[:, 0]
    return (
        tensor(state.representation),
        tensor(goal.representation) if shape.goal_tokens else None,
        tensor(state.velocity) if shape.velocity else None,
        position,
    )


def _confidence(arrays: dict[str, np.ndarray | None], where: str) -> Confidence:
    points = arrays["scores"]
    sizes = {name: (len(PREDICTORS),) for name in ("mean", "scale", "weight")} | {"bias": (1,)}
    sizes |= {name: np.shape(points) for name in ("scores", "probabilities")}
    wrong = [name for name, size in sizes.items() if arrays[name] is None or np.shape(arrays[name]) != size]
    if (
        wrong
        or points.ndim != 1
        or len(points) < 2
        or (np.diff(points) < 0).any()
        or (np.diff(arrays["probabilities"]) < 0).any()
    ):
        raise ConfigurationError(f"{where}: its confidence is not calibrated ({', '.join(wrong) or 'points'}); train it again")
    return Confidence(**arrays)
