"""The embedded robot simulator: MuJoCo physics, ray-cast sensors, worlds, a world generator, and a gymnasium environment.

The only part that knows the truth.  Nothing at run time reads it: the mind gets `Scan`, `Image` and `Odometry`, and no more.
"""

import gymnasium

from objective_agent.simulation import benchmarks
from objective_agent.simulation.environment import RobotEnv
from objective_agent.simulation.generator import (
    CALIBRATION_SEEDS,
    TEST_SEEDS,
    TRAIN_SEEDS,
    generate_apartment,
    is_test_seed,
    require_training_seeds,
)
from objective_agent.simulation.occupancy import Occupancy, occupancy
from objective_agent.simulation.parameters import SensorParameters, SimulationParameters
from objective_agent.simulation.people import Person
from objective_agent.simulation.simulation import RobotSimulation
from objective_agent.simulation.world import World

__all__ = [
    "CALIBRATION_SEEDS",
    "TEST_SEEDS",
    "TRAIN_SEEDS",
    "Occupancy",
    "Person",
    "RobotEnv",
    "RobotSimulation",
    "SensorParameters",
    "SimulationParameters",
    "World",
    "benchmarks",
    "generate_apartment",
    "is_test_seed",
    "occupancy",
    "require_training_seeds",
]

if "objective_agent/Robot-v0" not in gymnasium.registry:
    gymnasium.register("objective_agent/Robot-v0", entry_point="objective_agent.simulation.environment:RobotEnv")
