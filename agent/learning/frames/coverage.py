"""The coverage report of images: what a data set has seen, before anybody trains on it.

A world model is good where its data are.  Uses the true state, as every drawing and score may.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from objective_agent.learning.frames.dataset import FrameData

CELLS = 12
"""Squares per side in which visited places (the first two numbers of the state) are counted."""

MOST = 20_000
"""Rows that are looked at for what needs the images."""


def coverage(data: FrameData) -> dict[str, Any]:
    """The report as JSON values, written beside the data; `warnings`: one line for everything too rare to be learned."""
    state = np.asarray(data.columns["state"])
    action = np.asarray(data.columns["action"])
    follows = np.flatnonzero(data.episode[1:] == data.episode[:-1])
    low, high = np.quantile(state, [0.001, 0.999], axis=0)
    cells = np.clip(((state[:, :2] - low[:2]) / np.maximum(high - low, 1e-9)[:2] * CELLS).astype(int), 0, CELLS - 1)
    visits = np.bincount(cells[:, 0] * CELLS + cells[:, -1], minlength=CELLS**2)
    looked = follows[:: max(1, len(follows) // MOST)]
    same = [bool(np.array_equal(data.columns["image"][row], data.columns["image"][row + 1])) for row in looked]
    layouts, sizes = np.unique(data.layout, return_counts=True)
    report = {
        "rows": data.rows,
        "episodes": int(data.episode[-1]) + 1,
        "layouts": len(layouts),
        "rows_per_layout": [int(sizes.min()), int(np.median(sizes)), int(sizes.max())],
        "windows": {split: len(data.starts(8, split)) for split in ("train", "calibration", "test")},
        "state": {"low": _round(low), "median": _round(np.median(state, 0)), "high": _round(high)},
        "step": _round(np.abs(state[follows + 1] - state[follows]).mean(0)),
        "action_std": _round(action[follows].std(0)),
        "action_saturated": _round((np.abs(action[follows]) > 0.999).mean(0)),
        "unchanged_images": round(float(np.mean(same)), 4) if same else 1.0,
        "places_visited": round(float((visits > 0).mean()), 4),
        "places_evenness": round(_evenness(visits), 4),
    }
    report["warnings"] = warnings(report)
    (data.path / "coverage.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def warnings(report: Mapping[str, Any]) -> list[str]:
    """What is too rare to be learned, one line each; empty when coverage is fair."""
    found = []

    def warn(bad: bool, text: str) -> None:
        if bad:
            found.append(text)

    windows = report["windows"]["train"]
    warn(windows < 20_000, f"only {windows} training windows of 8 steps; 20,000 or more are needed: raise --steps")
    warn(1 < report["layouts"] < 200, f"only {report['layouts']} layouts; unseen ones need some hundred: raise --steps")
    warn(min(report["action_std"]) < 0.15, f"actions hardly vary (standard deviation {min(report['action_std']):.2f})")
    warn(report["unchanged_images"] > 0.3, f"{report['unchanged_images']:.0%} of the steps change nothing in the image")
    warn(report["places_visited"] < 0.3, f"only {report['places_visited']:.0%} of the places were visited")
    return found


def table(report: Mapping[str, Any]) -> str:
    """The report for people: a few lines of text."""
    rows = report["rows_per_layout"]
    lines = [
        f"{report['rows']} rows, {report['episodes']} episodes, {report['layouts']} layouts "
        f"({rows[0]} to {rows[2]} rows each); windows of 8 steps: "
        + ", ".join(f"{count} {split}" for split, count in report["windows"].items()),
        f"places visited {report['places_visited']:.0%}, evenness {report['places_evenness']:.2f}; "
        f"steps that change nothing {report['unchanged_images']:.1%}; "
        f"standard deviation of actions {', '.join(f'{value:.2f}' for value in report['action_std'])}",
    ]
    lines += [f"warning: {text}" for text in report["warnings"]] or ["coverage: fair"]
    return "\n".join(lines)


def _evenness(visits: np.ndarray) -> float:
    """Entropy of the visits as a share of its largest value: 1 where all places are visited alike."""
    share = visits[visits > 0] / visits.sum()
    return float(-(share * np.log(share)).sum() / np.log(len(visits)))


def _round(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
