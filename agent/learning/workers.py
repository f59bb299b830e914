"""Worker processes that end with their parent, leave Ctrl-C to it, and never outlive the work."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from objective_agent.types import ObjectiveAgentError


def in_processes(
    function: Callable[..., Any],
    calls: Iterable[tuple],
    jobs: int,
    mend: str,
    prepare: Callable[..., None] | None = None,
    settings: tuple = (),
    in_order: bool = False,
) -> Iterator[Any]:
    """What `function(*call)` gives for each of `calls`, in the order in which they are finished, or in their own.

    Few are under way at a time, so that results don't pile up.  `prepare(*settings)` runs once in each process first.
    ObjectiveAgentError, ending with `mend`, when a process dies.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(prepare, settings))
    try:
        queue, running = iter(calls), []
        while True:
            while len(running) < 2 * jobs and (call := next(queue, None)) is not None:
                running.append(pool.submit(function, *call))
            if not running:
                break
            finished = set(running[:1]) if in_order else wait(running, return_when=FIRST_COMPLETED).done
            running = [future for future in running if future not in finished]
            for future in finished:
                yield future.result()
        pool.shutdown()
    except BrokenProcessPool:
        raise ObjectiveAgentError(f"a worker process died (out of memory, or killed); {mend}") from None
    finally:
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


def _start(prepare: Callable[..., None] | None, settings: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def leave_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    if prepare is not None:
        prepare(*settings)
