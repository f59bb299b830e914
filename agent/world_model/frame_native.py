"""What lies between the matrix products of a residual MLP's rollout, as C, compiled for this machine when first asked for.

    join      hidden = silu(norm(hidden + base + actions acting))      first layer: actions, bias, layer norm and SiLU
    leave     hidden = silu(hidden + bias),  after = before + beyond   second layer, and what the third's product is added to

In torch each of their parts is a pass of its own over the hidden layer, together a quarter of the rollout's time.  Here exp is
Cephes' polynomial; the result is torch's but for rounding.  A C compiler is needed (cc, gcc or clang), so that it is a setting;
nothing is kept on disk.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from objective_agent import devices
from objective_agent.types import ConfigurationError

if TYPE_CHECKING:
    from objective_agent.world_model.frame_members import Residual

SOURCE = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float silu(float x) {
    float y = x < -87.0f ? 87.0f : (x > 87.0f ? -87.0f : -x);
    float n = rintf(y * 1.44269504f), r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, y));
    float p = fmaf(fmaf(fmaf(1.9875691500e-4f, r, 1.3981999507e-3f), r, 8.3334519073e-3f), r, 4.1665795894e-2f);
    p = fmaf(fmaf(p, r, 1.6666665459e-1f), r, 5.0000001201e-1f);
    p = fmaf(p * r, r, r + 1.0f);
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return x / fmaf(p, power, 1.0f);
}

void join(float *restrict hidden, long rows, long width, int empty, const float *restrict base, long stride,
          const float *restrict actions, const float *restrict acting, long size,
          const float *restrict gain, const float *restrict shift, float eps) {
    for (long i = 0; i < rows; i++, hidden += width, base += stride, actions += size) {
        float sum = 0.0f, square = 0.0f;
        if (empty) memset(hidden, 0, width * sizeof(float));
        for (long k = 2; k < size; k++)
            for (long j = 0; j < width; j++) hidden[j] += actions[k] * acting[k * width + j];
        const float u = actions[0], w = size > 1 ? actions[1] : 0.0f, *second = acting + (size > 1 ? width : 0);
        for (long j = 0; j < width; j++) sum += hidden[j] += base[j] + u * acting[j] + w * second[j];
        const float mean = sum / width;
        for (long j = 0; j < width; j++) square += (hidden[j] - mean) * (hidden[j] - mean);
        const float scale = 1.0f / sqrtf(square / width + eps);
        for (long j = 0; j < width; j++) hidden[j] = silu((hidden[j] - mean) * scale * gain[j] + shift[j]);
    }
}

void leave(float *restrict hidden, long rows, long width, const float *restrict bias,
           float *restrict after, const float *restrict before, long stride, const float *restrict beyond, long size) {
    for (long i = 0; i < rows; i++, hidden += width, after += size, before += stride) {
        for (long j = 0; j < width; j++) hidden[j] = silu(hidden[j] + bias[j]);
        for (long j = 0; j < size; j++) after[j] = before[j] + beyond[j];
    }
}
"""
# Sums in any order, as torch's; not -ffast-math, which would change how the whole process treats the smallest numbers.
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
WIDE = ["-mprefer-vector-width=512"]
POINTER, COUNT = ctypes.c_void_p, ctypes.c_long
JOIN = [POINTER, COUNT, COUNT, ctypes.c_int, POINTER, COUNT, POINTER, POINTER, COUNT, POINTER, POINTER, ctypes.c_float]
LEAVE = [POINTER, COUNT, COUNT, POINTER, POINTER, POINTER, COUNT, POINTER, COUNT]


class Kernels:
    """`follow` fills the states of every step, as `Residual` does in torch; float32 on the CPU, dense."""

    def __init__(self, library: ctypes.CDLL):
        self._join, self._leave = library.join, library.leave
        for function, arguments in ((self._join, JOIN), (self._leave, LEAVE)):
            function.argtypes, function.restype = arguments, None

    def follow(self, member: Residual, ready: tuple, known: list[Tensor], before: Tensor, given: tuple, after: tuple) -> None:
        blocks, acting, inner, out = ready
        (rows, size), width, past = after[0].shape, len(inner), len(blocks)
        first, second = after[0].new_empty(rows, width), after[0].new_empty(rows, width)
        bias, within, beyond, norm = member.inputs.state.bias, member.inner.bias, member.out.bias, member.norm
        layer = (acting.data_ptr(), len(acting), norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)
        before = before.contiguous()
        for step, (action, following) in enumerate(zip(given, after, strict=True)):
            frames = after[max(0, step - past) : step]
            for frame, block in zip(frames, blocks[-step:] if step else (), strict=True):
                torch.mm(frame, block, out=first) if frame is frames[0] else first.addmm_(frame, block)
            base = known[step] if step < len(known) else bias
            stride = width if base.numel() > width else 0
            self._join(first.data_ptr(), rows, width, not frames, base.data_ptr(), stride, action.data_ptr(), *layer)
            torch.mm(first, inner, out=second)
            stride = size if len(before) > 1 else 0
            self._leave(
                *(second.data_ptr(), rows, width, within.data_ptr(), following.data_ptr()),
                *(before.data_ptr(), stride, beyond.data_ptr(), size),
            )
            before = following.addmm_(second, out)


@functools.cache
def kernels() -> Kernels:
    """Compiled once per process, which keeps its memory from then on.  ConfigurationError without a working C compiler."""
    compilers = [name for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name and shutil.which(name)]
    wrong = "none found"
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernels.so"
        for compiler in compilers:
            for flags in ([*FLAGS, *WIDE], FLAGS):  # the width is a matter of x86
                command = [compiler, *flags, "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-lm"]
                done = subprocess.run(command, input=SOURCE, text=True, capture_output=True, check=False)
                if done.returncode == 0:
                    devices.keep_memory()
                    return Kernels(ctypes.CDLL(str(library)))
                wrong = f"{compiler}: {' '.join(done.stderr.split())[:200]}"
    raise ConfigurationError(f"kernels compiled: needs a working C compiler ({wrong}); install gcc, or set kernels to torch")
