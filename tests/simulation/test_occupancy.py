"""The occupancy grid against MuJoCo's own contacts of the robot's body."""

import numpy as np
import pytest
from simulation_scenes import room

from objective_agent.config import RobotParameters
from objective_agent.simulation import occupancy
from objective_agent.simulation.compose import compose
from objective_agent.simulation.parameters import SimulationParameters

SHAPES = {
    "turned box": '<geom type="box" pos="1 .5 .3" size=".6 .2 .3" euler="0 0 33"/>',
    "tilted box": '<geom type="box" pos="1 .5 .3" size=".6 .2 .2" euler="25 20 33"/>',
    "cylinder": '<geom type="cylinder" pos="-1 .5 .3" size=".4 .3"/>',
    "lying cylinder": '<geom type="cylinder" pos="-1 .5 .2" size=".2 .7" euler="90 0 20"/>',
    "sphere": '<geom type="sphere" pos="-1 .5 .3" size=".4"/>',
    "lying capsule": '<geom type="capsule" pos="0 1.5 .2" size=".15 .7" euler="0 90 0"/>',
    "ellipsoid": '<geom type="ellipsoid" pos="0 1.5 .2" size=".5 .25 .3" euler="0 0 20"/>',
    "table": '<body pos="0 1.5 0" euler="0 0 30"><geom type="box" pos="0 0 .7" size=".6 .4 .02"/>'
    '<geom type="cylinder" pos=".5 .3 .35" size=".03 .35"/><geom type="cylinder" pos="-.5 -.3 .35" size=".03 .35"/></body>',
    "standing plane": '<geom type="plane" pos="0 2 0" size="0 0 1" euler="90 0 15"/>',
    "rug": '<geom type="box" pos="1 1 .01" size=".8 .8 .01"/>',
    "shelf overhead": '<geom type="box" pos="1 1 1" size=".8 .8 .1"/>',
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_grid_agrees_with_contacts_of_a_thin_probe(shape):
    world = room(SHAPES[shape], sites='<site name="start" pos="-2 -2 0"/>')
    grid = occupancy(world)
    half_cell = grid.resolution / 2
    inner, outer = (
        compose(world.xml, "w", RobotParameters(radius=radius), SimulationParameters()) for radius in (0.004, half_cell + 0.012)
    )
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        row, column = (int(rng.integers(size)) for size in grid.grid.shape)
        place = (*grid.centre(row, column), 0)
        inner.place(place)
        outer.place(place)
        hits += grid.grid[row, column]
        if inner.touching():
            assert grid.grid[row, column], "an obstacle is missing"
        if grid.grid[row, column]:
            assert outer.touching(), "an obstacle that is not there"
    assert hits > 5


def test_rooms_are_hollow_and_thin_legs_are_not_lost():
    legs = "".join(f'<geom type="cylinder" pos="{x:.3f} {x / 3:.3f} .3" size=".03 .3"/>' for x in np.linspace(-1.9, 1.9, 9))
    world = room(legs, sites='<site name="start" pos="-2 2 0"/>')
    grid = occupancy(world)
    for x in np.linspace(-1.9, 1.9, 9):
        row, column = grid.cell(x, x / 3)
        assert grid.grid[row - 1 : row + 2, column - 1 : column + 2].any()
    assert not grid.grid[grid.cell(2, -2)]
    assert grid.grid[grid.cell(0, 3.02)]
    regions = grid.regions(0.18)
    assert regions[grid.cell(2, -2)] == regions[grid.cell(-2, 2)] != 0
    assert regions[grid.cell(3.4, 3.4)] != regions[grid.cell(2, -2)]


def test_cells_and_centres_are_inverse():
    grid = occupancy(room(), 0.1)
    for row, column in [(0, 0), (5, 9), (30, 17)]:
        assert grid.cell(*grid.centre(row, column)) == (row, column)


def test_people_are_not_in_the_grid():
    body = '<body name="person1" mocap="true" pos="1 1 .85"><geom type="capsule" size=".2 .65"/></body>'
    grid = occupancy(room(body))
    assert not grid.grid[grid.cell(1, 1)]
