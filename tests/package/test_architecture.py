"""The rules of the house, read from the source: who may import whom, what must stay free of torch, how long a file may get."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AGENT, NODES = "objective_agent", "objective_agent_nodes"
MODULES = ("perception", "world_model", "cost", "actor", "memory", "configurator", "safety")
CONTRACTS = {"types", "protocols", "config", "plugins", "weights", "devices"}
TORCH_FREE = ("", ".safety", ".memory", ".cost", ".configurator", ".types", ".config", ".plugins", ".protocols")
ROS = {"rclpy", "launch", "launch_ros", "ament_index_python"}


def sources(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> set[str]:
    """Full names of everything a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                folder = path.relative_to(ROOT).parts[: -node.level]
                package = ".".join([{"agent": AGENT, "nodes": NODES}[folder[0]], *folder[1:], *([package] if package else [])])
            found |= {f"{package}.{alias.name}" for alias in node.names}
    return found


def offenders(paths, forbidden) -> list[str]:
    return [f"{path.relative_to(ROOT)}: {name}" for path in paths for name in sorted(imports(path)) if forbidden(name)]


def test_the_two_links_give_the_packages_their_names():
    for link, folder in ((AGENT, "agent"), (NODES, "nodes")):
        assert os.readlink(ROOT / link) == folder


def test_the_mind_imports_neither_ros_nor_the_nodes():
    assert offenders(sources("agent"), lambda name: name.partition(".")[0] in {*ROS, NODES}) == []


@pytest.mark.parametrize("folder", ["agent", "nodes", "tests", "launch", "benchmarks"])
def test_nobody_imports_the_folders_by_their_own_names(folder):
    assert offenders(sources(folder), lambda name: name.partition(".")[0] in {"agent", "nodes"}) == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_architecture_knows_the_contracts_and_no_sibling(module):
    def forbidden(name: str) -> bool:
        parts = name.split(".")
        return parts[0] == AGENT and len(parts) > 1 and parts[1] not in {*CONTRACTS, module}

    assert sources(f"agent/{module}"), f"agent/{module} is empty"
    assert offenders(sources(f"agent/{module}"), forbidden) == []


@pytest.mark.parametrize("module", ["safety", "memory", "cost", "configurator"])
def test_the_source_of_torch_free_modules_names_no_torch(module):
    assert offenders(sources(f"agent/{module}"), lambda name: name.partition(".")[0] == "torch") == []


def test_torch_free_packages_do_not_load_torch_through_the_back_door():
    code = "import importlib, json, sys\nfound = {}\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "    found[name] = sorted({'torch', 'rclpy'} & set(sys.modules))\nprint(json.dumps(found))"
    names = [AGENT + suffix for suffix in TORCH_FREE]
    for module in ("safety", "memory", "cost", "configurator"):
        names += [
            ".".join((AGENT, *path.relative_to(ROOT / "agent").with_suffix("").parts)) for path in sources(f"agent/{module}")
        ]
    names = [name.removesuffix(".__init__") for name in names]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {name: heavy for name, heavy in json.loads(done.stdout).items() if heavy} == {}


@pytest.mark.parametrize(("folder", "limit"), [("agent", 399), ("nodes", 200), ("launch", 200)])
def test_files_stay_short(folder, limit):
    long = {
        str(path.relative_to(ROOT)): lines for path in sources(folder) if (lines := len(path.read_text().splitlines())) > limit
    }
    assert long == {}


@pytest.mark.parametrize("folder", ["agent", "nodes"])
def test_every_file_begins_with_what_it_is_and_every_folder_is_a_package(folder):
    for path in sources(folder):
        text = path.read_text()
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"
        assert (path.parent / "__init__.py").is_file(), (
            f"{path.parent.relative_to(ROOT)} has no __init__.py and would not be packaged"
        )


def test_launch_is_not_a_package_that_would_hide_the_launch_of_ros():
    assert not (ROOT / "launch" / "__init__.py").exists()


def test_no_pickle():
    names = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    paths = [path for folder in ("agent", "nodes", "benchmarks") for path in sources(folder)]
    assert offenders(paths, lambda name: name.partition(".")[0] in names) == []
    for path in paths:
        assert "weights_only=False" not in path.read_text()
        assert "allow_pickle=True" not in path.read_text()
