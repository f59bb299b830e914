"""The learned world model behind the contract: axes, futures, latency, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from learned_model import CLEARANCE_MARGIN, PEOPLE_MARGIN, write_untrained

from objective_agent import plugins
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.types import ConfigurationError, InputError, WorldState
from objective_agent.world_model.foresight import Foresight
from objective_agent.world_model.jepa_network import Heads, PredictorShape
from objective_agent.world_model.readouts import Nominal, compose, nominal_rollout
from objective_agent.world_model.unicycle import Unicycle

ROBOT = RobotParameters()
DT = 0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("models") / "untrained")


def make(folder, robot=ROBOT, **settings):
    return plugins.create("world_model", PluginSpec(plugin="jepa", model=str(folder), **settings), robot)


@pytest.fixture(scope="module")
def model(folder):
    return make(folder)


def state(batch: int = 1, stamp: float = 5.0, sent: tuple = ((0.0, 0.2, 0.1),)) -> WorldState:
    """`sent`: (seconds before `stamp`, v, w), newest last."""
    rng = np.random.default_rng(1)
    values = np.array([[v, w] for _, v, w in sent], np.float32).reshape(-1, 2)
    return WorldState(
        stamp=stamp,
        representation=rng.normal(size=(batch, 1, 32)).astype(np.float32),
        pose=rng.normal(size=(batch, 3)).astype(np.float32),
        velocity=rng.uniform(0, 0.3, (batch, 2)).astype(np.float32),
        model="m",
        sent_stamps=np.array([stamp - ago for ago, _, _ in sent]),
        sent=np.repeat(values[None], batch, 0),
    ).to_torch()


def actions(batch: int = 1, candidates: int = 4, horizon: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, candidates, horizon, 2, generator=generator) - 0.3


def test_the_axes_are_those_of_the_contract(model):
    found = model.rollout(state(2), actions(2, 4, 6), futures=3)
    assert found.poses.shape == (2, 4, 3, 6, 3)
    assert found.velocities.shape == (2, 4, 3, 6, 2)
    assert found.representations.shape == (2, 4, 3, 6, 1, 32)
    assert found.readouts["clearance"].shape == found.readouts["people"].shape == (2, 4, 3, 6)
    assert found.dt == DT and torch.equal(found.actions, actions(2, 4, 6))


def test_each_problem_and_candidate_gets_what_it_would_get_alone(model):
    together, alone = state(2), actions(2, 4, 6)
    found = model.rollout(together, alone, futures=2)
    for b in range(2):
        fields = ("representation", "pose", "velocity", "sent")
        one = replace(together, **{name: getattr(together, name)[b : b + 1] for name in fields})
        for n in range(4):
            single = model.rollout(one, alone[b : b + 1, n : n + 1], futures=2)
            torch.testing.assert_close(single.poses[0, 0], found.poses[b, n], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                single.readouts["clearance"][0, 0], found.readouts["clearance"][b, n], rtol=1e-4, atol=1e-5
            )


def test_each_future_is_one_head_through_all_steps(model):
    three, one = (model.rollout(state(), actions(), futures=k) for k in (3, 1))
    torch.testing.assert_close(three.poses[:, :, :1], one.poses)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not torch.allclose(three.poses[:, :, first], three.poses[:, :, second])
        assert not torch.allclose(three.representations[:, :, first], three.representations[:, :, second])


def test_a_short_rollout_is_the_beginning_of_a_long_one(model):
    long = actions(horizon=8)
    torch.testing.assert_close(model.rollout(state(), long[:, :, :3]).poses, model.rollout(state(), long).poses[..., :3, :])


def test_read_outs_are_lowered_by_the_calibrated_margins(folder, model):
    plain = make(folder, margins=False).rollout(state(), actions())
    careful = model.rollout(state(), actions())
    for name, margin in (("clearance", CLEARANCE_MARGIN), ("people", PEOPLE_MARGIN)):
        torch.testing.assert_close(plain.readouts[name] - careful.readouts[name], torch.full((1, 4, 1, 6), margin))


def test_margins_beyond_the_calibrated_horizon_are_the_last_one(model):
    assert model.rollout(state(), actions(horizon=25)).readouts["clearance"].shape[-1] == 25


def obedient(folder):
    """The model with nothing learned in its ego-motion: it must then be the analytic one."""
    made = make(folder)
    with torch.no_grad():
        made.network.readouts.motion_out.weight.zero_()
        made.network.readouts.motion_out.bias.zero_()
    return made


def test_without_anything_learned_it_moves_like_the_analytic_model(folder):
    """Its poses are those of `Unicycle` one actuator delay earlier: at the ends of steps that begin at the observation."""
    begin, plan = state(sent=((0.3, 0.3, 0.2),)), actions(1, 5, 10)
    learned = obedient(folder).rollout(begin, plan).poses[:, :, 0]
    classical = Unicycle(Unicycle.Config(), ROBOT)
    for n in range(5):
        stamps = begin.stamp + DT * np.arange(10)
        sent = torch.cat([begin.sent, plan[:, n]], 1)
        known = replace(begin, sent_stamps=np.append(begin.sent_stamps, stamps), sent=sent)
        for step in range(10):
            expected = classical.advance(known, begin.stamp + (step + 1) * DT).pose
            assert torch.linalg.vector_norm(learned[:, n, step, :2] - expected[:, :2]) < 0.003
            assert abs(float(learned[0, n, step, 2] - expected[0, 2])) < 0.003


def test_commands_already_sent_fill_the_time_until_the_first_new_one_leaves(folder):
    """Observation at 5.0, first new command leaves at 5.05: a quarter of each model step belongs to the command before."""
    made = obedient(folder)
    begin, plan = state(sent=((0.3, 0.1, 0.0), (0.0, 0.5, 0.4))), actions(1, 3, 5)
    advanced = made.advance(begin, 5.05 + ROBOT.actuator_delay)
    found = made.rollout(advanced, plan)
    sent = begin.sent[:, None, -1:].expand(-1, 3, -1, -1)
    blended = 0.25 * torch.cat([sent, plan[:, :, :-1]], 2) + 0.75 * plan
    expected = made.rollout(begin, blended)
    torch.testing.assert_close(found.poses, expected.poses, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.actions, plan)


def test_whole_steps_of_latency_are_imagined_and_not_handed_out(model):
    begin, plan = state(sent=((0.5, 0.1, 0.0), (0.0, 0.5, 0.4))), actions(1, 3, 5)
    found = model.rollout(model.advance(begin, 5.0 + 2 * DT + ROBOT.actuator_delay), plan)
    held = begin.sent[:, None, -1:].expand(-1, 3, 2, -1)
    expected = model.rollout(begin, torch.cat([held, plan], 2))
    torch.testing.assert_close(found.poses, expected.poses[..., 2:, :], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.readouts["people"], expected.readouts["people"][..., 2:], rtol=1e-4, atol=1e-4)


def test_until_the_nominal_delay_is_over_nothing_has_to_be_filled(model):
    begin, plan = state(), actions()
    found = model.rollout(model.advance(begin, begin.stamp + ROBOT.actuator_delay), plan)
    torch.testing.assert_close(found.poses, model.rollout(begin, plan).poses)


def test_advance_predicts_pose_velocity_and_representation(folder):
    made, classical = obedient(folder), Unicycle(Unicycle.Config(), ROBOT)
    begin = state(sent=((1.0, 0.4, 0.3),))
    for ahead in (0.07, 0.2, 0.5):
        found, expected = made.advance(begin, begin.stamp + ahead), classical.advance(begin, begin.stamp + ahead)
        assert found.stamp == pytest.approx(begin.stamp + ahead)
        torch.testing.assert_close(found.pose, expected.pose, atol=0.006, rtol=0)
        assert found.representation.shape == begin.representation.shape
        assert not torch.allclose(found.representation, begin.representation)
    assert made.advance(begin, begin.stamp - 1) is begin


def test_advancing_twice_is_advancing_once(model):
    begin = state()
    once = model.advance(begin, begin.stamp + 0.4)
    twice = model.advance(model.advance(begin, begin.stamp + 0.1), begin.stamp + 0.4)
    torch.testing.assert_close(once.pose, twice.pose)
    torch.testing.assert_close(model.rollout(once, actions()).poses, model.rollout(twice, actions()).poses)


def test_without_known_commands_the_present_velocity_is_assumed(model):
    nothing = replace(state(), sent=None, sent_stamps=np.zeros(0))
    found = model.rollout(model.advance(nothing, nothing.stamp + 0.25), actions())
    assert torch.isfinite(found.poses).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"dt": 0.1}, "steps by 0.2 s"),
        ({"futures": 4}, "has 1 to 3"),
        ({"futures": 0}, "has 1 to 3"),
        ({"actions": torch.zeros(1, 2, 3, 3)}, "actions: shape"),
        ({"state": "short"}, "representation: shape"),
    ],
)
def test_what_it_can_not_do_is_refused_in_one_line(model, arguments, said):
    begin = state()
    if arguments.get("state") == "short":
        arguments = {"state": replace(begin, representation=begin.representation[..., :16])}
    given = {"state": begin, "actions": actions(), "futures": 1, "dt": DT, **arguments}
    with pytest.raises((ConfigurationError, InputError), match=said) as caught:
        model.rollout(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("until", [math.nan, math.inf, 5.0 + 60])
def test_times_that_make_no_sense_are_refused(model, until):
    with pytest.raises(InputError, match="advance"):
        model.advance(state(), until)


def test_it_says_which_representation_it_understands(folder, model):
    encoder = plugins.create("encoder", PluginSpec(plugin="jepa", model=str(folder)), ROBOT)
    assert model.representation_model == encoder.model != model.model


def test_a_model_without_calibration_is_refused(tmp_path):
    made = write_untrained(tmp_path / "model")
    card = (made / "card.yaml").read_text()
    (made / "card.yaml").write_text(card.replace("clearance:", "was_clearance:"))
    with pytest.raises(ConfigurationError, match=r"calibration\.margins"):
        make(made)


def test_damaged_weights_are_refused(tmp_path):
    made = write_untrained(tmp_path / "model")
    path = made / "predictor.safetensors"
    path.write_bytes(path.read_bytes()[:-40] + b"\x01" * 40)
    with pytest.raises(ConfigurationError, match="is not the card's"):
        make(made)


def test_numpy_states_are_taken_as_they_are(model):
    begin = state()
    as_numpy = replace(begin, **{n: getattr(begin, n).numpy() for n in ("representation", "pose", "velocity", "sent")})
    torch.testing.assert_close(model.rollout(as_numpy, actions()).poses, model.rollout(begin, actions()).poses)


def test_the_analytic_part_drives_circles():
    """At constant speed and turn rate the path is an arc of radius v / w."""
    commands = torch.tensor([[0.4, 0.8]]).expand(11, 1, 2)
    motions, velocities = nominal_rollout(torch.tensor([[0.4, 0.8]]), commands, Nominal())
    end = compose(torch.zeros(1, 3), motions.transpose(0, 1))[0, -1]
    turn = 0.8 * 2.0
    expected = torch.tensor([0.5 * math.sin(turn), 0.5 * (1 - math.cos(turn)), turn])
    torch.testing.assert_close(end, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(velocities, commands)


def test_imagining_for_planning_and_for_training_are_the_same():
    heads = Heads(PredictorShape(features=16, hidden=32))
    start, plan = torch.randn(5, 16), torch.rand(5, 7, 2)
    with torch.no_grad():
        planned = heads(start, plan, 3)
    torch.testing.assert_close(planned, heads(start, plan, 3))


def test_planning_foresees_what_the_trained_network_says(model):
    network, generator = model.network, torch.Generator().manual_seed(3)
    start, velocity, before = (torch.randn(5, size, generator=generator) for size in (32, 2, 2))
    plan = torch.randn(5, 7, 2, generator=generator)
    with torch.no_grad():
        found = Foresight(network).foresee(start, velocity, before, plan, 3, readout_steps=4)
        states = network.imagine(start, plan, 3)
        motions, velocities = network.motions(states, velocity, before, plan)
        lows = [low(states[:, -4:])[1] for low in (network.readouts.clearance, network.readouts.people)]
    torch.testing.assert_close(found.states, states)
    torch.testing.assert_close(found.motions.movedim(1, -1), motions, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.velocities.movedim(1, -1), velocities, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.lows, torch.stack(lows, 1), rtol=1e-4, atol=1e-6)
    poses = compose(torch.ones(3, 5, 3), motions.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found.poses(torch.ones(5, 3)), poses, rtol=1e-4, atol=1e-5)
