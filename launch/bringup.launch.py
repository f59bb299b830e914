"""The agent on a robot: safety gate, six modules and their lifecycle manager.  The robot's drivers and odometry run elsewhere.

    ros2 launch objective_agent bringup.launch.py params_file:=my_robot.yaml
    ros2 launch objective_agent bringup.launch.py namespace:=robot1 separate_processes:=true log_level:=debug

`sim.launch.py` and `gazebo.launch.py` include this file and add the world.
"""

import os
import tempfile
from pathlib import Path

import yaml
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.event_handlers import OnShutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from objective_agent.config import load_node_parameters
from objective_agent_nodes.transport import choose

PACKAGE = "objective_agent"
SHARE = Path(__file__).parent.parent
MODULES = ("perception", "world_model", "memory", "cost", "configurator", "actor")
ARGUMENTS = (
    ("namespace", "", "namespace of all nodes and of their topics"),
    ("use_sim_time", "false", "take the time from /clock"),
    ("params_file", str(SHARE / "config" / "robot.yaml"), "ROS parameter file for all nodes"),
    ("autostart", "true", "configure and activate the nodes as soon as they are up"),
    ("use_respawn", "false", "start a process again when it ends, and bring its nodes up again"),
    ("log_level", "info", "debug | info | warn | error"),
    ("rviz", "false", "show everything in RViz"),
    ("record", "false", "record all topics with `ros2 bag record` (MCAP), into the current folder"),
    ("model", "", "world model plugin, instead of the one in params_file"),
    ("separate_processes", "false", "give each module a process of its own (the gate always has one)"),
)


def generate_launch_description():
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in ARGUMENTS),
            *transport(),
            OpaqueFunction(function=start),
        ]
    )


def transport():
    """As `objective-agent run` does it: sockets on this machine only, or shared memory large enough for camera images."""
    chosen = dict(os.environ)
    choose(chosen, images=True)
    return [SetEnvironmentVariable(name, value) for name, value in chosen.items() if os.environ.get(name) != value]


def start(context):
    value = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    for name in ("use_sim_time", "autostart", "use_respawn", "rviz", "record", "separate_processes"):
        value[name] = truth(name, value[name])
    overrides = {"world_model": {"world_model.plugin": value["model"]}} if value["model"] else {}
    overrides["lifecycle_manager"] = {"autostart": value["autostart"], "revive": value["use_respawn"]}
    parameters = parameter_file(value["params_file"], value["namespace"], overrides)

    def node(executable, **more):
        return Node(
            package=PACKAGE,
            executable=executable,
            namespace=value["namespace"],
            parameters=[parameters, {"use_sim_time": value["use_sim_time"]}],
            ros_arguments=["--log-level", value["log_level"]],
            respawn=value["use_respawn"],
            respawn_delay=1.0,
            output="screen",
            **more,
        )

    modules = MODULES if value["separate_processes"] else ("agent",)
    actions = [node(executable) for executable in ("safety_gate", *modules)]
    # It ends by itself only when a node can't be brought up, and has said why: half a graph is of no use.
    ended = None if value["use_respawn"] else Shutdown(reason="the nodes could not be brought up")
    actions.append(node("lifecycle_manager", on_exit=ended))
    if value["rviz"]:
        actions.append(rviz(value))
    if value["record"]:
        actions.append(ExecuteProcess(cmd=["ros2", "bag", "record", "--all", "--storage", "mcap"], output="screen"))
    return [LogInfo(msg=f"parameters: {value['params_file']}"), *actions, forget_at_shutdown(parameters)]


def forget_at_shutdown(path):
    return RegisterEventHandler(OnShutdown(on_shutdown=lambda *_: Path(path).unlink(missing_ok=True)))


def truth(name, text):
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name}:={text}: give true or false")
    return text.lower() == "true"


def rviz(value):
    layout = SHARE / "config" / "objective_agent.rviz"
    arguments = ["-d", str(layout)] if layout.is_file() else []
    return Node(package="rviz2", executable="rviz2", arguments=arguments, parameters=[{"use_sim_time": value["use_sim_time"]}])


def parameter_file(path, namespace, overrides):
    """A copy of the parameter file in which every section is named by its node's full name.

    A section `actor:` reaches the node /actor only; under a namespace it would be ignored without a word.
    """
    sections = load_node_parameters(path)
    common = sections.pop("")
    prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    copy = {"/**": {"ros__parameters": common}} if common else {}
    for name in sorted({*sections, *overrides}):
        own = {key: value for key, value in sections.get(name, {}).items() if common.get(key) != value}
        copy[f"{prefix}/{name}"] = {"ros__parameters": own | overrides.get(name, {})}
    with tempfile.NamedTemporaryFile("w", prefix="objective_agent_", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(copy, file)
    return file.name
