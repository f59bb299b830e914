"""The part of the page on violated expectations: does what can't happen surprise each model more than what can?

Made of the files that `objective-agent imagine --expectation --json` writes, one per task (`learning/frames/expectation.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from objective_agent.results.benchmarks import TASKS
from objective_agent.types import InputError

KIND = "expectation"
SCORES = ("peak", "one_step", "rollout", "unchanged")

INTRO = """Two clips differ in one thing that can't happen ([imagine.md](imagine.md)); a pair is right when the impossible
clip surprises the model more, by the largest error along the clip of its predictions of the next representation. Beside it: by
the mean of these errors, by the mean error of representations imagined from the first frames alone, and by that of expecting
that nothing ever changes, which has to be beaten for a figure to say something about the model. Pairs come from held-out
layouts, or from new starts in the one layout there is."""


def is_expectation(content: Mapping[str, Any]) -> bool:
    return content.get("kind") == KIND


def parse(content: dict, source: str) -> dict:
    """The file's content with its `source`.  InputError when something is missing."""
    try:
        for kind, found in content["kinds"].items():
            if "left_out" not in found and not all(0 <= found[name]["share"] <= 1 for name in SCORES):
                raise ValueError(f"shares of {kind} are no shares")
        if not isinstance(content["task"], str) or not content["kinds"]:
            raise ValueError("no task, or no clips")
        return content | {"source": source}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{source}: is no complete result of imagine --expectation ({text}); run it again") from None


def section(results: Sequence[dict]) -> list[str]:
    """The section's paragraphs and table; nothing without results."""
    from objective_agent.results.render import markdown

    if not results:
        return []
    rows = []
    ordered = sorted(results, key=lambda found: (TASKS.index(found["task"]) if found["task"] in TASKS else 99, found["task"]))
    for found in ordered:
        for kind, of in found["kinds"].items():
            if "left_out" in of:
                continue
            low, high = of["peak"]["interval"]
            said = f"{100 * of['peak']['share']:.1f} % ({100 * low:.1f}-{100 * high:.1f})"
            others = [f"{100 * of[name]['share']:.1f} %" for name in SCORES[1:]]
            bar = ("", "") if "bar" not in of else (f">= {100 * of['bar']:.0f} %", "met" if of["passed"] else "**not met**")
            rows.append((f"`{found['task']}`", f"`{kind}`", bar[0], bar[1], str(of["pairs"]), said, *others))
    head = (
        "task",
        "clips",
        "bar",
        "",
        "pairs",
        "right by the largest error (95 %)",
        "by the mean",
        "by rollouts",
        "if nothing changed",
    )
    left_out = [
        f"- `{found['task']}` has no `{kind}`: {of['left_out']}."
        for found in ordered
        for kind, of in found["kinds"].items()
        if "left_out" in of
    ]
    sources = [
        f"- `{found['source']}`: model sha256 `{found['sha256']['predictor'][:16]}`: `{found.get('command')}`."
        for found in ordered
    ]
    parts = ["## Expectations violated", INTRO, markdown(head, rows, left=4)]
    return [*parts, *(["\n".join(left_out)] if left_out else []), "\n".join(sources)]
