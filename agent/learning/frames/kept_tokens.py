"""What a frozen encoder makes of each image, made once.

A pretrained encoder costs many times what the predictor on top of it does (DINO-WM, Zhou et al. 2024, arXiv 2411.04983), and
training asks for the same images again and again.  The tokens are kept as float16 in a file without a name on the data's disk:
it goes with the process, and no other encoder or data set can ever be served from it.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np
import torch
from torch import Tensor, nn

from objective_agent import devices
from objective_agent.types import InputError

AT_ONCE = 256


class KeptTokens:
    """`take(rows)`: the `dynamic` tokens of images, each encoded when it is first asked for.

    InputError when the disk has no room for all of them, or the data's folder can't be written.
    """

    def __init__(self, encoder: nn.Module, frames):
        self._encoder, self._frames = encoder, frames
        shape = (frames.data.rows, encoder.dynamic, encoder.features)
        size = 2 * int(np.prod(shape))
        try:
            self._file = tempfile.TemporaryFile(dir=frames.data.path)  # noqa: SIM115 (open as long as it is mapped)
            os.posix_fallocate(self._file.fileno(), 0, size)  # a full disk says so here, not by a signal later
        except OSError as error:
            raise InputError(
                f"{frames.data.path}: no room for the tokens of {shape[0]} images, {size / 1e9:.1f} GB: {error.strerror}; "
                "make room, let the folder be written, or collect fewer steps"
            ) from None
        self._tokens = np.memmap(self._file, np.float16, "r+", shape=shape)
        self._known = np.zeros(shape[0], bool)

    @torch.no_grad()
    def take(self, rows: np.ndarray) -> Tensor:
        """float32 [..., dynamic, D] of `rows` (any shape), on the device of the images."""
        wanted = np.unique(rows)
        missing = wanted[~self._known[wanted]]
        for first in range(0, len(missing), AT_ONCE):
            some = missing[first : first + AT_ONCE]
            self._tokens[some] = self._encoder(self._frames(some))[:, : self._encoder.dynamic].half().cpu().numpy()
            self._known[some] = True
        return devices.move(torch.from_numpy(self._tokens[rows]), self._frames.device).float()
