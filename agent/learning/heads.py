"""A head beside a finished model: its file and its place in the card, whole at every moment, and what it is worth.

The order of writing makes `kill -9` harmless at any moment: the new file beside the old one, then the card that names it, then
its proper name.  Until the card is written the old head is the model's, from then on the new one (`weights.read_weights`).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from objective_agent import weights
from objective_agent.config import RobotParameters
from objective_agent.cost.quasimetric import QuasimetricShape
from objective_agent.cost.trained_head import PART
from objective_agent.learning.card import add_part
from objective_agent.learning.moments import Moments, pick
from objective_agent.learning.reachability import ReachabilityNetwork, export
from objective_agent.types import InputError

KINDS = {"all": 0, "camera": 1, "lidar": 2, "all_predicted": 4, "camera_predicted": 7}
"""Names of the kinds of moments that figures are given for -> place in `Moments.kinds`; predicted: 0.8 s ahead."""

THERE, THERE_TURN = 0.5, np.pi / 6
"""A moment counts as at the goal within this, m and rad."""

PRECISION, LEAST = 0.9, 20
"""Share of rightly reached goals that is aimed at, over at least so many pairs."""


def write_head(folder: Path, shape: QuasimetricShape, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> str:
    """Puts the reachability head into the model in `folder`; `about` becomes the card's section.  Gives the file's sha256."""
    finish(folder)
    values = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    encoder = weights.read_card(folder)["sha256"]["encoder"]
    card = add_part(folder, PART, values, shape.model_dump(), {"encoder": encoder, **about})
    return card["sha256"][PART]


def finish(folder: Path) -> None:
    """Gives a new head that the card already names its proper name; one that it does not name is removed."""
    following = weights.next_file(folder, PART)
    if not following.exists():
        return
    try:
        named = str(weights.read_card(folder)["sha256"].get(PART))
        if hashlib.sha256(following.read_bytes()).hexdigest() == named:
            os.replace(following, folder / f"{PART}.safetensors")
        else:
            following.unlink()
    except OSError as error:
        raise InputError(f"{following}: can't be renamed: {error.strerror}; make the folder writable") from None


# --- what it is worth -------------------------------------------------------------------------------------------------------


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Rank correlation; None for fewer than three pairs, or constants."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float) for values in (a, b)]
    return round(float(np.corrcoef(*ranks)[0, 1]), 3)


def draw_pairs(moments: Moments, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, goals [n], relative poses [n, 3]): moments and goals anywhere in one episode."""
    random = np.random.default_rng(seed)
    goals = random.choice(np.flatnonzero(moments.has_goal), count)
    rows = moments.first[goals] + (random.random(count) * (moments.last[goals] - moments.first[goals])).astype(np.int64)
    return rows, goals, moments.relative(rows, goals)


def distances(network: ReachabilityNetwork, moments: Moments, kind: int, rows: np.ndarray, goals: np.ndarray):
    """(quasimetric steps, root mean square difference to the lifted goal), both [n]."""
    metric = network.quasimetric()
    with torch.inference_mode():
        here, there = pick(moments, np.full(len(rows), kind), rows), moments.goals[torch.from_numpy(goals)].float()
        plain = ((here - metric.lift(there)) ** 2).mean(-1).sqrt()
        return metric.steps(here, there).numpy(), plain.numpy()


def calibrate(network: ReachabilityNetwork, moments: Moments, count: int = 6000) -> tuple[float, dict[str, float]]:
    """(steps at which a goal counts as reached, what that is worth) on worlds held out for it.

    The largest distance below which nine of ten pairs of an episode really are within 0.5 m; where there is none, the one
    below which most are.
    """
    rows, goals, relative = draw_pairs(moments, count, seed=1)
    way = np.hypot(relative[:, 0], relative[:, 1])
    found, there = [], []
    for kind in (KINDS["all"], KINDS["camera"]):
        known = moments.known[kind][rows]
        found.append(distances(network, moments, kind, rows[known], goals[known])[0])
        there.append(way[known] < THERE)
    found, there = np.concatenate(found), np.concatenate(there)
    order = np.argsort(found)
    precision = np.cumsum(there[order]) / np.arange(1, len(order) + 1)
    counted = min(LEAST, len(order)) - 1
    good = counted + np.flatnonzero(precision[counted:] >= PRECISION)
    place = int(good[-1]) if len(good) else counted + int(precision[counted:].argmax())
    limit = float(found[order[place]])
    below = found <= limit
    worth = {
        "precision": round(float(there[below].mean()), 3) if below.any() else None,
        "recall": round(float(below[there].mean()), 3) if there.any() else None,
    }
    return max(limit, 0.05), worth


