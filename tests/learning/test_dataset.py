import json
import math
from dataclasses import replace

import numpy as np
import pytest

from objective_agent.config import PerceptionParameters, RobotParameters
from objective_agent.learning.bags import BagWriter, read_bag
from objective_agent.learning.collection import CollectSettings, write_bag
from objective_agent.learning.dataset import BuildSettings, Dataset, build, split_worlds
from objective_agent.learning.messages import EpisodeStart, People, Truth
from objective_agent.learning.rows import COLUMNS, observation_row
from objective_agent.perception.synchronizer import Synchronizer
from objective_agent.safety import default_parameters
from objective_agent.types import Command, Image, InputError, Odometry, Scan

ROBOT = RobotParameters()
SETTINGS = CollectSettings("mix", 5, ROBOT, default_parameters(ROBOT), seconds=6.0)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("bags") / "part-0.mcap"
    write_bag(path, range(3), SETTINGS)
    return path


@pytest.fixture(scope="module")
def data(bag, tmp_path_factory) -> Dataset:
    return build([bag], tmp_path_factory.mktemp("data") / "set")


def everything(path):
    """All readings of a bag with their episode marks, in the order of the file."""
    for segment in read_bag(path).segments:
        yield EpisodeStart(segment.info)
        readings = [reading for kind in segment.readings for reading in segment.of(kind)]
        yield from sorted(readings, key=lambda reading: reading.stamp)


def rewrite(path, readings):
    with BagWriter(path, {}) as writer:
        for reading in readings:
            writer.add(reading, getattr(reading, "stamp", 1.0))
    return path


def made(tmp_path, readings, name="x", **settings):
    return build([rewrite(tmp_path / f"{name}.mcap", readings)], tmp_path / name, BuildSettings(**settings))


def robot(seconds=4.0, begin=10.0, v=0.2, camera=20.0, wall=1.0):
    """A robot that drives ahead towards a wall, at exactly its commands' speed; the commands leave at 20 Hz."""
    found = []
    for k in range(round(seconds * 50)):
        t = 0.02 * k
        found.append(Odometry(begin + t, np.array([v * t, 0, 0], np.float32), np.array([v, 0.0], np.float32)))
    for k in range(round(seconds * 10)):
        ranges = np.full(180, np.inf, np.float32)
        ranges[90] = wall - v * 0.1 * k
        found.append(Scan(begin + 0.1 * k, ranges, -math.pi, math.pi / 90, 0.05, 8.0))
    for k in range(round(seconds * camera)):
        rgb = np.random.default_rng(k).integers(0, 255, (48, 80, 3), np.uint8)
        found.append(Image(begin + k / camera, rgb))
    for k in range(round(seconds * 20)):
        found.append(Command(begin + 0.05 * k + 0.013, v, 0.0))
    return sorted(found, key=lambda reading: reading.stamp)


def test_the_columns_are_what_the_schema_says(data):
    for name, (kind, shape) in COLUMNS.items():
        column = data.columns[name]
        assert column.shape == (len(data), *shape) and column.dtype == kind and isinstance(column, np.memmap)
    lengths = [last - first for first, last in (episode["rows"] for episode in data.meta["episodes"])]
    assert set(lengths) <= {28, 29} and sum(lengths) == len(data) and data.dt == 0.2 and len(data.worlds) == 3
    assert data.columns["has_scan"].all() and data.columns["has_image"].all()
    assert np.isfinite(data.columns["motion"]).all() and np.isfinite(data.columns["clearance"]).all()
    assert len({image.tobytes() for image in data.columns["image"]}) == len(data), "a frame is used twice"


def test_sequences_stay_in_one_episode_and_one_side_of_the_split(data):
    for length in (1, 5, 28):
        starts = data.sequences(length)
        assert len(starts) == len(data) - 3 * (length - 1)
        batch = data.batch(starts, length, ("episode", "step", "scan"))
        assert (batch["episode"] == batch["episode"][:, :1]).all() and batch["scan"].shape == (len(starts), length, 180)
        assert (np.diff(batch["step"], axis=1) == 1).all()
    assert len(data.sequences(30)) == 0 and len(data.sequences(10**6)) == 0
    train, val = data.sequences(5, "train"), data.sequences(5, "val")
    assert len(train) + len(val) == len(data.sequences(5)) and len(val)
    worlds = data.columns["world"]
    assert not set(worlds[train]) & set(worlds[val])
    with pytest.raises(InputError, match="split"):
        data.mask("exam")


def test_at_least_a_tenth_of_the_worlds_is_held_out_whatever_their_order():
    names = [f"apartment-{number}" for number in range(57)]
    split = split_worlds(names)
    assert len(split["val"]) >= 6 and sorted(split["train"] + split["val"]) == list(range(57))
    backwards = split_worlds(names[::-1])
    assert {names[i] for i in split["val"]} == {names[::-1][i] for i in backwards["val"]}


