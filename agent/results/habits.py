"""Mode-1's part of the page: is it as good as Mode-2 on the same episodes, at which share of its planning time, and who acted?

Not inferior: the 95 % interval of the difference in success lies above -3 points.  The rows come from results of `evaluate
--rows policy,adaptive`; such files have no place among the task's other results, whose agent is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from objective_agent.results.statistics import difference_interval, wilson
from objective_agent.types import MODES

AGENT = "agent"
MARGIN = 0.03
"""A difference in success that would matter."""

MOST = 0.15
"""Of Mode-2's planning time per episode: what is asked of `adaptive`."""

INTRO = """Success of the search alone (`agent`) and with habits ([mode1.md](mode1.md)) on the same episodes. Difference: to the
agent, with its 95 % interval (Tango 1998, for pairs); not inferior: all of it above -3 points.
Planning time: per episode, from representation to action, without the encoder (of the robot: processor time of its planner)."""


def has_habits(found: dict) -> bool:
    """Whether a compact result is about habits."""
    return any(name in MODES and "planning_share" in row for name, row in found["rows"].items())


def section(results: Sequence[dict]) -> list[str]:
    """The section's paragraphs and table; nothing without results."""
    from objective_agent.results.render import markdown

    rows = [line for found in sorted(results, key=lambda one: (one["task"], one["source"])) for line in _lines(found)]
    if not rows:
        return []
    head = ("task", "controller", "success (95 %)", "difference", "not inferior", "planning ms", "of the agent's", "who acted")
    files = [f"- `{found['source']}`: `{found.get('command')}`." for found in results]
    return ["## Habits", INTRO, markdown(head, rows, left=2), "\n".join(files)]


def _lines(found: dict) -> list[tuple[str, ...]]:
    agent = [bool(value) for value in found["rows"][AGENT]["success"]]
    lines = []
    for name in (AGENT, *MODES):
        row = found["rows"].get(name)
        if row is None or "per_episode_ms" not in row:
            continue
        success = [bool(value) for value in row["success"]]
        low, high = wilson(sum(success), len(success))
        against, verdict, share = "", "", row.get("planning_share")
        if name != AGENT:
            least, most = difference_interval(success, agent)
            against = f"{100 * (sum(success) - sum(agent)) / len(agent):+.1f} ({100 * least:+.1f} to {100 * most:+.1f})"
            verdict = "yes" if least > -MARGIN else "**no**"
        shares = ", ".join(f"{mode} {100 * part:.1f} %" for mode, part in row["modes"].items())
        of_agent = "" if share is None else f"{100 * share:.1f} %"
        if name == "adaptive" and share is not None and share > MOST:
            of_agent = f"**{of_agent}**"
        lines.append(
            (f"`{found['task']}`", f"`{name}`", f"{100 * sum(success) / len(success):.1f} % ({100 * low:.1f}-{100 * high:.1f})",
             against, verdict, f"{row['per_episode_ms']['planning']:.1f}", of_agent, shares)
        )  # fmt: skip
    return lines
