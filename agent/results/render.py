"""The results page: one table per condition, what was asked for, the models' figures and the ablations, as Markdown.

The text is a function of the files alone: nothing in it changes by itself, so a test can tell that page and files agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from objective_agent.results import benchmarks, cards, expectations, habits
from objective_agent.results.bars import Bars, Verdict, judge
from objective_agent.results.benchmarks import About
from objective_agent.results.evaluations import AGENT, Condition, Evaluation, Row, common
from objective_agent.results.statistics import paired, wilson

ORDER = (
    AGENT, "agent_without_gate", "analytic", "analytic_without_gate", "shuffled", "no_route", "mean_futures", "no_history",
    "map_pursuit", "straight_line", "random", "zero",
)  # fmt: skip
CONDITIONS = ("apartment", "apartment_camera", "apartment_people", "apartment_slip")
SUCCESS_RADIUS, SECONDS = "0.30 m", "60 s"

HEAD = """# Results

Written by `objective-agent results` from the files in `results/`; a test checks that it agrees with them. What the rows and
figures mean, and the whole protocol, stands in [evaluation.md](evaluation.md); how a model is trained in
[learning.md](learning.md)."""

PROTOCOL = f"""## How it was measured

- Every episode is a generated apartment that no training uses, with a start and a goal drawn in it; in every second one, at
  least, furniture or a wall blocks the straight line. Success: within {SUCCESS_RADIUS} of the goal inside {SECONDS} of
  simulated time. A contact ends nothing and is counted. Starts that are solved already are left out.
- All controllers run the same episodes, behind the same safety gate (but for the rows `..._without_gate`). The simulated
  latency of a decision is the actor's whole deadline.
- The interval is Wilson's, 95 %. `agent - it` is the agent's success less the row's, in points; p is the exact two-sided sign
  test over the episodes that only one of the two solved.
- `misses`: decisions that took longer than the deadline on the machine named, and their share; planning times are of whole
  decisions (perception to command). `gate held`: share of gate ticks at which the gate kept the robot from moving as asked;
  every start has a few, while it waits for fresh messages.
- A bar is met by the figure that was measured; how sure that is, the interval tells."""


@dataclass
class Material:
    """All that the page is made of."""

    conditions: list[Condition] = field(default_factory=list)
    models: list[dict] = field(default_factory=list)
    ablations: list[dict] = field(default_factory=list)
    bars: Bars = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    benchmarks: list[dict] = field(default_factory=list)
    about_benchmarks: dict[str, About] = field(default_factory=dict)
    expectations: list[dict] = field(default_factory=list)
    habits: list[dict] = field(default_factory=list)


def page(material: Material) -> str:
    """The whole page."""
    from objective_agent.results import ablations

    parts = [HEAD, *_note(material, "summary"), *_overview(material), PROTOCOL]
    for condition in sorted(material.conditions, key=_place):
        parts += _condition(condition, material)
    parts += _models(material)
    for found in material.ablations:
        parts += ablations.section(found, material.notes.get("ablations") or {})
    parts += benchmarks.section(material.benchmarks, material.about_benchmarks)
    parts += habits.section([*material.habits, *(found for found in material.benchmarks if habits.has_habits(found))])
    parts += expectations.section(material.expectations)
    return "\n\n".join(parts) + "\n"


def _note(material: Material, name: str) -> list[str]:
    text = (material.notes.get("conditions") or {}).get(name) if name != "summary" else material.notes.get("summary")
    return [" ".join(str(text).split()) if "\n\n" not in str(text) else str(text).strip()] if text else []


def _place(condition: Condition) -> tuple:
    known = CONDITIONS.index(condition.task) if condition.task in CONDITIONS else len(CONDITIONS)
    return known, condition.task, condition.seed


def main_conditions(material: Material) -> dict[str, Condition]:
    """Per task the condition that the bars are held against: the one with most episodes, then the smallest seed."""
    found: dict[str, Condition] = {}
    for condition in sorted(material.conditions, key=lambda one: (-len(one.episodes), one.seed)):
        found.setdefault(condition.task, condition)
    return found


def verdicts(material: Material) -> dict[str, list[Verdict]]:
    """Per task of the bars, what became of each criterion."""
    main = main_conditions(material)
    return {
        task: judge(criteria, main.get(task), cards.ego_motion(material.models, _model(main.get(task)), task))
        for task, criteria in material.bars.items()
    }


def _model(condition: Condition | None) -> str | None:
    """The model of the agent's row."""
    if condition is None or AGENT not in condition.rows:
        return None
    return next(part.about["model"] for part in condition.evaluations if AGENT in part.rows)


