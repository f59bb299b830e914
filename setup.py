"""Packages agent/ and nodes/ under their import names, with launch files, config, worlds and models in share/.

The names come from two links in the root (objective_agent -> agent, objective_agent_nodes -> nodes), not from a `package_dir`
mapping, which `colcon build --symlink-install` and old editable installs can't follow on Ubuntu 24.04.
"""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

NAME = "objective_agent"
ROOT = Path(__file__).parent
SHARED = ("launch", "config", "worlds", "models")
NODES = (
    "simulator",
    "perception",
    "world_model",
    "memory",
    "actor",
    "cost",
    "configurator",
    "safety_gate",
    "lifecycle_manager",
)

for link, target in (("objective_agent", "agent"), ("objective_agent_nodes", "nodes")):
    if not (ROOT / link / "__init__.py").is_file():
        sys.exit(
            f"setup.py: {link} must be a link to {target}/, but it isn't one here: "
            "check the repository out with links (git config core.symlinks true)"
        )


def version() -> str:
    # Through the link: colcon --symlink-install runs this file in a build folder that holds only links to the packages.
    return re.search(r'^__version__ = "(.+)"', (ROOT / NAME / "__init__.py").read_text(), re.M)[1]


def readme() -> str:
    path = ROOT / "README.md"
    return path.read_text() if path.is_file() else ""


def shared_files() -> list[tuple[str, list[str]]]:
    """(folder under the prefix, files) for all that goes to share/, folders kept as they are."""
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ]
    for top in SHARED:
        for folder in [Path(top), *sorted(Path(top).rglob("*"))]:
            if not folder.is_dir() or "__pycache__" in folder.parts:
                continue
            here = sorted(str(path) for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
            if here:
                files.append((f"share/{NAME}/{folder.as_posix()}", here))
    return files


ROS = [  # the Jazzy wheels; a robot has its own from apt, and the two must never be in one environment
    "ros-jazzy-rclpy==7.1.6",
    "ros-jazzy-rmw-fastrtps-cpp==8.4.3",
    "ros-jazzy-common-interfaces==5.3.6",
    "ros-jazzy-lifecycle-msgs==2.0.3",
    "ros-jazzy-rosgraph-msgs==2.0.3",
    "ros-jazzy-action-msgs==2.0.3",
]
PICTURES = ["matplotlib", "imageio-ffmpeg"]
BAGS = ["rosbags", "mcap", "mcap-ros2-support"]

setup(
    name=NAME,
    version=version(),
    description="Robot behaviour by planning in a learned world model, under guardrails no goal can argue away",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="objective_agent developers",
    maintainer_email="objective-agent@users.noreply.github.com",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*", f"{NAME}_nodes", f"{NAME}_nodes.*"]),
    data_files=shared_files(),
    zip_safe=False,
    install_requires=[
        "numpy>=1.26,<3",
        "torch>=2.6",
        "pydantic>=2",
        "pyyaml",
        "opencv-python-headless",
        "safetensors",
        "rich",
    ],
    extras_require={
        "ros": ROS,
        "sim": ["mujoco", "gymnasium", *PICTURES, *BAGS],
        "train": [*PICTURES, *BAGS],
        "cpu": ["onnxruntime"],
        "gpu": ["onnxruntime-gpu"],
        "export": ["onnx"],  # with cpu or gpu, which run what was exported
        # What gym-pusht needs. It itself comes with `pip install --no-deps gym-pusht==0.1.8`, since it asks for opencv-python,
        # whose files would overwrite those of opencv-python-headless.
        "pusht": ["pymunk>=6.6,<7", "pygame>=2.5.2", "shapely>=2.0.3"],
        "view": ["foxglove-sdk"],
        "test": ["pytest", "hypothesis", "ruff"],
    },
    entry_points={
        "console_scripts": [
            f"objective-agent = {NAME}.cli.main:main",
            f"agent = {NAME}_nodes.agent_process:main",
            *(f"{node} = {NAME}_nodes.{node}:main" for node in NODES),
        ],
        f"{NAME}.commands": [
            f"run = {NAME}_nodes.run",
            f"demo = {NAME}_nodes.demo",
        ],
    },
)
