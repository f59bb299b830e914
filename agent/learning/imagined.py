"""What was imagined from one recorded moment, beside what came: plain arrays, for figures and for pictures.

Arrays have H + 1 steps: the moment itself (step 0), then one for every `dt`.  K is the number of futures.  Poses are [x, y,
yaw] as seen from the robot at step 0; everything else is as seen from base_link at its own step.  Metres, radians.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from objective_agent.types import wrap_angle


@dataclass(frozen=True)
class Came:
    """What the recording says: `poses` [H + 1, 3]; `clearance`, `people` [H + 1] (NaN unknown); `ranges` [H + 1, 180] canonical
    (NaN unknown); `images` [H + 1, 64, 64, 3] uint8 with `has_image` [H + 1]; `places` [H + 1, P, 3] of the people whom the
    robot could know at step 0: x, y, gap to the body (NaN nobody)."""

    poses: np.ndarray
    clearance: np.ndarray
    people: np.ndarray
    ranges: np.ndarray
    images: np.ndarray
    has_image: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class Futures:
    """What K futures say comes of `actions` [H, 2].

    `poses` [K, H + 1, 3]; `clearance`, `people` and their 5 % quantiles `clearance_low`, `people_low` [K, H + 1] (no margin
    taken off); `log_ranges`, `log_scales` [K, H + 1, 36]; `analytic` [H + 1, 3]: the poses of a robot with the nominal limits
    and delay; `states` [K, H + 1, D]; `images` [H + 1, S, S, 3] uint8: the mean future through the decoder, None without one.
    """

    actions: np.ndarray
    poses: np.ndarray
    clearance: np.ndarray
    clearance_low: np.ndarray
    people: np.ndarray
    people_low: np.ndarray
    log_ranges: np.ndarray
    log_scales: np.ndarray
    analytic: np.ndarray
    states: np.ndarray
    images: np.ndarray | None = None

    def promised(self, name: str, margins: dict[str, np.ndarray]) -> np.ndarray:
        """[H + 1] what planning counts on: the worst future's 5 % quantile less the calibrated margin; NaN at step 0."""
        return getattr(self, f"{name}_low").min(0) - margins[name]


@dataclass(frozen=True)
class Moment:
    """One moment: where it is in the recording, what came, what was imagined under the commands really sent, and what-ifs.

    `seconds` since the episode's begin; `home`: "never seen in training", "a training home" or "" (not known);
    `representations` [H + 1, D]: what the encoder made of what came, with the same senses; `margins`: name ->
    [H + 1], NaN at step 0.
    """

    episode: int
    seconds: float
    world: str
    condition: str
    home: str
    dt: float
    came: Came
    futures: Futures
    representations: np.ndarray
    margins: dict[str, np.ndarray]
    what_if: dict[str, Futures] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.came.poses) - 1

    @property
    def times(self) -> np.ndarray:
        """[H + 1] seconds since the moment."""
        return self.dt * np.arange(self.steps + 1)

    def errors(self) -> dict[str, np.ndarray]:
        """Absolute errors [H + 1] of the mean over the futures, NaN where nothing is known of what came.

        `position` (m) and `heading` (rad) beside the analytic model's; `clearance`, `people` (m); `representation`: root mean
        square over the features, beside `unchanged`: that of a prophet who says that nothing will change.
        """
        came, futures = self.came, self.futures
        mean = futures.poses.mean(0)
        return {
            "position": _distance(mean, came.poses),
            "analytic_position": _distance(futures.analytic, came.poses),
            "heading": _turned(mean, came.poses),
            "analytic_heading": _turned(futures.analytic, came.poses),
            "clearance": np.abs(futures.clearance.mean(0) - came.clearance),
            "people": np.abs(futures.people.mean(0) - came.people),
            "representation": _rms(futures.states.mean(0) - self.representations),
            "unchanged": _rms(self.representations[0] - self.representations),
        }


def figures(moments: list[Moment]) -> list[dict]:
    """Per step from 1 on: `step`, `seconds` and, for every error, its `mean` and 95 % quantile `p95` over the moments.

    None where nothing is known of what came.
    """
    errors = [moment.errors() for moment in moments]
    steps = []
    for step in range(1, moments[0].steps + 1):
        at: dict = {"step": step, "seconds": round(step * moments[0].dt, 4)}
        for name in errors[0]:
            values = np.array([error[name][step] for error in errors])
            values = values[~np.isnan(values)]
            known = len(values) > 0
            at[name] = {
                "mean": round(float(values.mean()), 5) if known else None,
                "p95": round(float(np.quantile(values, 0.95)), 5) if known else None,
            }
        steps.append(at)
    return steps


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.hypot(*(one[:, :2] - other[:, :2]).T)


def _turned(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(wrap_angle(one[:, 2] - other[:, 2]))


def _rms(difference: np.ndarray) -> np.ndarray:
    return np.sqrt((difference.astype(np.float64) ** 2).mean(-1))
