import cv2
import numpy as np
import pytest
from made_up_run import GOALS, SECONDS, pose_at
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from objective_agent.types import InputError
from objective_agent.visualization.bag import read_recording
from objective_agent.visualization.dashboard import draw_dashboard
from objective_agent.visualization.recording import Recording


def test_the_file_says_what_other_readers_need(run_mcap):
    with open(run_mcap, "rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        summary = reader.get_summary()
        assert reader.get_header().profile == "ros2"
        assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
        assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}
        kinds = {channel.topic: summary.schemas[channel.schema_id].name for channel in summary.channels.values()}
        assert kinds["/camera/image_raw"] == "sensor_msgs/msg/Image"
        assert kinds["/tf"] == "tf2_msgs/msg/TFMessage"
        assert kinds["/demo/world"] == "nav_msgs/msg/OccupancyGrid"
        seen = {channel.topic: message for _, channel, _, message in reader.iter_decoded_messages()}
    last = pose_at(SECONDS)
    move = seen["/tf"].transforms[0]
    assert (move.header.frame_id, move.child_frame_id) == ("odom", "base_link")
    assert (move.transform.translation.x, move.transform.translation.y) == pytest.approx(tuple(last[:2]))
    assert seen["/camera/image_raw"].encoding == "rgb8"


def test_rosbags_reads_the_same_file(run_mcap):
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    with AnyReader([run_mcap], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == "/odom"]
        poses = [reader.deserialize(raw, connection.msgtype) for connection, _, raw in reader.messages(wanted)]
    assert len(poses) == SECONDS * 20 + 1


def test_what_was_recorded_comes_back(run_mcap):
    run = read_recording(run_mcap)
    assert run.end == pytest.approx(SECONDS)
    assert run.pose.at(2.0) == pytest.approx(pose_at(2.0), abs=0.03)
    assert run.image.at(1.0)[0, 0].tolist() == [200, 180, 150], "RGB"
    assert run.scan.at(1.0).ranges.shape == (180,)
    assert run.candidates.at(1.0).points.shape == (31 * 15, 2, 2)
    futures = run.candidates.at(1.0)
    assert not futures.feasible[:15].any() and futures.feasible[15 * 15]
    assert futures.energy[15 * 15] == pytest.approx(0.0) and futures.energy[futures.feasible].max() > 0.9
    assert set(run.energies.at(1.0)) == {"goal_pose", "smooth", "effort", "bump"}
    assert run.status.at(1.0)["stop_reason"] == "converged"
    assert run.people.at(1.0) == pytest.approx(np.array([[5.6, 1.4, 0.25]]), abs=0.03)
    assert run.simulator[0]["real_time_factor"] == 0.98
    assert [goal.position for goal in run.goals] == GOALS and run.all_goals == tuple(GOALS)
    assert [goal.reached for goal in run.goals] == [True, True]
    assert run.walls.grid.sum() > 500


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(run_mcap, tmp_path):
    data = run_mcap.read_bytes()
    (tmp_path / "cut.mcap").write_bytes(data[: 3 * len(data) // 4])
    run = read_recording(tmp_path / "cut.mcap")
    assert 1.0 < run.end < SECONDS
    assert [goal.reached for goal in run.goals][-1] is False, "a goal whose end was not recorded is not reached"


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 5000])
def test_something_else_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "run.mcap").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.mcap: .*give a run\.mcap"):
        read_recording(tmp_path / "run.mcap")


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        read_recording(tmp_path / "none.mcap")


def test_the_dashboard_shades_the_goals_and_has_a_fixed_size(run_mcap, tmp_path):
    path = draw_dashboard(read_recording(run_mcap), tmp_path / "dashboard.png", "two of two")
    page = cv2.imread(str(path))
    assert page.shape == (1550, 1300, 3)
    left, right = 0.085 * 1300, 0.81 * 1300
    row = page[-100:-80]  # the speed panel, just above its axis
    columns = [round(left + (right - left) * time / SECONDS) for time in (0.2, 1.9, 3.1, 6.1)]
    tinted = [
        bool((row[:, column - 3 : column + 4].reshape(-1, 3).astype(int) @ [0, 1, -1] > 5).mean() > 0.5) for column in columns
    ]
    assert tinted == [False, True, False, True], "inside a goal's span the background is greenish, between them white"


def test_a_run_of_which_nothing_was_heard_still_has_a_dashboard(tmp_path):
    assert draw_dashboard(Recording(end=2.0), tmp_path / "empty.png").stat().st_size > 1000
