"""The torch device that a parameter or an option names: "cpu", "cuda", "cuda:1".  The same code runs on all of them.

find(name)            the device, or one line that says why it can't be used
move(tensor, device)  a copy that nobody waits for: from pinned memory, behind what the device is doing already
"""

from __future__ import annotations

import torch
from torch import Tensor

from objective_agent.types import ConfigurationError


def find(name: str | torch.device, where: str = "device") -> torch.device:
    """ConfigurationError, one line, for a name that torch doesn't know and for a CUDA device that isn't here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"{where} {str(name)!r}: torch knows no such device; use cpu or cuda") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            built = "" if torch.version.cuda else " (this torch was built without CUDA)"
            raise ConfigurationError(f"{where} {str(name)!r}: no CUDA device here{built}; use cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise ConfigurationError(f"{where} {str(name)!r}: there are {torch.cuda.device_count()} CUDA devices; use cuda:0")
    return device


def title(device: torch.device) -> str:
    """What a record calls it: "cpu", or "cuda:0" and the maker's name."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; neither side waits for the other."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def free(device: torch.device) -> int:
    """Bytes that are free on a CUDA device; 0 of any other, whose memory is the computer's own."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def wait(device: torch.device) -> None:
    """Until all that was asked of the device is done: what a clock needs."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
