"""The loop of every training: a schedule, checkpoints, curves, and looks at held-out data that can stop it.

The schedule runs over steps or over time (time already spent counts after --resume).  With a number of steps and one thread
the result depends on data, configuration and seed alone, interrupted or not.  A crash costs at most the time between two
checkpoints.

`TrainingLoop` knows nothing of networks, losses or data: the trainers of robots' recordings (`learning/trainer.py`) and of
images (`learning/frames/trainer.py`) bring these.
"""

from __future__ import annotations

import json
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from objective_agent import devices
from objective_agent.config import NonNegative, Positive, Strict
from objective_agent.learning import checkpoint
from objective_agent.types import InputError, ObjectiveAgentError
from objective_agent.weights import CARD

logger = logging.getLogger(__name__)
LONGEST_STEP = 30.0
"""A step that took longer (the process was paused) counts as this, s."""

UNHEARD = 20
"""On a GPU losses are read back after so many steps at most: a step that waits for its loss leaves the GPU idle."""


class CollapseError(ObjectiveAgentError):
    """The representations say nothing any more: training on would waste time."""


class ScheduleConfig(Strict):
    """The settings that every training has."""

    batch: int = Field(128, ge=8, le=4096, description="windows per step")
    learning_rate: Positive = Field(1e-3, description="AdamW's, the cosine's beginning")
    weight_decay: NonNegative = 0.01
    warmup: int = Field(100, ge=0, description="steps of linear warm-up")
    clip: Positive = Field(1.0, description="largest norm of the gradient")
    steps: int | None = Field(None, ge=1, description="length of the training, steps; this or minutes")
    minutes: Positive | None = Field(None, description="length of the training, minutes")
    checkpoint_seconds: Positive = Field(60.0, description="time between checkpoints")
    report_steps: int = Field(25, ge=1, description="steps between looks at the held-out windows")
    collapse_after: int = Field(400, ge=1, description="steps after which a collapsed model is an error")


FREE = frozenset({"minutes", "checkpoint_seconds", "report_steps", "collapse_after"})
"""Settings that may change between a run and its --resume."""


@dataclass
class Report:
    """How training stands: `losses` (smoothed), `held_out` figures of the last look, `share` of the whole, rates and times."""

    step: int
    share: float
    seconds: float
    seconds_left: float
    windows_per_second: float
    losses: dict[str, float]
    held_out: dict[str, float] = field(default_factory=dict)
    stage: str = "losses"
    """What is being learned, where a training has several stages."""


