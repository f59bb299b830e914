"""The documentation's examples work, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from objective_agent.config import RobotParameters

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_objective_in_the_architecture_page_works_on_numpy_and_torch():
    page = (ROOT / "docs" / "architecture.md").read_text()
    source = next(block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "class StaySlow" in block)
    names: dict = {"__name__": "example"}
    exec(compile(source, "docs/architecture.md", "exec", dont_inherit=True), names)
    robot = RobotParameters()
    objective = names["StaySlow"](names["StaySlow"].Config(), robot)
    velocities = np.zeros((1, 2, 1, 3, 2), np.float32)
    velocities[0, 1, 0, :, 0] = robot.max_speed
    for array in (velocities, torch.as_tensor(velocities)):
        energy = objective.energy(SimpleNamespace(velocities=array), None)
        assert tuple(energy.shape) == (1, 2, 1, 3)
        np.testing.assert_allclose(np.asarray(energy)[0, :, 0, 0], [0, 0.5 * robot.max_speed], atol=1e-6)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"(?<!!)\[[^]]*\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readme_names_every_command():
    from objective_agent.cli.discovery import commands

    readme = (ROOT / "README.md").read_text()
    assert [name for name in commands() if f"objective-agent {name}" not in readme] == []
