"""The benchmarks' part of the page: what was asked, every controller on the same held-out episodes, and what others report.

Figures of papers stand in a table of their own, with their protocol beside them: rows of two protocols are not comparable, and
nothing here puts them in one column.  Several files of one task and seed are the same episodes under models from other training
seeds; the agent then has a row for each, and one for all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from objective_agent.config import Strict
from objective_agent.results import habits
from objective_agent.results.statistics import paired, wilson
from objective_agent.types import ConfigurationError, InputError

KIND = "benchmark"
AGENT = "agent"
ORDER = (AGENT, "no_stuck", "l2", "shuffled", "straight_line", "random", "zero")
KEPT = (
    "task",
    "model",
    "seed",
    "already_solved",
    "push_test",
    "protocol",
    "settings",
    "digest",
    "hardware",
    "command",
    "training",
)
FIGURES = ("planning_ms", "stuck_share", "per_episode_ms", "planning_share", "modes")
"""Of a row, kept as they are."""

TASKS = ("two_room", "two_room_random", "maze", "maze_random", "wall", "wall_random", "point_maze", "push_t")

INTRO = """Goals are images; what counts as success, the budgets and what is held out stand in [benchmarks.md](benchmarks.md).
`agent` plans with the model; `no_stuck` is the agent without the stuck rule, `l2` without the learned steps to go, `shuffled`
shown another moment instead of the present one; `straight_line` knows the true state. Intervals are Wilson's, 95 %. `detours`:
episodes whose goal a straight line doesn't reach. `steps`: steps taken by the shortest way's, median over solved episodes.
Planning times are of whole decisions on one thread. Push test: the share of pushes that a wall stopped which the model
imagines beyond the wall, and of pushes through an opening which it imagines through it."""


class Published(Strict):
    """A figure that a paper or repository reports, and under which protocol."""

    who: str
    success: str
    protocol: str
    source: str


class Asked(Strict):
    """What a task's result must show; shares of 1, milliseconds."""

    success: float = Field(ge=0, le=1)
    stretch: float | None = Field(None, ge=0, le=1)
    of: str = Field("all", pattern="^(all|detours)$")
    planning_p50: float | None = Field(None, gt=0)
    push: float | None = Field(None, ge=0, le=1)


class About(Strict):
    """One task's section of results/benchmarks.yaml."""

    asked: Asked | None = None
    published: tuple[Published, ...] = ()
    note: str = ""


