"""The scripted pusher that makes Push-T data: it walks round the block, stands behind it and pushes it, with noise.

Data policy only: it reads the simulator's state, which no controller under evaluation may do.  Every few steps it draws
where the block shall go (a displacement `d` and a turn `t`), and chooses the contact that would bring it there: under
quasi-static friction a push `f` at the point `p` moves the block along the twist (f, (p - c) x f / r) about its centre of
friction `c` with a characteristic length `r` (the ellipsoidal limit surface: Goyal, Ruina and Papadopoulos 1991), so the
contact is drawn from a softmax over the cosine between that twist and the wanted one (d, r t).  Some stretches are plain
random walks, so that free motion, glancing touches and pauses are in the data as well.
"""

from __future__ import annotations

import numpy as np

# The T in its own frame, pixels: a bar of 120 x 30 above a stem of 30 x 90; the origin in the middle of the bar's upper edge.
OUTLINE = np.array([[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], float)
CENTRE = np.array([0.0, 45.0])  # of gravity
AGENT_RADIUS = 15.0
FIELD = (20.0, 492.0)  # the walls stand at 5 and 506

_LENGTH = 45.0  # r above
_STAND_OFF = AGENT_RADIUS + 12.0
_CLEARANCE = AGENT_RADIUS + 5.0
_ORBIT = 118.0  # radius of the way round the block


def _contacts(per_edge: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Points on the outline [n, 2] and their outward normals [n, 2], in the block's frame."""
    following = np.roll(OUTLINE, -1, axis=0)
    share = (np.arange(per_edge) + 0.5) / per_edge
    points = OUTLINE[:, None] + (following - OUTLINE)[:, None] * share[None, :, None]
    along = (following - OUTLINE) / np.linalg.norm(following - OUTLINE, axis=1, keepdims=True)
    outward = np.stack([along[:, 1], -along[:, 0]], axis=1)  # the outline runs clockwise on the screen, where y points down
    return points.reshape(-1, 2), np.repeat(outward, per_edge, axis=0)


POINTS, NORMALS = _contacts()


def rotation(angle: float) -> np.ndarray:
    """[2, 2], block frame to field frame."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def distance_to_block(points: np.ndarray, position: np.ndarray, angle: float) -> np.ndarray:
    """Distance [n] from points [n, 2] to the T's outline; 0 inside."""
    local = (points - position) @ rotation(angle)
    boxes = np.array([[0.0, 15.0, 60.0, 15.0], [0.0, 75.0, 15.0, 45.0]])  # centre and half size: bar, stem
    beyond = np.maximum(np.abs(local[:, None] - boxes[:, :2]) - boxes[:, 2:], 0.0)
    return np.linalg.norm(beyond, axis=-1).min(axis=1)


def block_inside(position: np.ndarray, angle: float) -> bool:
    """Whether the whole block lies free of the walls."""
    corners = position + OUTLINE @ rotation(angle).T
    return bool((corners > 10).all() and (corners < 502).all())


class Pusher:
    """Actions for an agent that moves by `reach` pixels per unit of action; one instance per episode.

    Called with the agent's position [2], the block's position [2] and angle (pixels, radians); gives an action [2].
    """

    def __init__(self, random: np.random.Generator, reach: float):
        self.random, self.reach = random, reach
        self._left = 0  # steps until the next plan
        self._mode = "walk"

    def __call__(self, agent: np.ndarray, position: np.ndarray, angle: float) -> np.ndarray:
        if self._left <= 0:
            self._plan(position, angle)
        self._left -= 1
        if self._mode == "walk":
            self._heading += self.random.normal(0, 0.4)
            step = self._speed * self.reach * np.array([np.cos(self._heading), np.sin(self._heading)])
            if not _inside(agent + step):
                self._heading += np.pi / 2
        else:
            step = self._approach_or_push(agent, position, angle)
        action = step / self.reach + self.random.normal(0, self._noise, 2)
        return np.clip(action, -1, 1).astype(np.float32)

    def _plan(self, position: np.ndarray, angle: float) -> None:
        random = self.random
        self._noise = float(random.choice([0.03, 0.1, 0.25]))
        self._speed = float(random.uniform(0.1, 1.0))
        if random.random() < 0.15:
            self._mode, self._left, self._heading = "walk", int(random.integers(2, 7)), random.uniform(-np.pi, np.pi)
            return
        turn = rotation(angle)
        wanted = random.uniform(140, 372, 2) - (position + turn @ CENTRE)  # into the middle of the field, off the walls
        twist = np.append(wanted, _LENGTH * random.normal(0, 1.2))
        push = -(NORMALS @ turn.T)
        arm = (POINTS - CENTRE) @ turn.T
        torque = (arm[:, 0] * push[:, 1] - arm[:, 1] * push[:, 0]) / _LENGTH
        twists = np.column_stack([push, torque])
        fit = twists @ twist / (np.linalg.norm(twists, axis=1) * np.linalg.norm(twist) + 1e-9)
        stand = position + (POINTS + NORMALS * _STAND_OFF) @ turn.T
        logits = np.where(_inside(stand), fit / 0.15, -1e3)
        weights = np.exp(logits - logits.max())
        self._contact = int(random.choice(len(weights), p=weights / weights.sum()))
        self._mode, self._left, self._pushes = "approach", 12, int(random.integers(2, 8))

    def _approach_or_push(self, agent: np.ndarray, position: np.ndarray, angle: float) -> np.ndarray:
        turn = rotation(angle)
        contact, normal = position + turn @ POINTS[self._contact], turn @ NORMALS[self._contact]
        stand = contact + normal * _STAND_OFF
        if self._mode == "approach":
            if np.linalg.norm(agent - stand) < 14.0:
                self._mode, self._left = "push", self._pushes
            else:
                return self._capped(self._waypoint(agent, stand, position, angle) - agent)
        behind = (agent - contact) @ normal
        if behind < 0 or np.linalg.norm(agent - contact) > 3 * _STAND_OFF or not _inside(agent):
            self._left = 0  # it slipped off: plan anew after this step
        if not block_inside(position, angle):
            self._left = 0
            return normal * self._speed * self.reach  # back off: the agent is stronger than the walls
        aim = contact - normal * AGENT_RADIUS  # through the contact, so that small errors don't grow
        direction = (aim - agent) / (np.linalg.norm(aim - agent) + 1e-9)
        return direction * self._speed * self.reach

    def _waypoint(self, agent: np.ndarray, stand: np.ndarray, position: np.ndarray, angle: float) -> np.ndarray:
        """`stand` where the way is free, else a point further round the block."""
        way = agent + (stand - agent) * np.linspace(0.1, 1.0, 12)[:, None]
        if distance_to_block(way, position, angle).min() > _CLEARANCE - 4.0:
            return stand
        centre = position + rotation(angle) @ CENTRE
        now, there = (np.arctan2(*(point - centre)[::-1]) for point in (agent, stand))
        gap = (there - now + np.pi) % (2 * np.pi) - np.pi
        for step in (np.clip(gap, -0.6, 0.6), -np.sign(gap) * 0.6):
            point = centre + _ORBIT * np.array([np.cos(now + step), np.sin(now + step)])
            if _inside(point):
                return point
        return np.clip(centre + (agent - centre) * 1.5, *FIELD)

    def _capped(self, step: np.ndarray) -> np.ndarray:
        return step * min(1.0, self.reach / (np.linalg.norm(step) + 1e-9))


def _inside(points: np.ndarray) -> np.ndarray:
    return ((points >= FIELD[0]) & (points <= FIELD[1])).all(axis=-1)
