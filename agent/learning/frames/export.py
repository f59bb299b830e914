"""A trained model of frames as ONNX graphs, for runtimes without torch; each checked against the network it was made of.

    encoder.onnx    images [n, h, w, 3] uint8                                            -> tokens [n, T, D]
    step.onnx       history [B, W, T, D], past [B, W-1, A], action [B, N, A]             -> states [B, N, K, dynamic, D]
    rollout.onnx    history, past, actions [B, N, H, A]                                  -> states [B, N, K, H, dynamic, D]

n, B and N are free.  A predictor with a latent variable also takes `noise` [1, 1, K, H, latent] (step: [1, 1, K, latent]),
standard normal; zeros give the prior's mean.  With W = 1 there is no `past`.  The card says what was made, of which weights,
how far it is from them, and the graphs' sha256; it is written last, so that a folder is never half exported.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from objective_agent import weights
from objective_agent.config import RobotParameters
from objective_agent.learning.checkpoint import write_bytes
from objective_agent.perception.frame_jepa import FrameJepaEncoder
from objective_agent.perception.frozen import OnnxBackbone
from objective_agent.types import ConfigurationError, InputError, ObjectiveAgentError
from objective_agent.world_model.frame_jepa import FrameJepa
from objective_agent.world_model.frame_network import FramePredictor

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference from the network that is accepted, as a share of the largest value."""
SIZES = ((2, 3), (1, 64), (3, 1))
"""Problems and candidates that each graph is tried with."""


class ExportError(ObjectiveAgentError):
    """The graph says something else than the network."""


class Step(nn.Module):
    """One step of all futures."""

    def __init__(self, predictor: FramePredictor, futures: int):
        super().__init__()
        self.predictor, self.futures = predictor, futures

    def forward(self, history: Tensor, past: Tensor, action: Tensor, noise: Tensor | None = None) -> Tensor:
        noise = None if noise is None else noise[:, :, :, None]
        return self.predictor.rollout(history, past, action[:, :, None], self.futures, noise)[:, :, :, 0]


class Rollout(nn.Module):
    """All steps of all futures."""

    def __init__(self, predictor: FramePredictor, futures: int):
        super().__init__()
        self.predictor, self.futures = predictor, futures

    def forward(self, history: Tensor, past: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.predictor.rollout(history, past, actions, self.futures, noise)


def export_model(
    folder: Path, horizon: int = 4, futures: int | None = None, report: Callable[[str], None] = lambda part: None
) -> dict[str, Any]:
    """Writes the graphs and the card's section `onnx`, and returns it.  `futures`: as many as the predictor has members.

    An encoder that is an ONNX graph already (kind `frozen`) is left as it is.  ConfigurationError when the folder holds no
    model of frames or `onnx` is not installed; ExportError when a graph and its network differ: then nothing is written.
    """
    card = weights.read_card(folder, kind=weights.FRAMES)
    encoder = FrameJepaEncoder(FrameJepaEncoder.Config(model=str(folder)), RobotParameters())
    predictor = FrameJepa(FrameJepa.Config(model=str(folder)), RobotParameters()).network
    shape = predictor.shape
    futures = shape.heads if futures is None else futures
    if not 1 <= horizon <= 256 or futures < 1 or (futures > shape.heads and not shape.latent):
        raise InputError(f"export: horizon {horizon}, futures {futures}; this model has 1 to {shape.heads} futures, H 1 to 256")
    batch, many = {0: "B"}, {0: "B", 1: "N"}
    free = {"history": batch, "past": batch}
    jobs: dict[str, tuple[nn.Module, Callable[[int, int], dict[str, Tensor]], dict]] = {
        "step": (Step(predictor, futures), _step_inputs(predictor, futures), {**free, "action": many}),
        "rollout": (Rollout(predictor, futures), _inputs(predictor, futures, horizon), {**free, "actions": many}),
    }
    if not isinstance(getattr(encoder.network, "body", None), OnnxBackbone):
        jobs = {"encoder": (encoder.network, _pictures(encoder.network.shape.size), {"images": {0: "n"}}), **jobs}
    files, graphs = {}, {}
    for part, (network, inputs, axes) in jobs.items():
        report(part)
        graph = to_onnx(network, inputs(*SIZES[0]), axes)
        difference, milliseconds = compare(network, graph, inputs, f"{folder}/{part}.onnx")
        graphs[folder / f"{part}.onnx"] = graph
        files[part] = {
            "sha256": hashlib.sha256(graph).hexdigest(),
            "bytes": len(graph),
            "largest_difference": float(f"{difference:.2g}"),
            "milliseconds": milliseconds,
        }
    about = {
        "opset": OPSET,
        "horizon": horizon,
        "futures": futures,
        "shape": {"tokens": encoder.tokens, "dynamic": encoder.dynamic, "features": encoder.features}
        | {"size": encoder.network.shape.size, "history": shape.history, "actions": shape.actions, "latent": shape.latent},
        "of": {part: card["sha256"][part] for part in ("encoder", "predictor")},
        "files": files,
    }
    for path, graph in graphs.items():
        write_bytes(path, graph)
    card = {**{name: value for name, value in card.items() if name != "sha256"}, weights.ONNX: about, "sha256": card["sha256"]}
    write_bytes(folder / weights.CARD, yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120).encode())
    return about


