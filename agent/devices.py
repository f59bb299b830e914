"""The torch device that a parameter or an option names: "cpu", "cuda", "cuda:1".  The same code runs on all of them.

A copy costs a GPU as much time as a small network, and one that is waited for leaves it idle: `move` waits for nothing, `send`
and `fetch` take many small tensors there and back in one copy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from objective_agent.types import ConfigurationError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names (malloc.h)."""


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
        return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    return device


def title(device: torch.device) -> str:
    """What a record calls it: "cpu", or "cuda:0" and the maker's name."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; neither side waits for the other."""
    if device.type == "cuda" and tensor.device.type == "cpu" and tensor.numel():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def send(values: Sequence[Tensor | None], device: torch.device) -> list[Tensor | None]:
    """Tensors on `device`, all that are on the CPU in one copy, as bytes; None stays None."""
    here = [index for index, value in enumerate(values) if value is not None and value.device.type == "cpu"]
    if device.type == "cpu":
        return [None if value is None else value.cpu() for value in values]
    found = list(values)
    if not here:
        return found
    here.sort(key=lambda index: -values[index].element_size())  # so that each begins where its kind of number may
    parts = [values[index] for index in here]
    packed = move(torch.cat([part.contiguous().view(-1).view(torch.uint8) for part in parts]), device)
    sizes = [part.numel() * part.element_size() for part in parts]
    for index, part, sent in zip(here, parts, packed.split(sizes), strict=True):
        found[index] = sent.view(part.dtype).view(part.shape)
    return found


def fetch(values: Sequence[Tensor]) -> list[Tensor]:
    """float32 and bool tensors of one device on the CPU, read back in one copy; what is on the CPU is only handed back."""
    if values[0].device.type == "cpu":
        return list(values)
    packed = torch.cat([value.reshape(-1).float() for value in values]).cpu()
    parts = packed.split([value.numel() for value in values])
    return [part.view(value.shape).to(value.dtype) for value, part in zip(values, parts, strict=True)]


def free(device: torch.device) -> int:
    """Bytes that are free on a CUDA device; 0 of any other, whose memory is the computer's own."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def keep_memory() -> None:
    """What is freed stays with the process, where the C library can be asked to (glibc): none of the pages that every decision
    uses anew has to be fetched from the kernel again, each at the price of a thousand additions."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for name, most in ((M_MMAP_THRESHOLD, 64 << 20), (M_TRIM_THRESHOLD, 256 << 20)):
            library.mallopt(name, most)


def wait(device: torch.device) -> None:
    """Until all that was asked of the device is done: what a clock needs."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
