"""A room with known geometry, for the simulator's tests."""

from objective_agent.simulation import SensorParameters, SimulationParameters, World
from objective_agent.simulation.parameters import CameraParameters, LidarParameters, OdometryParameters
from objective_agent.types import Image, Odometry, Scan

EXACT = SensorParameters(
    lidar=LidarParameters(noise=0, dropout=0),
    camera=CameraParameters(noise=0),
    odometry=OdometryParameters(
        distance_scale_error=0, turn_scale_error=0, turn_bias=0, distance_noise=0, turn_noise=0, velocity_noise=0
    ),
)
"""Sensors without any error."""

STUBBORN = SimulationParameters(yielding=False)

ROOM = """
<geom name="floor" type="plane" size="0 0 1"/>
<geom name="north" type="box" pos="0 3.05 1" size="3.1 .05 1"/>
<geom name="south" type="box" pos="0 -3.05 1" size="3.1 .05 1"/>
<geom name="east" type="box" pos="3.05 0 1" size=".05 3.1 1"/>
<geom name="west" type="box" pos="-3.05 0 1" size=".05 3.1 1"/>
"""
"""A room whose inner walls stand at x, y = -3 and 3."""


LOW_ROOM = ROOM.replace('size="3.1 .05 1"', 'size="3.1 .05 .2"').replace('size=".05 3.1 1"', 'size=".05 3.1 .2"')
"""The same room with walls that one can look over."""

START = '<site name="start" pos="0 0 0"/>'


def mjcf(body: str = "", custom: str = "", sites: str = START, before: str = "", room: str = ROOM) -> str:
    custom = f"<custom>{custom}</custom>" if custom else ""
    return f"<mujoco>{before}{custom}<worldbody>{room}{body}{sites}</worldbody></mujoco>"


def room(*args, **keywords) -> World:
    return World.from_xml(mjcf(*args, **keywords), "room")


def person(path: str, speed: float = 0.6, name: str = "person1") -> dict[str, str]:
    """Keywords of `mjcf` that put a walking person into the room."""
    x, y = path.split()[0].split(",")
    return {
        "body": f'<body name="{name}" mocap="true" pos="{x} {y} .85"><geom name="{name}" type="capsule" size=".2 .65"/></body>',
        "custom": f'<text name="{name}_path" data="{path}"/><numeric name="{name}_speed" data="{speed}"/>',
    }


def drive(simulation, v: float, w: float, seconds: float, every: float = 0.1) -> list:
    """Sends one command again and again for `seconds`; all readings."""
    readings = []
    for _ in range(round(seconds / every)):
        simulation.command(v, w)
        readings += simulation.advance(every)
    return readings


def last(readings: list, kind: type) -> Scan | Image | Odometry:
    return [reading for reading in readings if isinstance(reading, kind)][-1]
