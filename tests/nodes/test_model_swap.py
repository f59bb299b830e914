"""Another model is taken over while the robot drives: the six nodes over DDS, two models, one observation after the other.

The tester sends the next observation only when the last one's command has come, so a lost decision can't go unnoticed.
"""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from geometry_msgs.msg import TwistStamped
from learned_model import write_untrained
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry as OdometryMessage
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import LaserScan
from std_msgs.msg import String

from objective_agent.types import Odometry, Scan
from objective_agent.versions import Announcement, Version, short
from objective_agent.weights import read_card
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.actor import Actor
from objective_agent_nodes.base import SUCCESS
from objective_agent_nodes.configurator import Configurator
from objective_agent_nodes.cost import Cost
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.perception import Perception
from objective_agent_nodes.world_model import WorldModel

PATIENCE = 60.0


class PatientActor(Actor):
    repeatable = True  # no deadline and no age limit: a busy machine must not lose what the swap keeps


class Drive:
    """All six nodes with the model `folder`, and sensors that wait for each command."""

    def __init__(self, ros, until, folder, without=(), **extra):
        self.until, self.node = until, ros.node()
        model = str(folder)
        settings = {
            Perception: {"encoder__plugin": "jepa", "encoder__model": model},
            Memory: {},
            WorldModel: {"world_model__plugin": "jepa", "world_model__model": model, **extra},
            Cost: {"guardrails": ["learned_clearance", "people"]},
            Configurator: {},
            PatientActor: {"horizon": 4, "futures": 3, "optimizer__plugin": "mppi", "optimizer__samples": 8},
        }
        self.nodes = {kind: ros.add(kind(**ros.overrides(**v))) for kind, v in settings.items() if kind not in without}
        self.commands: dict[int, TwistStamped] = {}
        self.models: list[str] = []  # of the representations, in order
        self.announced: list[Announcement] = []
        hear = self.node.create_subscription
        hear(TwistStamped, "cmd_vel_raw", lambda m: self.commands.update({convert.nanoseconds(m.header.stamp): m}), 10)
        hear(ImageMessage, "representation", lambda m: self.models.append(m.header.frame_id.split()[0]), 10)
        hear(String, "model_version", lambda m: self.announced.append(Announcement(**json.loads(m.data))), qos.LATCHED)
        make = self.node.create_publisher
        self.odom, self.scan = make(OdometryMessage, "odom", 10), make(LaserScan, "scan", 10)
        self.camera = make(ImageMessage, "camera/image_raw", 1)
        self.task = make(String, "task", qos.LATCHED)
        self.task.publish(String(data=json.dumps({"kind": "goal_pose", "position": [3.0, 0.0], "id": "swap"})))
        self.set = self.node.create_client(SetParameters, "world_model/set_parameters")
        for made in self.nodes.values():
            assert made.trigger_configure() == SUCCESS, made.failure
        for made in self.nodes.values():
            assert made.trigger_activate() == SUCCESS, made.failure
        listeners = sum(kind in (Perception, Memory, Configurator) for kind in self.nodes)
        assert until(lambda: self.camera.get_subscription_count() and self.odom.get_subscription_count() == listeners)
        assert until(lambda: self.announced) and until(self.driving, PATIENCE)

    def __getitem__(self, kind):
        return self.nodes[kind]

    def driving(self) -> bool:
        self.step(must=False)
        return self[PatientActor]._decision is not None and self[PatientActor]._decision.plan is not None

    def step(self, must=True) -> TwistStamped | None:
        """One observation; its command.  Sensors are heard best-effort: what was lost on the way is sent again."""
        stamp = time.time()
        exact = convert.nanoseconds(convert.to_time(stamp))
        free = Scan(stamp, np.full(180, 3.0, np.float32), -np.pi, np.pi / 90, 0.05, 8.0)
        image = convert.image_to(stamp, np.zeros((64, 64, 3), np.uint8))
        for _ in range(int(PATIENCE) if must else 1):
            for kind, publisher, message in (
                (Odometry, self.odom, convert.odometry_to(Odometry(stamp, np.zeros(3), np.zeros(2)))),
                (Scan, self.scan, convert.scan_to(free)),
            ):
                if not self._has(kind, stamp):
                    publisher.publish(message)
            if not self.until(lambda: self._has(Odometry, stamp) and self._has(Scan, stamp), 1.0):
                continue
            if abs(self[Perception]._fresh["camera/image_raw"].stamp - stamp) > 1e-6:
                self.camera.publish(image)
            if self.until(lambda: self.commands.get(exact), 1.0):
                return self.commands[exact]
        assert not must, "an observation without a command"
        return None

    def _has(self, kind: type, stamp: float) -> bool:
        newest = [node.synchronizer._newest(kind, np.inf) for node in (self[Perception], self[Memory])]
        return all(item is not None and abs(item.stamp - stamp) < 1e-6 for item in newest)

    def wish(self, folder) -> tuple[bool, str]:
        parameter = Parameter("world_model.model", value=str(folder)).to_parameter_msg()
        future = self.set.call_async(SetParameters.Request(parameters=[parameter]))
        assert self.until(future.done, PATIENCE)
        result = future.result().results[0]
        return result.successful, result.reason

    def start_again(self, kind) -> None:
        """Through the node's own service: its executor must not be spinning while things are taken from it."""
        client = self.node.create_client(ChangeState, f"{self[kind].get_name()}/change_state")
        assert self.until(client.service_is_ready, PATIENCE)
        for transition in ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE"):
            request = ChangeState.Request()
            request.transition.id = getattr(Transition, f"TRANSITION_{transition}")
            future = client.call_async(request)
            assert self.until(future.done, PATIENCE) and future.result().success, self[kind].failure

    def works_with(self, number: int) -> bool:
        """Whether all who follow have heard which version drives, and have loaded it: one started again holds until then."""
        followers = (Perception, Memory, Cost, PatientActor)
        return all(self[kind].health().values["model_version"] == number for kind in followers)

    def step_until(self, condition, most=400) -> int:
        for count in range(most):
            if condition():
                return count
            self.step()
        raise AssertionError("it did not happen")