class TrainingLoop(ABC):
    """A subclass sets `model` and `optimizer` after this constructor and says what a step, a look and the end are."""

    model: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, config: ScheduleConfig, out: Path, seed: int = 0, threads: int = 1, device: str = "cpu"):
        if (config.steps is None) == (config.minutes is None):
            raise InputError("training needs a length: give either --minutes M, or steps in the configuration")
        self.device = devices.find(device)
        self.config, self.out, self.seed, self.threads = config, Path(out), seed, threads
        self.step, self.seconds = 0, 0.0
        self._smooth: dict[str, float] = {}
        self._held_out: dict[str, float] = {}
        self._unheard: list[dict[str, Tensor]] = []
        torch.set_num_threads(threads)
        torch.manual_seed(seed)

    @abstractmethod
    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Measures the trained model, writes it and its card, last; returns the card."""

    @abstractmethod
    def _train_step(self) -> dict[str, Tensor]:
        """One step of the optimizer; increments `step`; returns its losses by name, `total` and scalars without gradients."""

    @abstractmethod
    def _look(self) -> None:
        """Writes figures of held-out data to `_held_out`; CollapseError once collapse is certain."""

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """JSON values that must be the same for a run to go on: settings, seed, data."""

    @property
    def checkpoint_path(self) -> Path:
        return self.out / checkpoint.NAME

    def resume(self) -> None:
        """Goes on from the checkpoint in `out`.  InputError when it is missing, damaged, or of other data, seed or settings."""
        progress = checkpoint.load_checkpoint(self.checkpoint_path, self.model, self.optimizer)
        if progress.get("identity") != self._identity():
            raise InputError(
                f"{self.checkpoint_path}: was made with other data, seed or configuration; restore them, or start anew"
            )
        self.step, self.seconds, self._smooth = progress["step"], progress["seconds"], progress["smooth"]
        self._restore(progress)
        logger.info("going on from step %d", self.step)

    def run(self, about: dict[str, Any], report: Callable[[Report], None] = lambda _: None) -> dict[str, Any]:
        """Trains to the end, measures, writes the model; returns its card.  CollapseError when it collapsed."""
        if (self.out / CARD).exists():
            raise InputError(f"{self.out}: is a finished model already; give another --out, or remove it")
        saved = time.monotonic()
        try:
            while self._share() < 1:
                self.advance()
                if self.step % self.config.report_steps == 0 or self.step == 1:
                    self._hear()
                    self._look()
                    self._log()
                report(self._report())
                if time.monotonic() - saved > self.config.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self.save()
            raise
        self.save()
        card = self.finish(about)
        self.checkpoint_path.unlink(missing_ok=True)
        return card

    def advance(self) -> None:
        """One step of the training.  CollapseError when the loss is not finite."""
        began = time.perf_counter()
        self._unheard.append(self._train_step())
        if self.device.type == "cpu" or len(self._unheard) >= UNHEARD:
            self._hear()
        self.seconds += min(time.perf_counter() - began, LONGEST_STEP)

    def _hear(self) -> None:
        """Reads the losses of the last steps back, all at once, and smooths them.  CollapseError where one is not finite."""
        unheard, self._unheard = self._unheard, []
        if not unheard:
            return
        read = torch.stack([torch.stack([value.detach() for value in losses.values()]) for losses in unheard]).tolist()
        for step, values in enumerate(read, self.step - len(read)):
            losses = dict(zip(unheard[0], values, strict=True))
            if not math.isfinite(losses["total"]):
                raise CollapseError(
                    f"step {step}: the loss is not finite; lower learning_rate, or look for wild values in the data"
                )
            for name, value in losses.items():
                self._smooth[name] = value + 0.95 * (self._smooth.get(name, value) - value)

    def save(self) -> None:
        """Writes a checkpoint.  CollapseError, and the one before stays, where a loss was not finite."""
        self._hear()
        progress = {"step": self.step, "seconds": self.seconds, "smooth": self._smooth, "identity": self._identity()}
        checkpoint.save_checkpoint(self.checkpoint_path, self.model, self.optimizer, progress | self._remember())

    def _remember(self) -> dict[str, Any]:
        """Further JSON values for the checkpoint; `_restore` gets them back."""
        return {}

    def _restore(self, progress: dict[str, Any]) -> None:  # noqa: B027 (there may be nothing to take over)
        """Takes over what `_remember` had written."""

    def _share(self) -> float:
        config = self.config
        return self.step / config.steps if config.steps else self.seconds / (60 * config.minutes)

    def _rate(self) -> float:
        """Linear warm-up, then half a cosine down to 2 %."""
        return rate(self.step, min(1.0, self._share()), self.config.warmup)

    def _report(self) -> Report:
        share = min(1.0, self._share())
        left = self.seconds * (1 - share) / max(share, 1e-6)
        windows = self.step * self.config.batch / max(self.seconds, 1e-6)
        return Report(self.step, share, self.seconds, left, windows, dict(self._smooth), dict(self._held_out))

    def _log(self) -> None:
        """One line of figures per look, for curves."""
        line = {"step": self.step, "seconds": round(self.seconds, 2)} | {
            name: round(value, 5)
            for name, value in {**self._smooth, **{f"held_{k}": v for k, v in self._held_out.items()}}.items()
        }
        path = self.out / "training.jsonl"
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(f"{path}: can't be written: {error.strerror}; make room, then go on with --resume") from None


def rate(step: int, share: float, warmup: int) -> float:
    """The learning rate's factor at `share` (0 ... 1) of a training: linear over `warmup` steps, half a cosine down to 2 %."""
    return min(1.0, (step + 1) / max(1, warmup)) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