def test_rows_are_the_observations_that_a_running_robot_would_have_had(bag, data):
    """One bag through a synchronizer as the nodes drive it: each reading as it comes, an observation per frame."""
    segment = read_bag(bag).segments[1]
    rows = np.flatnonzero(data.columns["episode"] == 1)
    by_stamp = {float(stamp): row for stamp, row in zip(data.columns["stamp"][rows], rows, strict=True)}
    synchronizer, found = Synchronizer(PerceptionParameters()), 0
    order = (Command, Odometry, Scan, Image)
    readings = [reading for kind in order for reading in segment.of(kind)]
    for reading in sorted(readings, key=lambda reading: reading.stamp):
        if isinstance(reading, Command):
            synchronizer.command_sent(reading)
            continue
        synchronizer.add(reading)
        if not isinstance(reading, Image) or reading.stamp not in by_stamp:
            continue
        row, found = by_stamp[reading.stamp], found + 1
        observation = synchronizer.observe(reading.stamp)
        for name, value in observation_row(observation).items():
            assert np.allclose(value, data.columns[name][row], atol=1e-5, equal_nan=True), name
        for ago in (1, 2):
            if row - ago >= rows[0]:
                assert np.array_equal(observation.past_scans[0, ago - 1], data.columns["scan"][row - ago], equal_nan=True)
                assert observation.past_poses[0, ago - 1] == pytest.approx(data.columns["scan_pose"][row - ago], abs=0.02)
    assert found == len(rows)


def test_a_lidar_in_front_of_the_middle_sees_from_there(tmp_path):
    middle, front = made(tmp_path, robot(), "middle"), made(tmp_path, robot(), "front", lidar_pose=(0.1, 0.0, 0.0))
    nearer = front.columns["clearance"] - middle.columns["clearance"]
    assert nearer[1:] == pytest.approx(0.1, abs=1e-3)
    assert front.columns["scan"][5, 90] - middle.columns["scan"][5, 90] == pytest.approx(0.1, abs=1e-3)


def test_actions_motion_and_clearance_are_means_and_minima_over_the_step(tmp_path):
    data = made(tmp_path, robot())
    columns = data.columns
    assert columns["action"][1:-1] == pytest.approx(np.full((len(data) - 2, 2), [0.2, 0.0]), abs=1e-6)
    assert columns["motion"][10, :, 0] == pytest.approx(np.full(8, 0.2), abs=1e-6)
    assert columns["motion"][10, :, 2] == pytest.approx(np.full(8, 0.2), abs=1e-6)
    assert (columns["motion"][0] == 0).all() and columns["motion"][1, -1, 2] == pytest.approx(0.2)
    expected = 1.0 - ROBOT.radius - 0.2 * (columns["stamp"] - 10.0)
    assert columns["clearance"][1:] == pytest.approx(expected[1:], abs=0.005)
    assert np.isnan(columns["people"]).all()


def test_a_command_that_changes_within_a_step_counts_for_its_share(tmp_path):
    readings = [reading for reading in robot() if not isinstance(reading, Command)]
    readings += [Command(10.0 + 0.05 * k, 0.4 if k % 4 == 3 else 0.0, -1.0) for k in range(80)]
    data = made(tmp_path, sorted(readings, key=lambda reading: reading.stamp))
    assert data.columns["action"][2:-1] == pytest.approx(np.full((len(data) - 3, 2), [0.1, -1.0]), abs=1e-5)


def test_the_distance_to_people_is_measured_from_where_the_robot_really_was(tmp_path):
    labels = []
    for k in range(41):
        labels.append(Truth(10.0 + 0.1 * k, np.array([5.0 + 0.02 * k, 1.0, 0.0], np.float32)))
        labels.append(People(10.0 + 0.1 * k, np.array([[7.0, 1.0, 0.25], [9.0, 9.0, 0.25]])))
    data = made(tmp_path, sorted([*robot(), *labels], key=lambda reading: reading.stamp))
    expected = 2.0 - 0.2 * (data.columns["stamp"] - 10.0) - 0.25 - ROBOT.radius
    assert data.columns["people"] == pytest.approx(expected, abs=1e-4)


def test_rates_may_be_mixed_and_sensors_missing(tmp_path):
    fast = made(tmp_path, robot(camera=20.0), "fast")
    assert fast.columns["has_image"].all() and np.diff(fast.columns["stamp"]) == pytest.approx(
        np.full(len(fast) - 1, 0.2), abs=2e-3
    )
    blind = made(tmp_path, [reading for reading in robot() if not isinstance(reading, Image)], "blind")
    assert not blind.columns["has_image"].any() and blind.columns["has_scan"].all() and blind.meta["missing"]["images"] == 1.0
    seeing = made(tmp_path, [reading for reading in robot() if not isinstance(reading, Scan)], "seeing")
    assert not seeing.columns["has_scan"].any() and np.isnan(seeing.columns["scan"]).all()
    assert np.isnan(seeing.columns["clearance"]).all()
    coarse = made(tmp_path, robot(camera=7.0), "coarse", dt=0.5)
    assert coarse.dt == 0.5 and len(coarse) == 7


