"""The thread that works on the newest job: jobs that come with jitter don't wait, jobs that come too fast do."""

from __future__ import annotations

import itertools
import time

import pytest

from objective_agent_nodes.worker import NewestFirst


class Clock:
    """Time that passes only while the worker waits; jobs are given at fixed times on it."""

    def __init__(self, monkeypatch, jobs: list[float]):
        self.now, self._jobs = 0.0, list(jobs)
        monkeypatch.setattr("objective_agent_nodes.worker.time.perf_counter", lambda: self.now)

    def wait_for(self, worker: NewestFirst):
        def wait(predicate, timeout=None):
            end = self.now + timeout if timeout is not None else float("inf")
            while not predicate() and self.now < end:
                following = self._jobs[0] if self._jobs else None
                if following is None and timeout is None:
                    worker.stopping = True
                elif following is not None and following <= end:
                    self.now = self._jobs.pop(0)
                    worker._job = self.now
                else:
                    self.now = end

        return wait


def waits(monkeypatch, jobs: list[float], period: float) -> dict[float, float]:
    """Job (named by when it came) -> when its work began."""
    begun: dict[float, float] = {}
    clock = Clock(monkeypatch, jobs)
    worker = NewestFirst(lambda job: begun.setdefault(job, clock.now), lambda error: None, lambda: period)
    worker.stopping = False
    monkeypatch.setattr(worker._wake, "wait_for", clock.wait_for(worker), raising=False)
    worker._run()
    return begun


def test_jobs_that_come_once_a_period_never_wait_though_one_came_late(monkeypatch):
    jobs = [0.05 * k + (0.02 if k == 3 else 0.0) for k in range(1, 40)]
    begun = waits(monkeypatch, jobs, 0.05)
    assert list(begun) == jobs
    assert max(begun[job] - job for job in jobs[4:]) < 1e-9


def test_jobs_that_come_too_fast_are_thinned_to_one_a_period(monkeypatch):
    begun = waits(monkeypatch, [0.01 * k for k in range(1, 501)], 0.05)
    assert 95 <= len(begun) <= 103
    assert all(begun[job] - job < 0.01 + 1e-9 for job in list(begun)[:-1])  # the newest one, whenever it is


def test_the_newest_job_is_done_in_a_thread_and_an_error_does_not_end_it(until):
    done, failures = [], []

    def work(job):
        done.append(job)
        time.sleep(0.02)
        if job == "bad":
            raise ValueError(job)

    worker = NewestFirst(work, failures.append, lambda: 0.0)
    worker.start()
    try:
        worker.give("bad")
        assert until(lambda: failures)
        for job in range(50):
            worker.give(job)
        assert until(lambda: done[-1] == 49) and len(done) < 20
    finally:
        worker.stop()
        worker.stop()


@pytest.mark.parametrize("late", [0.0, 0.024])
def test_never_sooner_than_half_a_period_after_the_one_before(monkeypatch, late):
    begun = list(waits(monkeypatch, [0.05, 0.1 + late, 0.125 + late], 0.05).values())
    assert min(after - before for before, after in itertools.pairwise(begun)) >= 0.025 - 1e-9
