"""`objective-agent bench gate`: small runs of its parts without ROS give figures that make sense."""

import argparse

import pytest

from benchmarks import gate
from objective_agent.types import InputError


def arguments(*given):
    parser = argparse.ArgumentParser()
    gate.add_arguments(parser)
    return parser.parse_args([*given, "--runs", "5", "--apartments", "1", "--seconds", "4", "--seed", "7"])


def test_adversary_and_benign_planner():
    results = gate.main(arguments("--parts", "adversary", "benign"))
    assert results["hardware"]["cpu"] and results["hardware"]["cores"] >= 1
    assert results["adversary"]["collisions"] == 0 and results["adversary"]["seeds"] == [7, 11]
    assert results["adversary"]["metres_driven"] > 1
    assert results["benign"]["false_stop_share"] < 0.02
    assert results["benign"]["goals_reached_per_run"] >= 1


def test_the_adversary_in_a_generated_apartment_touches_nothing():
    pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")
    results = gate.main(arguments("--parts", "apartments"))
    assert results["apartments"]["contacts"] == 0
    assert results["apartments"]["metres_driven"] > 0.2


def test_bad_arguments_are_one_line():
    with pytest.raises(InputError, match="--runs"):
        gate.main(argparse.Namespace(runs=0, apartments=1, injections=1, seconds=5.0, parts=["adversary"], seed=0))
