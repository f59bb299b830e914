"""The ablations' part of the page: every variant beside the base, and the noise that training with another seed makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from objective_agent.types import InputError

KIND = "ablations"
NEEDED = ("steps", "batch", "data", "runs", "hardware")
GROUPS = {
    "base": "The base",
    "history": "History",
    "rollout": "Rollout length in training",
    "readouts": "Joint or frozen read-outs",
    "regularizer": "Regularizer",
    "heads": "Heads",
    "time": "Training time",
}
STEPS = ("step_1", "step_5", "step_10")
CLEAR = 2.0
"""A figure is marked when it differs from the base's mean by more than this many times the range of the base's seeds."""

INTRO = """Small models from the same data, one thing different in each; {batch} windows per step, the length of the base's
training is {steps} steps. All are measured on the same {windows} windows of {held} apartments that none was trained
on ({train} were), up to 10 steps ahead under the recorded commands. Three figures in a cell are errors at 1 / 5 / 10
steps of 0.2 s. `base` is the mean of {seeds} trainings with different seeds, `range` the difference between the best
and the worst of them; a variant was trained once. A figure is bold where it differs from the base by more than
{clear:g} times that range; what is not bold may be chance. These are short trainings: they rank choices, and don't
say what the shipped model does."""


def is_ablations(content: dict) -> bool:
    return content.get("kind") == KIND


def parse(content: dict, source: str) -> dict:
    """The content of an ablations file.  InputError when something is missing."""
    missing = [name for name in NEEDED if name not in content]
    runs = content.get("runs") or {}
    if missing or not any(run.get("group") == "base" for run in runs.values()):
        what = ", ".join(missing) or "runs of the base"
        raise InputError(f"{source}: is no complete result of bench ablations ({what} missing); run it again")
    return content | {"source": source}


Figure = Callable[[dict], float | None]


def figure(view: str, step: str, name: str) -> Figure:
    def of(run: dict) -> float | None:
        return run["figures"].get(view, {}).get(step, {}).get(name)

    return of


def triple(view: str, name: str) -> list[Figure]:
    return [figure(view, step, name) for step in STEPS]


Columns = Mapping[str, tuple[list[Figure], Callable[[float], str]]]


def _hundredth(value: float) -> str:
    return f"{100 * value:.2f}"


def _tenth(value: float) -> str:
    return f"{100 * value:.1f}"


def motion_columns(runs: Mapping[str, dict]) -> Columns:
    """Position errors per condition that was recorded, cm."""
    conditions = sorted({view for run in runs.values() for view in run["figures"] if view.startswith("condition ")})
    views = {view.removeprefix("condition "): view for view in conditions}
    return {f"`{name}`": (triple(view, "position"), _hundredth) for name, view in views.items()}


DISTANCES: Columns = {
    "near clearance": (triple("all", "clearance_near"), _tenth),
    "camera alone": (triple("camera", "clearance_near"), _tenth),
    "near people": (triple("all", "people_near"), _tenth),
    "people, camera alone": (triple("camera", "people_near"), _tenth),
}
COLLAPSE: Columns = {
    "rank": ([lambda run: run["meter"]["rank"]], lambda value: f"{value:.1f}"),
    "spread": ([lambda run: run["meter"]["std"]], lambda value: f"{value:.2f}"),
    "relative pose loss": ([lambda run: run["meter"]["relative"]], lambda value: f"{100 * value:.0f} %"),
    "log range, camera alone": (
        [lambda run: run["figures"].get("camera", {}).get("range_log_error_ahead")],
        lambda value: f"{value:.3f}",
    ),
    "steps": ([lambda run: run["steps"]], lambda value: f"{value:.0f}"),
    "CPU minutes": ([lambda run: run["cpu_minutes"]], lambda value: f"{value:.1f}"),
}
COST = """**Collapse meter** (effective rank of 128; spread per feature; loss of the relative pose as a share of a guess's), the
error of the log range ahead by the camera alone, and the cost:"""
UNMARKED = ("steps", "CPU minutes")


def section(found: dict, notes: Mapping[str, str]) -> list[str]:
    """The section's paragraphs and tables."""
    runs, data = found["runs"], found["data"]
    base = [run for run in runs.values() if run["group"] == "base"]
    intro = INTRO.format(
        batch=found["batch"], steps=found["steps"], windows=data["windows"], held=data["worlds"]["held_out"],
        train=data["worlds"]["train"], seeds=len(base), clear=CLEAR,
    )  # fmt: skip
    machine = found["hardware"]
    origin = f"From `{found['source']}` ({machine.get('cpu')}, one thread, torch {machine.get('torch')}): `{_command(found)}`"
    parts = ["## Ablations of the learned model", intro, origin]
    parts += ["**Position error, cm**, all senses; `analytic` is the unicycle with the nominal limits and delay:",
              _table(runs, base, motion_columns(runs), analytic=True)]  # fmt: skip
    parts += ["**Error of read-outs, cm**, where the true distance is small (clearance below 0.5 m, people below 1.5 m):",
              _table(runs, base, DISTANCES)]  # fmt: skip
    parts += [COST, _table(runs, base, COLLAPSE)]
    told = [f"- **{title}.** {' '.join(str(notes[group]).split())}" for group, title in GROUPS.items() if notes.get(group)]
    return parts + (["What it teaches:", "\n".join(told)] if told else [])


def _command(found: dict) -> str:
    seeds = sum(run["group"] == "base" for run in found["runs"].values())
    return f"objective-agent bench ablations --data DATA --steps {found['steps']} --seeds {seeds} --json {found['source']}"


def _table(runs: Mapping[str, dict], base: list[dict], columns: Columns, analytic: bool = False) -> str:
    from objective_agent.results.render import markdown

    rows: list[tuple[str, ...]] = []
    if analytic:
        rows.append(("analytic", *(_cell([_analytic(base[0], f) for f in fs], text) for fs, text in columns.values())))
    rows.append(("`base`", *(_cell([mean(base, f) for f in fs], text) for fs, text in columns.values())))
    if len(base) > 1:
        rows.append(("range", *(_cell([spread(base, f) for f in fs], text) for fs, text in columns.values())))
    for group, title in GROUPS.items():
        for run in (run for run in runs.values() if run["group"] == group and group != "base"):
            cells = (_variant(run, base, fs, text, name not in UNMARKED) for name, (fs, text) in columns.items())
            rows.append((f"{title}: {run['label']}", *cells))
    return markdown(("", *columns), rows, left=1)


def _analytic(run: dict, of: Figure) -> float | None:
    swapped = {
        view: {step: at | {"position": at["analytic_position"]} for step, at in part.items() if step in STEPS}
        for view, part in run["figures"].items()
    }
    return of({"figures": swapped})


def mean(base: list[dict], of: Figure) -> float | None:
    values = [value for run in base if (value := of(run)) is not None]
    return fmean(values) if values else None


def spread(base: list[dict], of: Figure) -> float | None:
    values = [value for run in base if (value := of(run)) is not None]
    return max(values) - min(values) if values else None


def differs(run: dict, base: list[dict], of: Figure) -> bool:
    """Whether a run's figure differs from the base's by clearly more than the base's seeds do."""
    value, middle, noise = of(run), mean(base, of), spread(base, of)
    return len(base) > 1 and None not in (value, middle) and abs(value - middle) > CLEAR * noise


def _variant(run: dict, base: list[dict], figures: list[Figure], text: Callable[[float], str], marks: bool) -> str:
    told = ["-" if (value := of(run)) is None else text(value) for of in figures]
    return " / ".join(
        f"**{said}**" if marks and differs(run, base, of) else said for said, of in zip(told, figures, strict=True)
    )


def _cell(values: list[Any], text: Callable[[float], str]) -> str:
    return " / ".join("-" if value is None else text(value) for value in values)
