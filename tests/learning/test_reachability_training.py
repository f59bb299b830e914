"""Reachability is learned by hindsight: the optimal steps of a world with one-way doors, and a head written into a model."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from learned_model import write_untrained

from objective_agent.cli import train as train_command
from objective_agent.cli.discovery import commands
from objective_agent.cli.main import build_parser
from objective_agent.config import RobotParameters
from objective_agent.cost.reachability import Head
from objective_agent.learning.heads import calibrate, figures, spearman
from objective_agent.learning.moments import Moments
from objective_agent.learning.reachability import ReachabilityConfig, train
from objective_agent.types import InputError

CELLS, DOOR = 12, 6
"""A corridor; from cell 5 a door opens into 6 and not back, and only the last cell leads back to the first."""


def neighbours(cell: int) -> list[int]:
    found = [cell]
    if cell + 1 < CELLS:
        found.append(cell + 1)
    if cell > 0 and cell != DOOR:
        found.append(cell - 1)
    return [*found, 0] if cell == CELLS - 1 else found


def true_steps() -> np.ndarray:
    steps = np.full((CELLS, CELLS), np.inf)
    steps[np.arange(CELLS), np.arange(CELLS)] = 0
    for _ in range(2 * CELLS):
        for cell in range(CELLS):
            for after in neighbours(cell):
                steps[cell] = np.minimum(steps[cell], 1 + steps[after])
    steps[np.arange(CELLS), np.arange(CELLS)] = 0
    return steps


def walks(episodes: int = 40, length: int = 60, seed: int = 0) -> tuple[Moments, np.ndarray]:
    """(moments of random walks, what each cell looks like [CELLS, 16])."""
    random = np.random.default_rng(seed)
    looks = random.normal(size=(CELLS, 16)).astype(np.float32)
    cells = []
    for _ in range(episodes):
        cell = int(random.integers(CELLS))
        for _ in range(length):
            cells.append(cell)
            cell = int(random.choice(neighbours(cell)))
    seen = torch.as_tensor(looks[cells]).half()
    count = len(cells)
    episode = np.repeat(np.arange(episodes), length)
    known = np.ones((1, count), bool)
    everywhere = np.zeros((count, 3), np.float32)
    return Moments(seen[None], known, seen, known[0], everywhere, episode, np.zeros(count, int), np.arange(count)), looks


@pytest.fixture(scope="module")
def learned():
    moments, looks = walks()
    config = ReachabilityConfig(
        hidden=48, groups=4, size=8, batch=256, steps=900, far=25.0, softness=3.0, learning_rate=3e-3,
        near_share=0.0, hindsight=0.0, body=0.0, strangers=0.0, place=0.0,
    )  # fmt: skip
    return train(moments, config, RobotParameters(), 0.2, seed=0), looks


def table(learned) -> np.ndarray:
    network, looks = learned
    seen = torch.as_tensor(looks)
    with torch.inference_mode():
        start, goal = seen[:, None].expand(-1, CELLS, -1), seen[None].expand(CELLS, -1, -1)
        return network.quasimetric().steps(start, goal).numpy()


def test_the_steps_of_a_world_with_one_way_doors_are_found(learned):
    found, true = table(learned), true_steps()
    apart = ~np.eye(CELLS, dtype=bool)
    assert spearman(found[apart], true[apart]) > 0.85
    assert np.allclose(np.diag(found), 0, atol=1e-4)


def test_through_the_door_is_one_step_and_back_is_a_long_way_round(learned):
    found = table(learned)
    assert true_steps()[DOOR, DOOR - 1] == CELLS - 1
    assert found[DOOR - 1, DOOR] < 2.5
    assert found[DOOR, DOOR - 1] > 3 * found[DOOR - 1, DOOR]


def test_what_was_learned_obeys_the_triangle_inequality(learned):
    network, looks = learned
    seen = torch.as_tensor(looks)
    metric = network.quasimetric()
    with torch.inference_mode():
        for goal in seen:
            context = metric.context(goal)
            places = metric.embed(seen, context)
            steps = metric.distance(places[:, None], places[None]).numpy()
            assert (steps[:, None, :] <= steps[:, :, None] + steps[None] + 1e-3).all()


def arguments(*words: str) -> Namespace:
    return build_parser(commands()).parse_args(["train", *words])


def test_the_command_writes_a_head_with_its_figures_into_the_model(tmp_path, toy_data):
    folder = write_untrained(tmp_path / "model")
    before = yaml.safe_load((folder / "card.yaml").read_text())
    settings = tmp_path / "head.yaml"
    settings.write_text("place_first: 0.5\nbatch: 64\n")
    words = ("--head", "reachability", "--model", str(folder), "--data", str(toy_data), "--config", str(settings))
    assert train_command.main(arguments(*words, "--steps", "30", "--threads", "1")) == 0
    card = yaml.safe_load((folder / "card.yaml").read_text())
    assert {name: card["sha256"][name] for name in ("encoder", "predictor")} == before["sha256"]
    about = card["reachability"]
    assert about["configuration"]["steps"] == 30 and about["configuration"]["place_first"] == 0.5
    assert about["encoder"] == before["sha256"]["encoder"] and about["reached"] > 0
    assert {"spearman", "spearman_l2", "spearman_within_3m"} <= set(about["metrics"]["camera"])
    assert about["metrics"]["routes"] == {}
    assert Head(folder).model == card["sha256"]["reachability"]
    assert json.dumps(about)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--head", "reachability"), "needs --model DIR"),
        (("--head", "reachability", "--model", "x", "--out", "y"), "neither --resume nor --out"),
        (("--head", "reachability", "--model", "x", "--resume"), "neither --resume nor --out"),
        ((), "--out DIR is needed"),
        (("--out", "y", "--model", "x"), "--model goes with --head"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_runs(words, line):
    with pytest.raises(InputError, match=line):
        train_command.main(arguments("--data", "nowhere", *words))


def test_data_without_pictures_can_teach_no_goal_images(tmp_path, toy_data):
    dark = tmp_path / "dark"
    dark.mkdir()
    for path in Path(toy_data).iterdir():
        (dark / path.name).symlink_to(path)
    (dark / "has_image.npy").unlink()
    np.save(dark / "has_image.npy", np.zeros(len(np.load(toy_data / "has_image.npy")), bool))
    folder = write_untrained(tmp_path / "model")
    with pytest.raises(InputError, match="no camera images"):
        words = ("--head", "reachability", "--model", str(folder), "--data", str(dark), "--steps", "5")
        train_command.main(arguments(*words))


def test_calibration_finds_where_goals_count_as_reached(learned):
    network, _ = learned
    moments, _ = walks(seed=1)
    metres = moments.pose.copy()
    metres[:, 0] = 2.0 * np.array([np.argmin(((learned[1] - np.asarray(row.float())) ** 2).sum(-1)) for row in moments.goals])
    placed = Moments(moments.kinds.expand(8, -1, -1), np.ones((8, len(metres)), bool), moments.goals, moments.has_goal, metres,
                     moments.episode, moments.world, moments.rows)  # fmt: skip
    reached, worth = calibrate(network, placed, count=1500)
    found = table(learned)
    assert 0 < reached < found[~np.eye(CELLS, dtype=bool)].max()
    assert worth["precision"] > 0.8 and worth["recall"] > 0.3, "cells are all alike: ties are counted as one"
    assert figures(network, placed, RobotParameters(), 0.2, count=1000)["all"]["spearman"] is not None
