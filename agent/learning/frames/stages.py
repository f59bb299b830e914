"""The stages of a training on images: what each of them learns, from what, with which losses.

    represent   encoder and predictor together, from images; with a map: the agent's token, with a predictor that knows no map
    scene       the map and the predictor that reads it, on frozen tokens of the agent, from windows that surprise; the
                reachability learns along, so that the map says what routes need
    reach       the reachability alone, all else frozen

With random layouts nothing else was seen to work: one loss for everything learns the layout and forgets the agent, or learns
the agent and drives through walls.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from objective_agent.learning.frames import auxiliary
from objective_agent.learning.frames.batches import Frames, Windows
from objective_agent.learning.frames.latents import Latents, choose, latents_of, scenes
from objective_agent.learning.frames.model import FrameModel
from objective_agent.learning.frames.reachability import Pairs, statistics
from objective_agent.learning.frames.settings import FrameTrainingConfig
from objective_agent.types import InputError


class Stage:
    """`losses(random, torch_random)`: weighted losses by name, whose sum is the loss.  `windows`: how many a step takes."""

    name = ""

    def __init__(self, config: FrameTrainingConfig, model: FrameModel, frames: Frames, train: Windows, seed: int):
        self.config, self.model, self.frames, self.train, self.seed = config, model, frames, train, seed
        self.data, self.device = frames.data, frames.device
        self.history = config.predictor.history

    @property
    def learning_rate(self) -> float:
        return self.config.learning_rate

    @property
    def clip(self) -> float:
        return self.config.clip

    @property
    def windows(self) -> int:
        return self.config.batch

    def begin(self, fresh: bool) -> None:
        """Before the first step; `fresh`: the stage begins, rather than goes on after --resume."""
        self.model.learn(self.name)

    def losses(self, random: np.random.Generator, torch_random: torch.Generator) -> dict[str, Tensor]:
        raise NotImplementedError

    def after(self, share: float) -> None:
        """After the optimizer's step; `share` of the stage is done."""


class Represent(Stage):
    name = "represent"

    def losses(self, random, torch_random):
        config, model, weights = self.config, self.model, self.config.losses
        clips = self.train.draw(random, config.batch, more=config.more_frames).to(self.device)
        rows = np.concatenate([clips.rows, clips.more], 1)
        if self.frames.kept_tokens is not None:
            encoded = targets = self.frames.kept_tokens.take(rows)
        else:
            frames = self.frames(rows)
            encoded = model.agent_clips(model.regularizer.view(frames, torch_random))
            targets = model.regularizer.targets(frames, encoded)
        last = self.history + config.horizon
        future = targets[:, self.history : last]
        predicted, divergence = model.agent_predictor.follow(
            encoded[:, : self.history], clips.past, clips.actions[:, None], future[:, None]
        )
        moving = encoded[:, self.history - model.frames : last]
        error, uninformed = model.inverse.loss(model.stacked(moving), clips.actions)
        self.guessed = error.detach() / uninformed.clamp(min=1e-9)
        penalty = model.regularizer.penalty(encoded, targets, torch.from_numpy(clips.layouts), torch_random)
        found = {
            "latent": weights.latent * auxiliary.rollout(predicted, future[:, None, None]),
            "regularizer": penalty,
            "inverse": weights.inverse * error,
        }
        if weights.similarity:
            found["similarity"] = weights.similarity * auxiliary.time_similarity(encoded[:, self.history - 1 : last])
        if model.agent_predictor.shape.latent:
            found["divergence"] = weights.divergence * divergence
        return found

    def after(self, share):
        self.model.follow_up(share)


class Frozen(Stage):
    """A stage on the representations of a frozen agent encoder, made once for the whole data set."""

    latents: Latents

    @property
    def clip(self) -> float:
        return self.config.reachability.clip

    def begin(self, fresh, latents: Latents | None = None):
        model, rows = self.model, choose(self.data, "train", self.data.rows, self.seed)
        self.index = np.full(self.data.rows, -1)
        self.index[rows] = np.arange(len(rows))
        if latents is None:
            latents = latents_of(model.encoder, self.frames, most_rows=self.data.rows, seed=self.seed)
        elif latents.maps is not None:
            with torch.inference_mode():
                maps = scenes(model.encoder, self.frames, rows, latents.layout, len(latents.maps), self.seed)
            latents = replace(latents, maps=maps.clone())
        self.latents = latents
        if latents.where is not None:
            model.hold_where()
        super().begin(fresh)

    def tokens(self, rows: np.ndarray) -> Tensor:
        """[..., dynamic, D] of training rows."""
        return self.latents.take(self.index[rows])

    def prepare_reachability(self) -> None:
        """Means, scales and the read-out of the agent's place, before it learns anything."""
        network = self.model.reachability
        if network is None:
            return
        with torch.no_grad():
            for name, value in statistics(self.latents).items():
                if name in network.shape.shapes():
                    getattr(network, name.replace(".", "_")).copy_(value)

    def value_losses(self, moments: Tensor, successors: Tensor, goals: Tensor, places: Tensor | None) -> dict[str, Tensor]:
        """The quasimetric's losses; the last one makes its multiplier climb where all else descends."""
        network, config = self.model.reachability, self.config.reachability
        found = network.losses(moments, successors, goals, places, config)
        return {**found, "multiplier": network.ascent_loss(config)}


