"""Imagining recorded moments again: the world model is rolled out from what was observed, along the commands that were sent.

    z[0] = encoder(observation)       z[k+1] = predictor(z[k], u[k])        K futures, H steps; then all read-outs of every z[k]

The same networks, in the same way, as calibration and metrics use them (`learning.metrics`).  Beside it stands what came, with
the encoder's representation of it: the difference between the two is what the robot calls surprise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from objective_agent import weights
from objective_agent.config import RobotParameters
from objective_agent.learning.batches import Batch, generator, make_batch
from objective_agent.learning.decoder import DecoderNetwork
from objective_agent.learning.imagined import Came, Futures, Moment
from objective_agent.learning.losses import relative_pose
from objective_agent.learning.metrics import VIEWS
from objective_agent.learning.windows import Sequences
from objective_agent.perception.jepa import JepaEncoder
from objective_agent.types import InputError
from objective_agent.world_model.jepa import MOST_STEPS, Jepa
from objective_agent.world_model.readouts import compose, nominal_rollout

CHUNK = 32
MOVED = (0.25, 0.6)
"""A moment shows something when the robot moves this far (m) or turns this much (rad) in it."""


class Imagination:
    """A trained model's encoder and predictor, and perhaps a decoder: `moments` and `what_if` imagine with them."""

    def __init__(self, name: str):
        self.folder = weights.find_model(name)
        self.card = weights.read_card(self.folder)
        encoder = JepaEncoder(JepaEncoder.Config(model=str(self.folder)), RobotParameters())
        world_model = Jepa(Jepa.Config(model=str(self.folder)), RobotParameters())
        self.encoder, self.predictor, self.sha256 = encoder.network, world_model.network, encoder.model
        self.nominal = world_model.shape.nominal
        self.decoder: DecoderNetwork | None = None
        for network in (self.encoder, self.predictor):
            network.requires_grad_(False)

    def margins(self, horizon: int) -> dict[str, np.ndarray]:
        """name -> [H + 1] calibrated margins; the last one serves all later steps; NaN at step 0, which is no prediction."""
        margins = self.card["calibration"]["margins"]
        found = {}
        for name in ("clearance", "people"):
            values = np.asarray(margins[name], float)
            found[name] = np.concatenate([[np.nan], values[np.minimum(np.arange(horizon), len(values) - 1)]])
        return found

    def trained_on(self, data: Sequences) -> bool:
        """Whether these are the data of the model's card."""
        return (self.card.get("data") or {}).get("sha256") == data.digest()

    def homes(self, data: Sequences, worlds: np.ndarray) -> list[str]:
        """Whether the model was trained in the worlds with these numbers; "" each when these are not its own data."""
        if not self.trained_on(data):
            return [""] * len(worlds)
        training = np.isin(worlds, data.worlds("train"))
        return ["a training home" if known else "never seen in training" for known in training]

    def moments(self, data: Sequences, rows: np.ndarray, horizon: int, senses: str = "all") -> Iterator[Moment]:
        """The moments that begin at `rows`; observed with `senses` ("all", "lidar" or "camera")."""
        if abs(self.nominal.dt - data.dt) > 1e-6:
            raise InputError(
                f"{data.path}: has steps of {data.dt:g} s, the model's are {self.nominal.dt:g} s; make it with those"
            )
        homes = self.homes(data, data.world[rows])
        conditions = data.conditions(rows)
        for begin in range(0, len(rows), CHUNK):
            some = rows[begin : begin + CHUNK]
            batch, encoded = self._encode(data, some, horizon, senses)
            futures = self.futures(encoded[0], batch.velocities[0], batch.before, batch.actions)
            for index, row in enumerate(some):
                number = int(data.world[row])
                yield Moment(
                    episode=int(data.columns["episode"][row]),
                    seconds=round(float(data.columns["step"][row]) * data.dt, 4),
                    world=str(data.dataset.worlds[number]),
                    condition=str(conditions[begin + index]),
                    home=homes[begin + index],
                    dt=data.dt,
                    came=_came(data, row, batch, index),
                    futures=futures[index],
                    representations=encoded[:, index].numpy(),
                    margins=self.margins(horizon),
                )

    def what_if(self, data: Sequences, row: int, moment: Moment, actions: dict[str, np.ndarray], senses: str = "all") -> Moment:
        """`moment`, which begins at `row`, with other `actions` (name -> [H, 2] m/s, rad/s) imagined from its observation."""
        batch, encoded = self._encode(data, np.array([row]), moment.steps, senses)
        count = len(actions)
        commands = torch.from_numpy(np.stack(list(actions.values())).astype(np.float32))
        start = [value.expand(count, -1) for value in (encoded[0], batch.velocities[0], batch.before)]
        return replace(moment, what_if=dict(zip(actions, self.futures(*start, commands), strict=True)))

    @torch.no_grad()
    def _encode(self, data: Sequences, rows: np.ndarray, horizon: int, senses: str) -> tuple[Batch, Tensor]:
        """(the windows that begin at `rows`, representations [H + 1, n, D])."""
        batch = make_batch(data, rows, horizon, np.arange(1, horizon + 1), VIEWS[senses], generator(0, "imagine"))
        return batch, self.encoder(batch.frames).view(horizon + 1, len(rows), -1)

    @torch.no_grad()
    def futures(self, start: Tensor, velocity: Tensor, before: Tensor, actions: Tensor) -> list[Futures]:
        """What comes of `actions` [n, H, 2] from representations `start` [n, D], with `velocity` and `before` [n, 2]."""
        predictor, readouts = self.predictor, self.predictor.readouts
        heads, (count, horizon, _) = predictor.shape.heads, actions.shape
        states = predictor.imagine(start, actions, heads)
        motions, _ = predictor.motions(states, velocity, before, actions)
        analytic, _ = nominal_rollout(velocity, torch.cat([before[None], actions.transpose(0, 1)]), self.nominal)
        images = [None] * count
        if self.decoder is not None:
            pictures = self.decoder.pictures(states.mean(0).flatten(0, 1))
            images = pictures.reshape(horizon + 1, count, *pictures.shape[1:]).swapaxes(0, 1)
        parts = {
            "poses": _path(motions),
            **dict(zip(("clearance", "clearance_low"), readouts.clearance(states), strict=True)),
            **dict(zip(("people", "people_low"), readouts.people(states), strict=True)),
            **dict(zip(("log_ranges", "log_scales"), self.encoder.ranges(states), strict=True)),
            "analytic": _path(analytic[None]),
            "states": states,
        }
        arrays = {name: value.movedim(2, 0).numpy() for name, value in parts.items()}  # [n, K, H + 1, ...]
        arrays["analytic"] = arrays["analytic"][:, 0]
        return [
            Futures(actions[i].numpy(), images=images[i], **{name: value[i] for name, value in arrays.items()})
            for i in range(count)
        ]


