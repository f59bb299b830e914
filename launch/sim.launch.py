"""The embedded simulator and the agent that drives its robot.

ros2 launch objective_agent sim.launch.py
ros2 launch objective_agent sim.launch.py world:=office use_respawn:=true
ros2 topic pub --once goal_pose geometry_msgs/msg/PoseStamped '{header: {frame_id: odom}, pose: {position: {x: 2.0, y: 1.0}}}'
"""

import importlib.util
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("objective_agent_bringup", HERE / "bringup.launch.py")
bringup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bringup)


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(
            "world", default_value="", description="world name or MJCF file, instead of the one in params_file"
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(HERE.parent / "config" / "sim.yaml"),
            description="ROS parameter file for all nodes",
        ),
        DeclareLaunchArgument("use_sim_time", default_value="true", description="take the time from /clock"),
    ]
    agent = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(HERE / "bringup.launch.py")))
    return LaunchDescription([*arguments, agent, OpaqueFunction(function=simulator)])


def simulator(context):
    def value(name):
        return LaunchConfiguration(name).perform(context)

    overrides = {"simulator": {"world": value("world")}} if value("world") else {}
    parameters = bringup.parameter_file(value("params_file"), value("namespace"), overrides)
    return [
        Node(
            package=bringup.PACKAGE,
            executable="simulator",
            namespace=value("namespace"),
            parameters=[parameters],
            ros_arguments=["--log-level", value("log_level")],
            output="screen",
        ),
        bringup.forget_at_shutdown(parameters),
    ]