def to_onnx(network: nn.Module, inputs: dict[str, Tensor], axes: dict[str, dict[int, str]]) -> bytes:
    """The graph of `network(*inputs)` with the `axes` free.  ConfigurationError without the package onnx."""
    try:
        import onnx  # noqa: F401 - what writes the file
    except ImportError:
        raise ConfigurationError("export: needs onnx: pip install 'objective_agent[export,cpu]'") from None
    network.eval()
    file, logger = io.BytesIO(), logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # shapes that are constants are meant to be: what is free is tried out below
            torch.onnx.export(
                network,
                tuple(inputs.values()),
                file,
                input_names=[*inputs],
                output_names=["out"],
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,  # the newer exporter needs one package more and ten times as long, for the same graph
            )
    finally:
        logger.setLevel(level)
    return file.getvalue()


def compare(
    network: nn.Module, graph: bytes, inputs: Callable[[int, int], dict[str, Tensor]], where: str
) -> tuple[float, dict[str, float]]:
    """(largest difference as a share of the largest value, milliseconds of one processor for 1 problem: torch and onnxruntime).

    ExportError when it exceeds the tolerance for any of `SIZES`.
    """
    session = weights.onnx_session(graph, where)
    names = {entry.name for entry in session.get_inputs()}
    worst = 0.0
    for size in SIZES:
        given = inputs(*size)
        with torch.inference_mode():
            expected = network(*given.values()).numpy()
        found = session.run(None, {name: value.numpy() for name, value in given.items() if name in names})[0]
        if found.shape != expected.shape:
            raise ExportError(f"{where}: gives {found.shape}, the network {expected.shape}")
        worst = max(worst, float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6)))
    if not worst <= TOLERANCE:
        raise ExportError(f"{where}: differs from the network by {worst:.2g} of its largest value")
    given = inputs(1, 64)
    known = {name: value.numpy() for name, value in given.items() if name in names}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            times = _times({"torch": lambda: network(*given.values()), "onnxruntime": lambda: session.run(None, known)})
    finally:
        torch.set_num_threads(threads)
    return worst, times


def _times(runs: dict[str, Callable[[], Any]], repeats: int = 15) -> dict[str, float]:
    """Median milliseconds of processor time of each, in turns: on a busy machine the two are comparable all the same."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            begun = time.process_time()
            run()
            if turn:  # the first is the warm-up
                found[name].append(time.process_time() - begun)
    return {name: round(1000 * float(np.median(spent)), 2) for name, spent in found.items()}


def _pictures(size: int) -> Callable[[int, int], dict[str, Tensor]]:
    return lambda batch, _: {"images": torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)}


def _inputs(predictor: FramePredictor, futures: int, horizon: int) -> Callable[[int, int], dict[str, Tensor]]:
    shape = predictor.shape

    def make(batch: int, candidates: int) -> dict[str, Tensor]:
        given = {
            "history": torch.randn(batch, shape.history, shape.tokens, shape.features),
            "past": torch.rand(batch, shape.history - 1, shape.actions) * 2 - 1,
            "actions": torch.rand(batch, candidates, horizon, shape.actions) * 2 - 1,
        }
        return given | ({"noise": torch.randn(1, 1, futures, horizon, shape.latent)} if shape.latent else {})

    return make


def _step_inputs(predictor: FramePredictor, futures: int) -> Callable[[int, int], dict[str, Tensor]]:
    def make(batch: int, candidates: int) -> dict[str, Tensor]:
        given = _inputs(predictor, futures, 1)(batch, candidates)
        found = {"history": given["history"], "past": given["past"], "action": given["actions"][:, :, 0]}
        return found | ({"noise": given["noise"][:, :, :, 0]} if "noise" in given else {})

    return make