def load_about(path: Path) -> dict[str, About]:
    """results/benchmarks.yaml: task -> About; nothing when there is no such file.  ConfigurationError when it is damaged."""
    if not path.exists():
        return {}
    try:
        return TypeAdapter(dict[str, About]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: can't be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def is_benchmark(content: Mapping[str, Any]) -> bool:
    return content.get("kind") == KIND


def compact(result: dict) -> dict:
    """A result with one array per row and figure; one that is compact already stays as it is."""
    if "per_episode" not in result:
        return result
    records = sorted(result["per_episode"], key=lambda record: record["index"])
    names = list(result["rows"])
    return {
        "kind": KIND,
        **{key: result.get(key) for key in KEPT},
        "episodes": {
            "index": [record["index"] for record in records],
            "layout": [record["layout"] for record in records],
            "detour": [int(record["detour"]) for record in records],
            "shortest": [record["shortest"] for record in records],
        },
        "rows": {
            name: {
                "success": [int(record["rows"][name]["success"]) for record in records],
                "steps": [record["rows"][name]["steps"] for record in records],
                **{key: result["rows"][name][key] for key in FIGURES if key in result["rows"][name]},
            }
            for name in names
        },
    }


def parse(content: dict, source: str) -> dict:
    """The compact form of a result file's content, with its `source`.  InputError when something is missing."""
    try:
        found = compact(content)
        count = len(found["episodes"]["index"])
        if not count or AGENT not in found["rows"] or not isinstance(found["task"], str):
            raise ValueError("no episodes, no agent's row or no task")
        columns = [row[name] for row in found["rows"].values() for name in ("success", "steps")]
        if any(
            len(column) != count for column in [*columns, *(found["episodes"][n] for n in ("layout", "detour", "shortest"))]
        ):
            raise ValueError("columns of different length")
        return found | {"source": source}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{source}: is no complete benchmark result ({text}); evaluate again, or remove the file") from None


def figures(found: dict, name: str) -> dict[str, Any]:
    """A row's figures: success, detours, steps by the shortest way's (median), planning times, against the agent."""
    row, episodes = found["rows"][name], found["episodes"]
    success = [bool(value) for value in row["success"]]
    detours = [value for value, detour in zip(success, episodes["detour"], strict=True) if detour]
    ratios = sorted(
        steps / max(1.0, shortest)
        for value, steps, shortest in zip(success, row["steps"], episodes["shortest"], strict=True)
        if value and shortest
    )
    return {
        "episodes": len(success),
        "solved": sum(success),
        "interval": wilson(sum(success), len(success)),
        "detours": len(detours),
        "detours_solved": sum(detours),
        "steps": ratios[len(ratios) // 2] if ratios else None,
        "planning_ms": row.get("planning_ms"),
        "stuck_share": row.get("stuck_share"),
        "paired": None if name == AGENT else paired([bool(v) for v in found["rows"][AGENT]["success"]], success),
    }


def section(results: Sequence[dict], about: Mapping[str, About]) -> list[str]:
    """The section's paragraphs and tables; nothing without results."""
    if not results:
        return []
    tasks: dict[str, list[dict]] = {}
    for found in sorted((one for one in results if not habits.has_habits(one)), key=_place):
        tasks.setdefault(found["task"], []).append(found)
    parts = ["## Benchmarks", INTRO, *_overview(tasks, about)]
    for task, of_task in tasks.items():
        parts += _task(task, of_task, about.get(task, About()))
    return parts


def _place(found: dict) -> tuple:
    task = found["task"]
    return TASKS.index(task) if task in TASKS else len(TASKS), task, _seed(found), found["source"]


def _seed(found: dict) -> int:
    return int((found.get("training") or {}).get("seed") or 0)


def judge(found: dict, asked: Asked) -> list[tuple[str, str, str, bool | None]]:
    """(bar, asked, measured, met) of a result; met is None for what was not measured."""
    agent, push = figures(found, AGENT), found.get("push_test")
    total, solved = (agent["episodes"], agent["solved"]) if asked.of == "all" else (agent["detours"], agent["detours_solved"])
    share = solved / total if total else None
    what = "success" if asked.of == "all" else "success on detours"
    lines = []
    for bar, least in (("pass", asked.success), ("stretch", asked.stretch)):
        if least is not None:
            lines.append(
                (bar, f"{what} >= {_percent(least)}", _percent(share), None if share is None else share >= least - 1e-9)
            )
    if asked.planning_p50 is not None:
        p50 = (agent["planning_ms"] or {}).get("p50")
        said = "" if p50 is None else f"{p50:.1f} ms"
        met = None if p50 is None else p50 <= asked.planning_p50
        lines.append(("pass", f"planning time p50 <= {asked.planning_p50:g} ms", said, met))
    if asked.push is not None:
        crossed = push["crossed"] if push else None
        met = None if crossed is None else crossed <= asked.push + 1e-9
        lines.append(("pass", f"push test <= {_percent(asked.push)}", _percent(crossed), met))
    return lines


def _overview(tasks: Mapping[str, list[dict]], about: Mapping[str, About]) -> list[str]:
    from objective_agent.results.render import markdown

    rows = []
    for task, of_task in tasks.items():
        asked = about.get(task, About()).asked
        for found in of_task if asked else ():
            for bar, wanted, measured, met in judge(found, asked):
                said = "not measured" if met is None else "met" if met else "**not met**"
                rows.append((f"`{task}`", str(_seed(found)), bar, wanted, measured, said))
    head = ("task", "training seed", "bar", "asked", "measured", "")
    return [markdown(head, rows, left=6)] if rows else []


def _task(task: str, results: list[dict], about: About) -> list[str]:
    from objective_agent.results.render import markdown

    first = results[0]
    count, solved = len(first["episodes"]["index"]), sum(found["already_solved"] for found in results)
    drawn = f"{count} episodes, seed {first['seed']}, {sum(first['episodes']['detour'])} of them with a detour; already solved "
    drawn += f"(left out): {solved}. " + _protocol(first["protocol"])
    rows = [line for found in results for line in _lines(found, several=len(results) > 1)]
    if len(results) > 1:
        rows.append(_together(results))
    head = ("controller", "success (95 %)", "detours", "steps", "planning p50 / p99", "stuck", "agent - it", "p")
    parts = [f"### `{task}`", drawn, *([about.note] if about.note else []), markdown(head, rows, left=1)]
    pushed = [_push(found, len(results) > 1) for found in results if found.get("push_test")]
    parts += ["\n".join(pushed)] if pushed else []
    if about.published:
        lines = [(one.who, one.success, one.protocol, one.source) for one in about.published]
        parts += [
            "Reported by others, under protocols of their own:",
            markdown(("who", "success", "protocol", "source"), lines, left=4),
        ]
    return [*parts, "\n".join(_origin(found) for found in results)]


def _protocol(protocol: Mapping[str, Any]) -> str:
    said = [f"{name.replace('_', ' ')}: {protocol[name]}" for name in ("budget", "pairs", "held_out") if protocol.get(name)]
    said.append(f"tolerance {protocol.get('tolerance')} {protocol.get('tolerance_units', '')}".strip())
    return "; ".join(said) + "."


def _lines(found: dict, several: bool) -> list[tuple[str, ...]]:
    known = sorted(found["rows"], key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    lines = []
    for name in known:
        of = figures(found, name)
        versus = of["paired"]
        label = f"**`{name}`**" if name == AGENT else f"`{name}`"
        planning = of["planning_ms"]
        lines.append(
            (
                label + (f", training seed {_seed(found)}" if several else ""),
                _share(of["solved"], of["episodes"]),
                f"{of['detours_solved']}/{of['detours']}",
                "-" if of["steps"] is None else f"{of['steps']:.2f}",
                "-" if not planning else f"{planning['p50']:.1f} / {planning['p99']:.1f} ms",
                _percent(of["stuck_share"]),
                "" if versus is None else f"{100 * versus['difference']:+.1f}",
                "" if versus is None else ("< 0.001" if versus["p"] < 0.001 else f"{versus['p']:.2g}"),
            )
        )
    return lines


def _together(results: Sequence[dict]) -> tuple[str, ...]:
    """All training seeds' agents as one row; its interval is over episodes, the seeds' spread stands in the rows above."""
    of = [figures(found, AGENT) for found in results]
    total, solved = sum(one["episodes"] for one in of), sum(one["solved"] for one in of)
    detours = f"{sum(one['detours_solved'] for one in of)}/{sum(one['detours'] for one in of)}"
    return (f"`agent`, all {len(of)} training seeds", _share(solved, total), detours, "", "", "", "", "")


def _push(found: dict, several: bool) -> str:
    push = found["push_test"]
    seed = f", training seed {_seed(found)}" if several else ""
    return (
        f"- Push test{seed}: {_percent(push['crossed'])} of {push['pushes']} stopped pushes imagined beyond the wall, "
        f"{_percent(push['passed'])} of {push['openings']} through an opening; read-out R2 {push['probe_r2']:.3f}."
    )


def _origin(found: dict) -> str:
    machine, training = found.get("hardware") or {}, found.get("training") or {}
    trained = f", trained in {training['minutes']:.0f} min with seed {_seed(found)}" if training.get("minutes") else ""
    return (
        f"- `{found['source']}`: model sha256 `{str(found['model'])[:16]}`{trained}: `{found.get('command')}`. Machine: "
        f"{machine.get('cpu')}, {machine.get('cores')} cores, Python {machine.get('python')}, torch {machine.get('torch')}."
    )


def _share(solved: int, total: int) -> str:
    low, high = wilson(solved, total)
    return f"{_percent(solved / total if total else None)} ({100 * low:.1f}-{100 * high:.1f})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def as_numbers(results: Sequence[dict]) -> list[dict[str, Any]]:
    """The section's main figures for machines."""
    return [
        {"task": found["task"], "seed": found["seed"], "model": found["model"], "push_test": found.get("push_test")}
        | {"rows": {name: figures(found, name) for name in found["rows"]}}
        for found in sorted(results, key=_place)
    ]
