import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from objective_agent.learning.bags import BagWriter, find_bags, read_bag
from objective_agent.learning.messages import EpisodeStart, People, Truth, typestore
from objective_agent.types import Command, Image, InputError, Odometry, Scan


def odometry(stamp, x=0.0):
    return Odometry(stamp, np.array([x, 0.5, 3.0], np.float32), np.array([0.25, -0.5], np.float32))


def scan(stamp):
    return Scan(stamp, np.array([1, np.inf, -np.inf, np.nan, 2], np.float32), -math.pi, 0.4, 0.05, 8.0)


def image(stamp, size=64, seed=0):
    return Image(stamp, np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8))


def life(begin=10.0, seconds=3.0):
    """What a robot says in a few seconds, in time order."""
    found = [odometry(begin + 0.03 * k, x=k) for k in range(round(seconds / 0.03))]
    found += [scan(begin + 0.1 * k) for k in range(round(seconds / 0.1))]
    found += [image(begin + 0.2 * k, seed=k) for k in range(round(seconds / 0.2))]
    found += [Command(begin + 0.05 * k, 0.3, 0.1) for k in range(round(seconds / 0.05))]
    return sorted(found, key=lambda reading: reading.stamp)


def write(path, readings, **metadata):
    with BagWriter(path, metadata) as bag:
        for reading in readings:
            bag.add(reading, getattr(reading, "stamp", 1.0))
    return path


def test_what_is_read_is_what_was_written(tmp_path):
    given = [odometry(5.0, 2.5), scan(5.0), image(5.0), Command(5.01, 0.3, -0.7), odometry(5.03)]
    labels = [People(5.0, np.array([[1.0, 2.0, 0.22], [3.0, 4.0, 0.25]])), Truth(5.0, np.array([1, 2, 0.5], np.float32))]
    path = write(tmp_path / "a.mcap", [EpisodeStart({"world": "flat", "seed": 3}), *given, *labels], seed=7)
    bag = read_bag(path)
    (segment,) = bag.segments
    assert segment.info == {"world": "flat", "seed": 3} and bag.metadata["seed"] == "7" and not bag.counts
    read = segment.of(Odometry)[0]
    assert read.stamp == 5.0 and np.allclose(read.pose, given[0].pose) and np.allclose(read.velocity, given[0].velocity)
    assert np.array_equal(segment.of(Scan)[0].ranges, given[1].ranges, equal_nan=True)
    assert np.array_equal(segment.of(Image)[0].rgb, given[2].rgb)
    assert segment.of(Command)[0] == Command(5.01, 0.3, -0.7)
    assert np.allclose(segment.of(People)[0].places, labels[0].places) and np.allclose(segment.of(Truth)[0].pose, [1, 2, 0.5])


def test_a_bag_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path):
    path = write(tmp_path / "a.mcap", life(seconds=60.0))
    whole = read_bag(path)
    data = path.read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: int(0.6 * len(data))])
    cut = read_bag(tmp_path / "cut.mcap")
    share = len(cut.segments[0].of(Odometry)) / len(whole.segments[0].of(Odometry))
    assert 0.3 < share < 0.7 and cut.counts["file: cut off, read as far as it goes"] == 1 and not whole.counts


def test_a_spoilt_chunk_costs_that_chunk_and_no_more(tmp_path):
    path = write(tmp_path / "a.mcap", life(seconds=60.0))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 50] = bytes(50)
    path.write_bytes(data)
    bag = read_bag(path)
    assert bag.counts["file: chunk spoilt, left out"] == 1
    stamps = [reading.stamp for segment in bag.segments for reading in segment.of(Odometry)]
    assert len(stamps) > 1000 and max(stamps) > 68


def test_killed_while_writing_leaves_no_bag_under_its_name_and_what_is_there_can_be_read(tmp_path):
    code = (
        "import sys, numpy as np\nfrom objective_agent.learning.bags import BagWriter\n"
        "from objective_agent.types import Command, Odometry\n"
        "bag = BagWriter(sys.argv[1], {})\nk = 0\n"
        "while True:\n"
        "    k += 1\n    bag.add(Odometry(0.01 * k, np.zeros(3), np.zeros(2)))\n    bag.add(Command(0.01 * k, 0.1, 0.0))\n"
        "    if k == 20000: print('many', flush=True)\n"
    )
    path = tmp_path / "a.mcap"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=os.getcwd())
    assert process.stdout.readline() == b"many\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not path.exists()
    (part,) = tmp_path.iterdir()
    found = read_bag(part)
    assert len(found.segments[0].of(Odometry)) > 1000 and found.counts["file: cut off, read as far as it goes"] == 1


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "a.mcap", {}) as bag:
        bag.add(odometry(1.0))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_messages_out_of_order_or_twice_are_mended_and_counted(tmp_path):
    given = life()
    mixed = list(given)
    random = np.random.default_rng(1)
    for _ in range(20):
        i = int(random.integers(len(mixed) - 6))
        mixed[i], mixed[i + 5] = mixed[i + 5], mixed[i]
    first = next(reading for reading in given if isinstance(reading, Scan))
    bag = read_bag(write(tmp_path / "a.mcap", [*mixed, first]))
    (segment,) = bag.segments
    for kind in (Odometry, Scan, Image, Command):
        stamps = [reading.stamp for reading in segment.of(kind)]
        assert stamps == sorted(stamps) and len(stamps) == sum(isinstance(reading, kind) for reading in given)
    assert bag.counts["scan: stamp repeated, left out"] == 1
    assert sum(count for name, count in bag.counts.items() if name.endswith("out of order, sorted")) > 0


