"""Faults put into a running gate, over DDS between real processes, and how long each takes to become zero on cmd_vel.

All times are on the steady clock of one observing process, which also publishes the sensors; so they contain both ways of DDS.
Only for a halted planner is the end of the halt read from the stamp with which the zero left the gate.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np

from objective_agent.safety import GateParameters
from objective_agent_nodes.bench_gate_killed import gate_killed
from objective_agent_nodes.gate_harness import COMMAND_PERIOD, GateHarness, end, module_process
from objective_agent_nodes.safety_gate_apart import raise_observer

SLEEPER = """
import json, sys, time
period, seconds = float(sys.argv[1]), float(sys.argv[2])
due, woke, finish = time.monotonic(), [], time.monotonic() + seconds
while due < finish:
    due += period
    time.sleep(max(due - time.monotonic(), 0.0))
    woke.append(time.monotonic())
print(json.dumps(woke))
"""
HOG = "while True: pass"


def summary(seconds: list[float], bound: float) -> dict:
    """How often, median, 99th percentile and maximum in seconds, beside the bound."""
    values = np.array(seconds)
    return {
        "injections": len(values),
        "missed": int(np.isinf(values).sum()),
        "p50_s": round(float(np.median(values)), 4),
        "p99_s": round(float(np.quantile(values, 0.99, method="higher")), 4),
        "max_s": round(float(values.max()), 4),
        "bound_s": bound,
        "held": bool(values.max() <= bound),
    }


def scan_loss(harness: GateHarness, injections: int, report) -> dict:
    """The lidar falls silent: from its last good scan to zero; and from its return to full speed."""
    times, resumed = [], []
    for k in range(injections):
        report("scan loss", k, injections)
        harness.moving(10)
        time.sleep(np.random.default_rng(k).uniform(0, 0.1))
        harness.scan = False
        time.sleep(0.01)
        last = harness.last_scan
        times.append(harness.first_zero(last) - last)
        harness.scan, begun = True, time.monotonic()
        harness.moving(10, 0.05)
        resumed.append(time.monotonic() - begun)
    return summary(times, 0.35) | {"resume_p50_s": round(float(np.median(resumed)), 3)}


def e_stop(harness: GateHarness, injections: int, report) -> dict:
    """The emergency stop: from its publication to zero."""
    times = []
    for k in range(injections):
        report("e_stop", k, injections)
        harness.moving(10, 0.1)
        time.sleep(np.random.default_rng(k).uniform(0, 0.05))
        begun = time.monotonic()
        harness.press(True)
        times.append(harness.first_zero(begun) - begun)
        harness.press(False)
        harness.wait(lambda: harness.reset().success, 5)
    return summary(times, 0.05)


def _last_command_and_zero(harness: GateHarness, halted: float) -> tuple[float, float]:
    """When the first zero left the gate after the planner was halted (inf: never), and when its last command was made, both on
    the steady clock.  By the stamp with which the zero left: the observer may itself be kept waiting on a busy machine."""
    time.sleep(0.05)
    offset = time.monotonic() - time.time()
    made = [float(state["command_stamp"]) + offset for state in harness.states[-80:] if float(state["v_out"]) > 0]
    last = max((stamp for stamp in made if stamp <= halted), default=-math.inf)
    left = (stamp + offset for _, v, w, stamp in harness.outputs if v == w == 0)
    return next((stamp for stamp in left if stamp > last), math.inf), last


def planner_faults(harness: GateHarness, kind: str, injections: int, report) -> dict:
    """The commanding process frozen (SIGSTOP), killed, or late: from when its next command fell due to zero."""
    harness.sending, planner, times = False, None, []
    try:
        for k in range(injections):
            report(f"planner {kind}", k, injections)
            if planner is None:
                planner = module_process("gate_harness")
            if not harness.moving(15):
                times.append(math.inf)
                continue
            time.sleep(np.random.default_rng(k).uniform(0, 0.05))
            os.kill(planner.pid, signal.SIGKILL if kind == "dead" else signal.SIGSTOP)
            halted = time.monotonic()
            time.sleep(0.4)
            if kind == "late":
                os.kill(planner.pid, signal.SIGCONT)
            zero, last = _last_command_and_zero(harness, halted)
            times.append(zero - last - COMMAND_PERIOD)
            if kind == "dead":
                planner.wait()
                planner = None
            elif kind == "frozen":
                os.kill(planner.pid, signal.SIGCONT)
    finally:
        if planner is not None:
            end(planner, signal.SIGKILL)
        harness.sending = True
    return summary(times, 0.25)


def jitter(harness: GateHarness, seconds: float, hogs: int) -> dict:
    """Intervals of the gate's ticks and of a bare sleeping loop beside it, while `hogs` processes take the cores."""
    period = 0.05
    harness.sending = False  # ticks only: a command would be answered between them
    time.sleep(0.5)
    busy = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(hogs)]
    try:
        command = [sys.executable, "-c", SLEEPER, str(period), str(seconds)]
        first = len(harness.outputs)
        bare = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        stamps = [output[3] for output in harness.outputs[first:]]
    finally:
        for process in busy:
            process.kill()
            process.wait()
        harness.sending = True
    deviation = {name: np.abs(np.diff(np.sort(times)) - period) for name, times in (("gate", stamps), ("bare", bare))}
    p999 = {name: float(np.quantile(values, 0.999, method="higher")) for name, values in deviation.items()}
    figures = {f"{name}_p999_ms": round(1e3 * value, 2) for name, value in p999.items()}
    figures |= {f"{name}_p50_ms": round(1e3 * float(np.median(values)), 3) for name, values in deviation.items()}
    return figures | {
        "hogs": hogs,
        "ticks": len(stamps),
        "bound_ms": round(1e3 * p999["bare"] + 5, 2),
        "held": bool(p999["gate"] <= p999["bare"] + 0.005),
    }


def faults(parameters: GateParameters, injections: int, seconds: float, hogs: int, report=lambda *_: None) -> dict:
    """All faults one after the other at one gate: name -> figures."""
    with GateHarness(parameters) as harness:
        raise_observer()  # on a busy machine it would measure its own waiting
        results = {
            "scan_loss": scan_loss(harness, injections, report),
            "e_stop": e_stop(harness, injections, report),
        }
        for kind in ("frozen", "dead", "late"):
            count = max(injections // 4, 1) if kind == "dead" else injections
            results[f"planner_{kind}"] = planner_faults(harness, kind, count, report)
        report("jitter", 0, 1)
        results["jitter"] = jitter(harness, seconds, hogs)
    report("gate killed", 0, 1)
    return results | {"gate_killed": gate_killed(parameters)}
