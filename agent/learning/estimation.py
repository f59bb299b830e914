"""What memory's estimator must know of a finished model: how wrong a predicted step is, and an encoding that lacks a sense.

On the worlds held out for calibration every moment is encoded with all senses and with each alone; what all senses say counts
as the state that is to be estimated.

    Q      second moment of     f(z[k], u[k]) - z[k+1]       process noise: one predicted step from an encoding of all senses
    b, R   mean, covariance of  y[k] - z[k]                  measurement noise: the encoding y of one sense
    trust  in 1, 2, 4, 8: what R is multiplied by so that the whole filter's estimates are best; errors of an encoding last for
           seconds, a filter takes them for news every time
    alarm  99 % quantile of the surprise s (`memory/fusion.py`) of the filter in these worlds

Covariances are drawn towards diagonal ones, the more the fewer moments there are.  The arrays stand in `memory.safetensors`
beside the weights, the figures in the card's section `memory`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from objective_agent import weights
from objective_agent.learning.batches import frame_inputs
from objective_agent.learning.card import add_part
from objective_agent.learning.windows import Sequences
from objective_agent.memory.calibration import PART, CalibrationSettings
from objective_agent.memory.prediction import Predictor
from objective_agent.perception.jepa_network import EncoderNetwork
from objective_agent.types import InputError

SENSES = ("lidar", "camera")
TRUST = (1.0, 2.0, 4.0, 8.0)
ALARM = 0.99
MOST_ROWS = 8000
CHUNK = 256
LONGEST = 200
"""Longer episodes are looked at in pieces of so many steps."""


@dataclass(frozen=True)
class Views:
    """Encoded episodes of the same length L: view -> representations [n, L, D]; `actions` [n, L, 2]; `rows` [n, L]."""

    encoded: dict[str, np.ndarray]
    actions: np.ndarray
    rows: np.ndarray


def calibrate(
    encoder: EncoderNetwork, predictor: Predictor, data: Sequences, most: int = MOST_ROWS
) -> tuple[dict[str, np.ndarray], CalibrationSettings, dict[str, Any]]:
    """(arrays, settings of the file, figures for the card).  InputError when no two moments in a row have all senses."""
    senses = SENSES if data.has_images() else SENSES[:1]
    views = encode(encoder, data, episodes(data, "calibration", senses, most), senses)
    found = views.encoded["all"]
    spread = found.reshape(-1, found.shape[-1]).var(0) + 1e-9
    wrong = one_step(predictor, views) - found[:, 1:]
    process = _covariance(wrong)
    arrays = {"process": process}
    about: dict[str, Any] = {
        "worlds": len(np.unique(data.world[views.rows])),
        "moments": int(views.rows.size),
        "protocol": "calibration worlds; what all senses say is the truth; shares of its variance, mean over features; "
        "estimate: the filter over whole episodes",
        "one_step": _share(wrong, spread),
    }
    alarm = {}
    for view in senses if len(senses) > 1 else ():
        beside = views.encoded[view] - found
        offset = beside.reshape(-1, beside.shape[-1]).mean(0)
        noise = _covariance(beside - offset)
        tried = {trust: _filter(predictor, views, view, offset, trust * noise, process) for trust in TRUST}
        worth = {trust: _share(estimate - found, spread) for trust, (estimate, _) in tried.items()}
        trust = min(worth, key=worth.get)
        arrays |= {f"{view}.offset": offset, f"{view}.noise": trust * noise}
        alarm[view] = float(np.quantile(tried[trust][1][:, 1:], ALARM))
        about[view] = {
            "trust": trust,
            "alarm": round(alarm[view], 3),
            "encoding": _share(beside, spread),
            "encoding_less_offset": _share(beside - offset, spread),
            "estimate": worth[trust],
        }
    settings = CalibrationSettings(senses=senses, alarm=alarm)
    return {name: array.astype(np.float32) for name, array in arrays.items()}, settings, about


def write_calibration(folder: Path, encoder: EncoderNetwork, data: Sequences, most: int = MOST_ROWS) -> dict[str, Any]:
    """Calibrates the memory of the finished model in `folder` and puts that into it; returns the card."""
    predictor = Predictor.of(folder, weights.read_card(folder))
    arrays, settings, about = calibrate(encoder, predictor, data, most)
    return add_part(folder, PART, arrays, settings.model_dump(mode="json"), {"data": data.digest(), **about})


def episodes(data: Sequences, split: str, senses: tuple[str, ...], most: int) -> np.ndarray:
    """Rows [n, L] of stretches of L consecutive steps with all `senses`, in the worlds of `split`; at most `most` moments.

    L is the longest, up to LONGEST, with which at least four fifths of the moments are used that can be.
    """
    inside = np.isin(data.world, data.worlds(split))
    for sense, column in zip(SENSES, ("has_scan", "has_image"), strict=True):
        if sense in senses:
            inside &= np.asarray(data.columns[column])
    rows = np.flatnonzero(inside)
    follows = (data.past(rows, 1) == rows - 1) & inside[rows - 1] if len(rows) else np.zeros(0, bool)
    parts = np.split(rows, np.flatnonzero(~follows)[1:])
    lengths = np.array([len(part) for part in parts])
    used = np.array([(lengths // length).sum() * length for length in range(1, LONGEST + 1)])
    length = 1 + int(np.flatnonzero(used >= 0.8 * used.max())[-1]) if len(rows) else 0
    if length < 2:
        raise InputError(f"{data.path}: no two moments in a row with {' and '.join(senses)} in the {split} worlds; record more")
    pieces = np.concatenate([part[: len(part) // length * length].reshape(-1, length) for part in parts])
    count = max(1, min(len(pieces), most // length))
    return pieces[np.linspace(0, len(pieces) - 1, count).round().astype(int)]


def encode(encoder: EncoderNetwork, data: Sequences, rows: np.ndarray, senses: tuple[str, ...]) -> Views:
    """The moments `rows` [n, L] encoded with all senses ("all") and, where there are several, with each alone."""
    names = ("all", *senses) if len(senses) > 1 else ("all",)
    encoded: dict[str, list[np.ndarray]] = {name: [] for name in names}
    flat = rows.ravel()
    with torch.inference_mode():
        for begin in range(0, len(flat), CHUNK):
            frames, _ = frame_inputs(data, flat[begin : begin + CHUNK])
            for name in names:
                encoded[name].append(encoder(with_senses(frames, (name,) if name != "all" else SENSES)).numpy())
    shaped = {name: np.concatenate(parts).astype(np.float64).reshape(*rows.shape, -1) for name, parts in encoded.items()}
    return Views(shaped, data.take("action", rows), rows)


def with_senses(frames: dict[str, torch.Tensor], senses: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The encoder's inputs with no other than these senses."""
    hidden = {name: torch.zeros_like(frames[name]) for name, sense in (("has_scan", "lidar"), ("has_image", "camera"))
              if sense not in senses}  # fmt: skip
    return {**frames, **hidden}


