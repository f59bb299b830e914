"""A trained model's card as a result: what it predicts on held-out worlds, beside the analytic model."""

from __future__ import annotations

from objective_agent.types import InputError

KIND = "model"
ABOUT = ("name", "command", "seed", "threads", "training", "data", "sha256", "torch")
FIGURES = ("position", "analytic_position", "heading", "analytic_heading", "clearance_near", "people_near")


def is_card(content: dict) -> bool:
    return content.get("kind") == KIND or {"metrics", "calibration", "sha256"} <= set(content)


def compact(card: dict) -> dict:
    """What the results page needs of a card; one that is compact already stays as it is."""
    if card.get("kind") == KIND:
        return card
    metrics = card["metrics"]
    views = dict(metrics["views"]) | {f"condition {name}": part for name, part in metrics["conditions"].items()}
    return {
        "kind": KIND,
        **{key: card.get(key) for key in ABOUT},
        "views": {
            view: {step: {key: at.get(key) for key in FIGURES} for step, at in part.items() if step.startswith("step_")}
            | {"windows": part["windows"], "worlds": part["worlds"], "coverage": part["coverage"]}
            for view, part in views.items()
        },
        "margins": card["calibration"]["margins"],
    }


def parse(content: dict, source: str) -> dict:
    """The compact card of a file's content.  InputError when something is missing."""
    try:
        card = compact(content)
        if not isinstance(card["sha256"]["predictor"], str) or not card["views"]:
            raise TypeError("no sha256, or no figures")
        return card | {"source": source}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: is no complete model card ({error}); copy it again with results --compact") from None


def ego_motion(cards: list[dict], model: str | None, condition: str) -> tuple[float, float] | None:
    """(learned, analytic) position error at 10 steps of `model` in a condition, m; None when no card says it."""
    for card in cards:
        at = card["views"].get(f"condition {condition}", {}).get("step_10")
        if model is not None and card["sha256"]["predictor"] == model and at:
            return at["position"], at["analytic_position"]
    return None
