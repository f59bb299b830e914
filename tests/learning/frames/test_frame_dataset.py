"""Data sets of images: whole or not at all, nothing wrong gets in or is read, held-out layouts stay held out."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from objective_agent.learning.frames import dataset
from objective_agent.learning.frames.collection import collect
from objective_agent.learning.frames.dataset import FrameData, FrameWriter
from objective_agent.types import InputError

ROOT = Path(__file__).resolve().parents[3]
COLLECT = [sys.executable, "-m", "objective_agent.cli.main", "collect", "--task", "two_room", "--out"]


def episode(length: int = 5, seed: int = 0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 255, (length, 64, 64, 3), np.uint8)
    return images, random.uniform(-1, 1, (length - 1, 2)).astype(np.float32), random.random((length, 4)).astype(np.float32)


def write(out: Path, layouts) -> FrameData:
    with FrameWriter(out, "toy", 2, 4) as writer:
        for number, layout in enumerate(layouts):
            writer.add(*episode(5 + number % 3, number), layout)
    return FrameData.open(out)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> FrameData:
    return write(tmp_path_factory.mktemp("frames") / "data", np.repeat(np.arange(40), 2))


def test_what_was_written_is_read(data):
    images, actions, states = episode(6, 1)
    rows = np.flatnonzero(data.episode == 1)
    assert np.array_equal(data.take("image", rows), images) and np.array_equal(data.take("state", rows), states)
    assert np.array_equal(data.take("action", rows[:-1]), actions) and not data.take("action", rows[-1:]).any()
    assert data.columns["image"].flags.writeable is False
    data.verify()


def test_windows_stay_within_an_episode_and_a_layout_within_a_split(data):
    splits = {split: data.starts(3, split) for split in dataset.SPLITS}
    for starts in splits.values():
        assert len(starts) and (data.episode[starts] == data.episode[starts + 3]).all()
    layouts = [set(data.layout[starts]) for starts in splits.values()]
    assert not (layouts[0] & layouts[1] or layouts[0] & layouts[2] or layouts[1] & layouts[2])
    assert sum(len(data.starts(3, split)) for split in dataset.SPLITS) == len(data.starts(3))


def test_one_layout_holds_out_whole_episodes(tmp_path):
    data = write(tmp_path / "data", np.zeros(60, int))
    episodes = [set(data.episode[data.mask(split)]) for split in dataset.SPLITS]
    assert all(episodes) and sum(map(len, episodes)) == 60


def test_history_before_an_episode_begins_is_its_first_row_and_nothing_was_done(data):
    first = int(np.flatnonzero(data.episode == 2)[0])
    assert data.history(np.array([first + 1]), 3).tolist() == [[first, first, first + 1]]
    past = data.past_actions(np.array([first + 1]), 3)[0]
    assert not past[0].any() and np.array_equal(past[1], data.columns["action"][first])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda i, a, s: (i, np.full_like(a, np.nan), s), "NaN"),
        (lambda i, a, s: (i, a, np.full_like(s, np.inf)), "NaN or infinite"),
        (lambda i, a, s: (i[:, :32], a, s), "shape"),
        (lambda i, a, s: (i[1:], a, s), "shape"),
        (lambda i, a, s: (i.astype(float), a, s), "uint8"),
        (lambda i, a, s: (i[:1], a[:0], s[:1]), "2 frames"),
    ],
)
def test_nothing_wrong_gets_in_and_nothing_is_left_behind(tmp_path, spoil, complaint):
    with pytest.raises(InputError, match=complaint) as caught, FrameWriter(tmp_path / "data", "toy", 2, 4) as writer:
        writer.add(*episode(), 0)
        writer.add(*spoil(*episode()), 0)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten_and_an_empty_one_is_not_written(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="exists"):
        FrameWriter(tmp_path / "data", "toy", 2, 4)
    with pytest.raises(InputError, match="no episode"), FrameWriter(tmp_path / "new", "toy", 2, 4):
        pass
    assert not (tmp_path / "new").exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def poke(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "complaint"),
    [
        ("image.npy", truncate, "damaged"),
        ("image.npy", lambda path: path.write_bytes(b""), "damaged"),
        ("action.npy", poke, "sha256"),
        ("layout.npy", poke, "sha256"),
        ("state.npy", Path.unlink, "missing"),
        ("meta.json", truncate, "damaged|no data set"),
        ("meta.json", lambda path: path.write_text('{"kind": "frames", "schema": 99}'), "schema 99"),
        ("meta.json", lambda path: path.write_text('{"kind": "frames", "schema": 1, "rows": 3}'), "damaged"),
        ("meta.json", lambda path: path.write_text("[]"), "no data set of images"),
        ("meta.json", Path.unlink, "no data set"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, name, damage, complaint):
    write(tmp_path / "data", [0, 1, 2])
    damage(tmp_path / "data" / name)
    with pytest.raises(InputError, match=complaint) as caught:
        FrameData.open(tmp_path / "data")
    assert "\n" not in str(caught.value)


def test_changed_images_are_found_when_asked_for(tmp_path):
    write(tmp_path / "data", [0, 1, 2])
    poke(tmp_path / "data" / "image.npy")
    with pytest.raises(InputError, match="sha256"):
        FrameData.open(tmp_path / "data").verify()


def test_a_collection_does_not_depend_on_the_number_of_processes(tmp_path):
    one, report = collect("two_room_random", tmp_path / "one", 1300, seed=5)
    two, _ = collect("two_room_random", tmp_path / "two", 1300, seed=5, jobs=2)
    other, _ = collect("two_room_random", tmp_path / "other", 400, seed=6)
    assert one.meta["sha256"] == two.meta["sha256"] and one.digest() != other.digest()
    assert json.loads((tmp_path / "one" / "coverage.json").read_text()) == report
    assert report["layouts"] == -(-report["episodes"] // 4) and any("layouts" in line for line in report["warnings"])
    one.verify()


def test_episodes_that_end_early_are_made_up_for(tmp_path):
    gymnasium = pytest.importorskip("gymnasium")
    task = "gym:CartPole-v1"  # falls after some twenty steps, of the fifty that an episode of collection may have
    pytest.importorskip("pygame")
    assert gymnasium.spec("CartPole-v1")
    one, _ = collect(task, tmp_path / "one", 300, seed=1)
    lengths = np.bincount(one.episode) - 1
    assert 300 <= one.meta["steps"] == lengths.sum() < 300 + lengths[-1] and lengths.mean() < 40
    two, _ = collect(task, tmp_path / "two", 300, seed=1, jobs=2)
    assert two.meta["sha256"] == one.meta["sha256"]


def test_kill_9_leaves_nothing_that_looks_like_data_and_the_next_run_works(tmp_path):
    out = tmp_path / "data"
    process = subprocess.Popen([*COLLECT, str(out), "--steps", "900000"], cwd=ROOT, stderr=subprocess.DEVNULL)
    part = tmp_path / ".data.part" / "image.npy"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (part.exists() and part.stat().st_size > 10_000_000):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert part.exists() and not out.exists()
    with pytest.raises(InputError, match="no data set"):
        FrameData.open(tmp_path / ".data.part")
    collect("two_room", out, 100)
    assert FrameData.open(out).rows and not part.parent.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    def small_disk() -> None:  # a file that grows beyond this is an error of the system call, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))

    done = subprocess.run([*COLLECT, str(tmp_path / "data"), "--steps", "3000"], cwd=ROOT, capture_output=True, text=True,
                          preexec_fn=small_disk, timeout=60)  # fmt: skip
    assert done.returncode == 2 and "can't be written: File too large; make room" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_no_space_when_the_last_bytes_are_flushed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(dataset.os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write(tmp_path / "data", [0])
    assert not list(tmp_path.iterdir())
