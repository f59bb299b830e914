"""Checkpoints that survive kill -9 at any moment: written beside, flushed to the disk, then renamed over the old one.

A checkpoint is one safetensors file: weights, the optimizer's moments and, as JSON in its header, how far training is.  Batches
depend on (seed, step) alone, so this is all it takes to go on exactly.  Never pickle.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from objective_agent.types import InputError

NAME = "checkpoint.safetensors"


def write_bytes(path: Path, data: bytes) -> None:
    """Writes the file whole or not at all, even when the machine stops."""
    part = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)  # half a file on a full disk helps nobody
        raise InputError(f"{path}: can't be written: {error.strerror}; give another folder with --out") from None


def tensors_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}


def write_weights(path: Path, network: nn.Module, shape: dict[str, Any]) -> bytes:
    """Writes a module's weights with the settings of their shapes; returns the file's bytes."""
    data = save(tensors_of(network), {"shape": json.dumps(shape)})
    write_bytes(path, data)
    return data


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Writes weights, moments and `progress` (JSON values) atomically."""
    tensors = {f"model.{name}": value for name, value in tensors_of(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value).detach().clone().contiguous()
    write_bytes(path, save(tensors, {"progress": json.dumps(progress)}))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restores weights and moments; returns the progress.  InputError with one line when the file can't be used."""
    damaged = f"{path}: is damaged or of another configuration; remove it and train from the start"
    try:
        with safe_open(str(path), "pt") as file:
            progress = json.loads((file.metadata() or {})["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                states.setdefault(int(index), {})[key] = value
        for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            for key, value in states.get(index, {}).items():
                if value.shape == parameter.shape:  # the fused optimizer reads moments in the parameter's memory order
                    states[index][key] = torch.empty_like(parameter).copy_(value).detach()
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    except FileNotFoundError:
        raise InputError(f"{path}: no checkpoint to go on from; train without --resume") from None
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"{damaged} ({' '.join(str(error).split())[:120]})") from None
    return progress
