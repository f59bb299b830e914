"""The simulator's parameters: the sensors it imitates, and its physics.

Defaults are a small indoor robot: a 2-D lidar at knee height, a wide camera, odometry (wheels and gyro) that drifts.  Limits
of the body itself (radius, speeds, actuator delay) are `RobotParameters`, which the planner knows too; what stands here it must
not know.
"""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from objective_agent.config import NonNegative, Positive, Strict


class LidarParameters(Strict):
    """A 2-D lidar in the middle of the robot that sweeps the full circle."""

    rate: float = Field(10.0, gt=0, le=100, description="sweeps per second, Hz")
    beams: int = Field(180, ge=8, le=3600, description="beams per sweep, evenly over 360 degrees")
    range_min: Positive = Field(0.05, description="closer returns read -inf, m")
    range_max: Positive = Field(8.0, description="farther returns read +inf, m")
    height: Positive = Field(0.25, description="height of the scan plane above the floor, m")
    noise: NonNegative = Field(0.01, description="standard deviation of a range, m")
    dropout: float = Field(0.005, ge=0, le=1, description="share of beams that read NaN (unknown)")

    @model_validator(mode="after")
    def _ranges_are_ordered(self):
        if self.range_min >= self.range_max:
            raise ValueError(f"range_min ({self.range_min}) must be less than range_max ({self.range_max})")
        return self


class CameraParameters(Strict):
    """A forward-looking pinhole camera with depth."""

    rate: float = Field(20.0, gt=0, le=100, description="frames per second, Hz")
    width: int = Field(64, ge=4, le=640, description="pixels")
    height: int = Field(64, ge=4, le=640, description="pixels")
    horizontal_fov: float = Field(math.pi / 2, gt=0.1, lt=3.0, description="angle between the outermost columns, rad")
    mount_x: float = Field(0.12, ge=-1, le=1, description="in front of the robot's centre, m")
    mount_z: float = Field(0.30, gt=0, le=2, description="above the floor, m")
    pitch: float = Field(0.0, ge=-1.5, le=1.5, description="tilt, positive looks down (REP-103), rad")
    max_depth: Positive = Field(10.0, description="farther depths read +inf, m")
    noise: NonNegative = Field(2.0, description="standard deviation of a colour value, of 255")


class OdometryParameters(Strict):
    """Wheels for distance, a gyro for heading: scale errors and a bias drawn at every reset, noise that grows with the way."""

    rate: float = Field(30.0, gt=0, le=100, description="messages per second, Hz")
    distance_scale_error: float = Field(0.005, ge=0, le=0.5, description="standard deviation of the distance's relative error")
    turn_scale_error: float = Field(0.003, ge=0, le=0.5, description="standard deviation of the turn's relative error")
    turn_bias: NonNegative = Field(0.001, description="standard deviation of the false turn per metre driven, rad/m")
    distance_noise: NonNegative = Field(0.005, description="random error after 1 m (grows with its square root), m")
    turn_noise: NonNegative = Field(0.002, description="random error after 1 rad or 1 m (grows with its square root), rad")
    velocity_noise: NonNegative = Field(0.005, description="standard deviation of both velocities, m/s and rad/s")


class SensorParameters(Strict):
    """All sensors of the robot."""

    lidar: LidarParameters = Field(default_factory=LidarParameters)
    camera: CameraParameters = Field(default_factory=CameraParameters)
    odometry: OdometryParameters = Field(default_factory=OdometryParameters)


class SimulationParameters(Strict):
    """Physics and people.  What the ground does to the wheels belongs here, beside `grip`."""

    timestep: float = Field(0.01, ge=0.001, le=0.02, description="physics step, s")
    command_timeout: Positive = Field(0.5, description="the base stops when no command came for this long, s")
    robot_height: float = Field(0.35, ge=0.1, le=3.0, description="the body reaches up to here, m")
    ground_clearance: float = Field(0.03, ge=0, le=0.1, description="the body begins here: lower things are driven over, m")
    mass: Positive = Field(10.0, description="of the robot, kg")
    grip: Positive = Field(5.0, description="deceleration with which the wheels resist being pushed sideways, m/s^2")
    yielding: bool = Field(True, description="people pause while the robot stands close ahead of them")
    yield_distance: NonNegative = Field(0.6, description="gap between a person and the robot at which the person pauses, m")

    @model_validator(mode="after")
    def _body_has_height(self):
        if self.ground_clearance >= self.robot_height:
            raise ValueError(f"ground_clearance ({self.ground_clearance}) must be below robot_height ({self.robot_height})")
        return self
