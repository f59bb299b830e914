"""A GPU's habits without a GPU: torch's `meta` device, on which nothing can be read, and a mode that counts what asks for it.

Tensors there know shape and place alone, so mixing devices is an error as on a GPU.  What would wait for a GPU is counted and
answered: single numbers with 1 (True), whole tensors with ones (or with `answer`); copies to the device are counted, too.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = "meta"


class PretendGpu(TorchDispatchMode):
    """`count`: "number" (one number read back), "back" and "there" (a tensor copied from and to the device)."""

    def __init__(self, answer: float = 1.0):
        super().__init__()
        self.count, self.answer = Counter(), answer

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = [each for each in args if isinstance(each, torch.Tensor)]
        if torch.is_inference_mode_enabled() or any(
            each.is_inference() for each in given
        ):  # there `item`, `to` and others come whole
            with self:
                found = function.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        name = function.overloadpacket.__name__
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if name == "_local_scalar_dense" and first.device.type == DEVICE:
            self.count["number"] += 1
            return torch.full((), self.answer, dtype=first.dtype).item()
        if name == "_to_copy" and first.device.type == DEVICE and torch.device(kwargs.get("device") or DEVICE).type == "cpu":
            self.count["back"] += 1
            return torch.full(first.shape, self.answer, dtype=kwargs.get("dtype") or first.dtype)
        if name == "_to_copy" and first.device.type == "cpu" and torch.device(kwargs.get("device") or "cpu").type == DEVICE:
            self.count["there"] += 1
        if name in ("nonzero", "masked_select", "_unique2") and first.device.type == DEVICE:
            raise AssertionError(f"{name}: its size is only known when the GPU is waited for")
        if kwargs.get("generator") is not None and torch.device(kwargs.get("device") or "cpu").type == DEVICE:
            kwargs["generator"] = None  # there is no generator of numbers that nobody ever sees
        return function(*args, **kwargs)


def draws_anywhere(monkeypatch) -> None:
    """Lets searches draw on the pretended device."""
    from objective_agent.actor.sampling import SamplingOptimizer

    def draw_on(self, device):
        self._place = device

    monkeypatch.setattr(SamplingOptimizer, "_draw_on", draw_on)
