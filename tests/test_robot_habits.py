"""Mode-1 on the robot: when a plan is followed, when the policy acts, and when Mode-2 has to search."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pursuit_policy import scan_encoder, write_pursuit

from objective_agent import plugins
from objective_agent.config import ActorParameters, AgentParameters, PluginSpec, RobotParameters, Task
from objective_agent.following import LEAST, TRIES
from objective_agent.planner import Planner
from objective_agent.surprise import cautious
from objective_agent.types import ConfigurationError, WorldState
from objective_agent.world_model.unicycle import Unicycle

ROBOT = RobotParameters()
PERIOD = 0.05


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    return write_pursuit(tmp_path_factory.mktemp("policy") / "model", *scan_encoder(), horizon=15)


def actor(model, **changes) -> ActorParameters:
    settings = {"mode": "adaptive", "confidence": 0.3, "policy": {"plugin": "distilled", "model": str(model)}}
    return ActorParameters.model_validate(settings | changes)


def configured(model, task=None, **changes):
    merge = plugins.create("configurator", PluginSpec(plugin="merge"), ROBOT)
    merge.set_parameters(actor=actor(model, **changes))
    task = task or Task(kind="goal_pose", id="a", position=(3.0, 0.5))
    return merge.configure(task, {"stamp": 1.0, "pose": np.zeros(3)})


class Body:
    """A robot that does exactly what it is told, and sees `points`."""

    def __init__(self, model):
        self.settings, self.planner = configured(model), Planner(ROBOT)
        self.stamp, self.pose, self.velocity, self.sent = 10.0, np.zeros(3), np.zeros(2), []
        self.points = np.array([[9.0, 9.0]])
        self.name, self.tokens, self.features = scan_encoder()
        self.truth = Unicycle(Unicycle.Config(), ROBOT)

    def state(self) -> WorldState:
        sent = np.array([command for _, command in self.sent], np.float32).reshape(1, -1, 2)
        stamps = np.array([stamp for stamp, _ in self.sent])
        tokens = np.full((1, self.tokens, self.features), 0.5, np.float32)
        pose, velocity = (value[None].astype(np.float32) for value in (self.pose, self.velocity))
        return WorldState(self.stamp, tokens, pose, velocity, self.name, self.points[None].astype(np.float32), stamps, sent)

    def decide(self, budget=math.inf, latency=0.0, following=None):
        decision = self.planner.decide(self.settings, self.state(), None, self.stamp, latency, budget, following)
        self.sent = [*self.sent, (self.stamp, (decision.command.v, decision.command.w))][-40:]
        later = self.truth.advance(self.state(), self.stamp + PERIOD)
        self.stamp, self.pose, self.velocity = self.stamp + PERIOD, later.pose[0].astype(float), later.velocity[0].astype(float)
        return decision

    def modes(self, count: int) -> list[str]:
        return [self.decide().plan.mode for _ in range(count)]


def test_a_plan_is_followed_for_a_while_then_the_policy_acts_and_the_robot_arrives(model):
    body = Body(model)
    modes = body.modes(1)
    assert modes == ["optimizer"], "a new task is thought about"
    actor = body.settings.actor
    per_plan = int(actor.follow * body.planner._last.trust(actor.gain) / PERIOD + 1e-6)
    modes += body.modes(149)
    assert per_plan >= 5
    assert modes[1 : 1 + per_plan] == ["followed"] * per_plan and modes[1 + per_plan] != "followed"
    assert modes.count("policy") >= 5 and modes.count("optimizer") <= 8 and "braking" not in modes
    assert np.hypot(*(body.pose[:2] - (3.0, 0.5))) < 0.35


def saving(body, share: float, tried: int = 0):
    """As if the plan under way saved this share of what standing still costs, after `tried` that saved too little."""
    plan = body.planner._last.plan
    standing = plan.candidate_energy.clone()
    standing[:, 0] = plan.energy / (1 - share)
    body.planner._last = replace(body.planner._last, plan=replace(plan, candidate_energy=standing), tried=tried)


@pytest.mark.parametrize(
    ("share", "tried", "followed"),
    [(0.9, 0, 1.0), (0.15, 0, 0.5), (0.0, 0, 0.0), (-1.0, TRIES - 1, 0.0), (0.0, TRIES, LEAST), (0.15, TRIES, 0.5)],
)
def test_a_plan_that_saves_little_is_thought_over_sooner(model, share, tried, followed):
    body = Body(model)
    body.decide()
    saving(body, share, tried)
    count = int(followed * body.settings.actor.follow / PERIOD + 1e-6)
    modes = body.modes(count + 1)
    assert modes[:-1] == ["followed"] * count and modes[-1] != "followed"
    assert body.planner._last.tried == (0 if share > body.settings.actor.gain else tried + 1)


@pytest.mark.parametrize(("tried", "mode"), [(TRIES - 2, "policy"), (TRIES - 1, "optimizer")])
def test_where_plan_after_plan_saved_little_habits_are_not_asked(model, tried, mode):
    body = Body(model)
    body.settings = configured(model, confidence=0.0, gain=0.001)
    body.decide()
    saving(body, -1.0, tried)
    while (plan := body.decide().plan).mode == "followed":
        pass
    assert plan.mode == mode


def test_what_is_followed_is_what_was_imagined(model):
    body = Body(model)
    first = body.decide()
    following = [body.decide() for _ in range(5)]
    wanted = np.asarray(first.plan.actions[0])
    for count, decision in enumerate(following, 1):
        step = int(count * PERIOD / first.plan.dt + 1e-6)
        np.testing.assert_allclose([decision.command.v, decision.command.w], wanted[step], atol=1e-6)
        assert decision.plan.poses.shape[2] == decision.plan.actions.shape[1] and decision.plan.iterations == 0
        np.testing.assert_allclose(decision.subgoal, first.subgoal)
        ahead = np.asarray(first.plan.poses)[0, 0, -1, :2] - np.asarray(decision.plan.poses)[0, 0, -1, :2]
        assert np.hypot(*ahead) < 0.05, "it leads to where the plan led"


def test_a_plan_is_followed_at_the_pace_of_following_though_its_search_was_given_longer(model):
    body = Body(model)
    late = 3 * PERIOD
    first = body.decide(latency=late, following=0.0)
    wanted = np.asarray(first.plan.actions[0])
    for count in range(1, 10):
        decision = body.decide(latency=late, following=0.0)
        assert decision.plan.mode == "followed"
        step = max(0, int((count * PERIOD - late) / first.plan.dt + 1e-6))
        np.testing.assert_allclose([decision.command.v, decision.command.w], wanted[step], atol=1e-6)


def in_the_way(body):
    body.points = np.concatenate([body.points, body.pose[:2] + np.array([[0.55, 0.0], [0.55, 0.1], [0.55, -0.1]])])


def pushed(body):
    body.pose = body.pose + np.array([0.0, 0.15, 0.0])


def turned(body):
    body.pose = body.pose + np.array([0.0, 0.0, 0.4])


def other_task(body):
    body.settings = body.settings.model_copy(update={"task": Task(kind="goal_pose", id="b", position=(3.0, -0.5))})


def changed_task(body):
    body.settings = body.settings.model_copy(update={"task": Task(kind="goal_pose", id="a", position=(2.0, 0.5))})


def surprised(body):
    body.planner.reset()
    body.settings = cautious(body.settings, 2.0)


def other_weights(body):
    cost = body.settings.cost
    terms = {name: term.model_copy(update={"weight": 1.1 * term.weight}) for name, term in cost.terms.items()}
    body.settings = body.settings.model_copy(update={"cost": cost.model_copy(update={"terms": terms})})


def other_model(body):
    body.planner.use(Unicycle(Unicycle.Config(), ROBOT))


EVENTS = [in_the_way, pushed, turned, other_task, changed_task, surprised, other_weights, other_model]


@pytest.mark.parametrize("event", EVENTS)
def test_a_plan_is_not_followed_when_something_happens(model, event):
    body = Body(model)
    assert body.modes(3) == ["optimizer", "followed", "followed"]
    event(body)
    plan = body.decide().plan
    assert plan.mode != "followed" and bool(plan.feasible.all())
    if event in (other_task, changed_task, surprised):
        assert plan.mode == "optimizer"


def test_a_policy_that_would_hit_something_is_not_obeyed(model):
    """A wall between the robot and its goal: the policy drives at it, so the search has to find the way."""
    body = Body(model)
    body.settings = configured(model, follow=0.0)
    body.points = np.stack([np.full(41, 0.6), np.linspace(-1.0, 0.4, 41)], -1)
    plans = [body.decide().plan for _ in range(60)]
    assert [plan.mode for plan in plans].count("optimizer") > 10
    assert all(bool(plan.feasible.all()) for plan in plans)
    gaps = np.hypot(*(body.points - body.pose[:2]).T)
    assert gaps.min() > ROBOT.radius


def test_without_time_for_a_search_the_policys_checked_plan_answers_or_else_the_robot_brakes(model):
    body = Body(model)
    body.settings = configured(model, confidence=1.0, follow=0.0)
    assert body.modes(4) == ["optimizer"] * 4
    late = body.decide(budget=0.0)
    assert late.plan.mode == "fallback" and bool(late.plan.feasible.all()) and late.command.v > 0
    body.points = body.pose[:2] + 0.3 * np.stack([np.cos(np.arange(0, 6.3, 0.2)), np.sin(np.arange(0, 6.3, 0.2))], -1)
    stuck = body.decide(budget=0.0)
    assert stuck.plan.mode == "braking" or bool(stuck.plan.feasible.all())


def test_low_confidence_and_strange_representations_are_searched_for(model):
    body = Body(model)
    body.settings = configured(model, confidence=1.0, follow=0.0)
    assert set(body.modes(5)) == {"optimizer"}
    body.settings = configured(model, follow=0.0)
    body.modes(2)
    body.name = "another-encoder"
    assert set(body.modes(3)) == {"optimizer"}


def test_the_configurator_decides_who_acts(model):
    def mode(**changes):
        return configured(model, Task(kind="goal_pose", position=(1.0, 0.0), **changes)).actor.mode

    assert mode() == "adaptive" and mode(mode="plan") == "plan"
    assert mode(weights={"effort": 3.0}) == mode(speed_scale=0.5) == mode(extra_margin=0.1) == "propose"
    assert mode(mode="policy", speed_scale=0.5) == "propose"
    picture = Task(kind="goal_image", representation=((1.0, 2.0),))
    merge = plugins.create("configurator", PluginSpec(plugin="merge"), ROBOT)
    merge.set_parameters(actor=actor(model), cost={"objectives": ["goal_representation"]})
    assert merge.configure(picture, {"stamp": 1.0}).actor.mode == "plan"


def test_the_search_alone_needs_no_policy_and_what_changes_the_mode_changes_no_noise(model, tmp_path):
    missing = {"policy": {"plugin": "distilled", "model": str(tmp_path / "none")}}
    body = Body(model)
    body.settings = configured(model, mode="plan", **missing)
    alone = [body.decide().command for _ in range(5)]
    twin = Body(model)
    twin.settings = configured(model, mode="plan", follow=0.0, confidence=0.1)
    assert [twin.decide().command for _ in range(5)] == alone
    with pytest.raises(ConfigurationError, match="none"):
        Planner(ROBOT).prepare(configured(model, **missing))


def test_an_apartment_is_crossed_with_few_searches(model):
    from objective_agent.safety import default_parameters
    from objective_agent.simulation.episode import run_episode
    from objective_agent.simulation.evaluation import AgentController
    from objective_agent.simulation.tasks import make_task

    parameters = AgentParameters(actor=actor(model, confidence=0.5))
    controller = AgentController(parameters, parameters.actor.deadline)
    episode = make_task("apartment", 1, ROBOT).episode(3)
    outcome = run_episode(
        episode, controller, ROBOT, default_parameters(ROBOT), parameters.actor.period, parameters.actor.deadline
    )
    modes = controller.notes()["modes"]
    assert outcome.success and outcome.contacts == 0 and controller.violations == 0
    assert modes["followed"] > 0.5 * controller.decisions and modes["policy"] > 0
    assert modes["optimizer"] < 0.2 * controller.decisions


def test_an_evaluation_has_rows_with_habits_and_says_who_acted(model):
    from objective_agent.safety import default_parameters
    from objective_agent.simulation.evaluation import Protocol, summarize

    parameters, gate = AgentParameters(actor=actor(model, mode="plan")), default_parameters(ROBOT)
    protocol = Protocol("apartment", 1, parameters, gate, (), None, ("adaptive",))
    result = summarize(protocol, [protocol.evaluator().run(3)], "unicycle-v1", {})
    assert result["modes"] == {"optimizer": 1.0}
    row = result["rows"]["adaptive"]
    assert sum(row["modes"].values()) == pytest.approx(1, abs=1e-3) and {"followed", "optimizer"} <= set(row["modes"])
    assert row["planning_share"] == pytest.approx(
        row["per_episode_ms"]["planning"] / result["per_episode_ms"]["planning"], 0.05
    )
    other = replace(protocol, parameters=AgentParameters(actor=actor(model, mode="plan", follow=0.1)))
    assert other.digest() == protocol.digest(), "where nobody has habits these parameters say nothing"
    assert replace(protocol, parameters=AgentParameters(actor=actor(model))).digest() != protocol.digest()


def test_a_robots_plans_are_collected_in_training_apartments(tmp_path):
    from objective_agent.cli.main import main
    from objective_agent.memory.plans import read_plans

    out = tmp_path / "plans.db"
    command = ["collect", "--plans", "--task", "apartment", "--model", "models/apartment", "--episodes", "1", "--seed", "9"]
    assert main([*command, "--out", str(out)]) == 0
    plans = read_plans([out])
    assert len(plans) > 10 and set(plans.mode) <= {"optimizer", "braking"} and plans.state.shape[1:] == (1, 128)
    assert plans.plan.shape[1:] == (12, 2) and plans.about[0]["dt"] == 0.2
    followed = np.abs(plans.done - plans.plan[:, 0]).max(-1) < 1e-5
    assert 0.1 < followed.mean() < 1, "the gate slows it down, and now and then something else is done"
    assert main([*command, "--out", str(out)]) != 0, "a log is not written over"


def test_only_what_was_searched_for_is_logged_with_what_was_done(model):
    from objective_agent.memory.plan_notes import Decided, PlanNotes
    from objective_agent.types import Command

    rows, body = [], Body(model)
    notes = PlanNotes(rows.append, "run")
    notes.begin(4)
    for count in range(12):
        state, decision = body.state(), body.decide()
        plan = decision.plan
        decided = Decided(np.asarray(plan.actions[0]), float(plan.energy[0]), True, plan.mode, decision.subgoal)
        notes.decided(state, decided)
        notes.sent(Command(state.stamp, 0.01 * count, 0.0))
        notes.sent(Command(state.stamp + 0.04, 0.01 * count + 0.001, 0.0))
    notes.flush()
    searched = [row for row in rows if row.mode == "optimizer"]
    assert len(searched) == len(rows) >= 1 and [row.step for row in rows] == list(range(len(rows)))
    assert rows[0].episode == 4 and rows[0].plan.shape == (15, 2)
    np.testing.assert_allclose(rows[0].done, [0.001, 0.0], atol=1e-6)
    np.testing.assert_allclose(rows[0].position, body.settings.task.position)
    held = PlanNotes(rows.append, "run")
    held.decided(replace(body.state()), decided)
    held.flush()
    assert len(rows) == len(searched), "nothing was done yet"
