"""What a measurement was taken on: the machine and the versions, for summary.json."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "mujoco", "rclpy")


def hardware() -> str:
    """The processor and how many of its cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {cores} cores"


def versions() -> dict[str, str]:
    """Versions of this package, Python, and what it computes with."""
    from objective_agent import __version__

    found = {"objective_agent": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        for candidate in (name, f"ros-jazzy-{name}"):
            try:
                found[name] = version(candidate)
                break
            except PackageNotFoundError:
                continue
    return found
