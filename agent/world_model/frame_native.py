"""A residual MLP's rollout in one call, as C that is compiled for this machine when it is first asked for.

The matrix products are torch's own (its BLAS).  What lies between them, in torch a pass of its own over the hidden layer each
and together a quarter of the time, is done in two: `join` behind the first product, `leave` behind the second.  exp is Cephes'
polynomial; the result is torch's but for rounding.  A C compiler is needed (cc, gcc or clang), so that it is a setting; nothing
is kept on disk.
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
from objective_agent.types import ConfigurationError, InputError

if TYPE_CHECKING:
    from objective_agent.world_model.frame_members import Residual

SOURCE = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float silu(float x) {
    float y = x < -87.0f ? 87.0f : (x > 87.0f ? -87.0f : -x);
    float n = rintf(y * 1.44269504f), r = fmaf(n, 2.12194440e-4f, fmaf(n, -0.693359375f, y));
    float p = fmaf(fmaf(1.3981999507e-3f, r, 8.3334519073e-3f), r, 4.1665795894e-2f);
    p = fmaf(fmaf(p, r, 1.6666665459e-1f), r, 5.0000001201e-1f);
    p = fmaf(p * r, r, r + 1.0f);
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return x / fmaf(p, power, 1.0f);
}

// hidden = silu(norm(hidden + base + actions acting)): the first layer's actions, bias, layer norm (of mean 0 already) and SiLU
static void join(float *restrict hidden, long rows, long width, int empty, const float *base, long first, long count,
                 const float *restrict actions, long apart, const float *restrict acting, long size,
                 const float *restrict gain, const float *restrict shift, float eps) {
    for (long i = 0; i < rows; i++, hidden += width, actions += apart) {
        const float *restrict own = base + (count ? (first + i) / count : 0) * width;
        float square = 0.0f;
        if (empty) memset(hidden, 0, width * sizeof(float));
        for (long k = 2; k < size; k++)
            for (long j = 0; j < width; j++) hidden[j] += actions[k] * acting[k * width + j];
        const float u = actions[0], w = size > 1 ? actions[1] : 0.0f, *second = acting + (size > 1 ? width : 0);
        for (long j = 0; j < width; j++) {
            const float x = hidden[j] + own[j] + u * acting[j] + w * second[j];
            hidden[j] = x;
            square += x * x;
        }
        const float scale = 1.0f / sqrtf(square / width + eps);
        for (long j = 0; j < width; j++) hidden[j] = silu(hidden[j] * scale * gain[j] + shift[j]);
    }
}

// hidden = silu(hidden + bias), the second layer's; after = before + beyond, to which the third one's product is added
static void leave(float *restrict hidden, long rows, long width, const float *restrict bias,
                  float *restrict after, const float *before, long first, long count, long stride,
                  const float *restrict beyond, long size) {
    for (long i = 0; i < rows; i++, hidden += width, after += size) {
        const float *restrict own = before + (first + i) / count * stride;
        for (long j = 0; j < width; j++) hidden[j] = silu(hidden[j] + bias[j]);
        for (long j = 0; j < size; j++) after[j] = own[j] + beyond[j];
    }
}

typedef void gemm_t(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                    const int *, const float *, const int *, const float *, float *, const int *);

// c = a b + kept c, for a [rows, inner] whose rows lie `apart`, b [inner, width]; BLAS counts by columns: it is told b a
static void product(gemm_t *gemm, const float *a, int apart, const float *b, float *c, int rows, int inner, int width,
                    float kept) {
    const float one = 1.0f;
    gemm("N", "N", &width, &rows, &inner, &one, b, &width, a, &apart, &kept, c, &width);
}

struct work {
    gemm_t *gemm;
    long steps, batch, count, tile, width, size, acts, reads;
    const float *frames, *given, *state, *acting, *inner, *out, *bias, *gain, *shift, *within, *beyond;
    float *hidden, *second, *known, *after, eps;
};

void follow(const struct work *w) {
    const long width = w->width, size = w->size, all = w->batch * w->count, seen = w->reads * size;
    for (long step = 0; step < w->reads && step < w->steps; step++) {  // what the first layer says of frames that are known
        float *known = w->known + step * w->batch * width;
        for (long i = 0; i < w->batch; i++) memcpy(known + i * width, w->bias, width * sizeof(float));
        product(w->gemm, w->frames + step * size, seen, w->state, known, w->batch, seen - step * size, width, 1.0f);
    }
    for (long first = 0; first < all; first += w->tile) {
        const long rows = all - first < w->tile ? all - first : w->tile;
        for (long step = 0; step < w->steps; step++) {
            const long frames = step < w->reads ? step : w->reads;
            const int known = step < w->reads;
            float *after = w->after + (step * all + first) * size;
            for (long k = 0; k < frames; k++)
                product(w->gemm, after - (frames - k) * all * size, size, w->state + (w->reads - frames + k) * size * width,
                        w->hidden, rows, size, width, k > 0);
            join(w->hidden, rows, width, !frames, known ? w->known + step * w->batch * width : w->bias, first,
                 known ? w->count : 0, w->given + (first * w->steps + step) * w->acts, w->steps * w->acts, w->acting, w->acts,
                 w->gain, w->shift, w->eps);
            product(w->gemm, w->hidden, width, w->inner, w->second, rows, width, width, 0.0f);
            leave(w->second, rows, width, w->within, after, step ? after - all * size : w->frames + seen - size,
                  step ? 0 : first, step ? 1 : w->count, step ? size : seen, w->beyond, size);
            product(w->gemm, w->second, width, w->out, after, rows, width, size, 1.0f);
        }
    }
}
"""
# Sums in any order, as torch's; not -ffast-math, which would change how the whole process treats the smallest numbers.
FLAGS = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
WIDE = ["-mprefer-vector-width=512"]
COUNTS = ("steps", "batch", "count", "tile", "width", "size", "acts", "reads")
READ = ("frames", "given", "state", "acting", "inner", "out", "bias", "gain", "shift", "within", "beyond")
WRITTEN = ("hidden", "second", "known", "after")


