"""Evaluations as files that are small enough to keep: one array per row and figure, and rows of several files put together.

The compact form holds, per controller, whether each episode was solved, when, and with how many contacts; tracks and planning
times of single decisions are left out.  Rows of different files may stand in one table only when their episodes are the same
ones: same task and seed, and for every index the same world, start and goal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from objective_agent.types import InputError

KIND = "evaluation"
AGENT = "agent"
PER_EPISODE = ("success", "seconds", "contacts", "contacts_moving")
SUMS = ("gate_ticks", "gate_held", "decisions", "braking", "guardrail_violations")
HABITS = ("per_episode_ms", "modes", "planning_share")
"""Of rows where habits may act (`results/habits.py`): planning time, who acted, and the share of the agent's planning time."""

ABOUT = ("task", "model", "seed", "optimizer", "command", "parameters_digest", "hardware")


@dataclass(frozen=True)
class Row:
    """One controller on episodes `index` [n]; tuples are [n]; `sums` over all episodes, `planning_ms` over all decisions."""

    name: str
    index: tuple[int, ...]
    success: tuple[bool, ...]
    seconds: tuple[float, ...]
    contacts: tuple[int, ...]
    contacts_moving: tuple[int, ...]
    sums: dict[str, int]
    planning_ms: dict[str, float | None]
    deadline_misses: int | None


@dataclass(frozen=True)
class Evaluation:
    """All rows that were run on the same episodes; `episodes`: index -> (world, start, goal, blocked)."""

    source: str
    about: dict[str, Any]
    episodes: dict[int, tuple]
    already_solved: int
    rows: dict[str, Row]
    promises: dict[str, dict]
    """What became of the promises of the agent's plans: as `learning.promises` sums it up."""

    @property
    def key(self) -> tuple[str, int]:
        return self.about["task"], self.about["seed"]


def compact(result: dict) -> dict:
    """The compact form of an `evaluate` result; one that is compact already stays as it is."""
    if result.get("kind") == KIND:
        return result
    records = sorted(result["per_episode"], key=lambda record: record["index"])
    top = {key: result.get(key) for key in ("planning_ms", "deadline_misses", *HABITS)}
    timed = {AGENT: top, **result.get("rows", {})}
    return {
        "kind": KIND,
        **{key: result.get(key) for key in ABOUT},
        "episodes": {
            "index": [record["index"] for record in records],
            "world": [record["world"] for record in records],
            "start": [[round(value, 3) for value in record["start"]] for record in records],
            "goal": [[round(value, 3) for value in record["goal"]] for record in records],
            "blocked": [int(record["blocked"]) for record in records],
        },
        "already_solved": result.get("already_solved", 0),
        "promises": result.get("promises") or {},
        "rows": {name: _compact_row(name, records, timed.get(name, {})) for name in records[0]["rows"]} if records else {},
    }


def _compact_row(name: str, records: Sequence[dict], timed: dict) -> dict:
    rows = [record["rows"][name] for record in records]
    return {
        "success": [int(row["success"]) for row in rows],
        "seconds": [round(row["seconds"], 2) for row in rows],
        "contacts": [row["contacts"] for row in rows],
        "contacts_moving": [row["contacts_moving"] for row in rows],
        "sums": {key: sum(row[key] for row in rows) for key in SUMS if key in rows[0]},
        "planning_ms": timed.get("planning_ms"),
        "deadline_misses": timed.get("deadline_misses"),
        **{key: timed[key] for key in HABITS if timed.get(key) is not None},
    }


def parse(result: dict, source: str) -> Evaluation:
    """The Evaluation of a result file's content, full or compact.  InputError when something is missing or does not fit."""
    try:
        found = compact(result)
        about = {key: found.get(key) for key in ABOUT}
        table = found["episodes"]
        index = tuple(int(value) for value in table["index"])
        columns = (table["world"], map(tuple, table["start"]), map(tuple, table["goal"]), map(bool, table["blocked"]))
        episodes = dict(zip(index, zip(*columns, strict=True), strict=True))
        rows = {name: _row(name, index, row) for name, row in found["rows"].items()}
        if not index or not rows or not isinstance(about["task"], str) or not isinstance(about["seed"], int):
            raise ValueError("no episodes, no rows, no task or no seed")
        return Evaluation(source, about, episodes, int(found["already_solved"]), rows, dict(found.get("promises") or {}))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{source}: is no complete result of evaluate ({text}); evaluate again, or remove the file") from None


