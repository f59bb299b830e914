"""The trainer of world models of images: a benchmark task's data in, a model with its card and its reachability out.

It goes through the stages of `stages.py`, each with its own warm-up and cosine; their lengths are shares of the whole.
Checkpoints hold all networks, so a run goes on in the stage in which it was; frozen representations are made again from the
same weights.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from objective_agent import devices
from objective_agent.learning.batches import generator
from objective_agent.learning.card import write_model
from objective_agent.learning.frames.batches import Frames, Windows
from objective_agent.learning.frames.collapse import MOST_INVERSE, Health
from objective_agent.learning.frames.dataset import SPLITS, FrameData
from objective_agent.learning.frames.gate import gate
from objective_agent.learning.frames.kept_tokens import KeptTokens
from objective_agent.learning.frames.metrics import Judge
from objective_agent.learning.frames.model import FrameModel
from objective_agent.learning.frames.reachability import export
from objective_agent.learning.frames.settings import FrameTrainingConfig
from objective_agent.learning.frames.stages import Frozen, Represent, Stage, stages_of
from objective_agent.learning.loop import FREE, CollapseError, Report, TrainingLoop, rate
from objective_agent.types import InputError

ASCENT = 1e-2
"""Learning rate of the reachability's multiplier."""

PROTOCOL = (
    "layouts (or episodes) that never trained; linear probes fitted on training frames tell the state from representations; "
    "position_h: error of the state's first two numbers after h predicted steps, recorded actions, mean of the members; "
    "hard_h: the same in the tenth of the windows where the action alone tells the motion worst; state_h: error per number as "
    "a share of its standard deviation; inverse: error of inverse dynamics as a share of a guess; latent: error of rollouts as "
    "a share of the variance"
)


