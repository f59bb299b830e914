"""Where candidates come from before there is anything to learn from: what the robot can do, a library of arcs,
extremes, and plans made a moment ago."""

from __future__ import annotations

import torch
from torch import Tensor


def within_limits(actions: Tensor, low: Tensor, high: Tensor, change: Tensor, last: Tensor) -> Tensor:
    """`actions` [B, N, H, A] clipped to [low, high], then to at most `change` [A] per step, beginning with `last` [B, A]."""
    actions = torch.clamp(actions, low, high)
    previous = last[:, None].expand(-1, actions.shape[1], -1)
    limited = []
    for wanted in actions.unbind(2):
        previous = torch.minimum(torch.maximum(wanted, previous - change), previous + change)
        limited.append(previous)
    return torch.stack(limited, 2)


def library(horizon: int, dt: float, low: Tensor, high: Tensor) -> Tensor:
    """Arcs [n, H, 2] for a body with (v, w) actions: steady arcs, turning before going, swerves, reversing."""
    time = torch.arange(horizon) * dt
    half = 0.5 * horizon * dt
    rows = [
        _steady(time, v, w) for v in (1.0, 0.6, 0.25, 0.0) for w in (-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0) if (v, w) != (0, 0)
    ]
    for w in (-1.0, 1.0):
        rows += [_then(time, switch, (0.0, w), (1.0, 0.0)) for switch in (0.4, 0.8, 1.2, 1.8)]
        rows += [_then(time, half, (v, 0.4 * w), (v, -0.4 * w)) for v in (0.5, 1.0)]
        rows.append(_steady(time, -1.0, 0.5 * w))
    rows.append(_steady(time, -1.0, 0.0))
    shares = torch.stack(rows)
    return torch.where(shares >= 0, shares * high.cpu().clamp(min=0), -shares * low.cpu().clamp(max=0)).to(low.device)


def towards(pose: Tensor, goal: Tensor, horizon: int, dt: float, low: Tensor, high: Tensor, rate_limit: Tensor) -> Tensor:
    """Turn to face the goal, then go there: [B, 1, H, 2] for poses [B, 3] and goals [B, 2].

    What noise finds last in a narrow place: a turn by just the right angle, and then nothing but straight on.  It turns at half
    the limit and drives once the turn has run out, so that what `rate_limit` takes from its beginning it gives back at its end.
    """
    offset = goal - pose[:, :2]
    bearing = torch.atan2(offset[:, 1], offset[:, 0]) - pose[:, 2]
    bearing = torch.atan2(torch.sin(bearing), torch.cos(bearing))[:, None, None]
    distance = torch.linalg.vector_norm(offset, dim=-1)[:, None, None]
    rate, speed = 0.5 * torch.minimum(high[1], -low[1]), high[0]
    turning = bearing.abs() / rate
    waiting = turning + torch.minimum(rate, bearing.abs() / dt) / rate_limit[1]
    start = dt * torch.arange(horizon, device=pose.device)

    def share_before(time: Tensor) -> Tensor:
        """Of each step, the share that lies before `time`."""
        return ((time - start) / dt).clamp(0, 1)

    turned = share_before(turning)
    driven = share_before(waiting + distance / speed) - share_before(waiting)
    return torch.stack([speed * driven, rate * bearing.sign() * turned], -1)


def _steady(time: Tensor, v: float, w: float) -> Tensor:
    return torch.tensor([v, w]).expand(len(time), 2)


def _then(time: Tensor, switch: float, first: tuple[float, float], second: tuple[float, float]) -> Tensor:
    return torch.where((time < switch - 1e-6)[:, None], torch.tensor(first), torch.tensor(second))


def extremes(low: Tensor, high: Tensor, horizon: int) -> Tensor:
    """[n, H, A]: actions at their bounds, one alone or all together, for all steps or for a part of them and then zero.

    For a search that has found nothing feasible: what is only just possible (to brake as hard as the robot can) lies there, and
    noise never quite gets there.  For more than 4 actions only one alone.
    """
    dims = len(low)
    corners = [torch.diag(low), torch.diag(high)]
    if 1 < dims <= 4:
        signs = torch.cartesian_prod(*[torch.tensor([False, True], device=low.device)] * dims)
        corners.append(torch.where(signs, high, low))
    corners, steps = torch.cat(corners), torch.arange(horizon, device=low.device)
    on = torch.stack([steps < max(1, round(share * horizon)) for share in (1.0, 0.5, 0.25, 0.75)])
    return (on[:, None, :, None] * corners[None, :, None]).flatten(0, 1)


def bang_bang(count: int, low: Tensor, high: Tensor, horizon: int, generator: torch.Generator) -> Tensor:
    """[count, H, A]: actions that are at a bound or zero and change now and then, every third step on average."""
    shape = (count, horizon, len(low))
    level = torch.randint(0, 3, shape, generator=generator)
    change = torch.rand((count, horizon, 1), generator=generator) < 1 / 3
    change[:, 0] = True
    at = torch.where(change, torch.arange(horizon)[:, None], 0).cummax(1).values  # the last change up to each step
    level = level.gather(1, at.expand(shape)).to(low.device)
    return torch.where(level == 0, low, torch.where(level == 1, 0.0, high))


def shifted(actions: Tensor, steps: float) -> Tensor:
    """`actions` [..., H, A] as they are `steps` >= 0 steps later: linear between steps, the last one held."""
    horizon = actions.shape[-2]
    at = (torch.arange(horizon, dtype=torch.float64, device=actions.device) + steps).clamp(max=horizon - 1)
    low = at.floor().long()
    share = (at - low).to(actions)[:, None]
    return actions[..., low, :] * (1 - share) + actions[..., (low + 1).clamp(max=horizon - 1), :] * share
