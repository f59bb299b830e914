"""What a trained model is worth on worlds it has not seen: errors in metres at 1, 5 and 10 steps, beside the analytic model's.

Every figure is taken with all senses, with the lidar alone and with the camera alone, and once more per recorded condition.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from objective_agent.learning.batches import Hiding, generator, make_batch
from objective_agent.learning.calibration import CalibrationSettings, covered, margins
from objective_agent.learning.losses import relative_pose
from objective_agent.learning.model import JepaModel
from objective_agent.learning.windows import Sequences
from objective_agent.world_model.readouts import CLEARANCE_LIMIT, PEOPLE_LIMIT, Nominal, compose, nominal_rollout

VIEWS = {
    "all": Hiding(0.0, 0.0, 0.0, 0.0),
    "lidar": Hiding(0.0, 1.0, 0.0, 0.0, target_camera=1.0),
    "camera": Hiding(1.0, 0.0, 0.0, 0.0, target_lidar=1.0),
}
STEPS = (1, 5, 10)
SURPRISE_STEP, SURPRISE_SHARE = 3, 0.995
"""Unusual: an error of the representation predicted for this step that exceeds a world's median by more than this share."""
CHUNK = 256


def predictions(model: JepaModel, data: Sequences, starts: np.ndarray, horizon: int, view: str) -> dict[str, np.ndarray]:
    """Everything measured, over windows n: poses relative to the start and labels, learned [K, H, n] and found [H, n]."""
    parts = [_predict(model, chunk.to(_device(model))) for chunk in _chunks(data, starts, horizon, view)]
    return {name: np.concatenate([part[name] for part in parts], -1) for name in parts[0]}


def _chunks(data: Sequences, starts: np.ndarray, horizon: int, view: str) -> Iterator:
    for begin in range(0, len(starts), CHUNK):
        yield make_batch(data, starts[begin : begin + CHUNK], horizon, np.zeros(0, int), VIEWS[view], generator(0, begin))


@torch.inference_mode()
def _predict(model: JepaModel, batch) -> dict[str, np.ndarray]:
    encoded = model.encoder(batch.frames)
    predictor = model.predictor
    states = predictor.imagine(encoded, batch.actions, predictor.shape.heads)
    motions, _ = predictor.motions(states, batch.velocities[0], batch.before, batch.actions)
    origin = motions.new_zeros(motions.shape[0], motions.shape[2], 3)
    learned = compose(origin, motions.transpose(1, 2)).transpose(1, 2)
    analytic = compose(origin[0], _analytic(batch, predictor.shape.nominal)).transpose(0, 1)
    truth = relative_pose(batch.poses[:1], batch.poses[1:])
    mean = learned.mean(0)
    clearance, clearance_low = predictor.readouts.clearance(states[:, 1:])
    people, people_low = predictor.readouts.people(states[:, 1:])
    log_range, log_scale = model.encoder.ranges(encoded)
    found = {
        "position": torch.linalg.vector_norm(mean[..., :2] - truth[..., :2], dim=-1),
        "heading": _turn(mean[..., 2] - truth[..., 2]).abs(),
        "analytic_position": torch.linalg.vector_norm(analytic[..., :2] - truth[..., :2], dim=-1),
        "analytic_heading": _turn(analytic[..., 2] - truth[..., 2]).abs(),
        "spread": torch.linalg.vector_norm(learned[..., :2] - mean[..., :2], dim=-1).mean(0),
        "clearance": clearance,
        "clearance_low": clearance_low.clamp(max=CLEARANCE_LIMIT),
        "clearance_found": batch.clearance[1:],
        "people": people,
        "people_low": people_low.clamp(max=PEOPLE_LIMIT),
        "people_found": batch.people[1:],
        "range_error": (log_range - batch.log_ranges).abs().T,
        "range_scale": log_scale.exp().T,
    }
    return {name: value.cpu().numpy() for name, value in found.items()} | {"worlds": batch.worlds}


def _analytic(batch, nominal: Nominal) -> Tensor:
    """Relative poses [n, H, 3] of the analytic model alone."""
    commands = torch.cat([batch.before[None], batch.actions.transpose(0, 1)])
    return nominal_rollout(batch.velocities[0], commands, nominal)[0].transpose(0, 1)


def _device(model: JepaModel) -> torch.device:
    return next(model.parameters()).device


def _turn(angle: Tensor) -> Tensor:
    return torch.atan2(torch.sin(angle), torch.cos(angle))


