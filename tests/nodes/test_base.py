"""A module node over real DDS: parameters, lifecycle, diagnostics, quality of service."""

import json

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from pydantic import Field
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from objective_agent.config import ActorParameters, CostParameters, MemoryParameters, Positive, Strict
from objective_agent.types import InputError
from objective_agent_nodes import parameters, qos
from objective_agent_nodes.base import FAILURE, SUCCESS, ModuleNode


class Settings(Strict):
    speed: Positive = Field(1.0, description="how fast, m/s")
    samples: int = Field(3, ge=1, le=9, description="how many")
    fixed: float = Field(0.5, gt=0, description="can't be changed", json_schema_extra={"read_only": True})


class Echo(ModuleNode):
    """Counts what it hears; refuses `bad`."""

    def __init__(self, **options):
        super().__init__("echo", Settings, **options)
        self.heard, self.applied = [], []

    def setup(self):
        self.listen(String, "words", self.hear)

    def hear(self, message):
        if message.data == "bad":
            raise InputError("this word is not accepted")
        self.heard.append(message.data)

    def on_parameters(self, new):
        self.applied.append(new)


def call(ros, until, node, kind, name, request):
    client = node.create_client(kind, name)
    assert client.wait_for_service(5)
    future = client.call_async(request)
    assert until(future.done)
    return future.result()


def test_a_bad_parameter_makes_configure_fail_with_name_value_and_range(ros):
    node = ros.add(Echo(**ros.overrides(speed=-1.0, spede=2)))
    assert node.trigger_configure() == FAILURE
    assert "speed = -1.0: should be greater than 0" in node.failure
    assert "spede: unknown parameter" in node.failure and "\n" not in node.failure


def test_floats_accept_integers_and_descriptors_say_what_is_allowed(ros):
    node = ros.add(Echo(**ros.overrides(speed=2, robot__radius=0.25)))
    assert node.trigger_configure() == SUCCESS
    assert node.parameters.speed == 2.0 and node.robot.radius == 0.25
    described = node.describe_parameter("samples")
    assert described.description == "how many" and described.integer_range[0].to_value == 9
    assert node.describe_parameter("fixed").read_only and node.describe_parameter("robot.radius").read_only


@pytest.mark.parametrize(
    "name, value, ok",
    [("speed", 3, True), ("speed", -1.0, False), ("samples", 10, False), ("samples", "x", False), ("fixed", 0.7, False)],
)
def test_a_change_is_checked_and_really_applied(ros, name, value, ok):
    node = ros.add(Echo(**ros.overrides()))
    node.trigger_configure()
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert result.successful is ok
    assert [getattr(new, name) for new in node.applied] == ([value] if ok else [])
    assert (getattr(node.parameters, name) == value) is ok
    assert ok or name in result.reason


def test_settings_are_published_for_late_joiners_and_again_when_they_change(ros, until):
    node = ros.add(Echo(**ros.overrides()))
    node.trigger_configure()
    heard = []
    ros.node().create_subscription(String, "echo/settings", lambda m: heard.append(json.loads(m.data)), qos.LATCHED)
    assert until(lambda: heard)
    assert heard[0] == {"speed": 1.0, "samples": 3, "fixed": 0.5}
    node.set_parameters([Parameter("samples", value=5)])
    assert until(lambda: heard[-1]["samples"] == 5)


def test_configure_can_be_repeated_after_cleanup(ros):
    node = ros.add(Echo(**ros.overrides()))
    for _ in range(3):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
    assert not node.has_parameter("speed")


def test_an_invalid_transition_is_answered_no_and_the_node_lives_on(ros, until):
    node, tester = ros.add(Echo(**ros.overrides())), ros.node()
    request = ChangeState.Request()
    for transition, ok in ((3, False), (99, False), (1, True), (1, False), (3, True), (4, True)):
        request.transition.id = transition
        answer = call(ros, until, tester, ChangeState, "echo/change_state", request)
        assert answer.success is ok, transition
    assert call(ros, until, tester, GetState, "echo/get_state", GetState.Request()).current_state.label == "inactive"
    assert node.configured


def test_messages_count_only_while_active_and_a_bad_one_ends_nothing(ros, until):
    node, tester = ros.add(Echo(**ros.overrides())), ros.node()
    words = tester.create_publisher(String, "words", 10)
    health = []
    tester.create_subscription(DiagnosticArray, "/diagnostics", lambda m: health.append(m.status[0]), 10)
    node.trigger_configure()
    assert until(lambda: words.get_subscription_count())
    assert until(lambda: health and health[-1].message == "inactive")
    words.publish(String(data="early"))
    node.trigger_activate()
    words.publish(String(data="bad"))
    assert until(lambda: node.refused == 1)
    words.publish(String(data="good"))
    assert until(lambda: node.heard == ["good"])
    assert until(lambda: health[-1].message == "ok")
    assert {v.key: v.value for v in health[-1].values}["last_refusal"] == "words: this word is not accepted"
    assert health[-1].name == "echo" and health[-1].level == b"\x00"


def test_an_incompatible_publisher_is_reported_with_the_remedy(ros, until, monkeypatch):
    node, tester = Echo(**ros.overrides()), ros.node()
    lines = []
    monkeypatch.setattr(node.get_logger(), "error", lambda line, **_: lines.append(line))
    ros.add(node).trigger_configure()
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
    tester.create_publisher(String, "words", profile)
    assert until(lambda: lines)
    assert lines[0] == (
        "words: a publisher with incompatible reliability can't be connected; publish it reliable, or subscribe best-effort"
    )


@pytest.mark.parametrize("model", [ActorParameters, CostParameters, MemoryParameters])
def test_flattened_parameters_make_the_same_model_again(model):
    entries = list(parameters.flatten(model()))
    _, again = parameters.build(model, {entry.name: entry.value for entry in entries if entry.value is not None}, "test")
    assert list(parameters.flatten(again)) == entries
    assert all(entry.field.description for entry in entries), [e.name for e in entries if not e.field.description]


def test_guardrails_can_not_be_changed_at_run_time():
    entries = {entry.name: entry for entry in parameters.flatten(CostParameters())}
    assert entries["guardrails"].read_only and entries["goal_pose.weight"].read_only is False
    assert all(entry.read_only for name, entry in entries.items() if name.startswith("clearance."))
