import numpy as np

from objective_agent.learning.coverage import BINS, coverage, table


def columns(steps=20_000, seed=0, speed=0.3, clearance=0.4):
    random = np.random.default_rng(seed)
    velocity = np.stack([random.normal(speed, 0.25, steps), random.normal(0, 0.7, steps)], 1).astype(np.float32)
    near = np.abs(random.normal(0, clearance, steps)).astype(np.float32)
    return {
        "velocity": velocity,
        "clearance": near,
        "people": np.where(random.random(steps) < 0.5, np.nan, random.uniform(0, 3, steps)).astype(np.float32),
        "motion": np.repeat(np.concatenate([velocity, velocity], 1)[:, None], 8, 1),
        "pose": np.cumsum(random.normal(0, 0.1, (steps, 3)), 0).astype(np.float32),
        "episode": np.repeat(np.arange(steps // 100), 100),
    }


def meta(steps=20_000, worlds=100):
    return {
        "episodes": [{"rows": [0, steps], "condition": "apartment"}],
        "split": {"train": list(range(worlds)), "val": [worlds]},
        "missing": {"scans": 0.0, "images": 0.0},
    }


def test_wide_data_are_fair():
    report = coverage(columns(), 0.2, meta())
    assert report["warnings"] == [] and "coverage: fair" in table(report)
    for name in BINS:
        assert abs(sum(report["histograms"][name]["shares"]) - 1) < 0.01


def test_what_is_too_rare_is_one_line_each():
    poor = columns(500, speed=0.0) | {"clearance": np.full(500, 0.9, np.float32)}
    poor["velocity"] = np.zeros((500, 2), np.float32)
    report = coverage(poor, 0.2, meta(500, worlds=3))
    text = " | ".join(report["warnings"])
    for word in ("minutes", "training worlds", "near misses", "faster than", "turning left", "standing still", "backwards"):
        assert word in text
    assert all("\n" not in line for line in report["warnings"]) and "warning: " in table(report)


def test_shares_are_of_what_is_known():
    given = columns()
    given["clearance"] = np.where(np.arange(20_000) < 10_000, np.nan, 0.05).astype(np.float32)
    given["people"] = np.full(20_000, np.nan, np.float32)
    report = coverage(given, 0.2, meta())
    assert report["shares"]["near_misses"] == 1.0 and report["shares"]["close_to_people"] == 0.0
    assert report["histograms"]["people"]["shares"] == [] and table(report)


def test_commands_that_are_not_followed_are_seen():
    given = columns()
    given["motion"] = given["motion"].copy()
    given["motion"][:10_000, :, 2] += 0.3
    assert abs(coverage(given, 0.2, meta())["shares"]["commands_not_followed"] - 0.5) < 0.02
