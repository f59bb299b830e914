"""A short made-up run, written with real messages: a robot drives through a doorway to two goals while a person crosses and a
wall comes and goes."""

import itertools
import json
import math

import numpy as np
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path as PathMessage
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, ColorRGBA, Float32MultiArray, Float64MultiArray, MultiArrayDimension, String
from visualization_msgs.msg import Marker, MarkerArray

from objective_agent.types import Odometry, Scan
from objective_agent_nodes import convert, diagnostics
from objective_agent_nodes.demo_record import McapFile, transform, world_message
from objective_agent_nodes.simulator_topics import wall

SECONDS, START = 8.0, 1_700_000_000_000_000_000
GOALS = [(3.0, 1.0), (6.5, 4.0)]
WALL = 5.0, 6.5
"""From when to when the wall stands there."""
RESOLUTION = 0.05


def walls() -> np.ndarray:
    """A 8 x 5 m flat: outer walls, and one with a doorway at x = 4 m."""
    grid = np.zeros((100, 160), bool)
    grid[[0, 1, -2, -1]] = True
    grid[:, [0, 1, -2, -1]] = True
    grid[:40, 80:83] = grid[58:, 80:83] = True
    grid[70:80, 20:40] = True
    return grid


def pose_at(time: float) -> np.ndarray:
    """From (1, 1) over (3, 1) and the doorway to (6.5, 4) in the length of the run."""
    way = np.array([[1, 1], [3, 1], [3.5, 2.4], [4.6, 2.4], [6.5, 4]], float)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    s = along[-1] * min(time / (SECONDS - 0.5), 1)
    place = [np.interp(s, along, way[:, i]) for i in (0, 1)]
    ahead = [np.interp(s + 0.1, along, way[:, i]) for i in (0, 1)]
    return np.array([*place, math.atan2(ahead[1] - place[1], ahead[0] - place[0] + 1e-9)])


def scan_at(time: float, grid: np.ndarray) -> Scan:
    x, y, yaw = pose_at(time)
    angles = np.linspace(-np.pi, np.pi, 180, endpoint=False)
    reach = np.arange(0, 8, 0.04)
    i = ((x + reach * np.cos(angles + yaw)[:, None]) / RESOLUTION).astype(int).clip(0, 159)
    j = ((y + reach * np.sin(angles + yaw)[:, None]) / RESOLUTION).astype(int).clip(0, 99)
    hit = grid[j, i]
    ranges = np.where(hit.any(1), reach[hit.argmax(1)], np.inf).astype(np.float32)
    return Scan(time, ranges, -np.pi, 2 * np.pi / 180, 0.05, 8.0)


def path_message(points) -> PathMessage:
    message = PathMessage()
    message.header.frame_id = "odom"
    for x, y in points:
        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y = float(x), float(y)
        message.poses.append(pose)
    return message


def arc(pose: np.ndarray, turn: float) -> np.ndarray:
    yaw = pose[2] + turn * np.arange(1, 16) * 0.2
    steps = 0.1 * np.stack([np.cos(yaw), np.sin(yaw)], -1)
    return pose[:2] + np.vstack([np.zeros(2), np.cumsum(steps, 0)])


def candidates(pose: np.ndarray) -> MarkerArray:
    marker = Marker(type=Marker.LINE_LIST, action=Marker.ADD)
    for turn in np.linspace(-1.4, 1.4, 31):
        points, bad = arc(pose, turn), abs(turn) > 1.0
        share = min(abs(turn), 1.0)
        colour = ColorRGBA(r=0.5, g=0.5, b=0.5, a=0.35) if bad else ColorRGBA(r=share, g=1 - share, b=0.1, a=0.6)
        for a, b in itertools.pairwise(points):
            marker.points += [Point(x=a[0], y=a[1]), Point(x=b[0], y=b[1])]
            marker.colors += [colour, colour]
    return MarkerArray(markers=[marker])


def surprise(value: float) -> Float32MultiArray:
    message = Float32MultiArray(data=[value, 0.2, 0.1, max(value - 0.3, 0.0)])
    names = ("surprise", "position", "heading", "representation")
    message.layout.dim = [MultiArrayDimension(label=name, size=1, stride=1) for name in names]
    return message


