"""What gets installed: the wheel's content, the ROS package manifest, the entry points."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest

import objective_agent

ROOT = Path(__file__).resolve().parents[2]
NODES = ["simulator", "perception", "world_model", "memory", "actor", "cost", "configurator"]
NODES += ["safety_gate", "lifecycle_manager", "agent"]
DATA = f"objective_agent-{objective_agent.__version__}.data/data/"
DIST = f"objective_agent-{objective_agent.__version__}.dist-info/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of this tree, built in a copy."""
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "demo_out", "__pycache__", "install", "log")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", ".", "./tree"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def files(folder: str) -> set[str]:
    """Files of the tree under `folder`, less caches."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts and path.name[0] != "."}


@pytest.mark.parametrize("folder", ["launch", "config", "worlds", "models"])
def test_data_files_are_installed_to_share_with_their_folders(wheel, folder):
    expected = {f"{DATA}share/objective_agent/{name}" for name in files(folder)}
    assert expected <= set(wheel.namelist())
    assert expected or folder == "models"


def test_ament_finds_the_package(wheel):
    names = set(wheel.namelist())
    assert f"{DATA}share/ament_index/resource_index/packages/objective_agent" in names
    assert f"{DATA}share/objective_agent/package.xml" in names


def test_both_packages_are_in_the_wheel_whole_and_nothing_else_is(wheel):
    code = {name for name in wheel.namelist() if name.endswith(".py") and not name.startswith(DATA)}
    expected = {name.replace("agent/", "objective_agent/", 1) for name in files("agent") if name.endswith(".py")}
    expected |= {name.replace("nodes/", "objective_agent_nodes/", 1) for name in files("nodes") if name.endswith(".py")}
    assert code == expected
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"objective_agent", "objective_agent_nodes", DATA.partition("/")[0], DIST.rstrip("/")}


def test_commands_nodes_and_plugin_groups_are_registered(wheel):
    points = configparser.ConfigParser(delimiters="=")
    points.optionxform = str
    points.read_string(wheel.read(f"{DIST}entry_points.txt").decode())
    scripts = dict(points["console_scripts"])
    assert scripts.pop("objective-agent") == "objective_agent.cli.main:main"
    assert set(scripts) == set(NODES)
    for target in [*scripts.values(), *points["objective_agent.commands"].values()]:
        module, _, function = target.partition(":")
        source = ROOT / (module.replace("objective_agent_nodes", "nodes").replace(".", "/") + ".py")
        assert source.is_file(), f"{target}: there is no {source.relative_to(ROOT)}"
        functions = {node.name for node in ast.parse(source.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert (function or "main") in functions, f"{target}: {source.relative_to(ROOT)} has no {function or 'main'}()"


def test_a_plain_install_brings_no_ros_wheels(wheel):
    metadata = wheel.read(f"{DIST}METADATA").decode()
    plain = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert any("torch>=2.6" in line for line in plain)
    assert not [line for line in plain if "ros-" in line or "mujoco" in line or "onnxruntime" in line]
    extras = set(re.findall(r"^Provides-Extra: (.+)$", metadata, re.M))
    assert {"ros", "sim", "train", "pusht", "cpu", "gpu", "export", "test"} <= extras


def test_the_manifest_is_a_format_3_ament_python_package_of_the_same_version():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.findtext("name") == "objective_agent"
    assert package.findtext("version") == objective_agent.__version__
    assert package.findtext("license") == "Apache-2.0"
    assert package.find("license").get("file") == "LICENSE" and (ROOT / "LICENSE").is_file()
    assert package.findtext("export/build_type") == "ament_python"
    assert (ROOT / "resource" / "objective_agent").is_file()


def test_the_manifest_names_every_message_package_that_the_nodes_import():
    named = {tag.text for tag in ElementTree.parse(ROOT / "package.xml").getroot() if tag.tag.endswith("depend")}
    used = set()
    for path in (ROOT / "nodes").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and re.search(r"\.(msg|srv|action)$", node.module):
                used.add(node.module.split(".")[0])
    assert used - named == set()


def test_constraints_agree_with_the_requirements():
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
    assert pinned["torch"] == "2.13.0"
    setup = (ROOT / "setup.py").read_text()
    ros = set(re.findall(r'"(ros-jazzy-[\w-]+)==', setup))
    assert ros and not ros & pinned.keys(), "the ROS wheels' versions stand in setup.py alone"


@pytest.mark.parametrize("name", ["bringup", "sim", "gazebo"])
def test_launch_files_start_only_executables_that_exist(name):
    """Runs where launch is not installed: executables are read from the source."""
    tree = ast.parse((ROOT / "launch" / f"{name}.launch.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "executable" and isinstance(node.value, ast.Constant):
            assert node.value.value in [*NODES, "rviz2", "parameter_bridge"]
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "MODULES":
            assert set(ast.literal_eval(node.value)) <= set(NODES)
