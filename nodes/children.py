"""Child processes that can't be left behind: each in a session of its own, ended in order, killed with its parent.

Sessions of their own, because Ctrl-C in a terminal reaches the whole foreground group at once, and the order matters.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import objective_agent

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_SEGMENT = re.compile(r"/dev/shm/(fastrtps_[0-9a-f]{8,}(?:_el)?)\b")
"""A participant's own shared memory; ports (fastrtps_port*) are shared and stay."""


@dataclass
class Child:
    name: str
    process: subprocess.Popen


class Children:
    """Start with `start`, look with `dead`, end with `stop` (the last started of a stage first, the stages in order)."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        self.environment = dict(os.environ if environment is None else environment)
        source = Path(objective_agent.__file__).absolute().parent.parent
        if "site-packages" not in source.parts:  # from the source tree: the children must find it too
            self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(source), self.environment.get("PYTHONPATH")]))
        self._children: list[Child] = []

    def start(self, name: str, module: str, arguments: Sequence[str] = (), death: int = signal.SIGKILL) -> Child:
        """`python -m module arguments`; `death`: the signal that it gets when this process dies, however that happens."""
        parent = os.getpid()

        def tie() -> None:
            _LIBC.prctl(PR_SET_PDEATHSIG, death)
            if os.getppid() != parent:  # died in between
                os._exit(1)

        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, env=self.environment, start_new_session=True, preexec_fn=tie)
        self._children.append(Child(name, process))
        return self._children[-1]

    def dead(self) -> Child | None:
        """A child that has ended, None while all run."""
        return next((child for child in self._children if child.process.poll() is not None), None)

    def pids(self) -> dict[str, int]:
        return {child.name: child.process.pid for child in self._children if child.process.poll() is None}

    def stop(self, stages: Sequence[tuple[Sequence[str], float]]) -> list[str]:
        """SIGTERM to the named children, stage after stage, SIGKILL to those that take longer than the stage's seconds.

        Children in no stage come first.  Returns the names of those that had to be killed.  Always ends all of them.
        """
        named = {name for names, _ in stages for name in names}
        rest = [child.name for child in self._children if child.name not in named]
        segments = self._segments()
        killed: list[str] = []
        try:
            for names, seconds in [(rest, 5.0), *stages]:
                killed += self._end([child for child in self._children if child.name in names], seconds)
        finally:
            self._end(self._children, 0.0)
            _remove(segments)
        return killed

    def _end(self, children: Sequence[Child], seconds: float) -> list[str]:
        alive = [child for child in children if child.process.poll() is None]
        if seconds > 0:
            for child in alive:
                _signal(child, signal.SIGTERM)
                _signal(child, signal.SIGCONT)  # a stopped one could not hear it
            end = time.monotonic() + seconds
            while time.monotonic() < end and any(child.process.poll() is None for child in alive):
                time.sleep(0.02)
        late = [child for child in alive if child.process.poll() is None]
        for child in late:
            _signal(child, signal.SIGKILL)
            child.process.wait()
        return [child.name for child in late]

    def _segments(self) -> set[str]:
        return set().union(*(_mapped(child.process.pid) for child in self._children), set())


def _signal(child: Child, number: int) -> None:
    """To the child's whole session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, number)


def _mapped(pid: int | str) -> set[str]:
    try:
        return set(_SEGMENT.findall(Path(f"/proc/{pid}/maps").read_text()))
    except OSError:
        return set()


def _remove(segments: set[str]) -> None:
    """Removes what killed children left in shared memory (it can jam the next start), unless anybody still uses it."""
    left = {name for name in segments if os.path.exists(f"/dev/shm/{name}")}
    if not left:
        return
    for pid in filter(str.isdigit, os.listdir("/proc")):
        left -= _mapped(pid)
    for name in left:
        with contextlib.suppress(OSError):
            os.unlink(f"/dev/shm/{name}")
