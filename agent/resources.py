"""Finds the data files that ship with the package: worlds, parameter files, launch files, models.

A wheel or colcon puts them into `share/objective_agent`, an editable install leaves them beside the source; both must work.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path

from objective_agent.types import InputError

PACKAGE = "objective_agent"


def roots() -> list[Path]:
    """Folders that may hold the package's data, best first: ament's share folders, the environment's, the source tree."""
    prefixes = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    # Where pip puts a wheel's data differs: Debian's own Python uses /usr/local, `pip install --user` the user's base.
    prefixes += [Path(sys.prefix), Path(sysconfig.get_path("data")), Path(site.getuserbase())]
    shares = [prefix / "share" / PACKAGE for prefix in dict.fromkeys(prefixes)]
    return [*shares, Path(__file__).resolve().parent.parent]


def resource(folder: str, name: str = "") -> Path:
    """The first existing `<root>/folder/name`.  Raises InputError naming what is there instead when there is none."""
    for root in roots():
        path = root / folder / name
        if path.exists():
            return path
    known = listing(folder)
    raise InputError(f"{folder}/{name}: not found; shipped {folder}: {', '.join(known) or 'none'}; give one of these or a path")


def listing(folder: str, suffix: str = "") -> list[str]:
    """Names of the shipped files in `folder` that end with `suffix`."""
    return sorted({path.name for root in roots() if (root / folder).is_dir() for path in (root / folder).glob(f"*{suffix}")})
