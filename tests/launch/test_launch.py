"""The launch files: their arguments, the parameter file they hand on, and a real bring-up and take-down.

They need `launch_ros`, which no wheel carries: these tests run where ROS 2 comes from apt or from source.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("launch_ros", reason="launch_ros is not installed: it comes with ROS 2 from apt, not with the wheels")

from launch import LaunchContext

from objective_agent.types import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
COMMON = {"namespace", "use_sim_time", "params_file", "autostart", "use_respawn", "log_level", "rviz", "record", "model"}
EXECUTABLES = {
    "simulator": "simulator",
    "safety_gate": "safety_gate",
    "agent": "agent_process",
    "lifecycle_manager": "lifecycle_manager",
    **{name: name for name in ("perception", "world_model", "memory", "actor", "cost", "configurator")},
}
LAUNCH = """
import sys
from launch import LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService()
source = PythonLaunchDescriptionSource(sys.argv[1])
arguments = [argument.split(":=") for argument in sys.argv[2:]]
service.include_launch_description(IncludeLaunchDescription(source, launch_arguments=arguments))
sys.exit(service.run())
"""


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"launch_file_{name}", ROOT / "launch" / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "more"), [("bringup", set()), ("sim", {"world"}), ("gazebo", {"world"})])
def test_launch_arguments_are_nav2s_and_ours(name, more):
    arguments = {argument.name for argument in load(name).generate_launch_description().get_launch_arguments()}
    assert COMMON | {"separate_processes"} | more <= arguments


@pytest.mark.parametrize(("namespace", "prefix"), [("", ""), ("robot1", "/robot1"), ("/a/b/", "/a/b")])
def test_parameters_reach_nodes_in_a_namespace(tmp_path, namespace, prefix):
    """ROS takes a section `actor:` for /actor alone and would ignore it for /robot1/actor without a word."""
    source = tmp_path / "p.yaml"
    source.write_text("/**:\n  ros__parameters: {robot: {radius: 0.2}}\nactor:\n  ros__parameters: {horizon: 9}\n")
    made = Path(load("bringup").parameter_file(str(source), namespace, {"simulator": {"world": "office"}}))
    content = yaml.safe_load(made.read_text())
    made.unlink()
    assert content == {
        "/**": {"ros__parameters": {"robot": {"radius": 0.2}}},
        f"{prefix}/actor": {"ros__parameters": {"horizon": 9}},
        f"{prefix}/simulator": {"ros__parameters": {"world": "office"}},
    }


def test_a_missing_parameter_file_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.yaml.*can't be read"):
        load("bringup").parameter_file(str(tmp_path / "none.yaml"), "", {})


def test_switches_take_true_and_false_only():
    with pytest.raises(ValueError, match="use_respawn:=maybe: give true or false"):
        load("bringup").truth("use_respawn", "maybe")


@pytest.mark.parametrize(("separate", "expected"), [("false", {"agent"}), ("true", {"perception", "actor", "memory"})])
def test_the_modules_share_a_process_unless_told_otherwise(tmp_path, monkeypatch, separate, expected):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bringup = load("bringup")
    context = LaunchContext()
    for name, default, _ in bringup.ARGUMENTS:
        context.launch_configurations[name] = default
    source = tmp_path / "p.yaml"
    source.write_text("/**:\n  ros__parameters: {}\n")
    context.launch_configurations.update(params_file=str(source), separate_processes=separate)
    nodes = {action.node_executable for action in bringup.start(context) if hasattr(action, "node_executable")}
    assert expected | {"safety_gate", "lifecycle_manager"} <= nodes
    assert ("agent" in nodes) != ("actor" in nodes)


@pytest.fixture
def prefix(tmp_path) -> Path:
    """An installation of this tree as colcon makes it, for ament to find."""
    share, libexec = tmp_path / "share", tmp_path / "lib" / "objective_agent"
    (share / "ament_index/resource_index/packages").mkdir(parents=True)
    (share / "ament_index/resource_index/packages/objective_agent").touch()
    (share / "objective_agent").mkdir()
    for name in ("launch", "config", "worlds", "models", "package.xml"):
        (share / "objective_agent" / name).symlink_to(ROOT / name)
    libexec.mkdir(parents=True)
    for executable, module in EXECUTABLES.items():
        script = libexec / executable
        script.write_text(
            f"#!{sys.executable}\nimport sys\nfrom objective_agent_nodes.{module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    return tmp_path


def state_of(ros, tester, node: str) -> str | None:
    """The lifecycle state that a node tells; None while it does not answer."""
    from lifecycle_msgs.srv import GetState

    client = tester.create_client(GetState, f"{node}/get_state")
    try:
        if not client.wait_for_service(0.5):
            return None
        future = client.call_async(GetState.Request())
        end = time.monotonic() + 2.0
        while not future.done() and time.monotonic() < end:
            time.sleep(0.02)
        return future.result().current_state.label if future.done() else None
    finally:
        tester.destroy_client(client)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("namespace:=robot1", "separate_processes:=true", "world:=office")])
def test_sim_comes_up_active_and_goes_down_whole(ros, until, prefix, arguments):
    environment = os.environ | {"AMENT_PREFIX_PATH": str(prefix), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LAUNCH, str(prefix / "share/objective_agent/launch/sim.launch.py"), *arguments]
    namespace = "/robot1" if arguments else ""
    log = (prefix / "log").open("w+")
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=log, stderr=subprocess.STDOUT)
    try:
        tester = ros.node()
        nodes = ("safety_gate", "perception", "world_model", "memory", "cost", "configurator", "actor")
        for node in nodes:
            active = until(lambda node=node: state_of(ros, tester, f"{namespace}/{node}") == "active", 90)
            assert active, f"{node} is not active\n{(prefix / 'log').read_text()[-4000:]}"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
        assert until(lambda: not alive(process.pid), 10), "a process was left behind"
    finally:
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


@pytest.mark.slow
def test_a_killed_process_is_started_and_brought_up_again(ros, until, prefix):
    environment = os.environ | {"AMENT_PREFIX_PATH": str(prefix), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LAUNCH, str(prefix / "share/objective_agent/launch/sim.launch.py"), "use_respawn:=true"]
    log = (prefix / "log").open("w+")
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=log, stderr=subprocess.STDOUT)
    try:
        tester = ros.node()
        assert until(lambda: "all nodes are active" in (prefix / "log").read_text(), 90), (prefix / "log").read_text()[-4000:]
        subprocess.run(["pkill", "-KILL", "-f", f"{prefix}/lib/objective_agent/agent"], check=True)
        back = "started again, bringing up: perception"
        assert until(lambda: back in (prefix / "log").read_text(), 60), (prefix / "log").read_text()[-4000:]
        assert until(lambda: state_of(ros, tester, "actor") == "active", 60), (prefix / "log").read_text()[-4000:]
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
