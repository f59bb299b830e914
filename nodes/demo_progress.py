"""The demo in the terminal while it runs: a small live table, or a line a second where the output is not a terminal."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from objective_agent.visualization.style import GATE_MEANING

GATE_STYLES = {
    "OK": "bold green",
    "LIMIT": "bold yellow",
    "STOP": "bold dark_orange",
    "EMERGENCY": "bold red",
    "LATCHED": "bold red",
}
MODES = {"optimizer": "Mode-2 (searching)", "policy": "Mode-1 (policy)", "braking": "braking: nothing feasible"}


@dataclass(frozen=True)
class Snapshot:
    """What is known now, for the progress display.  NaN: not heard."""

    goal: int = -1
    distance: float = math.nan
    decision_hz: float = math.nan
    mode: str = ""
    margin: float = math.nan
    gate: str = ""
    gate_reason: str = ""
    real_time_factor: float = math.nan
    collisions: int = 0


class Progress:
    """A context: `say` adds a lasting line, `update` shows a snapshot, `step` the share done of a longer piece of work."""

    def __init__(self, goals: int, console: Console | None = None, plain: bool = False):
        self.goals = goals
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.live = (
            Live(console=self.console, refresh_per_second=4, transient=True) if self.console.is_terminal and not plain else None
        )
        self._said, self._begun, self._step = -math.inf, time.monotonic(), ""

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error) -> None:
        if self.live:
            self.live.stop()

    def say(self, words: str, style: str = "") -> None:
        self.console.print(Text(words, style=style))

    def update(self, now: Snapshot) -> None:
        """At most one line a second where the output is not a terminal."""
        if self.live:
            self.live.update(self._table(now))
        elif time.monotonic() - self._said >= 1.0:
            self._said = time.monotonic()
            self.console.print(Text(self.line(now)))

    def step(self, what: str, share: float) -> None:
        """A longer piece of work: share done 0..1, with the time that is left."""
        if what != self._step:
            self._step, self._begun = what, time.monotonic()
            if not self.live:
                self.console.print(Text(f"{what} …"))
        if self.live:
            spent = time.monotonic() - self._begun
            left = f"{spent / share - spent:3.0f} s left" if share > 0.02 else ""
            table = Table.grid(padding=(0, 2))
            table.add_row(Text(what, style="bold"), ProgressBar(total=1.0, completed=share, width=40), f"{share:4.0%}  {left}")
            self.live.update(table)

    def line(self, now: Snapshot) -> str:
        """A snapshot as one line of plain text."""
        gate = f"gate {now.gate or '?'}" + (f" ({now.gate_reason})" if now.gate not in ("OK", "") and now.gate_reason else "")
        parts = [
            f"{time.monotonic() - self._begun:5.1f} s",
            f"goal {now.goal + 1}/{self.goals}" if now.goal >= 0 else "starting",
            f"{show(now.distance, '.2f')} m away",
            f"{show(now.decision_hz, '.1f')} decisions/s",
            f"{MODES.get(now.mode, now.mode or 'not deciding')}, worst margin {centimetres(now.margin)}",
            gate,
            f"real time x {show(now.real_time_factor, '.2f')}",
            f"{now.collisions} collisions",
        ]
        return "  ".join(parts)

    def _table(self, now: Snapshot) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", min_width=12)
        table.add_column()
        goal = f"{now.goal + 1} of {self.goals}   {show(now.distance, '.2f')} m away" if now.goal >= 0 else "none yet: starting"
        table.add_row("goal", Text(goal, style="bold"))
        table.add_row("deciding", f"{show(now.decision_hz, '.1f')} per second   {MODES.get(now.mode, now.mode or 'not yet')}")
        margin = Text(centimetres(now.margin), style="green" if now.margin >= 0 else "red")
        table.add_row("guardrail", Text.assemble("worst margin of the chosen plan ", margin))
        gate = Text(now.gate or "?", style=GATE_STYLES.get(now.gate, ""))
        reason = now.gate_reason if now.gate != "OK" and now.gate_reason else GATE_MEANING.get(now.gate, "")
        table.add_row("safety gate", Text.assemble(gate, f"   {reason}"))
        bad = "bold red" if now.collisions else "green"
        clock = f"real time × {show(now.real_time_factor, '.2f')}   {time.monotonic() - self._begun:.0f} s   "
        table.add_row("simulator", Text.assemble(clock, Text(f"{now.collisions} collisions", style=bad)))
        return Group(Text(""), table)


def show(value: float, form: str) -> str:
    return "–" if not isinstance(value, float) or math.isnan(value) else f"{value:{form}}"


def centimetres(margin: float) -> str:
    if math.isnan(margin):
        return "–"
    return "beyond reach" if margin > 50 else f"{100 * margin:+.0f} cm"
