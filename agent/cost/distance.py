"""How near a trajectory comes to the obstacle points: shared by the objective `bump` and the guardrail `clearance`.

One matrix product serves all candidates, futures, steps and points: with a position q and a point p, both seen from where the
robot is now (so that float32 keeps millimetres far from the origin of odom),

    |q - p|^2 = |q|^2 + (|p|^2 - 2 p . q),

and only the bracket has to be minimised over the points.  What lies between two imagined instants is bounded from below: with
no point nearer than d0 to one end and d1 to the other end of a path of length L, none is nearer to the path than the height of
the triangle with the sides d0, d1, L (or than the shorter side, where that triangle is obtuse).
"""

from __future__ import annotations

from objective_agent.types import Array, Trajectory, WorldState, array_namespace

KEY = "obstacle_distance"
FAR = 1e3
"""Where padding goes, m: farther than any lidar sees, near enough for float32."""

BLOCK = 400_000
"""So many products at a time: they stay in a core's cache until their minimum is taken."""


def obstacle_distance(trajectory: Trajectory) -> Array | None:
    """Smallest distance [B, N, K, H] in metres from the robot's centre to a point, anywhere on the way of each step.

    None when there are no points.  NaN where a point or pose is NaN.  Computed once per trajectory: the result stays in its
    read-outs.
    """
    if trajectory.state.points is None:
        return None
    if KEY not in trajectory.readouts:
        distance = _swept(trajectory)
        if not isinstance(trajectory.readouts, dict):
            return distance
        trajectory.readouts[KEY] = distance
    return trajectory.readouts[KEY]


def present_distance(state: WorldState) -> Array | None:
    """Distance [B] from where the robot is now to the nearest point, metres; None when there are no points."""
    if state.points is None:
        return None
    xp = array_namespace(state.points)
    return xp.sqrt(xp.amin((_from_robot(state) ** 2).sum(-1), -1))


def _from_robot(state: WorldState) -> Array:
    """Points [B, P, 2] seen from the robot's position, axes of odom, padding at a large finite distance."""
    xp = array_namespace(state.points)
    relative = state.points - state.pose[:, None, :2]
    padding = xp.isinf(relative[..., :1]) | xp.isinf(relative[..., 1:])
    relative = xp.where(padding, FAR, relative)
    real = ~padding[..., 0].all(0)
    if not bool(real.any()):
        return xp.full_like(state.pose[:, None, :2], FAR)
    return relative[:, real]


def _swept(trajectory: Trajectory) -> Array:
    state, poses = trajectory.state, trajectory.poses
    xp = array_namespace(poses)
    if poses.shape[2] > 1 and _stride(poses, 2) == 0:
        poses = poses[:, :, :1]  # the futures are one and the same
    batch, candidates, futures, horizon, _ = poses.shape
    points = _from_robot(state)
    path = poses[..., :2] - state.pose[:, None, None, None, :2]
    flat = path.reshape(batch, -1, 2)
    norms = (points**2).sum(-1)
    columns = xp.concatenate([-2 * points, norms[..., None]], -1)
    rows, columns = xp.concatenate([flat, xp.ones_like(flat[..., :1])], -1), xp.swapaxes(columns, 1, 2)
    some = max(1, BLOCK // (batch * points.shape[1]))
    parts = [xp.amin(xp.matmul(rows[:, at : at + some], columns), -1) for at in range(0, rows.shape[1], some)]
    nearest = xp.concatenate(parts, -1) + (flat**2).sum(-1)
    ends = xp.clip(nearest, 0, None).reshape(batch, candidates, futures, horizon)

    here = xp.broadcast_to(xp.amin(norms, -1)[:, None, None, None], ends[..., :1].shape)
    starts = xp.concatenate([here, ends[..., :-1]], -1)
    steps = xp.concatenate([path[..., :1, :], path[..., 1:, :] - path[..., :-1, :]], -2)
    length = (steps**2).sum(-1)
    nearer = xp.minimum(starts, ends)
    # the foot of the height lies this far (squared) along the path, when it lies on the path at all
    foot = (length + starts - ends) ** 2 / (4 * length + 1e-12)
    between = xp.abs(starts - ends) < length
    squared = xp.where(between, xp.minimum(nearer, starts - foot), nearer)
    distance = xp.sqrt(xp.clip(squared, 0, None))
    return xp.broadcast_to(distance, trajectory.poses.shape[:-1])


def _stride(array: Array, axis: int) -> int:
    return array.stride(axis) if callable(getattr(array, "stride", None)) else array.strides[axis]
