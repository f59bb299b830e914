"""What the simulator publishes: sensors as a robot's drivers would, /clock, and the truth for people to look at."""

from __future__ import annotations

import math

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry as OdometryMessage
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, LaserScan
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Bool
from visualization_msgs.msg import Marker, MarkerArray

from objective_agent.types import Image, Odometry, Scan
from objective_agent_nodes import convert, qos

TRUTH_PERIOD = 0.05
PEOPLE_PERIOD = 0.1
CONTACT_PERIOD = 0.5
PERSON_HEIGHT = 1.7


class SimulatorTopics:
    gate_type = DiagnosticStatus

    def __init__(self, node, horizontal_fov: float):
        self._fov = horizontal_fov
        self._clock = node.speak(Clock, "/clock")
        self._scan = node.speak(LaserScan, "scan")
        self._image = node.speak(ImageMessage, "camera/image_raw")
        self._depth = node.speak(ImageMessage, "camera/depth/image_raw")
        self._info = node.speak(CameraInfo, "camera/camera_info")
        self._odometry = node.speak(OdometryMessage, "odom")
        self._truth = node.speak(OdometryMessage, "~/ground_truth")
        self._contact = node.speak(Bool, "~/contact")
        self._people = node.speak(MarkerArray, "~/people")
        self._wall = node.speak(Marker, "~/wall", qos.LATCHED)
        self._touching, self._wall_at = False, None
        self._next = dict.fromkeys(("truth", "people", "contact"), 0.0)

    def publish(self, stamp: float, readings: list, simulation, latency) -> None:
        """One slice: the clock first, so that nobody takes a reading for one from the future."""
        self._clock.publish(Clock(clock=convert.to_time(stamp)))
        for reading in readings:
            if isinstance(reading, Image):
                self._publish_image(reading, latency)
            elif isinstance(reading, Scan):
                self._scan.publish(convert.scan_to(reading))
            else:
                self._odometry.publish(convert.odometry_to(reading))
        if simulation.in_contact != self._touching or self._due("contact", stamp, CONTACT_PERIOD):
            self._touching = simulation.in_contact
            self._contact.publish(Bool(data=self._touching))
        if self._due("truth", stamp, TRUTH_PERIOD):
            truth = Odometry(stamp, simulation.true_pose, simulation.true_velocity)
            self._truth.publish(convert.odometry_to(truth, frame="world"))
        if len(simulation.people) and self._due("people", stamp, PEOPLE_PERIOD):
            self._people.publish(people(stamp, simulation))

        self._publish_wall(stamp, simulation)

    def _publish_wall(self, stamp: float, simulation) -> None:
        """When it comes and when it goes."""
        place = simulation.wall
        place = None if place is None else tuple(place)
        if place != self._wall_at:
            self._wall_at = place
            self._wall.publish(wall(stamp, place, simulation.panel.size))

    def _due(self, what: str, stamp: float, period: float) -> bool:
        if self._next[what] - period <= stamp < self._next[what]:
            return False
        self._next[what] = stamp + period
        return True

    def _publish_image(self, image: Image, latency) -> None:
        message = convert.image_to(image.stamp, image.rgb)
        latency.on_image(convert.nanoseconds(message.header.stamp))
        self._image.publish(message)
        self._info.publish(camera_info(message, self._fov))
        if image.depth is not None and self._depth.get_subscription_count():
            self._depth.publish(convert.image_to(image.stamp, image.depth))


def camera_info(image: ImageMessage, horizontal_fov: float) -> CameraInfo:
    """A pinhole with square pixels and no distortion; the outermost columns are `horizontal_fov` apart."""
    focal = 0.5 * image.width / math.tan(horizontal_fov / 2)
    cx, cy = image.width / 2, image.height / 2
    return CameraInfo(
        header=image.header,
        height=image.height,
        width=image.width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r=np.eye(3).ravel().tolist(),
        p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def people(stamp: float, simulation) -> MarkerArray:
    """One cylinder per person, in the world frame."""
    message = MarkerArray()
    for index, (person, place) in enumerate(zip(simulation.world.people, simulation.people, strict=True)):
        marker = Marker(ns="people", id=index, type=Marker.CYLINDER, action=Marker.ADD)
        marker.header.stamp, marker.header.frame_id = convert.to_time(stamp), "world"
        marker.pose.position.x, marker.pose.position.y = float(place[0]), float(place[1])
        marker.pose.position.z, marker.pose.orientation.w = PERSON_HEIGHT / 2, 1.0
        marker.scale.x = marker.scale.y = 2 * float(person.radius)
        marker.scale.z = PERSON_HEIGHT
        marker.color.r, marker.color.g, marker.color.b, marker.color.a = 0.9, 0.4, 0.2, 0.9
        message.markers.append(marker)
    return message


def wall(stamp: float, place: tuple[float, float, float] | None, size: tuple[float, float, float]) -> Marker:
    """The wall that appeared (x, y, yaw) as a box in the world frame; without one, the marker that takes it away."""
    marker = Marker(ns="wall", type=Marker.CUBE, action=Marker.DELETE if place is None else Marker.ADD)
    marker.header.stamp, marker.header.frame_id = convert.to_time(stamp), "world"
    if place is not None:
        x, y, yaw = place
        marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = x, y, size[2] / 2
        marker.pose.orientation.z, marker.pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
        marker.scale.x, marker.scale.y, marker.scale.z = size
        marker.color.r, marker.color.g, marker.color.b, marker.color.a = 0.8, 0.25, 0.25, 1.0
    return marker
