import numpy as np
import pytest

from objective_agent.types import Scan
from objective_agent.visualization import style
from objective_agent.visualization.map_view import MapView
from objective_agent.visualization.recording import Futures, GoalSpan, Recording, Series, Walls
from objective_agent.visualization.style import bgr

SIZE = (600, 400)


def room(**topics) -> Recording:
    """A 6 x 4 m room with 0.1 m walls whose lower left corner is (-1, -1)."""
    grid = np.zeros((40, 60), bool)
    grid[[0, -1]] = True
    grid[:, [0, -1]] = True
    return Recording(walls=Walls(grid, (-1.0, -1.0), 0.1), **topics)


def colour_at(view: MapView, image: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    column, row = view.pixel(np.array([x, y]))
    return tuple(int(value) for value in image[round(row), round(column)])


def near(found: tuple[int, ...], colour: str) -> bool:
    return np.abs(np.array(found) - bgr(colour)).max() < 40


def test_the_whole_world_fits_and_y_points_up():
    view = MapView(room(), SIZE)
    low, high = view.pixel(np.array([[-1, -1], [5, 3]]))
    assert (np.array([low, high]) >= 0).all() and (np.array([low, high]) <= SIZE).all()
    assert low[0] < high[0] and low[1] > high[1]
    assert (high[0] - low[0]) / 6 == pytest.approx((low[1] - high[1]) / 4), "metres are equally long both ways"


def test_the_picture_has_the_size_asked_for():
    image = MapView(room(), SIZE).draw(0.0)
    assert image.shape == (400, 600, 3) and image.dtype == np.uint8


def test_the_present_goal_is_drawn_where_it_is():
    run = room(goals=(GoalSpan(0, (3.0, 1.0), 0.0, 9.0, False),))
    view = MapView(run, SIZE, goal_tolerance=0.5)
    image = view.draw(1.0)
    column, row = view.pixel(np.array([3.0, 1.0]))
    assert near(tuple(image[round(row) - 11, round(column)]), style.GOAL), "the disc round the number"
    assert near(colour_at(view, image, 3.5, 1.0), style.GOAL), "the ring at the tolerance"


def test_the_robot_is_drawn_at_its_pose_with_its_radius():
    view = MapView(room(pose=Series([0.0], [np.array([1.0, 0.5, 0.0])])), SIZE, robot_radius=0.3)
    image = view.draw(1.0)
    assert near(colour_at(view, image, 1.0, 0.75), style.ROBOT)
    assert near(colour_at(view, image, 1.1, 0.5), style.PAPER), "the nose shows the heading"
    assert near(colour_at(view, image, 1.0, 0.9), style.FLOOR)


def test_walls_become_dark_once_the_lidar_has_seen_them():
    ahead = Scan(1.0, np.array([3.95], np.float32), 0.0, 0.1, 0.05, 8.0)
    run = room(pose=Series([0.0], [np.array([1.0, 1.0, 0.0])]), scan=Series([1.0], [ahead]))
    view = MapView(run, SIZE)
    assert near(colour_at(view, view.draw(0.5), 4.95, 1.1), style.UNSEEN_WALL)
    image = view.draw(1.2)
    assert near(colour_at(view, image, 4.95, 1.1), style.SEEN_WALL)
    assert near(colour_at(view, image, -0.95, 1.1), style.UNSEEN_WALL), "behind the robot nothing was seen"


def test_without_a_world_what_the_lidar_saw_is_the_map():
    ahead = Scan(1.0, np.array([2.0], np.float32), 0.0, 0.1, 0.05, 8.0)
    run = Recording(pose=Series([0.0, 3.0], [np.zeros(3), np.zeros(3)]), scan=Series([1.0], [ahead]))
    view = MapView(run, SIZE)
    assert near(colour_at(view, view.draw(3.0), 2.0, 0.0), style.SEEN_WALL)


def test_futures_are_coloured_by_energy_and_the_plan_lies_over_them():
    places = np.array([[[0.0, y], [4.0, y]] for y in (0.0, 1.0, 2.0)])
    futures = Futures(places, np.array([0.0, 1.0, 0.5]), np.array([True, True, False]))
    run = room(candidates=Series([1.0], [futures]), plan=Series([1.0], [np.array([[0.0, 2.0], [2.0, 2.0]])]))
    view = MapView(run, SIZE)
    image = view.draw(1.0)
    best, worst, forbidden = (np.array(colour_at(view, image, 3.0, y)) for y in (0.0, 1.0, 2.0))
    assert best[1] > best[2] + 50, "least energy is green"
    assert worst[2] > worst[0] + 50 and abs(worst[2] - worst[1]) < 70, "most energy is yellow"
    assert forbidden[2] > forbidden[1] + 50, "what is not feasible is red"
    assert near(colour_at(view, image, 1.0, 2.0), style.PLAN)
    assert near(colour_at(view, view.draw(5.0), 3.0, 2.0), style.FLOOR), "old thoughts are not shown"


def test_people_and_a_touch_are_unmistakable():
    run = room(
        pose=Series([0.0], [np.array([1.0, 1.0, 0.0])]),
        people=Series([0.0], [np.array([[3.0, 1.0, 0.3]])]),
        contact=Series([0.0, 0.5], [False, True]),
    )
    view = MapView(run, SIZE)
    assert near(colour_at(view, view.draw(0.1), 1.0, 1.13), style.ROBOT)
    image = view.draw(0.6)
    assert near(colour_at(view, image, 3.0, 1.0), style.PERSON)
    assert near(colour_at(view, image, 1.0, 1.13), style.INFEASIBLE)


@pytest.mark.parametrize("points", [np.zeros((0, 2)), np.zeros((1, 2)), np.full((3, 2), 1e7), np.zeros((3, 2))])
def test_odd_routes_and_plans_do_no_harm(points):
    run = room(route=Series([0.0], [points]), plan=Series([0.0], [points]))
    assert MapView(run, SIZE).draw(0.1).shape == (400, 600, 3)
