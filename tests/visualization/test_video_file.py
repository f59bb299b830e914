import subprocess

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from objective_agent.visualization.bag import read_recording
from objective_agent.visualization.frame import SIZE, FrameView
from objective_agent.visualization.recording import Recording
from objective_agent.visualization.video import VideoError, VideoWriter


def decoded(path) -> np.ndarray:
    """Frames [n, h, w, 3] BGR, through ffmpeg."""
    reader = cv2.VideoCapture(str(path))
    frames = []
    while (grabbed := reader.read())[0]:
        frames.append(grabbed[1])
    return np.array(frames)


def test_every_frame_can_be_decoded_with_its_colour(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (64, 48), 10) as writer:
        for value in range(0, 200, 10):
            writer.add(np.full((48, 64, 3), value, np.uint8))
    frames = decoded(tmp_path / "a.mp4")
    assert frames.shape == (20, 48, 64, 3)
    assert np.abs(frames.mean((1, 2, 3)) - np.arange(0, 200, 10)).max() < 12
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_video_is_h264_that_browsers_play(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", (64, 48), 10) as writer:
        writer.add(np.zeros((48, 64, 3), np.uint8))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(tmp_path / "a.mp4")]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "h264" in said and "yuv420p" in said and "10 fps" in said


def test_an_interrupted_video_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.mp4", (64, 48)) as writer:
        writer.add(np.zeros((48, 64, 3), np.uint8))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_frame_of_the_wrong_size_is_refused_in_one_line(tmp_path):
    with pytest.raises(VideoError, match=r"needs \(48, 64, 3\)"), VideoWriter(tmp_path / "a.mp4", (64, 48)) as writer:
        writer.add(np.zeros((40, 64, 3), np.uint8))


def test_a_folder_that_does_not_exist_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(VideoError, match=r"a\.mp4"), VideoWriter(tmp_path / "none" / "a.mp4", (64, 48)) as writer:
        for _ in range(200):
            writer.add(np.zeros((48, 64, 3), np.uint8))


def test_a_run_becomes_frames_that_change_as_it_goes_on(run_mcap):
    view = FrameView(read_recording(run_mcap))
    early, late = view.draw(1.0), view.draw(6.0)
    assert early.shape == (SIZE[1], SIZE[0], 3)
    assert (early != late).any(-1).mean() > 0.01


def test_the_banner_shows_the_gate_from_across_the_room(run_mcap):
    view = FrameView(read_recording(run_mcap))
    green, orange = view.draw(2.0)[60, 900].astype(int), view.draw(4.3)[60, 900].astype(int)
    assert green[1] > green[2] + 50, "OK is green"
    assert orange[2] > orange[1] + 50, "STOP is orange"


def test_a_run_of_which_nothing_was_heard_can_still_be_drawn():
    assert FrameView(Recording(end=1.0)).draw(0.5).shape == (SIZE[1], SIZE[0], 3)