class Scene(Frozen):
    name = "scene"

    @property
    def windows(self) -> int:
        return self.config.scene.layouts * self.config.scene.sequences

    def begin(self, fresh, latents=None):
        if fresh:
            self.model.encoder.begin_scene()
        super().begin(fresh, latents)
        self.variance = float(self.latents.tokens.float().var())
        self.train.prefer(self.surprise())
        if fresh:
            self.prepare_reachability()
            for member in self.model.predictor.members:
                if hasattr(member, "set_where") and self.latents.where is not None:
                    member.set_where(*self.latents.where)

    @torch.inference_mode()
    def surprise(self) -> np.ndarray:
        """[rows] squared error of the mapless model's next token; 0 where there is no next row or it is not for training."""
        starts, found = self.data.starts(1, "train"), np.zeros(self.data.rows)
        for first in range(0, len(starts), 4096):
            rows = starts[first : first + 4096]
            history = self.tokens(self.data.history(rows, self.history))
            past = torch.from_numpy(self.data.past_actions(rows, self.history)).to(self.device)
            action = torch.from_numpy(self.data.take("action", rows)).to(self.device)[:, None, None]
            guess = self.model.scout.rollout(history, past, action)[:, 0, 0, 0]
            found[rows] = ((guess - self.tokens(rows + 1)) ** 2).mean((1, 2)).cpu().numpy()
        return found

    def losses(self, random, torch_random):
        config, model, scene = self.config, self.model, self.config.scene
        clips = self.train.draw(random, scene.layouts, scene.sequences, scene.goals + 1, scene.surprising).to(self.device)
        more = clips.more[:: scene.sequences]
        places = model.encoder.scene(self.frames(more[:, -1]))
        seen = self.tokens(clips.rows)
        before = seen[:, : self.history]
        scenery = places.repeat_interleave(scene.sequences, 0)[:, None].expand(-1, self.history, -1, -1)
        future = seen[:, self.history :][:, None]
        history = torch.cat([before, scenery], 2)
        predicted, divergence = model.predictor.follow(history, clips.past, clips.actions[:, None], future)
        found = {"latent": auxiliary.rollout(predicted, future[:, None]) / self.variance}
        if model.predictor.shape.latent:
            found["divergence"] = config.losses.divergence * divergence
        if model.reachability is not None and scene.value:
            along = seen[:, self.history - 1 :][:, :3].unflatten(0, (-1, scene.sequences))  # [L, S, 3, 1, D]
            goals = self.tokens(more[:, :-1])
            moments, successors = along[:, :, :-1].flatten(1, 2), along[:, :, 1:].flatten(1, 2)
            value = self.value_losses(moments, successors, goals, places)
            found |= {name: (1 if name == "multiplier" else scene.value) * loss for name, loss in value.items()}
        return found


class Reach(Frozen):
    name = "reach"

    @property
    def learning_rate(self) -> float:
        return self.config.reachability.learning_rate

    @property
    def windows(self) -> int:
        return self.config.reachability.layouts * self.config.reachability.moments

    def begin(self, fresh, latents=None):
        super().begin(fresh, latents)
        if fresh and not (self.model.has_map and self.config.scene.value):
            self.prepare_reachability()
        self.pairs = Pairs(self.latents, self.config.reachability)

    def losses(self, random, torch_random):
        return self.value_losses(*self.pairs.draw(random))


def stages_of(config: FrameTrainingConfig, has_map: bool) -> list[tuple[type[Stage], float]]:
    """The stages of a training in their order, each with its share of the length (they add up to 1)."""
    shares = [(Represent, config.shares.represent), (Scene, config.shares.scene if has_map else 0.0)]
    shares.append((Reach, config.shares.reach))
    total = sum(share for _, share in shares)
    if has_map and not config.shares.scene:
        raise InputError("shares.scene must be above 0 for an encoder with a map: nothing else learns the map")
    return [(stage, share / total) for stage, share in shares if share]