def _path(motions: Tensor) -> Tensor:
    """Poses [K, H + 1, n, 3], the start first, of relative poses [K, H, n, 3] one after the other."""
    start = motions.new_zeros(motions.shape[0], motions.shape[2], 3)
    return torch.cat([start[:, None], compose(start, motions.transpose(1, 2)).transpose(1, 2)], 1)


def _came(data: Sequences, row: int, batch: Batch, index: int) -> Came:
    horizon = len(batch.poses) - 1

    def frames(values: Tensor) -> np.ndarray:
        return values.view(horizon + 1, batch.windows, *values.shape[1:])[:, index].numpy()

    rows = row + np.arange(horizon + 1)
    return Came(
        poses=relative_pose(batch.poses[:1], batch.poses)[:, index].numpy(),
        clearance=batch.clearance[:, index].numpy(),
        people=batch.people[:, index].numpy(),
        ranges=frames(batch.ranges),
        images=frames(batch.frames["image"]),
        has_image=data.take("has_image", rows),
        places=data.people(rows[:, None])[1][:, 0],
    )


def choose(
    data: Sequences, horizon: int, count: int, episode: int | None = None, at: list[float] | None = None, held_out: bool = False
) -> np.ndarray:
    """Rows of moments with `horizon` further steps: those `at` seconds of an episode, or `count` spread over all there are.

    Moments in which the robot moves come first, `held_out` takes them from worlds outside the training ones when there are any.
    InputError with one line for an episode, a time or a length that the data don't have.
    """
    if not 1 <= horizon <= MOST_STEPS:
        raise InputError(f"--steps {horizon}: must be 1 to {MOST_STEPS}")
    starts = data.dataset.sequences(horizon + 1)
    if not len(starts):
        longest = (int(np.asarray(data.columns["step"]).max()) + 1) * data.dt
        raise InputError(
            f"{data.path}: no episode is longer than {longest:.1f} s; imagining {horizon} steps needs "
            f"{(horizon + 1) * data.dt:.1f} s; give fewer --steps"
        )
    if episode is not None:
        starts = _of_episode(data, starts, episode, horizon)
        if at is not None:
            return np.array([_at(data, starts, episode, seconds) for seconds in at])
    elif held_out:
        held = starts[~np.isin(data.world[starts], data.worlds("train"))]
        starts = held if len(held) else starts
    pose = data.columns["pose"]
    way = np.asarray(pose[starts + horizon]) - np.asarray(pose[starts])
    moves = (np.hypot(way[:, 0], way[:, 1]) > MOVED[0]) | (np.abs(way[:, 2]) > MOVED[1])
    starts = starts[moves] if moves.any() else starts
    starts = starts[np.argsort(data.conditions(starts), kind="stable")]  # all conditions get their share
    places = np.linspace(0, len(starts), count, endpoint=False) + len(starts) / (2 * count)
    return np.unique(starts[places.astype(int)])


def _of_episode(data: Sequences, starts: np.ndarray, episode: int, horizon: int) -> np.ndarray:
    numbers = np.asarray(data.columns["episode"])
    if not 0 <= episode <= numbers.max():
        raise InputError(f"--episode {episode}: {data.path} holds episodes 0 to {numbers.max()}")
    mine = starts[numbers[starts] == episode]
    if not len(mine):
        raise InputError(f"--episode {episode}: is shorter than {(horizon + 1) * data.dt:.1f} s; give fewer --steps")
    return mine


def _at(data: Sequences, starts: np.ndarray, episode: int, seconds: float) -> int:
    times = np.asarray(data.columns["step"])[starts] * data.dt
    nearest = int(np.abs(times - seconds).argmin())
    if abs(times[nearest] - seconds) > data.dt:
        raise InputError(
            f"--at {seconds:g}: episode {episode} has moments from {times.min():.1f} to {times.max():.1f} s that leave room "
            "for the steps; give one of these, or fewer --steps"
        )
    return int(starts[nearest])


__all__ = ["Imagination", "choose"]
