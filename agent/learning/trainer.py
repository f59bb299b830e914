"""The trainer: windows of a robot's recordings in, a model with its card out; it watches for collapse.

The loop itself (schedule, checkpoints, curves) stands in `loop.py`.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from objective_agent import devices
from objective_agent.config import RobotParameters
from objective_agent.learning import estimation, metrics
from objective_agent.learning.batches import Hiding, generator, make_batch
from objective_agent.learning.calibration import CalibrationSettings
from objective_agent.learning.card import write_model
from objective_agent.learning.loop import FREE, CollapseError, Report, ScheduleConfig, TrainingLoop
from objective_agent.learning.model import JepaModel, LossWeights
from objective_agent.learning.regularizers import effective_rank
from objective_agent.learning.windows import Sequences
from objective_agent.perception.jepa_network import EncoderShape
from objective_agent.types import InputError
from objective_agent.world_model.jepa_network import PredictorShape
from objective_agent.world_model.readouts import Nominal

logger = logging.getLogger(__name__)
__all__ = ["CollapseError", "Report", "Trainer", "TrainingConfig"]


class TrainingConfig(ScheduleConfig):
    """What `config/train_*.yaml` holds."""

    horizon: int = Field(10, ge=1, le=50, description="steps of a rollout in training")
    targets: int = Field(3, ge=1, le=50, description="steps of each rollout whose observation is encoded as a target")
    regularizer: Literal["vicreg", "sigreg", "none"] = "vicreg"
    features: int = Field(128, ge=4, le=1024, description="size D of a representation")
    encoder_hidden: int = Field(256, ge=8, le=4096)
    predictor_hidden: int = Field(256, ge=8, le=4096)
    heads: int = Field(3, ge=1, le=16, description="members of the ensemble: futures")
    joint_readouts: bool = Field(True, description="whether representations learn from the read-outs' errors, too")
    bfloat16: bool = Field(False, description="large layers of the encoder in bfloat16 (much faster where the CPU has AMX)")
    hide_lidar: float = Field(0.35, ge=0, le=1, description="share of windows that start without lidar")
    hide_camera: float = Field(0.35, ge=0, le=1, description="share of windows that start without camera")
    hide_target_camera: float = Field(0.5, ge=0, le=1, description="share of target frames without camera: saves time")
    hide_target_lidar: float = Field(0.3, ge=0, le=1, description="share of windows without lidar whose targets lack it too")
    hide_beams: float = Field(0.1, ge=0, le=1, description="share of single lidar beams hidden in half of the frames")
    mirror: bool = Field(True, description="every second window is seen in a mirror")
    losses: LossWeights = LossWeights()
    calibration: CalibrationSettings = CalibrationSettings()

    @model_validator(mode="after")
    def _fits(self):
        if self.hide_lidar + self.hide_camera > 1:
            raise ValueError("hide_lidar + hide_camera must be at most 1: never are both hidden")
        if self.targets > self.horizon:
            raise ValueError(f"targets ({self.targets}) must be at most horizon ({self.horizon})")
        return self


class Trainer(TrainingLoop):
    config: TrainingConfig

    def __init__(
        self,
        config: TrainingConfig,
        data: Sequences,
        out: Path,
        robot: RobotParameters,
        seed: int = 0,
        threads: int = 1,
        device: str = "cpu",
    ):
        super().__init__(config, out, seed, threads, device)
        self.data = data
        self.starts = {split: data.starts(config.horizon, split) for split in ("train", "calibration", "test")}
        for split, least in (("train", config.batch), ("calibration", 1), ("test", 1)):
            if len(self.starts[split]) < least:
                raise InputError(
                    f"{data.path}: {len(self.starts[split])} {split} windows of {config.horizon} steps, {least} are needed: "
                    "record more episodes in more worlds"
                )
        nominal = _nominal(robot, data.dt)
        scale = {"speed_scale": robot.max_speed, "turn_scale": robot.max_turn_rate}
        self.model = JepaModel(
            EncoderShape(
                features=config.features, hidden=config.encoder_hidden, batch_norm=config.regularizer == "sigreg", **scale
            ),
            PredictorShape(features=config.features, hidden=config.predictor_hidden, heads=config.heads, nominal=nominal),
        ).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._guessed = torch.ones((), device=self.device)
        self._weights = _bootstrap(seed, int(data.world.max()) + 1, config.heads)

    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Calibrates on one half of the held-out worlds, measures on the other, writes weights and card."""
        self.model.eval()
        config = self.config
        margin = metrics.calibrate(self.model, self.data, self._some("calibration", 4096), config.horizon, config.calibration)
        test = self._some("test", 4096)
        surprise = metrics.surprise_level(self.model, self.data, self._some("calibration", 4096))
        figures = metrics.evaluate(self.model, self.data, test, config.horizon, margin, config.calibration)
        worlds = {split: len(self.data.worlds(split)) for split in self.starts}
        card = write_model(
            self.out,
            self.model,
            {
                **about,
                "seed": self.seed,
                "threads": self.threads,
                "device": devices.title(self.device),
                "training": {"steps": self.step, "minutes": round(self.seconds / 60, 2), "windows": self.step * config.batch},
                "configuration": config.model_dump(),
                "data": {
                    "sha256": self.data.digest(),
                    "rows": self.data.rows,
                    "worlds": worlds,
                    "windows": {split: len(starts) for split, starts in self.starts.items()},
                },
                "protocol": "held-out worlds: calibration on one half, metrics on the other; recorded commands, mean of the "
                "heads; *_near: labels below calibration.*_near; analytic: unicycle with the nominal limits and delay",
                "metrics": figures,
                "calibration": {**config.calibration.model_dump(), "margins": margin, "surprise": surprise},
            },
        )
        try:
            return estimation.write_calibration(self.out, self.model.encoder.cpu(), self.data)
        except InputError as error:  # the model is finished and drives; its memory believes the newest encoding
            logger.warning("memory is not calibrated: %s", error)
            return card

    def _train_step(self) -> dict[str, torch.Tensor]:
        config = self.config
        self.model.train()
        random = generator(self.seed, "batch", self.step)
        torch_random = torch.Generator().manual_seed(int(random.integers(2**62)))
        starts = self.starts["train"][random.integers(len(self.starts["train"]), size=config.batch)]
        offsets = 1 + np.sort(random.choice(config.horizon, config.targets, replace=False))
        hiding = Hiding(
            config.hide_lidar,
            config.hide_camera,
            target_camera=config.hide_target_camera,
            target_lidar=config.hide_target_lidar,
            beams=config.hide_beams,
            mirror=config.mirror,
        )
        batch = make_batch(self.data, starts, config.horizon, offsets, hiding, random).to(self.device)
        step = self.model.step(
            batch,
            devices.move(self._weights[:, None, batch.worlds], self.device),
            config.regularizer,
            config.losses.covariance,
            torch_random,
            config.bfloat16,
            config.joint_readouts,
        )
        weights = config.losses.model_dump()
        total = sum(weights[name] * value for name, value in step.losses.items())
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * self._rate()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        guessed = step.losses["relative"].detach() / step.relative_uninformed.clamp(min=1e-9)
        self._guessed = self._guessed.lerp(guessed, 0.05)
        return {"total": total.detach(), **{name: value.detach() for name, value in step.losses.items()}}

    def _look(self) -> None:
        """Held-out figures and the collapse meter; CollapseError once it is certain."""
        config = self.config
        self.model.eval()
        random = generator(self.seed, "look")
        starts = random.choice(self.starts["calibration"], min(128, len(self.starts["calibration"])), replace=False)
        batch = make_batch(self.data, starts, config.horizon, np.array([config.horizon]), None, random).to(self.device)
        with torch.inference_mode():
            weight = torch.ones(config.heads, 1, len(starts), device=self.device)
            step = self.model.step(batch, weight, "none", 0.0, torch.Generator().manual_seed(0), False)
        part = metrics.predictions(self.model, self.data, starts, config.horizon, "all")
        near = part["clearance_found"] < config.calibration.clearance_near
        error = np.abs(part["clearance"].mean(0) - part["clearance_found"])
        self._held_out = {
            "rank": effective_rank(step.representations),
            "std": float(step.representations.std(0).mean()),
            "relative": float(step.losses["relative"]) / max(float(step.relative_uninformed), 1e-9),
            "relative_trained": float(self._guessed),
            "latent": float(step.losses["latent"]),
            "position": float(part["position"][-1].mean()),
            "analytic": float(part["analytic_position"][-1].mean()),
            "clearance_near": float(error[near].mean()) if near.any() else math.nan,
        }
        if self.step >= config.collapse_after:
            self._refuse_collapse()

    def _refuse_collapse(self) -> None:
        found = self._held_out
        meter = f"rank {found['rank']:.1f}, std {found['std']:.3f}, relative pose {found['relative']:.0%} of uninformed"
        if found["rank"] < 2 or found["std"] < 0.02:
            raise CollapseError(
                f"collapsed at step {self.step}: all observations look alike ({meter}); raise losses.regularizer"
            )
        # Known of training windows and not of new ones is no collapse: a recording of one home is little to learn from.
        if min(found["relative"], found["relative_trained"]) > 0.95:
            raise CollapseError(
                f"collapsed at step {self.step}: it does not tell where the robot is ({meter}); raise losses.relative"
            )

    def _some(self, split: str, most: int) -> np.ndarray:
        starts = self.starts[split]
        if len(starts) <= most:
            return starts
        return np.sort(generator(self.seed, split).choice(starts, most, replace=False))

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on; how long it lasts may change."""
        free = set(FREE)
        if self.config.joint_readouts:
            free.add("joint_readouts")  # checkpoints from before there was the choice can be gone on with
        config = self.config.model_dump(exclude=free)
        return {"config": config, "seed": self.seed, "data": self.data.digest()}


def _nominal(robot: RobotParameters, dt: float) -> Nominal:
    names = ("max_speed", "max_turn_rate", "max_acceleration", "max_turn_acceleration", "actuator_delay")
    return Nominal(dt=dt, **{name: getattr(robot, name) for name in names})


def _bootstrap(seed: int, worlds: int, heads: int) -> torch.Tensor:
    """How much each head learns from each world [K, worlds], mean 1 (Bayesian bootstrap, Rubin 1981); one head: from all."""
    if heads == 1:
        return torch.ones(1, worlds)
    return torch.from_numpy(generator(seed, "bootstrap").exponential(size=(heads, worlds)).astype(np.float32))