def calibrate(model: JepaModel, data: Sequences, starts: np.ndarray, horizon: int, settings: CalibrationSettings) -> dict:
    """Margins per step, the largest over the views: what is promised must hold with any mix of sensors that there is."""
    found: dict[str, np.ndarray] = {}
    for view in available_views(data):
        part = predictions(model, data, starts, horizon, view)
        for name in ("clearance", "people"):
            margin = np.array(margins(*_over(part, name, settings), part["worlds"], settings))
            found[name] = np.maximum(found.get(name, margin), margin)
    return {name: [float(value) for value in values] for name, values in found.items()}


def evaluate(
    model: JepaModel, data: Sequences, starts: np.ndarray, horizon: int, margin: dict, settings: CalibrationSettings
) -> dict:
    """`views`: figures with all senses, lidar alone, camera alone; `conditions`: with all senses, per recorded condition."""
    found: dict[str, dict] = {"views": {}, "conditions": {}}
    conditions = data.conditions(starts)
    for view in available_views(data):
        part = predictions(model, data, starts, horizon, view)
        found["views"][view] = _figures(part, margin, settings)
        if view == "all":
            for condition in np.unique(conditions):
                some = {name: values[..., conditions == condition] for name, values in part.items()}
                found["conditions"][str(condition)] = _figures(some, margin, settings)
    return found


@torch.inference_mode()
def surprise_level(model: JepaModel, data: Sequences, starts: np.ndarray) -> float:
    """The excess over a world's median of the error of a predicted representation that only 0.5 % of windows exceed.

    Root mean square over the features, the prediction being the heads' mean as in `surprise.py`; the largest over the views.
    """
    levels = []
    for view in available_views(data):
        excess = []
        for begin in range(0, len(starts), CHUNK):
            rows = starts[begin : begin + CHUNK]
            batch = make_batch(data, rows, SURPRISE_STEP, np.array([SURPRISE_STEP]), VIEWS[view], generator(0, begin))
            batch = batch.to(_device(model))
            start, came = model.encode(batch)
            expected = model.predictor.imagine(start, batch.actions, model.predictor.shape.heads)[:, -1].mean(0)
            excess.append(((expected - came) ** 2).mean(-1).sqrt().cpu().numpy())
        errors, worlds = np.concatenate(excess), data.world[starts]
        for world in np.unique(worlds):
            errors[worlds == world] -= np.median(errors[worlds == world])
        levels.append(float(np.quantile(errors, SURPRISE_SHARE)))
    return round(max(levels), 4)


def available_views(data: Sequences) -> list[str]:
    return list(VIEWS) if data.has_images() else ["all"]


def _over(part: dict[str, np.ndarray], name: str, settings: CalibrationSettings) -> tuple[np.ndarray, np.ndarray]:
    """(over-estimates, which of them count), both [K, H, n]."""
    near = settings.clearance_near if name == "clearance" else settings.people_near
    low, found = part[f"{name}_low"], part[f"{name}_found"][None]
    counts = ~np.isnan(found) & ((low < near) | (found < near))
    return np.where(counts, low - np.nan_to_num(found), 0.0), counts


def _figures(part: dict[str, np.ndarray], margin: dict, settings: CalibrationSettings) -> dict:
    horizon = part["position"].shape[0]
    steps = [step for step in STEPS if step <= horizon]
    figures: dict = {"windows": part["position"].shape[1], "worlds": len(np.unique(part["worlds"]))}
    for step in steps:
        at: dict[str, float] = {}
        for name in ("position", "analytic_position", "heading", "analytic_heading", "spread"):
            at[name] = _round(part[name][step - 1].mean())
        for name, near in (("clearance", settings.clearance_near), ("people", settings.people_near)):
            found = part[f"{name}_found"][step - 1]
            close = found < near
            error = np.abs(part[name][:, step - 1].mean(0) - found)
            at[f"{name}_near"] = _round(error[close].mean()) if close.any() else None
            at[f"{name}_far"] = _round(np.nanmean(error[~close])) if (~close & ~np.isnan(found)).any() else None
        figures[f"step_{step}"] = at
    figures["coverage"] = {
        name: {
            key: _round(value)
            for key, value in covered(*_over(part, name, settings), part["worlds"], margin[name], settings.within).items()
        }
        for name in ("clearance", "people")
    }
    ahead = slice(14, 23)
    figures["range_log_error"] = {
        "ahead": _round(np.nanmean(part["range_error"][ahead])),
        "all_round": _round(np.nanmean(part["range_error"])),
        "scale_ahead": _round(part["range_scale"][ahead].mean()),
        "scale_all_round": _round(part["range_scale"].mean()),
    }
    return figures


def _round(value: float) -> float | None:
    return None if not np.isfinite(value) else round(float(value), 4)
