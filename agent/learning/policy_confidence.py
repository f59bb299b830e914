"""What a policy's confidence is worth: fitted on episodes that never trained, tested on others.

    good[i]     E(policy's plan) <= E(Mode-2's plan) + share * gain + floor      gain: what Mode-2 saves over standing still
                or, without energies, |first action - Mode-2's first action| <= tolerance in every dimension
    score       logistic regression of good on what the ensemble says of itself (`actor.policy.PREDICTORS`)
    confidence  isotonic regression of good on the score: pool adjacent violators (Ayer et al. 1955), in blocks of equal size

The probability of a block is that of (k + 1) successes in (n + 2): nobody is ever quite sure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from objective_agent.actor.policy import PREDICTORS, Confidence, predictors_of
from objective_agent.actor.policy_network import PolicyNetwork
from objective_agent.memory.plans import Plans
from objective_agent.types import InputError

if TYPE_CHECKING:
    from objective_agent.learning.policy import PolicyConfig

Energies = Callable[[np.ndarray, Tensor], Tensor]
"""`energies(rows [n], plans [n, N, H, A])` -> [n, N]: what the world model and the cost make of plans at rows of the log."""

BLOCK = 40
"""Least rows in a block of the isotonic regression."""

CHUNK = 256
BINS = 10
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)


def calibrated(
    network: PolicyNetwork,
    plans: Plans,
    parts: dict[str, np.ndarray],
    config: PolicyConfig,
    inputs: Callable[[np.ndarray], tuple],
    energies: Energies | None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(the confidence's arrays as they are stored, the card's section on it)."""
    found, means = {}, {"regret": "regret", "agreement": "agreement"}
    for name in ("calibration", "test"):
        found[name] = judged(network, plans, parts[name], config, inputs, energies)
    meaning = "regret" if energies is not None else "agreement"
    confidence = fit(found["calibration"]["predictors"], found["calibration"][meaning])
    test = found["test"]
    probability = confidence(test["predictors"])
    section: dict[str, Any] = {
        "means": meaning,
        **({"regret": config.regret, "floor": config.floor} if meaning == "regret" else {"tolerance": config.tolerance}),
        "predictors": dict(zip(PREDICTORS, _rounded(confidence.weight), strict=True)),
        "good": {name: round(float(np.mean(at[meaning])), 4) for name, at in found.items()},
        "auc": {name: area(probability, test[label]) for name, label in means.items() if label in test},
        "expected_calibration_error": expected_error(probability, test[meaning]),
        "reliability": reliability(probability, test[meaning]),
        "above": above(probability, test[meaning]),
        "first_action_error": round(float(np.mean(test["error"])), 4),
    }
    if energies is not None:
        section["median_regret"] = round(float(np.median(test["excess"])), 4)
        section["median_gain"] = round(float(np.median(test["gain"])), 4)
    arrays = {f"confidence.{name}": getattr(confidence, name) for name in Confidence.__dataclass_fields__}
    return arrays, section


def judged(
    network: PolicyNetwork,
    plans: Plans,
    rows: np.ndarray,
    config: PolicyConfig,
    inputs: Callable[[np.ndarray], tuple],
    energies: Energies | None,
) -> dict[str, Any]:
    """`predictors` [n, F]; `agreement`, and with energies `regret`, [n] bool: whether the policy's plan was good enough.

    InputError without feasible plans.
    """
    rows = rows[plans.feasible[rows]]
    if len(rows) < 2:
        raise InputError("the log of plans has hardly a feasible plan in the held-out episodes; log more")
    predictors, error, mine, theirs, still = [], [], [], [], []
    with torch.inference_mode():
        for first in range(0, len(rows), CHUNK):
            some = rows[first : first + CHUNK]
            mean, log_std = network(*inputs(some))
            predictors.append(predictors_of(mean, log_std))
            plan, searched = network.actions(mean.mean(1)), torch.from_numpy(plans.plan[some])
            error.append((network.shares(plan) - network.shares(searched))[:, 0].abs().amax(-1))
            if energies is not None:
                energy = energies(some, torch.stack([plan, searched, torch.zeros_like(plan)], 1))
                mine.append(energy[:, 0]), theirs.append(energy[:, 1]), still.append(energy[:, 2])
    error = torch.cat(error).numpy()
    found = {"predictors": np.concatenate(predictors), "error": error, "agreement": error <= config.tolerance}
    if energies is not None:
        excess = (torch.cat(mine) - torch.cat(theirs)).numpy()
        gain = (torch.cat(still) - torch.cat(theirs)).clamp(min=0).numpy()
        found |= {"excess": excess, "gain": gain, "regret": excess <= config.regret * gain + config.floor}
    return found