class Work(ctypes.Structure):
    """`struct work` of the source."""

    _fields_ = [
        ("gemm", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in COUNTS),
        *((name, ctypes.c_void_p) for name in (*READ, *WRITTEN)),
        ("eps", ctypes.c_float),
    ]


class Kernels:
    """`follow` fills the states `after` [H, n, D] as `Residual` does in torch, in one call; float32 on the CPU, dense."""

    def __init__(self, library: ctypes.CDLL, gemm: int):
        self._follow, self._gemm = library.follow, gemm
        self._follow.argtypes, self._follow.restype = [ctypes.POINTER(Work)], None

    def work(self, member: Residual, ready: tuple) -> Work:
        """What is the same in every call, for as long as the weights are; `ready` must be kept as long."""
        state, acting, inner, out, bias = ready
        size, norm = out.shape[1], member.norm
        if out.dtype != torch.float32 or out.device.type != "cpu":
            raise ConfigurationError(
                f"kernels compiled: need float32 on the CPU, not {out.dtype} on {out.device}; set kernels to torch"
            )
        layers = {"state": state, "acting": acting, "inner": inner, "out": out, "bias": bias, "gain": norm.weight}
        layers |= {"shift": norm.bias, "within": member.inner.bias, "beyond": member.out.bias}
        counts = {"width": len(inner), "size": size, "acts": len(acting), "reads": len(state) // size}
        return Work(gemm=self._gemm, eps=norm.eps, **counts, **{name: value.data_ptr() for name, value in layers.items()})

    def follow(self, work: Work, history: Tensor, given: Tensor, after: Tensor, tile: int) -> None:
        """`history` [B, W, 1, D], actions `given` [B N, H, W A] to each step.  InputError unless all are float32."""
        if not history.dtype == given.dtype == after.dtype == torch.float32:
            raise InputError(f"kernels compiled: need float32, not {history.dtype} and {given.dtype}; set kernels to torch")
        work, history, given = Work.from_buffer_copy(work), history.contiguous(), given.contiguous()
        work.steps, work.batch, work.count = len(after), len(history), after.shape[1] // len(history)
        work.tile = tile
        hidden = after.new_empty(2 * tile + work.batch * work.reads, work.width)
        work.frames, work.given, work.after, work.hidden = (each.data_ptr() for each in (history, given, after, hidden))
        work.second = work.hidden + tile * work.width * hidden.element_size()
        work.known = work.second + tile * work.width * hidden.element_size()
        self._follow(work)


@functools.cache
def kernels() -> Kernels:
    """Compiled once per process, which keeps its memory from then on.

    ConfigurationError without a working C compiler, or where its temporary folder can't be written or run from.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = Kernels(ctypes.CDLL(str(build(Path(folder)))), blas())
    except OSError as error:  # a disk that is full or read-only; dlopen of a folder mounted noexec
        raise ConfigurationError(
            f"kernels compiled: {error}; let TMPDIR name a folder that can be written and run from, or set kernels to torch"
        ) from None
    devices.keep_memory()
    return found


def build(folder: Path) -> Path:
    """The library, compiled into `folder`."""
    library, wrong = folder / "kernels.so", "none found"
    for compiler in (name for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name and shutil.which(name)):
        for flags in ([*FLAGS, *WIDE], FLAGS):  # the width is a matter of x86
            command = [compiler, *flags, "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-lm"]
            done = subprocess.run(command, input=SOURCE, text=True, errors="replace", capture_output=True, check=False)
            if done.returncode == 0:
                return library
            wrong = f"{compiler}: {' '.join(done.stderr.split())[:200]}"
    raise ConfigurationError(f"kernels compiled: needs a working C compiler ({wrong}); install gcc, or set kernels to torch")


def blas() -> int:
    """The address of the matrix product that torch itself calls.  ConfigurationError where it can't be found."""
    try:
        product = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).sgemm_
    except (OSError, AttributeError):
        raise ConfigurationError(
            "kernels compiled: this torch shows no matrix product (sgemm_); set kernels to torch"
        ) from None
    return ctypes.cast(product, ctypes.c_void_p).value