def test_an_episode_is_cut_where_odometry_is_missing(tmp_path):
    readings = [reading for reading in robot(8.0) if not (isinstance(reading, Odometry) and 13.0 < reading.stamp < 14.5)]
    data = made(tmp_path, readings)
    assert data.meta["mended"]["odom: a gap, episode cut"] == 1
    assert not ((data.columns["stamp"] > 13.3) & (data.columns["stamp"] < 14.4)).any()
    stamps = data.columns["stamp"][data.sequences(2)]
    assert np.allclose(data.columns["stamp"][data.sequences(2) + 1] - stamps, 0.2)


def test_one_world_alone_is_divided_by_time(tmp_path):
    data = made(tmp_path, robot(20.0, v=0.03))
    assert len(data.worlds) == 2 and "one world only" in data.meta["note"]
    val = data.sequences(5, "val")
    assert 0.05 * len(data) < len(val) < 0.3 * len(data) and not set(data.columns["episode"][val]) & set(
        data.columns["episode"][data.sequences(5, "train")]
    )
    assert data.columns["step"][data.columns["world"] == 1][0] == 0


def test_bags_that_can_not_be_used_are_named_and_the_others_used(bag, tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"nonsense")
    (tmp_path / "b.mcap").write_bytes(bag.read_bytes())
    seen = []
    data = build([tmp_path], tmp_path / "set", report=lambda done, total: seen.append((done, total)))
    assert len(data) > 80 and seen == [(1, 2), (2, 2)]
    assert "a.mcap" in data.meta["left_out"][0] and data.meta["bags"][0]["name"] == "b.mcap"
    with pytest.raises(InputError, match="no data"):
        build([tmp_path / "a.mcap"], tmp_path / "other")
    with pytest.raises(InputError, match="exists"):
        build([tmp_path / "b.mcap"], tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mcap", "b.mcap", "set"]


def test_a_bag_cut_off_while_it_was_written_still_gives_its_rows(bag, tmp_path):
    content = bag.read_bytes()
    (tmp_path / "cut.mcap").write_bytes(content[: int(0.7 * len(content))])
    data = build([tmp_path / "cut.mcap"], tmp_path / "set")
    assert 20 < len(data) < 87 and data.meta["mended"]["file: cut off, read as far as it goes"] == 1


def test_more_processes_make_the_same_data(bag, tmp_path):
    for name in ("a", "b"):
        rewrite(tmp_path / f"{name}.mcap", everything(bag))
    one = build([tmp_path], tmp_path / "one")
    two = build([tmp_path], tmp_path / "two", jobs=2)
    assert all(
        np.array_equal(
            one.columns[name], two.columns[name], equal_nan="seen" not in name and one.columns[name].dtype.kind == "f"
        )
        for name in COLUMNS
    )


@pytest.mark.parametrize("harm", ["cut", "missing", "meta", "schema"])
def test_a_damaged_data_set_is_one_line(data, tmp_path, harm):
    import shutil

    path = tmp_path / "set"
    shutil.copytree(data.path, path)
    if harm == "cut":
        (path / "scan.npy").write_bytes((path / "scan.npy").read_bytes()[:300])
    elif harm == "missing":
        (path / "pose.npy").unlink()
    elif harm == "meta":
        (path / "meta.json").write_text("{")
    else:
        (path / "meta.json").write_text(json.dumps(data.meta | {"schema": 99}))
    with pytest.raises(InputError, match="make the data set again"):
        Dataset.open(path)


def test_collecting_is_determined_by_seed_and_number(bag, tmp_path):
    write_bag(tmp_path / "one.mcap", range(1, 2), SETTINGS)
    (alone,) = read_bag(tmp_path / "one.mcap").segments
    among = read_bag(bag).segments[1]
    assert alone.info == among.info
    assert [(c.v, c.w) for c in alone.of(Command)] == [(c.v, c.w) for c in among.of(Command)]
    write_bag(tmp_path / "two.mcap", range(1, 2), replace(SETTINGS, seed=6))
    assert read_bag(tmp_path / "two.mcap").segments[0].info["world"] != alone.info["world"]


def test_what_is_collected_comes_from_training_worlds_at_the_rates_of_a_robot(bag):
    for segment in read_bag(bag).segments:
        assert int(segment.info["world"].removeprefix("apartment-")) < 1_000_000
        rates = {kind.__name__: len(segment.of(kind)) / 6.0 for kind in (Odometry, Scan, Image, Command)}
        assert rates == pytest.approx({"Odometry": 30, "Scan": 10, "Image": 5, "Command": 10}, abs=0.4)
        speeds = np.array([(command.v, command.w) for command in segment.of(Command)])
        assert np.abs(speeds[:, 0]).max() <= ROBOT.max_speed + 1e-6 and np.ptp(speeds[:, 1]) > 0.1