def fit(predictors: np.ndarray, good: np.ndarray) -> Confidence:
    """The score by logistic regression (Newton's method with a little ridge), the probability by isotonic regression."""
    x = torch.from_numpy(predictors).double()
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    x = torch.cat([(x - mean) / scale, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    y, w = torch.from_numpy(good.astype(float)), torch.zeros(x.shape[1], dtype=torch.float64)
    ridge = torch.full_like(w, 1.0)
    ridge[-1] = 1e-3
    for _ in range(30):
        p = torch.sigmoid(x @ w)
        curve = (x * (p * (1 - p))[:, None]).T @ x + torch.diag(ridge)
        w = w - torch.linalg.solve(curve, x.T @ (p - y) + ridge * w)
    scores, probabilities = isotonic((x @ w).numpy(), good)
    values = (mean.numpy(), scale.numpy(), w[:-1].numpy(), w[-1:].numpy(), scores, probabilities)
    return Confidence(*(value.astype(np.float32) for value in values))


def isotonic(score: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(scores, probabilities), both ascending: the mean score of each block and how probable a good answer is there."""
    order = np.argsort(score, kind="stable")
    blocks: list[list[float]] = []  # sum of scores, successes, rows
    for part in np.array_split(order, max(2, len(order) // BLOCK)):
        blocks.append([float(score[part].sum()), float(good[part].sum()), float(len(part))])
        while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = [one + two for one, two in zip(blocks[-1], last, strict=True)]
    if len(blocks) == 1:
        blocks = blocks * 2
    return np.array([total / rows for total, _, rows in blocks]), np.array([_share(block) for block in blocks])


def _share(block: list[float]) -> float:
    return (block[1] + 1) / (block[2] + 2)


def reliability(probability: np.ndarray, good: np.ndarray) -> list[dict[str, float]]:
    """Bins of equally many decisions: what was predicted, what was observed."""
    order = np.argsort(probability, kind="stable")
    return [
        {"predicted": round(float(probability[part].mean()), 3), "observed": round(float(good[part].mean()), 3),
         "rows": len(part)}
        for part in np.array_split(order, BINS) if len(part)
    ]  # fmt: skip


def expected_error(probability: np.ndarray, good: np.ndarray) -> float:
    table = reliability(probability, good)
    return round(sum(at["rows"] * abs(at["predicted"] - at["observed"]) for at in table) / max(1, len(good)), 4)


def above(probability: np.ndarray, good: np.ndarray) -> dict[str, dict[str, float | None]]:
    """For some thresholds: the share of decisions above, and how many of these were good."""
    found = {}
    for limit in THRESHOLDS:
        over = probability >= limit
        found[str(limit)] = {
            "share": round(float(over.mean()), 3),
            "good": round(float(good[over].mean()), 3) if over.any() else None,
        }
    return found


def area(score: np.ndarray, good: np.ndarray) -> float | None:
    """Area under the receiver's operating curve: how often a good decision has the higher score; ties count half."""
    positive, negative = np.sort(score[good]), np.sort(score[~good])
    if not len(positive) or not len(negative):
        return None
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return round(float(below.mean() / (2 * len(negative))), 4)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in values]
