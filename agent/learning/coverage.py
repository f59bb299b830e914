"""The coverage report: what a data set has seen, before anybody trains on it.

A world model is good where its data are.  Histograms of speed and turn rate, clearance, distance to people and places, and one
line for everything that is too rare to be learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

BINS: dict[str, tuple[float, ...]] = {
    "speed": (-0.3, -0.02, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0),
    "turn": (-3.0, -1.5, -1.0, -0.5, -0.1, 0.1, 0.5, 1.0, 1.5, 3.0),
    "clearance": (-0.1, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "people": (-0.1, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0),
}
NEAR_MISS, CLOSE_PERSON = 0.1, 0.5
CELL = 0.5
"""Side of the squares in which visited places are counted, m."""


def coverage(columns: Mapping[str, np.ndarray], dt: float, meta: Mapping) -> dict:
    """The report as JSON values: histograms (edges, shares), shares, and `warnings`, one line each."""
    velocity = np.asarray(columns["velocity"])
    values = {
        "speed": velocity[:, 0],
        "turn": velocity[:, 1],
        "clearance": np.asarray(columns["clearance"]),
        "people": np.asarray(columns["people"]),
    }
    clearance, people = values["clearance"], values["people"]
    still = (np.abs(velocity[:, 0]) < 0.02) & (np.abs(velocity[:, 1]) < 0.05)
    report = {
        "steps": len(velocity),
        "minutes": round(len(velocity) * dt / 60, 1),
        "episodes": len(meta["episodes"]),
        "worlds": {split: len(numbers) for split, numbers in meta["split"].items()},
        "conditions": _conditions(meta["episodes"]),
        "histograms": {name: _histogram(name, values[name]) for name in BINS},
        "shares": {
            "near_misses": _share(clearance < NEAR_MISS, np.isfinite(clearance)),
            "touching": _share(clearance < 0.0, np.isfinite(clearance)),
            "close_to_people": _share(people < CLOSE_PERSON, np.isfinite(people)),
            "standing_still": round(float(still.mean()), 4),
            "backwards": round(float((velocity[:, 0] < -0.02).mean()), 4),
            "turning_on_the_spot": round(float(((np.abs(velocity[:, 0]) < 0.05) & (np.abs(velocity[:, 1]) > 0.3)).mean()), 4),
            "commands_not_followed": round(float(_unlike(columns).mean()), 4),
        },
        "places": _places(columns),
        "missing": meta["missing"],
    }
    report["warnings"] = warnings(report)
    return report


def warnings(report: Mapping) -> list[str]:
    """What is too rare to be learned, one line each; empty when coverage is fair."""
    shares, missing = report["shares"], report["missing"]
    forward = sum(share for low, share in _bins(report, "speed") if low >= 0.2)
    left = sum(share for low, share in _bins(report, "turn") if low >= 0.1)
    right = sum(share for low, share in _bins(report, "turn") if low < -0.1)
    found = []

    def warn(bad: bool, text: str) -> None:
        if bad:
            found.append(text)

    warn(report["minutes"] < 30, f"only {report['minutes']:g} minutes; collect 30 or more")
    warn(report["worlds"]["train"] < 20, f"only {report['worlds']['train']} training worlds; unseen ones need 20 or more")
    warn(
        shares["near_misses"] < 0.02, f"near misses (< {NEAR_MISS:g} m) in {shares['near_misses']:.1%} of steps; 2 % are needed"
    )
    warn(forward < 0.15, f"faster than 0.2 m/s in {forward:.1%} of steps; 15 % are needed")
    warn(min(left, right) < 0.05, f"turning left {left:.1%}, right {right:.1%} of steps; 5 % of each are needed")
    warn(shares["standing_still"] > 0.5, f"standing still in {shares['standing_still']:.0%} of steps")
    warn(shares["backwards"] < 0.005, f"driving backwards in {shares['backwards']:.1%} of steps; 0.5 % are needed")
    warn(missing["scans"] > 0.1 and missing["images"] > 0.1,
         f"{missing['scans']:.0%} of steps without a scan, {missing['images']:.0%} without an image")  # fmt: skip
    return found


def table(report: Mapping) -> str:
    """The report for people: a few lines of text."""
    worlds = ", ".join(f"{count} {split}" for split, count in report["worlds"].items())
    lines = [f"{report['steps']} steps, {report['minutes']:g} min, {report['episodes']} episodes, worlds: {worlds}"]
    lines.append("conditions: " + ", ".join(f"{name} {share:.0%}" for name, share in report["conditions"].items()))
    for name, made in report["histograms"].items():
        if made["shares"]:
            edges = made["edges"]
            cells = [f"{edges[i]:g}..{edges[i + 1]:g}: {share:.1%}" for i, share in enumerate(made["shares"]) if share > 0]
            lines.append(f"{name:<10} " + "  ".join(cells))
    lines.append(
        "shares     " + "  ".join(f"{name}: {share:.1%}" for name, share in report["shares"].items() if share is not None)
    )
    places = report["places"]
    lines.append(f"places     {places['cells_per_episode']:g} squares of {CELL:g} m per episode, {places['metres']:g} m driven")
    lines += [f"warning: {text}" for text in report["warnings"]] or ["coverage: fair"]
    return "\n".join(lines)


def _histogram(name: str, values: np.ndarray) -> dict:
    edges = BINS[name]
    known = values[np.isfinite(values)]
    if not len(known):
        return {"edges": list(edges), "shares": []}
    counts, _ = np.histogram(np.clip(known, edges[0], edges[-1]), edges)
    return {"edges": list(edges), "shares": [round(float(count / len(known)), 4) for count in counts]}


def _bins(report: Mapping, name: str) -> list[tuple[float, float]]:
    """(lower edge, share)"""
    made = report["histograms"][name]
    return list(zip(made["edges"], made["shares"], strict=False))


def _share(what: np.ndarray, known: np.ndarray) -> float:
    return round(float(what[known].mean()), 4) if known.any() else 0.0


def _conditions(episodes) -> dict[str, float]:
    steps: dict[str, int] = {}
    for episode in episodes:
        first, last = episode["rows"]
        name = str(episode.get("condition", "recorded"))
        steps[name] = steps.get(name, 0) + last - first
    total = max(1, sum(steps.values()))
    return {name: round(count / total, 4) for name, count in sorted(steps.items())}


def _unlike(columns) -> np.ndarray:
    """Steps in which the body did something else than it was told over the last 0.8 s: slip, delay, obstacles."""
    mean = np.asarray(columns["motion"]).mean(1)
    return (np.abs(mean[:, 0] - mean[:, 2]) > 0.1) | (np.abs(mean[:, 1] - mean[:, 3]) > 0.3)


def _places(columns) -> dict[str, float]:
    episode, pose = np.asarray(columns["episode"]), np.asarray(columns["pose"])
    cells = np.unique(np.column_stack([episode, np.floor(pose[:, :2] / CELL).astype(np.int64)]), axis=0)
    moved = np.hypot(*np.diff(pose[:, :2], axis=0).T)[episode[1:] == episode[:-1]]
    return {
        "cells_per_episode": round(len(cells) / max(1, len(np.unique(episode))), 1),
        "metres": round(float(moved[np.isfinite(moved)].sum()), 1) if len(moved) else 0.0,
        "extent_m": round(float(max(np.ptp(pose[:, 0]), np.ptp(pose[:, 1]))), 1) if math.isfinite(float(pose.sum())) else 0.0,
    }
