"""What each regularizer, and each thing left out, makes of a toy world with known state: the tables of docs/regularizers.md."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where benchmarks/ lies

from benchmarks.pushed_disc import Trained, collect
from objective_agent.learning.loop import CollapseError

HELP = "regularizers of image world models on a toy world: some three minutes of one core"
STEPS, EPISODES, LAYOUTS = 250, 400, 100
PLAIN = {
    "vicreg": {"name": "vicreg"},
    "vicreg, time similarity": {"name": "vicreg", "similarity": 1.0},
    "vicreg, rollouts of 1 step in training": {"name": "vicreg", "rollout": 1},
    "vicreg, no inverse dynamics": {"name": "vicreg", "inverse": 0.0},
    "sigreg": {"name": "sigreg"},
    "sigreg, no batch normalisation": {"name": "sigreg", "batch_norm": False},
    "ema, tubes": {"name": "ema"},
    "ema, patches": {"name": "ema", "masking": {"kind": "patches"}},
    "ema, no masks (BYOL)": {"name": "ema", "masking": {"kind": "none"}},
    "ema, no inverse dynamics": {"name": "ema", "inverse": 0.0},
    "ema, no batch normalisation": {"name": "ema", "batch_norm": False},
    "ema, neither": {"name": "ema", "inverse": 0.0, "batch_norm": False},
    "none": {"name": "none"},
    "none, no inverse dynamics": {"name": "none", "inverse": 0.0},
}
LAYERED = {
    "vicreg": {"name": "vicreg"},
    "vicreg, within_layout": {"name": "vicreg", "within_layout": True},
    "sigreg": {"name": "sigreg"},
    "ema, tubes": {"name": "ema"},
}
COLUMNS = ("r2", "one", "all", "inverse", "rank", "std", "collapsed")


def rows(cases: dict, layouts: int) -> list[dict]:
    data, unseen = collect(EPISODES, 20, 0, layouts), collect(80, 20, 9, 80 if layouts else 0)
    found = []
    for name, settings in cases.items():
        began = time.process_time()
        model = Trained(data, steps=STEPS, **settings)
        seconds, health = time.process_time() - began, model.health(unseen)
        try:
            health.refuse(STEPS)
            collapsed = False
        except CollapseError:
            collapsed = True
        row = {"case": name, "layouts": layouts, "seconds": round(seconds, 1), "collapsed": collapsed}
        found.append(row | {key: round(value, 4) for key, value in {**model.worth(data, unseen), **health.figures()}.items()})
        cells = [name, *(text(found[-1][column]) for column in COLUMNS)]
        print(f"| {' | '.join(cells)} |", file=sys.stderr, flush=True)
    return found


def text(value: float | bool) -> str:
    return ("yes" if value else "") if isinstance(value, bool) else f"{value:.3f}" if abs(value) < 2 else f"{value:.1f}"


def add_arguments(parser) -> None:
    pass


def main(args) -> dict:
    return {"steps": STEPS, "plain": rows(PLAIN, 0), "many layouts": rows(LAYERED, LAYOUTS)}
