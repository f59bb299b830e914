"""Generated apartments: what every one of them must have."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from objective_agent.simulation import (
    CALIBRATION_SEEDS,
    TEST_SEEDS,
    TRAIN_SEEDS,
    RobotSimulation,
    generate_apartment,
    is_test_seed,
    occupancy,
    require_training_seeds,
)
from objective_agent.simulation.layout import draw_layout
from objective_agent.types import InputError

SEEDS = [*range(12), *range(TEST_SEEDS.start, TEST_SEEDS.start + 12)]


@pytest.mark.parametrize("rooms", range(1, 7))
def test_floor_plans_have_the_asked_rooms_and_doorways_as_wide_as_stated(rooms):
    for seed in range(10):
        layout = draw_layout(np.random.default_rng(seed), rooms)
        assert len(layout.rooms) == rooms
        assert len(layout.doors) == rooms - 1
        assert sum(room.area for room in layout.rooms) == pytest.approx(layout.width * layout.height)
        for door in layout.doors:
            assert 0.8 <= door.width <= 1.2
            for cx, cy, hx, hy in layout.walls:  # no wall reaches into a doorway
                half = np.array([0.01, door.width / 2 - 0.01])[:: 1 if door.vertical else -1]
                assert abs(cx - door.x) > hx + half[0] or abs(cy - door.y) > hy + half[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_apartment_is_furnished_and_all_its_rooms_can_be_reached(seed):
    world = generate_apartment(seed)
    names = [geom.get("name") for geom in ElementTree.fromstring(world.xml).iter("geom")]
    furniture = [name for name in names if not name.startswith(("wall", "lintel", "floor"))]
    assert furniture
    grid = occupancy(world)
    regions = grid.regions(0.18 + 0.05)
    reached = {int(regions[grid.cell(*pose[:2])]) for pose in [*world.starts, *world.goals]}
    assert len(reached) == 1
    assert reached != {0}
    assert len(world.starts) == 3
    assert len(world.goals) >= 3
    simulation = RobotSimulation(world, camera=False)
    for pose in [*world.starts, *world.goals]:
        simulation.reset(start=pose)


def test_all_kinds_of_furniture_and_all_sizes_of_apartment_appear():
    kinds, rooms, turned = set(), set(), 0
    for seed in range(40):
        root = ElementTree.fromstring(generate_apartment(seed).xml)
        names = [geom.get("name") for geom in root.iter("geom")]
        kinds |= {"".join(c for c in name.split("_")[0] if not c.isdigit()) for name in names}
        rooms.add(sum(name.startswith("lintel") for name in names) + 1)
        turned += sum(geom.get("euler") is not None for geom in root.iter("geom"))
    assert kinds >= {"cabinet", "sofa", "box", "turned", "pillar", "stool", "table"}
    assert rooms == set(range(1, 7))
    assert turned > 20


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    assert generate_apartment(5).xml == generate_apartment(5).xml
    assert generate_apartment(5).xml != generate_apartment(6).xml


def test_people_do_not_change_the_apartment_and_walk_in_free_space():
    empty, peopled = generate_apartment(8, rooms=4), generate_apartment(8, rooms=4, people=3)
    np.testing.assert_array_equal(occupancy(empty).grid, occupancy(peopled).grid)
    assert len(peopled.people) == 3
    grid = occupancy(peopled)
    clearance = grid.clearance()
    simulation = RobotSimulation(peopled, camera=False)
    before = simulation.people
    for _ in range(40):
        simulation.advance(0.5)
        for x, y in simulation.people:
            assert clearance[grid.cell(x, y)] > 0.22
    assert (np.hypot(*(simulation.people - before).T) > 0).all()


def test_training_and_test_seeds_are_disjoint_and_mixing_is_refused():
    assert not set(TRAIN_SEEDS) & set(TEST_SEEDS)
    assert not set(CALIBRATION_SEEDS) & (set(TRAIN_SEEDS) | set(TEST_SEEDS))
    assert not is_test_seed(CALIBRATION_SEEDS[0]) and generate_apartment(CALIBRATION_SEEDS[-1]).starts.size
    assert is_test_seed(TEST_SEEDS[0])
    assert not is_test_seed(TRAIN_SEEDS[-1])
    require_training_seeds([0, TRAIN_SEEDS[-1]])
    with pytest.raises(InputError, match="not for training"):
        require_training_seeds([0, TEST_SEEDS[0]])


@pytest.mark.parametrize(
    "arguments", [{"seed": -1}, {"seed": CALIBRATION_SEEDS.stop}, {"seed": 0, "rooms": 7}, {"seed": 0, "rooms": 0}]
)
def test_impossible_requests_are_refused(arguments):
    with pytest.raises(InputError, match="must be"):
        generate_apartment(**arguments)


def test_too_many_people_are_refused():
    with pytest.raises(InputError, match="people = 20"):
        generate_apartment(3, rooms=1, people=20)