def _overview(material: Material) -> list[str]:
    found = verdicts(material)
    if not found:
        return []
    rows = []
    for task, of_task in found.items():
        for verdict in of_task:
            said = "not measured" if verdict.met is None else "met" if verdict.met else "**not met**"
            rows.append((f"`{task}`", verdict.level, verdict.asked, verdict.found if verdict.met is not None else "", said))
    told = [f"- `{task}`: {', '.join(f'{level} {said}' for level, said in levels(found[task]).items())}." for task in found]
    table = markdown(("condition", "bar", "asked", "measured", ""), rows, left=5)
    return ["## What was asked, and what was found", "\n".join(told), table]


def levels(found: Sequence[Verdict]) -> dict[str, str]:
    """What became of each bar as a whole: a bar is met when all its criteria are."""
    said = {}
    for level in dict.fromkeys(verdict.level for verdict in found):
        met = [verdict.met for verdict in found if verdict.level == level]
        said[level] = "**not met**" if False in met else "not measured" if None in met else "met"
    return said


def _condition(condition: Condition, material: Material) -> list[str]:
    episodes = condition.episodes
    blocked = sum(episode[3] for episode in episodes.values())
    drawn = f"{len(episodes)} episodes, seed {condition.seed}; the straight line is blocked in {_share(blocked, len(episodes))}"
    drawn += f"; already solved (left out): {condition.already_solved}."
    machine = "; ".join(sorted({_hardware(part) for part in condition.evaluations}))
    heading = f"## `{condition.task}`, seed {condition.seed}"
    return [
        heading,
        drawn,
        *_note(material, condition.task),
        table(condition),
        *_promises(condition),
        "\n".join(_origin(condition)),
        f"Machine: {machine}.",
    ]


