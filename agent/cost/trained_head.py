"""A reachability head on disk: the file `reachability.safetensors` beside the model whose representations it was trained on.

It is good for no other: the card names the encoder.  No torch here: its weights become the kind of array that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from objective_agent import weights
from objective_agent.config import Strict, validate
from objective_agent.types import Array, ConfigurationError, array_namespace

PART = "reachability"
REMEDY = "train one: objective-agent train --head reachability --model {folder} --data DIR"
Shape = TypeVar("Shape", bound=Strict)
Metric = TypeVar("Metric")


class TrainedHead(Generic[Shape, Metric]):
    """The head of the model in `folder`: `shape`, the card's section `about`, and the `metric` of its weights.

    `model`, `encoder`: sha256 of the head, and of the encoder whose representations it understands.  ConfigurationError when
    there is none, it is damaged, or it was trained for another encoder; or when the model is of another `kind`.
    """

    def __init__(
        self, folder: Path, shape: type[Shape], metric: Callable[[Shape, Mapping[str, Array]], Metric], kind: str | None = None
    ):
        card, remedy = weights.read_card(folder, kind), REMEDY.format(folder=folder)
        self.about: dict[str, Any] = card.get(PART)
        if PART not in card["sha256"] or not isinstance(self.about, dict):
            raise ConfigurationError(f"{folder}: the model has no {PART} head; {remedy}")
        self.encoder = str(card["sha256"].get("encoder"))
        wanted = str(self.about.get("encoder"))
        if wanted != self.encoder:
            raise ConfigurationError(
                f"{folder}: its {PART} head was trained for encoder {wanted[:12]}, the model has {self.encoder[:12]}; {remedy}"
            )
        arrays, settings, self.model = weights.read_weights(folder, PART, card)
        self.shape = validate(shape, settings, f"{folder}: {PART}")
        self._arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self._make, self._made = metric, {}
        self.metric(np.zeros(1, np.float32))  # checks the shapes

    def metric(self, like: Array) -> Metric:
        """The weights as the kind of array that `like` is, where it is."""
        xp = array_namespace(like)
        key = None if xp is np else like.device
        if key not in self._made:
            if xp is np:
                self._made[key] = self._make(self.shape, self._arrays)
            else:
                with xp.inference_mode(
                    False
                ):  # kept for all searches: one that samples may ask first, one with gradients later
                    arrays = {name: xp.as_tensor(array, device=like.device) for name, array in self._arrays.items()}
                    self._made[key] = self._make(self.shape, arrays)
        return self._made[key]