class FrameTrainer(TrainingLoop):
    """`run(about, report)` trains, measures and writes `out`; `resume()` first goes on from a checkpoint."""

    config: FrameTrainingConfig
    model: FrameModel

    def __init__(
        self, config: FrameTrainingConfig, data: FrameData, out: Path, seed: int = 0, threads: int = 1, device: str = "cpu"
    ):
        super().__init__(config, out, seed, threads, device)
        self.data, self.frames = data, Frames(data, self.device)
        history = config.predictor.history
        self.windows = {split: Windows(data, config.horizon, history, split) for split in SPLITS}
        for split, least in (("train", config.batch), ("calibration", 8), ("test", 8)):
            if len(self.windows[split]) < least:
                raise InputError(
                    f"{data.path}: {len(self.windows[split])} {split} windows of {config.horizon} steps, {least} are needed: "
                    "collect more --steps"
                )
        self.model = FrameModel(config, data.actions).to(self.device)
        if config.encoder.kind == "frozen" and self.model.regularizer.leaves_images:
            self.frames.kept_tokens = KeptTokens(self.model.encoder, self.frames)
        self.stages = stages_of(config, self.model.has_map)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=config.learning_rate, fused=True)
        self._guessed = torch.ones((), device=self.device)
        self._windows = 0
        self._began: dict[str, list[float]] = {}
        self._stage: Stage | None = None
        judge = {"train": self.windows["train"], "history": history, "seed": seed}
        self._judge = Judge(self.frames, self.windows["calibration"], most=256, probes=1500, **judge)
        self._final_judge = lambda: Judge(self.frames, self.windows["test"], most=2048, probes=config.probes, **judge)

    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Measures on held-out layouts, writes encoder, predictor, reachability and card."""
        model, config, data = self.model, self.config, self.data
        self._current()  # a run that was killed in here has no stage yet when it goes on
        model.eval()
        metrics = self._final_judge().figures(model, model.predictor)
        self._refuse_collapse(metrics)
        if not math.isfinite(metrics["latent"]):
            raise CollapseError("the trained predictor answers with NaN or infinite values; lower learning_rate")
        shapes = {"encoder": model.encoder.shape.model_dump(), "predictor": model.predictor.shape.model_dump()}
        parts = {} if model.reachability is None else {"reachability": self._reachability_part()}
        return write_model(
            self.out,
            model,
            {
                "kind": "frames",
                "task": data.task,
                **about,
                "regularizer": config.regularizer.plugin,
                "seed": self.seed,
                "threads": self.threads,
                "device": devices.title(self.device),
                "training": {
                    "steps": self.step,
                    "minutes": round(self.seconds / 60, 2),
                    "windows": self._windows,
                    "stages": {
                        name: {"step": int(step), "seconds": round(spent, 1)} for name, (step, spent, _) in self._began.items()
                    },
                },
                "configuration": config.model_dump() | shapes,
                "data": {
                    "sha256": data.digest(),
                    "rows": data.rows,
                    "command": data.meta.get("command"),
                    "layouts": {split: len(windows.layouts) for split, windows in self.windows.items()},
                    "windows": {split: len(windows) for split, windows in self.windows.items()},
                },
                "protocol": PROTOCOL,
                "metrics": metrics,
            },
            parts,
        )

    def _reachability_part(self) -> tuple:
        """Arrays, shape, and what the card says of the head: how it was trained, and the gate of held-out pairs."""
        network, spread = self.model.reachability, 1.0
        if isinstance(self._stage, Frozen):
            spread = self._stage.latents.spread
        about = {
            "kind": "frames",
            "config": self.config.reachability.model_dump(exclude={"minutes", "steps"}),
            "data": self.data.digest(),
            "spread": round(spread, 6),
        }
        try:
            about["gate"] = gate(network.quasimetric(), self.model.encoder, self.data.task)
        except InputError as error:  # the task of the data can't be made here: the model is good all the same
            warnings.warn(f"reachability is not gated: {error}", stacklevel=1)
        return export(network), network.shape.model_dump(), about

    def _groups(self) -> list[dict[str, Any]]:
        """Parameter groups: all networks; the reachability; its multiplier, which is never decayed."""
        model, config = self.model, self.config
        head = [] if model.reachability is None else model.reachability.weights()
        mine = {id(parameter) for parameter in head}
        if model.reachability is not None:
            mine.add(id(model.reachability.multiplier))
        rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in mine]
        groups = [{"name": "networks", "params": rest, "weight_decay": config.weight_decay}]
        if head:
            groups.append({"name": "head", "params": head, "weight_decay": config.reachability.weight_decay})
            groups.append({"name": "multiplier", "params": [model.reachability.multiplier], "weight_decay": 0.0})
        return groups

    def _train_step(self) -> dict[str, torch.Tensor]:
        stage, share = self._current()
        began = self._began[stage.name]
        random = generator(self.seed, "batch", self.step)
        torch_random = torch.Generator().manual_seed(int(random.integers(2**62)))
        torch.manual_seed(int(random.integers(2**62)))  # of the latent variable
        losses = stage.losses(random, torch_random)
        total = sum(losses.values())
        factor = rate(self.step - int(began[0]), share, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = ASCENT if group["name"] == "multiplier" else stage.learning_rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups if group["name"] != "multiplier" for p in group["params"]], stage.clip
        )
        self.optimizer.step()
        stage.after(share)
        self.step += 1
        self._windows += stage.windows
        if isinstance(stage, Represent):
            self._guessed = self._guessed.lerp(stage.guessed, 0.05)
        return {"total": total.detach(), **{name: value.detach() for name, value in losses.items()}}

    def _current(self) -> tuple[Stage, float]:
        """The stage that is on, and how much of it is done."""
        overall, first = min(self._share(), 1.0), 0.0
        for kind, share in self.stages:
            if overall < first + share or kind is self.stages[-1][0]:
                break
            first += share
        if self._stage is None or self._stage.name != kind.name:
            self._enter(kind)
        begun = self._began[kind.name][2]
        return self._stage, min(1.0, max(0.0, (overall - begun) / max(1e-9, first + share - begun)))

    def _enter(self, kind: type[Stage]) -> None:
        self._hear()
        fresh = kind.name not in self._began
        if fresh:
            self._began[kind.name] = [self.step, self.seconds, min(self._share(), 1.0)]
            self._smooth = {}
        known = self._stage.latents if isinstance(self._stage, Frozen) else None
        stage = kind(self.config, self.model, self.frames, self.windows["train"], self.seed)
        if isinstance(stage, Frozen):
            stage.begin(fresh, known)
        else:
            stage.begin(fresh)
        self._stage = stage

    def _look(self) -> None:
        """Held-out figures and the collapse meter."""
        representing = isinstance(self._stage, Represent)
        if self._stage.name == "reach" and self._held_out:
            return  # nothing changes any more of what is measured here
        found = self._judge.figures(self.model, self.model.agent_predictor if representing else self.model.predictor)
        self.model.learn(self._stage.name)
        found = {name: float(np.mean(value)) for name, value in found.items()}
        self._held_out = {name: value for name, value in found.items() if math.isfinite(value)}
        if representing:
            self._refuse_collapse(found)

    def _refuse_collapse(self, found: dict[str, Any]) -> None:
        if self.step >= self.config.collapse_after and self.config.encoder.kind != "frozen":
            Health(found["rank"], found["std"], found["inverse"]).refuse(self.step, known=float(self._guessed) <= MOST_INVERSE)

    def _report(self) -> Report:
        report = super()._report()
        report.windows_per_second = self._windows / max(self.seconds, 1e-6)
        report.stage = self._stage.name
        return report

    def _remember(self) -> dict[str, Any]:
        return {"began": self._began, "windows": self._windows, "guessed": float(self._guessed)}

    def _restore(self, progress: dict[str, Any]) -> None:
        self._began, self._windows = dict(progress["began"]), int(progress["windows"])
        self._guessed, self._stage = torch.full_like(self._guessed, progress["guessed"]), None

    def _identity(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(exclude=set(FREE)), "seed": self.seed, "data": self.data.digest()}
