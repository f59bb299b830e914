"""The model card: how a model was made and what it is worth, in a file that people read and programs check.

Exact command, seeds, data (with sha256), protocol, settings, metrics on held-out worlds, calibration, sha256 of the weights and
the code's version.  Written last: a folder with a card is a finished model.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import yaml

from objective_agent import __version__, weights
from objective_agent.learning.checkpoint import write_bytes, write_weights
from objective_agent.learning.model import JepaModel


def write_model(folder: Path, model: JepaModel, about: dict[str, Any]) -> dict[str, Any]:
    """Writes encoder, predictor and, last, the card made of `about`; returns the card."""
    parts = {
        "encoder": (model.encoder, model.encoder.shape),
        "predictor": (model.predictor, model.predictor.shape),
    }
    sha = {}
    for name, (network, shape) in parts.items():
        data = write_weights(folder / f"{name}.safetensors", network, shape.model_dump())
        sha[name] = hashlib.sha256(data).hexdigest()
    card = {"name": folder.name, "made": datetime.now(timezone.utc).isoformat(timespec="seconds"), "code": code_version()}
    card |= {"torch": str(torch.__version__), "machine": platform.machine(), **about, "sha256": sha}
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120)
    write_bytes(folder / weights.CARD, text.encode())
    return card


def code_version() -> str:
    """The package's version, and the commit where the source is a git checkout."""
    try:
        root = Path(__file__).resolve().parents[2]
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
        return f"{__version__} ({commit.stdout.strip()})"
    except (OSError, subprocess.SubprocessError):
        return __version__