def test_a_clock_that_goes_back_and_a_marker_begin_new_episodes(tmp_path):
    bag = read_bag(write(tmp_path / "a.mcap", [*life(100.0), *life(10.0)]))
    assert len(bag.segments) == 2 and bag.counts["odom: clock went back, new episode"] == 1
    marked = [EpisodeStart({"world": "a"}), *life(10.0), EpisodeStart({"world": "b"}), *life(20.0)]
    bag = read_bag(write(tmp_path / "b.mcap", marked))
    assert [segment.info["world"] for segment in bag.segments] == ["a", "b"]


def test_commands_without_a_stamp_get_the_time_of_their_recording_on_the_sensors_clock(tmp_path):
    """A plain Twist, recorded by a machine whose clock is 1000 s ahead of the robot's."""
    from mcap.writer import Writer

    store = typestore()
    vector = store.types["geometry_msgs/msg/Vector3"]
    twist = store.types["geometry_msgs/msg/Twist"](vector(0.3, 0.0, 0.0), vector(0.0, 0.0, 0.1))
    path = tmp_path / "a.mcap"
    written = write(tmp_path / "b.mcap", [odometry(5.0 + 0.05 * k) for k in range(20)] + [Command(5.0, 0.0, 0.0)])
    from objective_agent.learning.messages import odometry_to

    with open(path, "wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        channels = {}
        for name, topic in (("nav_msgs/msg/Odometry", "/robot1/odom"), ("geometry_msgs/msg/Twist", "/robot1/cmd_vel")):
            text, _ = store.generate_msgdef(name, ros_version=2)
            channels[name] = writer.register_channel(topic, "cdr", writer.register_schema(name, "ros2msg", text.encode()))
        for k in range(20):
            when = round((1005.0 + 0.05 * k) * 1e9)
            data = bytes(store.serialize_cdr(odometry_to(odometry(5.0 + 0.05 * k)), "nav_msgs/msg/Odometry"))
            writer.add_message(channels["nav_msgs/msg/Odometry"], when, data, when)
            data = bytes(store.serialize_cdr(twist, "geometry_msgs/msg/Twist"))
            writer.add_message(channels["geometry_msgs/msg/Twist"], when + 20_000_000, data, when)
        writer.finish()
    bag = read_bag(path)
    (segment,) = bag.segments
    assert [command.stamp for command in segment.of(Command)] == pytest.approx([5.02 + 0.05 * k for k in range(20)], abs=1e-6)
    assert bag.counts["cmd_vel: without a stamp, given the time of its recording"] == 20
    assert len(read_bag(written).segments[0].of(Command)) == 1


def test_odd_messages_are_counted_and_left_out(tmp_path):
    from objective_agent.learning import messages

    black = Image(10.5, np.zeros((64, 64, 3), np.uint8))
    lost = Command(10.6, float("nan"), 0.0)
    bag = read_bag(write(tmp_path / "a.mcap", [*life(), black, lost, Odometry(0.0, np.zeros(3), np.zeros(2))]))
    assert bag.counts["camera/image_raw: all pixels are the same"] == 1 and bag.counts["cmd_vel: is not finite"] == 1
    assert bag.counts["odom: without a usable stamp, left out"] == 1
    message = messages.image_to(image(1.0))
    message.encoding = "16UC1"
    with pytest.raises(InputError, match="16UC1"):
        messages.image_from(message)
    message.encoding, message.step = "rgb8", 3
    with pytest.raises(InputError, match="fit together"):
        messages.image_from(message)


def test_large_frames_are_kept_small(tmp_path):
    bag = read_bag(write(tmp_path / "a.mcap", [*life(), image(10.55, size=480)]))
    assert {frame.rgb.shape for frame in bag.segments[0].of(Image)} == {(64, 64, 3)}


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89MCAP0\r\n", os.urandom(5000)])
def test_what_is_no_bag_is_one_line(tmp_path, content):
    (tmp_path / "a.mcap").write_bytes(content)
    with pytest.raises(InputError, match="not an MCAP file"):
        read_bag(tmp_path / "a.mcap")


def test_bags_that_can_not_be_used_are_one_line(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        read_bag(tmp_path / "none.mcap")
    with pytest.raises(InputError, match="no odometry with commands"):
        read_bag(write(tmp_path / "a.mcap", [odometry(1.0), scan(1.0)]))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no \*.mcap file"):
        find_bags([empty])
    (empty / "x.db3").touch()
    with pytest.raises(InputError, match="rosbags-convert"):
        find_bags([empty])
    with pytest.raises(InputError, match="can't be written"):
        BagWriter(tmp_path / "no" / "a.mcap", {})


def test_writing_and_reading_are_fast_enough_for_training_sets(tmp_path):
    begun = time.process_time()
    read_bag(write(tmp_path / "a.mcap", life(seconds=60.0)))
    assert time.process_time() - begun < 6.0, "300 frames with their scans, odometry and commands"