def table(condition: Condition) -> str:
    """The condition's rows."""
    head = ("controller", "success (95 %)", "contacts", "while moving", "per episode", "to goal", "planning p50 / p99",
            "misses", "gate held", "agent - it", "p")  # fmt: skip
    names = sorted(condition.rows, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    most = len(condition.episodes)
    agent = condition.rows.get(AGENT)
    return markdown(head, [_line(condition.rows[name], agent, most) for name in names], left=1)


def figures(row: Row, agent: Row | None) -> dict[str, Any]:
    """What a line of the table says, as numbers."""
    n, solved = len(row.index), sum(row.success)
    reached = [seconds for seconds, success in zip(row.seconds, row.success, strict=True) if success]
    found: dict[str, Any] = {
        "episodes": n,
        "success_rate": solved / max(1, n),
        "interval": wilson(solved, n),
        "contacts": sum(row.contacts),
        "contacts_moving": sum(row.contacts_moving),
        "episodes_with_contact": sum(value > 0 for value in row.contacts),
        "seconds_to_goal": sum(reached) / len(reached) if reached else None,
        "planning_ms": row.planning_ms or None,
        "deadline_misses": row.deadline_misses,
        "decisions": row.sums.get("decisions"),
        "gate_held": row.sums["gate_held"] / row.sums["gate_ticks"] if row.sums.get("gate_ticks") else None,
        "paired": None,
    }
    if agent is not None and row.name != AGENT:
        mine, theirs = common(agent, row)
        if mine.index:
            found["paired"] = paired(mine.success, theirs.success)
    return found


def _line(row: Row, agent: Row | None, most: int) -> tuple[str, ...]:
    found = figures(row, agent)
    low, high = found["interval"]
    n, versus, planning, misses = found["episodes"], found["paired"], found["planning_ms"], found["deadline_misses"]
    success = f"{100 * found['success_rate']:.1f} % ({100 * low:.1f}-{100 * high:.1f})" + (f", n = {n}" if n < most else "")
    return (
        f"**`{row.name}`**" if row.name == AGENT else f"`{row.name}`",
        success,
        str(found["contacts"]),
        str(found["contacts_moving"]),
        f"{found['contacts'] / max(1, n):.3f}",
        "-" if found["seconds_to_goal"] is None else f"{found['seconds_to_goal']:.1f} s",
        "-" if not planning or planning.get("p50") is None else f"{planning['p50']:.1f} / {planning['p99']:.1f} ms",
        "-" if misses is None else f"{misses} ({_share(misses, found['decisions'] or 0)})",
        "-" if found["gate_held"] is None else f"{100 * found['gate_held']:.1f} %",
        "" if versus is None else f"{100 * versus['difference']:+.1f}",
        "" if versus is None else p_value(versus["p"]),
    )


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def _promises(condition: Condition) -> list[str]:
    """How the distances that selected plans promised were kept."""
    lines = []
    for name, of in sorted(condition.promises.items()):
        if of.get("kept") is not None:
            low, high = of["interval"]
            kept = f"{100 * of['kept']:.1f} % ({100 * low:.1f}-{100 * high:.1f}, bootstrap over episodes)"
            whole = f"{100 * of['episodes_kept']:.1f} % of {of['episodes']} episodes kept at least 95 %"
            lines.append(f"- {name}: {kept} of {of['steps']} steps of {of['plans']} plans; {whole}")
    told = (
        "Promises of selected plans, followed in a copy of the simulation: near steps where nothing was nearer than promised."
    )
    return ["\n".join([told, "", *lines])] if lines else []


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _hardware(part: Evaluation) -> str:
    about = part.about["hardware"] or {}
    if not about:
        return "not recorded"
    return f"{about.get('cpu')}, {about.get('cores')} cores, Python {about.get('python')}, torch {about.get('torch')}"


def _origin(condition: Condition) -> list[str]:
    """Which files, which model, which command."""
    lines = []
    for part in condition.evaluations:
        model = str(part.about["model"])
        model = f"model sha256 `{model[:16]}`" if len(model) == 64 else f"model `{model}`"
        lines.append(f"- `{part.source}`: {model}, optimizer `{part.about['optimizer']}`: `{command(part)}`")
    return lines


def command(part: Evaluation) -> str:
    """What makes the file: as recorded, or put together from what it says."""
    if part.about["command"]:
        return str(part.about["command"])
    model = " --model models/apartment" if len(str(part.about["model"])) == 64 else ""
    own = [name for name in part.rows if name in ORDER[1:8]]
    baselines = [name for name in part.rows if name in ORDER[8:]]
    task, seed = part.about["task"], part.about["seed"]
    return (
        f"objective-agent evaluate --task {task}{model} --episodes {len(part.episodes)} --seed {seed}"
        f" --rows {','.join(own) or 'none'} --baselines {','.join(baselines) or 'none'} --json OUT"
    )


def _models(material: Material) -> list[str]:
    parts = []
    for card in material.models:
        training, data = card.get("training") or {}, card.get("data") or {}
        worlds = data.get("worlds") or {}
        parts += [
            f"## Model `{card.get('name')}` on held-out worlds",
            f"Predictor sha256 `{card['sha256']['predictor'][:16]}`; {training.get('steps')} steps in "
            f"{training.get('minutes')} minutes on {card.get('threads')} thread(s), seed "
            f"{card.get('seed')}, {worlds.get('train')} training worlds: `{card.get('command')}`",
            _model_table(card),
        ]
    return parts


def _model_table(card: dict) -> str:
    rows = []
    for view, part in card["views"].items():
        name = view.removeprefix("condition ")
        name = (
            f"`{name}`, all senses" if name != view else f"all conditions, {'all senses' if view == 'all' else view + ' alone'}"
        )
        for step in (key for key in part if key.startswith("step_")):
            at = part[step]
            ratio = at["position"] / at["analytic_position"] if at["analytic_position"] else None
            rows.append(
                (name, step[5:], *(centimetres(at[key]) for key in ("position", "analytic_position")),
                 "-" if ratio is None else f"{ratio:.2f}", centimetres(at["clearance_near"]), centimetres(at["people_near"]))
            )  # fmt: skip
    head = ("condition, senses", "steps", "position cm", "analytic cm", "ratio", "near clearance cm", "near people cm")
    return markdown(head, rows, left=1)


def centimetres(metres: float | None) -> str:
    return "-" if metres is None else f"{100 * metres:.1f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 3) -> str:
    """A Markdown table; the first `left` columns are aligned left, the others right."""
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def as_numbers(material: Material) -> dict[str, Any]:
    """The page's main figures for machines."""
    return {
        "conditions": [
            {"task": one.task, "seed": one.seed, "model": _model(one)}
            | {"rows": {name: figures(row, one.rows.get(AGENT)) for name, row in sorted(one.rows.items())}}
            for one in sorted(material.conditions, key=_place)
        ],
        "bars": {
            task: [{"level": v.level, "asked": v.asked, "found": v.found, "met": v.met} for v in of_task]
            for task, of_task in verdicts(material).items()
        },
        "benchmarks": benchmarks.as_numbers(material.benchmarks),
        "expectations": [{"task": found["task"], "kinds": found["kinds"]} for found in material.expectations],
    }
