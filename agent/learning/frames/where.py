"""Where the agent is on the map, told by what moves: no labels.

    salience[p] = | pixel p - its median over the layout's frames |      where the scene stands still only the agent stands out
    centroid    = sum_p salience[p] * p / sum_p salience[p]              in [0, 1]: x along a row, y down the rows
    where(z)    = z W + b                                                ridge regression of the centroid on the agent's token

A linear read-out of the token, so it serves imagined tokens as well as seen ones: it is how predictor and quasimetric know
which places of the map to look at.  The regression averages out what else moves, and what the median leaves behind.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from objective_agent.types import InputError

FLOOR = 24
"""Differences in a pixel (sum over the channels, of 765) that count as noise."""


def centroids(images: np.ndarray, layout: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(centroids [n, 2], known [n] bool) of what stands out from each layout's median image; images [n, h, w, 3] uint8."""
    if images.ndim != 4 or len(layout) != len(images):
        raise InputError(f"centroids: images {images.shape} and layouts {layout.shape}; need [n, h, w, 3] and [n]")
    height, width = images.shape[1:3]
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    found, known = np.zeros((len(images), 2), np.float32), np.zeros(len(images), bool)
    for number in np.unique(layout):
        rows = np.flatnonzero(layout == number)
        frames = images[rows].astype(np.int16)
        salience = np.abs(frames - np.median(frames, 0).astype(np.int16)).sum(-1).astype(np.float32)
        salience[salience < FLOOR] = 0
        mass = salience.sum((1, 2))
        some = mass > 0
        safe = np.where(some, mass, 1.0)
        found[rows] = np.stack([salience.sum(1) @ across / safe, salience.sum(2) @ down / safe], -1)
        known[rows] = some
    return found, known


def fit_where(tokens: Tensor, images: np.ndarray, layout: np.ndarray, ridge: float = 1e-2) -> tuple[Tensor, Tensor]:
    """(weight [D, 2], bias [2]) of the read-out, from tokens [n, D], images [n, h, w, 3] and layouts [n].

    A layout needs some ten frames with the agent at different places, or its median shows the agent too.
    """
    found, known = centroids(images, layout)
    if not known.any():
        raise InputError("where: nothing moves in these images; take frames in which the agent is at different places")
    rows = torch.from_numpy(np.flatnonzero(known))
    inputs, wanted = tokens[rows].double(), torch.from_numpy(found).double()[rows]
    middle, centre = inputs.mean(0), wanted.mean(0)
    inputs, wanted = inputs - middle, wanted - centre
    softly = ridge * inputs.var(0).mean() * torch.eye(inputs.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(inputs.T @ inputs / len(rows) + softly, inputs.T @ wanted / len(rows))
    return weight.float(), (centre - middle @ weight).float()
