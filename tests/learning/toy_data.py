"""A made-up data set with the schema of a real one: a disc in rectangular rooms that obeys with a hidden gain, with a lidar and
a crude camera.  Made with NumPy alone, all episodes at once, in a second or two."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from objective_agent.learning import people
from objective_agent.learning.dataset import SCHEMA

RADIUS, DT, SUB = 0.18, 0.2, 20


def write_toy_data(folder: Path, episodes: int = 60, steps: int = 40, seed: int = 0, slip: bool = True) -> Path:
    """`episodes` worlds of one episode each; the hidden speed gain is .6 to 1 with `slip`, else 1."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(1.0, 2.8, (episodes, 2))
    gain = np.where(np.arange(episodes) % 3 == 0, 1.0, rng.uniform(0.6, 0.9, episodes)) if slip else np.ones(episodes)
    pose = np.stack([*rng.uniform(-0.4, 0.4, (2, episodes)), rng.uniform(-math.pi, math.pi, episodes)], -1)
    velocity = np.zeros((episodes, 2))
    target = np.zeros((episodes, 2))
    log = {name: [] for name in ("pose", "velocity", "action", "scan", "clearance", "image", "motion")}
    history = [np.zeros((episodes, 4))] * 8
    sub_dt, pending = DT / SUB, [np.zeros((episodes, 2))] * 10  # a command acts 0.1 s later
    least = clearance_of(pose, size)
    for _ in range(steps):
        change = rng.random(episodes) < 0.35
        fresh = np.stack([rng.uniform(-0.1, 0.6, episodes), rng.uniform(-1.5, 1.5, episodes)], -1)
        target = np.where(change[:, None], fresh, target)
        target[:, 0] = np.where(scan_of(pose, size, 9)[:, 4] < 0.45, np.minimum(target[:, 0], 0.0), target[:, 0])
        ranges = scan_of(pose, size)
        log["pose"].append(pose.copy())
        log["velocity"].append(velocity.copy())
        log["action"].append(target.copy())
        log["scan"].append(ranges + rng.normal(0, 0.01, ranges.shape))
        log["clearance"].append(np.clip(least, -0.1, 1.0))
        log["image"].append(image_of(ranges))
        log["motion"].append(np.stack(history[-8:], 1))
        least = np.full(episodes, np.inf)
        for tick in range(SUB):
            pending.append(target.copy())
            acting = pending.pop(0)
            limit = np.array([1.0, 3.0]) * sub_dt
            velocity = velocity + np.clip(acting * np.stack([gain, np.ones(episodes)], -1) - velocity, -limit, limit)
            heading = pose[:, 2] + velocity[:, 1] * sub_dt / 2
            moved = pose + sub_dt * np.stack(
                [velocity[:, 0] * np.cos(heading), velocity[:, 0] * np.sin(heading), velocity[:, 1]], -1
            )
            free = clearance_of(moved, size) > 0
            velocity[~free, 0] = 0.0
            pose = np.where(free[:, None], moved, pose)
            least = np.minimum(least, clearance_of(pose, size))
            if tick % (SUB // 2) == SUB // 2 - 1:
                history.append(np.concatenate([velocity, target], -1))
    arrays = {name: np.stack(values, 1).reshape(episodes * steps, *values[0].shape[1:]) for name, values in log.items()}
    arrays = {name: value if name == "image" else value.astype(np.float32) for name, value in arrays.items()}
    index = np.arange(episodes * steps, dtype=np.int32)
    arrays |= {
        "stamp": (index % steps) * DT,
        "episode": index // steps,
        "step": index % steps,
        "world": index // steps,
        "scan_pose": arrays["pose"],
        "people": np.full(len(index), np.nan, np.float32),
        "people_places": np.full((len(index), people.MOST, 3), np.nan, np.float32),
        "people_seen": np.zeros((len(index), people.MOST), bool),
        "has_image": np.ones(len(index), bool),
        "has_scan": np.ones(len(index), bool),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in arrays.items():
        np.save(folder / f"{name}.npy", value)
    held = [world for world in range(episodes) if world % 5 == 0]
    training = [world for world in range(episodes) if world % 5]
    meta = {"schema": SCHEMA, "dt": DT, "split": {"train": training, "val": held}, "rows": len(index)}
    meta["episodes"] = [{"condition": "slip" if gain[number] < 0.95 else "plain"} for number in range(episodes)]
    meta["worlds"] = [f"room_{number}" for number in range(episodes)]
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def clearance_of(pose: np.ndarray, size: np.ndarray) -> np.ndarray:
    return (size - np.abs(pose[:, :2])).min(-1) - RADIUS


def scan_of(pose: np.ndarray, size: np.ndarray, beams: int = 180) -> np.ndarray:
    """Distances [n, beams] to the walls of rooms that reach from -size to size; 180 beams are the canonical ones."""
    if beams == 180:
        angles = np.arange(180) * (2 * math.pi / 180) - math.pi
    else:
        angles = np.linspace(-0.4, 0.4, beams)
    direction = pose[:, 2:3] + angles
    cos, sin = np.cos(direction), np.sin(direction)
    with np.errstate(divide="ignore"):
        x = (np.sign(cos) * size[:, 0:1] - pose[:, 0:1]) / cos
        y = (np.sign(sin) * size[:, 1:2] - pose[:, 1:2]) / sin
    return np.minimum(np.where(np.abs(cos) < 1e-9, np.inf, x), np.where(np.abs(sin) < 1e-9, np.inf, y))


def image_of(ranges: np.ndarray) -> np.ndarray:
    """[n, 64, 64, 3]: brighter where the wall is near, walls taller where they are near, 90 degrees ahead."""
    ahead = ranges[:, np.rint(90 + np.linspace(22, -22, 64)).astype(int)]
    shade = (255 / (1 + ahead)).astype(np.uint8)
    row = np.abs(np.arange(64) - 31.5)[None, :, None]
    wall = row < (16 / np.maximum(ahead, 0.1))[:, None, :]
    return np.where(wall[..., None], shade[:, None, :, None], np.array([40, 60, 80], np.uint8)).astype(np.uint8)
