"""A gate without all of its limits must not start."""

import subprocess
import sys

import pytest
from gate_rig import PARAMETERS, ROBOT
from pydantic import ValidationError

from objective_agent.safety import GateParameters, default_parameters

VALUES = PARAMETERS.model_dump()
LIMITS = [name for name, value in VALUES.items() if isinstance(value, float)]
BODY = [name for name in VALUES["robot"] if name not in ("max_reverse_speed", "actuator_delay")]


def test_the_values_are_valid():
    assert GateParameters(**VALUES) == PARAMETERS


@pytest.mark.parametrize("name", VALUES)
def test_every_limit_is_required(name):
    with pytest.raises(ValidationError, match=name):
        GateParameters(**{key: value for key, value in VALUES.items() if key != name})


@pytest.mark.parametrize("name", VALUES["robot"])
def test_every_limit_of_the_body_is_required(name):
    robot = {key: value for key, value in VALUES["robot"].items() if key != name}
    with pytest.raises(ValidationError, match=name):
        GateParameters(**VALUES | {"robot": robot})


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), None])
@pytest.mark.parametrize("name", LIMITS)
def test_no_limit_is_zero_negative_or_not_finite(name, value):
    with pytest.raises(ValidationError, match=name):
        GateParameters(**VALUES | {name: value})


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", BODY)
def test_no_limit_of_the_body_is_zero_negative_or_not_finite(name, value):
    with pytest.raises(ValidationError, match=name):
        GateParameters(**VALUES | {"robot": VALUES["robot"] | {name: value}})


def test_a_gate_without_a_source_is_refused():
    with pytest.raises(ValidationError, match="sources"):
        default_parameters(ROBOT, sources=())


@pytest.mark.parametrize(
    "changes",
    [
        {"comfortable_deceleration": 5.0},
        {"command_late": 0.5},
        {"memory": 0.1},
        {"enabled": False},
        {"resume_messages": 0},
    ],
)
def test_contradictions_and_switches_are_refused(changes):
    with pytest.raises(ValidationError):
        default_parameters(ROBOT, **changes)


def test_all_limits_are_read_only():
    fields = [*GateParameters.model_fields.values(), *GateParameters.model_fields["robot"].annotation.model_fields.values()]
    assert all((field.json_schema_extra or {}).get("read_only") for field in fields)


def test_the_core_imports_no_torch_and_no_ros():
    code = "import sys, objective_agent.safety; assert not {'torch', 'rclpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
