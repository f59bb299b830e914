"""One set of colours and names for the video and the dashboard.

Colours are written as RGB hex and given to OpenCV as BGR by `bgr`.  The gate's ladder goes from green to dark red.
"""

from __future__ import annotations

import numpy as np

INK = "#1f2933"
SOFT_INK = "#66727f"
PAPER = "#ffffff"
FLOOR = "#f4f2ec"
UNSEEN_WALL = "#cfcac0"
SEEN_WALL = "#3d4752"
SCAN = "#0e9aa7"
ROUTE = "#7a5cc0"
PLAN = "#1259c3"
TRAIL = "#8fb4e8"
ROBOT = "#1259c3"
GOAL = "#1b9e4b"
PERSON = "#e8730c"
INFEASIBLE = "#d62828"
SURPRISE = "#b5179e"
WALL = "#8b1e3f"
LOW_ENERGY = "#1b9e4b"
HIGH_ENERGY = "#f2c12e"

GATE_LEVELS = ("OK", "LIMIT", "STOP", "EMERGENCY", "LATCHED")
GATE_COLOURS = {"OK": "#1b9e4b", "LIMIT": "#d99a00", "STOP": "#e8730c", "EMERGENCY": "#d62828", "LATCHED": "#8b1020"}
GATE_MEANING = {
    "OK": "the command passes unchanged",
    "LIMIT": "the command is slowed",
    "STOP": "comfortable stop",
    "EMERGENCY": "emergency stop",
    "LATCHED": "stopped until reset",
}
OBJECTIVE_COLOURS = ("#1259c3", "#e8730c", "#7a5cc0", "#1b9e4b", "#b5487a", "#0e9aa7", "#8d6e2f", "#66727f")


def energy_bgr(share: np.ndarray) -> np.ndarray:
    """Colours [n, 3] (BGR) of energies [n] from 0 (least) to 1 (most)."""
    share = np.clip(np.asarray(share, float), 0, 1)[:, None]
    return np.round((1 - share) * bgr(LOW_ENERGY) + share * np.array(bgr(HIGH_ENERGY))).astype(int)


def bgr(colour: str) -> tuple[int, int, int]:
    """ "#rrggbb" as OpenCV's (blue, green, red)."""
    return int(colour[5:7], 16), int(colour[3:5], 16), int(colour[1:3], 16)


def gate_level(value) -> str:
    """A level given as a name (any case, with or without a prefix) or a number, as one of GATE_LEVELS; OK when unknown."""
    words = str(value).rsplit(".", 1)[-1].upper()
    if words in GATE_LEVELS:
        return words
    try:
        return GATE_LEVELS[min(max(int(float(value)), 0), len(GATE_LEVELS) - 1)]
    except (TypeError, ValueError):
        return "OK"
