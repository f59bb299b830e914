"""The graph: which nodes there are, where they live, and what may be set in a parameter file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from objective_agent.config import Strict
from objective_agent.types import ConfigurationError


@dataclass(frozen=True)
class Place:
    """A node's module, class and parameter model ("module:class")."""

    module: str
    node: str
    model: str

    def node_class(self) -> type:
        return getattr(importlib.import_module(self.module), self.node)

    def parameter_model(self) -> type[Strict]:
        module, _, name = self.model.partition(":")
        return getattr(importlib.import_module(module), name)


def _module(name: str, node: str) -> Place:
    return Place(f"objective_agent_nodes.{name}", node, f"objective_agent.config:{node}Parameters")


MODULES = {
    "perception": _module("perception", "Perception"),
    "memory": _module("memory", "Memory"),
    "world_model": _module("world_model", "WorldModel"),
    "cost": _module("cost", "Cost"),
    "configurator": _module("configurator", "Configurator"),
    "actor": _module("actor", "Actor"),
}
"""The six modules, in the order in which they are brought up."""
GATE = "safety_gate"
SIMULATOR = "simulator"
NODES = {
    GATE: Place("objective_agent_nodes.safety_gate", "SafetyGate", "objective_agent.safety:GateParameters"),
    **MODULES,
    SIMULATOR: Place("objective_agent_nodes.simulator", "Simulator", "objective_agent_nodes.simulator:SimulatorParameters"),
}
MANAGED = (GATE, *MODULES)
"""Brought up in this order, taken down in reverse: the gate first and last."""


def check_sections(sections: Mapping[str, Mapping], where: str) -> None:
    """ConfigurationError for a section of a parameter file that no node reads: a misspelt name would else go unnoticed."""
    unknown = sorted(set(sections) - set(NODES) - {"", "lifecycle_manager"})
    if unknown:
        raise ConfigurationError(f"{where}: no node is called {', '.join(unknown)}; nodes: {', '.join(NODES)}")
