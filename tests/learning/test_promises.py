"""What plans promised against what came: the bookkeeping, and a read-out that promises too much is caught and mended."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from learned_model import write_untrained

from objective_agent import plugins
from objective_agent.cli.main import main
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.learning.calibration import risk_margin
from objective_agent.learning.promises import Witness, carry_out, promised_by, summarize
from objective_agent.learning.selected import selected_margins
from objective_agent.simulation import RobotSimulation, World
from objective_agent.types import Plan, WorldState

ROBOT = RobotParameters()
STEPS, DT, DELAY = 12, 0.2, 0.06
WALL = 1.0
SPEED = 0.3

SCENE = """<mujoco><custom><text name="person1_path" data="0,1.4"/></custom><worldbody>
  <geom type="box" size="0.05 3 0.5" pos="1.05 0 0.5"/>
  <geom type="box" size="0.05 3 0.5" pos="-4 0 0.5"/>
  <body name="person1" mocap="true" pos="0 1.4 .85"><geom name="person1" type="capsule" size=".2 .65"/></body>
  <site name="start" pos="0 0 0"/>
</worldbody></mujoco>"""
"""A wall WALL ahead, nothing else in front, and somebody who stands 1.4 m to the left."""


@pytest.fixture(scope="module")
def simulation() -> RobotSimulation:
    made = RobotSimulation(World.from_xml(SCENE, "scene"), ROBOT, seed=2, camera=False)
    made.advance(1.0)
    return made


def plan_of(speed: float, start: float, promises: dict[str, np.ndarray], mode: str = "optimizer") -> Plan:
    actions = torch.zeros(1, STEPS, 2)
    actions[..., 0] = speed
    nothing = torch.zeros(1)
    return Plan(
        actions=actions, feasible=torch.ones(1, dtype=torch.bool), energy=nothing, energies={}, margins={}, violation=nothing,
        poses=torch.zeros(1, 1, STEPS, 3), iterations=1, evaluations=1, seconds=0.0, stop_reason="converged", mode=mode, dt=DT,
        stamp=start, promises={name: torch.as_tensor(value)[None] for name, value in promises.items()}, start=start,
    )  # fmt: skip


def true_clearance() -> np.ndarray:
    """[STEPS] by hand: standing until the command has left and acted, then up to SPEED, then on."""
    times = DT * np.arange(1, STEPS + 1) - DELAY - ROBOT.actuator_delay
    ramp = SPEED / ROBOT.max_acceleration
    driven = np.where(times < ramp, 0.5 * ROBOT.max_acceleration * np.clip(times, 0, None) ** 2, SPEED * (times - ramp / 2))
    return np.clip(WALL - ROBOT.radius - driven, None, 1.0)


def test_a_plan_is_carried_out_to_its_end_in_the_copy_alone(simulation):
    before = simulation.true_pose.copy()
    found = carry_out(simulation.copy(), plan_of(SPEED, simulation.time, {}), simulation.time + DELAY, ROBOT.radius)
    assert np.array_equal(simulation.true_pose, before)
    expected = true_clearance()
    assert expected[-1] < 0.25 and expected[0] > 0.8
    # A least of many noisy beams lies a little below the distance; sweeps come every 0.1 s.
    np.testing.assert_allclose(found["clearance"], expected, atol=0.06)
    driven = WALL - ROBOT.radius - expected[-1]
    assert found["people"][0] == pytest.approx(1.4 - 0.2 - ROBOT.radius, abs=0.01)
    assert found["people"][-1] == pytest.approx(np.hypot(driven, 1.4) - 0.2 - ROBOT.radius, abs=0.03)


def test_people_whom_no_sweep_has_shown_do_not_count(simulation):
    nobody = np.zeros(6, bool)
    found = carry_out(simulation.copy(), plan_of(SPEED, simulation.time, {}), simulation.time + DELAY, ROBOT.radius, nobody)
    assert (found["people"] == 3.0).all()


class Driver:
    """A controller whose plans promise `extra` more than what will come."""

    def __init__(self, extra: float, mode: str = "optimizer"):
        self.extra, self.mode, self.decision = extra, mode, None

    def decide(self, now: float) -> None:
        promises = {"clearance": true_clearance() - 0.06 + self.extra, "people": np.full(STEPS, 0.3)}
        self.decision = type("Decision", (), {"plan": plan_of(SPEED, now, promises, self.mode)})


def witnessed(simulation, driver, decisions: int = 8, every: int = 2) -> dict:
    life = simulation.copy()
    witness = Witness(driver, DELAY, ROBOT.radius, every)
    for _ in range(decisions):
        witness(life.time, life)
        driver.decide(life.time)
        life.advance(0.1)
    return witness.record()


def test_kept_promises_are_counted_as_kept_and_the_life_goes_on_undisturbed(simulation):
    record = witnessed(simulation, Driver(0.0))
    assert {len(record[name]["promised"]) for name in record} == {4} and set(record) == {"clearance", "guard", "people"}
    figures = summarize([record])
    assert figures["clearance"]["kept"] == 1.0 and figures["people"]["kept"] == 1.0
    assert figures["people"]["steps"] == 4 * STEPS and figures["clearance"]["plans"] == 4
    assert 4 * 4 <= figures["clearance"]["steps"] <= 4 * 8, "what is far does not count"


def test_a_read_out_that_promises_too_much_is_caught_and_the_extra_margin_mends_it(simulation):
    records = [{"promises": witnessed(simulation, Driver(0.2))} for _ in range(2)]
    figures = summarize([record["promises"] for record in records])
    assert figures["clearance"]["kept"] < 0.1 and figures["clearance"]["episodes_kept"] == 0.0
    assert figures["clearance"]["over"]["p50"] > 0.1 and figures["guard"] == figures["clearance"]
    assert figures["clearance"]["by_step"]["1"] is None and figures["people"]["kept"] == 1.0
    margins = selected_margins(records, {}, 0.5)
    assert margins["people"] == [0.0] * STEPS and margins["clearance"][-1] > 0.1
    later = witnessed(simulation, Driver(0.2))["clearance"]
    kept = np.array(later["promised"]) - margins["clearance"] <= np.array(later["found"]) + 1e-3
    assert kept[:, -4:].mean() >= 0.5
    again = selected_margins(records, {"clearance": [0.1]}, 0.5)
    np.testing.assert_allclose(again["clearance"][-1], margins["clearance"][-1] + 0.1, atol=1e-3)


def test_braking_plans_promise_nothing(simulation):
    assert witnessed(simulation, Driver(0.0, mode="braking")) == {}


def test_the_guard_is_the_smaller_of_read_out_and_points():
    promises = {"clearance": np.full(STEPS, 0.4), "obstacle_distance": np.linspace(0.4, 0.9, STEPS)}
    found = promised_by(plan_of(0.1, 0.0, promises), ROBOT.radius)
    np.testing.assert_allclose(found["guard"], np.minimum(0.4, np.linspace(0.4, 0.9, STEPS) - ROBOT.radius))
    assert "people" not in found


def test_the_risk_of_a_new_episode_is_controlled():
    """Episodes differ far more than their steps do; the mean share of broken promises on new ones stays below the risk."""

    def episodes(seed: int, count: int = 60) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [rng.exponential(0.1) + rng.normal(0, 0.05, rng.integers(5, 40)) for _ in range(count)]

    broken = []
    for seed in range(60):
        margin = risk_margin(episodes(seed), 0.05)
        broken.append(np.mean([(values > margin).mean() for values in episodes(1000 + seed)]))
    assert 0.015 <= np.mean(broken) <= 0.05
    assert risk_margin([np.array([-0.3, -0.1])] * 30, 0.05) == 0.0 and risk_margin([], 0.05) == 0.0
    assert risk_margin([np.array([0.1, 0.7])] * 5, 0.05) == pytest.approx(0.7), "too few episodes: the worst counts"


def test_the_command_writes_margins_that_the_world_model_takes_off(tmp_path, capsys):
    folder, out = write_untrained(tmp_path / "model"), tmp_path / "figures.json"
    arguments = ["calibrate", "--model", str(folder), "--episodes", "2", "--keep", "0.5", "--seconds", "2", "--json", str(out)]
    untouched = (folder / "card.yaml").read_text()
    assert main([*arguments, "--dry-run"]) == 0
    assert (folder / "card.yaml").read_text() == untouched
    assert main(arguments) == 0
    assert "calibration.selected written" in capsys.readouterr().out
    card = yaml.safe_load((folder / "card.yaml").read_text())
    selected = card["calibration"]["selected"]
    assert selected["episodes"] == 2 and len(selected["margins"]["clearance"]) == 12
    lows = {}
    for extra in ([0.0], [0.25]):
        selected["margins"] = {"clearance": extra, "people": [0.0]}
        (folder / "card.yaml").write_text(yaml.safe_dump(card))
        model = plugins.create("world_model", PluginSpec(plugin="jepa", model=str(folder)), ROBOT)
        rng = np.random.default_rng(0)
        state = WorldState(
            1.0, rng.normal(size=(1, 1, 32)).astype(np.float32), np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32), ""
        )
        lows[extra[0]] = model.rollout(state, np.zeros((1, 1, 12, 2), np.float32), futures=3).readouts
    difference = lows[0.0]["clearance"] - lows[0.25]["clearance"]
    np.testing.assert_allclose(difference.numpy(), 0.25, atol=1e-5)
    np.testing.assert_allclose(lows[0.0]["people"].numpy(), lows[0.25]["people"].numpy(), atol=1e-6)


def test_too_few_episodes_are_one_line(tmp_path, capsys):
    folder = write_untrained(tmp_path / "model")
    assert main(["calibrate", "--model", str(folder), "--episodes", "5"]) == 2
    assert "20 are needed for a promise of 95%" in capsys.readouterr().err
