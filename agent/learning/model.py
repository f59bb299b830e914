"""The joint-embedding predictive architecture as one thing to train: encoder, predictor with read-outs, and their losses.

    z[t] = encoder(observation[t])        z^[t+k] = predictor(z[t], u[t] ... u[t+k-1])        loss: z^[t+k] against z[t+k]

The start frame may miss a sense, the targets miss none: what the camera alone shows must predict what all senses will say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from objective_agent import devices
from objective_agent.config import NonNegative, Strict
from objective_agent.learning import losses
from objective_agent.learning.batches import PEOPLE_SECTORS, Batch
from objective_agent.learning.regularizers import regularize
from objective_agent.perception.jepa_network import EncoderNetwork, EncoderShape
from objective_agent.world_model.jepa_network import PredictorNetwork, PredictorShape
from objective_agent.world_model.readouts import compose


class LossWeights(Strict):
    latent: NonNegative = 1.0
    regularizer: NonNegative = 1.0
    covariance: NonNegative = 0.04
    relative: NonNegative = 0.3
    motion: NonNegative = 0.5
    path: NonNegative = 0.5
    velocity: NonNegative = 0.1
    clearance: NonNegative = 2.0
    people: NonNegative = 1.0
    whereabouts: NonNegative = 1.0
    ranges: NonNegative = 0.3


@dataclass(frozen=True)
class Step:
    """One batch's losses (name -> scalar), and what the collapse meter looks at."""

    losses: dict[str, Tensor]
    representations: Tensor
    relative_uninformed: Tensor


class JepaModel(nn.Module):
    def __init__(self, encoder: EncoderShape, predictor: PredictorShape):
        super().__init__()
        self.encoder = EncoderNetwork(encoder)
        self.predictor = PredictorNetwork(predictor)
        self.whereabouts_head = nn.Sequential(nn.Linear(encoder.features, 128), nn.ReLU(), nn.Linear(128, PEOPLE_SECTORS))
        self.relative_head = nn.Sequential(nn.Linear(2 * encoder.features, 192), nn.ReLU(), nn.Linear(192, 4))

    def encode(self, batch: Batch, bfloat16: bool = False) -> Tensor:
        """Representations [1 + S, n, D] of the batch's frames, starts first."""
        return self.encoder(batch.frames, bfloat16).view(1 + len(batch.offsets), batch.windows, -1)

    def step(
        self,
        batch: Batch,
        weight: Tensor,
        regularizer: str,
        covariance: float,
        random: torch.Generator,
        bfloat16: bool,
        joint: bool = True,
    ) -> Step:
        """All losses of a batch; `weight` [K, 1, n] is each head's bootstrap weight of each window.

        Without `joint` the read-outs learn from the representations, but the representations nothing from them.
        """
        encoded = self.encode(batch, bfloat16)
        flat = encoded.flatten(0, 1)
        heads = self.predictor.shape.heads
        states = self.predictor.imagine(encoded[0], batch.actions, heads)
        read, seen = (states, encoded) if joint else (states.detach(), encoded.detach())
        motions, velocities = self.predictor.motions(read, batch.velocities[0], batch.before, batch.actions)
        readouts = self.predictor.readouts
        found = losses.relative_pose(batch.poses[:-1], batch.poses[1:])
        path = compose(motions.new_zeros(1, 1, 3), motions.transpose(1, 2)).transpose(1, 2)
        ended = losses.relative_pose(batch.poses[:1], batch.poses[1:])
        relative, uninformed = self._relative(encoded, batch, random)
        both = {
            name: losses.distance(head(read[:, 1:]), labels[1:], near, beta, weight)
            + 0.5 * losses.distance(head(seen[0]), labels[0], near, beta)
            for name, head, labels, near, beta in (
                ("clearance", readouts.clearance, batch.clearance, losses.NEAR, 0.05),
                ("people", readouts.people, batch.people, 1.5, 0.15),
            )
        }
        return Step(
            losses={
                "latent": losses.latent(states[:, batch.offsets], encoded[1:], weight),
                "regularizer": regularize(regularizer, flat, covariance, random),
                "relative": relative,
                "motion": losses.motion(motions, found, losses.STEP_UNIT, weight),
                "path": losses.motion(path, ended, losses.PATH_UNIT, weight),
                "velocity": losses.velocity(velocities, batch.velocities[1:], weight),
                **both,
                "whereabouts": losses.whereabouts(self.whereabouts_head(read), batch.people_sectors, batch.people, weight),
                "ranges": losses.ranges(*self.encoder.ranges(seen.flatten(0, 1)), batch.log_ranges),
            },
            representations=flat.detach(),
            relative_uninformed=uninformed,
        )

    def _relative(self, encoded: Tensor, batch: Batch, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """(loss of the pose between two encoded moments of each window, the loss of always guessing the batch's mean)."""
        moments, count = len(encoded), batch.windows
        draws = torch.stack([torch.randint(least, moments, (count,), generator=random) for least in (0, 1)])
        first, further = devices.move(draws, encoded.device)
        second = (first + further) % moments
        steps = torch.cat([batch.offsets.new_zeros(1), batch.offsets])
        window = torch.arange(count, device=encoded.device)
        target = losses.relative_targets(batch.poses[steps[first], window], batch.poses[steps[second], window])
        guess = self.relative_head(torch.cat([encoded[first, window], encoded[second, window]], -1))
        uninformed = ((target - target.mean(0)) ** 2).sum(-1).mean()
        return ((guess - target) ** 2).sum(-1).mean(), uninformed
