import json

import numpy as np
import pytest

from objective_agent.config import RobotParameters
from objective_agent.learning.collection import CollectSettings, write_bag
from objective_agent.learning.dataset import build
from objective_agent.safety import default_parameters
from objective_agent.simulation.driver import MANOEUVRES, Explorer

ROBOT = RobotParameters()


def test_without_sensors_every_manoeuvre_stays_within_the_robot_s_limits_and_seeds_differ():
    tracks = []
    for seed in (1, 1, 2):
        driver = Explorer(ROBOT, seed)
        names, commands = set(), []
        for k in range(6000):
            commands.append(driver.act(0.1 * k))
            names.add(driver._name)
        assert names == set(MANOEUVRES)
        v, w = np.array(commands).T
        assert -ROBOT.max_reverse_speed <= v.min() and v.max() <= ROBOT.max_speed and np.abs(w).max() <= ROBOT.max_turn_rate
        tracks.append(commands)
    assert tracks[0] == tracks[1] != tracks[2]


@pytest.mark.slow
def test_what_it_drives_is_wide_enough_to_learn_from(tmp_path):
    write_bag(tmp_path / "a.mcap", range(8), CollectSettings("mix", 3, ROBOT, default_parameters(ROBOT), camera_rate=1.0))
    data = build([tmp_path / "a.mcap"], tmp_path / "data")
    report = json.loads((data.path / "coverage.json").read_text())
    assert [text for text in report["warnings"] if "minutes" not in text and "worlds" not in text and "image" not in text] == []
    assert report["places"]["cells_per_episode"] > 8 and report["shares"]["near_misses"] < 0.5
