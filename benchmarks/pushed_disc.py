"""A toy world with known state for trainings of seconds: an action pushes a disc about in a box, 32 x 32 pixels from above.

With `layouts` each layout has a background of its own, random coloured squares: easy to tell apart, and of no use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from objective_agent.learning.frames import auxiliary
from objective_agent.learning.frames.collapse import Health
from objective_agent.learning.frames.regularizers import encode_clips, make_regularizer
from objective_agent.perception.frame_network import FrameEncoderShape, build_encoder
from objective_agent.plugins import resolve
from objective_agent.world_model.frame_network import FramePredictorShape, build_predictor

SIZE, STEP, HORIZON = 32, 0.1, 8
WALL, FLOOR, DISC = (70.0, 90.0, 160.0), (235.0, 232.0, 225.0), (220.0, 40.0, 40.0)


@dataclass(frozen=True)
class Episodes:
    images: Tensor  # [n, F, 32, 32, 3] uint8
    actions: Tensor  # [n, F - 1, 2]
    places: Tensor  # [n, F, 2]
    layouts: Tensor  # [n]


def collect(count: int, steps: int, seed: int, layouts: int = 0) -> Episodes:
    """Episodes of a disc that wanders; `layouts` backgrounds, drawn from `seed` (0: one plain floor)."""
    random = np.random.default_rng(seed)
    place, heading = random.uniform(0.1, 0.9, (count, 2)), random.uniform(-np.pi, np.pi, count)
    places, actions = [place], []
    for _ in range(steps):
        heading = heading + random.normal(0, 0.6, count)
        speed = random.uniform(0.3, 1.2, (count, 1))
        action = np.clip(np.stack([np.cos(heading), np.sin(heading)], 1) * speed, -1, 1)
        wanted = place + STEP * action
        place = wanted.clip(0.08, 0.92)
        heading = np.where((place != wanted).any(1), random.uniform(-np.pi, np.pi, count), heading)
        places.append(place)
        actions.append(action)
    layout = np.arange(count) % max(1, layouts)
    places = np.stack(places, 1)
    backgrounds = np.stack([background(random if layouts else None) for _ in range(max(1, layouts))])
    images = draw(places, backgrounds[layout][:, None])
    return Episodes(
        torch.from_numpy(images),
        torch.from_numpy(np.stack(actions, 1).astype(np.float32)),
        torch.from_numpy(places.astype(np.float32)),
        torch.from_numpy(layout),
    )


def background(random: np.random.Generator | None) -> np.ndarray:
    image = np.full((SIZE, SIZE, 3), FLOOR)
    if random is not None:
        image = np.kron(random.uniform(0, 255, (4, 4, 3)), np.ones((8, 8, 1)))
    image[[0, 1, -2, -1]] = image[:, [0, 1, -2, -1]] = WALL
    return image


def draw(places: np.ndarray, backgrounds: np.ndarray) -> np.ndarray:
    centres = (np.arange(SIZE) + 0.5) / SIZE
    apart = np.hypot(centres[:, None] - places[..., 1, None, None], centres - places[..., 0, None, None])
    share = np.clip((0.08 - apart) * SIZE + 0.5, 0, 1)[..., None]
    return (backgrounds * (1 - share) + share * np.array(DISC)).astype(np.uint8)


class Trained:
    """A small world model trained for `steps` with a regularizer, and its health."""

    def __init__(
        self,
        data: Episodes,
        name: str,
        steps: int,
        inverse: float = 1.0,
        similarity: float = 0.0,
        rollout: int = HORIZON,
        batch_norm: bool | None = None,
        features: int = 32,
        batch: int = 32,
        **settings,
    ):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        batch_norm = resolve("regularizer", name).batch_norm if batch_norm is None else batch_norm
        shape = FrameEncoderShape(kind="cnn", size=SIZE, features=features, width=16, hidden=128, batch_norm=batch_norm)
        self.encoder = build_encoder(shape)
        self.predictor = build_predictor(FramePredictorShape(kind="mlp", features=features, hidden=128))
        self.inverse = auxiliary.InverseDynamics(1, features, 2)
        self.regularizer = make_regularizer(name, self.encoder, **settings)
        parts = (self.encoder, self.predictor, self.inverse, self.regularizer)
        parameters = [each for part in parts for each in part.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(parameters, 2e-3, weight_decay=1e-4, fused=True)
        random = torch.Generator().manual_seed(0)
        for step in range(steps):
            episode = torch.randint(len(data.images), (batch,), generator=random)
            begin = torch.randint(data.actions.shape[1] - HORIZON + 1, (batch, 1), generator=random)
            frames, episodes = begin + torch.arange(HORIZON + 1), episode[:, None]
            images, actions = data.images[episodes, frames], data.actions[episodes, frames[:, :-1]]
            encoded = encode_clips(self.encoder, self.regularizer.view(images, random))
            targets = self.regularizer.targets(images, encoded)
            error, _ = self.inverse.loss(encoded if inverse else encoded.detach(), actions)
            loss = (
                auxiliary.rollout(self.imagine(encoded[:, :1], actions[:, :rollout]), targets[:, 1 : 1 + rollout])
                + self.regularizer.penalty(encoded, targets, data.layouts[episode], random)
                + (inverse or 1.0) * error
                + similarity * auxiliary.time_similarity(encoded)
            )
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1, (step + 1) / 30) * (1.02 - step / steps)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            self.regularizer.update(self.encoder, step / steps)
        self.encoder.eval()

    def imagine(self, now: Tensor, actions: Tensor) -> Tensor:
        """Representations [B, H, 1, D] that follow `now` [B, 1, 1, D]."""
        past = actions.new_zeros(len(now), 0, actions.shape[-1])
        return self.predictor.rollout(now, past, actions[:, None])[:, 0, 0]

    @torch.no_grad()
    def health(self, data: Episodes) -> Health:
        encoded = encode_clips(self.encoder, data.images)
        return Health.of(encoded, *self.inverse.loss(encoded, data.actions))

    @torch.no_grad()
    def worth(self, data: Episodes, unseen: Episodes) -> dict[str, float]:
        """`r2` of a linear probe of the place, and the decoded `error` after 1 and 8 imagined steps, on unseen episodes."""
        known = encode_clips(self.encoder, data.images[:150]).flatten(0, 2).double()
        middle, spread = known.mean(0), known.std(0) + 1e-8

        def inputs(values: Tensor) -> Tensor:
            return torch.nn.functional.pad((values.double() - middle) / spread, (0, 1), value=1.0)

        matrix, wanted = inputs(known), data.places[:150].flatten(0, 1).double()
        weights = torch.linalg.solve(matrix.T @ matrix + 1e-4 * len(matrix) * torch.eye(matrix.shape[1]), matrix.T @ wanted)
        encoded, places = encode_clips(self.encoder, unseen.images), unseen.places.double()
        off = inputs(encoded)[:, :, 0] @ weights - places
        imagined = inputs(self.imagine(encoded[:, :1], unseen.actions[:, :HORIZON]))[:, :, 0] @ weights
        errors = (imagined - places[:, 1 : HORIZON + 1]).norm(dim=-1).mean(0)
        still = (places[:, HORIZON] - places[:, 0]).norm(dim=-1).mean()
        return {
            "r2": float(1 - (off**2).sum() / ((places - places.mean((0, 1))) ** 2).sum()),
            "one": float(errors[0]),
            "all": float(errors[-1]),
            "still": float(still),
        }
