"""Which model the demo drives with, as parameters of the graph: the learned one, or the classical parts that ship beside it."""

from __future__ import annotations

import argparse
from pathlib import Path

from objective_agent import resources, weights
from objective_agent.config import load_node_parameters
from objective_agent.types import ConfigurationError

ANALYTIC = "analytic"
DEFAULT_MODEL = "models/apartment"
MODULES = {"perception": "encoder", "world_model": "world_model"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=None,
        metavar="DIR",
        help=f"learned model to drive with, or {ANALYTIC}: the classical parts (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="ROS parameter file (default: config/learned.yaml; analytic: sim.yaml)"
    )


def choose(model: str | None, params: Path | None) -> tuple[Path, dict[str, dict], str]:
    """(parameter file, parameters by node that stand above it, model's name) for `run.Graph`.

    A parameter file without `--model` is taken as it is.  ConfigurationError, with the mend, when the model can't be loaded.
    """
    if model is None and params is not None:
        return params, {}, named(load_node_parameters(params))
    if model == ANALYTIC:
        return params or resources.resource("config", "sim.yaml"), {}, ANALYTIC
    path = params or resources.resource("config", "learned.yaml")
    folder = loadable(model or DEFAULT_MODEL)
    sections, extra = load_node_parameters(path), {}
    for node, plugin in MODULES.items():
        given = sections.get(node, {}).get(plugin, {})
        settings = given if given.get("plugin") == "jepa" else {}
        extra[node] = {plugin: {**settings, "plugin": "jepa", "model": str(folder)}}
    return path, extra, str(model or DEFAULT_MODEL)


def loadable(model: str) -> Path:
    """The model's folder, its files checked."""
    try:
        folder = weights.find_model(model)
        card = weights.read_card(folder)
        for part in ("encoder", "predictor"):
            weights.read_weights(folder, part, card)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; or drive with the classical parts: demo --model {ANALYTIC}") from None
    return folder.resolve()


def named(sections: dict[str, dict]) -> str:
    """What a parameter file drives with."""
    spec = sections.get("world_model", {}).get("world_model", {})
    return str(spec.get("model", ANALYTIC)) if spec.get("plugin") == "jepa" else ANALYTIC