def write_run(path) -> None:
    file = McapFile(path)
    grid = walls()

    def put(topic: str, kind: str, message, time: float) -> None:
        file.add(topic, kind, serialize_message(message), START + int(time * 1e9))

    def event(time: float, **what) -> None:
        put("/demo/events", "std_msgs/msg/String", String(data=json.dumps(what)), time)

    def status(name: str, time: float, message: str = "ok", **values):
        health = diagnostics.Health(message=message, values=values)
        return diagnostics.status(name, health)

    file.add("/demo/world", "nav_msgs/msg/OccupancyGrid", world_message(grid, (0.0, 0.0), RESOLUTION), START)
    event(0, event="start", world="apartment", seed=0, goals=GOALS, robot_radius=0.18, wall=True, hardware="test", versions={})
    settings = {"number": 1, "actor": {"deadline": 0.035}, "cost": {"terms": {"clearance": {"margin": 0.08}}}, "reason": ""}
    put("/configuration", "std_msgs/msg/String", String(data=json.dumps(settings)), 0.0)
    later = [
        (0.5, {"event": "goal", "index": 0, "position": GOALS[0]}),
        (3.0, {"event": "goal_end", "index": 0, "reached": True, "reason": ""}),
        (3.2, {"event": "goal", "index": 1, "position": GOALS[1]}),
        (SECONDS - 0.5, {"event": "goal_end", "index": 1, "reached": True, "reason": ""}),
        (SECONDS, {"event": "end", "exit_reason": "all goals reached"}),
    ]
    for step in range(int(SECONDS * 20) + 1):
        time = step / 20
        while later and later[0][0] <= time:
            at, what = later.pop(0)
            event(at, **what)
        pose = pose_at(time)
        odometry = convert.odometry_to(Odometry(time, pose, np.array([0.4, 0.0])))
        put("/odom", "nav_msgs/msg/Odometry", odometry, time)
        file.add("/tf", "tf2_msgs/msg/TFMessage", transform(serialize_message(odometry)), START + int(time * 1e9))
        put("/simulator/ground_truth", "nav_msgs/msg/Odometry", odometry, time)
        put("/clock", "rosgraph_msgs/msg/Clock", Clock(clock=convert.to_time(100 + 0.98 * time)), time)
        picture = np.full((64, 64, 3), (200, 180, 150), np.uint8)
        picture[40:] = (120, 90, 60)
        put("/camera/image_raw", "sensor_msgs/msg/Image", convert.image_to(time, picture), time)
        put("/actor/plan", "nav_msgs/msg/Path", path_message(arc(pose, 0.15)), time)
        put("/actor/candidates", "visualization_msgs/msg/MarkerArray", candidates(pose), time)
        energies = {"goal_pose": 3 - 0.3 * time, "smooth": 0.2, "effort": 0.4, "bump": 0.3 + 0.3 * math.sin(time)}
        layout = Float64MultiArray(data=list(energies.values()))
        layout.layout.dim = [MultiArrayDimension(label=name, size=1, stride=1) for name in energies]
        put("/actor/objective_costs", "std_msgs/msg/Float64MultiArray", layout, time)
        thought = {
            "mode": "optimizer",
            "iterations": 3,
            "evaluations": 768,
            "stop_reason": "converged",
            "planning_ms": 18 + 6 * math.sin(3 * time),
        }
        actor = status("actor", time, **thought, worst_margin=0.12 + 0.1 * math.sin(time), deadline_misses=2, decision_hz=20.0)
        put("/actor/status", "diagnostic_msgs/msg/DiagnosticStatus", actor, time)
        put("/surprise", "std_msgs/msg/Float32MultiArray", surprise(2.1 if 5.15 <= time < 5.6 else 0.3), time)
        if time in WALL:
            shown = wall(time, (5.4, 3.0, 0.7) if time == WALL[0] else None, (0.06, 1.0, 1.4))
            put("/simulator/wall", "visualization_msgs/msg/Marker", shown, time)
        stopped, slow = 4.0 <= time < 4.6, 5.3 <= time < 6.5
        ladder = {
            "level": "STOP" if stopped else "OK",
            "reason": "obstacle 0.31 m ahead" if stopped else "",
            "v_in": 0.15 if slow else 0.4,
            "w_in": 0.1,
        }
        gate = status(
            "safety_gate", time, **ladder, v_out=0.0 if stopped else ladder["v_in"], w_out=0.0 if stopped else 0.1, held=stopped
        )
        put("/safety_gate/state", "diagnostic_msgs/msg/DiagnosticStatus", gate, time)
        person = Marker(type=Marker.CYLINDER, action=Marker.ADD)
        person.pose.position.x, person.pose.position.y, person.scale.x = 5.6, 1.0 + 0.4 * time, 0.5
        put("/simulator/people", "visualization_msgs/msg/MarkerArray", MarkerArray(markers=[person]), time)
        put("/simulator/contact", "std_msgs/msg/Bool", Bool(data=False), time)
        if step % 2 == 0:
            put("/scan", "sensor_msgs/msg/LaserScan", convert.scan_to(scan_at(time, grid)), time)
            put("/route", "nav_msgs/msg/Path", path_message([pose[:2], [3.5, 2.4], [4.6, 2.4], GOALS[1]]), time)
        if step % 20 == 0:
            seen = {
                "real_time_factor": 0.98,
                "contacts": 0,
                "sensor_to_command_p50": 52.0,
                "sensor_to_command_p99": 88.0 + time,
            }
            message = diagnostics.array(convert.to_time(time), status("simulator", time, **seen))
            put("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", message, time)
    file.close()
