"""Results of evaluate, made by hand: what they must come to is known."""

from __future__ import annotations

MODEL = "ab" * 32


def evaluation(rows: dict[str, list[dict | bool]], task="apartment", seed=1, model=MODEL, **more) -> dict:
    """The full form of a result whose rows are lists of outcomes: True, False, or what differs from a plain success."""
    count = len(next(iter(rows.values())))
    episodes = [
        {
            "index": index,
            "world": f"apartment-{1000 + index}",
            "start": [0.1 * index, 0.0, 0.0],
            "goal": [2.0, 0.5],
            "blocked": index % 2 == 1,
            "already_solved": 0,
            "rows": {name: outcome(told[index]) for name, told in rows.items()},
            "timing": {"seconds": 1.0},
        }
        for index in range(count)
    ]
    return {
        "task": task,
        "model": model,
        "episodes": count,
        "seed": seed,
        "optimizer": "mppi",
        "parameters_digest": "0",
        "hardware": {"cpu": "A Processor", "cores": 2, "python": "3.11", "torch": "2"},
        "planning_ms": {"p50": 30.0, "p99": 70.0},
        "deadline_misses": 3,
        "rows": {},
        "baselines": {},
        "already_solved": 4,
        "per_episode": episodes,
        **more,
    }


def outcome(told: dict | bool) -> dict:
    success = told if isinstance(told, bool) else told.get("success", True)
    row = {
        "success": success,
        "seconds": 10.0 if success else 60.0,
        "distance": 0.2,
        "travelled": 3.0,
        "contacts": 0,
        "contacts_moving": 0,
        "gate_ticks": 100,
        "gate_held": 3,
        "gate_stops": {},
        "track": [[0.0, 0.0]] * 500,
        "decisions": 100,
        "braking": 0,
        "guardrail_violations": 0,
    }
    return row if isinstance(told, bool) else row | told


def card(model=MODEL, learned=0.05, analytic=0.12) -> dict:
    def part(position: float) -> dict:
        at = {"position": position, "analytic_position": analytic, "heading": 0.1, "analytic_heading": 0.2}
        at |= {"clearance_near": 0.03, "people_near": None, "spread": 0.0}
        return {"windows": 10, "worlds": 2, "coverage": {}, "step_1": at, "step_10": at}

    return {
        "name": "made",
        "command": "objective-agent train",
        "seed": 0,
        "threads": 1,
        "training": {"steps": 10, "minutes": 1.0},
        "data": {"worlds": {"train": 5}},
        "metrics": {"views": {"all": part(learned)}, "conditions": {"apartment_slip": part(learned)}},
        "calibration": {"margins": {"clearance": [0.1], "people": [0.2]}},
        "sha256": {"encoder": "cd" * 32, "predictor": model},
    }


def ablations(**values: float) -> dict:
    """A result of `bench ablations`: name -> position error at every step and condition; `base_0` and `base_1` are the base."""
    runs = {}
    for name, value in values.items():
        at = {"position": value, "analytic_position": 0.5, "clearance_near": value, "people_near": None}
        view = dict.fromkeys(("step_1", "step_5", "step_10"), at) | {"range_log_error_ahead": value}
        runs[name] = {
            "group": "base" if name.startswith("base") else "history",
            "label": name,
            "seed": 0,
            "steps": 100,
            "cpu_minutes": 1.5,
            "meter": {"rank": 20.0, "std": 1.0, "relative": 0.3},
            "figures": {"all": view, "camera": view, "condition apartment_slip": view},
        }
    return {
        "kind": "ablations",
        "steps": 100,
        "batch": 64,
        "data": {"windows": 500, "worlds": {"train": 50, "held_out": 10}},
        "hardware": {"cpu": "A Processor", "torch": "2"},
        "runs": runs,
    }
