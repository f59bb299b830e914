"""Puts a reachability head into the folder of a finished frame model: encode, train, gate, write, name it in the card."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from objective_agent import devices, weights
from objective_agent.cost.trained_head import PART
from objective_agent.learning.card import add_part
from objective_agent.learning.frames import reachability
from objective_agent.learning.frames.batches import Frames
from objective_agent.learning.frames.gate import PAIRS, gate
from objective_agent.learning.frames.latents import Latents, latents_of
from objective_agent.learning.frames.reachability import FrameReachabilityConfig
from objective_agent.learning.reachability import Progress


def add_reachability(
    folder: str | Path,
    encoder: nn.Module,
    frames: Frames,
    config: FrameReachabilityConfig,
    seed: int = 0,
    report: Callable[[Progress], None] | None = None,
    latents: Latents | None = None,
    gate_pairs: int = PAIRS,
) -> dict[str, Any]:
    """Trains the head on the training rows of `frames` (or on `latents`, where they are known) and adds it to the model.

    Returns what the card says of it: configuration, steps, seconds, `spread` of the representation, and `gate`, the rank
    correlations with the true steps on held-out pairs.
    """
    folder, began = Path(folder), time.monotonic()
    if latents is None:
        latents = latents_of(encoder, frames, most_rows=config.most_rows, seed=seed)
    network = reachability.train(latents, config, seed, report)
    about = {
        "encoder": str(weights.read_card(folder, kind=weights.FRAMES)["sha256"]["encoder"]),
        "config": config.model_dump(),
        "data": frames.data.digest(),
        "device": devices.title(frames.device),
        "seed": seed,
        "rows": len(latents.tokens),
        "steps": network.steps_taken,
        "spread": latents.spread,
        "gate": gate(network.quasimetric(), encoder, frames.data.task, gate_pairs),
        "minutes": round((time.monotonic() - began) / 60, 2),
    }
    add_part(folder, PART, reachability.export(network), network.shape.model_dump(), about)
    return about