def one_step(predictor: Predictor, views: Views) -> np.ndarray:
    """[n, L - 1, D]: what is predicted for each moment from the one before, encoded with all senses."""
    start = views.encoded["all"][:, :-1]
    flat = start.reshape(-1, start.shape[-1])
    actions = views.actions[:, :-1].reshape(-1, 1, 2)
    parts = [
        predictor.imagine(flat[begin : begin + CHUNK], actions[begin : begin + CHUNK]).mean(0)[-1]
        for begin in range(0, len(flat), CHUNK)
    ]
    return np.concatenate(parts).reshape(start.shape).astype(np.float64)


def _filter(
    predictor: Predictor, views: Views, view: str, offset: np.ndarray, noise: np.ndarray, process: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(estimates [n, L, D], surprises [n, L]) of all episodes at once: without doubts they share one covariance."""
    measured = views.encoded[view] - offset
    covariance, mean = noise, measured[:, 0]
    estimates, surprises = [mean], [np.zeros(len(mean))]
    for step in range(1, measured.shape[1]):
        covariance = covariance + process
        mean = predictor.imagine(mean, views.actions[:, step - 1 : step]).mean(0)[-1].astype(np.float64)
        innovation = measured[:, step] - mean
        total = covariance + noise
        surprises.append((innovation * np.linalg.solve(total, innovation.T).T).mean(-1))
        gain = np.linalg.solve(total, covariance).T
        mean = mean + innovation @ gain.T
        covariance = covariance - gain @ covariance
        covariance = 0.5 * (covariance + covariance.T)
        estimates.append(mean)
    return np.stack(estimates, 1), np.stack(surprises, 1)


def _covariance(errors: np.ndarray) -> np.ndarray:
    """Second moment [D, D] of errors [..., D], drawn towards its diagonal."""
    flat = errors.reshape(-1, errors.shape[-1])
    moment = flat.T @ flat / len(flat)
    keep = len(flat) / (len(flat) + 5 * flat.shape[1])
    diagonal = np.diag(moment).copy() + 1e-6
    moment *= keep
    np.fill_diagonal(moment, diagonal)
    return moment


def _share(errors: np.ndarray, spread: np.ndarray) -> float:
    return round(float((errors**2 / spread).mean()), 4)
