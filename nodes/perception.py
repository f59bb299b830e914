"""Perception: camera, scan and odometry -> representation, once per message of the trigger sensor.

camera/image_raw, scan, odom, cmd_vel  ->  representation (32FC1, frame_id = model), representation/odom (same stamp),
    representation/scan (same stamp; the sweep that a learned encoder estimates where there is no scan)
goal_image  ->  goal_representation (32FC1, frame_id = model)
"""

from __future__ import annotations

import sys
import time

import numpy as np
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import CompressedImage, LaserScan
from sensor_msgs.msg import Image as ImageMessage

from objective_agent import plugins
from objective_agent.config import PerceptionParameters, Strict
from objective_agent.goal_images import encode_goal
from objective_agent.perception.synchronizer import Synchronizer
from objective_agent.types import ConfigurationError, Image, Observation, Odometry, Scan
from objective_agent.versions import Version, short
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import ERROR, WARN, Health
from objective_agent_nodes.model_swap import LOADING, ModelFollower
from objective_agent_nodes.parameters import with_model
from objective_agent_nodes.process import run

CAMERA, SCAN, ODOM = "camera/image_raw", "scan", "odom"


class Perception(ModuleNode):
    def __init__(self, **options):
        super().__init__("perception", PerceptionParameters, **options)

    def setup(self) -> None:
        self.encoder = self._encoder(self.parameters)
        self._make(self.parameters)
        self._versions = ModelFollower(self, self._load, self._switch)
        self._representation = self.speak(ImageMessage, "representation")
        self._odometry = self.speak(OdometryMessage, "representation/odom")
        self._estimate = self.speak(LaserScan, "representation/scan")
        self._goal = self.speak(ImageMessage, "goal_representation")
        self.listen(ImageMessage, "goal_image", self._on_goal_image)
        self.listen(ImageMessage, CAMERA, self._on_image, qos.SENSOR)
        self.listen(CompressedImage, f"{CAMERA}/compressed", self._on_image, qos.SENSOR)
        self.listen(LaserScan, SCAN, self._on_scan, qos.HISTORY)
        self.listen(OdometryMessage, ODOM, self._on_odometry, qos.HISTORY)
        stamped = convert.command_type(self.common.enable_stamped_cmd_vel)
        self.listen(stamped, "cmd_vel", self._on_command, qos.HISTORY)

    def _encoder(self, parameters: PerceptionParameters):
        return plugins.create("encoder", parameters.encoder, self.robot, "perception.encoder")

    def _make(self, parameters: PerceptionParameters) -> None:
        self.synchronizer = Synchronizer(parameters)
        limits = {CAMERA: 2 * parameters.max_scan_age, SCAN: parameters.max_scan_age, ODOM: parameters.max_odom_age}
        self._fresh = {topic: self.watch(topic, limit) for topic, limit in limits.items()}
        self._needed = (ODOM, CAMERA if parameters.trigger == "camera" else SCAN)
        self._count, self._ms = 0, 0.0

    # --- the model ----------------------------------------------------------------------------------------------------------

    def _load(self, version: Version):
        """The encoder of a version, in a thread; it has encoded once, because the first time takes longest."""
        with LOADING:
            encoder = self._encoder(with_model(self.parameters, version.model))
        if version.representation not in (None, encoder.model):
            needed = short(version.representation)
            raise ConfigurationError(f"the encoder is {short(encoder.model)}, the world model needs {needed}")
        blank = Observation(1.0, np.zeros((1, 3)), np.zeros((1, 2)), images=np.zeros((1, 64, 64, 3), np.uint8))
        features = encoder.encode(blank).tokens.shape[-1]
        if version.features not in (None, features):
            raise ConfigurationError(f"its encoder gives {features} features, its world model takes {version.features}")
        return encoder

    def _switch(self, version: Version, encoder) -> None:
        self.encoder = encoder
        self.put_parameters(with_model(self.parameters, version.model))

    def check_parameters(self, new: Strict) -> None:
        current = self._versions.follower.current
        if "encoder.model" in self.changed and current is not None and current.representation is not None:
            raise ConfigurationError("encoder.model follows the world model: set world_model.model of the node world_model")

    def on_parameters(self, new: Strict) -> None:
        if new.encoder != self.parameters.encoder:
            self.encoder = self._encoder(new)
        self._make(new)

    def on_time_jump(self) -> None:
        self._make(self.parameters)

    def _accept(self, topic: str, reading: Image | Scan | Odometry) -> bool:
        fresh = self._fresh[topic]
        if not fresh.accept(reading.stamp, self.now(), time.monotonic()):
            self.refuse(fresh.rejection)
            return False
        return self.synchronizer.add(reading)

    def _on_image(self, message: ImageMessage | CompressedImage) -> None:
        image = convert.image_from(message)
        if self._accept(CAMERA, image) and self.parameters.trigger == "camera":
            self._perceive(image.stamp, message.header.stamp)

    def _on_goal_image(self, message: ImageMessage) -> None:
        """A picture of where to go becomes what the task is made of."""
        goal = encode_goal(self.encoder, convert.image_from(message).rgb)
        self._goal.publish(convert_state.tokens_to(self.now(), np.asarray(goal.tokens), goal.model))

    def _on_scan(self, message: LaserScan) -> None:
        scan = convert.scan_from(message, self.common.lidar_pose)
        if self._accept(SCAN, scan) and self.parameters.trigger == "scan":
            self._perceive(scan.stamp, message.header.stamp)

    def _on_odometry(self, message: OdometryMessage) -> None:
        self._accept(ODOM, convert.odometry_from(message))

    def _on_command(self, message) -> None:
        """What left the gate: with the motion that came of it, it shows how this robot answers to commands."""
        self.synchronizer.command_sent(convert.command_from(message, self.now()))

    def _perceive(self, stamp: float, exact) -> None:
        begun = time.perf_counter()
        observation = self.synchronizer.observe(stamp)
        if observation is None:
            return
        representation = self.encoder.encode(observation)
        tokens = representation.tokens
        tokens = tokens.cpu().numpy() if hasattr(tokens, "cpu") else tokens
        odometry = convert.odometry_to(Odometry(stamp, observation.pose[0], observation.velocity[0]))
        message = convert_state.tokens_to(stamp, tokens, representation.model, representation.senses)
        message.header.stamp = odometry.header.stamp = exact  # the sensor's stamp to the nanosecond
        for scan in representation.scans[:1]:  # first: it must be there when the other two are complete
            if scan is not None:
                estimate = convert.scan_to(scan, "base_link")
                estimate.header.stamp = exact
                self._estimate.publish(estimate)
        self._odometry.publish(odometry)
        self._representation.publish(message)
        self._count += 1
        self._ms = 1000 * (time.perf_counter() - begun)

    def health(self) -> Health:
        now, arrival = self.now(), time.monotonic()
        values = {"observations": self._count, "encode_ms": self._ms, "model": self.encoder.model}
        values |= self._versions.values
        for topic, fresh in self._fresh.items():
            values[f"{topic} age"] = fresh.age(now, arrival)
        values |= {f"refused {why}": count for why, count in self.synchronizer.rejected.items()}
        problems = [problem for topic in self._needed if (problem := self._fresh[topic].problem(now, arrival))]
        problems += [self.synchronizer.reason] if not problems and self.synchronizer.reason else []
        if problems:
            return Health(ERROR, "; ".join(problems), values)
        _, foreign = self._versions.judge("representations", self.encoder.model)
        return Health(WARN, foreign.replace("holds", "not used"), values) if foreign else Health(values=values)


def main(args=None) -> int:
    return run(lambda: [Perception()], args)


if __name__ == "__main__":
    sys.exit(main())
