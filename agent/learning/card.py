"""The model card: how a model was made and what it is worth, in a file that people read and programs check.

Exact command, seeds, data (with sha256), protocol, settings, metrics on held-out worlds, calibration, sha256 of the weights and
the code's version.  Written last: a folder with a card is a finished model.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.numpy import save
from torch import nn

from objective_agent import __version__, weights
from objective_agent.learning.checkpoint import write_bytes, write_weights

Part = tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]
"""Arrays by name, settings of their shapes, and the card's section on them."""


def write_model(
    folder: Path, model: nn.Module, about: dict[str, Any], parts: Mapping[str, Part] | None = None
) -> dict[str, Any]:
    """Writes the model's `encoder`, `predictor` (modules with a `shape`), `parts` and, last, the card made of `about`.

    Returns the card.  A part's section in it names the encoder that the part was trained for.
    """
    sha = {}
    for name in ("encoder", "predictor"):
        network = getattr(model, name)
        data = write_weights(folder / f"{name}.safetensors", network, network.shape.model_dump())
        sha[name] = hashlib.sha256(data).hexdigest()
    sections = {}
    for name, (arrays, shape, section) in (parts or {}).items():
        data = _bytes(arrays, shape)
        write_bytes(folder / f"{name}.safetensors", data)
        sha[name] = hashlib.sha256(data).hexdigest()
        sections[name] = {"encoder": sha["encoder"], **section}
    card = {"name": folder.name, "made": datetime.now(timezone.utc).isoformat(timespec="seconds"), "code": code_version()}
    card |= {"torch": str(torch.__version__), "machine": platform.machine(), **about, **sections, "sha256": sha}
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120)
    write_bytes(folder / weights.CARD, text.encode())
    return card


def add_part(folder: Path, part: str, arrays: dict[str, np.ndarray], shape: dict[str, Any], about: dict[str, Any]) -> dict:
    """Puts `part` (arrays, settings of their shapes) into the finished model in `folder`; `about` becomes the card's section of
    that name.  Returns the card.

    Killed at any moment it leaves the old part or the new one: the card, written whole, says which (`weights.read_weights`).
    """
    data = _bytes(arrays, shape)
    path = folder / f"{part}.safetensors"
    written = weights.next_file(folder, part) if path.exists() else path
    write_bytes(written, data)
    card = weights.read_card(folder)
    card[part] = about
    card["sha256"] = {**card.pop("sha256"), part: hashlib.sha256(data).hexdigest()}  # last, as before
    write_bytes(folder / weights.CARD, yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120).encode())
    if written != path:
        os.replace(written, path)
    return card


def _bytes(arrays: Mapping[str, np.ndarray], shape: dict[str, Any]) -> bytes:
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"shape": json.dumps(shape)})


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
