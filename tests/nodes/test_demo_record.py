"""The recorder, as a process of its own, hears real publishers over DDS and closes its file whatever ends it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from mcap.reader import make_reader
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from objective_agent.types import Odometry
from objective_agent.visualization.bag import read_recording
from objective_agent_nodes import convert, qos, transport
from objective_agent_nodes.children import Children

DOMAIN = 101


@pytest.fixture
def talker(monkeypatch):
    """A node that says something on a latched topic once, and on a reliable and a sensor topic 20 times a second."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    environment: dict[str, str] = {}
    transport.stay_here(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = rclpy.create_node("talker", context=context)
    latched = node.create_publisher(String, "configuration", qos.LATCHED)
    latched.publish(String(data='{"number": 3}'))
    image = node.create_publisher(Image, "camera/image_raw", qos.SENSOR)
    odom = node.create_publisher(OdometryMessage, "odom", qos.RELIABLE)
    picture = convert.image_to(1.0, np.full((64, 64, 3), 7, np.uint8))

    def speak():
        image.publish(picture)
        odom.publish(convert.odometry_to(Odometry(1.0, np.array([1.0, 2.0, 0.5]), np.zeros(2))))

    node.create_timer(0.05, speak)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin():
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield node
    context.try_shutdown()
    thread.join(5)


def recorder(path: Path, *arguments: str) -> subprocess.Popen:
    return Children().start("recorder", "objective_agent_nodes.demo_record", ["--out", str(path), *arguments]).process


def wait_until(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def ended(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_everything_said_is_in_a_file_that_is_properly_closed(talker, tmp_path, ending):
    path = tmp_path / "run.mcap"
    process = recorder(path, "--world", "apartment")
    assert wait_until(lambda: talker.count_subscribers("odom") and talker.count_subscribers("camera/image_raw"))
    time.sleep(2.0)
    process.send_signal(ending)
    assert process.wait(10) == 0
    with open(path, "rb") as stream:
        reader = make_reader(stream)
        kinds = {channel.topic for channel in reader.get_summary().channels.values()}
        assert {"/configuration", "/camera/image_raw", "/odom", "/tf", "/demo/world"} <= kinds
        [(_, _, latched)] = reader.iter_messages(["/configuration"])
        assert deserialize_message(latched.data, String).data == '{"number": 3}', "said before the recorder was there"
        stamps = [message.log_time for _, _, message in reader.iter_messages(["/odom"])]
    assert len(stamps) >= 20
    assert np.median(np.diff(stamps)) == pytest.approx(50e6, rel=0.3)
    run = read_recording(path)
    assert run.pose[-1] == pytest.approx([1.0, 2.0, 0.5])
    assert (run.image[-1] == 7).all() and run.walls.grid.any()


@pytest.mark.slow
def test_recording_ends_by_itself_when_its_parent_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    path = tmp_path / "run.mcap"
    start = "import subprocess, sys, time; quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}; "
    start += "command = [sys.executable, '-m', 'objective_agent_nodes.demo_record', '--out', sys.argv[1]]; "
    start += "print(subprocess.Popen(command, start_new_session=True, **quiet).pid, flush=True); time.sleep(60)"
    children = Children()
    with subprocess.Popen(
        [sys.executable, "-c", start, str(path)], env=children.environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert wait_until(lambda: path.exists() and not ended(pid))
        time.sleep(1.0)
        parent.kill()
    try:
        assert wait_until(lambda: ended(pid)), "the recorder is still running"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with open(path, "rb") as stream:
        assert make_reader(stream).get_summary() is not None, "closed properly"


def test_an_unusable_path_is_a_failure_in_one_line(tmp_path, capfd):
    assert recorder(tmp_path / "none" / "run.mcap").wait(20) == 1
    said = capfd.readouterr().err
    assert "demo_record: error" in said and "run.mcap" in said and "Traceback" not in said
