"""What a trained model's predictions and encodings are worth to its memory, as `memory.safetensors` in the model's folder.

Made by `learning/estimation.py` on worlds held out from training; the card names its sha256 and tells the figures in `memory:`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from objective_agent import weights
from objective_agent.config import Positive, Strict, validate
from objective_agent.memory.fusion import Measure
from objective_agent.types import ConfigurationError

PART = "memory"
"""Name of the file, and of the section in the card."""


class CalibrationSettings(Strict):
    """What stands beside the arrays in the file."""

    senses: tuple[str, ...]
    """All senses that the model was trained with."""
    alarm: dict[str, Positive] = Field(default_factory=dict)
    """View -> level of the surprise s above which memory doubts itself.  A view is the senses that are there, joined by `+`."""


@dataclass(frozen=True)
class Calibration:
    """`process` [D, D]: noise of one predicted step; `views`: senses -> what an encoding made from them is worth."""

    process: np.ndarray
    views: dict[frozenset[str], Measure]

    def measure(self, senses: Iterable[str]) -> Measure | None:
        """None where nobody has measured what these senses are worth."""
        return self.views.get(frozenset(senses))

    @classmethod
    def of(cls, folder: Path, card: dict, features: int) -> Calibration | None:
        """The calibration of the model in `folder`, None when its card names none.  ConfigurationError when it is damaged."""
        if PART not in card["sha256"]:
            return None
        arrays, settings, _ = weights.read_weights(folder, PART, card)
        return cls.made_of(arrays, settings, features, f"{folder}: {PART}")

    @classmethod
    def made_of(cls, arrays: dict[str, np.ndarray], settings: dict, features: int, where: str = PART) -> Calibration:
        about = validate(CalibrationSettings, settings, where)

        def take(name: str, *shape: int) -> np.ndarray:
            array = arrays.get(name)
            if array is None or array.shape != shape or not np.isfinite(array).all():
                raise ConfigurationError(f"{where}: {name} is missing or damaged; {weights.REMEDY}")
            return array.astype(np.float64)

        views = {frozenset(about.senses): Measure(np.zeros(features), None)}
        for view, alarm in about.alarm.items():
            noise = take(f"{view}.noise", features, features)
            views[frozenset(view.split("+"))] = Measure(take(f"{view}.offset", features), noise, alarm)
        return cls(take("process", features, features), views)