@pytest.fixture
def first(tmp_path):
    return write_untrained(tmp_path / "first", seed=1)


@pytest.fixture
def second(tmp_path):
    return write_untrained(tmp_path / "second", seed=2)


def encoder(folder) -> str:
    return short(read_card(folder)["sha256"]["encoder"])


def predictor(folder) -> str:
    return read_card(folder)["sha256"]["predictor"]


def test_a_new_model_is_taken_over_by_all_without_losing_a_decision(ros, until, first, second):
    drive = Drive(ros, until, first)
    actor, memory = drive[PatientActor], drive[Memory]
    scans = memory.synchronizer
    assert set(drive.models) == {encoder(first)}
    assert drive.wish(second) == (True, "")
    drive.step_until(lambda: drive.models[-1] == encoder(second))  # every step asserts its command
    changes = [model for before, model in zip(drive.models, drive.models[1:], strict=False) if model != before]
    assert changes == [encoder(second)], "one switch, and no way back"
    assert actor._planner.world_model.model == predictor(second)
    assert actor._decision.plan is not None and actor._decision.state.model == encoder(second)
    assert {state.state.model for state in memory.memory.history} == {encoder(second)}, "the short-term memory is flushed"
    assert drive.announced[-1].current.number == 2 and drive.announced[-1].candidate is None
    assert drive[WorldModel].world_model.model == predictor(second)
    # what the parameters say is what drives
    folder = str(second)
    assert until(lambda: actor._configuration.world_model.world_model.settings["model"] == folder)
    assert drive[Perception].get_parameter("encoder.model").value == folder
    drive.step()
    assert actor._planner.world_model.model == predictor(second)
    assert memory.synchronizer is scans, "no scan is lost over a change of the encoder"

    # what the old model made is ignored from now on, and named
    stamp, node = time.time(), drive.node
    old = node.create_publisher(ImageMessage, "representation", 1)
    odom = node.create_publisher(OdometryMessage, "representation/odom", 1)
    assert until(lambda: old.get_subscription_count() >= 2 and odom.get_subscription_count())
    count = memory._count
    odom.publish(convert.odometry_to(Odometry(stamp, np.zeros(3), np.zeros(2))))
    old.publish(convert_state.tokens_to(stamp, np.zeros((1, 1, 32)), encoder(first)))
    assert until(lambda: encoder(first) in memory.refusal)
    assert f"needs those of {encoder(second)}" in memory.health().message and memory._count == count

    # who is started again comes up with the version that drives, whatever its parameters say
    for kind in (Perception, PatientActor, Memory, WorldModel):
        drive.start_again(kind)
        assert until(lambda: drive.step(must=False) and actor._decision.plan and drive.works_with(2), PATIENCE), [
            node.health() for node in drive.nodes.values()
        ]
        assert drive.step() and drive.models[-1] == encoder(second)
        assert actor._decision.plan is not None, actor._decision.reason
        assert actor._planner.world_model.model == predictor(second)
    assert until(lambda: drive.announced[-1].current.number == 2)
    assert until(lambda: drive[WorldModel].world_model.model == predictor(second))