def _row(name: str, index: tuple[int, ...], row: dict) -> Row:
    columns = {key: tuple(row[key]) for key in PER_EPISODE}
    for key, values in columns.items():
        if len(values) != len(index):
            raise ValueError(f"row {name}: {len(values)} values of {key} for {len(index)} episodes")
    columns["success"] = tuple(bool(value) for value in columns["success"])
    planning = row.get("planning_ms") or {}
    return Row(
        name, index, **columns, sums=row.get("sums") or {}, planning_ms=planning, deadline_misses=row.get("deadline_misses")
    )


def renamed(result: dict, names: dict[str, str]) -> dict:
    """A compact result with some rows called otherwise, so that they can stand beside rows of the same name."""
    unknown = sorted(set(names) - set(result["rows"]))
    if unknown:
        raise InputError(f"no row {', '.join(unknown)}; there are {', '.join(result['rows'])}")
    rows = {names.get(name, name): row for name, row in result["rows"].items()}
    if len(rows) < len(result["rows"]):
        raise InputError("two rows would have the same name")
    return result | {"rows": rows}


@dataclass(frozen=True)
class Condition:
    """All rows of one task and seed, from all files; rows may cover fewer episodes than there are."""

    task: str
    seed: int
    evaluations: tuple[Evaluation, ...]
    rows: dict[str, Row]

    @property
    def episodes(self) -> dict[int, tuple]:
        return {index: episode for part in self.evaluations for index, episode in part.episodes.items()}

    @property
    def already_solved(self) -> int:
        return max(part.already_solved for part in self.evaluations)

    @property
    def promises(self) -> dict[str, dict]:
        """Of the file that followed most plans."""
        found = [part.promises for part in self.evaluations if part.promises]
        return max(found, key=lambda kept: max(of["plans"] for of in kept.values()), default={})


def merge(evaluations: Sequence[Evaluation]) -> list[Condition]:
    """The conditions by task and seed.  InputError where files contradict each other."""
    found = []
    for key in sorted({evaluation.key for evaluation in evaluations}):
        parts = tuple(sorted((part for part in evaluations if part.key == key), key=lambda part: part.source))
        for one, other in combinations(parts, 2):
            _check(one, other)
        rows: dict[str, Row] = {}
        for part in parts:
            for name, row in part.rows.items():
                if name not in rows or len(row.index) > len(rows[name].index):
                    rows[name] = row
        found.append(Condition(*key, parts, rows))
    return found


def _check(one: Evaluation, other: Evaluation) -> None:
    """Raises InputError unless both ran the same episodes, and rows in both went alike."""
    files, mend = f"{one.source} and {other.source}", "evaluate one of them again with the code of the other"
    common = sorted(one.episodes.keys() & other.episodes.keys())
    if not common:
        raise InputError(f"{files}: have no episode in common; {mend}")
    for index in common:
        for what, mine, theirs in zip(("world", "start", "goal"), one.episodes[index], other.episodes[index], strict=False):
            if mine != theirs:
                raise InputError(f"{files}: episode {index} has another {what} ({mine} and {theirs}); {mend}")
    mend = "evaluate again, or tell them apart with results --compact IN OUT --rename ROW=NAME"
    if AGENT in one.rows and AGENT in other.rows and one.about["model"] != other.about["model"]:
        raise InputError(f"{files}: the row agent is of model {one.about['model']} and {other.about['model']}; {mend}")
    for name in sorted(one.rows.keys() & other.rows.keys()):
        mine, theirs = outcomes(one.rows[name]), outcomes(other.rows[name])
        for index in common:
            if index in mine and index in theirs and mine[index] != theirs[index]:
                raise InputError(f"{files}: row {name} went differently in episode {index}; {mend}")


def outcomes(row: Row) -> dict[int, tuple]:
    """Index -> (success, seconds, contacts, contacts while moving)."""
    columns = (row.success, row.seconds, row.contacts, row.contacts_moving)
    return dict(zip(row.index, zip(*columns, strict=True), strict=True))


def common(row: Row, other: Row) -> tuple[Row, Row]:
    """Both rows on the episodes that both ran."""
    both = sorted(set(row.index) & set(other.index))
    return _only(row, both), _only(other, both)


def _only(row: Row, index: list[int]) -> Row:
    """The row on some of its episodes (its sums and times are still those of all)."""
    at = [row.index.index(number) for number in index]
    return replace(row, index=tuple(index), **{key: tuple(getattr(row, key)[i] for i in at) for key in PER_EPISODE})
