"""What was imagined is what the run-time plugins would have said; what came, and the errors, are the recording's."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from learned_model import write_untrained
from toy_data import write_toy_data

from objective_agent.config import RobotParameters
from objective_agent.learning.imagination import Imagination, choose
from objective_agent.learning.imagined import figures
from objective_agent.learning.windows import Sequences
from objective_agent.perception.jepa import JepaEncoder
from objective_agent.types import InputError, Observation, Scan, WorldState
from objective_agent.visualization.egocentric import on_page, sector_angles, sweep_points
from objective_agent.world_model.jepa import Jepa

ROBOT = RobotParameters()


@pytest.fixture(scope="module")
def data(toy_data) -> Sequences:
    return Sequences(toy_data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("imagination") / "model")


@pytest.fixture(scope="module")
def model(folder) -> Imagination:
    return Imagination(str(folder))


def observed(data: Sequences, row: int) -> Observation:
    """The observation of a row as a running robot would hold it."""
    columns = data.columns
    step = 2 * math.pi / 180
    scan = Scan(float(columns["stamp"][row]), columns["scan"][row], -math.pi, step, 0.01, 30.0)
    return Observation(
        scan.stamp,
        columns["pose"][row][None],
        columns["velocity"][row][None],
        scans=(scan,),
        scan_poses=columns["scan_pose"][row][None],
        images=columns["image"][row][None],
        motion=columns["motion"][row][None],
        past_scans=columns["scan"][[row - 1, row - 2]][None],
        past_poses=columns["scan_pose"][[row - 1, row - 2]][None],
    )


def relative(origin: np.ndarray, poses: np.ndarray) -> np.ndarray:
    cos, sin = math.cos(origin[2]), math.sin(origin[2])
    turned = (poses[..., :2] - origin[:2]) @ np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([turned, (poses[..., 2:] - origin[2] + math.pi) % (2 * math.pi) - math.pi], -1)


def test_the_futures_are_those_that_the_plugins_of_a_running_robot_imagine(data, folder, model):
    row, horizon = 3 * 40 + 12, 10
    moment = next(model.moments(data, np.array([row]), horizon))
    encoder = JepaEncoder(JepaEncoder.Config(model=str(folder)), ROBOT)
    world_model = Jepa(Jepa.Config(model=str(folder)), ROBOT)
    observation = observed(data, row)
    tokens = encoder.encode(observation)
    sent = np.asarray(data.columns["motion"][row, -2:, 2:])[None]
    stamps = (observation.stamp - 0.2, observation.stamp - 0.1)
    state = WorldState(
        observation.stamp, tokens.tokens, observation.pose, observation.velocity, tokens.model, sent_stamps=stamps, sent=sent
    )
    actions = np.array(data.columns["action"][row : row + horizon])
    found = world_model.rollout(state, actions[None, None], futures=3)
    poses = relative(observation.pose[0], found.poses[0, 0].numpy())
    assert np.abs(poses[0] - poses[1]).max() > 1e-3  # the futures differ at all
    np.testing.assert_allclose(moment.futures.poses[:, 1:], poses, atol=2e-4)
    np.testing.assert_allclose(moment.futures.states[:, 1:], found.representations[0, 0, :, :, 0].numpy(), atol=2e-4)
    for name in ("clearance", "people"):
        worst = found.readouts[name][0, 0].numpy().min(0)
        np.testing.assert_allclose(moment.futures.promised(name, moment.margins)[1:], worst, atol=2e-4)
    assert np.isnan(moment.futures.promised("clearance", moment.margins)[0])  # the present is no prediction


def test_what_came_and_the_errors_are_the_recordings(data, model):
    rows, horizon = np.array([2 * 40 + 5, 9 * 40 + 20]), 6
    moments = list(model.moments(data, rows, horizon))
    position, clearance = [], []
    for row, moment in zip(rows, moments, strict=True):
        columns = {name: np.asarray(values[row : row + horizon + 1]) for name, values in data.columns.items()}
        came = relative(columns["pose"][0], columns["pose"])
        np.testing.assert_allclose(moment.came.poses, came, atol=1e-5)
        np.testing.assert_array_equal(moment.came.images, columns["image"])
        np.testing.assert_allclose(moment.came.clearance, columns["clearance"])
        assert (moment.episode, moment.seconds) == (row // 40, pytest.approx(row % 40 * 0.2))
        assert moment.world == f"room_{row // 40}" and moment.condition in ("slip", "plain") and moment.home == ""
        mean = moment.futures.poses.mean(0)
        position.append(np.hypot(mean[:, 0] - came[:, 0], mean[:, 1] - came[:, 1]))
        clearance.append(np.abs(moment.futures.clearance.mean(0) - columns["clearance"]))
        encoded = moment.representations
        unchanged = np.sqrt(np.mean((encoded[4] - encoded[0]) ** 2))
        assert moment.errors()["unchanged"][4] == pytest.approx(unchanged, rel=1e-5)
    steps = figures(moments)
    assert [at["step"] for at in steps] == [1, 2, 3, 4, 5, 6] and steps[-1]["seconds"] == pytest.approx(1.2)
    for name, values in (("position", position), ("clearance", clearance)):
        assert steps[3][name]["mean"] == pytest.approx(np.mean([v[4] for v in values]), abs=1e-4)
        assert steps[3][name]["p95"] == pytest.approx(np.quantile([v[4] for v in values], 0.95), abs=1e-4)
    assert steps[0]["people"] == {"mean": None, "p95": None}  # nobody was recorded: unknown is not zero


def test_the_analytic_model_is_right_about_a_robot_that_obeys_and_wrong_about_one_that_slips(tmp_path, model):
    error = {}
    for slip in (False, True):
        data = Sequences(write_toy_data(tmp_path / str(slip), episodes=15, steps=20, slip=slip))
        rows = choose(data, 5, 30)
        error[slip] = figures(list(model.moments(data, rows, 5)))[-1]["analytic_position"]["mean"]
    assert error[False] < 0.02 and error[True] > 2 * error[False]


def test_fewer_senses_change_what_is_imagined_and_not_what_came(data, model):
    whole, blind = (next(model.moments(data, np.array([330]), 4, senses)) for senses in ("all", "camera"))
    assert np.abs(whole.futures.states[:, 0] - blind.futures.states[:, 0]).max() > 1e-3
    np.testing.assert_array_equal(whole.came.ranges, blind.came.ranges)
    np.testing.assert_array_equal(whole.came.images, blind.came.images)
    assert np.abs(whole.representations[1:] - blind.representations[1:]).max() > 1e-3  # a blind robot is surprised blindly


def test_what_if_starts_from_the_same_observation_and_depends_on_the_actions_alone(data, model):
    moment = next(model.moments(data, np.array([250]), 8))
    other = {"as sent": moment.futures.actions, "ahead": np.tile([0.4, 0.0], (8, 1)), "stop": np.zeros((8, 2))}
    found = model.what_if(data, 250, moment, other).what_if
    assert list(found) == list(other)
    np.testing.assert_allclose(found["as sent"].poses, moment.futures.poses, atol=1e-5)
    np.testing.assert_allclose(found["ahead"].states[:, 0], found["stop"].states[:, 0])
    assert found["ahead"].analytic[-1, 0] > 0.4 > found["stop"].analytic[-1, 0]


def test_the_last_margin_serves_all_later_steps(data, model):
    margins = model.margins(14)["people"]
    assert len(margins) == 15 and margins[-1] == margins[10] == model.card["calibration"]["margins"]["people"][-1]


def test_whether_a_home_was_seen_in_training_is_said_of_the_models_own_data_only(data, folder, tmp_path):
    import shutil

    import yaml

    own = tmp_path / "own"
    shutil.copytree(folder, own)
    card = yaml.safe_load((own / "card.yaml").read_text()) | {"data": {"sha256": data.digest()}}
    (own / "card.yaml").write_text(yaml.safe_dump(card))
    assert Imagination(str(own)).homes(data, np.array([0, 1])) == ["never seen in training", "a training home"]
    assert Imagination(str(folder)).homes(data, np.array([0, 1])) == ["", ""]


def test_moments_are_spread_over_conditions_and_homes_and_the_robot_moves_in_them(data):
    rows = choose(data, 10, 8, held_out=True)
    assert len(rows) == 8 and not np.isin(data.world[rows], data.worlds("train")).any()
    assert set(data.conditions(rows)) == {"plain", "slip"} and len(set(data.world[rows])) >= 4
    pose = np.asarray(data.columns["pose"])
    way = np.abs(pose[rows + 10] - pose[rows])
    assert ((np.hypot(way[:, 0], way[:, 1]) > 0.25) | (way[:, 2] > 0.6)).all()


def test_moments_can_be_named(data):
    assert choose(data, 10, 6, episode=7, at=[0.0, 3.95]).tolist() == [7 * 40, 7 * 40 + 20]  # 3.95 s lies between two steps
    assert set(choose(data, 10, 4, episode=7) // 40) == {7}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"episode": 40}, "--episode 40"),
        ({"episode": -1}, "holds episodes 0 to 39"),
        ({"episode": 7, "at": [7.5]}, "from 0.0 to 5.8 s"),
        ({"horizon": 26}, "--steps 26"),
    ],
)
def test_moments_that_are_not_there_are_one_line(data, given, said):
    with pytest.raises(InputError, match=said):
        choose(data, **({"horizon": 10, "count": 3} | given))


def test_a_model_of_other_steps_is_refused(tmp_path, model):
    path = write_toy_data(tmp_path / "slow", episodes=5, steps=20)
    meta = json.loads((path / "meta.json").read_text()) | {"dt": 0.5}
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"steps of 0\.5 s"):
        next(model.moments(Sequences(path), np.array([3]), 4))


def test_decoded_sectors_are_drawn_where_their_beams_are():
    ranges = np.full(180, np.nan)
    ranges[5 * 18 : 5 * 19] = 2.0  # the five beams of the sector next to straight ahead
    right, up = on_page(sweep_points(ranges)).__iter__()
    angle = sector_angles()[18]
    middle = np.array([-2 * math.sin(angle), 2 * math.cos(angle)])
    np.testing.assert_allclose([right.mean(), up.mean()], middle, atol=0.01)
    left = on_page(np.array([0.0, 1.0]))
    assert left[0] == -1.0  # what is on the robot's left is on the left of the page