def damaged(folder, source):
    shutil.copytree(source, folder)
    file = folder / "encoder.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    return folder


def mixed(folder, source):
    """A folder whose parts are of two models, and whose card does not mind."""
    other = write_untrained(folder.parent / "wide", features=64)
    shutil.copytree(source, folder)
    shutil.copy(other / "predictor.safetensors", folder)
    card = read_card(folder)
    card["sha256"]["predictor"] = predictor(other)
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    return folder


def test_a_model_that_one_module_can_not_load_is_taken_over_by_nobody(ros, until, first, second, tmp_path):
    drive = Drive(ros, until, first)
    world_model = drive[WorldModel]
    for folder, why in (
        (damaged(tmp_path / "damaged", second), "perception: "),
        (mixed(tmp_path / "mixed", second), "perception: its encoder gives 32 features, its world model takes 64"),
        (write_untrained(tmp_path / "one_head", heads=1), "actor: actor.futures = 3"),
    ):
        assert drive.wish(folder) == (True, "")
        drive.step_until(lambda why=why: why in drive.announced[-1].refused)
        assert drive.announced[-1].candidate is None and drive.announced[-1].current.number == 1
        problem = world_model.health().message
        assert folder.name in problem and why in problem and f"version 1 ({first}" in problem
        assert until(lambda: world_model.get_parameter("world_model.model").value == str(first))
        drive.step()
        assert drive[PatientActor]._decision.plan is not None
    assert set(drive.models) == {encoder(first)}
    (tmp_path / "empty").mkdir()
    for folder, why in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "empty", "has no card.yaml")):
        accepted, reason = drive.wish(folder)
        assert not accepted and why in reason
    # and then a good one is
    assert drive.wish(second) == (True, "")
    drive.step_until(lambda: drive.models[-1] == encoder(second))
    assert not drive.announced[-1].refused and drive[PatientActor]._decision.plan is not None


def test_a_module_that_does_not_answer_is_named_and_nobody_switches(ros, until, first, second):
    owner = WorldModel(**ros.overrides(world_model__plugin="jepa", world_model__model=str(first), swap_timeout=0.5))
    ros.add(owner)
    assert owner.trigger_configure() == SUCCESS and owner.trigger_activate() == SUCCESS
    owner.set_parameters([Parameter("world_model.model", value=str(second))])
    assert until(lambda: owner._versions.problem, PATIENCE)
    assert "actor, cost, memory, perception did not load it within 0.5 s" in owner._versions.problem
    assert "version 1" in owner._versions.problem
    assert until(lambda: owner.get_parameter("world_model.model").value == str(first))


def test_each_consumer_holds_for_another_models_work_and_says_what_to_do(ros, until, first, second):
    """Perception was given another folder than the world model."""
    version = Version(number=1, model=str(second), world_model=predictor(second), representation="9" * 64, features=32)
    node = ros.node()
    node.create_publisher(String, "model_version", qos.LATCHED).publish(
        String(data=Announcement(current=version).model_dump_json())
    )
    made = [kind(**ros.overrides()) for kind in (Memory, Cost)]
    perception = Perception(**ros.overrides(encoder__plugin="jepa", encoder__model=str(first), trigger="scan"))
    for one in (*made, perception):
        ros.add(one)
        assert one.trigger_configure() == SUCCESS and one.trigger_activate() == SUCCESS
        assert until(lambda one=one: one._versions.follower.current is not None)
    told = perception._versions.judge("representations", perception.encoder.model)[1]
    assert short(perception.encoder.model) in told and "999999999999" in told and "the same folder" in told
    for one in made:
        assert one._versions.judge("states", perception.encoder.model)[0] is None
    result = perception.set_parameters([Parameter("encoder.model", value=str(second))])[0]
    assert not result.successful and "world_model.model" in result.reason
