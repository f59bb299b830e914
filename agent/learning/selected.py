"""Margins for selected plans: the agent drives in homes kept for this, and what its plans promised too much is taken off.

Margins from recorded commands are those of an average driver.  A planner takes the plan that looks best, so it looks for the
model's mistakes; and what it chooses differs with the margins themselves.  So a trained model is calibrated once more with the
whole agent in the loop: `promises.Witness` follows its plans, and per read-out and bucket of steps the extra margin is the
least one that keeps the promises of a new episode, in the mean, at the share asked for (`calibration.risk_margin`).

The homes (`CALIBRATION_SEEDS`) are neither training's nor evaluation's; the conditions take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from objective_agent import weights
from objective_agent.config import AgentParameters
from objective_agent.learning.calibration import risk_margin
from objective_agent.learning.checkpoint import write_bytes
from objective_agent.learning.promises import BUCKETS, Witness, steps_of
from objective_agent.learning.workers import in_processes
from objective_agent.safety import GateParameters
from objective_agent.simulation.conditions import CONDITIONS, condition
from objective_agent.simulation.episode import run_episode
from objective_agent.simulation.evaluation import AgentController
from objective_agent.simulation.generator import CALIBRATION_SEEDS
from objective_agent.simulation.tasks import ApartmentTask
from objective_agent.types import InputError

MIX = "mix"
READOUTS = ("clearance", "people")
EVERY = 10
"""Every so many decisions a plan is followed: episodes are what counts as independent, so plans may overlap."""


@dataclass(frozen=True)
class DriveSettings:
    """`task` a condition's name or "mix" (all of them in turn); `seconds` simulated, at most, per episode."""

    task: str
    seed: int
    parameters: AgentParameters
    gate: GateParameters
    seconds: float = 12.0

    def __post_init__(self):
        if self.task != MIX:
            condition(self.task)

    def condition_of(self, index: int):
        names = tuple(CONDITIONS) if self.task == MIX else (self.task,)
        return CONDITIONS[names[index % len(names)]]


def drive(settings: DriveSettings, index: int) -> dict:
    """Episode number `index` with the whole agent behind the gate: its promises and what came of them, as JSON values."""
    import torch

    torch.set_num_threads(1)
    parameters, robot = settings.parameters, settings.parameters.robot
    delay, made = parameters.actor.deadline, settings.condition_of(index)
    episode = ApartmentTask(settings.seed, robot, made, CALIBRATION_SEEDS).episode(index)
    controller = AgentController(parameters, delay)
    witness = Witness(controller, delay, robot.radius, EVERY)
    camera = parameters.perception.encoder.plugin != "scan"
    outcome = run_episode(
        episode, controller, robot, settings.gate, parameters.actor.period, delay, camera, each=witness, limit=settings.seconds
    )
    return {"index": index, "condition": made.name, "contacts": outcome.contacts, "promises": witness.record()}


def drive_all(settings: DriveSettings, episodes: int, jobs: int) -> Iterator[dict]:
    """The records of all episodes, in the order of their numbers."""
    if jobs == 1:
        yield from (drive(settings, index) for index in range(episodes))
        return
    calls = ((settings, index) for index in range(episodes))
    yield from in_processes(drive, calls, min(jobs, episodes), "try again with fewer --jobs", in_order=True)


def selected_margins(records: Sequence[dict], present: dict[str, Sequence[float]], risk: float) -> dict[str, list[float]]:
    """Read-out -> extra margin [H] in place of the `present` ones, under which `records` were driven; never less than 0.

    One value per bucket of steps (`promises.BUCKETS`); later steps have no smaller one than earlier ones.
    """
    found = {}
    for name in READOUTS:
        parts = [steps_of(record["promises"], name) for record in records if name in record["promises"]]
        if not parts:
            continue
        horizon = parts[0][0].shape[1]
        steps, given = np.arange(horizon), np.asarray(present.get(name) or [0.0])
        applied = given[np.minimum(steps, len(given) - 1)]
        margin = np.zeros(horizon)
        for where in BUCKETS.values():
            over = [(promised + applied - came)[:, where][counts[:, where]] for promised, came, counts in parts]
            margin[where] = risk_margin(over, risk)
        found[name] = [round(float(value), 4) for value in np.maximum.accumulate(margin)]
    return found


def present_margins(folder: Path) -> dict[str, list[float]]:
    """The card's extra margins; {} where it has none."""
    return ((weights.read_card(folder).get("calibration") or {}).get("selected") or {}).get("margins") or {}


def write_selected(folder: Path, about: dict) -> None:
    """Puts `about` ("margins", and how they were found) into the card as `calibration.selected`; whole or not at all."""
    card = weights.read_card(folder)
    if not isinstance(card.get("calibration"), dict):
        raise InputError(f"{folder / weights.CARD}: has no calibration; train the model again")
    card["calibration"]["selected"] = about
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120)
    write_bytes(folder / weights.CARD, text.encode())
