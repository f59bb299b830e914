"""Trained models on disk: a folder with safetensors files and a card.

    models/NAME/  card.yaml              how it was made, what it was measured at, its calibration, the files' sha256
                  encoder.safetensors    each file carries the settings that its shapes depend on (`shape`, JSON)
                  predictor.safetensors

A file whose sha256 is not the card's is never loaded.  Shared by the plugins that have weights; imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from objective_agent import resources
from objective_agent.types import ConfigurationError, InputError

CARD = "card.yaml"
ONNX = "onnx"
"""The card's section on graphs that were exported."""
FRAMES = "frames"
"""`kind` in the card of a model whose world is pictures alone; the robot's models have none."""
REMEDY = "restore it or train again: objective-agent train"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a robot may read a card while it drives: the fast one, where it is


def find_model(name: str) -> Path:
    """The folder `name`, or the shipped model of that name.  ConfigurationError when there is neither."""
    folder = Path(name)
    if folder.is_dir():
        return folder
    if not folder.is_absolute():
        try:
            return resources.resource("models", folder.name)
        except InputError:
            pass
    raise ConfigurationError(f"model {name}: no such folder, and none of that name ships; objective-agent train makes one")


def read_card(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """The model's card.  ConfigurationError with one line when it is missing, damaged or, given a `kind`, of another one."""
    path = folder / CARD
    try:
        card = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}; a model is a folder that train wrote") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigurationError(f"{path}: is damaged (not YAML); {REMEDY}") from None
    if not isinstance(card, dict) or not isinstance(card.get("sha256"), dict):
        raise ConfigurationError(f"{path}: is damaged (no sha256 of the weights); {REMEDY}")
    if kind is not None and card.get("kind") != kind:
        raise ConfigurationError(f"{folder}: is a model of kind {card.get('kind', 'robot')}, needed is one of kind {kind}")
    return card


def read_weights(folder: Path, part: str, card: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict, str]:
    """(arrays by name, settings of the shapes, sha256) of `part` ("encoder" or "predictor").

    ConfigurationError when the file is missing, damaged, or not the one that the card was written for.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path, expected = folder / f"{part}.safetensors", str(card["sha256"].get(part))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}; a model is a folder that train wrote") from None
    following = next_file(folder, part)
    if hashlib.sha256(data).hexdigest() != expected and following.is_file():
        data = following.read_bytes()  # the part was being replaced when the power went: the card says which one counts
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ConfigurationError(f"{path}: sha256 {found[:12]} is not the card's {expected[:12]}; {REMEDY}")
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return load(data), json.loads(header["__metadata__"]["shape"]), found
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{path}: holds no weights of this program ({error}); {REMEDY}") from None


def read_graph(folder: Path, part: str, card: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """(ONNX graph `part`, the card's section on the export).  ConfigurationError when there is none, it is damaged, or it was
    made of other weights than the folder's."""
    again = f"objective-agent export --model {folder}"
    about = card.get(ONNX)
    if not isinstance(about, dict) or part not in (about.get("files") or {}):
        raise ConfigurationError(f"{folder}: has no {part}.onnx; make it with: {again}")
    if any(card["sha256"].get(name) != sha for name, sha in about["of"].items()):
        raise ConfigurationError(f"{folder}: its ONNX graphs were made of other weights; make them anew: {again}")
    path, expected = folder / f"{part}.onnx", str(about["files"][part]["sha256"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}; make it anew: {again}") from None
    if (found := hashlib.sha256(data).hexdigest()) != expected:
        raise ConfigurationError(f"{path}: sha256 {found[:12]} is not the card's {expected[:12]}; make it anew: {again}")
    return data, about


def onnx_session(graph: bytes, where: str, threads: int = 1) -> Any:
    """An onnxruntime session for a graph.  ConfigurationError without onnxruntime, or for bytes that are no graph."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigurationError(f"{where}: needs onnxruntime: pip install 'objective_agent[cpu]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        raise ConfigurationError(f"{where}: not a usable ONNX graph: {' '.join(str(error).split())[:200]}") from None


def next_file(folder: Path, part: str) -> Path:
    """Where a new version of `part` waits until the card that names it is written."""
    return folder / f"{part}.next.safetensors"


def load_into(network: Any, arrays: dict[str, np.ndarray], where: str) -> None:
    """Puts `arrays` into a torch module.  ConfigurationError when they don't fit."""
    import torch

    try:
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    except RuntimeError as error:
        raise ConfigurationError(
            f"{where}: weights do not fit their description: {' '.join(str(error).split())[:200]}"
        ) from None
