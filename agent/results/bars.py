"""What was asked for, read from results/bars.yaml, and whether it was reached: a plain yes, no, or not measured.

A criterion looks at the figure that was measured, not at the end of its interval; the interval stands beside it in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import TypeAdapter, ValidationError, model_validator

from objective_agent.config import Strict
from objective_agent.results.evaluations import AGENT, Condition, Row, common
from objective_agent.types import ConfigurationError

LIMITS = ("at_least", "at_most", "difference_at_least", "ratio_at_most")
LEVELS = ("pass", "stretch")


class Criterion(Strict):
    measure: Literal["success", "contacts", "contacts_moving", "planning_p50", "ego_motion_10", "promises"]
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    difference_at_least: float | None = None
    ratio_at_most: float | None = None

    @model_validator(mode="after")
    def _one_limit(self):
        given = [name for name in LIMITS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(LIMITS)}")
        if (self.against is not None) != (given[0] in LIMITS[2:]):
            raise ValueError(f"{given[0]} {'needs' if self.against is None else 'has no'} against: ROW")
        return self


Bars = dict[str, dict[Literal["pass", "stretch"], list[Criterion]]]


@dataclass(frozen=True)
class Verdict:
    """`met` is None where something was not measured; `asked` and `found` are for people."""

    level: str
    asked: str
    found: str
    met: bool | None


def load_bars(path: Path) -> Bars:
    """The criteria per condition and level.  ConfigurationError when the file can't be used; none when there is none."""
    if not path.exists():
        return {}
    try:
        return TypeAdapter(Bars).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: can't be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: {where}: {first['msg']}; see the comment at the file's top") from None


def judge(criteria: Mapping[str, list[Criterion]], condition: Condition | None, ego_motion: tuple[float, float] | None):
    """A Verdict per criterion; `ego_motion`: the learned and the analytic error of the model that drove, m."""
    return [_judge(level, one, condition, ego_motion) for level in LEVELS for one in criteria.get(level, [])]


def _judge(level: str, criterion: Criterion, condition: Condition | None, ego_motion) -> Verdict:
    values = _values(criterion, condition, ego_motion)
    asked = _asked(criterion)
    if values is None:
        return Verdict(level, asked, "not measured", None)
    mine, theirs = values
    text = FORMATS[criterion.measure]
    found = text(mine) if theirs is None else f"{text(mine)} against {text(theirs)}"
    if criterion.at_least is not None:
        return Verdict(level, asked, found, mine >= criterion.at_least - 1e-9)
    if criterion.at_most is not None:
        return Verdict(level, asked, found, mine <= criterion.at_most + 1e-9)
    if criterion.difference_at_least is not None:
        difference = mine - theirs
        found += f": {100 * difference:+.1f} points"
        return Verdict(level, asked, found, difference >= criterion.difference_at_least - 1e-9)
    if theirs > 0:
        found += f": {mine / theirs:.2f} x"
    return Verdict(level, asked, found, mine <= criterion.ratio_at_most * theirs + 1e-9)


def _values(criterion: Criterion, condition: Condition | None, ego_motion) -> tuple[float, float | None] | None:
    """(the agent's figure, the other row's) on the same episodes; None when one of them was not measured."""
    if criterion.measure == "ego_motion_10":
        return ego_motion
    if condition is None or AGENT not in condition.rows:
        return None
    if criterion.measure == "promises":
        kept = [of["kept"] for of in condition.promises.values() if of.get("kept") is not None]
        return (min(kept), None) if kept else None
    mine = condition.rows[AGENT]
    if criterion.against is None:
        value = _figure(criterion.measure, mine)
        return None if value is None else (value, None)
    if criterion.against not in condition.rows:
        return None
    mine, theirs = common(mine, condition.rows[criterion.against])
    values = _figure(criterion.measure, mine), _figure(criterion.measure, theirs)
    return None if None in values else values


def _figure(measure: str, row: Row) -> float | None:
    if measure == "planning_p50":
        return row.planning_ms.get("p50")
    if not row.index:
        return None
    return sum(row.success) / len(row.index) if measure == "success" else sum(getattr(row, measure))


NAMES = {
    "success": "success",
    "contacts": "contacts",
    "contacts_moving": "contacts while moving",
    "planning_p50": "planning time p50",
    "ego_motion_10": "ego-motion error at 10 steps",
    "promises": "promises of selected plans kept",
}
FORMATS = {
    "success": lambda value: f"{100 * value:.1f} %",
    "contacts": lambda value: f"{value:.0f}",
    "contacts_moving": lambda value: f"{value:.0f}",
    "planning_p50": lambda value: f"{value:.1f} ms",
    "ego_motion_10": lambda value: f"{100 * value:.1f} cm",
    "promises": lambda value: f"{100 * value:.1f} %",
}


def _asked(criterion: Criterion) -> str:
    name, text = NAMES[criterion.measure], FORMATS[criterion.measure]
    if criterion.at_least is not None:
        return f"{name} >= {text(criterion.at_least)}"
    if criterion.at_most is not None:
        return f"{name} {'= 0' if criterion.at_most == 0 else f'<= {text(criterion.at_most)}'}"
    if criterion.difference_at_least is not None:
        points = 100 * criterion.difference_at_least
        side = f"at least {points:.0f} points above" if points > 0 else f"at most {-points:.0f} points below"
        return f"{name} {side} `{criterion.against}`"
    return f"{name} <= {criterion.ratio_at_most:g} x `{criterion.against}`'s"
