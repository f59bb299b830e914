"""A reachability head with random weights, alone or in a complete untrained model: for tests of contracts, not of accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from learned_model import write_untrained

from objective_agent.cost.quasimetric import QuasimetricShape
from objective_agent.learning.heads import write_head


def random_weights(shape: QuasimetricShape, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {name: rng.normal(0, size[0] ** -0.5, size).astype(np.float32) for name, size in shape.shapes().items()}
    found["scale"] = rng.uniform(0.5, 1.5, shape.features).astype(np.float32)
    found["out.weight"] *= 10
    return found


def write_model_with_head(folder: Path, seed: int = 0, features: int = 32, reached: float = 5.0, **options) -> Path:
    write_untrained(folder, seed, features=features, **options)
    shape = QuasimetricShape(features=features, hidden=16, groups=4, size=4)
    write_head(folder, shape, random_weights(shape, seed), {"reached": reached})
    return folder
