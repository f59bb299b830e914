"""Finds the commands without importing them, so that `--help` costs milliseconds and needs neither torch nor ROS.

A command is a module with a `HELP` line, `add_arguments(parser)`, `main(args) -> int` and perhaps an `EXAMPLE`.  It is one of

- a file of this package,
- an entry point of the group `objective_agent.commands` (`run` and `demo` come this way, and third parties' commands),
- when the package runs from its source tree without being installed: the same `run` and `demo`, by name.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import objective_agent.cli

GROUP = "objective_agent.commands"
NOT_INSTALLED = {"run": "objective_agent_nodes.run", "demo": "objective_agent_nodes.demo"}


@dataclass(frozen=True)
class Command:
    """A command that was found: its name, the module that implements it and, read from its source, its one line of help."""

    name: str
    module: str
    help: str

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)


def commands() -> dict[str, Command]:
    """All commands by name, in alphabetical order."""
    modules = dict(NOT_INSTALLED)
    modules |= {point.name: point.value.partition(":")[0] for point in entry_points(group=GROUP)}
    modules |= {
        info.name: f"{objective_agent.cli.__name__}.{info.name}" for info in pkgutil.iter_modules(objective_agent.cli.__path__)
    }
    found = {}
    for name, module in sorted(modules.items()):
        text = help_line(source_of(module))
        if text is not None:
            found[name] = Command(name, module, text)
    return found


def source_of(module: str) -> Path | None:
    """The source file of a module that may not be imported yet; None when there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def help_line(source: Path | None) -> str | None:
    """The `HELP` string assigned at a file's top level; None when the file is not a command."""
    if source is None:
        return None
    try:
        tree = ast.parse(source.read_text())
    except (OSError, SyntaxError, ValueError):
        return None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "HELP" for target in targets):
            try:
                return str(ast.literal_eval(node.value))
            except ValueError:
                return ""
    return None
