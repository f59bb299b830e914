"""The parameter files that ship: config/sim.yaml shows every parameter once, with its default; all are valid."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from objective_agent import resources
from objective_agent.config import AgentParameters, RobotParameters, load_node_parameters, load_parameters
from objective_agent.safety import default_parameters
from objective_agent.types import ConfigurationError
from objective_agent_nodes.graph import GATE, NODES, check_sections
from objective_agent_nodes.parameters import CommonParameters, build, flatten

SIM = resources.resource("config", "sim.yaml")
ROBOT = resources.resource("config", "robot.yaml")
LEARNED = resources.resource("config", "learned.yaml")
GOAL_IMAGE = resources.resource("config", "goal_image.yaml")


def leaves(data: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in data.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def sections(path: Path) -> dict[str, dict[str, object]]:
    return {name: leaves(node["ros__parameters"]) for name, node in yaml.safe_load(path.read_text()).items()}


@pytest.mark.parametrize("name", sorted(NODES))
def test_every_parameter_stands_in_sim_yaml_once_with_its_default(name):
    model = default_parameters(RobotParameters()) if name == GATE else NODES[name].parameter_model()()
    wanted = {entry.name: entry.value for entry in flatten(model) if not entry.name.startswith("robot.")}
    assert set(sections(SIM)[name]) == set(wanted)
    assert {key: value for key, value in sections(SIM)[name].items() if value != wanted[key]} == {}


def test_the_shared_section_holds_the_common_parameters():
    wanted = {entry.name: entry.value for entry in flatten(CommonParameters())}
    assert sections(SIM)["/**"] == {"use_sim_time": True, **wanted}
    assert set(sections(SIM)) == {"/**", *NODES}


def test_every_line_of_sim_yaml_says_what_the_parameter_is():
    bare = [line for line in SIM.read_text().splitlines() if line.startswith("    ") and not line.rstrip().endswith(":")]
    assert [line for line in bare if "  #" not in line] == []


@pytest.mark.parametrize("path", [SIM, ROBOT, LEARNED, GOAL_IMAGE], ids=["sim", "robot", "learned", "goal_image"])
def test_the_files_are_valid_for_every_node(path):
    given = load_node_parameters(path)
    check_sections(given, str(path))
    for name, place in NODES.items():
        values = given.get(name, given[""])
        values.pop("use_sim_time", None)
        build(place.parameter_model(), values, name)


def test_evaluate_reads_the_same_defaults_from_sim_yaml():
    read, default = load_parameters(SIM), AgentParameters()
    assert read.robot == default.robot
    for module in ("perception", "memory", "world_model", "cost", "actor", "configurator"):
        assert list(flatten(getattr(read, module))) == list(flatten(getattr(default, module)))


def test_a_misspelt_section_is_refused():
    with pytest.raises(ConfigurationError, match="no node is called acter"):
        check_sections({"": {}, "acter": {}}, "file")
