"""The agent with a robot in Gazebo Sim, through ros_gz_bridge.

    ros2 launch objective_agent gazebo.launch.py world:=my_world.sdf robot:=my_robot

The world must hold a differential-drive robot named by `robot` with a lidar, a camera and odometry.  This file needs the
packages ros_gz_sim and ros_gz_bridge; it has been parsed but NOT RUN: Gazebo was not available where it was written.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from objective_agent.config import load_node_parameters

HERE = Path(__file__).parent


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument("world", description="SDF file of the world"),
        DeclareLaunchArgument("robot", default_value="robot", description="name of the robot's model in the world"),
        DeclareLaunchArgument("use_sim_time", default_value="true", description="take the time from /clock"),
    ]
    gazebo = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([FindPackageShare("ros_gz_sim"), "launch", "gz_sim.launch.py"])),
        launch_arguments={"gz_args": ["-r ", LaunchConfiguration("world")]}.items(),
    )
    agent = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(HERE / "bringup.launch.py")))
    return LaunchDescription([*arguments, gazebo, agent, OpaqueFunction(function=bridge)])


def bridge(context):
    """Gazebo's topics of the robot under the names that the agent's nodes use.  `[`: to ROS, `]`: to Gazebo."""
    robot = f"/model/{LaunchConfiguration('robot').perform(context)}"
    namespace = LaunchConfiguration("namespace").perform(context)
    common = load_node_parameters(LaunchConfiguration("params_file").perform(context))[""]
    twist = "TwistStamped" if common.get("enable_stamped_cmd_vel", True) else "Twist"
    topics = (
        (f"{robot}/scan", "sensor_msgs/msg/LaserScan[gz.msgs.LaserScan", "scan"),
        (f"{robot}/camera", "sensor_msgs/msg/Image[gz.msgs.Image", "camera/image_raw"),
        (f"{robot}/camera_info", "sensor_msgs/msg/CameraInfo[gz.msgs.CameraInfo", "camera/camera_info"),
        (f"{robot}/odometry", "nav_msgs/msg/Odometry[gz.msgs.Odometry", "odom"),
        (f"{robot}/cmd_vel", f"geometry_msgs/msg/{twist}]gz.msgs.Twist", "cmd_vel"),
    )
    return [
        Node(
            package="ros_gz_bridge",
            executable="parameter_bridge",
            namespace=namespace,
            arguments=["/clock@rosgraph_msgs/msg/Clock[gz.msgs.Clock", *(f"{gz}@{types}" for gz, types, _ in topics)],
            remappings=[(gz, ros) for gz, _, ros in topics],
            output="screen",
        )
    ]