def figures(network: ReachabilityNetwork, moments: Moments, robot: RobotParameters, dt: float, count: int = 4000) -> dict:
    """Rank correlations on held-out worlds: with the least steps that odometry allows, near pairs and far, beside plain L2."""
    rows, goals, relative = draw_pairs(moments, count, seed=2)
    way, turn = np.hypot(relative[:, 0], relative[:, 1]), np.abs(relative[:, 2])
    least = np.maximum(way / (robot.max_speed * dt), turn / (robot.max_turn_rate * dt))
    found: dict[str, Any] = {"pairs": count, "worlds": len(np.unique(moments.world))}
    for name, kind in KINDS.items():
        known = moments.known[kind][rows]
        if not known.any():
            continue
        steps, plain = distances(network, moments, kind, rows[known], goals[known])
        near, there = way[known] < 3.0, (way[known] < THERE) & (turn[known] < THERE_TURN)
        found[name] = {
            "spearman": spearman(steps, least[known]),
            "spearman_within_3m": spearman(steps[near], least[known][near]),
            "spearman_l2": spearman(plain, least[known]),
            "spearman_l2_within_3m": spearman(plain[near], least[known][near]),
            "median_there": round(float(np.median(steps[there])), 2) if there.any() else None,
            "median": round(float(np.median(steps)), 2),
        }
    return found


def route_figures(
    network: ReachabilityNetwork,
    moments: Moments,
    worlds: list[str],
    robot: RobotParameters,
    most: int = 24,
    per_goal: int = 40,
) -> dict:
    """Rank correlations with the length of the true way, in generated apartments; `detour`: it is 1.3 times the straight line.

    Looks at up to `most` goals.  Empty where the simulator isn't installed or no world is a generated one.
    """
    try:
        from objective_agent.simulation.generator import generate_apartment
        from objective_agent.simulation.occupancy import occupancy
        from objective_agent.simulation.tasks import ClearanceMap
    except ImportError:
        return {}
    random = np.random.default_rng(3)
    picked, lengths = [], []
    for world in random.permutation(np.unique(moments.world)):
        name = worlds[int(world)]
        mine = np.flatnonzero((moments.world == world) & moments.has_goal)
        if len(picked) >= most or not name.startswith("apartment-") or not name[10:].isdigit() or not len(mine):
            continue
        places = ClearanceMap(occupancy(generate_apartment(int(name[10:]))), robot.radius)
        goal = int(random.choice(mine))
        rows = random.integers(moments.first[goal], moments.last[goal], per_goal)
        picked.append(np.stack([rows, np.full(per_goal, goal)]))
        lengths.append([places.path_length(moments.pose[goal, :2], moments.pose[row, :2]) for row in rows])
    if not picked:
        return {}
    (rows, goals), length = np.concatenate(picked, 1), np.concatenate(lengths)
    straight = np.hypot(*moments.relative(rows, goals)[:, :2].T)
    whole = np.isfinite(length)
    detour = whole & (length > 1.3 * straight) & (length > 1.0)
    found: dict[str, Any] = {"pairs": int(whole.sum()), "detours": int(detour.sum())}
    for name in ("all", "camera"):
        steps, plain = distances(network, moments, KINDS[name], rows, goals)
        for label, some in (("route", whole), ("detour", detour)):
            found[f"{name}_{label}"] = {"spearman": spearman(steps[some], length[some]),
                                        "spearman_l2": spearman(plain[some], length[some])}  # fmt: skip
    return found


def exported(network: ReachabilityNetwork) -> dict[str, np.ndarray]:
    return dict(export(network))
