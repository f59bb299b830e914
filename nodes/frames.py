"""Goals given in other frames than odom, where tf2 can be had; without it they are refused in one clear line."""

from __future__ import annotations

import math

from objective_agent.config import Task
from objective_agent.types import InputError
from objective_agent_nodes.convert import yaw_of

ODOM = "odom"


class Frames:
    """Turns tasks into the odom frame.  tf2 is imported when it is needed: nothing that works in odom needs it."""

    def __init__(self, node):
        self._node = node
        self._buffer = self._listener = None

    def to_odom(self, task: Task) -> Task:
        """`task` with its goal in odom; InputError when the transform is not known."""
        frame = task.frame.strip("/")
        if frame == ODOM or task.position is None:
            return task
        x, y, yaw = self._transform(frame)
        px, py = task.position
        position = (x + math.cos(yaw) * px - math.sin(yaw) * py, y + math.sin(yaw) * px + math.cos(yaw) * py)
        heading = None if task.heading is None else task.heading + yaw
        return task.model_copy(update={"position": position, "heading": heading, "frame": ODOM})

    def _transform(self, frame: str) -> tuple[float, float, float]:
        """Pose [x, y, yaw] of `frame` in odom, as tf knows it at this moment."""
        try:
            from tf2_ros import Buffer, TransformException, TransformListener
        except ImportError:
            raise InputError(
                f"goal in frame {frame!r}: only {ODOM!r} is known without tf2_ros, which is not installed; "
                f"give the goal in {ODOM} (in RViz: fixed frame {ODOM})"
            ) from None
        from rclpy.time import Time

        if self._buffer is None:
            self._buffer = Buffer(node=self._node)
            self._listener = TransformListener(self._buffer, self._node)
        try:
            found = self._buffer.lookup_transform(ODOM, frame, Time()).transform
        except TransformException as error:
            raise InputError(
                f"goal in frame {frame!r}: no transform to {ODOM} ({error}); send the goal again once tf has it"
            ) from None
        return found.translation.x, found.translation.y, yaw_of(found.rotation)
